"""Preprocessing: what is done to the pixels of a picture before a model gets them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from onnxscope.errors import BadOption, shape_text
from onnxscope.files.pixels import PICTURE_CHANNELS, channels_axis, check_layout

ORDERS = ("rgb", "bgr", "luma")
FITS = ("resize", "crop")


def check_figures(values: tuple[float, ...], option: str, *, positive: bool = True) -> None:
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and (v > 0 or not positive) for v in values):
        raise BadOption(
            f"{listed(values)} should be {'positive' if positive else 'finite'} numbers",
            where=option,
            remedy="choose others",
        )
    if len(values) not in PICTURE_CHANNELS:
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
        if count not in PICTURE_CHANNELS:
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

    def level(self, shape: Sequence[int]) -> np.ndarray:
        """What one of a picture's 255 levels is to a model with inputs of this shape, for each channel."""
        settled = self.settled(shape)
        wide = [1] * len(shape)
        wide[channels_axis(shape, settled.layout)] = -1
        return np.asarray(settled.scale / np.array(settled.std), np.float32).reshape(wide)

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
