"""Layer-wise relevance propagation (LRP): its rules for layers with weights, and the methods made of them.

c is the cotangent that arrives at a value; x and z are the values of a layer's input and output in the base.
Relevance is R = c·x, so a rule of relevance propagation, R_in = x·Wᵀ(R/z′), is the plain transpose of c·z/z′.
The rules differ in z′ and in the weights W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, is_known, shape_of
from onnxscope.rewriting.rules.table import TRANSPOSE
from onnxscope.rewriting.rules.transposes import same
from onnxscope.rewriting.transpose import Transposer, TransposeRule
from onnxscope.rewriting.way import Way

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
DENSE = {"Gemm", "MatMul"}

# What may come between the image and the first layer with weights. Scaling and shifting each pixel by itself
# is allowed, because the relevance of the result is that of the pixel.
MOVES_PIXELS = {"Reshape", "Transpose", "Pad", "Slice", "Identity"}
SCALES_PIXELS = {"Mul", "Add"}

NEVER_NEGATIVE = {"Relu", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs"}
KEEPS_SIGN = {
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Flatten",
    "Reshape",
    "Transpose",
    "Concat",
    "Squeeze",
    "Unsqueeze",
    "Identity",
}
TINY = 1e-9  # is added to divisors


@dataclass(frozen=True)
class Layer:
    """A frozen node with weights, its input x and its output z in the base."""

    way: Way
    node: gs.Node
    i: int  # the input that carries probes; the other one holds the weights
    x: Tensor
    z: Tensor

    @property
    def weights(self) -> Tensor:
        return self.node.inputs[1 - self.i]

    def weights_by_sign(self) -> tuple[Tensor, Tensor]:
        """W⁺ and W⁻."""
        b = self.way.b
        return b.Relu(self.weights), b.Neg(b.Relu(b.Neg(self.weights)))

    def inputs_by_sign(self) -> list[Tensor]:
        """x⁺ and x⁻, or x alone where it cannot be negative."""
        b = self.way.b
        return [self.x] if not_negative(self) else [b.Relu(self.x), b.Neg(b.Relu(b.Neg(self.x)))]

    def pushes(self) -> tuple[Push, Push]:
        """What pushes the output up, and what pushes it down."""
        raising, lowering = self.weights_by_sign()
        return Push(self, 1.0, (raising, lowering)), Push(self, -1.0, (lowering, raising))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """The layer without its bias, for another input and other weights."""
        operands = (x, weights) if self.i == 0 else (weights, x)
        return self.way.b.op(self.node.op, *operands, **self.node.attrs)

    def back(self, t: Transposer, c: Tensor, weights: Tensor) -> Tensor:
        """The transpose of the layer, with other weights."""
        inputs = [weights, weights]
        inputs[self.i] = self.node.inputs[self.i]
        output = gs.Variable("", None, list(self.node.outputs[0].shape))
        other = gs.Node(self.node.op, self.node.name, self.node.attrs, inputs, [output])
        result = TRANSPOSE[self.node.op](t, other, self.i, c)
        other.inputs.clear()  # else the weights would count it among their readers
        return result

    def ratio(self, to: Tensor, share: float = 0.0) -> Tensor:
        """z/(to ± share·rms(to)), with the sign of `to`."""
        b = self.way.b
        size = b.Sqrt(b.ReduceMean(b.Mul(to, to), keepdims=1))
        by = b.Add(b.Mul(size, share), TINY)
        return b.Div(self.z, b.Add(to, b.Where(b.GreaterOrEqual(to, 0.0), by, b.Neg(by))))


@dataclass(frozen=True)
class Push:
    """What pushes a layer's output up, or down: the products of inputs and weights that have this sign."""

    layer: Layer
    sign: float
    weights: tuple[Tensor, Tensor]  # those that push in this direction where x > 0, and those where x < 0

    def total(self, *more: Tensor) -> Tensor:
        """The sum of these products, and of whatever `more` is given."""
        layer = self.layer
        terms = [*more]
        terms += [layer.forward(x, w) for x, w in zip(layer.inputs_by_sign(), self.weights, strict=False)]
        return summed(layer.way.b, terms)

    def back(self, t: Transposer, c: Tensor) -> Tensor:
        """c carried back through the weights of these products."""
        b, inputs = self.layer.way.b, self.layer.inputs_by_sign()
        arrived = [self.layer.back(t, c, w) for w in self.weights[: len(inputs)]]
        if len(arrived) == 1:
            return arrived[0]
        return t.op("Sum", *(t.op("Mul", a, b.Abs(b.Sign(x))) for a, x in zip(arrived, inputs, strict=True)))


def summed(writer: Builder | Transposer, terms: Sequence[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else writer.op("Sum", *terms)


# the rules

Propagate = Callable[[Transposer, Layer, Tensor], Tensor]


def epsilon(share: float) -> Propagate:
    """z′ = z ± ε, where ε is this share of z's root mean square."""
    return lambda t, layer, c: layer.back(t, t.op("Mul", c, layer.ratio(layer.z, share)), layer.weights)


def gamma(share: float) -> Propagate:
    """Products with the sign of the output count more by this share.

    z′ = z + γz⁺ where z > 0, and z + γz⁻ where z < 0; z⁺ and z⁻ include the bias if it has that sign.
    """

    def rule(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
        b, pushes = layer.way.b, layer.pushes()
        bias = b.Sub(layer.z, layer.forward(layer.x, layer.weights))
        terms = []
        for push in pushes:
            total = push.total(b.Mul(b.Relu(b.Mul(bias, push.sign)), push.sign))
            has_sign = b.Cast(b.Greater(b.Mul(layer.z, push.sign), 0.0), to=TensorProto.FLOAT)
            ratio = layer.ratio(b.Add(layer.z, b.Mul(total, share)))
            sent = t.op("Mul", c, b.Mul(has_sign, ratio))
            terms += [layer.back(t, sent, layer.weights), push.back(t, t.op("Mul", sent, share))]
        return summed(t, terms)

    return rule


def alpha_beta(alpha: float, beta: float) -> Propagate:
    """α of the relevance goes to the products that push the output up, −β to those that push it down.

    Biases get none.
    """

    def rule(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
        b, pushes = layer.way.b, layer.pushes()
        terms = []
        for factor, push in zip((alpha, -beta), pushes, strict=True):
            if factor:
                ratio = layer.ratio(push.total())
                terms.append(push.back(t, t.op("Mul", c, b.Mul(ratio, factor))))
        return summed(t, terms)

    return rule


def box(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
    """The zB rule, for pixels between the image's least and largest values l and h.

    R_in = x·Wᵀs − l·W⁺ᵀs − h·W⁻ᵀs with s = c·z/(Wx − W⁺l − W⁻h). Other rules return R/x, this one R.
    """
    b, (raising, lowering) = layer.way.b, layer.weights_by_sign()
    shape = list(shape_of(layer.x))
    low, high = (b.Expand(b.op(op, layer.x, keepdims=1), shape) for op in ("ReduceMin", "ReduceMax"))
    whole = layer.forward(layer.x, layer.weights)
    to = b.Sub(whole, b.Add(layer.forward(low, raising), layer.forward(high, lowering)))
    s = t.op("Mul", c, layer.ratio(to))
    of_x, of_low, of_high = (
        t.op("Mul", layer.back(t, s, weights), x)
        for weights, x in ((layer.weights, layer.x), (raising, low), (lowering, high))
    )
    return t.op("Sub", of_x, t.op("Sum", of_low, of_high))


# the methods


def propagated(
    hidden: Propagate, dense: Propagate | None = None, first: Propagate | None = None
) -> Callable[[Way], Tensor]:
    """Relevance of the image by the rule `hidden` at every layer with weights.

    `dense` takes its place at dense layers, and `first` at those that read the image itself.
    """

    def method(way: Way) -> Tensor:
        layers = {n.name: layer for n in way.nodes if (layer := layer_of(way, n)) is not None}
        readers = {n.name for n in way.nodes if reads_image(way, n)}
        if first is None or not readers <= layers.keys():
            readers = set()  # relevance is c·x0 throughout, also where other nodes read the image too

        def rules(node: gs.Node) -> TransposeRule | None:
            if readers and node.op == "Mul" and is_image(way, node.outputs[0]):
                return same
            if node.name not in layers:
                return None
            layer = layers[node.name]
            rule = dense if dense and node.op in DENSE else hidden
            rule = first if first and node.name in readers else rule
            return lambda t, n, i, c: rule(t, layer, c)

        c = way.back(rules).result
        return c if readers else way.times_image(c)

    return method


def layer_of(way: Way, node: gs.Node) -> Layer | None:
    """A frozen node as a layer; None if its weights vary, or if its input is no value of the base."""
    carried = [k for k, t in enumerate(node.inputs) if t.name in way.freezer.values]
    if node.op not in WEIGHTED or way.op_of(node) not in WEIGHTED or len(carried) != 1:
        return None
    (i,) = carried
    if not is_constant(node.inputs[1 - i]):
        return None
    x, origin = way.base_of(node.inputs[i]), way.freezer.origins[node.name]
    z = way.freezer.float(origin.outputs[0])
    if x is None or z.shape is None:
        return None
    return Layer(way, node, i, x, way.b.Reshape(z, [1, *shape_of(node.outputs[0])[1:]]))


def reads_image(way: Way, node: gs.Node) -> bool:
    """Whether a node mixes pixels of the image, which is at most moved and scaled before it."""
    return node.op not in MOVES_PIXELS | SCALES_PIXELS and any(is_image(way, t) for t in node.inputs)


def is_image(way: Way, t: Tensor) -> bool:
    """Whether a frozen value is the image, at most moved and scaled."""
    while t.name in way.freezer.values and t.name != way.probe.name:
        if t.inputs[0].op not in MOVES_PIXELS | SCALES_PIXELS:
            return False
        t = next(i for i in t.inputs[0].inputs if i.name in way.freezer.values)
    return bool(t.name == way.probe.name)


def not_negative(layer: Layer) -> bool:
    """Whether the operators before a layer let its input never be negative."""
    raw = layer.node.inputs[layer.i]
    while raw.name not in layer.way.tensors and raw.inputs:
        raw = raw.inputs[0].inputs[0]
    tensor = layer.way.tensors.get(raw.name)
    return tensor is not None and is_never_negative(tensor)


def is_never_negative(t: Tensor) -> bool:
    producer = t.inputs[0] if t.inputs else None
    if producer is None or producer.op not in KEEPS_SIGN:
        return producer is not None and producer.op in NEVER_NEGATIVE
    return all(
        is_never_negative(i) for i in (producer.inputs if producer.op == "Concat" else producer.inputs[:1])
    )


def is_constant(t: Tensor) -> bool:
    return is_known(t) or (bool(t.inputs) and all(is_constant(i) for i in t.inputs[0].inputs if i.name))
