"""Convolutions, also where their weights depend on the image. An int8 Conv is in quantized_layers.py."""

from __future__ import annotations

from typing import Any

from onnxscope.errors import BadModel
from onnxscope.graph.tensors import describe, numel, shape_of
from onnxscope.normalise.attributes import window
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.matrices import eye


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
    attrs = window(n.attrs)
    channels = shape_of(w)[1] * attrs["group"] if n.node.op == "Conv" else shape_of(w)[0]
    if channels != n.pair(0).shape[1]:
        raise BadModel(
            f"its weights are for {channels} channels",
            where=describe(n.node),
            remedy="export the model again",
        )
    if n.node.op == "ConvTranspose" and any(n.attr("output_padding")):
        attrs["output_padding"] = n.attr("output_padding")
    terms = [f.batched(n.node.op, n.carried(0), w, **attrs)] if n.active(0) else []
    if n.active(1):
        terms = by_weights(f, n, terms, attrs)
    return bias(f, n, f.add(*terms), 2)


def by_weights(f: Freezer, n: Site, terms: list[Frozen], attrs: dict[str, Any]) -> list[Frozen]:
    """Active weights: carried; where the input is active too, a decision (freeze) or by the product rule.

    As a function of its weights a convolution is a matrix product with the pixels under every tap of the
    kernel. The operator itself collects these when its kernels have a single 1.
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
    # not `anchored`: both terms are y0 at x1 = x0, so that the source is −y0 in closed form
    alone = b.op(n.node.op, x0, f.float(n.x0(1)), **attrs)
    return [*terms, f.source(y, b.Neg(alone))]


CONVOLUTIONS: dict[str, Entry] = {
    "Conv": ("linear", conv),
    "ConvTranspose": ("linear", conv),
}
