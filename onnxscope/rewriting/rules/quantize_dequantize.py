"""QuantizeLinear and DequantizeLinear: rounding goes straight through, and what it costs is a source.

Saturation is frozen as a Clip is: quantizers drop a Relu where saturation at the zero point does the same, so
that it is a decision of the network.

An integer tensor that carries the image has a frozen float32 value, equal to the integers at x1 = x0. Scales
and zero points are decisions, also where they are computed from the image.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxscope.graph.tensors import Shape, Tensor, element_type, is_known, numel, shape_of, values_of
from onnxscope.normalise.attributes import attributes
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import numbered

INTEGERS = {
    getattr(TensorProto, sign + size) for sign in ("INT", "UINT") for size in ("2", "4", "8", "16", "32")
}
MOST_ROUNDED = 0.51  # of a step: what changes by more was cut off


def spread(f: Freezer, n: Site, i: int, shape: Shape) -> Tensor:
    """A scale or zero point (of the tensor, of slices of an axis, or of blocks), broadcast to this shape."""
    b, own = f.b, shape_of(n.x0(i))
    x = f.float(n.x0(i))
    if numel(own) == 1:
        return b.Reshape(x, []) if own else x
    axis, block = n.attr("axis"), n.attr("block_size")
    if len(own) == 1:
        return b.Reshape(x, [d if k == axis else 1 for k, d in enumerate(shape)])
    x = b.Expand(b.Unsqueeze(x, [axis + 1]), [*own[: axis + 1], block, *own[axis + 1 :]])
    x = b.Reshape(x, [*own[:axis], own[axis] * block, *own[axis + 1 :]])
    return x if own[axis] * block == shape[axis] else b.Slice(x, [0], [shape[axis]], [axis])


def passed(f: Freezer, n: Site, x0: Tensor, real0: Tensor, scale: Tensor) -> Tensor:
    """1 where x0 was rounded at most; where it was cut off, bound/x0 (freeze) or 0 (taylor).

    No bound is beyond 0, so that x0 is not near 0 where it was cut off.
    """
    b = f.b
    cut = b.Greater(b.Abs(b.Sub(x0, real0)), b.Mul(scale, MOST_ROUNDED))
    instead = b.constant(0.0, x0) if n.taylor else b.Div(real0, b.Where(cut, x0, b.constant(1.0, x0)))
    return b.Where(cut, instead, b.constant(1.0, x0))


def straight_through(f: Freezer, n: Site, x: Pair, y0: Tensor, scale: Tensor, zero: Tensor | None) -> Frozen:
    """gain·x1/scale + (y0 − gain·x0/scale); floating-point results are only rounded."""
    f.note("straight through", tangent=False)
    b, x, q0, gain = f.b, Pair(f.float(x.x0), x.x1), f.float(y0), f.b.Reciprocal(scale)
    if element_type(y0) in INTEGERS:
        real0 = b.Mul(b.Sub(q0, zero) if zero is not None else q0, scale)
        gain = b.Mul(passed(f, n, x.x0, real0, scale), gain)
    return f.anchored(f.times(x, gain), q0)


def quantize(f: Freezer, n: Site) -> Frozen:
    """Rounding goes straight through, its error and the zero point being a source; saturation as in Clip."""
    x1, shape = n.carried(0), n.pair(0).shape
    scale, zero = spread(f, n, 1, shape), spread(f, n, 2, shape) if n.has(2) else None
    return straight_through(f, n, Pair(n.x0(), x1), n.y0, scale, zero)


def dynamic_quantize(f: Freezer, n: Site) -> list[Frozen | None]:
    """The same, with the scale and zero point that the base computes."""
    scale, zero = (f.float(t) for t in n.node.outputs[1:])
    return [straight_through(f, n, Pair(n.x0(), n.x1), n.y0, scale, zero), None, None]


def same_values(a: Tensor, b: Tensor) -> bool:
    return a is b or (is_known(a) and is_known(b) and np.array_equal(values_of(a), values_of(b)))


def dequantize(f: Freezer, n: Site) -> Frozen:
    """(q1 − zero point)·scale; directly after its own QuantizeLinear gain·x1 + (y0 − gain·x0)."""
    if not n.active(0):
        return by_scale(f, n)
    if any(n.active(i) for i in range(1, len(n.inputs))):
        f.note("scale and zero point are frozen", tangent=False)
    q1, x = n.carried(0), quantized_just_before(f, n)
    if x is not None and element_type(n.x0()) not in INTEGERS:
        return f.anchored(x, f.float(n.y0))
    if x is not None:
        y0 = f.float(n.y0)
        return f.anchored(f.times(x, passed(f, n, x.x0, y0, spread(f, n, 1, q1.shape))), y0)
    scale = spread(f, n, 1, q1.shape)
    y = f.gain(q1, scale)
    return f.source(y, f.b.Neg(f.b.Mul(spread(f, n, 2, q1.shape), scale))) if n.has(2) else y


def quantized_just_before(f: Freezer, n: Site) -> Pair | None:
    """The input of the QuantizeLinear that feeds this node, where scale and zero point are the same."""
    made = n.x0().inputs[0] if n.x0().inputs else None
    if made is None or made.op != "QuantizeLinear" or len(made.inputs) != len(n.node.inputs):
        return None
    x1, own = f.active.get(made.inputs[0].name), attributes(made, n.opset)
    same = all(same_values(s, t) for s, t in zip(made.inputs[1:], n.node.inputs[1:], strict=True))
    alike = all(own.get(name) == n.attr(name) for name in ("axis", "block_size"))
    return Pair(f.float(made.inputs[0]), x1) if isinstance(x1, Frozen) and same and alike else None


def by_scale(f: Freezer, n: Site) -> Frozen:
    """Constant integers with a scale that carries the image: (q0 − zero point)·scale1."""
    shape, axis = n.pair(0).shape, n.attr("axis")
    q0 = f.float(n.x0())
    q0 = f.b.Sub(q0, spread(f, n, 2, shape)) if n.has(2) else q0
    scale1 = n.carried(1)
    if len(scale1.shape) == 1 and numel(scale1.shape) > 1:
        scale1 = f.reshape(scale1, [d if k == axis else 1 for k, d in enumerate(shape)])
    elif numel(scale1.shape) > 1:
        place = [k // n.attr("block_size") for k in range(shape[axis])]
        scale1 = f.select(scale1, f.b.Gather(numbered(f, scale1.shape), place, axis=axis))
    return f.gain(scale1, q0)


QUANTIZE_DEQUANTIZE: dict[str, Entry] = {
    "QuantizeLinear": ("frozen", quantize),
    "DequantizeLinear": ("frozen", dequantize),
    "DynamicQuantizeLinear": ("frozen", dynamic_quantize),
}
