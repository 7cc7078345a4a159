"""The report page: one HTML file that needs nothing beside it, no network and no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

NUMBER = re.compile(
    r"[<>≤≥≈±+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+−-]?\d+)?(?: ?(?:[%×°]|[A-Za-zµ]{1,3}(?:/s)?))?"
)  # with its unit
MISSING = {"", "-", "–", "—"}
PAGE = 1200  # pixels: pictures that together have no more are shown at about their natural size, or enlarged
ON_ONE_LINE = (
    24  # letters: a longer cell is broken, and a word in it as well, or it alone would fill a phone's line
)


@dataclass(frozen=True)
class Shown:
    """One picture. Its name is that of its PNG file, without suffix, and unique on the page.

    A chart is as wide as the text and may have a variant for dark pages; any other picture shows pixels.
    """

    name: str
    png: bytes
    alt: str  # what it shows, for readers who do not see it
    caption: str = ""
    dark: bytes | None = None
    chart: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(
            self.png[20:24], "big"
        )  # where a PNG file's header has them


@dataclass(frozen=True)
class Row:
    """Pictures side by side, all of one width."""

    pictures: Sequence[Shown]
    title: str = ""

    @property
    def widest(self) -> int:
        return max(picture.size[0] for picture in self.pictures)

    @property
    def enlarged(self) -> bool:
        """Whether pixels may keep their edges; a picture made smaller in that way would lose lines."""
        return self.widest * len(self.pictures) <= PAGE


@dataclass(frozen=True)
class Table:
    """Cells as texts; the first of each row names it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def columns(self) -> list[str]:
        """How each column is set: a class of the style sheet."""
        return [setting([row[i] for row in self.rows]) for i in range(len(self.head))]


@dataclass(frozen=True)
class Section:
    """Paragraphs of plain text, then pictures and tables."""

    title: str
    text: Sequence[str]
    parts: Sequence[Row | Table] = ()


@dataclass(frozen=True)
class Page:
    """A title, what was found, the sections, and at the foot what it takes to judge and to repeat it."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    about: Table
    command: str


def html(page: Page) -> str:
    """The whole page as one text, with its pictures inside."""
    environment = Environment(
        loader=PackageLoader("onnxscope", "show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment.get_template("page.html.j2").render(page=page)


def files(page: Page) -> dict[str, bytes]:
    """The page's pictures as PNG files, by their names."""
    found: dict[str, bytes] = {}
    rows = [part for section in page.sections for part in section.parts if isinstance(part, Row)]
    for picture in (picture for row in rows for picture in row.pictures):
        variants = {".png": picture.png} | ({".dark.png": picture.dark} if picture.dark is not None else {})
        for suffix, png in variants.items():
            name = picture.name + suffix
            if name in found:
                raise ValueError(f"two pictures of the page are called '{name}'")
            found[name] = png
    return found


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def setting(cells: Sequence[str]) -> str:
    """Numbers to the right, short texts on one line, long ones on several."""
    known = [cell for cell in cells if cell not in MISSING]
    if known and all(map(NUMBER.fullmatch, known)):
        return "number"
    return "text" if all(len(cell) <= ON_ONE_LINE for cell in known) else "long"
