"""Quantization: rounding goes straight through, and what it costs is a source; saturation is frozen as a Clip is.

Quantizers leave a Relu to the saturation at a zero point that stands for 0, so saturation is a decision of the network.

An integer tensor that carries the image has a frozen float32 value beside it, equal to the integers at x1 = x0.
Scales and zero points are decisions, also where they are computed from the image.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxscope.graph.builder import Shape, Tensor, element_type, is_known, numel, shape_of, values_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.movement import numbered
from onnxscope.rewriting.rules.primitives import conv_attrs

INTEGERS = {
    getattr(TensorProto, sign + size) for sign in ("INT", "UINT") for size in ("2", "4", "8", "16", "32")
}
MOST_ROUNDED = 0.51  # of a step; what changes by more was cut off


def spread(f: Freezer, n: Site, i: int, shape: Shape) -> Tensor:
    """A scale or zero point (of the tensor, of every slice of an axis, or of blocks), ready to meet this shape."""
    b, own = f.b, shape_of(n.x0(i))
    x = f.float(n.x0(i))
    axis = int(n.attr("axis")) % max(len(shape), 1)
    if numel(own) == 1:
        return b.Reshape(x, []) if own else x
    if len(own) == 1:
        return b.Reshape(x, [d if k == axis else 1 for k, d in enumerate(shape)])
    block = int(n.attr("block_size"))
    x = b.Expand(b.Unsqueeze(x, [axis + 1]), [*own[: axis + 1], block, *own[axis + 1 :]])
    x = b.Reshape(x, [*own[:axis], own[axis] * block, *own[axis + 1 :]])
    return x if own[axis] * block == shape[axis] else b.Slice(x, [0], [shape[axis]], [axis])


def decided(f: Freezer, n: Site) -> Frozen:
    """The quantized value; scale and zero point are frozen where they depend on the image."""
    if any(n.active(i) for i in range(1, len(n.inputs))):
        f.note("scale and zero point are frozen", tangent=False)
    return n.carried(0)


def passed(f: Freezer, n: Site, x0: Tensor, real0: Tensor, scale: Tensor) -> Tensor:
    """1 where x0 was but rounded; where it was cut off, bound/x0 (freeze) or 0 (taylor). No bound is beyond 0, so x0 is not near it."""
    b = f.b
    cut = b.Greater(b.Abs(b.Sub(x0, real0)), b.Mul(scale, MOST_ROUNDED))
    instead = b.constant(0.0, x0) if n.taylor else b.Div(real0, b.Where(cut, x0, b.constant(1.0, x0)))
    return b.Where(cut, instead, b.constant(1.0, x0))


def straight_through(f: Freezer, n: Site, x: Pair, y0: Tensor, scale: Tensor, zero: Tensor | None) -> Frozen:
    """gain·x1/scale + (y0 − gain·x0/scale); floating-point results are only rounded."""
    assert x.x1 is not None
    f.note("straight through", tangent=False)
    b, x0, q0, gain = f.b, f.float(x.x0), f.float(y0), f.b.Reciprocal(scale)
    if element_type(y0) in INTEGERS:
        gain = b.Mul(passed(f, n, x0, b.Mul(b.Sub(q0, zero) if zero is not None else q0, scale), scale), gain)
    return f.source(f.gain(x.x1, gain), b.Sub(q0, b.Mul(x0, gain)))


def quantize(f: Freezer, n: Site) -> Frozen:
    """Rounding goes straight through, with its error and the zero point as a source; what saturates is carried as a Clip does."""
    x = Pair(n.x0(), n.carried(0))
    shape = n.pair(0).shape
    return straight_through(
        f, n, x, n.y0, spread(f, n, 1, shape), spread(f, n, 2, shape) if n.has(2) else None
    )


def dynamic_quantize(f: Freezer, n: Site) -> list[Frozen | None]:
    """The same, with the scale and zero point that the base computes."""
    scale, zero = (f.float(t) for t in n.node.outputs[1:])
    return [straight_through(f, n, Pair(n.x0(), n.x1), n.y0, scale, zero), None, None]


def same_values(a: Tensor, b: Tensor) -> bool:
    return a is b or (is_known(a) and is_known(b) and np.array_equal(values_of(a), values_of(b)))


def dequantize(f: Freezer, n: Site) -> Frozen:
    """(q1 − zero point)·scale; straight after its own QuantizeLinear gain·x1 + (y0 − gain·x0), free of zero points."""
    if not n.active(0):
        return by_scale(f, n)
    q1 = decided(f, n)
    made = n.x0().inputs[0] if n.x0().inputs else None
    if made is not None and made.op == "QuantizeLinear" and len(made.inputs) == len(n.node.inputs):
        x1 = f.active.get(made.inputs[0].name)
        same = all(same_values(s, t) for s, t in zip(made.inputs[1:], n.node.inputs[1:], strict=True))
        alike = all(
            made.attrs.get(k, d) == n.node.attrs.get(k, d) for k, d in (("axis", 1), ("block_size", 0))
        )
        if isinstance(x1, Frozen) and same and alike:
            x0, y0 = f.float(made.inputs[0]), f.float(n.y0)
            if element_type(n.x0()) not in INTEGERS:
                return f.source(x1, f.b.Sub(y0, x0))
            gain = passed(f, n, x0, y0, spread(f, n, 1, q1.shape))
            return f.source(f.gain(x1, gain), f.b.Sub(y0, f.b.Mul(x0, gain)))
    scale = spread(f, n, 1, q1.shape)
    y = f.gain(q1, scale)
    return f.source(y, f.b.Neg(f.b.Mul(spread(f, n, 2, q1.shape), scale))) if n.has(2) else y


def by_scale(f: Freezer, n: Site) -> Frozen:
    """Constant integers with a scale that carries the image: (q0 − zero point)·scale1."""
    shape = n.pair(0).shape
    q0 = f.float(n.x0())
    q0 = f.b.Sub(q0, spread(f, n, 2, shape)) if n.has(2) else q0
    scale1, axis = n.carried(1), int(n.attr("axis")) % max(len(shape), 1)
    if len(scale1.shape) == 1 and numel(scale1.shape) > 1:
        scale1 = f.reshape(scale1, [d if k == axis else 1 for k, d in enumerate(shape)])
    elif numel(scale1.shape) > 1:
        place = [k // int(n.attr("block_size")) for k in range(shape[axis])]
        scale1 = f.select(scale1, f.b.Gather(numbered(f, scale1.shape), place, axis=axis))
    return f.gain(scale1, q0)


def centred(f: Freezer, n: Site, i: int, zero: Tensor | None) -> Pair:
    """An integer operand in float32, less its zero point."""
    x = Pair(f.float(n.x0(i)), n.pair(i).x1)
    return x if zero is None else f.call("Sub", x, zero)


def conv_integer(f: Freezer, n: Site) -> Frozen:
    """Conv of x − zero point with the weights less theirs, which belong to output channels."""
    w = shape_of(n.x0(1))
    x_zero = f.b.Reshape(f.float(n.x0(2)), []) if n.has(2) else None
    w_zero = f.b.Reshape(f.float(n.x0(3)), [-1, *[1] * (len(w) - 1)]) if n.has(3) else None
    weights = centred(f, n, 1, w_zero)
    return f.call("Conv", centred(f, n, 0, x_zero), weights, **conv_attrs(n.node.attrs, len(w) - 2)).x1  # type: ignore[no-any-return]


def matmul_integer(f: Freezer, n: Site) -> Frozen:
    """The product of both operands less their zero points: of rows on the left, of columns on the right."""
    a_zero, b_zero = (f.float(n.x0(i)) if n.has(i) else None for i in (2, 3))
    if a_zero is not None and len(shape_of(a_zero)) == 1 and numel(shape_of(a_zero)) > 1:
        a_zero = f.b.Unsqueeze(a_zero, [1])
    return f.call("MatMul", centred(f, n, 0, a_zero), centred(f, n, 1, b_zero)).x1  # type: ignore[no-any-return]


def real(f: Freezer, n: Site, i: int, **axis: int) -> Pair:
    """Inputs i, i+1, i+2 are a tensor, its scale and its zero point: the numbers that they stand for."""
    return f.call("DequantizeLinear", n.pair(i), n.x0(i + 1), n.x0(i + 2), **axis)  # type: ignore[no-any-return]


def requantized(f: Freezer, n: Site, y: Pair) -> Frozen:
    """Inputs 6 and 7 are the result's scale and zero point."""
    return straight_through(f, n, y, n.y0, f.float(n.x0(6)), f.float(n.x0(7)))


def qlinear_conv(f: Freezer, n: Site) -> Frozen:
    """Conv of the real numbers, quantized as QuantizeLinear does."""
    bias = None
    if n.has(8):
        step = f.b.Mul(f.float(n.x0(1)), f.float(n.x0(4)))
        bias = f.b.Mul(f.float(n.x0(8)), step)
    attrs = conv_attrs(n.node.attrs, len(shape_of(n.x0(3))) - 2)
    return requantized(f, n, f.call("Conv", real(f, n, 0), real(f, n, 3, axis=0), bias, **attrs))


def qlinear_matmul(f: Freezer, n: Site) -> Frozen:
    """The product of the real numbers, quantized straight through; a may have a scale per row, b per column."""
    a, b = real(f, n, 0, axis=len(n.pair(0).shape) - 2), real(f, n, 3, axis=len(n.pair(3).shape) - 1)
    return requantized(f, n, f.call("MatMul", a, b))


QUANTIZATION: dict[str, Entry] = {
    "QuantizeLinear": ("frozen", quantize),
    "DequantizeLinear": ("frozen", dequantize),
    "DynamicQuantizeLinear": ("frozen", dynamic_quantize),
    "QLinearConv": ("frozen", qlinear_conv),
    "QLinearMatMul": ("frozen", qlinear_matmul),
    "ConvInteger": ("linear", conv_integer),
    "MatMulInteger": ("frozen", matmul_integer),
}
