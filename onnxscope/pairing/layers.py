"""The layers of two matched networks: the nodes of both sides that lead to a pair of matched tensors.

Where B rounds a tensor for some of its readers, A gets an Identity in front of these readers, so that the
rounded tensor has a counterpart and what rounding costs is counted there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.tensors import Tensor, element_type
from onnxscope.pairing.found import ROUNDING, Found, Member
from onnxscope.pairing.sides import Side

EXACT = {"Relu", "Abs", "Neg", "MaxPool", "Add", "Sum"}  # give the same numbers on every runtime


@dataclass
class Layer:
    """Nodes of A and of B that compute the same tensor from the same tensors."""

    tensor: str  # of A
    member: Member  # its counterpart
    a: Sequence[gs.Node]
    b: Sequence[gs.Node]
    rounds: str = ""  # the tensor of A that B only rounds here
    exact: bool = False  # whether both compute it by the same operator, which rounds nothing


@dataclass
class Layers:
    """The layers in A's order, and A with the identities that they need."""

    a: Side
    b: Side
    found: Found
    every: list[Layer] = field(default_factory=list)

    def members(self) -> dict[str, Member]:
        return {layer.tensor: layer.member for layer in self.every}


def layers(a: Side, b: Side, found: Found) -> Layers:
    """Divide two matched networks into layers."""
    made = Layers(a, b, found)
    identities: dict[tuple[str, str], Tensor] = {}
    for name in [n for n in a.active if n in found.errors]:
        main = found.members[name][0]
        ours, edges = segment(name, a, found.groups_a)
        theirs, read = segment(main.name, b, found.groups_b)
        same = [t for _, _, t in edges if found.groups_a[t] == found.groups_a[name]]
        if same:  # B has no node of its own for this, or one that only rounds
            theirs, read = carriers(b, found.members[same[0]][0].name, main.name), []
        layer = Layer(name, main, ours, theirs)
        last_read = {found.groups_b[t]: t for _, _, t in read}
        for node, i, t in edges:
            version = last_read.get(found.groups_a[t]) if theirs else None
            if version is not None:
                rounded(made, identities, node, i, version)
        layer.exact = is_exact(made, layer)
        made.every.append(layer)
    explained(made)
    return made


def is_exact(made: Layers, layer: Layer) -> bool:
    """Whether both sides compute a tensor by the same operator from the same tensors, and it rounds alike."""
    if len(layer.a) != 1 or len(layer.b) != 1:
        return False
    (x,), (y,) = layer.a, layer.b
    groups = [made.found.groups_a.get(t.name, -1) for t in x.inputs]
    theirs = [made.found.groups_b.get(t.name, -1) for t in y.inputs]
    tensors = (*x.inputs, *y.inputs, x.outputs[0], y.outputs[0])
    return (
        x.op == y.op
        and x.op in EXACT
        and x.attrs == y.attrs
        and -1 not in groups
        and sorted(groups) == sorted(theirs)
        and all(element_type(t) == TensorProto.FLOAT for t in tensors)
    )


def segment(
    name: str, side: Side, groups: Mapping[str, int]
) -> tuple[list[gs.Node], list[tuple[gs.Node, int, str]]]:
    """The nodes that compute a tensor from matched ones, in order, and where they read these."""
    found: dict[str, gs.Node] = {}
    edges, queue = [], [name]
    while queue:
        node = side.producers.get(queue.pop())
        if node is None or node.name in found:
            continue
        found[node.name] = node
        for i, t in enumerate(node.inputs):
            if t.name in groups:
                edges.append((node, i, t.name))
            elif t.name in side.active:
                queue.append(t.name)
    return [n for n in side.nodes if n.name in found], edges


def rounded(
    made: Layers, identities: dict[tuple[str, str], Tensor], node: gs.Node, i: int, version: str
) -> None:
    """Let a node of A read what B's counterpart reads, where that was rounded."""
    x = node.inputs[i]
    chain = carriers(made.b, made.found.members[x.name][0].name, version)
    member = next((m for m in made.found.members[x.name] if m.name == version), None)
    if member is None or not any(n.op in ROUNDING for n in chain):
        return
    if (x.name, version) not in identities:
        identities[x.name, version] = identity(made, x, member, chain)
    node.inputs[i] = identities[x.name, version]


def identity(made: Layers, x: Tensor, member: Member, chain: Sequence[gs.Node]) -> Tensor:
    """An Identity behind a tensor of A, as a layer of its own."""
    graph = made.a.b.graph
    y = made.a.b.op("Identity", x, node_name=made.a.b.unique(f"{x.name}/rounded"))
    added, producer = graph.nodes.pop(), next(iter(x.inputs), None)
    graph.nodes.insert(next((k + 1 for k, n in enumerate(graph.nodes) if n is producer), 0), added)
    made.every.append(Layer(y.name, member, [], chain, rounds=x.name))
    return y


def carriers(side: Side, start: str, end: str) -> list[gs.Node]:
    """The nodes from one tensor to another that it is carried to; none where it is not."""
    chain, name = [], end
    while name != start and name in side.producers:
        chain.append(side.producers[name])
        name = chain[-1].inputs[0].name
    return chain[::-1] if name == start else []


def explained(made: Layers) -> None:
    """Let A end where B ends, if B rounds an explained tensor."""
    ends = []
    for y, theirs in zip(made.a.ends, made.b.ends, strict=True):
        main = made.found.members[y.name][0]
        if main.name != theirs.name:
            member = next((m for m in made.found.members[y.name] if m.name == theirs.name), main)
            y = identity(made, y, member, carriers(made.b, main.name, theirs.name))
        ends.append(y)
    made.a = replace(made.a, ends=ends)
