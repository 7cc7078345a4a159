"""How a difference travels through A: through linear nodes as they are, through others by their secants.

Between what A computes from its own values (x_A → y_A) and from B's (x_B → y_B) every function of one value
is linear in the difference, with the gain (y_B − y_A)/(x_B − x_A).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, is_float, shape_of
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.linearize import Freezer
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.steps import TAYLOR, Policy, Treatment

LEAST = 1e-30  # is added to distances, so that none is 0
LEAKY = 0.01  # the slope of a LeakyRelu that names none
STEP = 1e-3  # of a value: a secant over less would be a rounding error
THROUGH_ZERO = ("Relu", "LeakyRelu", "PRelu", "Abs")  # piecewise linear, with a kink at 0 only
SMOOTH = (
    "Sigmoid Tanh Elu Selu Celu Gelu Swish Mish HardSwish HardSigmoid Softplus Softsign Erf Exp Log Sqrt "
    "Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh ThresholdedRelu Shrink Pow".split()
)
# of these nothing is left: products have their secant as the tangent at the midpoint
EXACT = {*THROUGH_ZERO, "Clip", "Identity", "MaxPool", "Mul", "MatMul", "Gemm"}


def written_again(b: Builder, node: gs.Node, inputs: Sequence[Tensor]) -> gs.Node:
    """The same node with other inputs of the same types."""
    made = b.op(node.op, *inputs, outputs=len(node.outputs), **node.attrs)
    results = made if isinstance(made, tuple) else (made,)
    for result, t in zip(results, node.outputs, strict=True):
        result.shape, result.dtype = t.shape, t.dtype
    return results[0].inputs[0]


@dataclass(frozen=True)
class Flips:
    """How many decisions are other ones, and what this alone changes of the result."""

    count: Tensor
    change: Tensor


class SecantFreezer(Freezer):
    """Writes A's nodes as they act on the difference between two values of each tensor."""

    def __init__(
        self, b: Builder, second: Mapping[tuple[str, int], Tensor], again: Mapping[str, Tensor]
    ) -> None:
        """`second` has the second value of each input that carries the image, by node and number, and
        `again` that of each result."""
        super().__init__(b, RULES, Options(policy=Policy(TAYLOR)), moves_masks=False)
        self.second, self.again = second, again
        self.left: dict[str, Tensor] = {}  # what the gains do not account for, by tensors of A
        self.flips: dict[str, Flips] = {}  # by tensors of A

    def source(self, x: Frozen, source: Tensor) -> Frozen:
        """A difference has no sources."""
        return self.expand(x, tuple(np.broadcast_shapes(x.shape, shape_of(source))))

    def follow(self, node: gs.Node) -> None:
        carried = [k for k, t in enumerate(node.inputs) if t.name in self.active]
        if not carried:
            return
        self.at = Treatment(node.name, node.op, taylor=True)
        self.b.place = f"pair/{node.name.lstrip('/')}"
        linear = self.rules.get(node.op, ("", None))[0] == "linear"
        rule = SECANTS.get(node.op) if carried == [0] else None
        write = self.by_rule(rule) if rule else self._apply if linear else self.at_midpoint
        write(node)
        if not (linear or node.op in EXACT):
            self.count_left(node, carried, write)

    def by_rule(self, rule: Rule) -> Callable[[gs.Node], None]:
        def write(node: gs.Node) -> None:
            self.active[node.outputs[0].name] = rule(self, node)

        return write

    def count_left(self, node: gs.Node, carried: list[int], write: Callable[[gs.Node], object]) -> None:
        """What the gains of a node do not account for: they are written again, on the difference itself."""
        names = [t.name for t in (*(node.inputs[k] for k in carried), *node.outputs) if t.name in self.active]
        kept = {name: self.active[name] for name in names}
        for k in carried:
            first, other = self.of_input(node, k)
            shape = shape_of(first)
            difference = self.b.Reshape(self.b.Sub(other, first), [1, *raw_shape(shape)[1:]])
            self.active[node.inputs[k].name] = Frozen(shape, difference)
        write(node)
        for t in node.outputs:
            x1 = self.active.get(t.name)
            if isinstance(x1, Frozen):
                accounted = self.b.Reshape(x1.raw, list(x1.shape))
                change = self.b.Sub(self.float(self.again[t.name]), self.float(t))
                self.left[t.name] = self.b.Sub(change, accounted)
        self.active.update(kept)

    def of_input(self, node: gs.Node, i: int = 0) -> tuple[Tensor, Tensor]:
        """Both values of an input in float32: A's own and the second."""
        return self.float(node.inputs[i]), self.float(self.second[node.name, i])

    def at_midpoint(self, node: gs.Node) -> None:
        """The tangent between the two values."""
        b = self.b
        inputs = list(node.inputs)
        for k, t in enumerate(node.inputs):
            if t.name in self.active:
                if is_float(t):
                    inputs[k] = b.Mul(b.Add(t, self.second[node.name, k]), 0.5)
                else:  # so that the rule does not see what made the integers
                    inputs[k] = b.Identity(t)
                self.active[inputs[k].name] = self.active[t.name]
        made = written_again(b, node, inputs)
        self._apply(made)
        for t, m in zip(node.outputs, made.outputs, strict=False):
            if m.name in self.active:
                self.active[t.name] = self.active[m.name]


def results(f: SecantFreezer, node: gs.Node) -> tuple[Tensor, Tensor]:
    """Both values of a node's result in float32."""
    y = node.outputs[0]
    return f.float(y), f.float(f.again[y.name])


def ratio(f: SecantFreezer, over: Tensor, under: Tensor, instead: Tensor) -> Tensor:
    b = f.b
    nothing = b.Equal(under, 0.0)
    safe = b.Where(nothing, b.constant(1.0, under), under)
    return b.Where(nothing, instead, b.Div(over, safe))


def secant(f: SecantFreezer, node: gs.Node, instead: Tensor) -> Frozen:
    """The change of the result over the change of the input; where that is none, another slope."""
    (x, other), (y, again) = f.of_input(node), results(f, node)
    return f.gain(carried(f, node), ratio(f, f.b.Sub(again, y), f.b.Sub(other, x), instead))


def through_zero(f: SecantFreezer, node: gs.Node) -> Frozen:
    """The secant of a Relu is the share of the way between both values that is above 0.

    The other functions are linear in a Relu. Where both values are 0, the slope is that below 0.
    """
    b, (x, other) = f.b, f.of_input(node)
    difference = b.Sub(other, x)
    above = b.Clip(b.Div(b.Max(x, other), b.Add(b.Abs(difference), LEAST)), 0.0, 1.0)
    turned = b.Sub(above, b.Cast(b.Greater(x, 0.0), to=TensorProto.FLOAT))
    below, gain = slope_below(f, node), above
    if below is not None:
        rise = b.Sub(1.0, below)
        gain = b.Add(below, b.Mul(rise, above))
        difference = b.Mul(rise, difference)
    count = b.ReduceSum(b.Ceil(b.Abs(turned)))
    f.flips[node.outputs[0].name] = Flips(count, b.Mul(turned, difference))
    return f.gain(carried(f, node), gain)


def slope_below(f: SecantFreezer, node: gs.Node) -> Tensor | None:
    """The slope below 0; None stands for 0."""
    if node.op == "PRelu":
        return f.float(node.inputs[1])
    slope = {"LeakyRelu": node.attrs.get("alpha", LEAKY), "Abs": -1.0}.get(node.op)
    return None if slope is None else f.b.constant(np.float32(slope))


def clip(f: SecantFreezer, node: gs.Node) -> Frozen:
    """The secant; where the values are equal, 1 between the bounds."""
    b, (x, other), (y, again) = f.b, f.of_input(node), results(f, node)
    inside = b.Equal(x, y)
    slope = b.Cast(inside, to=TensorProto.FLOAT)
    turned = b.Xor(inside, b.Equal(other, again))
    lacking = b.Sub(b.Sub(again, y), b.Mul(slope, b.Sub(other, x)))
    f.flips[node.outputs[0].name] = Flips(number_of(f, turned), b.Where(turned, lacking, b.constant(0.0, x)))
    return secant(f, node, slope)


def number_of(f: SecantFreezer, where: Tensor) -> Tensor:
    """How many elements are true."""
    return f.b.ReduceSum(f.b.Cast(where, to=TensorProto.FLOAT))


def smooth(f: SecantFreezer, node: gs.Node) -> Frozen:
    """The secant between the two values, or around them where they are too near each other."""
    b, (first, other) = f.b, f.of_input(node)
    middle = b.Mul(b.Add(first, other), 0.5)
    least = b.Mul(b.Add(b.Abs(middle), 1.0), STEP)
    half = b.Max(b.Mul(b.Abs(b.Sub(other, first)), 0.5), least)
    rest = [f.float(t) if is_float(t) else t for t in node.inputs[1:]]
    above, below = (b.op(node.op, b.op(op, middle, half), *rest, **node.attrs) for op in ("Add", "Sub"))
    return f.gain(carried(f, node), b.Div(b.Sub(above, below), b.Mul(half, 2.0)))


def max_pool(f: SecantFreezer, node: gs.Node) -> Frozen:
    """Between the elements that are the largest before and after, such that the difference is exact."""
    b, x1 = f.b, carried(f, node)
    (first, other), attrs = f.of_input(node), {**node.attrs, "storage_order": 0}
    (y, i), (z, k) = (b.op("MaxPool", x, outputs=2, **attrs) for x in (first, other))
    flat = b.Reshape(b.Sub(other, first), [-1])
    at_i, at_k = (b.Gather(flat, index, axis=0) for index in (i, k))
    f.flips[node.outputs[0].name] = Flips(number_of(f, b.Not(b.Equal(i, k))), b.Sub(b.Sub(z, y), at_i))
    part = ratio(f, b.Sub(b.Sub(z, y), at_i), b.Sub(at_k, at_i), b.constant(0.0, y))
    return f.add(f.gain(f.select(x1, i), b.Sub(1.0, part)), f.gain(f.select(x1, k), part))


def own_value(f: SecantFreezer, node: gs.Node) -> Frozen:
    """The same numbers under a name of their own, so that they have a cotangent of their own."""
    x1 = carried(f, node)
    return Frozen(x1.shape, f.raw("Sum", x1.raw))


def carried(f: SecantFreezer, node: gs.Node) -> Frozen:
    x1 = f.active[node.inputs[0].name]
    if not isinstance(x1, Frozen):
        raise x1
    return x1


Rule = Callable[[SecantFreezer, gs.Node], Frozen]
SECANTS: dict[str, Rule] = {
    **dict.fromkeys(THROUGH_ZERO, through_zero),
    **dict.fromkeys(SMOOTH, smooth),
    "Clip": clip,
    "Identity": own_value,
    "MaxPool": max_pool,
}
