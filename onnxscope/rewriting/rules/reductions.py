"""Reductions, softmax and cumulative sums."""

from __future__ import annotations

import numpy as np

from onnxscope.graph.builder import Tensor, ints_of, numel, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Rule, Site
from onnxscope.rewriting.rules.convolutions import extreme
from onnxscope.rewriting.rules.families import finite, truncated


def axes_of(n: Site) -> list[int]:
    """The reduced axes: all of them where none are named, unless that is said to mean none."""
    rank = len(n.pair(0).shape)
    given = ints_of(n.x0(1)) if n.has(1) else list(n.attr("axes", []))
    if not given:
        return [] if n.attr("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(a % rank for a in given)


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


def composed(before: str, after: str, doc: str) -> Rule:
    """A sum between two functions of one value."""

    def rule(f: Freezer, n: Site) -> Frozen:
        x = Pair(f.float(n.x0()), n.only(0))
        if before == "Square":
            x = f.call("Mul", x, x)
        elif before:
            x = f.call(before, x)
        axes = axes_of(n)
        if axes:
            x = f.call("ReduceSum", x, axes)
        x = f.call(after, x) if after else x
        assert x.x1 is not None
        return f.reshape(x.x1, shape_of(n.y0))

    rule.__doc__ = doc
    return rule


def reduce_log_sum_exp(f: Freezer, n: Site) -> Frozen:
    """Its tangent, the softmax as weights, under both policies."""
    b, x0, axes = f.b, f.float(n.x0()), axes_of(n)
    whole = tuple(1 if k in axes else d for k, d in enumerate(n.x1.shape))
    y0 = b.Reshape(f.float(n.y0), list(whole))
    weights = b.Exp(b.Sub(x0, y0))
    offset = b.Sub(y0, b.ReduceSum(b.Mul(weights, x0), axes) if axes else b.Mul(weights, x0))
    return f.reshape(f.source(f.sum(f.gain(n.only(0), weights), axes), offset), shape_of(n.y0))


def reduce_prod(f: Freezer, n: Site) -> Frozen:
    """A product factor by factor, each step with the product's rule."""
    axes = axes_of(n)
    shape = n.x1.shape
    kept = [k for k in range(len(shape)) if k not in axes]
    x = Pair(f.float(n.x0()), n.only(0))
    x = f.call("Transpose", x, perm=kept + axes)
    x = f.call("Reshape", x, [numel([shape[k] for k in kept]), numel([shape[k] for k in axes])])
    size = x.shape[1]
    parts = f.call("Split", x, [1] * size, outputs=size, axis=1) if size > 1 else [x]
    y = parts[0]
    for p in parts[1:]:
        y = f.call("Mul", y, p)
    return f.reshape(y.x1, shape_of(n.y0))


def shifted(f: Freezer, n: Site, axis: list[int]) -> tuple[Frozen, Tensor]:
    """x less the base's maximum: what follows depends on differences alone, and small numbers round less."""
    x0 = f.float(n.x0())
    top = finite(f.b, f.b.ReduceMax(x0, axis))  # a row may be masked whole
    return f.source(n.x1, f.b.Neg(top)), f.b.Sub(x0, top)


def softmax(f: Freezer, n: Site) -> Frozen | None:
    """A decision (freeze); y0·(x1 − Σ y0·x1) and its source (taylor)."""
    if not n.taylor:
        return None
    axis, y0 = [int(n.attr("axis")) % len(n.x1.shape)], f.float(n.y0)
    y0 = f.b.Where(f.b.IsNaN(y0), f.b.constant(0.0, y0), y0)  # of a row that is masked whole
    x1, x0 = shifted(f, n, axis)
    inner = f.gain(x1, y0)
    y = f.add(inner, f.negate(f.gain(f.sum(inner, axis), y0)))
    x0 = finite(f.b, x0)
    slope = f.b.Mul(y0, f.b.Sub(x0, f.b.ReduceSum(f.b.Mul(y0, x0), axis)))
    return f.source(y, f.b.Sub(y0, slope))


def log_softmax(f: Freezer, n: Site) -> Frozen:
    """x − logsumexp(x): the logsumexp is a frozen statistic (freeze) or carried (taylor)."""
    axis = [int(n.attr("axis")) % len(n.x1.shape)]
    x1, x0 = shifted(f, n, axis)
    if n.taylor:
        x = Pair(x0, x1)
        return f.call("Sub", x, f.call("ReduceLogSumExp", x, axis)).x1  # type: ignore[no-any-return]
    return f.source(x1, f.b.Sub(f.float(n.y0), x0))


def cum_sum(f: Freezer, n: Site) -> Frozen:
    """A running sum: a triangular matrix along its axis."""
    b, shape = f.b, n.x1.shape
    axis = ints_of(n.x0(1))[0] % len(shape)
    size = shape[axis]
    ones = b.Expand(b.constant(np.float32(1)), [size, size])
    exclusive, reverse = int(n.attr("exclusive")), int(n.attr("reverse"))
    matrix = (
        b.Trilu(ones, np.int64(exclusive), upper=1)
        if reverse
        else b.Trilu(ones, np.int64(-exclusive), upper=0)
    )
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
