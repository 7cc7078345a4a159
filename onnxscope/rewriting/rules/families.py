"""What ordinary rules are made of: one constructor for each way of freezing.

`h` and the other functions of a constructor get the builder, x0 in float32 and the site; they return base values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxscope.graph.builder import Tensor, element_type, is_float, is_known, values_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Freezer, Rule, Site

BaseFunction = Callable[[Any, Tensor, Site], Tensor]
NEAR_ZERO = 0.1  # below it h(x0)/x0 of an h with h(0) ≠ 0 would be a gain above about 5


def tangent(f: Freezer, x1: Frozen, x0: Tensor, y0: Tensor, slope: Tensor) -> Frozen:
    """h′(x0)·x1 + (h(x0) − h′(x0)·x0)."""
    return f.source(f.gain(x1, slope), f.b.Sub(y0, f.b.Mul(slope, x0)))


def gated(gain: BaseFunction, *, doc: str) -> Rule:
    """A piecewise linear function through zero: its slope is its gain under both policies."""

    def rule(f: Freezer, n: Site) -> Frozen:
        return f.gain(n.only(0), gain(f.b, f.float(n.x0()), n))

    rule.__doc__ = doc
    return rule


def ratio(
    slope: BaseFunction, *, gain: BaseFunction | None = None, through_zero: bool = True, doc: str
) -> Rule:
    """h by its ratio h(x0)/x0: in closed form, or divided with the tangent where x0 is near zero.

    Where h(0) = 0 the ratio's limit at zero is the slope and needs no source.
    """

    def rule(f: Freezer, n: Site) -> Frozen:
        b, x1, x0, y0 = f.b, n.only(0), f.float(n.x0()), f.float(n.y0)
        if n.taylor:
            return tangent(f, x1, x0, y0, slope(b, x0, n))
        if gain is not None:
            return f.gain(x1, gain(b, x0, n))
        near = b.Less(b.Abs(x0), 1e-6 if through_zero else NEAR_ZERO)
        safe = b.Where(near, b.constant(1.0, x0), x0)
        dh = slope(b, x0, n)
        y1 = f.gain(x1, b.Where(near, dh, b.Div(y0, safe)))
        if through_zero:
            return y1
        return f.source(y1, b.Where(near, b.Sub(y0, b.Mul(dh, x0)), b.constant(0.0, x0)))

    rule.__doc__ = doc
    return rule


def truncated(f: Freezer, n: Site, y: Frozen, exact: Callable[[Any, Tensor], Tensor]) -> Frozen:
    """What integer arithmetic cut off is a source; `exact` computes the result without."""
    return y if is_float(n.y0) else f.source(y, f.b.Sub(f.float(n.y0), exact(f.b, f.float(n.x0()))))


def finite(b: Any, x: Tensor) -> Any:
    """x with 0 for infinities: what masks a softmax leaves no trace in its tangent, and ∞·0 is no number."""
    if is_known(x) and np.isfinite(values_of(x)).all():
        return x
    return b.Where(b.IsInf(x), b.constant(0.0, x), x)


def mask(b: Any, condition: Tensor, x: Tensor) -> Tensor:
    """A condition as numbers, for gains that are more than a mask."""
    return b.Cast(condition, to=element_type(x))
