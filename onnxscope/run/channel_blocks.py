"""Masks and sums in the layout of the CPU's convolutions.

On the CPU onnxruntime's convolutions work on blocks of channels: it inserts ReorderInput before them and
ReorderOutput after them. It also reorders back before every product with a mask, because the mask is for one
image and the probes are many. But a product does not depend on the order of its elements, so here the mask is
reordered instead. And a sum of two convolutions becomes part of the later one. The results stay the same to
the last bit.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import onnx
import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from onnxscope.errors import ScopeError
from onnxscope.graph.tensors import shape_of
from onnxscope.runtime import Device, Session, Value, ort_value

DOMAIN = "com.microsoft.nchwc"
BLOCK_CHANNELS = 16  # the largest number in a block
MULTIPLE = 4  # onnxruntime reorders only where the number of channels is a multiple of this
SUMS = {"Add", "Sum"}


def blocked_session(model: bytes, weights: Mapping[str, Value], graph: gs.Graph, on: Device) -> Session:
    """A session on the CPU, on the graph as onnxruntime optimises it and this module then improves it."""
    with tempfile.TemporaryDirectory(prefix="onnxscope-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            session = Session(model, on=on, weights=weights, written=path)
        except ScopeError:  # the disk may have no room for the optimised graph
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
    """Move masks, sums and concatenations of convolutions into their layout; whether there were any.

    `shapes` are those of the tensors before onnxruntime optimised the graph, -1 being the number of probes.
    `alike` names the nodes that broadcast nothing.
    """
    blocks = Blocks(shapes, graph.node)
    nodes = list(blocks.moved(without_detours(graph.node, alike)))
    if not blocks.found:
        return False
    del graph.node[:]
    graph.node.extend(fused(needed(nodes, [o.name for o in graph.output])))
    return True


class Blocks:
    """Finds out which tensors are in blocks, and under which other name each of them is there."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], nodes: Sequence[NodeProto]) -> None:
        self.found, self._shapes = 0, shapes
        self._readers = {
            n.input[0]: n for n in nodes if n.op_type == "ReorderInput" and has_channels_first(n)
        }
        self._twins: dict[str, str] = {}  # name in channels, rows, columns → name in blocks

    def moved(self, nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
        """The nodes, those that can work in blocks moved there."""
        again: dict[str, str] = {}  # the results of ReorderInputs that are not needed any more
        for node in nodes:
            node.input[:] = [again.get(t, t) for t in node.input]
            if node.op_type == "ReorderInput" and node.input[0] in self._twins and has_channels_first(node):
                again[node.output[0]] = self._twins[node.input[0]]
            elif node.domain == "" and self._works_in_blocks(node):
                yield from self._in_blocks(node)
            else:
                yield node
                yield from self._reordered(node)

    def _reordered(self, node: NodeProto) -> Iterator[NodeProto]:
        """The ReorderInputs of a node's results, right behind it, for all later nodes to use."""
        if node.op_type == "ReorderOutput" and has_channels_first(node):
            self._twins[node.output[0]] = node.input[0]
        for reader in (self._readers[t] for t in node.output if t in self._readers and t not in self._twins):
            self._twins[reader.input[0]] = reader.output[0]
            yield reader

    def _works_in_blocks(self, node: NodeProto) -> bool:
        """Whether a node reads blocks and computes the same on them; masks can be brought into blocks."""
        outside = [t for t in node.input if t not in self._twins]
        shapes = [self._shapes.get(t, ()) for t in (*node.input, *node.output)]
        if len(outside) == len(node.input) or any(len(shape) != 4 for shape in shapes):
            return False
        if node.op_type == "Concat":
            return not outside and joins_whole_blocks(node, shapes)
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            return False
        if node.op_type == "Mul":
            return shapes[0][1] % MULTIPLE == 0 and all(self._shapes[t][0] == 1 for t in outside)
        return not outside and (node.op_type in SUMS or node.op_type == "Neg")

    def _in_blocks(self, node: NodeProto) -> Iterator[NodeProto]:
        """A node moved into blocks: its masks reordered before it, its result reordered back behind it."""
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


def joins_whole_blocks(node: NodeProto, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether a Concat appends channels, and no block would hold channels of two tensors."""
    return node.attribute[0].i == 1 and all(shape[1] % BLOCK_CHANNELS == 0 for shape in shapes)


def without_detours(nodes: Sequence[NodeProto], alike: Collection[str]) -> list[NodeProto]:
    """The nodes, with sums of blocks in four dimensions.

    onnxruntime sums blocks in five dimensions where it cannot tell that nothing is broadcast.
    """
    producers = {t: node for node in nodes for t in node.output}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for t in node.input:
            readers[t].append(node)

    def is_reshaped_block(t: str) -> bool:
        reshape = producers.get(t)
        return is_reshape(reshape) and in_blocks(producers.get(reshape.input[0]))

    dropped = set()
    for node in nodes:
        if node.op_type not in SUMS or node.name not in alike or not all(map(is_reshaped_block, node.input)):
            continue
        after = readers[node.output[0]]
        if len(after) == 1 and is_reshape(after[0]):
            node.input[:] = [producers[t].input[0] for t in node.input]
            node.output[:] = after[0].output
            dropped.add(id(after[0]))
    return [node for node in nodes if id(node) not in dropped]


def is_reshape(node: NodeProto | None) -> TypeGuard[NodeProto]:
    return node is not None and node.op_type == "Reshape"


def in_blocks(node: NodeProto | None) -> bool:
    """Whether a node's result is in blocks."""
    return node is not None and node.domain == DOMAIN and node.op_type != "ReorderOutput"


def has_channels_first(node: NodeProto) -> bool:
    """Whether a node reorders from or to channels, rows, columns, not rows, columns, channels."""
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
    """The nodes, where convolutions in blocks take over sums of two tensors.

    A convolution adds the other tensor itself, in the place of the sum, where nothing else reads its result.
    """
    uses = Counter(t for node in nodes for t in node.input)
    convs = {node.output[0]: node for node in nodes if in_blocks(node) and node.op_type == "Conv"}

    def has_conv_that_adds(t: str) -> bool:
        return t in convs and uses[t] == 1 and can_add(convs[t])

    result: list[NodeProto] = []
    for node in nodes:
        own = next(filter(has_conv_that_adds, node.input), None) if sums_two(node) else None
        if own is None:
            result.append(node)
            continue
        conv = convs[own]
        (other,) = (t for t in node.input if t != own)
        result.remove(conv)
        conv.input.extend([""] * (3 - len(conv.input)) + [other])
        conv.output[0] = node.output[0]
        result.append(conv)
    return result


def sums_two(node: NodeProto) -> bool:
    return node.op_type in SUMS and len(node.input) == 2


def can_add(conv: NodeProto) -> bool:
    """Whether a convolution adds no other tensor yet, and applies no activation to what it would add to."""
    return len(conv.input) < 4 and not any(a.name.startswith("activation") for a in conv.attribute)
