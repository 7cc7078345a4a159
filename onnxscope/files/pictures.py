"""Image files as a model's input, and a model's values as pixels again. With report/pictures.py all that imports Pillow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_axis, channels_last, check_layout, is_picture, shape_text

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # how Pillow calls images of so many channels
ORDERS = ("rgb", "bgr", "luma")
FITS = ("resize", "crop")
OPTION = "--image"


def check_figures(values: tuple[float, ...], option: str, *, positive: bool = True) -> None:
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and (v > 0 or not positive) for v in values):
        raise BadOption(
            f"{listed(values)} should be {'positive' if positive else 'finite'} numbers",
            where=option,
            remedy="choose others",
        )
    if len(values) not in MODES:
        raise BadOption(
            f"{len(values)} figures fit no picture", where=option, remedy="give one, or one for each channel"
        )


def spread(values: tuple[float, ...], count: int, option: str) -> tuple[float, ...]:
    """A figure for each of so many channels."""
    if len(values) == 1:
        return values * count
    if count == 1:
        return (sum(values) / len(values),)
    if len(values) != count:
        raise BadOption(
            f"{len(values)} figures for {count} channels", where=option, remedy=f"give one, or {count}"
        )
    return values


def listed(values: Sequence[float]) -> str:
    return ",".join(map(str, values))


@dataclass(frozen=True)
class Preprocess:
    """What is done to pixels in 0…255: value = (pixel·scale − mean)/std, with a mean and a std for each channel or one for all.

    channels: rgb, bgr, or luma for one channel. layout: nchw, nhwc, or auto (see `channels_axis`). fit: resize to the model's
    size, or crop: the shorter side is resized and the centre taken. A fourth channel is the opacity.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "rgb"
    layout: str = "auto"
    fit: str = "resize"

    def __post_init__(self) -> None:
        check_figures((self.scale,), "--scale")
        check_figures(self.mean, "--mean", positive=False)
        check_figures(self.std, "--std")
        if self.channels not in ORDERS:
            raise BadOption(
                f"there is no order '{self.channels}'",
                where="--channels",
                remedy=f"choose one of {', '.join(ORDERS)}",
            )
        if self.fit not in FITS:
            raise BadOption(
                f"there is no fit '{self.fit}'", where="--fit", remedy=f"choose one of {', '.join(FITS)}"
            )
        check_layout(self.layout)

    def settled(self, shape: Sequence[int]) -> Preprocess:
        """The same for one shape, with nothing left open: the layout, the order, and a figure for each channel.

        One channel is luma, and takes the mean of figures that are meant for three.
        """
        axis = channels_axis(shape, self.layout)
        count = shape[axis]
        size = f"the model's input {shape_text(shape)}"
        if count not in MODES:
            raise BadOption(
                f"{size} has {count} channels",
                where="--layout",
                remedy="pictures have 1, 3 or 4; give an .npy file",
            )
        if (self.channels == "luma" and count > 1) or (self.channels == "bgr" and count == 4):
            raise BadOption(
                f"{size} has {count} channels",
                where=f"--channels {self.channels}",
                remedy="choose another order",
            )
        return replace(
            self,
            mean=spread(self.mean, count, "--mean"),
            std=spread(self.std, count, "--std"),
            channels="luma" if count == 1 else self.channels,
            layout="nhwc" if axis == len(shape) - 1 else "nchw",
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Preprocess:
        names = sorted(field.name for field in fields(cls))
        if sorted(saved) != names or not all(
            isinstance(saved[key], (list, tuple)) for key in ("mean", "std")
        ):
            raise BadOption(
                "is not one that onnxscope saved",
                where="preprocessing",
                remedy=f"it should hold {', '.join(names)}",
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
        }
        return cls(**values)


PRESETS: dict[str, Preprocess] = {
    "imagenet": Preprocess(
        1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ),  # torchvision; "torch" in Keras
    "unit": Preprocess(),  # 0…1
    "signed": Preprocess(1 / 127.5, (1.0,)),  # −1…1; "tf" in Keras
    "caffe": Preprocess(1.0, (103.939, 116.779, 123.68), channels="bgr"),  # means of blue, green, red
    "raw": Preprocess(1.0),  # 0…255
}
UNIT = PRESETS["unit"]


def preprocessing(
    preset: str | None = None,
    *,
    mean: str | None = None,
    std: str | None = None,
    scale: str | None = None,
    channels: str | None = None,
    layout: str | None = None,
    fit: str | None = None,
) -> Preprocess:
    """A preset, `unit` unless named, with the options that are given. A preset's figures belong to colours and follow their order."""
    if preset is not None and preset not in PRESETS:
        raise BadOption(
            f"there is no preset '{preset}'", where="--preset", remedy=f"choose one of {', '.join(PRESETS)}"
        )
    base = PRESETS[preset or "unit"]
    order = (channels or base.channels).lower()
    if order == "luma":
        base = replace(base, mean=spread(base.mean, 1, "--preset"), std=spread(base.std, 1, "--preset"))
    elif order != base.channels:
        base = replace(base, mean=base.mean[::-1], std=base.std[::-1])
    given: dict[str, Any] = {
        key: figures(text, f"--{key}") for key, text in (("mean", mean), ("std", std)) if text is not None
    }
    for key, values in given.items():
        if order == "luma" and len(values) > 1:
            raise BadOption(
                f"{listed(values)} is more than the one that luma takes",
                where=f"--{key}",
                remedy="give one figure",
            )
    if scale is not None:
        given["scale"] = figure(scale, "--scale")
    given.update(
        {key: value.lower() for key, value in (("layout", layout), ("fit", fit)) if value is not None}
    )
    return replace(base, channels=order, **given)


def figures(text: str, option: str) -> tuple[float, ...]:
    return tuple(figure(part, option) for part in text.split(","))


def figure(text: str, option: str) -> float:
    """`0.5` or `1/255`."""
    try:
        above, slash, below = text.partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError) as error:
        raise BadOption(
            f"'{text}' is not a number",
            where=option,
            remedy="write it as 0.5 or 1/255, and several as 0.5,0.4,0.3",
        ) from error


def read(path: Path, shape: Sequence[int], preprocess: Preprocess = UNIT) -> np.ndarray:
    """A picture file fitted to the model's input and preprocessed, or an .npy array, which holds the model's own values."""
    return read_array(path, shape) if is_array(path) else read_picture(path, shape, preprocess)


def picture_size(path: Path, layout: str = "auto") -> tuple[int, int]:
    """Height and width of what a file holds, as it is looked at."""
    if not is_array(path):
        width, height = opened(path).size
        return height, width
    shape = loaded(path).shape
    if not is_picture(shape):
        raise BadOption(
            f"has shape {shape_text(shape)}, which is no picture",
            where=of(path),
            remedy="give all sizes with --input-shape",
        )
    channels = channels_axis(shape, layout)
    height, width = (size for axis, size in enumerate(shape[-3:], len(shape) - 3) if axis != channels)
    return height, width


def is_array(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def read_array(path: Path, shape: Sequence[int]) -> np.ndarray:
    array, shape = loaded(path), tuple(shape)
    if array.shape not in (shape, shape[1:] if shape[:1] == (1,) else shape):
        raise BadOption(
            f"has shape {shape_text(array.shape)}, the model's input {shape_text(shape)}",
            where=of(path),
            remedy="reshape it",
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise BadOption(
            "holds NaN, or numbers that float32 does not reach", where=of(path), remedy="give finite numbers"
        )
    return values


def loaded(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # of damaged headers NumPy raises what its parser raises
        raise unreadable(path, error, "give a .npy file of numbers") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise BadOption("holds no array of numbers", where=of(path), remedy="save it with numpy.save")
    return array


def read_picture(path: Path, shape: Sequence[int], preprocess: Preprocess) -> np.ndarray:
    if not is_picture(shape) or shape[channels_axis(shape, preprocess.layout)] not in MODES:
        raise BadOption(
            f"a picture does not fit the model's input of {shape_text(shape)}",
            where=of(path),
            remedy="give an .npy file of that shape",
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
            "pixels become numbers that float32 does not reach",
            where="--scale, --mean, --std",
            remedy="choose others",
        )
    return np.ascontiguousarray(values.transpose(2, 0, 1) if channels_first else values).reshape(shape)


def opened(path: Path) -> Image.Image:
    """The picture decoded, and upright."""
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as file,
        ):
            return ImageOps.exif_transpose(file)
    except Exception as error:  # of damaged files Pillow raises whatever its decoders raise
        raise unreadable(path, error, "give a PNG, JPEG or .npy file") from error


def in_mode(picture: Image.Image, mode: str, path: Path) -> Image.Image:
    """Eight bits a channel, of the channels that are asked for; what is transparent lies on white unless opacity is."""
    if picture.mode.startswith(("I", "F")):
        picture = eight_bits(picture, path)
    try:
        if mode != "RGBA" and picture.has_transparency_data:
            above = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
        return picture.convert(mode)
    except ValueError as error:  # colours that Pillow cannot convert
        raise unreadable(path, error, "save it as PNG or JPEG") from error


def eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """Sixteen bits rounded to eight: Pillow would cut them off at 255."""
    levels = np.asarray(picture)
    if picture.mode == "F" or levels.min() < 0 or levels.max() > 65535:
        raise BadOption(
            "holds pixels beyond 16 bits or with fractions, and not what is white",
            where=of(path),
            remedy="give an .npy file with the model's own values",
        )
    return Image.fromarray(((levels.astype(np.int32) + 128) // 257).astype(np.uint8))


def colours_last(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """A picture at the model's scale as rows × columns × channels, red first; what is no picture as a vector. Values stay."""
    view = channels_last(array, preprocess.layout)
    return view[..., ::-1] if preprocess.channels == "bgr" and view.ndim == 3 and view.shape[2] == 3 else view


def to_pixels(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """The way back: pixel = (value·std + mean)/scale, rounded and clipped to 0…255, as rows × columns × channels, red first."""
    return unrounded_pixels(array, preprocess).round().clip(0, 255).astype(np.uint8)


def unrounded_pixels(array: np.ndarray, preprocess: Preprocess = UNIT) -> np.ndarray:
    """The same before it is rounded and clipped."""
    settled = preprocess.settled(array.shape)
    if not np.isfinite(array).all():
        raise BadOption("holds NaN or infinity", where="picture", remedy="look at its values")
    pixels = (
        channels_last(array.astype(np.float64), settled.layout) * settled.std + settled.mean
    ) / settled.scale
    return pixels[..., ::-1] if settled.channels == "bgr" else pixels


def unreadable(path: Path, error: Exception, remedy: str) -> BadOption:
    reason = getattr(error, "strerror", None) or error
    cause = "is not an image" if isinstance(error, UnidentifiedImageError) else f"cannot be read ({reason})"
    return BadOption(cause, where=of(path), remedy=remedy)


def of(path: Path) -> str:
    return f"{OPTION} '{path}'"
