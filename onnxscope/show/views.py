"""How the arrays of one frozen image become pictures: in natural colours, or around grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from onnxscope.ask.interpreter import Interpreter
from onnxscope.files.pictures import MODES, colours_last, unrounded_pixels
from onnxscope.files.pixels import channels_axis, flat_index, is_picture, pixel_at
from onnxscope.files.preprocessing import Preprocess
from onnxscope.show.panels import Picture, magnitude

MOST_OUTSIDE = 0.1  # share of values outside 0…1 up to which an output is shown in the image's units
SEEN = 1e-3  # of the largest magnitude: a close-up holds all that is larger


class Views:
    """Pictures of one interpreter's arrays; `preprocess` states how the image came from a picture file."""

    def __init__(self, x: Interpreter, preprocess: Preprocess) -> None:
        self.x, self.preprocess = x, preprocess

    @cached_property
    def settled(self) -> Preprocess | None:
        """The preprocessing with all choices made; None where the image cannot come from a picture file."""
        shape, given = self.x.image.shape, tuple(self.x.map.engine.image_input.shape)
        return settled_for(shape, self.preprocess) if shape == given else None

    def image(self, mark: Sequence[int] | None = None) -> Picture:
        """The image, with a frame around the pixel `mark`."""
        return self.natural(self.x.image, "image", mark)

    def output(self, mark: Sequence[int] | None = None) -> Picture:
        """The output, with a frame around the pixel `mark`."""
        return self.natural(self.x.output, "output", mark)

    def natural(self, array: np.ndarray, label: str, mark: Sequence[int] | None = None) -> Picture:
        """In natural colours where the array has the image's channels; else around grey, on its own scale."""
        shown = as_displayed(array, label, self.given, self.settled)
        if mark is None:
            return shown
        at = flat_index(array.shape, tuple(mark), self.x.layout)
        return replace(shown, mark=(at,) if shown.vector else pixel_at(array.shape, at, self.x.layout))

    def like_image(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        """An array of the image's size around grey; pictures of a sheet share a scale where none is given."""
        return self.around_grey(array.reshape(self.x.image.shape), label, scale)

    def like_output(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        """An array of the output's size around grey."""
        return self.around_grey(array.reshape(self.x.output.shape), label, scale)

    def around_grey(self, array: np.ndarray, label: str, scale: float | None) -> Picture:
        """Signed values: 0 is grey, ±scale is white and black."""
        return Picture(colours_last(array, self.settled or self.given), label, scale=scale)

    @property
    def given(self) -> Preprocess:
        """The preprocessing with the layout of the arrays."""
        return replace(self.preprocess, layout=self.x.layout)


def settled_for(shape: Sequence[int], preprocess: Preprocess) -> Preprocess | None:
    """The preprocessing with all choices made; None where such an image cannot come from a picture file."""
    if not is_picture(shape) or shape[channels_axis(shape, preprocess.layout)] not in MODES:
        return None
    return preprocess.settled(shape)


def has_colours(shape: Sequence[int], given: Preprocess, settled: Preprocess | None) -> bool:
    """Whether an array has as many channels as the image has colours."""
    if settled is None or not is_picture(shape):
        return False
    return shape[channels_axis(shape, given.layout)] == len(settled.mean)


def as_displayed(array: np.ndarray, label: str, given: Preprocess, settled: Preprocess | None) -> Picture:
    """In natural colours where the array has the image's channels; else around grey, on its own scale."""
    if settled is not None and has_colours(array.shape, given, settled):
        return displayed(unrounded_pixels(array, settled) / 255, label)
    return Picture(colours_last(array, settled or given), label, scale=magnitude(array) or None)


def close_up(picture: Picture, seen: float = SEEN) -> list[Picture]:
    """The picture and, where a small part holds all values above `seen` times the largest, that part."""
    if picture.vector:
        return [picture]
    top, bottom, left, right = box_of(picture.values, seen)
    height, width = picture.values.shape[:2]
    if 2 * (bottom - top) > height or 2 * (right - left) > width:
        return [picture]
    label = f"enlarged: rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    return [picture, replace(picture, values=picture.values[top:bottom, left:right], label=label)]


def displayed(values: np.ndarray, label: str) -> Picture:
    """A natural picture of values in 0…1; where many lie outside, stretched as the label then states."""
    low, high = float(values.min()), float(values.max())
    if np.mean((values < 0) | (values > 1)) <= MOST_OUTSIDE:
        return Picture(values, label, natural=True)
    stretched = f"{label} (black = {low:.3g}, white = {high:.3g} times the image's white)".lstrip()
    return Picture((values - low) / (high - low or 1.0), stretched, natural=True)


def box_of(values: np.ndarray, least: float) -> tuple[int, int, int, int]:
    """The smallest box around all values above `least` times the largest: top, bottom, left, right.

    Bottom and right lie just outside.
    """
    seen = np.abs(values).max(axis=2) > least * magnitude(values)
    if not seen.any():
        return 0, values.shape[0], 0, values.shape[1]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def where_voted(image: Picture, mask: np.ndarray, label: str) -> Picture:
    """The image where the mask is true; all other pixels are grey."""
    natural = np.asarray(image.values)
    grey = np.asarray(128 if natural.dtype.kind == "u" else 0.5, natural.dtype)
    return Picture(np.where(mask[..., None], natural, grey), label, natural=image.natural)
