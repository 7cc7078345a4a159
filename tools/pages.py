"""README.md and the pages of the guide as they are written: blocks of code, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "onnxscope" / "guide"
WEB = ("https://", "mailto:")
COMMENT = re.compile(r"<!-- (.*?) -->")
HTML = ("html_block", "html_inline")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and the comment on the line before it."""

    page: Path
    line: int
    language: str
    text: str
    comment: str


@dataclass(frozen=True)
class Link:
    """A link or a picture: its target as it is written, and the line of its paragraph."""

    page: Path
    line: int
    target: str
    is_picture: bool
    text: str

    @property
    def file(self) -> Path | None:
        """The file that it names; none where it leads to the web."""
        path = unquote(self.target.partition("#")[0])
        if self.target.startswith(WEB) or ":" in path:
            return None
        return (self.page.parent / path).resolve() if path else self.page

    @property
    def anchor(self) -> str:
        return unquote(self.target.partition("#")[2])


def written() -> list[Path]:
    """README.md, the guide, and what contributors read."""
    return [README, *sorted(GUIDE.glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for token in tokens(page):
        if token.type == "fence" and token.map:
            first = token.map[0]
            comment = COMMENT.fullmatch(lines[first - 1].strip()) if first else None
            yield Block(page, first + 1, token.info.strip(), token.content, comment[1] if comment else "")


def links(page: Path) -> Iterator[Link]:
    """The links and pictures of a page."""
    line = 0
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else line
        for part in token.children or ():
            if part.type == "link_open":
                yield Link(page, line, str(part.attrs["href"]), False, "")
            elif part.type == "image":
                yield Link(page, line, str(part.attrs["src"]), True, part.content)


@cache
def anchors(page: Path) -> set[str]:
    """What a link to a part of a page may name: its headings as GitHub writes them."""
    found: set[str] = set()
    for opening, inline in pairwise(tokens(page)):
        if opening.type == "heading_open":
            text = "".join(part.content for part in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(next(s for s in (slug, *(f"{slug}-{k}" for k in range(1, 1000))) if s not in found))
    return found


def broken(page: Path) -> list[str]:
    """What is wrong with the links of a page, each with its place."""
    faults = ((link, fault(link)) for link in links(page))
    return [f"{page.name}:{link.line}: '{link.target}' {why}" for link, why in faults if why]


def html(page: Path) -> list[str]:
    """What a page writes in HTML other than comments: a terminal does not show it."""
    parsed = [part for token in tokens(page) for part in (token, *(token.children or ()))]
    return [t.content for t in parsed if t.type in HTML and not t.content.startswith("<!--")]


def fault(link: Link) -> str:
    """Why a link leads nowhere; empty where it leads somewhere."""
    file = link.file
    if link.is_picture and not link.text:
        return "is a picture without a text that stands for it"
    if file is None:
        return "" if link.target.startswith(WEB) else "should begin with https://"
    if not file.is_relative_to(ROOT) or not file.is_file():
        return "names no file of the repository"
    if link.anchor and link.anchor not in anchors(file):
        return f"names no heading of {file.name}"
    return ""
