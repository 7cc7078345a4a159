"""What ordinary rules are built from: one constructor for each way of freezing.

The functions `slope` and `gain` that a constructor takes get the builder, x0 in float32 and the site, and
return base values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Tensor, describe, element_type, is_float, is_known, numel, values_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Freezer, Rule, Site

BaseFunction = Callable[[Any, Tensor, Site], Tensor]
NEAR_ZERO = 0.1  # below it h(x0)/x0 of an h with h(0) ≠ 0 would be a gain above about 5


def tangent(f: Freezer, x: Pair, y0: Tensor, slope: Tensor) -> Frozen:
    """h′(x0)·x1 + (h(x0) − h′(x0)·x0)."""
    return f.anchored(f.times(slope, x), y0)


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
        b, x, y0 = f.b, f.sole_operand(n), f.float(n.y0)
        if n.taylor:
            return tangent(f, x, y0, slope(b, x.x0, n))
        if gain is not None:
            return f.gain(n.x1, gain(b, x.x0, n))
        near = b.Less(b.Abs(x.x0), 1e-6 if through_zero else NEAR_ZERO)
        safe = b.Where(near, b.constant(1.0, x.x0), x.x0)
        dh = slope(b, x.x0, n)
        y1 = f.gain(n.x1, b.Where(near, dh, b.Div(y0, safe)))
        if through_zero:
            return y1
        # not `anchored`: away from zero the source is exactly 0, and y0 − gain·x0 would be a rounding error
        return f.source(y1, b.Where(near, b.Sub(y0, b.Mul(dh, x.x0)), b.constant(0.0, x.x0)))

    rule.__doc__ = doc
    return rule


def truncated(f: Freezer, n: Site, y: Frozen, exact: Callable[[Any, Tensor], Tensor]) -> Frozen:
    """y, and as a source what integer arithmetic cut off; `exact` computes the result without cutting."""
    return y if is_float(n.y0) else f.anchored(Pair(exact(f.b, f.float(n.x0())), y), f.float(n.y0))


def with_fixed(f: Freezer, y: Frozen, fixed: Sequence[Tensor]) -> Frozen:
    """y, and as its source the sum of the terms that do not depend on the image."""
    if not fixed:
        return y
    return f.source(y, fixed[0] if len(fixed) == 1 else f.b.Sum(*fixed))


def finite(b: Any, x: Tensor) -> Any:
    """x with 0 for infinities, such as the mask of a softmax has: 0 times infinity is not a number."""
    if is_known(x) and np.isfinite(values_of(x)).all():
        return x
    return b.Where(b.IsInf(x), b.constant(0.0, x), x)


def mask(b: Any, condition: Tensor, x: Tensor) -> Tensor:
    """A condition as numbers, for gains that are more than a mask."""
    return b.Cast(condition, to=element_type(x))


def numbered(f: Freezer, shape: Sequence[int]) -> Tensor:
    """Every element's own flat index, in this shape."""
    return f.b.Reshape(f.b.Range(np.int64(0), np.int64(numel(shape)), np.int64(1)), list(shape))


def filled(f: Freezer, value: float, shape: Sequence[int]) -> Tensor:
    """One value in this shape, as an expression, so that nothing of its size is stored."""
    return f.b.Expand(f.b.constant(np.float32(value)), list(shape))


def refusal(n: Site, cause: str) -> Unsupported:
    """The error for a form of an operator that has no linear rule."""
    return Unsupported(
        cause, where=describe(n.node), remedy=f"declare it a constant decision with --opaque {n.name}"
    )


def check_countable(n: Site) -> None:
    """Refuse more pixels than float32 has consecutive whole numbers."""
    if numel(n.pair(0).shape) >= 2**24:
        raise Unsupported(
            "it has too many pixels to number them in float32",
            where=describe(n.node),
            remedy="analyse a smaller image",
        )
