"""Pools: how each is frozen, and how what it becomes is transposed.

A MaxPool, like everything else that picks elements, becomes a Gather of those that the base picked. Its
transpose is `gather_transposed`, which adds every cotangent to the element that was picked. An AveragePool
stays one; its transpose is `average_pool_transposed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.tensors import Shape, Tensor, numel, shape_of
from onnxscope.normalise.attributes import attributes, window
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import check_countable, filled, numbered
from onnxscope.rewriting.rules.reductions import extreme
from onnxscope.rewriting.rules.transposes import pad_axis
from onnxscope.rewriting.transpose import Transposer, TransposeRule


def max_pool(f: Freezer, n: Site) -> Frozen:
    """The pixel that the base picked, by MaxPool's own indices."""
    if n.attr("storage_order"):
        return f.select(n.x1, f.b.op("MaxPool", n.x0(), outputs=2, **{**n.node.attrs, "storage_order": 0})[1])
    if len(n.node.outputs) == 1:
        n.node.outputs.append(
            gs.Variable(f.b.unique(f"state/{n.node.name}/Indices"), np.int64, list(shape_of(n.y0)))
        )
    return f.select(n.x1, n.node.outputs[1])


def global_max_pool(f: Freezer, n: Site) -> Frozen:
    """The largest pixel of each channel."""
    return extreme(f, n, list(range(2, len(n.x1.shape))), "ArgMax")


def max_unpool(f: Freezer, n: Site) -> Frozen:
    """Every pixel where the base puts it: the operator applied to their numbers shows where that is."""
    check_countable(n)
    b = f.b
    number = b.Cast(b.Add(numbered(f, n.pair(0).shape), 1), to=TensorProto.FLOAT)
    source = b.op("MaxUnpool", number, *n.node.inputs[1:], **n.node.attrs)
    hit = b.Greater(source, 0.0)
    return f.gain(f.select(n.only(0), b.Cast(b.Sub(b.Max(source, 1.0), 1.0), to=TensorProto.INT32)), hit)


def gather_transposed(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """Every cotangent is added where its element was taken from."""
    flat, index = n.inputs
    ct = t.reshape(ct, (-1, numel(shape_of(index))))
    index = t.op("Expand", t.op("Reshape", index, [1, -1]), t.op("Shape", ct))
    return t.op("ScatterElements", t.zeros(ct, shape_of(flat)), index, ct, axis=1, reduction="add")


def average_pool(f: Freezer, n: Site) -> Frozen:
    """The pool that counts every pad, times the ratio of its count to the base's own count."""
    b = f.b
    plain = {**n.node.attrs, "count_include_pad": 1, "ceil_mode": 0, "pads": covering_pads(n)}
    y = f.batched("AveragePool", n.x1, **plain)
    ones = filled(f, 1, [1, 1, *n.x1.shape[2:]])
    base, ours = b.op("AveragePool", ones, **n.node.attrs), b.op("AveragePool", ones, **plain)
    return f.gain(y, b.Div(base, ours))


def covering_pads(n: Site) -> list[int]:
    """The pads, up to the end of the last window, which in ceil mode reaches past the edge."""
    space, out = n.pair(0).shape[2:], shape_of(n.y0)[2:]
    begin = list(n.attr("pads")[: len(space)])
    windows = zip(space, out, n.attr("kernel_shape"), n.attr("strides"), n.attr("dilations"), strict=True)
    reach = [(o - 1) * s + (k - 1) * d + 1 - x for x, o, k, s, d in windows]
    return begin + [max(r - p, 0) for r, p in zip(reach, begin, strict=True)]


def average_pool_transposed(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """Every mean spread over its window: by copying where windows tile the image, else by a ConvTranspose."""
    shape, out = shape_of(n.inputs[0]), shape_of(ct)[2:]
    attrs = attributes(n, t.b.opset)
    kernel, strides = list(attrs["kernel_shape"]), attrs["strides"]
    tiled = list(shape[2:]) == [o * k for o, k in zip(out, kernel, strict=True)]
    plain = not any(attrs["pads"]) and set(attrs["dilations"]) == {1}
    if tiled and plain and (strides == kernel or set(out) == {1}):
        return spread_over_windows(t, shape, kernel, ct)
    return spread_by_convolution(t, shape, attrs, ct)


def spread_over_windows(t: Transposer, shape: Shape, kernel: Sequence[int], ct: Tensor) -> Tensor:
    """Every element of ct, divided by the window's size, for every pixel of its window."""
    out = shape_of(ct)[2:]
    mean = t.op("Mul", ct, 1 / math.prod(kernel))
    apart = t.reshape(mean, (-1, shape[1], *(v for o in out for v in (o, 1))))
    wide = [1, shape[1], *(v for pair in zip(out, kernel, strict=True) for v in pair)]
    return t.reshape(t.op("Expand", apart, wide), shape)


def spread_by_convolution(t: Transposer, shape: Shape, attrs: dict[str, Any], ct: Tensor) -> Tensor:
    """A ConvTranspose of each channel with 1/size in every tap, cut and padded to the size of the image."""
    out, kernel, begin = shape_of(ct)[2:], list(attrs["kernel_shape"]), attrs["pads"]
    steps: dict[str, Any] = {name: list(attrs[name]) for name in ("strides", "dilations")}
    weights = t.b.op("Expand", t.b.constant(np.float32(1 / math.prod(kernel))), [1, 1, *kernel])
    ct = t.op("ConvTranspose", t.op("Reshape", ct, [-1, 1, *out]), weights, **steps)
    for axis, (size, p) in enumerate(zip(shape[2:], begin[: len(kernel)], strict=True), 2):
        have = shape_of(ct)[axis]
        if have > p + size or p:
            ct = t.op("Slice", ct, [p], [min(p + size, have)], [axis])
        ct = pad_axis(t, ct, axis, 0, max(p + size - have, 0))
    return t.op("Reshape", ct, [-1, *shape[1:]])


def global_average_pool(f: Freezer, n: Site) -> Frozen:
    """The mean of each channel."""
    space = range(2, len(n.x1.shape))
    return f.scale(f.sum(n.x1, list(space)), 1 / numel([n.x1.shape[k] for k in space]))


def lp_norm(f: Freezer, n: Site, sums: Callable[[Pair], Pair]) -> Frozen:
    """(Σ |x|^p)^(1/p), each step with its own rule; `sums` adds up what lies under every window."""
    x, p = f.operand(n), int(n.attr("p"))
    if p == 1:
        y = sums(f.call("Abs", x))
    elif p == 2:
        y = f.call("Sqrt", sums(f.call("Mul", x, x)))
    else:
        y = f.call("Pow", sums(f.call("Pow", f.call("Abs", x), np.float32(p))), np.float32(1 / p))
    return y.carried


def lp_pool(f: Freezer, n: Site) -> Frozen:
    """The norm of every window: its sum is a Conv with ones on each channel by itself."""
    shape, out = n.x1.shape, list(shape_of(n.y0))
    ones = filled(f, 1, [1, 1, *n.attr("kernel_shape")])
    steps = window({**n.attrs, "pads": covering_pads(n), "group": 1})

    def sums(x: Pair) -> Pair:
        alone = f.call("Reshape", x, [shape[0] * shape[1], 1, *shape[2:]])
        return f.call("Reshape", f.call("Conv", alone, ones, **steps), out)  # type: ignore[no-any-return]

    return lp_norm(f, n, sums)


def global_lp_pool(f: Freezer, n: Site) -> Frozen:
    """The norm of each channel."""
    return lp_norm(f, n, lambda x: f.call("ReduceSum", x, list(range(2, len(x.shape)))))


POOLING: dict[str, Entry] = {
    "MaxPool": ("frozen", max_pool),
    "GlobalMaxPool": ("frozen", global_max_pool),
    "MaxUnpool": ("linear", max_unpool),
    "AveragePool": ("linear", average_pool),
    "GlobalAveragePool": ("linear", global_average_pool),
    "LpPool": ("frozen", lp_pool),
    "GlobalLpPool": ("frozen", global_lp_pool),
}
POOLING_TRANSPOSES: dict[str, TransposeRule] = {
    "Gather": gather_transposed,
    "AveragePool": average_pool_transposed,
}
