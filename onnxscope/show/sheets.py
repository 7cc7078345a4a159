"""Values as pictures: signed around grey, natural, or bars; alone or as a sheet, with the scale stated below. Arrays in, PNG out."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onnxscope.errors import BadOption, printable
from onnxscope.files.models import check_target, write
from onnxscope.files.pixels import Pixel, flat_index

SHORTER, LONGER = (
    192,
    1024,
)  # small pictures are enlarged until the shorter side has so many pixels, or the longer one would exceed its own
TILE_GAP = 4  # between the channels of a contact sheet
HALF, ALL_BARS, WIDEST_BAR = (
    96,
    384,
    32,
)  # pixels above and below zero, of all bars together where they are few, of one
MARGIN, LINE, TEXT, PADDING = (
    20,
    18,
    14,
    6,
)  # of a sheet, of a line of text, of its letters, between text and picture
NO_BAR, ZERO, ABOVE, BELOW = (240, 240, 240), (128, 128, 128), (176, 81, 43), (42, 122, 168)
FRAME = ((255, 230, 0), (0, 0, 0))  # bright inside and dark outside: on any background one of the two shows
SPELLED = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "σ": "sigma", "Σ": "Sum ", "ᵀ": "T", "≤": "<="}
)  # Pillow's font lacks these

SPACE = re.compile("(?<!=) +(?!=)")  # where a line may end: not beside an equals sign

Box = tuple[int, int, int, int]  # left, top, right, bottom, the last two being outside
Rows = Sequence[Sequence["Picture"]]


@dataclass(frozen=True)
class Picture:
    """What one picture shows: rows × columns × channels, red first, or a vector (see `images.colours_last`).

    A natural one holds bytes, or 0…1; any other is shown around grey. Without a scale of its own it has that of its sheet.
    """

    values: np.ndarray
    label: str = ""
    mark: Sequence[int] | None = None  # the pixel (channel, y, x), or the element, that gets a frame
    scale: float | None = None  # the value that is white, or a bar's full height
    natural: bool = False

    @property
    def vector(self) -> bool:
        """Whether bars show it: a map of one pixel is a vector as well."""
        return self.values.ndim == 1 or self.values.shape[:2] == (1, 1)


@dataclass(frozen=True)
class Panel:
    """A picture in pixels, rows × columns × 3 bytes, with the place of its mark and what is written around it."""

    pixels: np.ndarray
    marked: Box | None
    label: str
    legend: str  # what the scale is; none where it is natural
    notes: Sequence[str]
    vector: bool


def magnitude(*arrays: np.ndarray) -> float:
    """The largest |value|: the scale at which nothing is cut off."""
    return max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)


def save(path: Path, rows: Rows, title: str = "") -> Path:
    """Write a sheet as a PNG file, beside its place and then renamed."""
    if path.suffix.lower() != ".png":
        raise BadOption("pictures are written as PNG", where=f"'{path}'", remedy="call it .png")
    write({check_target(path): iter([png(sheet(rows, title))])}, path)
    return path


def alone(picture: Picture) -> tuple[bytes, str]:
    """One picture as a PNG file without any text, and what has to be said below it."""
    check(picture)
    drawn = panel(picture, magnitude(picture.values))
    canvas = Image.fromarray(drawn.pixels)
    if drawn.marked:
        frame(canvas, drawn.marked, 0, 0)
    return png(canvas), "; ".join(filter(None, [drawn.legend, *drawn.notes]))


def png(canvas: Image.Image) -> bytes:
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def png_of(pixels: np.ndarray) -> bytes:
    """Rows × columns × 3 bytes as a PNG file."""
    return png(Image.fromarray(np.ascontiguousarray(pixels)))


def sheet(rows: Rows, title: str = "") -> Image.Image:
    """Rows of pictures, each below its label. A scale that all share is stated once at the foot, else below each picture."""
    pictures = [picture for row in rows for picture in row]
    for picture in pictures:
        check(picture)
    scales = {
        vector: magnitude(*(p.values for p in pictures if p.vector == vector and not p.natural))
        for vector in (False, True)
    }
    panels = [[panel(picture, scales[picture.vector]) for picture in row] for row in rows]
    foot = shared_legend([drawn for row in panels for drawn in row])
    return composed(
        [
            [Cell(drawn, drawn.notes if foot else [drawn.legend, *drawn.notes]) for drawn in row]
            for row in panels
        ],
        title,
        foot,
    )


def check(picture: Picture) -> None:
    where = f"picture '{picture.label}'"
    if not np.isfinite(picture.values).all():
        raise BadOption("holds NaN or infinity", where=where, remedy="look at the values themselves")
    if picture.scale is not None and not (picture.scale > 0 and math.isfinite(picture.scale)):
        raise BadOption(f"{picture.scale} is no scale", where=where, remedy="give a positive number")
    if picture.mark is not None:
        flat_index(picture.values.shape, picture.mark, "nhwc", where)  # refuses what lies outside


def shared_legend(panels: Sequence[Panel]) -> str:
    """What can be said once for a whole sheet, where all its pictures have one scale, and all its bars."""
    legends = sorted({(p.vector, p.legend) for p in panels if p.legend})
    once = len(panels) > 1 and len(legends) == len({vector for vector, _ in legends})
    return "; ".join(legend for _, legend in legends) if once else ""


def panel(picture: Picture, sheet_scale: float) -> Panel:
    scale = sheet_scale if picture.scale is None else picture.scale
    values = picture.values
    mark = None if picture.mark is None else tuple(picture.mark)
    notes = [f"framed: {','.join(map(str, mark))}"] if mark is not None else []
    if picture.vector:
        pixels, marked = bars(values.reshape(-1), scale, mark)
        notes = [*bar_notes(values.reshape(-1)), *notes]
    else:
        pixels, marked = tiled(
            natural_pixels(values) if picture.natural else signed_pixels(values, scale), mark
        )
        notes += [f"{values.shape[2]} channels, row by row"] if values.shape[2] not in (1, 3) else []
    beyond = outside(
        values, *((0, 1 if values.dtype.kind == "f" else 255) if picture.natural else (-scale, scale))
    )
    return Panel(
        pixels,
        marked,
        picture.label,
        "" if picture.natural else legend(scale, picture.vector),
        notes + beyond,
        picture.vector,
    )


def legend(scale: float, vector: bool) -> str:
    middle, ends = ("bars: middle", "top and bottom") if vector else ("grey", "white and black")
    return f"{middle} = 0, {ends} = ±{scale:.3g}" if scale else f"{middle} = 0 everywhere"


def outside(values: np.ndarray, low: float, high: float) -> list[str]:
    count = np.count_nonzero((values < low) | (values > high))
    return (
        [f"{count} of {values.size} values lie outside of {low:.3g} to {high:.3g} and are cut off"]
        if count
        else []
    )


def signed_pixels(values: np.ndarray, scale: float) -> np.ndarray:
    """128 + 127·value/scale, rounded, and cut off at ±scale."""
    shares = values.astype(np.float64) / scale if scale else np.zeros(values.shape)
    return (128 + 127 * shares.clip(-1, 1)).round().astype(np.uint8)


def natural_pixels(values: np.ndarray) -> np.ndarray:
    return (
        (255 * values.clip(0, 1)).round().astype(np.uint8)
        if values.dtype.kind == "f"
        else values.clip(0, 255).astype(np.uint8)
    )


def tiled(pixels: np.ndarray, mark: Pixel | None) -> tuple[np.ndarray, Box | None]:
    """Three channels in colour, one in grey, any other number as a contact sheet; small ones enlarged by a whole number."""
    height, width, count = pixels.shape
    tiles = [pixels] if count == 3 else [pixels[..., c : c + 1].repeat(3, axis=2) for c in range(count)]
    across = math.ceil(math.sqrt(len(tiles)))
    down = math.ceil(len(tiles) / across)
    factor = enlargement(down * height, across * width)
    step_y, step_x = factor * height + TILE_GAP, factor * width + TILE_GAP
    canvas = np.full((down * step_y - TILE_GAP, across * step_x - TILE_GAP, 3), 255, np.uint8)
    corners = [(i // across * step_y, i % across * step_x) for i in range(len(tiles))]
    for tile, (top, left) in zip(tiles, corners, strict=True):
        canvas[top : top + factor * height, left : left + factor * width] = tile.repeat(
            factor, axis=0
        ).repeat(factor, axis=1)
    if mark is None:
        return canvas, None
    channel, y, x = mark
    top, left = corners[0 if count == 3 else channel]
    return canvas, (left + x * factor, top + y * factor, left + (x + 1) * factor, top + (y + 1) * factor)


def enlargement(height: int, width: int) -> int:
    """The least whole number that makes the shorter side long enough, or the greatest that keeps the longer one short enough."""
    return max(1, min(math.ceil(SHORTER / min(height, width)), LONGER // max(height, width)))


def bars(values: np.ndarray, scale: float, mark: Pixel | None) -> tuple[np.ndarray, Box | None]:
    """A bar for each element, up or down from zero; of a long vector each bar spans the extremes of several elements."""
    group = elements_in_a_bar(values)
    columns = np.pad(values.astype(np.float64), (0, -len(values) % group)).reshape(-1, group)
    wide = max(1, min(WIDEST_BAR, ALL_BARS // len(columns)))
    extremes = np.stack([columns.max(axis=1), columns.min(axis=1)]).clip(-scale, scale)
    highest, lowest = (HALF * extremes / scale).round() if scale else extremes
    level = np.arange(HALF, -HALF - 1, -1)[:, None]
    pixels = np.full((2 * HALF + 1, len(columns), 3), NO_BAR, np.uint8)
    pixels[(level > 0) & (level <= highest)] = ABOVE
    pixels[(level < 0) & (level >= lowest)] = BELOW
    pixels = pixels.repeat(wide, axis=1)
    if wide > 3:
        pixels[:, wide - 1 :: wide] = NO_BAR
    pixels[HALF] = ZERO
    return pixels, None if mark is None else (
        mark[0] // group * wide,
        0,
        (mark[0] // group + 1) * wide,
        len(pixels),
    )


def elements_in_a_bar(values: np.ndarray) -> int:
    return math.ceil(len(values) / LONGER)


def bar_notes(values: np.ndarray) -> list[str]:
    group, peak = elements_in_a_bar(values), int(np.abs(values).argmax())
    return [
        f"{len(values)} values from left to right" + (f", {group} to a bar" if group > 1 else ""),
        f"extreme: {values[peak]:+.2e} at {peak}",
    ]


class Cell:
    """A panel with its text, in lines no wider than the panel, unless a single word is."""

    def __init__(self, drawn: Panel, below: Iterable[str]) -> None:
        self.panel, texts = drawn, list(below)
        height, panel_width, _ = drawn.pixels.shape
        self.width = max(SHORTER, panel_width, *map(widest_word, (drawn.label, *texts)))
        self.above = wrapped(drawn.label, self.width)
        self.below = [line for text in texts for line in wrapped(text, self.width)]
        self.height = height + sum(LINE * len(lines) + PADDING for lines in (self.above, self.below) if lines)

    def draw(self, canvas: Image.Image, left: int, top: int) -> None:
        if self.above:
            top = write_lines(canvas, self.above, left, top) + PADDING
        canvas.paste(Image.fromarray(self.panel.pixels), (left, top))
        if self.panel.marked:
            frame(canvas, self.panel.marked, left, top)
        write_lines(canvas, self.below, left, top + len(self.panel.pixels) + PADDING)


def composed(rows: Sequence[Sequence[Cell]], title: str, foot: str) -> Image.Image:
    """Title, rows of cells in columns, and foot on white."""
    columns = max(map(len, rows))
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(columns)]
    width = max(sum(widths) + MARGIN * (columns - 1), *map(widest_word, (title, foot)))
    head, tail = wrapped(title, width), wrapped(foot, width)
    heights = [max(cell.height for cell in row) for row in rows]
    text = sum(LINE * len(lines) + MARGIN for lines in (head, tail) if lines)
    canvas = Image.new("RGB", (width + 2 * MARGIN, sum(heights) + MARGIN * (len(rows) + 1) + text), "white")
    top = write_lines(canvas, head, MARGIN, MARGIN) + MARGIN if head else MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = MARGIN
        for cell, column in zip(row, widths, strict=False):
            cell.draw(canvas, left, top)
            left += column + MARGIN
        top += height + MARGIN
    write_lines(canvas, tail, MARGIN, top)
    return canvas


def frame(canvas: Image.Image, marked: Box, left: int, top: int) -> None:
    """A square around a pixel, which stays free; at a little distance where the pixel is small."""
    x0, y0, x1, y1 = marked
    draw, distance = ImageDraw.Draw(canvas), max(1, 4 - (x1 - x0))
    for i, colour in enumerate(FRAME, start=distance):
        draw.rectangle((left + x0 - i, top + y0 - i, left + x1 - 1 + i, top + y1 - 1 + i), outline=colour)


@functools.cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)


def words(text: str) -> list[str]:
    return [word for word in SPACE.split(printable(" ".join(text.split())).translate(SPELLED)) if word]


def widest_word(text: str) -> int:
    return max((math.ceil(font().getlength(word)) for word in words(text)), default=0)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most so many pixels; a word is never broken, nor is an equation."""
    lines: list[str] = []
    for word in words(text):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font().getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write_lines(canvas: Image.Image, lines: Sequence[str], left: int, top: int) -> int:
    """Returns where the next line would start."""
    draw = ImageDraw.Draw(canvas)
    for line in lines:
        draw.text((left, top), line, fill="black", font=font())
        top += LINE
    return top
