"""One picture in pixels: signed values around grey, a natural image as it is, or bars for a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.files.pixels import Pixel, flat_index

SHORTER = 192  # pixels: small pictures are enlarged until their shorter side has so many,
LONGER = 1024  # or until their longer side would have more than so many
TILE_GAP = 4  # pixels between the channels of a contact sheet
HALF = 96  # pixels above zero, and below it, in a chart of bars
ALL_BARS, WIDEST_BAR = 384, 32  # pixels: bars are made wider until all of them, or each of them, have so many
NO_BAR, ZERO, ABOVE, BELOW = (
    (240, 240, 240),
    (128, 128, 128),
    (176, 81, 43),
    (42, 122, 168),
)  # colours of bars

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom lie just outside


@dataclass(frozen=True)
class Picture:
    """Values to be shown: rows × columns × channels, red first, or a vector (see `pictures.colours_last`).

    A natural picture holds bytes or numbers of 0…1. Any other is shown around grey.
    """

    values: np.ndarray
    label: str = ""
    mark: Sequence[int] | None = None  # the pixel (channel, y, x), or the element, that gets a frame
    scale: float | None = (
        None  # the value that is white, or a bar's full height; None: the scale of the sheet
    )
    natural: bool = False

    @property
    def vector(self) -> bool:
        """Whether it is shown as bars, which also holds for an image of one pixel."""
        return self.values.ndim == 1 or self.values.shape[:2] == (1, 1)


@dataclass(frozen=True)
class Panel:
    """A picture in pixels, rows × columns × 3 bytes, and what is written around it."""

    pixels: np.ndarray
    marked: Box | None  # where the frame belongs
    label: str
    legend: str  # states the scale; empty for a natural picture
    notes: Sequence[str]
    vector: bool


def magnitude(*arrays: np.ndarray) -> float:
    """The largest |value|, which as a scale cuts nothing off; 0 where there are no values."""
    return max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)


def check(picture: Picture) -> None:
    """Raises an error where values are not finite, the scale is not positive, or the mark lies outside."""
    where = f"picture '{picture.label}'"
    if not np.isfinite(picture.values).all():
        raise BadOption("holds NaN or infinity", where=where, remedy="look at the values themselves")
    if picture.scale is not None and not (picture.scale > 0 and math.isfinite(picture.scale)):
        raise BadOption(
            f"the scale must be a positive number, not {picture.scale}", where=where, remedy="give one"
        )
    if picture.mark is not None:
        flat_index(picture.values.shape, picture.mark, "nhwc", where)  # raises where it lies outside


def panel(picture: Picture, sheet_scale: float) -> Panel:
    """The picture drawn on its own scale, or on that of its sheet where it has none."""
    scale = sheet_scale if picture.scale is None else picture.scale
    values = picture.values
    mark = None if picture.mark is None else tuple(picture.mark)
    notes = [] if mark is None else [framed(mark)]
    if picture.vector:
        pixels, marked = bars(values.reshape(-1), scale, mark)
        notes = [*bar_notes(values.reshape(-1)), *notes]
    else:
        pixels, marked = tiled(
            natural_pixels(values) if picture.natural else signed_pixels(values, scale), mark
        )
        notes += [f"{values.shape[2]} channels, row by row"] if values.shape[2] not in (1, 3) else []
    low, high = (0, 1 if values.dtype.kind == "f" else 255) if picture.natural else (-scale, scale)
    return Panel(
        pixels,
        marked,
        picture.label,
        "" if picture.natural else legend(scale, picture.vector),
        [*notes, *outside(values, low, high)],
        picture.vector,
    )


def framed(mark: Pixel) -> str:
    """A note on the marked pixel or element."""
    numbers = ",".join(map(str, mark))
    return f"framed: {numbers} (channel, y, x)" if len(mark) > 1 else f"framed: element {numbers}"


def legend(scale: float, vector: bool) -> str:
    """How the pixels of a picture, or the bars of a vector, are to be read."""
    middle, ends = ("bars: middle", "top and bottom") if vector else ("grey", "white and black")
    return f"{middle} = 0, {ends} = ±{scale:.3g}" if scale else f"{middle} = 0 everywhere"


def outside(values: np.ndarray, low: float, high: float) -> list[str]:
    """A note on the values that are cut off, if there are any."""
    count = np.count_nonzero((values < low) | (values > high))
    return (
        [f"{count} of {values.size} values lie outside of {low:.3g} to {high:.3g} and are cut off"]
        if count
        else []
    )


def signed_pixels(values: np.ndarray, scale: float) -> np.ndarray:
    """128 + 127·value/scale, rounded; values beyond ±scale are cut off."""
    shares = values.astype(np.float64) / scale if scale else np.zeros(values.shape)
    return (128 + 127 * shares.clip(-1, 1)).round().astype(np.uint8)


def natural_pixels(values: np.ndarray) -> np.ndarray:
    """Bytes of numbers in 0…1, or of whole numbers in 0…255; values beyond are cut off."""
    return (
        (255 * values.clip(0, 1)).round().astype(np.uint8)
        if values.dtype.kind == "f"
        else values.clip(0, 255).astype(np.uint8)
    )


def tiled(pixels: np.ndarray, mark: Pixel | None) -> tuple[np.ndarray, Box | None]:
    """The picture enlarged by a whole number, and where its marked pixel is.

    Three channels are drawn in colour, one in grey, any other number as grey tiles of a contact sheet.
    """
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
    """The least factor that makes the shorter side SHORTER pixels long and keeps the longer within LONGER."""
    return max(1, min(math.ceil(SHORTER / min(height, width)), LONGER // max(height, width)))


def bars(values: np.ndarray, scale: float, mark: Pixel | None) -> tuple[np.ndarray, Box | None]:
    """A bar for each element, up or down from zero, and where the marked element is.

    In a long vector several elements share a bar, which spans from the lowest to the highest of them.
    """
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
    if mark is None:
        return pixels, None
    bar = mark[0] // group
    return pixels, (bar * wide, 0, (bar + 1) * wide, len(pixels))


def elements_in_a_bar(values: np.ndarray) -> int:
    """How many elements share a bar, so that there are at most LONGER bars."""
    return math.ceil(len(values) / LONGER)


def bar_notes(values: np.ndarray) -> list[str]:
    """What cannot be read off the bars: how many values there are, and the largest of them in size."""
    group, peak = elements_in_a_bar(values), int(np.abs(values).argmax())
    return [
        f"{len(values)} values from left to right" + (f", {group} in each bar" if group > 1 else ""),
        f"largest in size: {values[peak]:+.2e} at element {peak}",
    ]
