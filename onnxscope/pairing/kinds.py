"""What a layer's own error comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.tensors import element_type, is_known, shape_of, values_of
from onnxscope.pairing.found import ROUNDING
from onnxscope.pairing.layers import Layer
from onnxscope.pairing.sides import Arrays, Side
from onnxscope.pairing.single_nodes import SingleNodes

WEIGHTED = set("Conv ConvTranspose Gemm MatMul QLinearConv QLinearMatMul ConvInteger MatMulInteger".split())
AFFINE = {*WEIGHTED, "BatchNormalization", "Add", "Sub", "Mul", "Div"}  # with constants
WEIGHTS, BIAS, ROUNDED, CUT = "weights", "bias", "rounding", "saturation"
DEFINITION, MISSING, ADDED, NOISE = "definition", "missing", "added", "noise"
# relative errors up to these are a kernel's own noise, by the types that it reads and writes
KERNEL: dict[int, float] = {TensorProto.FLOAT: 1e-5, TensorProto.FLOAT16: 4e-3, TensorProto.BFLOAT16: 3e-2}
MOST_ROUNDED = 0.51  # of a step: what changes by more was cut off
EQUAL = 1e-6  # relative to the largest: numbers that are stored twice


@dataclass(frozen=True)
class Part:
    """A part of a layer's own error: what exceeds a limit, or what is the same for every input."""

    kind: str
    limit: float = 0.0
    constant: np.ndarray | None = None  # in A's layout


class Kinds:
    """Tells the kinds of errors of the layers of two matched networks, from their values for one image."""

    def __init__(self, a: Side, b: Side, values_a: Arrays, values_b: Arrays, every: Sequence[Layer]) -> None:
        self.a, self.b, self.values_a, self.values_b = a, b, values_a, values_b
        self.runs = [SingleNodes(s.b.opset, s.b.graph.ir_version) for s in (a, b)]
        self.parts = {layer.tensor: self.parts_of(layer) for layer in every}
        self._kinds = {layer.tensor: self.kind_of(layer) for layer in every}
        del self.values_a, self.values_b, self.runs

    def beyond_noise(self, layer: Layer, error: float) -> float:
        """An error, or 0 if it is a kernel's own noise."""
        types = {
            element_type(t)
            for side, nodes in ((self.a, layer.a), (self.b, layer.b))
            for node in nodes
            for t in (*side.carried(node), *node.outputs)
        }
        return 0.0 if error <= max((KERNEL.get(t, 0.0) for t in types), default=1e-5) else error

    def of(self, layer: Layer, error: float) -> str:
        """The kind of a layer's error, beside its parts."""
        return self._kinds[layer.tensor] if error else NOISE

    def kind_of(self, layer: Layer) -> str:
        if layer.rounds or any(n.op in ROUNDING for n in (*layer.a, *layer.b)):
            return ROUNDED
        if not layer.b:
            return MISSING
        if not layer.a:
            return ADDED
        return WEIGHTS if self.other_weights(layer) else DEFINITION

    def parts_of(self, layer: Layer) -> list[Part]:
        """What can be told apart of a layer's error."""
        steps = [step for n in layer.b if (step := self.step(n))]
        plain = not any(n.op in (*WEIGHTED, *ROUNDING) for n in layer.a)
        if plain and steps:
            return [Part(CUT, MOST_ROUNDED * steps[-1])]
        bias = self.bias(layer)
        return [] if bias is None else [Part(BIAS, constant=bias)]

    def step(self, node: gs.Node) -> float:
        """The step of a quantizer whose steps are all of one size."""
        if node.op != "QuantizeLinear" or not is_known(node.inputs[1]):
            return 0.0
        scale = values_of(node.inputs[1])
        return float(scale.reshape(-1)[0]) if scale.size == 1 else 0.0

    def bias(self, layer: Layer) -> np.ndarray | None:
        """What B's layer gives beyond A's for an input of zeros, if both are affine and it is something."""
        both = (
            (self.a, layer.a, self.runs[0], self.values_a),
            (self.b, layer.b, self.runs[1], self.values_b),
        )
        found = []
        for side, nodes, runs, values in both:
            single = all(n.op in AFFINE and len(side.carried(n)) == 1 for n in nodes)
            if not single or sum(n.op in WEIGHTED for n in nodes) != 1:
                return None
            found.append(at_zero(side, nodes, runs, values))
        ours, theirs = found[0], layer.member.layout.of(found[1])
        difference = np.asarray(theirs, np.float32) - np.asarray(ours, np.float32)
        if np.abs(difference).max(initial=0) <= EQUAL * np.abs(ours).max(initial=0):
            return None
        space = tuple(range(2, difference.ndim))
        first = difference[(slice(None), slice(None), *(slice(0, 1) for _ in space))]
        return first if np.array_equal(np.broadcast_to(first, difference.shape), difference) else difference

    def other_weights(self, layer: Layer) -> bool:
        """Whether the two sides have other numbers."""
        ours, theirs = (
            weights_of(side, nodes, values)
            for side, nodes, values in ((self.a, layer.a, self.values_a), (self.b, layer.b, self.values_b))
        )
        return len(ours) != len(theirs) or not all(
            x.size == y.size and np.allclose(x, y, rtol=EQUAL, atol=EQUAL * np.abs(x).max(initial=0))
            for x, y in zip(ours, theirs, strict=True)
        )


def at_zero(side: Side, nodes: Sequence[gs.Node], runs: SingleNodes, values: Arrays) -> np.ndarray:
    """What a chain of nodes computes from zeros."""
    known: dict[str, np.ndarray] = {}
    for node in nodes:
        inputs: list[np.ndarray | None] = []
        for t in node.inputs:
            if is_known(t):
                inputs.append(values_of(t))
            elif t.name in side.active:
                inputs.append(known.get(t.name, np.zeros(shape_of(t), t.dtype)))
            else:
                inputs.append(values[t.name] if t.name else None)
        known[node.outputs[0].name] = runs.run(node, inputs)[0]
    return known[nodes[-1].outputs[0].name]


def weights_of(side: Side, nodes: Sequence[gs.Node], values: Arrays) -> list[np.ndarray]:
    """The constant numbers that nodes read."""
    found = []
    for node in nodes:
        for t in node.inputs:
            if t.name and t.name not in side.active:
                array = values_of(t) if is_known(t) else values.get(t.name)
                if array is not None and array.dtype.kind == "f":
                    found.append(np.asarray(array, np.float32).reshape(-1))
    return found
