"""Reductions, softmax and cumulative sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscope.graph.tensors import Tensor, ints_of, numel, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Rule, Site
from onnxscope.rewriting.rules.families import filled, finite, numbered, truncated


def axes_of(n: Site) -> list[int]:
    """The reduced axes; a node that names none reduces none."""
    return ints_of(n.x0(1)) if n.has(1) else []


def reduce_sum(f: Freezer, n: Site) -> Frozen:
    """Σ x."""
    return f.reshape(f.sum(n.only(0), axes_of(n)), shape_of(n.y0))


def reduce_mean(f: Freezer, n: Site) -> Frozen:
    """Σ x/count."""
    axes = axes_of(n)
    count = numel([n.x1.shape[a] for a in axes])
    y = f.reshape(f.scale(f.sum(n.only(0), axes), 1 / count), shape_of(n.y0))
    return truncated(f, n, y, lambda b, x0: b.Reshape(b.ReduceMean(x0, axes), list(y.shape)))


def extremum(arg: str) -> Rule:
    def rule(f: Freezer, n: Site) -> Frozen:
        axes = axes_of(n)
        return extreme(f, n, axes, arg) if axes else n.only(0)

    rule.__doc__ = "the element that the base picked"
    return rule


def extreme(f: Freezer, n: Site, axes: Sequence[int], arg: str) -> Frozen:
    """The element that is largest (ArgMax) or smallest (ArgMin) over these axes, selected by its index."""
    b, shape = f.b, n.pair(0).shape
    kept = [k for k in range(len(shape)) if k not in axes]
    order = kept + list(axes)
    rows = [numel([shape[k] for k in kept]), numel([shape[k] for k in axes])]
    values = b.Reshape(b.Transpose(f.float(n.x0()), perm=order), rows)
    index = b.Reshape(b.Transpose(numbered(f, shape), perm=order), rows)
    best = b.op(arg, values, axis=1, keepdims=1)
    return f.select(n.only(0), b.Reshape(b.GatherElements(index, best, axis=1), list(shape_of(n.y0))))


def composed(before: str, after: str, doc: str) -> Rule:
    """A sum between two functions of one value."""

    def rule(f: Freezer, n: Site) -> Frozen:
        x = f.sole_operand(n)
        if before == "Square":
            x = f.call("Mul", x, x)
        elif before:
            x = f.call(before, x)
        axes = axes_of(n)
        if axes:
            x = f.call("ReduceSum", x, axes)
        x = f.call(after, x) if after else x
        return f.reshape(x.carried, shape_of(n.y0))

    rule.__doc__ = doc
    return rule


def reduce_log_sum_exp(f: Freezer, n: Site) -> Frozen:
    """Its tangent, the softmax as weights, under both policies."""
    b, x, axes = f.b, f.sole_operand(n), axes_of(n)
    y0 = b.Reshape(f.float(n.y0), [1 if k in axes else d for k, d in enumerate(x.shape)])
    y = summed(f, f.times(b.Exp(b.Sub(x.x0, y0)), x), axes)
    return f.reshape(f.anchored(y, y0), shape_of(n.y0))


def summed(f: Freezer, x: Pair, axes: Sequence[int]) -> Pair:
    """Σ x over these axes, of the base and of the frozen branch."""
    return Pair(f.b.ReduceSum(x.x0, list(axes)) if axes else x.x0, f.sum(x.carried, axes))


def reduce_prod(f: Freezer, n: Site) -> Frozen:
    """A product factor by factor, each step with the product's rule."""
    x, axes = f.sole_operand(n), axes_of(n)
    kept = [k for k in range(len(x.shape)) if k not in axes]
    rows, size = numel([x.shape[k] for k in kept]), numel([x.shape[k] for k in axes])
    x = f.call("Reshape", f.call("Transpose", x, perm=kept + axes), [rows, size])
    parts = f.call("Split", x, [1] * size, outputs=size, axis=1) if size > 1 else [x]
    y = parts[0]
    for p in parts[1:]:
        y = f.call("Mul", y, p)
    return f.reshape(y.x1, shape_of(n.y0))


def shifted(f: Freezer, n: Site, axis: int) -> Pair:
    """x less the base's maximum, which changes no softmax: smaller numbers have smaller rounding errors."""
    x0 = f.float(n.x0())
    top = finite(f.b, f.b.ReduceMax(x0, [axis]))  # of a row that is masked whole the maximum is −∞
    x1 = f.source(n.x1, f.b.Neg(top))
    return Pair(f.b.Sub(x0, top), x1)


def softmax(f: Freezer, n: Site) -> Frozen | None:
    """A decision (freeze); y0·(x1 − Σ y0·x1) and its source (taylor)."""
    if not n.taylor:
        return None
    axis, y0 = n.attr("axis"), f.float(n.y0)
    y0 = f.b.Where(f.b.IsNaN(y0), f.b.constant(0.0, y0), y0)  # of a row that is masked whole
    x = shifted(f, n, axis)
    return softmax_tangent(f, y0, Pair(finite(f.b, x.x0), x.x1), axis)


def softmax_tangent(f: Freezer, y0: Tensor, x: Pair, axis: int) -> Frozen:
    """A·x1 + (y0 − A·x0) with A·x = y0·(x − Σ y0·x), for y0 = softmax(x0) along an axis."""
    mean = summed(f, f.times(y0, x), [axis])
    return f.anchored(f.times(y0, f.minus(x, mean)), y0)


def log_softmax(f: Freezer, n: Site) -> Frozen:
    """x − logsumexp(x): the logsumexp is a frozen statistic (freeze) or carried (taylor)."""
    axis = n.attr("axis")
    x = shifted(f, n, axis)
    if n.taylor:
        return f.call("Sub", x, f.call("ReduceLogSumExp", x, [axis])).x1  # type: ignore[no-any-return]
    return f.anchored(x, f.float(n.y0))


def cum_sum(f: Freezer, n: Site) -> Frozen:
    """A running sum: a triangular matrix along its axis."""
    b, shape = f.b, n.x1.shape
    axis = ints_of(n.x0(1))[0] % len(shape)
    ones = filled(f, 1, [shape[axis], shape[axis]])
    if n.attr("reverse"):
        matrix = b.Trilu(ones, np.int64(n.attr("exclusive")), upper=1)
    else:
        matrix = b.Trilu(ones, np.int64(-n.attr("exclusive")), upper=0)
    return f.matrix_along(n.only(0), matrix, axis)


REDUCTIONS: dict[str, Entry] = {
    "ReduceSum": ("linear", reduce_sum),
    "ReduceMean": ("linear", reduce_mean),
    "ReduceMax": ("frozen", extremum("ArgMax")),
    "ReduceMin": ("frozen", extremum("ArgMin")),
    "ReduceL1": ("frozen", composed("Abs", "", "Σ sign(x0)·x1")),
    "ReduceL2": ("frozen", composed("Square", "Sqrt", "Σ x0·x1/‖x0‖")),
    "ReduceSumSquare": ("frozen", composed("Square", "", "Σ x0·x1 (freeze), its tangent (taylor)")),
    "ReduceLogSum": ("frozen", composed("", "Log", "the logarithm's rule on Σ x")),
    "ReduceLogSumExp": ("frozen", reduce_log_sum_exp),
    "ReduceProd": ("frozen", reduce_prod),
    "Softmax": ("frozen", softmax),
    "LogSoftmax": ("frozen", log_softmax),
    "CumSum": ("linear", cum_sum),
}
