"""Masks and sums in the layout of the CPU's convolutions.

onnxruntime lets convolutions work on blocks of channels, and reorders what they read and write. It reorders back before a
product with a mask, for the mask counts one image where the probes are many. Element by element nothing depends on the
order, so here the mask is reordered instead, and a sum of two convolutions becomes part of the later one. The results stay
the same to the last bit.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnxscope.errors import ScopeError
from onnxscope.graph.builder import shape_of
from onnxscope.runtime import Device, Session, Value, ort_value

DOMAIN = "com.microsoft.nchwc"
BLOCK = 16  # the largest number of channels that make a block
MULTIPLE = 4  # of which the channels must be that onnxruntime reorders
SUMS = {"Add", "Sum"}


def blocked_session(model: bytes, weights: Mapping[str, Value], graph: gs.Graph, on: Device) -> Session:
    """A session on the CPU: on the graph as onnxruntime optimises it and this module then improves it, where it can."""
    with tempfile.TemporaryDirectory(prefix="onnxscope-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            session = Session(model, on=on, weights=weights, written=path)
        except ScopeError:  # there may be no room for the optimised graph
            return Session(model, on=on, weights=weights)
        optimised = onnx.load(path, load_external_data=False)
        shapes = {
            t.name: shape_of(t) for n in graph.nodes for t in (*n.inputs, *n.outputs) if t.shape is not None
        }
        alike = {n.name for n in graph.nodes if len({shapes.get(t.name) for t in n.inputs}) == 1}
        if not keep_blocked(optimised.graph, shapes, alike):
            return session
        session.close()
        aside = [t for t in optimised.graph.initializer if uses_external_data(t)]
        values = {t.name: weights.get(t.name) or ort_value(numpy_helper.to_array(t, folder)) for t in aside}
    return Session(optimised.SerializeToString(), optimise=False, on=on, weights=values)


def keep_blocked(graph: GraphProto, shapes: Mapping[str, Sequence[int]], alike: Collection[str]) -> bool:
    """Move products with states, sums and concatenations of convolutions into their layout; whether there were any.

    `shapes` are those of the tensors before onnxruntime optimised the graph, where -1 counts probes; `alike` names the nodes
    that broadcast nothing.
    """
    blocks = Blocks(shapes, graph.node)
    nodes = list(blocks.moved(without_detours(graph.node, alike)))
    if not blocks.found:
        return False
    del graph.node[:]
    graph.node.extend(fused(needed(nodes, [o.name for o in graph.output])))
    return True


class Blocks:
    """Knows of every tensor that convolutions left in blocks what it is called there."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], nodes: Sequence[NodeProto]) -> None:
        self.found, self._shapes = 0, shapes
        self._readers = {n.input[0]: n for n in nodes if n.op_type == "ReorderInput" and plain(n)}
        self._twins: dict[str, str] = {}  # in channels, rows, columns → in blocks

    def moved(self, nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
        again: dict[str, str] = {}  # what would be reordered although it is in blocks
        for node in nodes:
            node.input[:] = [again.get(t, t) for t in node.input]
            if node.op_type == "ReorderInput" and node.input[0] in self._twins and plain(node):
                again[node.output[0]] = self._twins[node.input[0]]
            elif node.domain == "" and self._moves(node):
                yield from self._in_blocks(node)
            else:
                yield node
                yield from self._reordered(node)

    def _reordered(self, node: NodeProto) -> Iterator[NodeProto]:
        """Where its results are in blocks as well: right behind the node, so that all that follows can use it."""
        if node.op_type == "ReorderOutput" and plain(node):
            self._twins[node.output[0]] = node.input[0]
        for reader in (self._readers[t] for t in node.output if t in self._readers and t not in self._twins):
            self._twins[reader.input[0]] = reader.output[0]
            yield reader

    def _moves(self, node: NodeProto) -> bool:
        """Whether a node does the same in blocks: all of its inputs are there, or are states of the size of one image."""
        inside = [t for t in node.input if t in self._twins]
        if not inside or (
            (outside := [t for t in node.input if t not in self._twins]) and node.op_type != "Mul"
        ):
            return False
        shapes = [self._shapes.get(t, ()) for t in (*node.input, *node.output)]
        if any(len(s) != 4 for s in shapes):
            return False
        if node.op_type == "Concat":
            return node.attribute[0].i == 1 and all(s[1] % BLOCK == 0 for s in shapes)
        if any(s[1:] != shapes[0][1:] for s in shapes):
            return False
        masked = (
            node.op_type == "Mul"
            and shapes[0][1] % MULTIPLE == 0
            and all(self._shapes[t][0] == 1 for t in outside)
        )
        return masked or node.op_type in (*SUMS, "Neg")

    def _in_blocks(self, node: NodeProto) -> Iterator[NodeProto]:
        self.found += 1
        for t in node.input:
            if t not in self._twins:
                self._twins[t] = f"{t}/blocked"
                yield helper.make_node("ReorderInput", [t], [self._twins[t]], self._twins[t], domain=DOMAIN)
        (result,) = node.output
        blocked = NodeProto()
        blocked.CopyFrom(node)
        blocked.input[:], blocked.output[:] = [self._twins[t] for t in node.input], [f"{result}/blocked"]
        self._twins[result] = blocked.output[0]
        yield blocked
        yield helper.make_node(
            "ReorderOutput",
            [blocked.output[0]],
            [result],
            f"{result}/plain",
            domain=DOMAIN,
            channels=self._shapes[result][1],
        )


def without_detours(nodes: Sequence[NodeProto], alike: Collection[str]) -> list[NodeProto]:
    """Where onnxruntime could not tell that nothing is broadcast, it sums blocks in five dimensions: four are enough."""
    made = {t: node for node in nodes for t in node.output}
    read: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for t in node.input:
            read[t].append(node)
    dropped = set()
    for node in nodes:
        sources = [made.get(t) for t in node.input]
        back = read[node.output[0]]
        if (
            node.op_type in SUMS
            and node.name in alike
            and len(back) == 1
            and back[0].op_type == "Reshape"
            and all(
                s is not None and s.op_type == "Reshape" and in_blocks(made.get(s.input[0])) for s in sources
            )
        ):
            node.input[:] = [s.input[0] for s in sources if s is not None]
            node.output[:] = back[0].output
            dropped.add(id(back[0]))
    return [node for node in nodes if id(node) not in dropped]


def in_blocks(node: NodeProto | None) -> bool:
    return node is not None and node.domain == DOMAIN and node.op_type != "ReorderOutput"


def plain(node: NodeProto) -> bool:
    """Whether the channels of what is reordered, or of the result, stand before rows and columns."""
    return not any(a.name == "channels_last" and a.i for a in node.attribute)


def needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that these outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def fused(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Where a convolution in blocks is read by a sum of two alone, it adds the other one itself, in the place of the sum."""
    uses = Counter(t for node in nodes for t in node.input)
    made = {node.output[0]: node for node in nodes if node.domain == DOMAIN and node.op_type == "Conv"}
    result: list[NodeProto] = []
    for node in nodes:
        adds = node.op_type in SUMS and len(node.input) == 2
        pair = (
            next(
                (
                    (made[t], other)
                    for t, other in (node.input, node.input[::-1])
                    if open_conv(made.get(t)) and uses[t] == 1
                ),
                None,
            )
            if adds
            else None
        )
        if pair is not None:
            conv, other = pair
            result.remove(conv)
            conv.input.extend([""] * (3 - len(conv.input)) + [other])
            conv.output[0] = node.output[0]
            node = conv
        result.append(node)
    return result


def open_conv(node: NodeProto | None) -> bool:
    """Whether a convolution ends with its sum of products, and so can add another tensor."""
    return (
        node is not None
        and len(node.input) < 4
        and not any(a.name.startswith("activation") for a in node.attribute)
    )
