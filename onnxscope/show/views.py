"""How the arrays of one frozen image are looked at: in the picture's own colours, or around grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from onnxscope.ask.interpreter import Interpreter
from onnxscope.files.pictures import MODES, colours_last, unrounded_pixels
from onnxscope.files.pixels import channels_axis, flat_index, is_picture
from onnxscope.files.preprocessing import Preprocess
from onnxscope.show.sheets import Picture, magnitude

MOST_OUTSIDE = 0.1  # share of an output's values outside 0…1 up to which it is shown in the image's units
SEEN = 1e-3  # of the largest magnitude: what a close-up holds


class Views:
    """The pictures of one interpreter's arrays; `preprocess` is what was done to the image's pixels."""

    def __init__(self, x: Interpreter, preprocess: Preprocess) -> None:
        self.x, self.preprocess = x, preprocess

    @cached_property
    def settled(self) -> Preprocess | None:
        """The preprocessing with nothing left open; None where the image is not what a picture file became."""
        shape = self.x.image.shape
        given = tuple(self.x.map.engine.image_input.shape)
        if shape != given or not is_picture(shape) or shape[channels_axis(shape, self.x.layout)] not in MODES:
            return None
        return self.preprocess.settled(shape)

    def image(self, mark: Sequence[int] | None = None) -> Picture:
        return self.natural(self.x.image, "image", mark)

    def output(self, mark: Sequence[int] | None = None) -> Picture:
        return self.natural(self.x.output, "output", mark)

    def natural(self, array: np.ndarray, label: str, mark: Sequence[int] | None = None) -> Picture:
        """In the image's colours where it has the image's channels; else around grey, with a scale of its own."""
        like, shape = self.settled, array.shape
        if like and is_picture(shape) and shape[channels_axis(shape, self.x.layout)] == len(like.mean):
            return replace(displayed(unrounded_pixels(array, like) / 255, label), mark=mark)
        shown = self.around_grey(array, label, magnitude(array) or None)
        if mark is not None and shown.vector:
            mark = (flat_index(shape, tuple(mark), self.x.layout),)
        return replace(shown, mark=mark)

    def like_image(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        """What has the image's shape, around grey; the pictures of a sheet share a scale unless one is given."""
        return self.around_grey(array.reshape(self.x.image.shape), label, scale)

    def like_output(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        """What has the output's shape, around grey."""
        return self.around_grey(array.reshape(self.x.output.shape), label, scale)

    def around_grey(self, array: np.ndarray, label: str, scale: float | None) -> Picture:
        order = self.settled or replace(self.preprocess, layout=self.x.layout)
        return Picture(colours_last(array, order), label, scale=scale)


def close_up(picture: Picture, seen: float = SEEN) -> list[Picture]:
    """The picture and, where a small part holds all that exceeds this share of the largest magnitude, that part."""
    if picture.vector:
        return [picture]
    top, bottom, left, right = box_of(picture.values, seen)
    height, width = picture.values.shape[:2]
    if 2 * (bottom - top) > height or 2 * (right - left) > width:
        return [picture]
    label = f"its rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    return [picture, replace(picture, values=picture.values[top:bottom, left:right], label=label)]


def displayed(values: np.ndarray, label: str) -> Picture:
    """Values of 0…1 as they are; where many lie outside, stretched between their extremes, as the label says."""
    low, high = float(values.min()), float(values.max())
    if np.mean((values < 0) | (values > 1)) <= MOST_OUTSIDE:
        return Picture(values, label, natural=True)
    said = f"{label} (black = {low:.3g}, white = {high:.3g} times the image's white)".lstrip()
    return Picture((values - low) / (high - low or 1.0), said, natural=True)


def box_of(values: np.ndarray, least: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right (bottom and right outside) of what exceeds this share of the largest magnitude."""
    seen = np.abs(values).max(axis=2) > least * magnitude(values)
    if not seen.any():
        return 0, values.shape[0], 0, values.shape[1]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def where_voted(image: Picture, mask: np.ndarray, label: str) -> Picture:
    """The image where the mask is true, and grey elsewhere."""
    natural = np.asarray(image.values)
    grey = np.asarray(128 if natural.dtype.kind == "u" else 0.5, natural.dtype)
    return Picture(np.where(mask[..., None], natural, grey), label, natural=image.natural)
