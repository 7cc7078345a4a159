"""Normalisations: the base's mean and deviation are constants under `freeze`, carried under `taylor`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscope.graph.tensors import Tensor, numel
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import filled


def channelwise(f: Freezer, x: Tensor, rank: int) -> Tensor:
    """A value per channel, in a shape that broadcasts with [batch, channel, space…]."""
    x = f.float(x)
    return f.b.Unsqueeze(x, list(range(1, rank - 1))) if rank > 2 else x


def batch_normalization(f: Freezer, n: Site) -> Frozen:
    """gain = scale/√(var + ε), source = bias − mean·gain: constants both."""
    b, rank = f.b, len(n.pair(0).shape)
    if any(map(n.active, range(1, 5))):
        return by_statistics(f, n, rank)
    x1 = n.only(0)
    scale, shift, mean, var = (f.float(n.x0(i)) for i in (1, 2, 3, 4))
    gain = b.Div(scale, b.Sqrt(b.Add(var, float(n.attr("epsilon")))))
    y1 = f.gain(x1, channelwise(f, gain, rank))
    # not `anchored`: this source is a number per channel, y0 − gain·x0 would be one per pixel
    return f.source(y1, channelwise(f, b.Sub(shift, b.Mul(mean, gain)), rank))


def by_statistics(f: Freezer, n: Site, rank: int) -> Frozen:
    """scale·(x − mean)/√(var + ε) + bias, where these depend on the image too."""
    x, *rest = (f.operand(n, i) for i in range(5))
    scale, shift, mean, var = (f.call("Reshape", p, [1, -1, *[1] * (rank - 2)]) for p in rest)
    deviation = f.call("Sqrt", f.call("Add", var, np.float32(n.attr("epsilon"))))
    y = f.call("Div", f.call("Sub", x, statistic(f, n, mean)), statistic(f, n, deviation))
    return f.call("Add", f.call("Mul", y, scale), shift).x1  # type: ignore[no-any-return]


def statistic(f: Freezer, n: Site, x: Pair) -> Pair:
    """A statistic of the image: a constant under `freeze`, a carried value under `taylor`."""
    return x if n.taylor else Pair(f.b.Identity(x.x0))


def standardised(
    f: Freezer, n: Site, x: Pair, axes: Sequence[int], epsilon: float, centred: bool = True
) -> Pair:
    """(x − mean)/√(variance + ε) over these axes, or x over its root mean square."""
    axes = list(axes)
    if centred:
        x = f.call("Sub", x, statistic(f, n, f.call("ReduceMean", x, axes)))
    power = f.call("ReduceMean", f.call("Mul", x, x), axes)
    deviation = f.call("Sqrt", f.call("Add", power, np.float32(epsilon)))
    return f.call("Div", x, statistic(f, n, deviation))  # type: ignore[no-any-return]


def scaled(f: Freezer, x: Pair, scale: Tensor | None = None, shift: Tensor | None = None) -> Frozen:
    """scale·x + shift, either of which may be left out."""
    x1 = x.carried if scale is None else f.gain(x.carried, scale)
    return x1 if shift is None else f.source(x1, shift)


def instance_normalization(f: Freezer, n: Site) -> Frozen:
    """Per channel over space."""
    rank = len(n.x1.shape)
    y = standardised(f, n, f.sole_operand(n), range(2, rank), float(n.attr("epsilon")))
    return scaled(f, y, channelwise(f, n.x0(1), rank), channelwise(f, n.x0(2), rank))


def group_normalization(f: Freezer, n: Site) -> Frozen:
    """Per group of channels; scale and bias per channel."""
    shape = n.x1.shape
    grouped = f.call("Reshape", f.sole_operand(n), [shape[0], int(n.attr("num_groups")), -1])
    y = f.call("Reshape", standardised(f, n, grouped, [2], float(n.attr("epsilon"))), list(shape))
    return scaled(f, y, channelwise(f, n.x0(1), len(shape)), channelwise(f, n.x0(2), len(shape)))


def layer_normalization(f: Freezer, n: Site) -> list[Frozen | None]:
    """Over the last axes."""
    axes = range(n.attr("axis"), len(n.x1.shape))
    y = standardised(f, n, f.sole_operand(n), axes, float(n.attr("epsilon")))
    return [scaled(f, y, f.float(n.x0(1)), f.float(n.x0(2)) if n.has(2) else None)]


def rms_normalization(f: Freezer, n: Site) -> Frozen:
    """x/√(mean(x²) + ε) over the last axes."""
    axes = range(n.attr("axis"), len(n.x1.shape))
    y = standardised(f, n, f.sole_operand(n), axes, float(n.attr("epsilon")), centred=False)
    return scaled(f, y, f.float(n.x0(1)))


def mean_variance_normalization(f: Freezer, n: Site) -> Frozen:
    """(x − mean)/σ over batch and space, or the axes it names."""
    return scaled(f, standardised(f, n, f.sole_operand(n), n.attr("axes"), 1e-9))


def lp_normalization(f: Freezer, n: Site) -> Frozen:
    """x/‖x‖ along one axis."""
    x = f.sole_operand(n)
    norm = f.call("ReduceL1" if n.attr("p") == 1 else "ReduceL2", x, [n.attr("axis")])
    nothing = f.b.Equal(norm.x0, 0.0)  # a vector of zeros stays one
    return scaled(f, f.call("Div", x, f.call("Where", nothing, np.float32(1), statistic(f, n, norm))))


def local_response(f: Freezer, n: Site) -> Frozen:
    """x/(k + α/size · Σ x²)^β over a window of channels."""
    x, b = f.sole_operand(n), f.b
    size, channels = int(n.attr("size")), x.shape[1]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    band = b.Trilu(filled(f, 1, [channels, channels]), np.int64(-before), upper=1)
    band = b.Trilu(band, np.int64(after), upper=0)
    square = f.call("Reshape", f.call("Mul", x, x), [x.shape[0], channels, numel(x.shape[2:])])
    power = f.call("Reshape", f.call("MatMul", Pair(band), square), list(x.shape))
    power = f.call("Mul", power, np.float32(float(n.attr("alpha")) / size))
    base = f.call("Add", power, np.float32(n.attr("bias")))
    divisor = f.call("Pow", base, np.float32(n.attr("beta")))
    return scaled(f, f.call("Div", x, statistic(f, n, divisor)))


NORMALISATIONS: dict[str, Entry] = {
    "BatchNormalization": ("linear", batch_normalization),
    "InstanceNormalization": ("frozen", instance_normalization),
    "GroupNormalization": ("frozen", group_normalization),
    "LayerNormalization": ("frozen", layer_normalization),
    "RMSNormalization": ("frozen", rms_normalization),
    "MeanVarianceNormalization": ("frozen", mean_variance_normalization),
    "LpNormalization": ("frozen", lp_normalization),
    "LRN": ("frozen", local_response),
}
