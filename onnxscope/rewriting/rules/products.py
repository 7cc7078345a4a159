"""Sums, products and quotients, where one operand or both depend on the image."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.tensors import Shape, Tensor, describe, element_type, is_float, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import finite, numbered, truncated, with_fixed

GATES = {"Sigmoid": 2, "HardSigmoid": 2, "Softmax": 2, "Clip": 1, "Tanh": 1, "Erf": 1}
TRANSPARENT = set(
    """Reshape Flatten Squeeze Unsqueeze Transpose Expand Cast Identity Dropout Slice Tile Resize
    QuantizeLinear DequantizeLinear Concat Split Mul Div Add Sub""".split()
)


def gate_strength(x: Tensor, active: Any) -> int:
    """How much of a gate a value is: 2 for a sigmoid or softmax, 1 for a clip, tanh or erf, else 0.

    It looks back through operators that only move or scale, as long as just one input depends on the image.
    """
    while x.inputs:
        node: gs.Node = x.inputs[0]
        if node.op in GATES:
            return GATES[node.op]
        carried = [t for t in node.inputs if t.name in active]
        if node.op not in TRANSPARENT or len(carried) != 1:
            return 0
        x = carried[0]
    return 0


def add(f: Freezer, n: Site) -> Frozen:
    """Active terms are summed; the others are a source."""
    return total(f, n, [1.0] * len(n.inputs))


def sub(f: Freezer, n: Site) -> Frozen:
    """a − b."""
    return total(f, n, [1.0, -1.0])


def mean(f: Freezer, n: Site) -> Frozen:
    return total(f, n, [1 / len(n.inputs)] * len(n.inputs))


def total(f: Freezer, n: Site, weights: list[float]) -> Frozen:
    """The sum of all operands, each times its weight."""
    terms, fixed = [], []
    for i, w in enumerate(weights):
        if n.active(i):
            terms.append(f.negate(n.carried(i)) if w == -1 else f.scale(n.carried(i), w))
        else:
            x0 = finite(f.b, f.float(n.x0(i))) if n.taylor else f.float(n.x0(i))
            fixed.append(x0 if w == 1 else f.b.Neg(x0) if w == -1 else f.b.Mul(x0, w))
    return with_fixed(f, f.expand(f.add(*terms), shape_of(n.y0)), fixed)


def mul(f: Freezer, n: Site) -> Frozen:
    """a·b: a frozen gate times a value, half of each if neither is a gate (freeze); product rule (taylor)."""
    return bilinear(f, n, lambda x, state, i: f.gain(x, state))


def bilinear(f: Freezer, n: Site, apply: Any) -> Frozen:
    """Two operands; `apply` multiplies a frozen one by the other's state."""
    states = [f.float(n.x0(0)), f.float(n.x0(1))]
    return product(f, n, lambda x, i: apply(x, states[1 - i], i))


def product(f: Freezer, n: Site, apply: Any) -> Frozen:
    """One or two active operands among others; `apply` multiplies a frozen one by the others' states."""
    active = [i for i in range(len(n.inputs)) if n.active(i)]
    if len(active) == 1:
        return apply(n.carried(active[0]), active[0])  # type: ignore[no-any-return]
    if len(active) > 2:
        raise Unsupported(
            f"{len(active)} of its operands depend on the image",
            where=describe(n.node),
            remedy="multiply two at a time",
        )
    i, k = active
    gates = (0, 0) if n.taylor else (gate_strength(n.x0(i), f.active), gate_strength(n.x0(k), f.active))
    if gates[0] != gates[1]:
        gate, value = (k, i) if gates[1] > gates[0] else (i, k)
        f.note(f"gate times value: input {gate} is the frozen gate")
        return apply(n.carried(value), value)  # type: ignore[no-any-return]
    y = f.add(apply(n.carried(i), i), apply(n.carried(k), k))
    f.note("product rule" if n.taylor else "half each")
    # not `anchored`: both terms are y0 at x1 = x0, so that the source is −y0 in closed form
    return f.source(y, f.b.Neg(f.float(n.y0))) if n.taylor else f.scale(y, 0.5)


def matmul(f: Freezer, n: Site) -> Frozen:
    """A·B, with the same rules for gates as a·b."""
    shapes = [list(p.shape) for p in (n.pair(0), n.pair(1))]
    left = [1, *shapes[0]] if len(shapes[0]) == 1 else shapes[0]
    right = [*shapes[1], 1] if len(shapes[1]) == 1 else shapes[1]
    full = (left, right)

    def apply(x: Frozen, state: Tensor, i: int) -> Frozen:
        x = f.reshape(x, tuple(full[i]))
        state = state if list(shape_of(state)) == full[1 - i] else f.b.Reshape(state, full[1 - i])
        return f.reshape(f.matmul(x, state) if i == 0 else f.matmul(state, x), shape_of(n.y0))

    return bilinear(f, n, apply)


def gemm(f: Freezer, n: Site) -> Frozen:
    """alpha·A·B + beta·C; alpha becomes part of the weights, if there are any."""
    # methods that treat positive and negative weights differently need the layer's own sign
    alpha, beta = n.attr("alpha"), n.attr("beta")
    trans_a, trans_b = (int(n.attr(k) != 0) for k in ("transA", "transB"))
    a, b = f.operand(n, 0), f.operand(n, 1)
    if alpha != 1 and n.active(1):
        a = f.call("Mul", a, np.float32(alpha))
    elif alpha != 1:
        b = f.call("Mul", b, np.float32(alpha))
    if n.active(0) and not n.active(1) and not n.active(2) and not trans_a and n.x1.shape[0] == 1:
        y = f.settle(f.raw("Gemm", n.x1.raw, b.x0, transB=trans_b), shape_of(n.y0))
        if not n.has(2):
            return y
        c = f.float(n.x0(2))
        return f.source(y, c if beta == 1 else f.b.Mul(c, beta))
    if trans_a:
        a = f.call("Transpose", a, perm=[1, 0])
    if trans_b:
        b = f.call("Transpose", b, perm=[1, 0])
    y = f.call("MatMul", a, b)
    if n.has(2) and beta:
        c = f.operand(n, 2)
        y = f.call("Add", y, c if beta == 1 else f.call("Mul", c, np.float32(beta)))
    return y.x1  # type: ignore[no-any-return]


def einsum(f: Freezer, n: Site) -> Frozen:
    """A sum of products with one active operand; the probes are one more index."""
    shapes = [n.pair(k).shape for k in range(len(n.inputs))]
    terms, out, probes = indices_of(str(n.attr("equation")).replace(" ", ""), shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        sizes |= {c: max(d, sizes.get(c, 1)) for c, d in zip(term, shape, strict=True)}

    def apply(x: Frozen, i: int) -> Frozen:
        x, own = f.expand(x, tuple(sizes[c] for c in terms[i])), "".join(dict.fromkeys(terms[i]))
        if own != terms[i]:  # a diagonal is selected beforehand
            x = f.select(x, f.b.Einsum(numbered(f, x.shape), equation=f"{terms[i]}->{own}"))
        parts = [probes + own if k == i else term for k, term in enumerate(terms)]
        states = [f.extended(x) if k == i else f.float(n.x0(k)) for k in range(len(terms))]
        equation = ",".join(parts) + "->" + probes + out
        return f.settle(f.raw("Einsum", *states, equation=equation), shape_of(n.y0))

    return product(f, n, apply)


def indices_of(equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str, str]:
    """The indices of every operand and of the result, ellipses spelled out, and a letter that is not used."""
    left, arrow, out = equation.partition("->")
    if not arrow:  # the result has every index that occurs once, in alphabetical order
        out = "".join(sorted(c for c in set(left) - {",", "."} if left.count(c) == 1))
        out = "..." + out if "..." in left else out
    free = [c for c in ascii_uppercase + ascii_lowercase if c not in equation]
    probes, terms, dots = free.pop(), left.split(","), ""
    for term, shape in zip(terms, shapes, strict=True):
        if "..." in term and not dots:
            dots = "".join(free[: len(shape) - len(term) + 3])
    return [term.replace("...", dots) for term in terms], out.replace("...", dots), probes


def div(f: Freezer, n: Site) -> Frozen:
    """a/b: gain 1/b0, b being a frozen statistic; c/b by its ratio c/b0² (freeze); the tangent (taylor)."""
    b0, y0 = f.float(n.x0(1)), f.float(n.y0)
    if not n.active(1):
        return truncated(f, n, f.gain(n.carried(0), f.b.Reciprocal(b0)), lambda b, a0: b.Div(a0, b0))
    by_b = f.b.Div(y0, b0)
    if n.taylor:
        # not `anchored`: a0/b0 = y0 and b0·y0/b0 = y0, so that the source is y0 or 2·y0 in closed form
        terms = [f.negate(f.gain(n.carried(1), by_b))]
        if n.active(0):
            terms.append(f.gain(n.carried(0), f.b.Reciprocal(b0)))
            return f.source(f.add(*terms), y0)
        return f.source(terms[0], f.b.Add(y0, y0))
    if n.active(0):
        f.note("the denominator is a frozen statistic")
        return f.gain(n.carried(0), f.b.Reciprocal(b0))
    return f.gain(n.carried(1), by_b)


def power(f: Freezer, n: Site) -> Frozen:
    """x^c: gain x0^(c−1) (freeze), the tangent c·x0^(c−1) (taylor); c^x by its tangent.

    Where both depend on the image the exponent is a decision (freeze).
    """
    b, y0 = f.b, f.float(n.y0)
    a0, c0 = f.float(n.x0(0)), f.float(n.x0(1))
    terms: list[Pair] = []
    if n.active(0):
        x = f.operand(n, 0)
        lower = b.Pow(a0, b.Sub(c0, 1.0))
        lower = b.Where(b.Or(b.IsInf(lower), b.IsNaN(lower)), b.constant(np.float32(0)), lower)
        if not n.taylor:
            return f.anchored(f.times(lower, x), y0)
        terms.append(f.times(b.Mul(lower, c0), x))
    if n.active(1):
        terms.append(f.times(b.Mul(y0, b.Log(a0)), f.operand(n, 1)))
    y = terms[0] if len(terms) == 1 else f.plus(*terms)
    return f.anchored(y, y0)


def chosen(f: Freezer, n: Site) -> Frozen:
    """Max and Min: the operand that the base chose, the first of equals."""
    b, free = f.b, None
    terms, fixed, operands = [], [], [f.float(n.x0(i)) for i in range(len(n.inputs))]
    # in float32 again, for runtimes round float16 at different places
    y0 = n.y0 if element_type(n.y0) == TensorProto.FLOAT else b.op(n.node.op, *operands)
    for i, x0 in enumerate(operands):
        wins = b.Equal(x0, y0)
        first = wins if free is None else b.And(wins, free)
        free = b.Not(wins) if free is None else b.And(free, b.Not(wins))
        if n.active(i):
            terms.append(f.expand(f.gain(n.carried(i), first), shape_of(n.y0)))
        else:
            fixed.append(b.Where(first, x0, b.constant(np.float32(0))))
    return with_fixed(f, f.add(*terms), fixed)


def remainder(f: Freezer, n: Site) -> Frozen | None:
    """x less the multiple of the divisor that the base took away."""
    if not is_float(n.y0) or n.active(1):
        return None
    return f.anchored(f.operand(n), f.float(n.y0))


PRODUCTS: dict[str, Entry] = {
    "Add": ("linear", add),
    "Sum": ("linear", add),
    "Sub": ("linear", sub),
    "Mean": ("linear", mean),
    "Neg": ("linear", lambda f, n: f.negate(n.x1)),
    "Mul": ("frozen", mul),
    "MatMul": ("frozen", matmul),
    "Gemm": ("frozen", gemm),
    "Einsum": ("linear", einsum),
    "Div": ("frozen", div),
    "Pow": ("frozen", power),
    "Mod": ("frozen", remainder),
    "Max": ("frozen", chosen),
    "Min": ("frozen", chosen),
}
