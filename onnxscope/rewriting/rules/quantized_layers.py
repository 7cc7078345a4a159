"""Quantized layers, taken apart: the numbers that the integers stand for, the layer, the rounding.

These are the standard's. Those of the domain com.microsoft become standard operators in
normalise/contrib_quantized.py.
"""

from __future__ import annotations

from onnxscope.graph.tensors import Tensor, numel, shape_of
from onnxscope.normalise.attributes import window
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.quantize_dequantize import straight_through


def qlinear_conv(f: Freezer, n: Site) -> Frozen:
    """Conv of the real numbers, quantized as QuantizeLinear does."""
    bias = None
    if n.has(8):  # it counts in steps of x_scale·w_scale
        step = f.b.Mul(f.float(n.x0(1)), f.float(n.x0(4)))
        bias = f.b.Mul(f.float(n.x0(8)), step)
    y = f.call("Conv", real(f, n, 0), real(f, n, 3, axis=0), bias, **window(n.attrs))
    return requantized(f, n, y)


def qlinear_matmul(f: Freezer, n: Site) -> Frozen:
    """The product of the real numbers, quantized likewise; a may have a scale per row, b per column."""
    a, b = real(f, n, 0, axis=len(n.pair(0).shape) - 2), real(f, n, 3, axis=len(n.pair(3).shape) - 1)
    return requantized(f, n, f.call("MatMul", a, b))


def real(f: Freezer, n: Site, i: int, **axis: int) -> Pair:
    """Inputs i, i+1, i+2 are a tensor, its scale and its zero point: the numbers that they stand for."""
    y: Pair = f.call("DequantizeLinear", n.pair(i), n.x0(i + 1), n.x0(i + 2), **axis)
    return y


def requantized(f: Freezer, n: Site, y: Pair) -> Frozen:
    """Inputs 6 and 7 are the result's scale and zero point."""
    return straight_through(f, n, y, n.y0, f.float(n.x0(6)), f.float(n.x0(7)))


def conv_integer(f: Freezer, n: Site) -> Frozen:
    """Conv of x − zero point with the weights less theirs, which belong to output channels."""
    w = shape_of(n.x0(1))
    x_zero = f.b.Reshape(f.float(n.x0(2)), []) if n.has(2) else None
    w_zero = f.b.Reshape(f.float(n.x0(3)), [-1, *[1] * (len(w) - 1)]) if n.has(3) else None
    weights = less_zero(f, n, 1, w_zero)
    y: Pair = f.call("Conv", less_zero(f, n, 0, x_zero), weights, **window(n.attrs))
    return y.carried


def matmul_integer(f: Freezer, n: Site) -> Frozen:
    """The product of both less their zero points, which belong to rows of a and columns of b."""
    a_zero, b_zero = (f.float(n.x0(i)) if n.has(i) else None for i in (2, 3))
    if a_zero is not None and len(shape_of(a_zero)) == 1 and numel(shape_of(a_zero)) > 1:
        a_zero = f.b.Unsqueeze(a_zero, [1])
    y: Pair = f.call("MatMul", less_zero(f, n, 0, a_zero), less_zero(f, n, 1, b_zero))
    return y.carried


def less_zero(f: Freezer, n: Site, i: int, zero: Tensor | None) -> Pair:
    """An integer operand in float32, less its zero point."""
    x = f.operand(n, i)
    return x if zero is None else f.call("Sub", x, zero)


QUANTIZED_LAYERS: dict[str, Entry] = {
    "QLinearConv": ("frozen", qlinear_conv),
    "QLinearMatMul": ("frozen", qlinear_matmul),
    "ConvInteger": ("linear", conv_integer),
    "MatMulInteger": ("frozen", matmul_integer),
}
