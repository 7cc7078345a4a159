"""The linear part of a network's outputs for an image: F·x0, without what does not come from the image."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import ScopeError
from onnxscope.graph.parts import graph_of, needed
from onnxscope.graph.tensors import Tensor, is_known, shape_of
from onnxscope.pairing.sides import Side
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.linearize import Freezer
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.scope import PROBE, PROBES
from onnxscope.rewriting.steps import Policy


class LinearFreezer(Freezer):
    """Freezes without sources."""

    def source(self, x: Frozen, source: Tensor) -> Frozen:
        return self.expand(x, tuple(np.broadcast_shapes(x.shape, shape_of(source))))


def linear_part(side: Side, policy: Policy) -> tuple[gs.Graph, list[str], list[str]]:
    """A graph from the network's values and the image to F·x0; the values that it reads; its outputs.

    An output is named '' if no path carries the image there.
    """
    b = side.b
    forward = list(b.graph.nodes)
    probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(side.x))[1:]])
    f = LinearFreezer(b, RULES, Options(policy=policy), moves_masks=True)
    f.values[probe.name] = probe
    f.active[side.x.name] = Frozen(shape_of(side.x), probe)
    for node in side.nodes:
        f.follow(node)
    ends = [f.active.get(t.name) for t in side.ends]
    error = next((e for e in ends if isinstance(e, ScopeError)), None)
    b.graph.nodes[:], written = forward, b.graph.nodes[len(forward) :]
    if error is not None:
        raise error
    raws = [e.raw if isinstance(e, Frozen) and e.raw is not probe else None for e in ends]
    nodes = needed(written, [raw for raw in raws if raw is not None])
    made = {t.name for n in nodes for t in n.outputs} | {PROBE}
    read = {t.name: t for n in nodes for t in n.inputs if t.name and not is_known(t) and t.name not in made}
    outputs = {raw.name: raw for raw in raws if raw is not None}
    graph = graph_of(b.graph, nodes, [*read.values(), probe], list(outputs.values()))
    return graph, list(read), ["" if raw is None else raw.name for raw in raws]
