"""Single operators, and small groups of them, that are built into the middle of random networks of 8 channels at 16×16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Writer(Protocol):
    """What writes a network node by node."""

    opset: int
    random: np.random.Generator

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str: ...

    def weight(self, name: str, value: Any) -> str: ...

    def normal(self, name: str, *shape: int, size: float = 1.0, mean: float = 0.0) -> str: ...

    def conv(
        self, name: str, x: str, channels: tuple[int, int], side: int = 3, gain: float = 1.5, **given: Any
    ) -> str: ...


Middle = Callable[[Writer, str], str]
WIDTH, SIDE = 8, 16


def simple(kind: str, opset: int = 18, **attributes: Any) -> Middle:
    """One node that has attributes and no weights."""

    def write(b: Writer, x: str) -> str:
        b.opset = opset
        return b.node(kind, f"middle.{kind.lower()}", x, **attributes)

    return write


def amplified(middle: Middle, size: float) -> Middle:
    """The same after values were multiplied, so that bounds are reached, or an epsilon counts."""
    return lambda b, x: middle(b, b.node("Mul", "middle.amplified", x, b.weight("middle.size", size)))


def resize(mode: str, factor: float, opset: int = 18, **attributes: Any) -> Middle:
    """A Resize by a factor."""

    def write(b: Writer, x: str) -> str:
        b.opset = opset
        scales = b.weight("middle.scales", [1.0, 1.0, factor, factor])
        inputs = (x, scales) if opset < 11 else (x, "", scales)
        return b.node("Resize", "middle.resize", *inputs, mode=mode, **attributes)

    return write


def odd_average_pool(b: Writer, x: str) -> str:
    """An average over 2×2 that reaches past the edge of 15×15 values."""
    x = b.conv("middle.conv", x, (WIDTH, WIDTH), side=2, pads=[0, 0, 0, 0])
    return b.node("AveragePool", "middle.pool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def odd_max_pool(b: Writer, x: str) -> str:
    """A maximum over 2×2 that reaches past the edge of 15×15 values."""
    x = b.conv("middle.conv", x, (WIDTH, WIDTH), side=2, pads=[0, 0, 0, 0])
    return b.node("MaxPool", "middle.pool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def layer_norm(b: Writer, x: str) -> str:
    scale = b.normal("middle.scale", SIDE, size=0.2, mean=1.0)
    shift = b.normal("middle.shift", SIDE, size=0.1)
    return b.node("LayerNormalization", "middle.norm", x, scale, shift, axis=-1, epsilon=1e-5)


def group_norm(b: Writer, x: str) -> str:
    b.opset = 21
    scale = b.normal("middle.scale", WIDTH, size=0.2, mean=1.0)
    shift = b.normal("middle.shift", WIDTH, size=0.1)
    return b.node("GroupNormalization", "middle.norm", x, scale, shift, num_groups=2)


def instance_norm(b: Writer, x: str) -> str:
    scale = b.normal("middle.scale", WIDTH, size=0.2, mean=1.0)
    shift = b.normal("middle.shift", WIDTH, size=0.1)
    x = b.node("InstanceNormalization", "middle.norm", x, scale, shift, epsilon=1e-5)
    return b.node("Relu", "middle.relu", x)  # else the mean over the picture would not depend on the epsilon


def conv_transpose(b: Writer, x: str) -> str:
    w = b.normal("middle.weight", WIDTH, WIDTH, 3, 3, size=0.2)
    shared: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    return b.node("ConvTranspose", "middle.up", x, w, pads=[1, 1, 1, 1], output_padding=[1, 1], **shared)


def prelu(b: Writer, x: str) -> str:
    slopes = b.weight("middle.slope", np.linspace(0.05, 0.6, WIDTH, dtype=np.float32).reshape(WIDTH, 1, 1))
    return b.node("PRelu", "middle.prelu", x, slopes)


def clip(b: Writer, x: str) -> str:
    return b.node("Clip", "middle.clip", x, b.weight("middle.low", 0.0), b.weight("middle.high", 6.0))


def old_clip(b: Writer, x: str) -> str:
    """A Clip whose bounds are attributes, as before opset 11."""
    b.opset = 10
    return b.node("Clip", "middle.clip", x, min=0.0, max=6.0)


def concat(b: Writer, x: str) -> str:
    """Three equally wide parts behind one another, then mixed."""
    parts = [b.conv(f"middle.part{k}", x, (WIDTH, WIDTH), side=1) for k in range(3)]
    x = b.node("Concat", "middle.concat", *parts, axis=1)
    return b.conv("middle.mixed", x, (3 * WIDTH, WIDTH))


def gelu(b: Writer, x: str) -> str:
    """A Gelu of values where its approximation by tanh is worst."""
    x = b.node("Mul", "middle.smaller", x, b.weight("middle.size", 0.3))
    return simple("Gelu", opset=20)(b, b.node("Add", "middle.shifted", x, b.weight("middle.shift", -2.2)))


def centred(b: Writer, x: str) -> str:
    """Values less their mean over columns."""
    axes = b.weight("middle.axes", np.array([2], np.int64))
    mean = b.node("ReduceMean", "middle.mean", x, axes, keepdims=1)
    return b.node("Relu", "middle.relu", b.node("Sub", "middle.centred", x, mean))


def softmax(opset: int, axis: int) -> Middle:
    """A Softmax whose values are brought back to a size that counts."""

    def write(b: Writer, x: str) -> str:
        b.opset = opset
        x = b.node("Softmax", "middle.softmax", x, axis=axis)
        return b.node("Mul", "middle.larger", x, b.weight("middle.factor", 8.0 if opset > 12 else 200.0))

    return write


def transposed(b: Writer, x: str) -> str:
    """Rows and columns exchanged, then weighted by rows."""
    x = b.node("Transpose", "middle.transpose", x, perm=[0, 1, 3, 2])
    return b.node("Mul", "middle.weighted", x, b.normal("middle.rows", 1, 1, SIDE, 1))


def reflected(b: Writer, x: str) -> str:
    amounts = b.weight("middle.pads", np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64))
    x = b.node("Pad", "middle.pad", x, amounts, mode="reflect")
    return b.conv("middle.conv", x, (WIDTH, WIDTH), side=5, pads=[0, 0, 0, 0])


def shuffled(b: Writer, x: str) -> str:
    """Channels moved into space."""
    x = b.conv("middle.expand", x, (WIDTH, 4 * WIDTH), side=1)
    return b.node("DepthToSpace", "middle.shuffle", x, blocksize=2, mode="CRD")


def conv(**attributes: Any) -> Middle:
    return lambda b, x: b.conv("middle.conv", b.node("Relu", "middle.relu", x), (WIDTH, WIDTH), **attributes)


MIDDLES: dict[str, Middle] = {
    "linear": resize("linear", 2.0, coordinate_transformation_mode="half_pixel"),
    "nearest": resize("nearest", 1.5, nearest_mode="round_prefer_floor"),
    "resize10": resize("linear", 2.0, opset=10),
    "average": simple("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "ceilaverage": odd_average_pool,
    "maxpool": simple("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "ceilmax": odd_max_pool,
    "floormax": simple("MaxPool", kernel_shape=[3, 3], strides=[2, 2]),
    "same": conv(auto_pad="SAME_UPPER", strides=[2, 2]),
    "lrn": simple("LRN", size=5, alpha=0.8, beta=0.75, bias=1.0),
    "hardsigmoid": simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": simple("HardSwish"),
    "gelu": gelu,
    "elu": simple("Elu", alpha=1.0),
    "leaky": simple("LeakyRelu", alpha=0.2),
    "prelu": prelu,
    "relu": simple("Relu"),
    "clip": amplified(clip, 6.0),
    "oldclip": amplified(old_clip, 6.0),
    "layernorm": amplified(layer_norm, 0.05),
    "groupnorm": group_norm,
    "instancenorm": amplified(instance_norm, 0.05),
    "transposeconv": conv_transpose,
    "group": conv(group=4),
    "dilated": conv(dilations=[2, 2], pads=[2, 2, 2, 2]),
    "concat": concat,
    "scaled": amplified(simple("Tanh"), 1.3),
    "centred": centred,
    "softmax": softmax(18, 1),
    "softmax12": softmax(12, 1),
    "transpose": transposed,
    "reflect": reflected,
    "shuffle": shuffled,
}
