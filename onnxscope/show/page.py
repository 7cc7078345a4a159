"""The report page: one HTML file that holds everything and needs no other file, no network and no script."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxscope.errors import printable

NUMBER = re.compile(  # with a sign and a unit, if there are any
    r"[<>≤≥≈±+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+−-]?\d+)?(?: ?(?:[%×°]|[A-Za-zµ]{1,3}(?:/s)?))?"
)
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of characters that are not seen and change what is
STYLES = "HASH-OF-STYLES"  # in the template
MISSING = {"", "-", "–", "—"}  # cells without a value
PAGE = 1200  # pixels: a row of pictures that is no wider is shown at its natural size or enlarged
ON_ONE_LINE = 24  # letters: longer cells may be broken, even inside a word, so that a table fits on a phone


@dataclass(frozen=True)
class PagePicture:
    """A PNG file with its texts. Its name is that of the file, without suffix, and unique on the page.

    A chart is as wide as the text. Any other picture is as wide as its row allows.
    """

    name: str
    png: bytes
    alt: str  # what it shows, for readers who cannot see it
    caption: str = ""
    dark: bytes | None = None  # a variant for dark pages
    chart: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, from the header of the PNG file."""
        return int.from_bytes(self.png[16:20], "big"), int.from_bytes(self.png[20:24], "big")


@dataclass(frozen=True)
class Row:
    """Pictures next to each other, all shown equally wide."""

    pictures: Sequence[PagePicture]
    title: str = ""

    @property
    def widest(self) -> int:
        """The width of the widest picture, in pixels of its file."""
        return max(picture.size[0] for picture in self.pictures)

    @property
    def enlarged(self) -> bool:
        """Whether pixels keep sharp edges, by which a picture that is made smaller would lose lines."""
        return self.widest * len(self.pictures) <= PAGE


@dataclass(frozen=True)
class Table:
    """Cells of text. The first cell of each row is the row's name."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def columns(self) -> list[str]:
        """The style class of each column."""
        return [column_class([row[i] for row in self.rows]) for i in range(len(self.head))]


@dataclass(frozen=True)
class Section:
    """A title, paragraphs of plain text, then rows of pictures and tables."""

    title: str
    text: Sequence[str]
    parts: Sequence[Row | Table] = ()


@dataclass(frozen=True)
class Page:
    """A title, a summary, the sections, and at the foot what the results depend on and how to repeat them."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    about: Table
    command: str

    @property
    def row_sizes(self) -> list[tuple[int, int]]:
        """How many pictures rows have, and how wide these are: there is a style for each of these."""
        return sorted({(len(row.pictures), row.widest) for row in self.rows})

    @property
    def rows(self) -> list[Row]:
        """The rows of pictures of all sections."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Row)]


def html(page: Page) -> str:
    """The whole page as one text that holds its pictures."""
    environment = Environment(
        loader=PackageLoader("onnxscope", "show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=without_controls,
    )
    environment.filters["data_uri"] = data_uri
    text = environment.get_template("page.html.j2").render(page=page)
    return text.replace(STYLES, hash_of(text.partition("<style>")[2].partition("</style>")[0]), 1)


def hash_of(styles: str) -> str:
    """What allows these styles in the page, and no others: no name from a model can add any."""
    return f"sha256-{base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()}"


def without_controls(value: Any) -> Any:
    """A value of the template. Characters that change what is seen, and are not seen, are spelled out."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(printable(c) if unicodedata.category(c) in UNSEEN and c != "\n" else c for c in value)


def files(page: Page) -> dict[str, bytes]:
    """The page's pictures as PNG files, by file name."""
    found: dict[str, bytes] = {}
    for picture in (picture for row in page.rows for picture in row.pictures):
        variants = {".png": picture.png} | ({".dark.png": picture.dark} if picture.dark is not None else {})
        for suffix, png in variants.items():
            name = picture.name + suffix
            if name in found:
                raise ValueError(f"two pictures of the page are called '{name}'; names must be unique")
            found[name] = png
    return found


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def column_class(cells: Sequence[str]) -> str:
    """`number` (aligned to the right), `text` (kept on one line) or `long` (broken into lines)."""
    known = [cell for cell in cells if cell not in MISSING]
    if known and all(map(NUMBER.fullmatch, known)):
        return "number"
    return "text" if all(len(cell) <= ON_ONE_LINE for cell in known) else "long"
