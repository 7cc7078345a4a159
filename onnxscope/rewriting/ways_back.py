"""Other ways back through the frozen nodes: each explanation method is another rule for some of them.

c is what arrives at a value, x0 its value, z a layer's output. In these letters a relevance is R = c·x0, so that a rule of relevance
propagation, R_in = x0·Wᵀ(R/z′), is the plain transpose of c·z/z′: rules differ in z′ and in the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.builder import Builder, Tensor, describe, is_known, numel, shape_of
from onnxscope.rewriting.linearize import Freezer
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.rules.table import TRANSPOSE
from onnxscope.rewriting.rules.transposes import same
from onnxscope.rewriting.transpose import NOTHING, Transposed, Transposer, TransposeRule, transpose

RELUS = {"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Clip"}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
DENSE = {"Gemm", "MatMul"}
MOVED_BY = {
    "Reshape",
    "Transpose",
    "Pad",
    "Slice",
    "Identity",
}  # what may stand between the image and a first layer,
SCALED_BY = {"Mul", "Add"}  # a preprocessing of every pixel by itself too: its relevance is the pixel's
NEVER_NEGATIVE = {"Relu", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs"}
KEPT_SIGN = {
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
TINY = 1e-9  # added to what is divided by
EPSILON, GAMMA = 0.25, 0.25  # of a layer's root mean square; of what pushed an output its own way
Rules = Callable[[gs.Node], TransposeRule | None]


@dataclass
class Way:
    """A frozen base and the cotangent that is fed, as a method finds them."""

    freezer: Freezer
    nodes: Sequence[gs.Node]
    seed: tuple[Tensor, Tensor]
    probe: Tensor
    image: Tensor
    tensors: Mapping[str, Tensor]  # of the base, by the names of the frozen values that stand for them
    # of the first way back, by the names of the frozen values at which they arrive
    cotangents: Mapping[str, Tensor] = field(default_factory=dict, init=False)
    notes: list[str] = field(default_factory=list, init=False)  # what the user should know

    @property
    def b(self) -> Builder:
        return self.freezer.b

    def back(
        self, rules: Rules | None = None, added: Mapping[str, Tensor] = NOTHING, seeded: bool = True
    ) -> Transposed:
        """All the way to the image; where `rules` has none for a node, its own holds."""

        def rule_of(node: gs.Node) -> TransposeRule | None:
            return (rules and rules(node)) or TRANSPOSE.get(node.op)

        found = transpose(
            self.b, self.nodes, self.freezer.values, self.seed, self.probe, rule_of, added, seeded
        )
        self.cotangents = self.cotangents or found.cotangents
        return found

    def op_of(self, node: gs.Node) -> str:
        """The operator of the base that a frozen node comes from; none where F = 0."""
        origin = self.freezer.origins.get(node.name)
        return str(origin.op) if origin is not None else ""

    def base_of(self, raw: Tensor) -> Tensor | None:
        """What a frozen value is at x1 = x0, in its shape; none where no tensor of the base stands beside it."""
        beside = raw
        while beside.name not in self.tensors and beside.inputs and beside.inputs[0].op == "Reshape":
            beside = beside.inputs[0].inputs[0]
        found = self.tensors.get(beside.name)
        if found is None:
            return None
        if numel(shape_of(found)) != numel(shape_of(raw)[1:]):
            raise Unsupported(
                "relevance is defined for one image, and the model takes several at once",
                where=describe(raw.outputs[0]),
                remedy="export the model for a batch of 1",
            )
        return self.b.Reshape(self.freezer.float(found), [1, *shape_of(raw)[1:]])

    def times_image(self, c: Tensor) -> Tensor:
        return self.b.Mul(c, self.b.Reshape(self.freezer.float(self.image), [1, *shape_of(self.probe)[1:]]))


# rules for Relus


def guided(t: Transposer, n: gs.Node, i: int, c: Tensor) -> Tensor:
    """Only what is positive passes an open gate."""
    return t.op("Mul", t.op("Relu", c), n.inputs[1 - i])


def deconvolved(t: Transposer, n: gs.Node, i: int, c: Tensor) -> Tensor:
    """Only what is positive passes, whether or not the gate was open."""
    return t.op("Relu", c)


def at_relus(rule: TransposeRule) -> Callable[[Way], Tensor]:
    def method(way: Way) -> Tensor:
        gates = {n.name for n in way.nodes if n.op == "Mul" and way.op_of(n) in RELUS}
        if not gates:
            way.notes.append(
                "the network has no Relu of its own for the method to change: this is the plain gradient"
            )
        return way.back(lambda node: rule if node.name in gates else None).result

    return method


# rules for layers with weights


@dataclass(frozen=True)
class Layer:
    """A frozen node with weights: its input x0 and its output z in the base."""

    way: Way
    node: gs.Node
    i: int  # the input that carries
    x: Tensor
    z: Tensor

    @property
    def weights(self) -> Tensor:
        return self.node.inputs[1 - self.i]

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.way.b.op(
            self.node.op, *((x, weights) if self.i == 0 else (weights, x)), **self.node.attrs
        )

    def back(self, t: Transposer, c: Tensor, weights: Tensor) -> Tensor:
        inputs = [weights, weights]
        inputs[self.i] = self.node.inputs[self.i]
        like = gs.Node(
            self.node.op,
            self.node.name,
            self.node.attrs,
            inputs,
            [gs.Variable("", None, list(self.node.outputs[0].shape))],
        )
        result = TRANSPOSE[self.node.op](t, like, self.i, c)
        like.inputs.clear()
        return result

    def ratio(self, to: Tensor, share: float = 0.0) -> Tensor:
        """z/(to ± share·rms(to)), the sign being that of `to`."""
        b = self.way.b
        size = b.Sqrt(b.ReduceMean(b.Mul(to, to), keepdims=1))
        by = b.Add(b.Mul(size, share), TINY)
        return b.Div(self.z, b.Add(to, b.Where(b.GreaterOrEqual(to, 0.0), by, b.Neg(by))))

    def halves(self) -> list[Tensor]:
        """x⁺ and x⁻; x alone where it cannot be negative."""
        b = self.way.b
        return [self.x] if not_negative(self) else [b.Relu(self.x), b.Neg(b.Relu(b.Neg(self.x)))]

    def spread_back(self, t: Transposer, c: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
        """Back by one kind of weights to where x is positive, by the other to where it is negative."""
        b, halves = self.way.b, self.halves()
        back = [self.back(t, c, w) for w in weights[: len(halves)]]
        return (
            back[0]
            if len(back) == 1
            else t.op("Sum", *(t.op("Mul", a, b.Abs(b.Sign(x))) for a, x in zip(back, halves, strict=True)))
        )

    def parts(self) -> tuple[Tensor, Tensor]:
        """Positive and negative weights."""
        b = self.way.b
        return b.Relu(self.weights), b.Neg(b.Relu(b.Neg(self.weights)))


Propagate = Callable[[Transposer, Layer, Tensor], Tensor]


def epsilon(share: float) -> Propagate:
    """z′ = z ± ε."""
    return lambda t, layer, c: layer.back(t, t.op("Mul", c, layer.ratio(layer.z, share)), layer.weights)


def gamma(share: float) -> Propagate:
    """What pushed an output the way it went counts more by this share: z′ = z + γz⁺ where z > 0, and z + γz⁻ where z < 0."""

    def rule(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
        b, (up, down) = layer.way.b, layer.parts()
        bias = b.Sub(layer.z, layer.forward(layer.x, layer.weights))
        terms = []
        for sign, weights in ((1.0, (up, down)), (-1.0, (down, up))):
            own = b.Mul(b.Relu(b.Mul(bias, sign)), sign)
            pushed = summed(
                b, [own, *(layer.forward(part, w) for part, w in zip(layer.halves(), weights, strict=False))]
            )
            went = b.Cast(b.Greater(b.Mul(layer.z, sign), 0.0), to=TensorProto.FLOAT)
            sent = t.op("Mul", c, b.Mul(went, layer.ratio(b.Add(layer.z, b.Mul(pushed, share)))))
            terms += [
                layer.back(t, sent, layer.weights),
                layer.spread_back(t, t.op("Mul", sent, share), weights),
            ]
        return t.op("Sum", *terms)

    return rule


def alpha_beta(alpha: float, beta: float) -> Propagate:
    """α of the relevance goes to what pushed the output up, −β to what pushed it down, each in proportion; biases get none."""

    def rule(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
        b, (up, down) = layer.way.b, layer.parts()
        terms = []
        for factor, weights in ((alpha, (up, down)), (-beta, (down, up))):
            if factor:
                to = summed(
                    b, [layer.forward(part, w) for part, w in zip(layer.halves(), weights, strict=False)]
                )
                terms.append(layer.spread_back(t, t.op("Mul", c, b.Mul(layer.ratio(to), factor)), weights))
        return summed(t, terms)

    return rule


def summed(b: Any, terms: Sequence[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else b.op("Sum", *terms)


def box(t: Transposer, layer: Layer, c: Tensor) -> Tensor:
    """zB, for pixels between the image's least and largest value l and h: R_in = x·Wᵀs − l·W⁺ᵀs − h·W⁻ᵀs. It gives relevance itself."""
    b, (up, down) = layer.way.b, layer.parts()
    shape = list(shape_of(layer.x))
    low, high = (b.Expand(b.op(op, layer.x, keepdims=1), shape) for op in ("ReduceMin", "ReduceMax"))
    to = b.Sub(
        layer.forward(layer.x, layer.weights), b.Add(layer.forward(low, up), layer.forward(high, down))
    )
    s = t.op("Mul", c, layer.ratio(to))
    own, raised, lowered = (
        t.op("Mul", layer.back(t, s, w), x) for w, x in ((layer.weights, layer.x), (up, low), (down, high))
    )
    return t.op("Sub", own, t.op("Sum", raised, lowered))


def not_negative(layer: Layer) -> bool:
    """Whether the layer's input cannot be negative, for what it is made by."""
    raw = layer.node.inputs[layer.i]
    while raw.name not in layer.way.tensors and raw.inputs:
        raw = raw.inputs[0].inputs[0]
    tensor = layer.way.tensors.get(raw.name)
    return tensor is not None and keeps_from_below_zero(tensor)


def keeps_from_below_zero(t: Tensor) -> bool:
    made = t.inputs[0] if t.inputs else None
    if made is None or made.op not in KEPT_SIGN:
        return made is not None and made.op in NEVER_NEGATIVE
    return all(keeps_from_below_zero(i) for i in (made.inputs if made.op == "Concat" else made.inputs[:1]))


def is_constant(t: Tensor) -> bool:
    return is_known(t) or (bool(t.inputs) and all(is_constant(i) for i in t.inputs[0].inputs if i.name))


def propagated(
    hidden: Propagate, dense: Propagate | None = None, first: Propagate | None = None
) -> Callable[[Way], Tensor]:
    """Relevance: one rule for all layers with weights, or others for dense ones and for those that read the image itself."""

    def method(way: Way) -> Tensor:
        layers = {n.name: layer for n in way.nodes if (layer := layer_of(way, n)) is not None}
        readers = {n.name for n in way.nodes if reads_image(way, n)}
        if (
            first is None or not readers <= layers.keys()
        ):  # others read it too: then relevance is c·x0 throughout
            readers = set()

        def rules(node: gs.Node) -> TransposeRule | None:
            if readers and node.op == "Mul" and is_image(way, node.outputs[0]):
                return same
            if node.name not in layers:
                return None
            layer = layers[node.name]
            rule = (
                first if first and node.name in readers else dense if dense and node.op in DENSE else hidden
            )
            return lambda t, n, i, c: rule(t, layer, c)

        c = way.back(rules).result
        return c if readers else way.times_image(c)

    return method


def layer_of(way: Way, node: gs.Node) -> Layer | None:
    """A frozen node with constant weights between two values of the base."""
    carried = [k for k, t in enumerate(node.inputs) if t.name in way.freezer.values]
    if (
        node.op not in WEIGHTED
        or way.op_of(node) not in WEIGHTED
        or len(carried) != 1
        or not is_constant(node.inputs[1 - carried[0]])
    ):
        return None
    x, origin = way.base_of(node.inputs[carried[0]]), way.freezer.origins[node.name]
    z = way.freezer.float(origin.outputs[0])
    if x is None or z.shape is None:
        return None
    return Layer(way, node, carried[0], x, way.b.Reshape(z, [1, *shape_of(node.outputs[0])[1:]]))


def reads_image(way: Way, node: gs.Node) -> bool:
    """Whether a node that mixes pixels reads the image, moved and scaled at the most."""
    return node.op not in MOVED_BY | SCALED_BY and any(is_image(way, t) for t in node.inputs)


def is_image(way: Way, t: Tensor) -> bool:
    """Whether a frozen value is the image, moved and scaled at the most."""
    while (
        t.name in way.freezer.values and t.name != way.probe.name and t.inputs[0].op in MOVED_BY | SCALED_BY
    ):
        t = next(i for i in t.inputs[0].inputs if i.name in way.freezer.values)
    return bool(t.name == way.probe.name)


# methods that need no other rule


def plain(way: Way) -> Tensor:
    return way.back().result


def times_input(way: Way) -> Tensor:
    return way.times_image(way.back().result)


def discussion(way: Way) -> Tensor:
    """What every pixel adds: row·x0, and what each source adds, back-projected from its layer to the image."""
    first = way.back()
    met = [(n, first.cotangents.get(n.outputs[0].name)) for n in way.nodes if n.name in way.freezer.sources]
    added = {n.inputs[0].name: way.b.Mul(c, n.inputs[1]) for n, c in met if c is not None}
    by_pixels = way.times_image(first.result)
    return way.b.Add(by_pixels, way.back(added=added, seeded=False).result) if added else by_pixels


@dataclass(frozen=True)
class Method:
    write: Callable[[Way], Tensor]
    doc: str
    folds: bool = False  # whether BatchNormalization is multiplied into the layer before it first
    at_relus: bool = False  # whether it has a rule for Relus, which must then stay where they are


METHODS: dict[str, Method] = {
    GRADIENT: Method(plain, "Fᵀ itself; under taylor the gradient, whose size is called saliency"),
    "input-x-gradient": Method(times_input, "row of F times image; LRP-0 in networks of Relus"),
    "discussion": Method(discussion, "the same, and every source back-projected from its layer"),
    "guided": Method(
        at_relus(guided),
        "guided backpropagation: Relus pass what is positive where they are open",
        at_relus=True,
    ),
    "deconvnet": Method(at_relus(deconvolved), "DeconvNet: Relus pass what is positive", at_relus=True),
    "lrp-epsilon": Method(
        propagated(epsilon(EPSILON)), "LRP-ε, ε being a quarter of a layer's root mean square", True
    ),
    "lrp-gamma": Method(
        propagated(gamma(GAMMA)),
        "LRP-γ: what pushed an output the way it went counts by a quarter more",
        True,
    ),
    "lrp-zplus": Method(propagated(alpha_beta(1, 0)), "LRP-z⁺, the same as LRP-α1β0", True),
    "lrp-alphabeta": Method(propagated(alpha_beta(2, 1)), "LRP-α2β1", True),
    "lrp-composite": Method(
        propagated(gamma(GAMMA), epsilon(EPSILON), box),
        "zB at the image, γ in convolutions, ε in dense layers",
        True,
    ),
    "deep-taylor": Method(
        propagated(alpha_beta(1, 0), None, box),
        "deep Taylor decomposition: zB at the image, z⁺ behind it",
        True,
    ),
}
