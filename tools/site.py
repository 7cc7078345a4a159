"""Build the documentation as a site that opens from disk: README.md, the guide, and what these link to.

    pip install -e '.[docs]' && python tools/site.py FOLDER

A broken link, to a page, to a heading or to a picture, is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pages import GUIDE, README, ROOT, Link, blocks, links

TARGET = re.compile(r"\]\(([^)\s]+)")
OTHER_FOLDERS = {".github": "project"}  # the site's names of folders that are called otherwise here
CAPTIONS = {"guide": "Guide", "models": "Networks", "project": "Project"}  # of the groups of pages
CONFIGURATION = """
project = "onnxscope"
html_title = "onnxscope"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # pages on disk may not be read by a script
html_show_copyright = False
html_show_sphinx = False
"""
STYLE = """
.content img { background: white; }
table.docutils { display: block; max-width: 100%; overflow-x: auto; }
"""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/site.py FOLDER")
    build(Path(sys.argv[1]))


def build(folder: Path) -> None:
    """Write the site into a folder."""
    with tempfile.TemporaryDirectory() as source:
        lay_out(Path(source))
        generate(Path(source), folder)


def generate(source: Path, folder: Path) -> None:
    """Run the generator, for which every warning is an error."""
    from sphinx.cmd.build import build_main

    options = ["-W", "--keep-going", "-n", "-q", "-d", str(source / ".trees")]
    if build_main(["-b", "html", *options, str(source), str(folder)]):
        sys.exit("the site has faults; see above")


def lay_out(source: Path) -> None:
    """The generator's sources: pages with their links as the site has them, and all files that they name."""
    sources = reached([GUIDE / "index.md", README])
    for file in sources:
        target = source / place(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            target.write_text(relinked(file), encoding="utf-8")
        else:
            shutil.copyfile(file, target)
    with (source / place(README)).open("a", encoding="utf-8") as start:
        start.write(navigation(sources))
    (source / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    (source / "_static").mkdir()
    (source / "_static" / "site.css").write_text(STYLE, encoding="utf-8")


def reached(pages: Iterable[Path]) -> list[Path]:
    """These pages, and all files that they and pages among those link to, in the order of the links."""
    found: dict[Path, None] = {}
    waiting = list(pages)
    while waiting:
        file = waiting.pop(0)
        if file not in found and file.is_file():
            found[file] = None
            named = [link.file for link in links(file)] if file.suffix == ".md" else []
            waiting += [f for f in named if f is not None]
    return list(found)


def place(file: Path) -> Path:
    """Where a file of the repository stands in the site."""
    if file == README:
        return Path("index.md")
    if file.is_relative_to(GUIDE):
        return Path("guide", file.relative_to(GUIDE))
    first, *others = file.relative_to(ROOT).parts
    return Path(OTHER_FOLDERS.get(first, first), *others)


def relinked(page: Path) -> str:
    """A page with its links as the site has them, outside of blocks of code."""
    lines = page.read_text(encoding="utf-8").splitlines()
    code = {n for b in blocks(page) for n in range(b.line - 1, b.line + b.text.count("\n") + 1)}
    for n in set(range(len(lines))) - code:
        lines[n] = TARGET.sub(lambda found: f"]({target_in_site(page, found[1])}", lines[n])
    return "\n".join(lines) + "\n"


def target_in_site(page: Path, target: str) -> str:
    file = Link(page, 0, target, False, "").file
    if file is None or file == page or not file.is_file():
        return target
    relative = os.path.relpath(place(file), place(page).parent)
    return Path(relative).as_posix() + "".join(target.partition("#")[1:])


def navigation(files: Iterable[Path]) -> str:
    """The list of pages at the side, in groups."""
    names = [
        place(file).with_suffix("").as_posix() for file in files if file.suffix == ".md" and file != README
    ]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(name)
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {CAPTIONS.get(folder, folder)}\n\n"
        + "\n".join(group)
        + "\n```\n"
        for folder, group in groups.items()
    )


if __name__ == "__main__":
    main()
