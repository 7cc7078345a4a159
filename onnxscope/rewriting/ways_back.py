"""The table of ways back: how each explanation method goes through the frozen nodes from output to image.

The gradient transposes every node. Other methods have a rule of their own for some nodes: the rules for Relus
are here, those for layers with weights in `relevance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.relevance import alpha_beta, box, epsilon, gamma, propagated
from onnxscope.rewriting.transpose import Transposer, TransposeRule
from onnxscope.rewriting.way import Way

RELUS = {"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Clip"}
EPSILON = 0.25  # of a layer's root mean square
GAMMA = 0.25  # of the products with the sign of the output


# methods that transpose every node


def plain(way: Way) -> Tensor:
    return way.back().result


def times_input(way: Way) -> Tensor:
    return way.times_image(way.back().result)


def discussion(way: Way) -> Tensor:
    """What every pixel adds: row·x0 plus what each source adds, back-projected from its layer."""
    first = way.back()
    arrived = [
        (n, first.cotangents.get(n.outputs[0].name)) for n in way.nodes if n.name in way.freezer.sources
    ]
    added = {n.inputs[0].name: way.b.Mul(c, n.inputs[1]) for n, c in arrived if c is not None}
    by_pixels = way.times_image(first.result)
    return way.b.Add(by_pixels, way.back(added=added, seeded=False).result) if added else by_pixels


# methods with a rule for Relus


def guided(t: Transposer, n: gs.Node, i: int, c: Tensor) -> Tensor:
    """What is positive passes an open gate."""
    return t.op("Mul", t.op("Relu", c), n.inputs[1 - i])


def deconvolved(t: Transposer, n: gs.Node, i: int, c: Tensor) -> Tensor:
    """What is positive passes, whether the gate is open or not."""
    return t.op("Relu", c)


def at_relus(rule: TransposeRule) -> Callable[[Way], Tensor]:
    """The gradient, with another rule at the Relus of the network."""

    def method(way: Way) -> Tensor:
        gates = {n.name for n in way.nodes if n.op == "Mul" and way.op_of(n) in RELUS}
        if not gates:
            way.notes.append(
                "the network has no Relu of its own for the method to change: this is the plain gradient"
            )
        return way.back(lambda node: rule if node.name in gates else None).result

    return method


# the table


@dataclass(frozen=True)
class Method:
    write: Callable[[Way], Tensor]
    doc: str
    folds: bool = False  # whether BatchNormalization is first multiplied into the layer before it
    at_relus: bool = False  # whether it has a rule for Relus, which must then stay where they are


METHODS: dict[str, Method] = {
    GRADIENT: Method(plain, "Fᵀ itself; under taylor the gradient, whose size is called saliency"),
    "input-x-gradient": Method(times_input, "row of F times image; LRP-0 in networks of Relus"),
    "discussion": Method(discussion, "the same, plus every source back-projected from its layer"),
    "guided": Method(
        at_relus(guided),
        "guided backpropagation: Relus pass what is positive where they are open",
        at_relus=True,
    ),
    "deconvnet": Method(at_relus(deconvolved), "DeconvNet: Relus pass what is positive", at_relus=True),
    "lrp-epsilon": Method(
        propagated(epsilon(EPSILON)),
        "LRP-ε, ε being a quarter of a layer's root mean square",
        folds=True,
    ),
    "lrp-gamma": Method(
        propagated(gamma(GAMMA)),
        "LRP-γ: products with the sign of the output count by a quarter more",
        folds=True,
    ),
    "lrp-zplus": Method(propagated(alpha_beta(1, 0)), "LRP-z⁺, the same as LRP-α1β0", folds=True),
    "lrp-alphabeta": Method(propagated(alpha_beta(2, 1)), "LRP-α2β1", folds=True),
    "lrp-composite": Method(
        propagated(gamma(GAMMA), dense=epsilon(EPSILON), first=box),
        "zB at the image, γ in convolutions, ε in dense layers",
        folds=True,
    ),
    "deep-taylor": Method(
        propagated(alpha_beta(1, 0), first=box),
        "deep Taylor decomposition: zB at the image, z⁺ in all other layers",
        folds=True,
    ),
}
