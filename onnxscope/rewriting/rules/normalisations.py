"""Normalisations: the base's mean and deviation are constants under `freeze`, carried under `taylor`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscope.graph.builder import Tensor, numel, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site


def channelwise(f: Freezer, x: Tensor, rank: int) -> Tensor:
    """A value per channel, ready to meet [batch, channel, space…]."""
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
    return f.source(
        f.gain(x1, channelwise(f, gain, rank)), channelwise(f, b.Sub(shift, b.Mul(mean, gain)), rank)
    )


def by_statistics(f: Freezer, n: Site, rank: int) -> Frozen:
    """scale·(x − mean)/√(var + ε) + bias, where these depend on the image too."""
    x, *rest = (Pair(f.float(n.x0(i)), n.pair(i).x1) for i in range(5))
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
    return f.call("Div", x, statistic(f, n, f.call("Sqrt", f.call("Add", power, np.float32(epsilon)))))  # type: ignore[no-any-return]


def scaled(f: Freezer, n: Site, x: Pair, scale: Tensor | None, shift: Tensor | None) -> Frozen:
    x1 = x.x1
    assert x1 is not None
    x1 = x1 if scale is None else f.gain(x1, scale)
    return x1 if shift is None else f.source(x1, shift)


def whole(f: Freezer, n: Site) -> Pair:
    return Pair(f.float(n.x0()), n.only(0))


def instance_normalization(f: Freezer, n: Site) -> Frozen:
    """Per channel over space."""
    rank = len(n.x1.shape)
    y = standardised(f, n, whole(f, n), range(2, rank), float(n.attr("epsilon")))
    return scaled(f, n, y, channelwise(f, n.x0(1), rank), channelwise(f, n.x0(2), rank))


def group_normalization(f: Freezer, n: Site) -> Frozen:
    """Per group of channels; scale and bias per group before opset 21, per channel since."""
    shape, groups = n.x1.shape, int(n.attr("num_groups"))
    grouped = f.call("Reshape", whole(f, n), [shape[0], groups, -1])
    y = standardised(f, n, grouped, [2], float(n.attr("epsilon")))
    scale, shift = f.float(n.x0(1)), f.float(n.x0(2))
    if f.b.opset < 21:
        scale, shift = (
            f.b.Reshape(f.b.Expand(f.b.Unsqueeze(v, [1]), [groups, shape[1] // groups]), [-1])
            for v in (scale, shift)
        )
    return scaled(
        f,
        n,
        f.call("Reshape", y, list(shape)),
        channelwise(f, scale, len(shape)),
        channelwise(f, shift, len(shape)),
    )


def layer_normalization(f: Freezer, n: Site) -> list[Frozen | None]:
    """Over the last axes."""
    rank = len(n.x1.shape)
    axis = int(n.attr("axis")) % rank
    y = standardised(f, n, whole(f, n), range(axis, rank), float(n.attr("epsilon")))
    return [scaled(f, n, y, f.float(n.x0(1)), f.float(n.x0(2)) if n.has(2) else None)]


def rms_normalization(f: Freezer, n: Site) -> Frozen:
    """x/√(mean(x²) + ε) over the last axes."""
    rank = len(n.x1.shape)
    y = standardised(
        f, n, whole(f, n), range(int(n.attr("axis")) % rank, rank), float(n.attr("epsilon")), centred=False
    )
    return scaled(f, n, y, f.float(n.x0(1)), None)


def mean_variance_normalization(f: Freezer, n: Site) -> Frozen:
    """(x − mean)/σ over batch and space, or the axes it names."""
    return scaled(f, n, standardised(f, n, whole(f, n), n.attr("axes", [0, 2, 3]), 1e-9), None, None)


def lp_normalization(f: Freezer, n: Site) -> Frozen:
    """x/‖x‖ along one axis."""
    x, axis = whole(f, n), [int(n.attr("axis")) % len(n.x1.shape)]
    norm = f.call("ReduceL1" if n.attr("p") == 1 else "ReduceL2", x, axis)
    nothing = f.b.Equal(norm.x0, 0.0)  # a vector of zeros stays one
    return scaled(
        f, n, f.call("Div", x, f.call("Where", nothing, np.float32(1), statistic(f, n, norm))), None, None
    )


def local_response(f: Freezer, n: Site) -> Frozen:
    """x/(k + α/size · Σ x²)^β over a window of channels."""
    x, b = whole(f, n), f.b
    size, channels = int(n.attr("size")), n.x1.shape[1]
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    ones = b.Expand(b.constant(np.float32(1)), [channels, channels])
    window = b.Trilu(b.Trilu(ones, np.int64(-before), upper=1), np.int64(after), upper=0)
    shape = list(n.x1.shape)
    square = f.call("Reshape", f.call("Mul", x, x), [shape[0], channels, numel(shape[2:])])
    power = f.call("Reshape", f.call("MatMul", Pair(window), square), shape)
    base = f.call(
        "Add", f.call("Mul", power, np.float32(float(n.attr("alpha")) / size)), np.float32(n.attr("bias"))
    )
    return scaled(
        f, n, f.call("Div", x, statistic(f, n, f.call("Pow", base, np.float32(n.attr("beta"))))), None, None
    )


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
_ = shape_of
