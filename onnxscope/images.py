"""Image files as a model's input. The only module that imports Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxscope.errors import BadOption

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # how Pillow calls images of so many channels
OPTION = "--image"


def read(path: Path, shape: Sequence[int]) -> np.ndarray:
    """A PNG or JPEG file resized to the model's input and scaled to 0…1, or an .npy array as it is."""
    return read_array(path, shape) if path.suffix.lower() == ".npy" else read_picture(path, shape)


def read_array(path: Path, shape: Sequence[int]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # of damaged headers NumPy raises what its parser raises
        raise unreadable(path, error, "give a .npy file of numbers") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise BadOption("holds no array of numbers", where=f"{OPTION} '{path}'", remedy="save it with numpy.save")
    if array.shape != tuple(shape):
        raise BadOption(f"has shape {size_text(array.shape)}, the model's input {size_text(shape)}", where=f"{OPTION} '{path}'",
                        remedy="reshape it")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise BadOption("holds NaN, or numbers that float32 does not reach", where=f"{OPTION} '{path}'", remedy="give finite numbers")
    return values


def read_picture(path: Path, shape: Sequence[int]) -> np.ndarray:
    channels_last, channels, height, width = layout(path, shape)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as file:
            picture = eight_bits(ImageOps.exif_transpose(file)).convert(MODES[channels])
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    except Exception as error:  # of damaged files Pillow raises whatever its decoders raise
        raise unreadable(path, error, "give a PNG, JPEG or .npy file") from error
    pixels = pixels.reshape(height, width, channels)
    return (pixels if channels_last else pixels.transpose(2, 0, 1)).reshape(shape)


def eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow would cut 16 bits off at 255."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))


def layout(path: Path, shape: Sequence[int]) -> tuple[bool, int, int, int]:
    """Whether the channels are last, and how many channels, rows and columns there are; NCHW where both would do."""
    if len(shape) == 4 and shape[0] == 1:
        if shape[1] in MODES:
            return False, shape[1], shape[2], shape[3]
        if shape[3] in MODES:
            return True, shape[3], shape[1], shape[2]
    raise BadOption(f"a picture does not fit the model's input of {size_text(shape)}", where=f"{OPTION} '{path}'",
                    remedy="give an .npy file of that shape")


def unreadable(path: Path, error: Exception, remedy: str) -> BadOption:
    reason = getattr(error, "strerror", None) or error
    cause = "is not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read ({reason})"
    return BadOption(cause, where=f"{OPTION} '{path}'", remedy=remedy)


def size_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
