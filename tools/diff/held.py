"""What one layer's own error changes while all others keep theirs: nothing is rounded anew.

The network is A with the error of each layer added to its result as a constant, so that it gives what B gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.parts import graph_of
from onnxscope.graph.tensors import Tensor, is_known
from onnxscope.pairing.open_sides import Sessions
from onnxscope.pairing.pair import Both, Pair

OWN, SUM, ERROR = "own/", "sum/", "error/"


class Held:
    """A with the errors of B's layers, for any number of images."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.members = pair, pair.layers.members()
        sessions, anchors = Sessions(), [n for n in self.members if n in pair.a.producers]
        self.anchors = anchors
        again = copied(pair.a.nodes, {n: variable(pair.a.active[n], SUM) for n in anchors})
        self.again = sessions.open(self.graph(again, [OWN + n for n in anchors]))
        added = copied(pair.a.nodes, {n: variable(pair.a.active[n], SUM) for n in anchors}, adding=True)
        wanted = [SUM + t.name if t.name in anchors else OWN + t.name for t in pair.a.ends]
        self.whole = sessions.open(self.graph(added, wanted))

    def graph(self, nodes: Sequence[gs.Node], outputs: Sequence[str]) -> gs.Graph:
        made = {t.name: t for n in nodes for t in n.outputs}
        read = {t.name: t for n in nodes for t in n.inputs if t.name and not is_known(t)}
        inputs = [t for name, t in read.items() if name not in made]
        return graph_of(self.pair.a.b.graph, nodes, inputs, [made[n] for n in outputs])

    def errors(self, at: Both) -> dict[str, np.ndarray]:
        """The own error of each layer."""
        active = self.pair.a.active
        theirs = {
            SUM + n: np.ascontiguousarray(
                self.members[n].layout.of(at.b.array(self.members[n].name)), active[n].dtype
            )
            for n in self.anchors
        }
        others = {n: at.a.array(n) for n in self.again.inputs if n not in theirs}
        own = self.again.run({**theirs, **others})
        return {n: theirs[SUM + n] - own[OWN + n] for n in self.anchors}

    def outputs(self, at: Both, errors: dict[str, np.ndarray], without: str) -> list[np.ndarray]:
        """A's explained tensors with all errors but those of one layer."""
        shares, every = self.pair.shares, self.pair.layers.every
        mine = {layer.tensor for layer in every if shares.owner(layer) == without}
        fed = {ERROR + n: np.zeros_like(e) if n in mine else e for n, e in errors.items()}
        others = {n: at.a.array(n) for n in self.whole.inputs if n not in fed}
        found = self.whole.run({**fed, **others})
        return [found[name] for name in self.whole.outputs]


def variable(t: Tensor, prefix: str) -> gs.Variable:
    return gs.Variable(prefix + t.name, t.dtype, list(t.shape))


def copied(nodes: Sequence[gs.Node], anchors: dict[str, gs.Variable], adding: bool = False) -> list[gs.Node]:
    """The nodes with results of other names, which read the anchors instead; these may be computed, too."""
    made: dict[str, Tensor] = {}
    found = []
    for node in nodes:
        inputs = [anchors.get(t.name, made.get(t.name, t)) for t in node.inputs]
        outputs = [variable(t, OWN) if t.name else gs.Variable.empty() for t in node.outputs]
        found.append(gs.Node(node.op, OWN + node.name, dict(node.attrs), inputs, outputs))
        for t, own in zip(node.outputs, outputs, strict=True):
            made[t.name] = own
            if adding and t.name in anchors:
                error = variable(t, ERROR)
                found.append(gs.Node("Add", ERROR + t.name, {}, [own, error], [anchors[t.name]]))
    return found
