"""Picture files as a model's input, and a model's values as pixels again.

Only this module and show/sheets.py import Pillow.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxscope.errors import BadOption, shape_text
from onnxscope.files import numbers
from onnxscope.files.pixels import channels_axis, channels_last, is_picture
from onnxscope.files.preprocessing import UNIT, Preprocess

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names of pictures, by their number of channels
OPTION = "--image"
NUMBERS = "give an .npy file of numbers that numpy.save wrote"
# Other formats of Pillow are rare as the input of a network, and some start programs or have known faults.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 1 << 27  # more than cameras have; as colours they take 0.5 GB before they are made smaller


def read(path: Path, shape: Sequence[int], preprocess: Preprocess = UNIT) -> np.ndarray:
    """A file as the input of a model whose input has this shape.

    A picture is fitted to the shape and preprocessed. An .npy file must hold an array of the shape already,
    in the model's own values.
    """
    return read_array(path, shape) if is_array(path) else read_picture(path, shape, preprocess)


def picture_size(path: Path, layout: str = "auto") -> tuple[int, int]:
    """Height and width of the picture in a file, turned upright, or of the array in an .npy file."""
    if not is_array(path):
        width, height = opened(path).size
        return height, width
    shape = array_shape(path)
    if not is_picture(shape):
        raise BadOption(
            f"has the shape {shape_text(shape)}, which is not that of a picture",
            where=option_text(path),
            remedy="give all sizes with --input-shape",
        )
    channels = channels_axis(shape, layout)
    height, width = (size for axis, size in enumerate(shape[-3:], len(shape) - 3) if axis != channels)
    return height, width


def is_array(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def is_one(path: Path) -> bool:
    """Whether a file holds a single picture: an array with a leading size may hold more."""
    return not is_array(path) or len(shape := array_shape(path)) < 4 or shape[0] == 1


def read_array(path: Path, shape: Sequence[int]) -> np.ndarray:
    """The array in an .npy file as float32; its shape must be this one, or this one without a leading 1."""
    array, shape = loaded(path), tuple(shape)
    if array.shape not in (shape, shape[1:] if shape[:1] == (1,) else shape):
        raise BadOption(
            f"has the shape {shape_text(array.shape)}, and must have the shape {shape_text(shape)}",
            where=option_text(path),
            remedy="reshape the array",
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise BadOption(
            "holds NaN, or numbers outside the range of float32",
            where=option_text(path),
            remedy="give finite numbers",
        )
    return values


def loaded(path: Path) -> np.ndarray:
    """The array in an .npy file, which must hold numbers."""
    try:
        return numbers.read_npy(path)
    except Exception as error:  # for damaged headers NumPy raises whatever its parser raises
        raise unreadable(path, error, NUMBERS) from error


def array_shape(path: Path) -> tuple[int, ...]:
    """The shape of the array in an .npy file, which is not read."""
    try:
        return numbers.header(path)
    except Exception as error:
        raise unreadable(path, error, NUMBERS) from error


def read_picture(path: Path, shape: Sequence[int], preprocess: Preprocess) -> np.ndarray:
    """A picture file, brought to the size of the shape and preprocessed."""
    if len(shape) == 4 and shape[0] > 1:
        one = read_picture(path, (1, *shape[1:]), preprocess)
        return np.repeat(one, shape[0], axis=0)
    if not is_picture(shape) or 0 in shape or shape[channels_axis(shape, preprocess.layout)] not in MODES:
        raise BadOption(
            f"a picture does not fit the model's input of {shape_text(shape)}",
            where=option_text(path),
            remedy="give an .npy file with an array of that shape",
        )
    settled = preprocess.settled(shape)
    channels_first = settled.layout == "nchw"
    height, width = shape[-2:] if channels_first else shape[-3:-1]
    picture = in_mode(opened(path), MODES[len(settled.mean)], path)
    if settled.fit == "crop":
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    else:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float64).reshape(height, width, -1)
    if settled.channels == "bgr":
        pixels = pixels[..., ::-1]
    with np.errstate(over="ignore"):
        values = ((pixels * settled.scale - settled.mean) / settled.std).astype(np.float32)
    if not np.isfinite(values).all():
        raise BadOption(
            "they turn pixels into numbers outside the range of float32",
            where="--scale, --mean, --std",
            remedy="choose other values",
        )
    return np.ascontiguousarray(values.transpose(2, 0, 1) if channels_first else values).reshape(shape)


def opened(path: Path) -> Image.Image:
    """The decoded picture, turned upright as its EXIF data tell."""
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            numbers.regular(path) as data,
            Image.open(data, formats=FORMATS) as file,
        ):
            if math.prod(file.size) > MOST_PIXELS:  # by its header: nothing has been decoded yet
                raise ValueError(f"{file.width} x {file.height} pixels, and {MOST_PIXELS:,} are the most")
            return ImageOps.exif_transpose(file)
    except Exception as error:  # for damaged files Pillow raises whatever its decoders raise
        raise unreadable(path, error, "give a PNG, JPEG or .npy file") from error


def in_mode(picture: Image.Image, mode: str, path: Path) -> Image.Image:
    """The picture in one of Pillow's modes, with eight bits for each channel.

    Unless the mode has a channel for opacity, transparent pixels are put on a white ground.
    """
    if picture.mode.startswith(("I", "F")):
        picture = eight_bits(picture, path)
    try:
        if mode != "RGBA" and picture.has_transparency_data:
            above = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
        return picture.convert(mode)
    except ValueError as error:  # Pillow cannot convert all kinds of colours
        raise unreadable(path, error, "save it as PNG or JPEG") from error


def eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """A picture of 16 bits, rounded to 8. Pillow would set all levels above 255 to 255."""
    levels = np.asarray(picture)
    if picture.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise BadOption(
            "has pixels with fractions or more than 16 bits, and does not tell which value is white",
            where=option_text(path),
            remedy="give an .npy file with the model's own values",
        )
    return Image.fromarray(((levels.astype(np.int32) + 128) // 257).astype(np.uint8))


def colours_last(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """The model's values, unchanged, as rows × columns × channels with red first.

    An array that is not a picture becomes a vector.
    """
    view = channels_last(array, preprocess.layout)
    return view[..., ::-1] if preprocess.channels == "bgr" and view.ndim == 3 and view.shape[2] == 3 else view


def to_pixels(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """The inverse of preprocessing: pixel = (value·std + mean)/scale, rounded and clipped to 0…255.

    The result is rows × columns × channels, red first.
    """
    return unrounded_pixels(array, preprocess).round().clip(0, 255).astype(np.uint8)


def unrounded_pixels(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """The pixels of `to_pixels` before they are rounded and clipped."""
    settled = preprocess.settled(array.shape)
    if not np.isfinite(array).all():
        raise BadOption("holds NaN or infinity", where="picture", remedy="replace these values first")
    pixels = (
        channels_last(array.astype(np.float64), settled.layout) * settled.std + settled.mean
    ) / settled.scale
    return pixels[..., ::-1] if settled.channels == "bgr" else pixels


def unreadable(path: Path, error: Exception, remedy: str) -> BadOption:
    """The error for a file that could not be read."""
    reason = getattr(error, "strerror", None) or error
    cause = "is not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read ({reason})"
    return BadOption(cause, where=option_text(path), remedy=remedy)


def option_text(path: Path) -> str:
    """How errors name the file: by the option that gave it."""
    return f"{OPTION} '{path}'"
