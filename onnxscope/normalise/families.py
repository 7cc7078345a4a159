"""Helpers that many lifts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Tensor, element_type, numel, shape_of
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source


def ints(w: Normaliser, values: Sequence[int]) -> gs.Constant:
    return w.b.constant(np.asarray(values, dtype=np.int64))


def fixed(n: Source, attr: str, i: int, what: str) -> list[int] | None:
    """What was an attribute and became input i; None where neither is there."""
    if attr in n.attrs:
        return [int(v) for v in n.attrs.pop(attr)]
    return n.ints(i, what) if n.input(i) is not None else None


def before(opset: int, lift: Lift) -> Lift:
    """A lift for models older than this opset."""
    return lambda w, n: lift(w, n) if n.opset < opset else None


def default(opset: int, **values: Any) -> Lift:
    """Before this opset these were the defaults."""

    def lift(w: Normaliser, n: Source) -> None:
        if n.opset < opset:
            n.attrs = {**values, **n.attrs}

    return lift


def without(*names: str) -> Lift:
    """Drop attributes that later opsets do not have."""

    def lift(w: Normaliser, n: Source) -> None:
        for name in names:
            n.attrs.pop(name, None)

    return lift


def as_it_is(w: Normaliser, n: Source) -> None:
    """The same in the normal dialect, though the source's opset did not have it."""


def of_one_shape(w: Normaliser, n: Source) -> Any:
    """The standard does not infer this operator's shape: it is its input's."""
    results: list[Any] = w.emit(n)
    results[0].dtype, results[0].shape = n[0].dtype, list(shape_of(n[0]))
    return results


def first(w: Normaliser, n: Source) -> Any:
    """The input itself."""
    return n.value(0) if n.value(0) is not None else n[0]


def scalar(w: Normaliser, x: Tensor) -> Tensor:
    """A tensor of one element without any axes."""
    return w.b.Reshape(x, []) if shape_of(x) and numel(shape_of(x)) == 1 else x


def in_float(w: Normaliser, x: Tensor, like: Tensor | None = None) -> Tensor:
    """x as float32, or in the type of another tensor."""
    to = element_type(like) if like is not None else TensorProto.FLOAT
    return x if element_type(x) == to else w.b.Cast(x, to=to)


def channels_first(w: Normaliser, x: Tensor) -> Tensor:
    return w.b.Transpose(x, perm=[0, len(shape_of(x)) - 1, *range(1, len(shape_of(x)) - 1)])


def channels_last(w: Normaliser, x: Tensor) -> Tensor:
    return w.b.Transpose(x, perm=[0, *range(2, len(shape_of(x))), 1])


def refuse(cause: str, remedy: str) -> Lift:
    def lift(w: Normaliser, n: Source) -> Any:
        raise Unsupported(cause, where=n.where, remedy=remedy)

    return lift
