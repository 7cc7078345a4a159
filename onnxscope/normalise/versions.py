"""Standard operators that some opset changed, but for those that move elements.

`<13` means: in models of opsets before 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Tensor, element_type, numel, shape_of
from onnxscope.normalise.families import (
    as_it_is,
    default,
    fixed,
    in_float,
    ints,
    of_one_shape,
    without,
)
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source, known_number

PLAIN_REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
REDUCTIONS = (*PLAIN_REDUCTIONS, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
WINDOW = ("left_window_size", "right_window_size")
BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")


def broadcast(w: Normaliser, n: Source) -> Any:
    """<7: b was broadcast only with `broadcast`, from `axis` of a on, or to the last axes of a."""
    if n.opset >= 7:
        return None
    axis = n.attrs.pop("axis", None)
    if not n.attrs.pop("broadcast", 0) or axis is None:
        return None
    rank, own = len(shape_of(n[0])), list(shape_of(n[1]))
    return w.emit(n, inputs=[n[0], w.b.Reshape(n[1], own + [1] * (rank - axis % rank - len(own)))])


def p_relu(w: Normaliser, n: Source) -> Any:
    """<7: a slope vector was one number per channel, not per column."""
    rank, slope = len(shape_of(n[0])), shape_of(n[1])
    if n.opset < 7 and len(slope) == 1 and slope[0] != 1 and rank > 2:
        return w.emit(n, inputs=[n[0], w.b.Reshape(n[1], [*slope, *[1] * (rank - 2)])])
    return None


def reduce(w: Normaliser, n: Source) -> Any:
    """<18 (ReduceSum <13): axes was an attribute. Here axes are always named, also where none stand for all.

    With noop_with_empty_axes none stand for none.
    """
    rank, axes = len(shape_of(n[0])), fixed(n, "axes", 1, "axes")
    if not axes and n.attrs.get("noop_with_empty_axes", 0):
        return n[0] if n.op in PLAIN_REDUCTIONS else None
    axes = sorted(n.axes(axes, rank)) if axes else list(range(rank))
    return w.emit(n, inputs=[n[0], ints(w, axes) if rank else None], noop_with_empty_axes=None)


def softmax(w: Normaliser, n: Source) -> Any:
    """<13: the input was flattened to a matrix at `axis`, 1 if left out, and its rows were normalised."""
    if n.opset >= 13:
        return None
    shape = shape_of(n[0])
    axis = n.attrs.pop("axis", 1)
    axis += len(shape) if axis < 0 else 0
    wide = [k for k in range(axis, len(shape)) if shape[k] != 1]
    if len(wide) <= 1 and axis < len(shape):
        return w.emit(n, axis=wide[0] if wide else axis)
    rows = w.b.Reshape(n[0], [numel(shape[:axis]), numel(shape[axis:])])
    return w.b.Reshape(w.op(n, n.op, rows, axis=1), list(shape))


def clip(w: Normaliser, n: Source) -> Any:
    """<11: min and max were attributes. Without either it is the identity."""
    bounds = (
        [n.attrs.pop("min", None), n.attrs.pop("max", None)] if n.opset < 11 else [n.input(1), n.input(2)]
    )
    return w.emit(n, inputs=[n[0], *bounds]) if any(b is not None for b in bounds) else n[0]


def cast(w: Normaliser, n: Source) -> Any:
    """<6: the type was a name. To its own type it is the identity."""
    to = n.attrs["to"]
    n.attrs["to"] = TensorProto.DataType.Value(to.upper()) if isinstance(to, str) else to
    return n[0] if element_type(n[0]) == n.attrs["to"] else None


def cast_like(w: Normaliser, n: Source) -> Any:
    """A Cast to a type that is known."""
    to = element_type(n[1])
    return n[0] if element_type(n[0]) == to else w.emit(n, "Cast", [n[0]], to=to)


def batch_normalization(w: Normaliser, n: Source) -> Any:
    """<9: with spatial=0 scale, bias, mean and variance were per pixel. <7: is_test.

    Training was asked for by more outputs (<14), or by training_mode.
    """
    a, b = n.attrs, w.b
    a.pop("is_test", None)
    if a.pop("training_mode", 0) or (7 <= n.opset < 14 and len(n.outputs) > 1):
        return of_the_batch(w, n)
    n.outputs = n.outputs[:1]
    if a.pop("spatial", 1) or n.opset >= 9:
        return None
    x, scale, bias, mean, variance = (n[i] for i in range(5))
    gain = b.Div(scale, b.Sqrt(b.Add(variance, float(a.get("epsilon", 1e-5)))))
    return w.op(n, "Add", b.Mul(x, gain), b.Sub(bias, b.Mul(mean, gain)))


def of_the_batch(w: Normaliser, n: Source) -> list[Tensor | None]:
    """By the batch's own mean and variance, which move the running ones by 1 − momentum."""
    if n.opset < 14 and (any(n.wants(i) for i in range(1, len(n.outputs))) or not n.attrs.pop("spatial", 1)):
        raise Unsupported(
            "it computes the statistics of a training batch",
            where=n.where,
            remedy="export the model in inference mode",
        )
    b, axes, keep = (
        w.b,
        [k for k in range(len(shape_of(n[0]))) if k != 1],
        float(n.attrs.pop("momentum", 0.9)),
    )
    centre = b.ReduceMean(n[0], axes)
    off = b.Sub(n[0], centre)
    mean, variance = b.Squeeze(centre, axes), b.ReduceMean(b.Mul(off, off), axes, keepdims=0)
    running = [
        b.Add(b.Mul(n[i], keep), b.Mul(new, 1 - keep)) if n.wants(i - 2) else None
        for i, new in ((3, mean), (4, variance))
    ]
    return [w.op(n, "BatchNormalization", n[0], n[1], n[2], mean, variance, **n.attrs), *running]


def dropout(w: Normaliser, n: Source) -> list[Tensor]:
    """At inference its input, and a mask that drops nothing. 12: a training_mode input.

    <12 the mask had no meaning at inference (<10 it was of x's type); onnxruntime returns zeros.
    """
    if n.input(2) is not None and known_number(n.input(2)) is not False and known_number(n.input(1)) != 0:
        raise Unsupported(
            "it drops at random (training_mode)", where=n.where, remedy="export the model in inference mode"
        )
    if not n.wants(1):
        return [n[0]]
    kept = w.b.constant(0, n[0]) if n.opset < 10 else w.b.constant(np.bool_(n.opset >= 12))
    return [n[0], w.b.Expand(kept, list(shape_of(n[0])))]


def mean_variance(w: Normaliser, n: Source) -> Any:
    """<9: over all axes or per channel; and the mean alone could be taken away."""
    if n.opset >= 9:
        n.attrs.setdefault("axes", [0, 2, 3])  # onnx's own shape inference fails where they are left out
        return of_one_shape(w, n)
    rank = len(shape_of(n[0]))
    axes = [k for k in range(rank) if k != 1 or n.attrs.pop("across_channels", 0)]
    if n.attrs.pop("normalize_variance", 1):
        n.attrs = {"axes": axes}
        return of_one_shape(w, n)
    return w.op(n, "Sub", n[0], w.b.ReduceMean(n[0], axes))


def group_normalization(w: Normaliser, n: Source) -> Any:
    """<21: scale and bias were per group: an InstanceNormalization of the groups, then scale and bias."""
    if n.opset >= 21:
        return of_one_shape(w, n)
    b, shape, groups = w.b, list(shape_of(n[0])), int(n.attrs["num_groups"])
    ones = in_float(w, n[0])
    rows = b.Reshape(ones, [shape[0], groups, -1])
    unit, zero = b.Expand(np.float32(1), [groups]), b.Expand(np.float32(0), [groups])
    normal = w.op(n, "InstanceNormalization", rows, unit, zero, epsilon=float(n.attrs.get("epsilon", 1e-5)))
    scale, bias = (b.Reshape(in_float(w, n[i]), [groups, 1]) for i in (1, 2))
    return in_float(w, b.Reshape(b.Add(b.Mul(normal, scale), bias), shape), n[0])


def grid_sample(w: Normaliser, n: Source) -> None:
    """20: bilinear and bicubic are called linear and cubic."""
    if w.b.opset >= 20 > n.opset:
        mode = n.attrs.get("mode", "bilinear")
        n.attrs["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)


def attention(w: Normaliser, n: Source) -> Any:
    """Since 25 with a window, which onnxruntime does not have: written out as the standard defines it."""
    if all(n.attrs.get(side, -1) == -1 for side in WINDOW):
        return without(*WINDOW)(w, n)
    body = w.body(n, known_too=True)
    return w.call(n, body) if body is not None else None


def celu(w: Normaliser, n: Source) -> Any:
    """Since 28 in every precision: written out as the standard defines it."""
    if element_type(n[0]) == TensorProto.FLOAT:
        return None
    alpha = float(n.attrs.get("alpha", 1.0))
    below = w.b.Mul(w.b.Elu(w.b.Mul(n[0], 1 / alpha)), alpha)
    return w.b.Where(w.b.Less(n[0], 0.0), below, n[0])


def random(w: Normaliser, n: Source) -> Any:
    raise Unsupported(
        "it draws at random, so that no two runs agree",
        where=n.where,
        remedy="export the model with its noise as an input",
    )


VERSIONS: dict[str, Lift] = {
    **dict.fromkeys(RANDOM, random),
    "Celu": celu,
    "Attention": attention,
    **dict.fromkeys(BROADCAST, broadcast),
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "Dropout": dropout,
    "Gemm": without("broadcast"),
    "GridSample": grid_sample,
    "GroupNormalization": group_normalization,
    "LayerNormalization": as_it_is,
    "MeanVarianceNormalization": mean_variance,
    "PRelu": p_relu,
    "RoiAlign": default(16, coordinate_transformation_mode="output_half_pixel"),
    "Selu": default(6, alpha=1.6732, gamma=1.0507),
    "ThresholdedRelu": as_it_is,
}
