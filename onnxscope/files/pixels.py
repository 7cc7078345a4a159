"""Pixels by name, (channel, y, x), whatever the layout of the array; and where the channels are."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence

import numpy as np

from onnxscope.errors import BadOption, shape_text

Pixel = tuple[int, ...]
LAYOUTS = ("auto", "nchw", "nhwc")
PICTURE_CHANNELS = (1, 3, 4)  # what picture files hold: grey, colours, colours and opacity
OPTION = "--pixel"
NUMBER = re.compile("[0-9]{1,18}")


def channels_axis(shape: Sequence[int], layout: str = "auto") -> int:
    """Which axis of a picture's shape, with or without a leading 1, holds the channels.

    `auto` takes them first where there are 1, 3 or 4, else last where there are so many there, else first. A map of one
    pixel, such as 1x1000x1x1, has them first.
    """
    check_layout(layout)
    if not is_picture(shape):
        raise BadOption(
            f"{shape_text(shape)} is not the shape of a picture",
            where="--layout",
            remedy="pictures have three axes, and a leading 1",
        )
    first, last = len(shape) - 3, len(shape) - 1
    seems_last = (
        shape[first] not in PICTURE_CHANNELS
        and shape[last] in PICTURE_CHANNELS
        and tuple(shape[last - 1 :]) != (1, 1)
    )
    return last if layout == "nhwc" or (layout == "auto" and seems_last) else first


def check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise BadOption(
            f"there is no layout '{layout}'", where="--layout", remedy=f"choose one of {', '.join(LAYOUTS)}"
        )


def is_picture(shape: Sequence[int]) -> bool:
    """Whether the shape is that of one picture: channels, rows and columns in either layout."""
    return len(shape) == 3 or (len(shape) == 4 and shape[0] == 1)


def named_axes(shape: Sequence[int], layout: str = "auto") -> tuple[int, ...]:
    """The axes that name a pixel: channel, y, x of a picture; of anything else all but a leading 1, in their order."""
    if is_picture(shape):
        channels, lead = channels_axis(shape, layout), len(shape) - 3
        return (channels, *(axis for axis in range(lead, len(shape)) if axis != channels))
    return tuple(range(1 if len(shape) > 1 and shape[0] == 1 else 0, len(shape)))


def channels_last(array: np.ndarray, layout: str = "auto") -> np.ndarray:
    """A picture as rows × columns × channels; anything else as the vector of its elements."""
    if not is_picture(array.shape):
        return array.reshape(-1)
    channels, y, x = named_axes(array.shape, layout)
    lead = array.ndim - 3
    picture = array[0] if lead else array
    return picture.transpose(y - lead, x - lead, channels - lead)


def parse_pixel(text: str, where: str = OPTION) -> Pixel:
    """`1,20,33` is (1, 20, 33)."""
    numbers = [number.strip() for number in text.split(",")]
    if not all(NUMBER.fullmatch(number) for number in numbers):
        raise BadOption(
            f"'{text}' names no pixel",
            where=where,
            remedy="write CHANNEL,Y,X such as 1,20,33, or one number for a vector",
        )
    return tuple(map(int, numbers))


def flat_index(
    shape: Sequence[int], pixel: int | Sequence[int], layout: str = "auto", where: str = OPTION
) -> int:
    """Where a pixel stands among the elements of an array of this shape, counted in C order."""
    shape = tuple(shape) or (1,)  # a scalar is a vector of one
    axes = named_axes(shape, layout)
    numbers = tuple(map(operator.index, pixel)) if isinstance(pixel, Sequence) else (operator.index(pixel),)
    said = f"pixel {','.join(map(str, numbers))}"
    if len(numbers) != len(axes):
        raise BadOption(
            f"{said} has {len(numbers)} number(s), and {sizes_text(shape, axes)} takes {len(axes)}",
            where=where,
            remedy="give so many",
        )
    if not all(0 <= number < shape[axis] for number, axis in zip(numbers, axes, strict=True)):
        raise BadOption(
            f"{said} lies outside of {sizes_text(shape, axes)}", where=where, remedy="count from 0"
        )
    return sum(number * math.prod(shape[axis + 1 :]) for number, axis in zip(numbers, axes, strict=True))


def pixel_at(shape: Sequence[int], index: int, layout: str = "auto") -> Pixel:
    """The inverse of `flat_index`."""
    shape = tuple(shape) or (1,)
    if not 0 <= index < math.prod(shape):
        raise BadOption(
            f"element {index} lies outside of {shape_text(shape)}", where=OPTION, remedy="count from 0"
        )
    return tuple(index // math.prod(shape[axis + 1 :]) % shape[axis] for axis in named_axes(shape, layout))


def sizes_text(shape: Sequence[int], axes: Sequence[int]) -> str:
    """The sizes in the order in which a pixel's numbers stand."""
    names = " (channel, y, x)" if is_picture(shape) else ""
    return shape_text([shape[axis] for axis in axes]) + names
