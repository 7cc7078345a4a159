"""Quantized operators of the domain com.microsoft: DequantizeLinear, the float operator, QuantizeLinear.

Those of the standard, such as QLinearConv, stay as they are: rewriting/rules/quantized_layers.py takes them
apart. The float operator rounds its sums and the integer one does not, so a tie may be rounded to the other
step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Tensor, element_type, numel, shape_of
from onnxscope.normalise.families import channels_first, channels_last, in_float, scalar
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source
from onnxscope.normalise.windows import spell_out, spell_out_pool

WIDE = (TensorProto.INT16, TensorProto.UINT16)


def real(w: Normaliser, n: Source, i: int, axis: int | None = None) -> Tensor:
    """Inputs i, i+1, i+2 are a tensor, its scale and its zero point: the numbers that they stand for."""
    return w.b.DequantizeLinear(n[i], *steps(w, n, i + 1, axis))


def steps(w: Normaliser, n: Source, i: int, axis: int | None) -> Any:
    scale, zero = scalar(w, n[i]), n.input(i + 1)
    if len(shape_of(scale)) > (0 if axis is None else 1):
        raise Unsupported(
            f"its scales have the shape {shape_of(scale)}",
            where=n.where,
            remedy="quantize per tensor, or weights per channel",
        )
    return scale, scalar(w, zero) if zero is not None else None


def dequantized(w: Normaliser, n: Source, i: int, axis: int) -> Tensor:
    """The same with a scale for every index along an axis."""
    scale, zero = steps(w, n, i + 1, axis)
    return w.b.DequantizeLinear(n[i], scale, zero, axis=axis if shape_of(scale) else None)


def stepped(w: Normaliser, n: Source, y: Tensor, i: int) -> Tensor:
    """Inputs i, i+1 are the result's scale and zero point."""
    scale, zero = steps(w, n, i, None)
    return w.b.QuantizeLinear(y, scale, zero)


def bias_of(w: Normaliser, bias: Tensor, x_scale: Tensor, w_scale: Tensor) -> Tensor:
    """An int32 bias counts in steps of x_scale·w_scale."""
    step = w.b.Mul(scalar(w, x_scale), scalar(w, w_scale))
    return w.b.DequantizeLinear(bias, step, axis=0 if shape_of(step) else None)


def conv(w: Normaliser, n: Source) -> Any:
    """(x, scale, zero, w, scale, zero, y_scale, y_zero, bias); w may have a scale per output channel."""
    last = n.attrs.pop("channels_last", 0)
    x = channels_first(w, real(w, n, 0)) if last else real(w, n, 0)
    spell_out(n, shape_of(x)[2:], shape_of(n[3])[2:])
    bias = n.input(8)
    y = w.op(
        n,
        "Conv",
        x,
        dequantized(w, n, 3, 0),
        bias_of(w, bias, n[1], n[4]) if bias is not None else None,
        **n.attrs,
    )
    return stepped(w, n, channels_last(w, y) if last else y, 6)


def gemm(w: Normaliser, n: Source) -> Any:
    """(a, scale, zero, b, scale, zero, c, y_scale, y_zero); without y_scale the result is float."""
    alpha, c, a = float(n.attrs.get("alpha", 1.0)), n.input(6), n.attrs
    bias = bias_of(w, c, w.b.Mul(n[1], alpha), n[4]) if c is not None and numel(shape_of(c)) > 1 else None
    if c is not None and bias is None:
        bias = w.b.DequantizeLinear(scalar(w, c), w.b.Mul(w.b.Mul(scalar(w, n[1]), scalar(w, n[4])), alpha))
    weights = dequantized(w, n, 3, 0 if a.get("transB") else 1)
    y = w.op(
        n,
        "Gemm",
        real(w, n, 0),
        weights,
        bias,
        alpha=alpha,
        transA=a.get("transA", 0),
        transB=a.get("transB", 0),
    )
    return stepped(w, n, y, 7) if n.input(7) is not None else y


def dynamic_matmul(w: Normaliser, n: Source) -> Any:
    """(a, b, b_scale, b_zero, bias): a is quantized by its own range."""
    a, a_scale, a_zero = w.b.op("DynamicQuantizeLinear", n[0], outputs=3)
    return counted(w, n, a, n[1], (a_scale, n[2]), (a_zero, n.input(3)), n.input(4))


def matmul_to_float(w: Normaliser, n: Source) -> Any:
    """(a, b, a_scale, b_scale, a_zero, b_zero, bias)"""
    return counted(w, n, n[0], n[1], (n[2], n[3]), (n.input(4), n.input(5)), n.input(6))


def counted(
    w: Normaliser,
    n: Source,
    a: Tensor,
    b: Tensor,
    scales: tuple[Tensor, Tensor],
    zeros: tuple[Tensor | None, Tensor | None],
    bias: Tensor | None,
) -> Tensor:
    """Integers multiplied, in steps of both scales, and a bias that is float already."""
    y: Tensor = w.b.Mul(in_float(w, w.op(n, "MatMulInteger", a, b, *zeros), scales[0]), w.b.Mul(*scales))
    return w.b.Add(y, bias) if bias is not None else y


def unary(write: Callable[[Normaliser, Source, Tensor], Tensor]) -> Lift:
    """(x, scale, zero, y_scale, y_zero)"""
    return lambda w, n: stepped(w, n, write(w, n, real(w, n, 0)), 3)


def binary(op: str) -> Lift:
    """(a, scale, zero, b, scale, zero, y_scale, y_zero)"""
    return lambda w, n: stepped(w, n, w.op(n, op, real(w, n, 0), real(w, n, 3)), 6)


def concat(w: Normaliser, n: Source) -> Any:
    """(y_scale, y_zero, then x, scale, zero of every part)"""
    parts = [real(w, n, i) for i in range(2, len(n.inputs), 3)]
    return stepped(w, n, w.op(n, "Concat", *parts, axis=n.attrs["axis"]), 0)


def where(w: Normaliser, n: Source) -> Any:
    """(condition, a, scale, zero, b, scale, zero, y_scale, y_zero)"""
    return stepped(w, n, w.op(n, "Where", n[0], real(w, n, 1), real(w, n, 4)), 7)


def around(op: str) -> Callable[[Normaliser, Source, Tensor], Tensor]:
    """A pool, whose channels may come last."""

    def write(w: Normaliser, n: Source, x: Tensor) -> Tensor:
        last = n.attrs.pop("channels_last", 0)
        x = channels_first(w, x) if last else x
        if op == "AveragePool":
            spell_out_pool(n, shape_of(x)[2:])
        y: Tensor = w.op(n, op, x, **n.attrs)
        return channels_last(w, y) if last else y

    return write


def leaky_relu(w: Normaliser, n: Source, x: Tensor) -> Tensor:
    return w.op(n, "LeakyRelu", x, alpha=float(n.attrs.get("alpha", 0.01)))


def softmax(w: Normaliser, n: Source, x: Tensor) -> Tensor:
    """`opset` is the Softmax's version: before 13 it was that of a matrix."""
    axis, shape = int(n.attrs.get("axis", -1)), shape_of(x)
    if n.attrs.get("opset", 13) >= 13:
        return w.op(n, "Softmax", x, axis=axis)
    rows = w.b.Reshape(x, [numel(shape[: axis % len(shape)]), numel(shape[axis % len(shape) :])])
    return w.b.Reshape(w.op(n, "Softmax", rows, axis=1), list(shape))


def sigmoid(w: Normaliser, n: Source, x: Tensor) -> Tensor:
    return w.op(n, "Sigmoid", x)


def contrib(op: str) -> Lift:
    """onnxruntime's own form, which also takes 16 bits where the standard does not before opset 21."""

    def lift(w: Normaliser, n: Source) -> Any:
        zero = n.input(2)
        narrow = n[0] if op == "DequantizeLinear" else zero
        if w.b.opset < 21 and narrow is not None and element_type(narrow) in WIDE:
            raise Unsupported(
                "16-bit quantization came into the standard with opset 21",
                where=n.where,
                remedy="export with opset 21",
            )
        scale = scalar(w, n[1])
        axis = int(n.attrs.get("axis", 1)) if shape_of(scale) else None
        return w.op(n, op, n[0], scale, scalar(w, zero) if zero is not None else None, axis=axis)

    return lift


CONTRIB_QUANTIZED: dict[str, Lift] = {
    "com.microsoft.DequantizeLinear": contrib("DequantizeLinear"),
    "com.microsoft.DynamicQuantizeMatMul": dynamic_matmul,
    "com.microsoft.MatMulIntegerToFloat": matmul_to_float,
    "com.microsoft.QGemm": gemm,
    "com.microsoft.QLinearAdd": binary("Add"),
    "com.microsoft.QLinearAveragePool": unary(around("AveragePool")),
    "com.microsoft.QLinearConcat": concat,
    "com.microsoft.QLinearConv": conv,
    "com.microsoft.QLinearGlobalAveragePool": unary(around("GlobalAveragePool")),
    "com.microsoft.QLinearLeakyRelu": unary(leaky_relu),
    "com.microsoft.QLinearMul": binary("Mul"),
    "com.microsoft.QLinearSigmoid": unary(sigmoid),
    "com.microsoft.QLinearSoftmax": unary(softmax),
    "com.microsoft.QLinearWhere": where,
    "com.microsoft.QuantizeLinear": contrib("QuantizeLinear"),
}
