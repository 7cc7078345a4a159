"""Parts of a graph, which share its nodes and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import Tensor


def part(graph: gs.Graph, outputs: Sequence[Tensor], beside: Iterable[Tensor] = ()) -> gs.Graph:
    """The part of a graph that computes these outputs. It shares the graph's nodes and tensors.

    What computes the tensors `beside` them is kept, too.
    """
    nodes = needed(graph.nodes, [*outputs, *beside])
    used = {t.name for n in nodes for t in n.inputs} | {t.name for t in outputs}
    return graph_of(graph, nodes, [i for i in graph.inputs if i.name in used], outputs)


def graph_of(
    like: gs.Graph, nodes: Sequence[gs.Node], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> gs.Graph:
    """A graph of these nodes, with the opset and the IR version of another."""
    return gs.Graph(
        list(nodes),
        list(inputs),
        list(outputs),
        name=like.name,
        opset=like.opset,
        import_domains=like.import_domains,
        ir_version=like.ir_version,
    )


def needed(nodes: Sequence[gs.Node], outputs: Iterable[Tensor], known: Iterable[str] = ()) -> list[gs.Node]:
    """The nodes that compute these outputs from the inputs and the tensors in `known`, in their order."""
    wanted = {t.name for t in outputs}
    keep = []
    for node in reversed(nodes):
        if any(t.name in wanted for t in node.outputs):
            wanted.update(t.name for t in node.inputs)
            wanted.difference_update(known)
            keep.append(node)
    return keep[::-1]
