"""What putting one layer of B back to A's truly changes: B is run again with what A computes there.

Also what only passes the layer's numbers on is A's then: its quantizers would round the same numbers again.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.parts import graph_of
from onnxscope.graph.tensors import Tensor, is_known
from onnxscope.pairing.layers import Layer
from onnxscope.pairing.open_sides import Sessions
from onnxscope.pairing.pair import Both, Pair
from onnxscope.pairing.sides import CHOOSING, Side
from onnxscope.runtime import Session, ort_value

PASSING = {*CHOOSING, "DepthToSpace", "SpaceToDepth", "Pad", "Split"}


class Reverted:
    """B with one layer as A has it."""

    def __init__(self, pair: Pair, layer: Layer) -> None:
        self.pair, sessions = pair, Sessions()
        nodes, same = list(layer.a), {layer.tensor}
        for node in pair.a.nodes:
            if node.op in PASSING and all(t.name in same for t in pair.a.carried(node)):
                nodes.append(node)
                same.update(t.name for t in node.outputs)
        self.replaced = {r.tensor: r.member for r in pair.layers.every if r.tensor in same}
        self.reads_a, self.ours = cut(sessions, pair.a, nodes, [pair.a.active[n] for n in self.replaced])
        known = {member.name for member in self.replaced.values()}
        wanted = [pair.b.active[m.name] for _, m in pair.ends if m.name not in known]
        self.reads_b, self.theirs = cut(sessions, pair.b, list(downstream(pair.b, known)), wanted)

    def outputs(self, at: Both) -> list[np.ndarray]:
        """B's explained tensors in A's layout."""
        members, active = self.pair.layers.members(), self.pair.a.active
        fed = {}
        for name in self.reads_a:
            if name in members:
                value = members[name].layout.of(at.b.array(members[name].name))
                fed[name] = np.ascontiguousarray(value, active[name].dtype)
            else:
                fed[name] = at.a.array(name)
        ours = self.ours.run(fed) if self.ours else {}
        found = {}
        for name, member in self.replaced.items():
            back = member.layout.inverse.of(ours[name])
            found[member.name] = np.ascontiguousarray(back, self.pair.b.active[member.name].dtype)
        if self.theirs is not None:
            values = at.b.values(self.reads_b)
            given = {n: ort_value(found[n]) if n in found else values[n] for n in self.reads_b}
            found |= {n: v.numpy() for n, v in self.theirs.on_values(given).items()}
        return [
            m.layout.of(found[m.name] if m.name in found else at.b.array(m.name)) for _, m in self.pair.ends
        ]


def cut(
    sessions: Sessions, side: Side, nodes: Sequence[gs.Node], outputs: Sequence[Tensor]
) -> tuple[list[str], Session | None]:
    """A session on some nodes, and the names of the tensors that it reads."""
    made = {t.name for n in nodes for t in n.outputs}
    read = {t.name: t for n in nodes for t in n.inputs if t.name and not is_known(t) and t.name not in made}
    kept = [t for t in outputs if t.name in made]
    if not kept:
        return [], None
    return list(read), sessions.open(graph_of(side.b.graph, nodes, list(read.values()), kept))


def downstream(side: Side, names: Container[str]) -> Iterator[gs.Node]:
    """The nodes that compute what depends on these tensors, without those that compute the tensors."""
    changed = set[str]()
    for node in side.nodes:
        reads = any(t.name in changed or t.name in names for t in node.inputs)
        if reads and not any(t.name in names for t in node.outputs):
            changed.update(t.name for t in node.outputs)
            yield node
