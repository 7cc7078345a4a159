"""Operators that are a matrix along an axis: DFT, and Resize, which stays one where onnxruntime can."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Shape, describe, ints_of, is_float, is_known, numel, shape_of, values_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.matrices import eye, resize_matrix

RESIZE_ATTRS = (
    "antialias",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "mode",
    "nearest_mode",
)


def resize(f: Freezer, n: Site) -> Frozen:
    """Linear in every mode; what lies outside of a crop is a source, and so is the rounding of integers."""
    x, shape = n.only(0), shape_of(n.y0)
    inputs, attrs, changed = resize_plan(f, n)
    if shape == x.shape:
        f.note("a copy, for every axis keeps its size")
        return x
    raw, shift = resizable(x.shape, attrs, min(changed), max(changed) + 1)
    if raw:
        axes = [a + shift for a in changed]
        y = f.settle(f.raw("Resize", f.put(x.raw, raw), *inputs, axes=axes, **attrs), shape)
    else:
        y = x
        for axis in changed:
            matrix = resize_matrix(f.b, inputs, {**attrs, "axes": changed}, axis, x.shape, shape)
            y = f.matrix_along(y, matrix, axis)
    roi = f.float(n.x0(1)) if n.has(1) else None
    again = partial(f.b.op, "Resize", **n.node.attrs)
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize" and n.attr("extrapolation_value"):
        y = f.source(y, again(f.b.op("ConstantOfShape", list(x.shape)), roi, *n.node.inputs[2:]))
    if not is_float(n.y0) and attrs["mode"] != "nearest":
        y = f.anchored(Pair(again(f.float(n.x0()), roi, *n.node.inputs[2:]), y), f.float(n.y0))
    return y


def resizable(shape: Shape, attrs: Mapping[str, Any], first: int, last: int) -> tuple[list[int], int]:
    """The raw shape in which onnxruntime resizes the axes range(first, last), and what to add to an axis.

    The shape is empty where onnxruntime has no kernel for it.
    """
    mode = attrs["mode"]
    before, middle, after = numel(shape[:first]), list(shape[first:last]), numel(shape[last:])
    if len(middle) == 1:  # onnxruntime's cubic wants an image
        middle, first = [1, *middle], first - 1
    if after <= 1:
        native = mode == "nearest" or len(middle) <= (2 if mode == "cubic" else 3)
        raw, shift = [-1, before, *middle], 2 - first
    else:
        image = before == 1 and len(middle) == 2
        native = mode == "nearest" or (mode == "linear" and image and not attrs["antialias"])
        leading = [] if before == 1 else [before]
        raw, shift = [-1, *leading, *middle, after], 1 + len(leading) - first
    return (raw if native else []), shift


def resize_plan(f: Freezer, n: Site) -> tuple[list[Any], dict[str, Any], list[int]]:
    """roi, scales and sizes for the axes that change, the attributes that matter, and these axes."""
    shape, out, axes = n.pair(0).shape, shape_of(n.y0), n.attr("axes")
    attrs = {k: n.attr(k) for k in RESIZE_ATTRS}
    crop = attrs["coordinate_transformation_mode"] == "tf_crop_and_resize"
    policy = n.attr("keep_aspect_ratio_policy") if n.has(3) else "stretch"
    if policy != "stretch" and not crop:  # one scale, which follows from the sizes of all axes
        return [None, None, n.x0(3)], {**attrs, "keep_aspect_ratio_policy": policy}, axes
    if n.has(3):
        given: list[float] = [out[a] for a in axes]
        moving = [out[a] != shape[a] for a in axes]
    elif is_known(n.x0(2)):
        given = [float(v) for v in values_of(n.x0(2))]
        moving = [v != 1 for v in given]
    else:
        raise Unsupported(
            "its scales are computed, not constant",
            where=describe(n.node),
            remedy="export it with constant scales or sizes",
        )
    roi = None
    if crop and n.has(1):
        fixed = values_of(n.x0(1)) if is_known(n.x0(1)) else np.full(2 * len(axes), np.nan)
        moving = [m or fixed[k] != 0 or fixed[k + len(axes)] != 1 for k, m in enumerate(moving)]
    picks = [k for k, m in enumerate(moving) if m]
    if crop and n.has(1):
        roi = f.b.Gather(f.float(n.x0(1)), [*picks, *(k + len(axes) for k in picks)])
    picked = f.b.constant(np.asarray([given[k] for k in picks], np.int64 if n.has(3) else np.float32))
    numbers = [None, picked] if n.has(3) else [picked, None]
    return [roi, *numbers], attrs, [axes[k] for k in picks]


def dft(f: Freezer, n: Site) -> Frozen:
    """Real and imaginary parts along an axis as a vector, times the operator applied to the identity."""
    b, shape, out = f.b, n.pair(0).shape, shape_of(n.y0)
    rank, parts = len(shape), shape[-1]
    axis = n.attr("axis") if f.b.opset < 20 else (ints_of(n.x0(2))[0] if n.has(2) else -2) % rank
    attrs = {k: n.attr(k) for k in ("inverse", "onesided")} | ({"axis": 1} if f.b.opset < 20 else {})
    size, made = shape[axis] * parts, out[axis] * out[-1]
    units = b.Reshape(eye(b, size), [size, shape[axis], parts])
    rows = b.op(
        "DFT", units, n.x0(1) if n.has(1) else None, *([np.int64(1)] if f.b.opset >= 20 else []), **attrs
    )
    matrix = b.Transpose(b.Reshape(rows, [size, made]), perm=[1, 0])
    order = [*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1]
    x = f.transpose(n.only(0), order)
    y = f.matrix_along(f.reshape(x, (*x.shape[:-2], size)), matrix, rank - 2)
    return f.transpose(
        f.reshape(y, (*x.shape[:-2], out[axis], out[-1])), [order.index(a) for a in range(rank)]
    )


RESAMPLING: dict[str, Entry] = {
    "Resize": ("linear", resize),
    "DFT": ("linear", dft),
}
