"""Pixels are named (channel, y, x), whatever the layout of the array.

This module finds the axis of the channels, and the element that a pixel's name stands for.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence

import numpy as np

from onnxscope.errors import BadOption, shape_text

Pixel = tuple[int, ...]
LAYOUTS = ("auto", "nchw", "nhwc")
PICTURE_CHANNELS = (1, 3, 4)  # of picture files: grey; red, green, blue; the same and opacity
OPTION = "--pixel"
NUMBER = re.compile("[0-9]{1,18}")


def channels_axis(shape: Sequence[int], layout: str = "auto") -> int:
    """The axis of the channels in the shape of a picture, which may have a leading 1.

    The layout `nchw` has the channels on the first axis, `nhwc` on the last. `auto` takes the first axis if
    its size is 1, 3 or 4, or else the last axis if its size is, or else the first. A map of one pixel, such
    as 1x1000x1x1, has its channels on the first axis.
    """
    check_layout(layout)
    if not is_picture(shape):
        raise BadOption(
            f"{shape_text(shape)} is not the shape of a picture",
            where="--layout",
            remedy="a picture has three axes, and may have a leading 1",
        )
    first, last = len(shape) - 3, len(shape) - 1
    seems_last = (
        shape[first] not in PICTURE_CHANNELS
        and shape[last] in PICTURE_CHANNELS
        and tuple(shape[last - 1 :]) != (1, 1)
    )
    return last if layout == "nhwc" or (layout == "auto" and seems_last) else first


def check_layout(layout: str) -> None:
    """Refuse a name that is not that of a layout."""
    if layout not in LAYOUTS:
        raise BadOption(
            f"there is no layout '{layout}'", where="--layout", remedy=f"choose one of {', '.join(LAYOUTS)}"
        )


def is_picture(shape: Sequence[int]) -> bool:
    """Whether the shape is that of one picture: three axes, which may follow a leading 1."""
    return len(shape) == 3 or (len(shape) == 4 and shape[0] == 1)


def check_picture(shape: Sequence[int], where: str, name: str) -> None:
    """Refuse the image of this name where its shape has no single rows and columns."""
    if is_picture(shape):
        return
    if len(shape) == 4:
        raise BadOption(
            f"the model takes {shape[0]} images at once ({shape_text(shape)})",
            where=where,
            remedy=f"give --input-shape {name}:{shape_text([1, *shape[1:]])}",
        )
    raise BadOption(
        f"the image of {shape_text(shape)} is no picture: there are no pixels to make a map of",
        where=where,
        remedy="ask for its row, its ledger or its contributions",
    )


def named_axes(shape: Sequence[int], layout: str = "auto") -> tuple[int, ...]:
    """The axes that the numbers of a pixel's name count along.

    These are channel, y and x of a picture, and of any other array all axes but a leading 1.
    """
    if is_picture(shape):
        channels, lead = channels_axis(shape, layout), len(shape) - 3
        return (channels, *(axis for axis in range(lead, len(shape)) if axis != channels))
    return tuple(range(1 if len(shape) > 1 and shape[0] == 1 else 0, len(shape)))


def channels_last(array: np.ndarray, layout: str = "auto") -> np.ndarray:
    """A picture as rows × columns × channels; any other array as the vector of its elements."""
    if not is_picture(array.shape):
        return array.reshape(-1)
    channels, y, x = named_axes(array.shape, layout)
    lead = array.ndim - 3
    picture = array[0] if lead else array
    return picture.transpose(y - lead, x - lead, channels - lead)


def parse_pixel(text: str, where: str = OPTION) -> Pixel:
    """The pixel that a text names: `1,20,33` is (1, 20, 33)."""
    numbers = [number.strip() for number in text.split(",")]
    if not all(NUMBER.fullmatch(number) for number in numbers):
        raise BadOption(
            f"'{text}' does not name a pixel",
            where=where,
            remedy="write CHANNEL,Y,X such as 1,20,33, or one number for a vector",
        )
    return tuple(map(int, numbers))


def flat_index(
    shape: Sequence[int], pixel: int | Sequence[int], layout: str = "auto", where: str = OPTION
) -> int:
    """The index of a pixel among all elements of an array of this shape, in C order.

    A single number is such an index already.
    """
    shape = tuple(shape) or (1,)  # a scalar is a vector with one element
    axes = named_axes(shape, layout)
    numbers = tuple(map(operator.index, pixel)) if isinstance(pixel, Sequence) else (operator.index(pixel),)
    name = f"pixel {','.join(map(str, numbers))}"
    if len(numbers) == 1 < len(axes):
        pixel_at(shape, numbers[0], layout)  # refuses what lies outside
        return numbers[0]
    if len(numbers) != len(axes):
        raise BadOption(
            f"{name} has {len(numbers)} number(s), and {sizes_text(shape, axes)} takes {len(axes)}",
            where=where,
            remedy=f"give {len(axes)} number(s), or the number of an element",
        )
    if not all(0 <= number < shape[axis] for number, axis in zip(numbers, axes, strict=True)):
        raise BadOption(
            f"{name} lies outside of {sizes_text(shape, axes)}", where=where, remedy="count from 0"
        )
    return sum(number * math.prod(shape[axis + 1 :]) for number, axis in zip(numbers, axes, strict=True))


def pixel_at(shape: Sequence[int], index: int, layout: str = "auto") -> Pixel:
    """The name of the pixel at an index: the inverse of `flat_index`."""
    shape = tuple(shape) or (1,)
    if not 0 <= index < math.prod(shape):
        raise BadOption(
            f"element {index} lies outside of {shape_text(shape)}", where=OPTION, remedy="count from 0"
        )
    return tuple(index // math.prod(shape[axis + 1 :]) % shape[axis] for axis in named_axes(shape, layout))


def sizes_text(shape: Sequence[int], axes: Sequence[int]) -> str:
    """The sizes of an array in the order of the numbers that name a pixel."""
    names = " (channel, y, x)" if is_picture(shape) else ""
    return shape_text([shape[axis] for axis in axes]) + names
