"""Results: how an answer is printed, drawn, saved, and turned into JSON."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.errors import BadOption, printable
from onnxscope.files.models import check_target, write

Draw = Callable[[], bytes]  # returns the bytes of a PNG file
Cells = tuple[Sequence[str], Sequence[Sequence[str]]]  # the headings of a table, and its rows
MOST_ROWS = 60  # that are printed of a table


class Drawing:
    """A picture, which a notebook shows and which can be saved."""

    def __init__(self, png: bytes) -> None:
        self.png = png

    def __repr__(self) -> str:
        return f'Drawing({len(self.png):,} bytes of PNG; save it with .save("FILE.png"))'

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> Path:
        """Write the picture as FILE.png."""
        return save_bytes(Path(path), self.png, ".png")


@dataclass(frozen=True, repr=False)
class Result:
    """What an analysis found. It prints as a table.

    It can be drawn and saved as a picture if it comes from `onnxscope.load(model).freeze(image)`.
    """

    draw: Draw | None = field(default=None, kw_only=True, compare=False)

    @property
    def title(self) -> str:
        """One line that stands above the table."""
        return type(self).__name__

    def cells(self) -> Cells:
        """The headings and the rows of the table that is printed."""
        return ("", "value"), [(name, short(value)) for name, value in self.to_dict().items()]

    def to_dict(self) -> dict[str, Any]:
        """All values, as JSON has them: the fields by which two results are compared."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.compare}

    def plot(self) -> Drawing:
        """The result as a picture."""
        if self.draw is None:
            raise BadOption(
                "this result has no picture",
                where=type(self).__name__,
                remedy="get it from onnxscope.load(model).freeze(image), whose results can be drawn",
            )
        return Drawing(self.draw())

    def save(self, path: str | Path) -> Path:
        """Write the picture to FILE.png, or the values to FILE.json, whichever the name ends in."""
        path = Path(path)
        if path.suffix.lower() != ".json":
            return self.plot().save(path)
        return save_bytes(path, json.dumps(self.to_dict(), indent=1).encode(), ".json")

    def __repr__(self) -> str:
        return f"{printable(self.title)}\n{text_table(*shortened_rows(self.cells()))}"

    def _repr_html_(self) -> str:
        head, rows = shortened_rows(self.cells())
        cells = [f"<tr>{''.join(f'<th>{html.escape(c)}</th>' for c in head)}</tr>"]
        cells += [f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in row)}</tr>" for row in rows]
        picture = image_tag(self.draw()) if self.draw is not None else ""
        return f"<p>{html.escape(self.title)}</p><table>{''.join(cells)}</table>{picture}"


def image_tag(png: bytes) -> str:
    """A picture as HTML."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}"/>'


def save_bytes(path: Path, data: bytes, suffix: str) -> Path:
    """Write a whole file, whose name must have this suffix."""
    if path.suffix.lower() != suffix:
        raise BadOption(
            f"the file's name must end in {suffix}", where=f"'{path}'", remedy=f"call it NAME{suffix}"
        )
    target = check_target(path)
    write({target: iter([data])}, path)
    return target


def plain(value: Any) -> Any:
    """Arrays, results and mappings as JSON has them. NaN and infinity become null."""
    if isinstance(value, Result):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def short(value: Any) -> str:
    """A value as it is shown in a cell of a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def shortened_rows(cells: Cells) -> Cells:
    """The table with at most `MOST_ROWS` rows, and a row that tells how many were left out."""
    head, rows = cells
    if len(rows) <= MOST_ROWS:
        return head, rows
    left = [f"… {len(rows) - MOST_ROWS} more", *[""] * (len(head) - 1)]
    return head, [*rows[:MOST_ROWS], left]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text, its columns aligned and separated by two spaces."""
    lines = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
