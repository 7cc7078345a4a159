"""The pair scope: A, what it would compute from B's values, and a pass back that prices the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import ScopeError
from onnxscope.graph.parts import graph_of, needed
from onnxscope.graph.tensors import Tensor, element_type, numel, shape_of
from onnxscope.pairing.found import Member
from onnxscope.pairing.kinds import Part
from onnxscope.pairing.secants import SecantFreezer, written_again
from onnxscope.pairing.sides import Side
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.rules.table import TRANSPOSE
from onnxscope.rewriting.scope import COTANGENT, COTANGENTS, PROBE, PROBES
from onnxscope.rewriting.transpose import transpose

LEFT = "curvature"  # what the secants of a layer do not account for


@dataclass
class PairScope:
    """The graph that prices the difference, and what its outputs are."""

    graph: gs.Graph
    reads: dict[str, str]  # the tensors of B that it is fed, by the names of its inputs
    priced: list[tuple[str, str]]  # the tensor of A and the kind of each entry of the output `prices`
    measured: list[str]  # the tensor of A of each entry of the outputs `errors` and `sizes`
    flips: list[str]  # the tensor of A of each entry of the output `flips`


class Writer:
    """Writes the pair scope for a value that is computed from A's explained tensors."""

    def __init__(
        self,
        a: Side,
        value: Tensor,
        b: Side,
        anchors: Mapping[str, Member],
        parts: Mapping[str, Sequence[Part]],
    ) -> None:
        """`value` is computed in A's graph; B's value is what is computed so from B's tensors."""
        self.a, self.value, self.other, self.anchors, self.parts = a, value, b, anchors, parts
        self.b = a.b
        self.one = gs.Variable(COTANGENT, np.float32, [COTANGENTS, 1])
        self.reads: dict[str, Tensor] = {}
        self.again: dict[str, Tensor] = {a.x.name: a.x}  # what A computes from B's values
        self.theirs = {name: self.read(name) for name in anchors}  # B's values in A's layout

    def write(self) -> PairScope:
        """Its outputs are prices, both values, errors with the sizes of what they are in, and flips."""
        b = self.b
        second = self.second_values()
        f = SecantFreezer(b, second, self.again)
        cotangents = self.cotangents(f)
        errors = {name: self.error(name) for name in self.anchors}
        terms = {(name, ""): error for name, error in errors.items()}
        terms |= {
            (name, part.kind): self.part(part, error)
            for name, error in errors.items()
            for part in self.parts.get(name, ())
        }
        terms |= {(name, LEFT): error for name, error in f.left.items()}
        prices = {
            key: self.price(cotangents[key[0]], error) for key, error in terms.items() if key[0] in cotangents
        }
        flips = {
            name: b.Reshape(b.ReduceSum(b.Cast(flip, to=TensorProto.FLOAT)), [1])
            for name, flip in f.flips.items()
        }
        outputs = [
            b.Concat(*prices.values(), axis=1, names=["prices"]),
            b.Concat(
                *(b.Reshape(t, [1]) for t in (self.value, self.again[self.value.name])),
                axis=0,
                names=["values"],
            ),
            b.Concat(*(self.length(e) for e in errors.values()), axis=0, names=["errors"]),
            b.Concat(*(self.length(self.theirs[n]) for n in errors), axis=0, names=["sizes"]),
            *([b.Concat(*flips.values(), axis=0, names=["flips"])] if flips else []),
        ]
        graph = graph_of(b.graph, needed(b.graph.nodes, outputs), [], outputs)
        read = {t.name for n in graph.nodes for t in n.inputs}
        given = (*b.graph.inputs, *self.reads.values(), self.one)
        graph.inputs = [t for t in given if t.name in read]
        reads = {t.name: name for name, t in self.reads.items()}
        return PairScope(graph, reads, list(prices), list(errors), list(flips))

    def cotangents(self, f: SecantFreezer) -> dict[str, Tensor]:
        """How much the value changes with each tensor of A."""
        probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(self.a.x))[1:]])
        f.values[probe.name] = probe
        f.active[self.a.x.name] = Frozen(shape_of(self.a.x), probe)
        for node in self.a.nodes:
            f.follow(node)
        y1 = f.active.get(self.value.name)
        if isinstance(y1, ScopeError):
            raise y1
        if y1 is None:
            return {}
        live = {id(n) for n in needed(self.b.graph.nodes, [y1.raw])}
        nodes = [n for n in f.nodes if id(n) in live]
        seed = (y1.raw, self.one)
        back = transpose(self.b, nodes, f.values, seed, probe, lambda node: TRANSPOSE.get(node.op))
        arrived = {
            n: back.cotangents.get(x1.raw.name) for n, x1 in f.active.items() if isinstance(x1, Frozen)
        }
        return {name: cotangent for name, cotangent in arrived.items() if cotangent is not None}

    def price(self, cotangent: Tensor, error: Tensor) -> Tensor:
        """⟨cotangent, error⟩, as a row of one."""
        size = numel(shape_of(error))
        return self.b.MatMul(self.b.Reshape(cotangent, [1, size]), self.b.Reshape(error, [size, 1]))

    def part(self, part: Part, error: Tensor) -> Tensor:
        """What a part is of a layer's own error."""
        b = self.b
        if part.constant is not None:
            return b.Expand(b.constant(part.constant), list(shape_of(error)))
        return b.Where(b.Greater(b.Abs(error), part.limit), error, b.constant(0.0, error))

    def length(self, x: Tensor) -> Tensor:
        """The square root of the sum of squares."""
        return self.b.Reshape(self.b.ReduceL2(self.float(x)), [1])

    def error(self, name: str) -> Tensor:
        """What B's layer computes differently from A's on the same values."""
        own = self.again.get(name, self.a.active[name])
        return self.b.Sub(self.float(self.theirs[name]), self.float(own))

    def float(self, t: Tensor) -> Tensor:
        return t if element_type(t) == TensorProto.FLOAT else self.b.Cast(t, to=TensorProto.FLOAT)

    def second_values(self) -> dict[tuple[str, int], Tensor]:
        """Run A's nodes on B's values: the second value of each input that carries the image."""
        second: dict[tuple[str, int], Tensor] = {}
        for node in self.a.nodes:
            inputs = list(node.inputs)
            for k, t in enumerate(inputs):
                if t.name in self.a.active:
                    values = self.theirs if t.name in self.theirs else self.again
                    inputs[k] = second[node.name, k] = values[t.name]
            made = written_again(self.b, node, inputs)
            self.again.update((t.name, r) for t, r in zip(node.outputs, made.outputs, strict=True))
        return second

    def read(self, name: str) -> Tensor:
        """B's value for a tensor of A, in its layout and type."""
        member, t = self.anchors[name], self.a.active[name]
        if member.name not in self.reads:
            theirs = self.other.active[member.name]
            given = self.b.unique(f"pair/{member.name}")
            self.reads[member.name] = gs.Variable(given, theirs.dtype, list(theirs.shape))
        x = member.layout.write(self.b, self.reads[member.name])
        return x if element_type(x) == element_type(t) else self.b.Cast(x, to=element_type(t))
