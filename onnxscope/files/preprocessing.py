"""Preprocessing: how the pixels of a picture become the values that a model is given."""

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


def check_numbers(values: tuple[float, ...], option: str, *, positive: bool = True) -> None:
    """Refuse values that are not numbers, and another count of them than pictures have channels."""
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and (v > 0 or not positive) for v in values):
        raise BadOption(
            f"the values must be {'positive' if positive else 'finite'} numbers, not {listed(values)}",
            where=option,
            remedy="choose others",
        )
    if len(values) not in PICTURE_CHANNELS:
        raise BadOption(
            f"there are {len(values)} values, and a picture has 1, 3 or 4 channels",
            where=option,
            remedy="give one value, or one for each channel",
        )


def per_channel(values: tuple[float, ...], count: int, option: str) -> tuple[float, ...]:
    """One value for each of `count` channels. One value is used for all, and several are averaged for one."""
    if len(values) == 1:
        return values * count
    if count == 1:
        return (sum(values) / len(values),)
    if len(values) != count:
        raise BadOption(
            f"there are {len(values)} values for {count} channels",
            where=option,
            remedy=f"give one value, or {count}",
        )
    return values


def listed(values: Sequence[float]) -> str:
    """`0.5,0.4,0.3`."""
    return ",".join(map(str, values))


@dataclass(frozen=True)
class Preprocess:
    """How pixels of 0…255 become a model's values: value = (pixel·scale − mean)/std.

    `mean` and `std` have one number for each channel, or one for all channels. `channels` is their order:
    rgb, bgr, or luma for a single channel; a fourth channel is the opacity. `layout` is the order of the
    axes: nchw, nhwc, or auto (see `channels_axis`). `fit` is how a picture is brought to the model's size:
    `resize` stretches it, `crop` keeps its proportions and cuts off what is left over on the longer side.
    """

    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "rgb"
    layout: str = "auto"
    fit: str = "resize"

    def __post_init__(self) -> None:
        check_numbers((self.scale,), "--scale")
        check_numbers(self.mean, "--mean", positive=False)
        check_numbers(self.std, "--std")
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
        """The preprocessing for inputs of this shape, with a definite layout and one number for each channel.

        A single channel is luma; numbers that are meant for three channels are averaged for it.
        """
        axis = channels_axis(shape, self.layout)
        count = shape[axis]
        size = f"the model's input {shape_text(shape)}"
        if count not in PICTURE_CHANNELS:
            raise BadOption(
                f"{size} has {count} channels",
                where="--layout",
                remedy="pictures have 1, 3 or 4 channels; choose another layout, or give an .npy file",
            )
        if (self.channels == "luma" and count > 1) or (self.channels == "bgr" and count == 4):
            raise BadOption(
                f"{size} has {count} channels",
                where=f"--channels {self.channels}",
                remedy="choose another order",
            )
        return replace(
            self,
            mean=per_channel(self.mean, count, "--mean"),
            std=per_channel(self.std, count, "--std"),
            channels="luma" if count == 1 else self.channels,
            layout="nhwc" if axis == len(shape) - 1 else "nchw",
        )

    def level(self, shape: Sequence[int]) -> np.ndarray:
        """How much a value of the model changes when a pixel changes by 1 of 255, for each channel.

        The result can be broadcast with inputs of this shape.
        """
        settled = self.settled(shape)
        wide = [1] * len(shape)
        wide[channels_axis(shape, settled.layout)] = -1
        return np.asarray(settled.scale / np.array(settled.std), np.float32).reshape(wide)

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON has it."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Preprocess:
        """The inverse of `as_dict`."""
        names = sorted(field.name for field in fields(cls))
        if sorted(saved) != names or not all(
            isinstance(saved[key], (list, tuple)) for key in ("mean", "std")
        ):
            raise BadOption(
                "is not one that onnxscope saved",
                where="preprocessing",
                remedy=f"it must hold {', '.join(names)}",
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
        }
        return cls(**values)


PRESETS: dict[str, Preprocess] = {
    # as torchvision does; Keras calls it "torch"
    "imagenet": Preprocess(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": Preprocess(),  # 0…1
    "signed": Preprocess(1 / 127.5, (1.0,)),  # −1…1; Keras calls it "tf"
    "caffe": Preprocess(1.0, (103.939, 116.779, 123.68), channels="bgr"),  # means of blue, green, red
    "raw": Preprocess(1.0),  # 0…255
    "centred": Preprocess(1.0, (127.5,), (128.0,)),  # nearly −1…1, as many detectors of faces take it
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
    """A preset, `unit` unless another is named, changed by the options that are given.

    A preset's mean and std belong to colours: if `channels` names another order of the colours than the
    preset has, they are reversed with it.
    """
    if preset is not None and preset not in PRESETS:
        raise BadOption(
            f"there is no preset '{preset}'",
            where="--preset",
            remedy=f"choose one of auto, {', '.join(PRESETS)}",
        )
    base = PRESETS[preset or "unit"]
    order = (channels or base.channels).lower()
    if order == "luma":
        base = replace(
            base, mean=per_channel(base.mean, 1, "--preset"), std=per_channel(base.std, 1, "--preset")
        )
    elif order != base.channels:
        base = replace(base, mean=base.mean[::-1], std=base.std[::-1])
    given: dict[str, Any] = {
        key: numbers(text, f"--{key}") for key, text in (("mean", mean), ("std", std)) if text is not None
    }
    for key, values in given.items():
        if order == "luma" and len(values) > 1:
            raise BadOption(
                f"luma has one channel, and there are {len(values)} values: {listed(values)}",
                where=f"--{key}",
                remedy="give one value",
            )
    if scale is not None:
        given["scale"] = number(scale, "--scale")
    given.update(
        {key: value.lower() for key, value in (("layout", layout), ("fit", fit)) if value is not None}
    )
    return replace(base, channels=order, **given)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """The numbers in `0.485,0.456,0.406`."""
    return tuple(number(part, option) for part in text.split(","))


def number(text: str, option: str) -> float:
    """The number that `0.5` or `1/255` stands for."""
    try:
        above, slash, below = text.partition("/")
        return float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError) as error:
        raise BadOption(
            f"'{text}' is not a number",
            where=option,
            remedy="write it as 0.5 or 1/255, and several as 0.5,0.4,0.3",
        ) from error
