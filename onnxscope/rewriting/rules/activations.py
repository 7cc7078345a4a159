"""Functions of one value, element by element: every activation of the standard, and unary arithmetic."""

from __future__ import annotations

import math
from typing import Any

from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import finite, gated, mask, ratio, tangent

SQRT_2_PI = math.sqrt(2 / math.pi)


def sides(b: Any, x: Tensor, below: Any, above: Any) -> Tensor:
    """`below` where x < 0, `above` elsewhere."""
    below, above = (v if isinstance(v, Tensor) else b.constant(v, x) for v in (below, above))
    return b.Where(b.Less(x, 0.0), below, above)


def between(b: Any, x: Tensor, low: float, high: float) -> Tensor:
    return b.And(b.Greater(x, low), b.Less(x, high))


def normal_cdf(b: Any, x: Tensor) -> Tensor:
    """Φ(x)."""
    return b.Mul(b.Add(b.Erf(b.Mul(x, math.sqrt(0.5))), 1.0), 0.5)


def normal_density(b: Any, x: Tensor) -> Tensor:
    return b.Mul(b.Exp(b.Mul(b.Mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))


def gelu_tanh(b: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The tanh approximation's t = tanh(√(2/π)(x + 0.044715 x³)) and its inner slope."""
    square = b.Mul(x, x)
    inner = b.Mul(b.Mul(x, b.Add(b.Mul(square, 0.044715), 1.0)), SQRT_2_PI)
    return b.Tanh(inner), b.Mul(b.Add(b.Mul(square, 3 * 0.044715), 1.0), SQRT_2_PI)


def gelu_gain(b: Any, x: Tensor, n: Site) -> Tensor:
    """Φ(x), or its tanh approximation."""
    if n.attr("approximate") == "tanh":
        return b.Mul(b.Add(gelu_tanh(b, x)[0], 1.0), 0.5)
    return normal_cdf(b, x)


def gelu_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    """Φ + xφ, or ½(1 + t) + ½x(1 − t²)·inner′."""
    if n.attr("approximate") == "tanh":
        t, inner = gelu_tanh(b, x)
        rest = b.Mul(b.Mul(x, b.Sub(1.0, b.Mul(t, t))), inner)
        return b.Mul(b.Add(b.Add(t, 1.0), rest), 0.5)
    return b.Add(normal_cdf(b, x), b.Mul(x, normal_density(b, x)))


def sigmoid_slope(b: Any, s: Tensor) -> Tensor:
    return b.Mul(s, b.Sub(1.0, s))


def swish_gain(b: Any, x: Tensor, n: Site) -> Tensor:
    """σ(αx)."""
    return b.Sigmoid(b.Mul(x, float(n.attr("alpha"))))


def swish_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    """σ + αx·σ(1 − σ)."""
    s = swish_gain(b, x, n)
    return b.Add(s, b.Mul(b.Mul(x, float(n.attr("alpha"))), sigmoid_slope(b, s)))


def mish_gain(b: Any, x: Tensor, n: Site) -> Tensor:
    """tanh(softplus(x))."""
    return b.Tanh(b.Softplus(x))


def mish_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    t = mish_gain(b, x, n)
    return b.Add(t, b.Mul(b.Mul(x, b.Sub(1.0, b.Mul(t, t))), b.Sigmoid(x)))


def hard_swish_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    inside = b.Add(b.Mul(x, 1 / 3), 0.5)
    return b.Where(between(b, x, -3, 3), inside, mask(b, b.GreaterOrEqual(x, 3.0), x))


def hard_sigmoid_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    """α where 0 < αx + β < 1."""
    alpha, beta = float(n.attr("alpha")), float(n.attr("beta"))
    line = b.Add(b.Mul(x, alpha), beta)
    return b.Mul(mask(b, between(b, line, 0.0, 1.0), x), alpha)


def elu_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    return sides(b, x, b.Mul(b.Exp(b.Min(x, 0.0)), float(n.attr("alpha"))), 1.0)


def celu_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    return sides(b, x, b.Exp(b.Mul(b.Min(x, 0.0), 1 / float(n.attr("alpha")))), 1.0)


def selu_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    alpha, gamma = float(n.attr("alpha")), float(n.attr("gamma"))
    return sides(b, x, b.Mul(b.Exp(b.Min(x, 0.0)), alpha * gamma), gamma)


def shrink(f: Freezer, n: Site) -> Frozen:
    """x + bias below −lambd, x − bias above lambd, 0 between: a mask and a source.

    Not `anchored`: the source is exactly ±bias or exactly 0.
    """
    x0, lambd, bias = f.float(n.x0()), float(n.attr("lambd")), float(n.attr("bias"))
    low, high = (mask(f.b, m, x0) for m in (f.b.Less(x0, -lambd), f.b.Greater(x0, lambd)))
    y = f.gain(n.only(0), f.b.Add(low, high))
    return f.source(y, f.b.Mul(f.b.Sub(low, high), bias)) if bias else y


def prelu(f: Freezer, n: Site) -> Frozen:
    """1 where x0 ≥ 0, the slope elsewhere."""
    x0 = f.float(n.x0())
    return f.gain(n.only(0), sides(f.b, x0, f.float(n.x0(1)), 1.0))


def clip(f: Freezer, n: Site) -> Frozen:
    """1 inside the bounds; outside bound/x0 (freeze), or the bound as a source (taylor and x0 near zero).

    Not `anchored`: the source is exactly the bound or exactly 0.
    """
    b, x0, y0 = f.b, f.float(n.x0()), f.float(n.y0)
    x1 = n.only(0)
    low, high = (
        f.float(n.x0(i)) if n.has(i) else b.constant(far, x0) for i, far in ((1, -math.inf), (2, math.inf))
    )
    # not x0 = y0, for runtimes round float16 at different places
    inside = b.And(b.GreaterOrEqual(x0, low), b.LessOrEqual(x0, high))
    constant = b.Where(inside, b.constant(0.0, x0), y0)
    if n.taylor:
        return f.source(f.gain(x1, inside), constant)
    near = b.Less(b.Abs(x0), 0.1)
    gain = b.Where(near, mask(b, inside, x0), b.Div(y0, b.Where(near, b.constant(1.0, x0), x0)))
    return f.source(
        f.gain(x1, b.Where(inside, b.constant(1.0, x0), gain)), b.Where(near, constant, b.constant(0.0, x0))
    )


def reciprocal_slope(b: Any, x: Tensor, n: Site) -> Tensor:
    return b.Neg(b.Reciprocal(b.Mul(x, x)))


def sqrt(f: Freezer, n: Site) -> Frozen:
    """√x0/x0 = 1/√x0 (freeze), ½/√x0 (taylor); 0 at x0 = 0, where it has no slope."""
    b, y0 = f.b, f.float(n.y0)
    zero = b.LessOrEqual(y0, 0.0)
    root = b.Where(zero, b.constant(0.0, y0), b.Reciprocal(b.Where(zero, b.constant(1.0, y0), y0)))
    return tangent(f, f.sole_operand(n), y0, b.Mul(root, 0.5)) if n.taylor else f.gain(n.only(0), root)


def rounded(f: Freezer, n: Site) -> Frozen | None:
    """Straight through, with the error as its source (freeze); a decision, for its slope is 0 (taylor)."""
    return None if n.taylor else f.anchored(f.operand(n), f.float(n.y0))


def trigonometric(slope: Any, zero: bool, text: str) -> Entry:
    """Inverse functions have infinite slopes at the ends of their domain: there the slope is taken as 0."""

    def finite_slope(b: Any, x: Tensor, n: Site) -> Tensor:
        return finite(b, slope(b, x, n))

    return "frozen", ratio(finite_slope, through_zero=zero, doc=text)


ACTIVATIONS: dict[str, Entry] = {
    "Relu": ("frozen", gated(lambda b, x, n: b.Greater(x, 0.0), doc="1 where x0 > 0, else 0")),
    "LeakyRelu": (
        "frozen",
        gated(lambda b, x, n: sides(b, x, float(n.attr("alpha")), 1.0), doc="1 where x0 ≥ 0, else alpha"),
    ),
    "PRelu": ("frozen", prelu),
    "ThresholdedRelu": (
        "frozen",
        gated(lambda b, x, n: b.Greater(x, float(n.attr("alpha"))), doc="1 where x0 > alpha, else 0"),
    ),
    "Abs": ("frozen", gated(lambda b, x, n: b.Sign(x), doc="sign(x0)")),
    "Shrink": ("frozen", shrink),
    "Sigmoid": (
        "frozen",
        ratio(
            lambda b, x, n: sigmoid_slope(b, b.Sigmoid(x)), through_zero=False, doc="σ(x0)/x0; tangent near 0"
        ),
    ),
    "HardSigmoid": ("frozen", ratio(hard_sigmoid_slope, through_zero=False, doc="h(x0)/x0; tangent near 0")),
    "Tanh": ("frozen", ratio(lambda b, x, n: b.Sub(1.0, b.Mul(b.Tanh(x), b.Tanh(x))), doc="tanh(x0)/x0")),
    "Softsign": (
        "frozen",
        ratio(
            lambda b, x, n: b.Reciprocal(b.Pow(b.Add(b.Abs(x), 1.0), 2.0)),
            gain=lambda b, x, n: b.Reciprocal(b.Add(b.Abs(x), 1.0)),
            doc="1/(1 + |x0|)",
        ),
    ),
    "Softplus": (
        "frozen",
        ratio(lambda b, x, n: b.Sigmoid(x), through_zero=False, doc="h(x0)/x0; tangent near 0"),
    ),
    "Elu": ("frozen", ratio(elu_slope, doc="h(x0)/x0")),
    "Celu": ("frozen", ratio(celu_slope, doc="h(x0)/x0")),
    "Selu": ("frozen", ratio(selu_slope, doc="h(x0)/x0")),
    "Gelu": ("frozen", ratio(gelu_slope, gain=gelu_gain, doc="Φ(x0)")),
    "Swish": ("frozen", ratio(swish_slope, gain=swish_gain, doc="σ(alpha·x0)")),
    "Mish": ("frozen", ratio(mish_slope, gain=mish_gain, doc="tanh(softplus(x0))")),
    "HardSwish": (
        "frozen",
        ratio(
            hard_swish_slope,
            gain=lambda b, x, n: b.HardSigmoid(x, alpha=1 / 6, beta=0.5),
            doc="HardSigmoid(x0)",
        ),
    ),
    "Clip": ("frozen", clip),
    "Exp": ("frozen", ratio(lambda b, x, n: b.Exp(x), through_zero=False, doc="exp(x0)/x0; tangent near 0")),
    "Log": (
        "frozen",
        ratio(lambda b, x, n: b.Reciprocal(x), through_zero=False, doc="log(x0)/x0; tangent near 0"),
    ),
    "Erf": (
        "frozen",
        ratio(lambda b, x, n: b.Mul(b.Exp(b.Neg(b.Mul(x, x))), 2 / math.sqrt(math.pi)), doc="erf(x0)/x0"),
    ),
    "Sqrt": ("frozen", sqrt),
    "Reciprocal": (
        "frozen",
        ratio(reciprocal_slope, gain=lambda b, x, n: b.Reciprocal(b.Mul(x, x)), doc="1/x0²"),
    ),
    "Sin": trigonometric(lambda b, x, n: b.Cos(x), True, "sin(x0)/x0"),
    "Cos": trigonometric(lambda b, x, n: b.Neg(b.Sin(x)), False, "cos(x0)/x0; tangent near 0"),
    "Tan": trigonometric(lambda b, x, n: b.Reciprocal(b.Pow(b.Cos(x), 2.0)), True, "tan(x0)/x0"),
    "Asin": trigonometric(lambda b, x, n: b.Reciprocal(b.Sqrt(b.Sub(1.0, b.Mul(x, x)))), True, "asin(x0)/x0"),
    "Acos": trigonometric(
        lambda b, x, n: b.Neg(b.Reciprocal(b.Sqrt(b.Sub(1.0, b.Mul(x, x))))),
        False,
        "acos(x0)/x0; tangent near 0",
    ),
    "Atan": trigonometric(lambda b, x, n: b.Reciprocal(b.Add(b.Mul(x, x), 1.0)), True, "atan(x0)/x0"),
    "Sinh": trigonometric(lambda b, x, n: b.Cosh(x), True, "sinh(x0)/x0"),
    "Cosh": trigonometric(lambda b, x, n: b.Sinh(x), False, "cosh(x0)/x0; tangent near 0"),
    "Asinh": trigonometric(
        lambda b, x, n: b.Reciprocal(b.Sqrt(b.Add(b.Mul(x, x), 1.0))), True, "asinh(x0)/x0"
    ),
    "Acosh": trigonometric(
        lambda b, x, n: b.Reciprocal(b.Sqrt(b.Sub(b.Mul(x, x), 1.0))), False, "acosh(x0)/x0"
    ),
    "Atanh": trigonometric(lambda b, x, n: b.Reciprocal(b.Sub(1.0, b.Mul(x, x))), True, "atanh(x0)/x0"),
    "Round": ("frozen", rounded),
}
