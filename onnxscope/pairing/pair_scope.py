"""The pair scope: A, what it would compute from B's values, and a pass back that prices the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import ScopeError
from onnxscope.graph.parts import graph_of, needed
from onnxscope.graph.tensors import Tensor, element_type, is_known, numel, shape_of
from onnxscope.pairing.found import Member
from onnxscope.pairing.kinds import Part
from onnxscope.pairing.secants import SecantFreezer, written_again
from onnxscope.pairing.sides import Side
from onnxscope.rewriting.build import Place
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.rules.table import TRANSPOSE
from onnxscope.rewriting.scope import COTANGENT, COTANGENTS, PROBE, PROBES
from onnxscope.rewriting.transpose import transpose

LEFT = "curvature"  # what the secants of a layer do not account for
SEED = "pair/seed"


@dataclass(frozen=True)
class Row:
    """What an entry of a list of numbers is about: a tensor of A, and which kind of its error."""

    tensor: str
    kind: str = ""


@dataclass
class PairScope:
    """The graph that prices the difference, and what its inputs and outputs are.

    It reads A's values, B's and the seeds: how much the value changes with each element of A's outputs.
    """

    graph: gs.Graph
    states: list[str]  # the tensors of A that it is fed
    reads: dict[str, str]  # the tensors of B that it is fed, by the names of its inputs
    rows: dict[str, list[Row]]  # of each output


class Writer:
    """Writes the pair scope for sums over A's explained tensors."""

    def __init__(
        self,
        a: Side,
        places: Sequence[Place],
        b: Side,
        anchors: Mapping[str, Member],
        parts: Mapping[str, Sequence[Part]],
    ) -> None:
        self.a, self.other, self.anchors, self.parts = a, b, anchors, parts
        self.b, self.forward = a.b, list(a.b.graph.nodes)
        self.b.place = "pair"
        self.seeds = {place: self.seed(k, place) for k, place in enumerate(places)}
        self.one = gs.Variable(COTANGENT, np.float32, [COTANGENTS, 1])
        self.reads: dict[str, Tensor] = {}
        self.again: dict[str, Tensor] = {a.x.name: a.x}  # what A computes from B's values
        self.theirs = {name: self.read(name) for name in anchors}  # B's values in A's layout

    def seed(self, k: int, place: Place) -> Tensor:
        return gs.Variable(f"{SEED}/{k}", np.float32, [1, numel(shape_of(self.a.active[place.tensor]))])

    def write(self) -> PairScope:
        """Its outputs are prices, errors and the sizes of what they are in, flips, their prices, and cuts."""
        b = self.b
        value = self.value()
        side = replace(self.a, ends=[value])
        second = self.second_values(side)
        f = SecantFreezer(b, second, self.again)
        cotangents = self.cotangents(f, side, value)
        errors = {name: self.error(name) for name in self.anchors if name in side.active}
        terms, cuts = self.parts_of(errors)
        terms |= {Row(name, LEFT): error for name, error in f.left.items()}
        wanted = {
            "prices": self.prices(cotangents, terms),
            "errors": {Row(name): self.length(error) for name, error in errors.items()},
            "sizes": {Row(name): self.length(self.theirs[name]) for name in errors},
            "flips": {Row(name): b.Reshape(flip.count, [1]) for name, flip in f.flips.items()},
            "flip_prices": self.prices(
                cotangents, {Row(name): flip.change for name, flip in f.flips.items()}
            ),
            "cuts": {row: b.Reshape(b.ReduceSum(mask), [1]) for row, mask in cuts.items()},
        }
        rows = {name: list(numbers) for name, numbers in wanted.items() if numbers}
        outputs = [b.Concat(*wanted[name].values(), axis=0, names=[name]) for name in rows]
        del b.graph.nodes[: len(self.forward)]
        graph, states = self.behind(outputs)
        b.graph.nodes[:] = self.forward
        reads = {t.name: name for name, t in self.reads.items()}
        return PairScope(graph, states, reads, rows)

    def parts_of(self, errors: Mapping[str, Tensor]) -> tuple[dict[Row, Tensor], dict[Row, Tensor]]:
        """The errors with their parts, and where values are cut off: 1 there, else 0."""
        b, cuts = self.b, dict[Row, Tensor]()
        terms = {Row(name): error for name, error in errors.items()}
        for name, error in errors.items():
            for part in self.parts.get(name, ()):
                row = Row(name, part.kind)
                if part.constant is not None:
                    terms[row] = b.constant(part.constant)
                else:
                    cuts[row] = b.Cast(b.Greater(b.Abs(error), part.limit), to=TensorProto.FLOAT)
                    terms[row] = b.Mul(error, cuts[row])
        return terms, cuts

    def value(self) -> Tensor:
        """The sum, written behind A."""
        b = self.b
        terms = []
        for place, seed in self.seeds.items():
            x = b.Reshape(self.float(self.a.active[place.tensor]), [1, -1])
            x = b.LpNormalization(x, axis=1, p=2) if place.unit else x
            terms.append(b.ReduceSum(b.Mul(x, seed), [1], keepdims=1))
        return b.Sum(*terms)

    def behind(self, outputs: Sequence[Tensor]) -> tuple[gs.Graph, list[str]]:
        """The graph that computes these outputs from A's values and B's, and which of A's it reads."""
        b = self.b
        nodes = needed(b.graph.nodes, outputs)
        read = {t.name: t for n in nodes for t in n.inputs if not is_known(t)}
        made = {t.name for n in nodes for t in n.outputs}
        fed = [*self.reads.values(), *self.seeds.values(), self.one]
        own = {t.name for t in fed}
        states = [t for name, t in read.items() if name and name not in made and name not in own]
        graph = graph_of(b.graph, nodes, [*states, *(t for t in fed if t.name in read)], outputs)
        return graph, [t.name for t in states]

    def cotangents(self, f: SecantFreezer, side: Side, value: Tensor) -> dict[str, Tensor]:
        """How much the value changes with each tensor of A."""
        probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(self.a.x))[1:]])
        f.values[probe.name] = probe
        f.active[self.a.x.name] = Frozen(shape_of(self.a.x), probe)
        for node in side.nodes:
            f.follow(node)
        y1 = f.active.get(value.name)
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

    def prices(self, cotangents: Mapping[str, Tensor], errors: Mapping[Row, Tensor]) -> dict[Row, Tensor]:
        """⟨cotangent, error⟩ of each error that reaches the value."""
        b, found = self.b, dict[Row, Tensor]()
        for row, error in errors.items():
            if row.tensor in cotangents:
                shape = list(shape_of(self.a.active[row.tensor]))
                product = b.Mul(b.Reshape(cotangents[row.tensor], shape), error)
                found[row] = b.Reshape(b.ReduceSum(product), [1])
        return found

    def length(self, x: Tensor) -> Tensor:
        """The square root of the sum of squares."""
        return self.b.Reshape(self.b.ReduceL2(self.float(x)), [1])

    def error(self, name: str) -> Tensor:
        """What B's layer computes differently from A's on the same values."""
        own = self.again.get(name, self.a.active[name])
        return self.b.Sub(self.float(self.theirs[name]), self.float(own))

    def float(self, t: Tensor) -> Tensor:
        return t if element_type(t) == TensorProto.FLOAT else self.b.Cast(t, to=TensorProto.FLOAT)

    def second_values(self, side: Side) -> dict[tuple[str, int], Tensor]:
        """Run A's nodes on B's values: the second value of each input that carries the image."""
        second: dict[tuple[str, int], Tensor] = {}
        for node in side.nodes:
            inputs = list(node.inputs)
            for k, t in enumerate(inputs):
                if t.name in side.active:
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
