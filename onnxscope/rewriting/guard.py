"""The guard of a specialised scope: an output that tells whether an image decides as recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from onnxscope.graph.builder import Builder
from onnxscope.graph.decisions import Decision
from onnxscope.graph.tensors import Tensor, element_type, is_float, is_sized

HOLDS = "scope_holds"
ROUNDING = 1e-5  # by which a decided floating-point number may differ, as a share of it


def add_guard(b: Builder, decided: Sequence[Decision]) -> Tensor:
    """bool[decisions], in their order: whether the base computes what was decided."""
    b.place = "decided"
    tensors = b.graph.tensors()
    alike = [b.Reshape(holds(b, tensors[d.tensor], np.asarray(d.value)), [1]) for d in decided]
    return b.op("Concat", *alike, names=[HOLDS], node_name=b.unique("decided/output"), axis=0)


def holds(b: Builder, x: Tensor, value: np.ndarray) -> Tensor:
    """Whether a tensor has the shape and the elements that it had when it was decided."""
    flat = b.Reshape(x, [-1])
    if not is_float(x) and element_type(x) != TensorProto.INT64:
        flat = b.Cast(flat, to=TensorProto.INT64)
    shaped = None
    if not is_sized(x):
        shaped = every(b, b.Equal(b.Shape(x), list(value.shape)), value.ndim)
        filler = b.constant(np.zeros(value.size), like=flat)
        flat = b.Slice(b.Concat(flat, filler, axis=0), [0], [value.size], [0], [1])
    same = every(b, equal(b, flat, value.reshape(-1)), value.size)
    return same if shaped is None else b.And(same, shaped)


def equal(b: Builder, x: Tensor, value: np.ndarray) -> Tensor:
    """Element by element; floating-point numbers are equal to rounding."""
    if not is_float(x):
        return b.Equal(x, b.constant(value, like=x))
    x = b.Cast(x, to=TensorProto.FLOAT)
    allowed = np.maximum(np.abs(value) * ROUNDING, np.finfo(np.float32).tiny)
    return b.LessOrEqual(b.Abs(b.Sub(x, b.constant(value, like=x))), b.constant(allowed, like=x))


def every(b: Builder, x: Tensor, count: int) -> Tensor:
    """Whether all of so many truth values hold."""
    if not count:
        return b.constant(np.True_)
    least = b.ReduceMin(b.Cast(x, to=TensorProto.INT32), [0], keepdims=0)
    return b.Cast(least, to=TensorProto.BOOL)
