"""Two networks, paired for one image and one value: what each layer adds to the difference of the value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import Tensor, is_known, shape_of, values_of
from onnxscope.pairing.found import ROUNDING, Member
from onnxscope.pairing.kinds import WEIGHTED, Kinds
from onnxscope.pairing.layers import Layer, layers
from onnxscope.pairing.layouts import VIEWS, Layout
from onnxscope.pairing.matching import Matcher
from onnxscope.pairing.pair_scope import LEFT, PairScope, Writer
from onnxscope.pairing.sides import Arrays, Side
from onnxscope.rewriting.build import Place, Weights, weighted
from onnxscope.rewriting.scope import COTANGENT
from onnxscope.run.single_runs import session

LEAST_NOISE = 3e-5  # of the largest number that a network gives: what another order of sums changes
TINY = 1e-30


@dataclass(frozen=True)
class Share:
    """What a layer adds to the difference of a value, B − A."""

    a: str | None  # the node of A
    b: str | None  # the node of B
    contribution: float
    kinds: Mapping[str, float]
    flips: int  # decisions that are other ones: sides of activations, winners of pools
    error: float  # of the layer alone, relative to what it computes


@dataclass
class Found:
    """The difference of a value for one image, layer by layer."""

    value_a: float
    value_b: float
    shares: list[Share]
    remainder: float


class Compared:
    """Two matched networks, and the value that is compared."""

    def __init__(self, a: Side, b: Side, feeds_a: Arrays, feeds_b: Arrays, image: Layout) -> None:
        self.values_a, self.values_b = a.values(feeds_a), b.values(feeds_b)
        found = Matcher(a, b, self.values_a, self.values_b).match(image)
        self.layers = layers(a, b, found)
        self.a, self.b = self.layers.a, b
        self.fed_a, self.fed_b = feeds_a, feeds_b
        self.kinds = Kinds(self.a, self.b, self.values_a, self.values_b)

    def pays(self, sums: Mapping[Place, Weights], constant: float = 0.0) -> Found:
        """What each layer adds to the difference of a sum of elements of A's explained tensors."""
        value = self.value(sums)
        side = replace(self.a, ends=[value])
        anchors = {n: m for n, m in self.layers.members().items() if n in side.active}
        parts = {layer.tensor: self.kinds.parts(layer) for layer in self.layers.every}
        scope = Writer(side, value, self.b, anchors, parts).write()
        fed = {
            **self.fed_a,
            COTANGENT: np.ones((1, 1), np.float32),
            **{name: self.values_b[theirs] for name, theirs in scope.reads.items()},
        }
        with session(scope.graph) as running:
            results = running.run({k: v for k, v in fed.items() if k in running.inputs})
        value_a, value_b = (float(v) + constant for v in results["values"])
        shares = self.shares(scope, results)
        remainder = value_b - value_a - sum(s.contribution for s in shares)
        return Found(value_a, value_b, shares, remainder)

    def value(self, sums: Mapping[Place, Weights]) -> Tensor:
        """The sum, written behind A."""
        b = self.a.b
        last = {layer.rounds: layer.tensor for layer in self.layers.every if layer.rounds}
        b.place = "pair"
        terms = [weighted(b, Place(last.get(p.tensor, p.tensor), p.unit), w) for p, w in sums.items()]
        return b.Sum(*terms)

    def shares(self, scope: PairScope, results: Arrays) -> list[Share]:
        """The layers with what they add, those that only round joined with the layer that they round."""
        prices = dict(zip(scope.priced, results["prices"].reshape(-1).tolist(), strict=True))
        lengths = zip(results["errors"].tolist(), results["sizes"].tolist(), strict=True)
        errors = {n: e / max(s, 1e-30) for n, (e, s) in zip(scope.measured, lengths, strict=True)}
        flips = dict(zip(scope.flips, results["flips"].tolist(), strict=True)) if scope.flips else {}
        inside = {node.outputs[0].name: layer for layer in self.layers.every for node in layer.a}
        owners = {layer.tensor: layer for layer in self.layers.every if not layer.rounds}
        kinds: dict[str, dict[str, float]] = {name: {} for name in owners}
        most, turned = dict.fromkeys(owners, 0.0), dict.fromkeys(owners, 0)
        for layer in self.layers.every:
            owner = self.owner(layer.rounds, owners, inside) if layer.rounds else layer.tensor
            errors[layer.tensor] = self.kinds.beyond_noise(layer, errors.get(layer.tensor, 0.0))
            apart = {k: v for (name, k), v in prices.items() if name == layer.tensor and k not in ("", LEFT)}
            rest = prices.get((layer.tensor, ""), 0.0) - sum(apart.values())
            add(kinds[owner], self.kinds.of(layer, errors[layer.tensor]), rest)
            for kind, price in apart.items():
                if price:
                    add(kinds[owner], kind, price)
            most[owner] = max(most[owner], errors.get(layer.tensor, 0.0))
        for (name, kind), price in prices.items():
            if kind == LEFT and name in inside:
                add(kinds[inside[name].tensor], LEFT, price)
        for name, count in flips.items():
            if name in inside:
                turned[inside[name].tensor] += int(count)
        return [
            Share(*self.names(layer), sum(kinds[name].values()), kinds[name], turned[name], most[name])
            for name, layer in owners.items()
        ]

    def ends(self) -> list[tuple[str, Member]]:
        """A's explained tensors before anything was added, and their counterparts in B."""
        members = self.layers.members()
        last = {layer.tensor: layer.rounds for layer in self.layers.every if layer.rounds}
        return [(last.get(t.name, t.name), members[t.name]) for t in self.a.ends]

    def in_b(self, name: str) -> tuple[str, np.ndarray]:
        """The counterpart of an explained tensor of A, and which of its elements are A's."""
        k = [n for n, _ in self.ends()].index(name)
        member, theirs = self.ends()[k][1], self.b.ends[k]
        numbers = np.arange(math.prod(shape_of(theirs))).reshape(shape_of(theirs))
        return theirs.name, member.layout.of(numbers).reshape(-1)

    def weighted_matches(self) -> tuple[int, int]:
        """How many layers with weights of A stand alone beside one of B, and how many there are."""
        counts = [sum(n.op in WEIGHTED for n in layer.a) for layer in self.layers.every]
        alone = [
            layer
            for layer, count in zip(self.layers.every, counts, strict=True)
            if count == 1 and any(n.op in WEIGHTED for n in layer.b)
        ]
        return len(alone), sum(counts)

    def agreement(self) -> tuple[bool, float]:
        """Whether all explained tensors agree within their noise, and the noise of an element.

        The noise is what onnxruntime's optimisations change, and at least what another order of sums does.
        """
        optimised_a, optimised_b = self.optimised()
        noises, agree = [], []
        for name, member in self.ends():
            a, b = self.values_a[name], member.layout.of(self.values_b[member.name])
            noise = LEAST_NOISE * max(furthest(a, 0.0), TINY) + furthest(optimised_a[name], a)
            noises.append(noise + furthest(optimised_b[member.name], self.values_b[member.name]))
            agree.append(furthest(a, b) <= noises[-1])
        return all(agree), max(noises)

    def optimised(self) -> tuple[Arrays, Arrays]:
        """The explained tensors of both sides, as onnxruntime computes them after its optimisations."""
        return tuple(  # type: ignore[return-value]
            s.values(fed, names, optimise=True)
            for s, fed, names in (
                (self.a, self.fed_a, [name for name, _ in self.ends()]),
                (self.b, self.fed_b, [member.name for _, member in self.ends()]),
            )
        )

    def names_by_match(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Nodes of A that have a counterpart; those of A and of B without one that compute something."""
        both = [layer for layer in self.layers.every if layer.a and layer.b]
        matched = {self.a.name_of(n) for layer in both for n in layer.a}
        theirs = {
            self.b.name_of(n) for layer in self.layers.every for n in layer.b if layer.a or layer.rounds
        }
        ours, others = (
            dict.fromkeys(s.name_of(n) for n in s.nodes if n.op not in VIEWS) for s in (self.a, self.b)
        )
        return (
            tuple(n for n in ours if n in matched),
            tuple(n for n in ours if n not in matched and n in self.a.names),
            tuple(n for n in others if n not in theirs and n in self.b.names),
        )

    def first_wrong(self, shares: Sequence[Share]) -> dict[str, str | None] | None:
        """The first layer whose own error is more than a kernel's noise, and the node in it that differs."""
        owners = [layer for layer in self.layers.every if not layer.rounds]
        for share, layer in zip(shares, owners, strict=True):
            if share.error and (share.a or share.b):
                kind = max(share.kinds, key=lambda k: abs(share.kinds[k]))
                nodes = (with_views(self.a, layer.a), with_views(self.b, layer.b))
                a, b = differing_nodes(*nodes) or (None, None)
                names = (self.a.name_of(a), self.b.name_of(b)) if a and b else (share.a, share.b)
                return {"a": names[0], "b": names[1], "kind": kind}
        return None

    def owner(self, name: str, owners: Mapping[str, Layer], inside: Mapping[str, Layer]) -> str:
        """The layer whose result a tensor is, in whatever layout."""
        while name not in owners:
            name = self.a.producers[name].inputs[0].name
        return name

    def names(self, layer: Layer) -> tuple[str | None, str | None]:
        a, b = key_node(self.a, layer.a), key_node(self.b, layer.b)
        return a and self.a.name_of(a), b and self.b.name_of(b)


def with_views(side: Side, nodes: Sequence[gs.Node]) -> list[gs.Node]:
    """The nodes of a layer, and before them those that give it its inputs in another layout."""
    views: list[gs.Node] = []
    queue = [t for node in nodes for t in side.carried(node)]
    while queue:
        made = side.producers.get(queue.pop().name)
        if made is not None and made.op in VIEWS and not any(made is n for n in (*views, *nodes)):
            views.append(made)
            queue.append(made.inputs[0])
    return [*views[::-1], *nodes]


def differing_nodes(ours: Sequence[gs.Node], theirs: Sequence[gs.Node]) -> tuple[gs.Node, gs.Node] | None:
    """The first nodes that are the same operator and differ in sizes, attributes or numbers."""
    rest = list(theirs)
    for node in ours:
        other = next((n for n in rest if n.op == node.op), None)
        if other is not None:
            rest = rest[1 + next(k for k, n in enumerate(rest) if n is other) :]
            if signature(node) != signature(other):
                return node, other
    return None


def signature(node: gs.Node) -> tuple[object, ...]:
    """What a node says beyond its weights: its attributes, its sizes, and the integers that it reads."""
    integers = [values_of(t).tolist() for t in node.inputs if is_known(t) and values_of(t).dtype.kind in "iu"]
    return str(sorted(node.attrs.items())), [list(t.shape or ()) for t in node.outputs], integers


def furthest(a: np.ndarray, b: np.ndarray | float) -> float:
    """The largest difference of two elements."""
    return float(np.abs(np.subtract(a, b, dtype=np.float64)).max(initial=0))


def add(kinds: dict[str, float], kind: str, value: float) -> None:
    kinds[kind] = kinds.get(kind, 0.0) + value


def key_node(side: Side, nodes: Sequence[gs.Node]) -> gs.Node | None:
    """The node that a layer is called by: the last one with weights, or the last that does not only round."""
    kept = [n for n in nodes if n.op in WEIGHTED] or [n for n in nodes if n.op not in ROUNDING]
    return kept[-1] if kept else next(iter(nodes), None)
