"""Convolutions and pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel
from onnxscope.graph.builder import describe, numel, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.matrices import eye
from onnxscope.rewriting.rules.movement import numbered
from onnxscope.rewriting.rules.primitives import conv_attrs


def bias(f: Freezer, n: Site, y: Frozen, i: int) -> Frozen:
    """The bias of every channel is a source, unless it depends on the image."""
    if not n.has(i):
        return y
    if n.active(i):
        return f.add(y, f.reshape(n.carried(i), (1, y.shape[1], *[1] * (len(y.shape) - 2))))
    return f.source(y, f.b.Unsqueeze(f.float(n.x0(i)), list(range(1, len(y.shape) - 1))))


def conv(f: Freezer, n: Site) -> Frozen:
    """The convolution without its bias, and the bias as a source."""
    w = f.float(n.x0(1))
    attrs = conv_attrs(n.node.attrs, len(shape_of(w)) - 2)
    channels = shape_of(w)[1] * attrs["group"] if n.node.op == "Conv" else shape_of(w)[0]
    if channels != n.pair(0).shape[1]:
        raise BadModel(
            f"its weights are for {channels} channels",
            where=describe(n.node),
            remedy="export the model again",
        )
    if n.node.op == "ConvTranspose" and "output_padding" in n.node.attrs:
        attrs["output_padding"] = n.node.attrs["output_padding"]
    terms = [f.batched(n.node.op, n.carried(0), w, **attrs)] if n.active(0) else []
    if n.active(1):
        terms = by_weights(f, n, terms, attrs)
    return bias(f, n, f.add(*terms), 2)


def by_weights(f: Freezer, n: Site, terms: list[Frozen], attrs: dict[str, Any]) -> list[Frozen]:
    """Weights that depend on the image: a decision beside an image (freeze), carried alone, or by the product rule (taylor).

    Linear in the weights it is a product with the pixels under every tap, which the operator itself collects with unit kernels.
    """
    if terms and not n.taylor:
        f.note("the weights are a decision")
        return terms
    b, w1, (out, *space), group = f.b, n.carried(1), shape_of(n.y0)[1:], attrs["group"]
    x0, (batch, channels), kernel = f.float(n.x0()), n.pair(0).shape[:2], w1.shape[2:]
    taps, each, made = numel(kernel), channels // group, out // group
    units = b.Reshape(eye(b, taps), [1, taps, *kernel])
    units = b.Expand(units, [channels, taps, *kernel])
    if n.node.op == "Conv":
        units = b.Reshape(units, [channels * taps, 1, *kernel])
    else:
        w1 = f.transpose(f.reshape(w1, (group, each, made, taps)), [0, 2, 1, 3])
    pixels = b.Reshape(
        b.op(n.node.op, x0, units, **{**attrs, "group": channels}), [batch, group, each * taps, numel(space)]
    )
    y = f.reshape(f.matmul(f.reshape(w1, (1, group, made, each * taps)), pixels), shape_of(n.y0))
    if not terms:
        return [y]
    f.note("product rule")
    alone = b.op(n.node.op, x0, f.float(n.x0(1)), **attrs)
    return [*terms, f.source(y, b.Neg(alone))]


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


def extreme(f: Freezer, n: Site, axes: list[int], arg: str) -> Frozen:
    """The element that is largest (or smallest) over these axes: a Gather by its index."""
    b, shape = f.b, n.pair(0).shape
    kept = [k for k in range(len(shape)) if k not in axes]
    order = kept + list(axes)
    rows = [numel([shape[k] for k in kept]), numel([shape[k] for k in axes])]
    values = b.Reshape(b.Transpose(f.float(n.x0()), perm=order), rows)
    index = b.Reshape(b.Transpose(numbered(f, shape), perm=order), rows)
    best = b.op(arg, values, axis=1, keepdims=1)
    return f.select(n.only(0), b.Reshape(b.GatherElements(index, best, axis=1), list(shape_of(n.y0))))


def average_pool(f: Freezer, n: Site) -> Frozen:
    """The pool itself, counting every pad, times what the base's own counting makes of it."""
    b, shape = f.b, n.pair(0).shape
    attrs = dict(n.node.attrs)
    plain = {**attrs, "count_include_pad": 1, "ceil_mode": 0}
    rank = len(shape) - 2
    strides, pads = list(attrs.get("strides", [1] * rank)), list(attrs.get("pads", [0] * 2 * rank))
    dilations = list(attrs.get("dilations", [1] * rank))
    for a in range(rank):  # ceil mode looks past the edge: say so as padding
        window = (attrs["kernel_shape"][a] - 1) * dilations[a] + 1
        reach = (shape_of(n.y0)[2 + a] - 1) * strides[a] + window
        pads[a + rank] = max(reach - shape[2 + a] - pads[a], 0)
    plain["pads"] = pads
    y = f.batched("AveragePool", n.x1, **plain)
    ones = b.Expand(b.constant(np.float32(1)), [1, 1, *shape[2:]])
    base, ours = b.op("AveragePool", ones, **attrs), b.op("AveragePool", ones, **plain)
    return f.gain(y, b.Div(base, ours))


def global_average_pool(f: Freezer, n: Site) -> Frozen:
    """The mean of each channel."""
    space = range(2, len(n.x1.shape))
    return f.scale(f.sum(n.x1, list(space)), 1 / numel([n.x1.shape[k] for k in space]))


def lp_norm(f: Freezer, n: Site, window: Callable[[Pair], Pair]) -> Frozen:
    """(Σ |x|^p)^(1/p) over a window, each step with its own rule."""
    x, p = Pair(f.float(n.x0()), n.x1), int(n.attr("p"))
    if p == 2:
        y: Frozen = f.call("Sqrt", window(f.call("Mul", x, x))).x1
    elif p == 1:
        y = window(f.call("Abs", x)).x1  # type: ignore[assignment]
    else:
        y = f.call("Pow", window(f.call("Pow", f.call("Abs", x), np.float32(p))), np.float32(1 / p)).x1
    return y


def lp_pool(f: Freezer, n: Site) -> Frozen:
    """The norm of every window: its sum is a Conv with ones on each channel by itself."""
    shape, out, kernel = n.x1.shape, shape_of(n.y0), list(n.attr("kernel_shape"))
    attrs = conv_attrs(n.node.attrs, len(kernel))
    pads, rank = attrs["pads"], len(kernel)
    for a, k in enumerate(kernel):  # ceil mode looks past the edge: say so as padding
        reach = (out[2 + a] - 1) * attrs["strides"][a] + (k - 1) * attrs["dilations"][a] + 1
        pads[a + rank] = max(reach - shape[2 + a] - pads[a], 0)
    ones = f.b.Expand(f.b.constant(np.float32(1)), [1, 1, *kernel])

    def window(x: Pair) -> Pair:
        alone = f.call("Reshape", x, [shape[0] * shape[1], 1, *shape[2:]])
        return f.call("Reshape", f.call("Conv", alone, ones, **attrs), list(out))  # type: ignore[no-any-return]

    return lp_norm(f, n, window)


def global_lp_pool(f: Freezer, n: Site) -> Frozen:
    """The norm of each channel."""
    return lp_norm(f, n, lambda x: f.call("ReduceSum", x, list(range(2, len(x.shape)))))


CONVOLUTIONS: dict[str, Entry] = {
    "Conv": ("linear", conv),
    "ConvTranspose": ("linear", conv),
    "MaxPool": ("frozen", max_pool),
    "GlobalMaxPool": ("frozen", global_max_pool),
    "AveragePool": ("linear", average_pool),
    "GlobalAveragePool": ("linear", global_average_pool),
    "LpPool": ("frozen", lp_pool),
    "GlobalLpPool": ("frozen", global_lp_pool),
}
