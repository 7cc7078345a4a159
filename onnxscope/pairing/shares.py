"""What each layer of two matched networks adds to the difference of a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import is_known, numel, shape_of, values_of
from onnxscope.pairing.found import ROUNDING
from onnxscope.pairing.kinds import CUT, WEIGHTED, Kinds
from onnxscope.pairing.layers import Layer
from onnxscope.pairing.layouts import VIEWS
from onnxscope.pairing.pair_scope import LEFT, Row
from onnxscope.pairing.sides import Side

Numbers = Mapping[str, Mapping[Row, float]]  # what a pair scope found, by its outputs
TINY = 1e-30


@dataclass(frozen=True)
class Share:
    """What a layer adds to the difference of a value, B − A."""

    a: str | None  # the node of A
    b: str | None  # the node of B
    contribution: float
    kinds: Mapping[str, float]
    flips: float  # decisions that are other ones: sides of activations, winners of pools
    flip_price: float  # of the difference: what these decisions alone change
    cut: float  # the share of its values that a quantizer's range cuts off
    error: float  # of the layer alone, relative to what it computes: on many images the largest
    spread: float = 0.0  # of the contribution: its standard deviation over images


@dataclass
class Found:
    """The difference of a value for one image, layer by layer."""

    value_a: float
    value_b: float
    shares: list[Share]
    remainder: float


class Shares:
    """Joins the numbers of a pair scope into a share for each layer.

    Layers that only round are joined with the layer that they round.
    """

    def __init__(self, a: Side, b: Side, every: Sequence[Layer], kinds: Kinds) -> None:
        self.a, self.b, self.every, self.kinds = a, b, every, kinds
        self.inside = {node.outputs[0].name: layer for layer in every for node in layer.a}
        self.owners = {layer.tensor: layer for layer in every if not layer.rounds}

    def found(self, value_a: float, value_b: float, numbers: Numbers) -> Found:
        shares = self.of(numbers)
        return Found(value_a, value_b, shares, value_b - value_a - sum(s.contribution for s in shares))

    def of(self, numbers: Numbers) -> list[Share]:
        prices, sizes = numbers.get("prices", {}), numbers.get("sizes", {})  # none without matched layers
        errors = {row.tensor: e / max(sizes[row], TINY) for row, e in numbers.get("errors", {}).items()}
        kinds: dict[str, dict[str, float]] = {name: {} for name in self.owners}
        most, cut = dict.fromkeys(self.owners, 0.0), dict.fromkeys(self.owners, 0.0)
        for layer in self.every:
            owner = self.owner(layer)
            error = self.kinds.beyond_noise(layer, errors.get(layer.tensor, 0.0))
            rows = (Row(layer.tensor, part.kind) for part in self.kinds.parts[layer.tensor])
            apart = {row.kind: prices[row] for row in rows if row in prices}
            rest = prices.get(Row(layer.tensor), 0.0) - sum(apart.values())
            add(kinds[owner], self.kinds.of(layer, error), rest)
            for kind, price in apart.items():
                if price:
                    add(kinds[owner], kind, price)
            most[owner] = max(most[owner], error)
            if count := numbers.get("cuts", {}).get(Row(layer.tensor, CUT)):
                cut[owner] += count / numel(shape_of(self.a.active[layer.tensor]))
        for row, price in prices.items():
            if row.kind == LEFT and row.tensor in self.inside:
                add(kinds[self.inside[row.tensor].tensor], LEFT, price)
        turned, paid = self.flips(numbers)
        return [
            Share(*self.names(layer), sum(kinds[n].values()), kinds[n], turned[n], paid[n], cut[n], most[n])
            for n, layer in self.owners.items()
        ]

    def flips(self, numbers: Numbers) -> tuple[dict[str, int], dict[str, float]]:
        """The decisions of each layer that are other ones, and their price."""
        turned, paid = dict.fromkeys(self.owners, 0), dict.fromkeys(self.owners, 0.0)
        for row, count in numbers.get("flips", {}).items():
            if row.tensor in self.inside:
                turned[self.inside[row.tensor].tensor] += int(count)
                paid[self.inside[row.tensor].tensor] += numbers.get("flip_prices", {}).get(row, 0.0)
        return turned, paid

    def owner(self, layer: Layer) -> str:
        """The layer whose result a tensor is, in whatever layout."""
        name = layer.rounds or layer.tensor
        while name not in self.owners:
            name = self.a.producers[name].inputs[0].name
        return name

    def by_name(self, names: Sequence[str]) -> dict[str, Layer]:
        """The layers that these nodes of A stand for."""
        found = {self.names(layer)[0]: layer for layer in self.owners.values() if layer.a and layer.b}
        return {name: found[name] for name in names if name in found}

    def weighted_matches(self) -> tuple[int, int]:
        """How many layers with weights of A stand alone beside one of B, and how many there are."""
        counts = [sum(n.op in WEIGHTED for n in layer.a) for layer in self.every]
        alone = [
            layer
            for layer, count in zip(self.every, counts, strict=True)
            if count == 1 and any(n.op in WEIGHTED for n in layer.b)
        ]
        return len(alone), sum(counts)

    def names_by_match(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Nodes of A that have a counterpart; those of A and of B without one that compute something."""
        both = [layer for layer in self.every if layer.a and layer.b]
        matched = {self.a.name_of(n) for layer in both for n in layer.a}
        theirs = {self.b.name_of(n) for layer in self.every for n in layer.b if layer.a or layer.rounds}
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
        for share, layer in zip(shares, self.owners.values(), strict=True):
            if share.error and (share.a or share.b):
                kind = max(share.kinds, key=lambda k: abs(share.kinds[k]))
                nodes = (with_views(self.a, layer.a), with_views(self.b, layer.b))
                a, b = differing_nodes(*nodes) or (None, None)
                names = (self.a.name_of(a), self.b.name_of(b)) if a and b else (share.a, share.b)
                return {"a": names[0], "b": names[1], "kind": kind}
        return None

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


def add(kinds: dict[str, float], kind: str, value: float) -> None:
    kinds[kind] = kinds.get(kind, 0.0) + value


def key_node(side: Side, nodes: Sequence[gs.Node]) -> gs.Node | None:
    """The node that a layer is called by: the last one with weights, or the last that does not only round."""
    kept = [n for n in nodes if n.op in WEIGHTED] or [n for n in nodes if n.op not in ROUNDING]
    return kept[-1] if kept else next(iter(nodes), None)
