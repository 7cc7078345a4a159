"""Linear operators along one axis as matrices: the operator applied to the identity, as an expression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Shape, Tensor, shape_of, values_of
from onnxscope.rewriting.transpose import Transposer


def eye(b: Builder, size: int) -> Tensor:
    """The identity, written as an expression so that no matrix is stored."""
    return b.op("EyeLike", b.op("ConstantOfShape", [size, size]), dtype=1)


def on_axis(t: Transposer, matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """A matrix applied along one axis."""
    shape = shape_of(x)
    if axis == len(shape) - 1:
        return t.op("MatMul", x, t.op("Transpose", matrix, perm=[1, 0]))
    inner = (*shape[: axis + 1], math.prod(shape[axis + 1 :]))
    y = t.op("MatMul", matrix, t.reshape(x, inner))
    return t.reshape(y, (*shape[:axis], shape_of(matrix)[0], *shape[axis + 1 :]))


def copies_blocks(
    inputs: Sequence[Tensor | None], attrs: Mapping[str, Any], axis: int, size: int, out: int
) -> bool:
    """Whether a Resize copies every pixel along this axis the same number of times."""
    _, scales, _ = (*inputs, None, None, None)[:3]
    whole = out > size and out % size == 0 and not attrs.get("keep_aspect_ratio_policy")
    exact = scales is None or values_of(scales)[list(attrs["axes"]).index(axis)] * size == out
    coordinates, rounding = attrs["coordinate_transformation_mode"], attrs["nearest_mode"]
    centred = coordinates.endswith(("half_pixel", "half_pixel_symmetric")) and rounding.startswith("round")
    return (
        attrs["mode"] == "nearest"
        and whole
        and bool(exact)
        and (centred or (coordinates, rounding) == ("asymmetric", "floor"))
    )


def resize_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key not in ("axes", "keep_aspect_ratio_policy")}


def on_one_axis(b: Builder, inputs: Sequence[Tensor | None], k: int) -> list[Tensor | None]:
    """roi, scales and sizes of the k-th resized axis alone."""
    roi, scales, sizes = (*inputs, None, None, None)[:3]
    if roi is not None:
        roi = b.Gather(roi, [k, k + shape_of(roi)[0] // 2])
    return [roi, *(None if v is None else b.constant(values_of(v)[[k]]) for v in (scales, sizes))]


def resize_matrix(
    b: Builder, inputs: Sequence[Tensor | None], attrs: Mapping[str, Any], axis: int, shape: Shape, out: Shape
) -> Tensor:
    """The matrix of a Resize along one axis: the operator applied to the identity."""
    size, axes, unit = shape[axis], list(attrs["axes"]), eye(b, shape[axis])
    if attrs.get("keep_aspect_ratio_policy"):
        return policy_matrix(b, inputs, attrs, axis, shape, out)
    roi, scales, sizes = on_one_axis(b, inputs, axes.index(axis))
    plain = resize_attrs(attrs)
    if out[axis] != size:
        return b.op("Resize", unit, roi, scales, sizes, axes=[0], **plain)
    # onnxruntime copies the input where no size changes, so another axis is resized as well
    if roi is not None:
        roi = b.Concat(
            b.Gather(roi, [0]), np.zeros(1, np.float32), b.Gather(roi, [1]), np.ones(1, np.float32), axis=0
        )
    scales, sizes = (
        None if v is None else b.constant(np.append(values_of(v), values_of(v).dtype.type(2)))
        for v in (scales, sizes)
    )
    y = b.op("Resize", b.op("Reshape", unit, [1, size, size, 1]), roi, scales, sizes, axes=[2, 3], **plain)
    return b.op("Transpose", b.op("Reshape", b.op("Slice", y, [0], [1], [3]), [size, size]), perm=[1, 0])


def policy_matrix(
    b: Builder, inputs: Sequence[Tensor | None], attrs: Mapping[str, Any], axis: int, shape: Shape, out: Shape
) -> Tensor:
    """The same where the scale depends on all axes: identity along one of them, constant along the others."""
    size, first, rank = shape[axis], min(attrs["axes"]), len(shape)
    rest = [size if a == axis else 1 for a in range(first, rank)]
    spread = b.op("Expand", b.op("Reshape", eye(b, size), [size, 1, *rest]), [size, 1, *shape[first:]])
    y = b.op("Resize", spread, *inputs, **{**attrs, "axes": [a - first + 2 for a in attrs["axes"]]})
    others = [a - first + 2 for a in range(first, rank) if a != axis]
    if others:
        y = b.op("Slice", y, [0] * len(others), [1] * len(others), others)
    return b.op("Transpose", b.op("Reshape", y, [size, out[axis]]), perm=[1, 0])
