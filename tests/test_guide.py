"""The guide: `onnxscope guide` shows its pages, and every block of code on them and in README.md runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from onnxscope.cli import guide
from onnxscope.cli import main as cli

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import pages
from pages import GUIDE, README, ROOT, Block

MOST_BYTES = 9_000  # of README.md
SECONDS = 300  # after which a block is given up
TOP_LEVEL = ("README.md", "LICENSE", "pyproject.toml", "onnxscope", "tests", "tools", "models")
PAGES = [README, *sorted(GUIDE.glob("*.md"))]
BLOCKS = [block for page in PAGES for block in pages.blocks(page)]
LANGUAGES = {"python": "run", "sh": "run", "text": "shown", "json": "shown", "yaml": "shown"}
# These commands install the package or use what was installed; .ci/run runs them in fresh virtual environments.
INSTALLING = ("command:run", "command:test", "command:audit")
RUN = [b for b in BLOCKS if LANGUAGES.get(b.language) == "run" and b.comment not in INSTALLING]
ALLOWED = {"onnxscope", "numpy", *sys.stdlib_module_names}
DEMONSTRATED = {  # (page, module) → why a block of the page imports it
    ("adding-an-operator.md", "onnx"): "a model of one operator is built with it",
    ("faq.md", "onnx"): "a model with an If is built with it",
    ("artifact.md", "onnxruntime"): "a scope is run by onnxruntime alone, without onnxscope",
}


def name_of(block: Block) -> str:
    return f"{block.page.stem}:{block.line}"


def mirror(folder: Path) -> Path:
    """The repository's folders with links to its files: what a block writes beside them stays here."""
    for name in TOP_LEVEL:
        top = ROOT / name
        for file in [top] if top.is_file() else (f for f in top.rglob("*") if f.is_file()):
            link = folder / file.relative_to(ROOT)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return folder


def imported(text: str) -> Iterator[str]:
    """The top-level modules that a program imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("block", RUN, ids=name_of)
def test_a_block_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    needed = re.fullmatch(r"needs: (\w+)", block.comment)
    if needed and not importlib.util.find_spec(needed[1]):
        pytest.skip(f"the block needs {needed[1]}")
    folder = mirror(tmp_path / "repository")
    program = tmp_path / "block.py"
    program.write_text(block.text, encoding="utf-8")
    shell = ["bash", "-euo", "pipefail", "-c", block.text]
    command = [sys.executable, str(program)] if block.language == "python" else shell
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize("block", [b for b in RUN if b.language == "python"], ids=name_of)
def test_a_block_imports_only_what_a_reader_expects(block: Block) -> None:
    demonstrated = {module for page, module in DEMONSTRATED if page == block.page.name}
    assert set(imported(block.text)) <= ALLOWED | demonstrated


def test_what_pages_may_import_besides_is_imported() -> None:
    found = {(b.page.name, m) for b in RUN if b.language == "python" for m in imported(b.text)}
    assert DEMONSTRATED.keys() <= found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_as_pages_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    titles = [token for token in pages.tokens(page) if token.type == "heading_open" and token.tag == "h1"]
    assert text.startswith("# ") and len(titles) == 1
    assert not {b.language for b in pages.blocks(page)} - LANGUAGES.keys(), "a block is one of LANGUAGES"
    assert not pages.html(page)
    assert "not measured yet" not in text.lower()


def test_the_readme_is_short_and_holds_the_commands_of_a_newcomer() -> None:
    assert len(README.read_bytes()) <= MOST_BYTES
    assert [b.comment for b in BLOCKS if b.comment in INSTALLING] == list(INSTALLING)
    assert {b.page for b in BLOCKS if b.comment in INSTALLING} == {README}


def test_every_topic_is_on_the_index_and_nothing_else() -> None:
    linked = {link.file for link in pages.links(GUIDE / "index.md")}
    topics = {page for page in GUIDE.glob("*.md") if page.stem != "index"}
    assert topics <= linked
    assert set(guide.topics()) == {page.stem for page in topics} | {"index"}


# the verb


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run(["guide", *arguments]) == 0
    said = capsys.readouterr()
    assert not said.err
    return said.out


def test_without_a_topic_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = answer(capsys).splitlines()
    assert head.split() == ["topic", "about"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == guide.topics()
    listed = json.loads(answer(capsys, "--json"))["topics"]
    assert list(listed) == guide.topics()
    assert all(about.endswith((".", "?", "!")) for about in listed.values())
    words = " ".join(lines).split()
    assert all(word in words for about in listed.values() for word in about.split())


@pytest.mark.parametrize("topic", guide.topics())
def test_a_page_is_printed_as_markdown_where_it_is_piped(
    capsys: pytest.CaptureFixture[str], topic: str
) -> None:
    text = answer(capsys, topic)
    assert text.startswith("# ") and "<!--" not in text
    written = (GUIDE / f"{topic}.md").read_text(encoding="utf-8")
    assert text.split() == re.sub("<!--.*?-->", "", written, flags=re.DOTALL).split()
    assert json.loads(answer(capsys, topic, "--json")) == {"topic": topic, "text": text}


@pytest.mark.parametrize(
    ("asked", "remedy"), [("pyton", "choose python"), ("Operator", "operators"), ("../errors", "choose ")]
)
def test_an_unknown_topic_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], asked: str, remedy: str
) -> None:
    assert cli.run(["guide", asked]) == 2
    line = capsys.readouterr().err
    assert f"onnxscope guide: there is no topic '{asked}'; choose " in line and remedy in line


def test_on_a_terminal_a_page_is_formatted_and_goes_through_the_pager(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", "from onnxscope.cli.main import main; main()", "guide", "index"]
    environment = {**os.environ, "PAGER": f"tee {tmp_path / 'paged'}", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        program, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as running:
        os.close(theirs)
        while read_from(ours):
            pass
    assert running.returncode == 0
    paged = (tmp_path / "paged").read_text(encoding="utf-8")
    title = (GUIDE / "index.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert "\x1b[" in paged and "# " not in paged and title in paged


def read_from(terminal: int) -> bytes:
    """What is written to a terminal; empty at its end, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# T\n\nOne. Two.\n", "One."),
        ("# T\n\nOne\nline of [a link](x.md), 1.5 times. Two\n\nMore.", "One line of a link, 1.5 times."),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    assert guide.first_sentence(text) == sentence


def test_pages_and_pictures_are_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hatchling = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    monkeypatch.chdir(ROOT)
    wheel = hatchling.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as packed:
        names = set(packed.namelist())
    files = [file for file in GUIDE.rglob("*") if file.is_file()]
    assert {f"onnxscope/guide/{file.relative_to(GUIDE)}" for file in files} <= names
    assert {"index.md", "pictures"} <= {f.name for f in resources.files("onnxscope.guide").iterdir()}
