"""Operators of onnxruntime's own domain com.microsoft, which its optimizer writes into deployed models."""

from __future__ import annotations

import math
from typing import Any

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Tensor, shape_of
from onnxscope.normalise.families import channels_first, channels_last
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source
from onnxscope.normalise.windows import spell_out, spell_out_pool


def activated(w: Normaliser, n: Source, y: Tensor, op: str, params: list[float]) -> Tensor:
    """A fused activation of y, with its parameters in the standard's order."""
    names = {
        "LeakyRelu": ("alpha",),
        "HardSigmoid": ("alpha", "beta"),
        "Relu": (),
        "Sigmoid": (),
        "Tanh": (),
        "": (),
    }
    if op == "Clip":
        return w.b.Clip(y, *params)
    if op not in names:
        raise Unsupported(
            f"its fused activation '{op}' is not known",
            where=n.where,
            remedy="save the model without fused operators",
        )
    attrs: dict[str, Any] = dict(zip(names[op], params, strict=False))
    return w.b.op(op, y, **attrs) if op else y


def fused_conv(w: Normaliser, n: Source) -> Any:
    """activation(Conv(x, w, b) + z)"""
    spell_out(n, shape_of(n[0])[2:], shape_of(n[1])[2:])
    op, params = n.attrs.pop("activation", ""), [float(p) for p in n.attrs.pop("activation_params", [])]
    y = w.op(n, "Conv", n[0], n[1], n.input(2), **n.attrs)
    return activated(w, n, w.b.Add(y, n[3]) if n.input(3) is not None else y, op, params)


def fused_gemm(w: Normaliser, n: Source) -> Any:
    """activation(Gemm(a, b, c))"""
    op = n.attrs.pop("activation", "")
    params = [
        float(n.attrs.pop(f"activation_{k}"))
        for k in ("alpha", "beta", "gamma")
        if f"activation_{k}" in n.attrs
    ]
    return activated(w, n, w.op(n, "Gemm", *n.tensors, **n.attrs), op, params)


def fused_matmul(w: Normaliser, n: Source) -> Any:
    """α·a·b, where transBatch moves axis 0 behind the batch axes and trans then exchanges the last two."""
    sides = [
        turned(w, x, bool(n.attrs.get(f"transBatch{k}")), bool(n.attrs.get(f"trans{k}")))
        for x, k in ((n[0], "A"), (n[1], "B"))
    ]
    alpha = float(n.attrs.get("alpha", 1.0))
    y = w.op(n, "MatMul", *sides)
    return w.b.Mul(y, alpha) if alpha != 1 else y


def turned(w: Normaliser, x: Tensor, batch: bool, last: bool) -> Tensor:
    perm = list(range(len(shape_of(x))))
    perm = [*perm[1:-1], 0, perm[-1]] if batch else perm
    perm = [*perm[:-2], perm[-1], perm[-2]] if last else perm
    return w.b.Transpose(x, perm=perm) if batch or last else x


def gelu(w: Normaliser, n: Source) -> Any:
    """x·Φ(x), here and in BiasGelu of x + bias; the standard has it from opset 20."""
    b = w.b
    x = b.Add(n[0], n[1]) if n.input(1) is not None else n[0]
    if b.opset >= 20:
        return w.op(n, "Gelu", x)
    return w.op(n, "Mul", x, b.Mul(b.Add(b.Erf(b.Mul(x, math.sqrt(0.5))), 1.0), 0.5))


def fast_gelu(w: Normaliser, n: Source) -> Any:
    """x·½(1 + tanh(√(2/π)·(x + 0.044715·x³))) of x + bias"""
    b = w.b
    x = b.Add(n[0], n[1]) if n.input(1) is not None else n[0]
    if b.opset >= 20:
        return w.op(n, "Gelu", x, approximate="tanh")
    inner = b.Mul(b.Mul(x, b.Add(b.Mul(b.Mul(x, x), 0.044715), 1.0)), math.sqrt(2 / math.pi))
    return w.op(n, "Mul", x, b.Mul(b.Add(b.Tanh(inner), 1.0), 0.5))


def quick_gelu(w: Normaliser, n: Source) -> Any:
    """x·sigmoid(α·x)"""
    return w.op(n, "Mul", n[0], w.b.Sigmoid(w.b.Mul(n[0], float(n.attrs.get("alpha", 1.702)))))


def skip_layer_normalization(w: Normaliser, n: Source) -> Any:
    """(input, skip, gamma, beta, bias): LayerNormalization of input + skip + bias; output 3 is that sum."""
    if n.wants(1) or n.wants(2):
        raise Unsupported(
            "its mean and deviation are read", where=n.where, remedy="save the model without fused operators"
        )
    total = w.b.Add(n[0], n[1])
    total = w.b.Add(total, n[4]) if n.input(4) is not None else total
    y = w.op(
        n,
        "LayerNormalization",
        total,
        n[2],
        n.input(3),
        axis=-1,
        epsilon=float(n.attrs.get("epsilon", 1e-12)),
    )
    return [y, y, y, total] if n.wants(3) else y


def nhwc_max_pool(w: Normaliser, n: Source) -> Any:
    """MaxPool with the channels last."""
    x = channels_first(w, n[0])
    spell_out_pool(n, shape_of(x)[2:])
    return channels_last(w, w.op(n, "MaxPool", x, **n.attrs))


CONTRIB: dict[str, Lift] = {
    "com.microsoft.BiasGelu": gelu,
    "com.microsoft.FastGelu": fast_gelu,
    "com.microsoft.FusedConv": fused_conv,
    "com.microsoft.FusedGemm": fused_gemm,
    "com.microsoft.FusedMatMul": fused_matmul,
    "com.microsoft.Gelu": gelu,
    "com.microsoft.NhwcMaxPool": nhwc_max_pool,
    "com.microsoft.QuickGelu": quick_gelu,
    "com.microsoft.SkipLayerNormalization": skip_layer_normalization,
}
