"""Editing the graph of an ONNX model in place: reading and replacing weights, finding neighbours, removing nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

Arrays = dict[str, np.ndarray]


def name_of(node: onnx.NodeProto) -> str:
    """A node's name, or that of its first output if it has none."""
    return node.name or node.output[0]


class Graph:
    """A model whose nodes and weights can be looked up and changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return list(self.model.graph.node)

    def copy(self) -> Graph:
        copied = onnx.ModelProto()
        copied.CopyFrom(self.model)
        return Graph(copied)

    def of_type(self, *types: str) -> list[onnx.NodeProto]:
        return [n for n in self.model.graph.node if n.op_type in types]

    def named(self, name: str) -> onnx.NodeProto:
        return next(n for n in self.nodes if name_of(n) == name)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        return next((n for n in self.model.graph.node if tensor in n.output), None)

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        return [n for n in self.model.graph.node if tensor in n.input]

    def initializer(self, tensor: str) -> onnx.TensorProto | None:
        return next((i for i in self.model.graph.initializer if i.name == tensor), None)

    def array(self, node: onnx.NodeProto, index: int) -> np.ndarray | None:
        """The stored value of a node's input, if it is stored."""
        if index >= len(node.input):
            return None
        stored = self.initializer(node.input[index])
        return None if stored is None else numpy_helper.to_array(stored)

    def put(self, node: onnx.NodeProto, index: int, value: np.ndarray) -> None:
        """Replace a node's stored input for this node alone; the tensor keeps its name if no other node reads it."""
        old = node.input[index]
        if sum(list(n.input).count(old) for n in self.model.graph.node) == 1:
            stored = self.initializer(old)
            assert stored is not None
            stored.CopyFrom(numpy_helper.from_array(value.copy(order="C"), old))
        else:
            node.input[index] = self.store(f"{old}_of_{name_of(node)}", value)

    def store(self, name: str, value: np.ndarray) -> str:
        """Add an initializer under a name that is free."""
        while self.initializer(name) is not None:
            name += "_"
        self.model.graph.initializer.append(numpy_helper.from_array(value.copy(order="C"), name))
        return name

    def insert(self, before: onnx.NodeProto, *nodes: onnx.NodeProto) -> None:
        """Put new nodes in front of a node."""
        place = self.nodes.index(before)
        for offset, node in enumerate(nodes):
            self.model.graph.node.insert(place + offset, node)

    def replace(self, node: onnx.NodeProto, *nodes: onnx.NodeProto) -> None:
        """Put new nodes in the place of a node."""
        self.insert(node, *nodes)
        self.model.graph.node.remove(node)

    def bypass(self, node: onnx.NodeProto) -> bool:
        """Remove a node, handing its first input to whoever read its output; not possible for a graph's output."""
        source, target = node.input[0], node.output[0]
        if target in {o.name for o in self.model.graph.output}:
            return False
        for reader in self.consumers(target):
            for index, tensor in enumerate(reader.input):
                if tensor == target:
                    reader.input[index] = source
        self.model.graph.node.remove(node)
        return True

    def opset(self) -> int:
        return int(next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")))

    def set_opset(self, version: int) -> None:
        next(o for o in self.model.opset_import if o.domain in ("", "ai.onnx")).version = version

    def without_unused(self) -> Graph:
        """The same, without the initializers that no node reads."""
        used = {i for n in self.model.graph.node for i in n.input} | {o.name for o in self.model.graph.output}
        for stored in [i for i in self.model.graph.initializer if i.name not in used]:
            self.model.graph.initializer.remove(stored)
        return self


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, with text decoded."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set an attribute, or remove it if the value is None."""
    for found in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(found)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def run(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], *, optimised: bool = True
) -> list[np.ndarray]:
    """What onnxruntime computes on one thread."""
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(v) for v in session.run(None, dict(feeds))]


def difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """The largest difference of two lists of outputs, relative to the largest value of the first."""
    if [v.shape for v in a] != [v.shape for v in b]:
        return float("nan")
    return max(
        float(np.abs(v.astype(np.float64) - w).max() / (np.abs(v).max() + 1e-30))
        for v, w in zip(a, b, strict=True)
    )


def shuffled_order(graph: Graph, random: np.random.Generator) -> None:
    """Bring the nodes into another order in which each still comes after what it reads."""
    waiting = graph.nodes
    made = {v.name for v in graph.model.graph.input} | {i.name for i in graph.model.graph.initializer} | {""}
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [n for n in waiting if made.issuperset(n.input)]
        chosen = ready[int(random.integers(len(ready)))]
        waiting.remove(chosen)
        ordered.append(chosen)
        made.update(chosen.output)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in ordered]
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(copies)


def renamed(graph: Graph) -> dict[str, str]:
    """Give each node and each inner tensor another name; returns the new name of each node by its old one."""
    kept = {v.name for v in [*graph.model.graph.input, *graph.model.graph.output]} | {""}
    tensors: dict[str, str] = {name: name for name in kept}
    nodes: dict[str, str] = {}
    for stored in graph.model.graph.initializer:
        stored.name = tensors.setdefault(stored.name, f"onnx::w_{len(tensors)}")
    for count, node in enumerate(graph.model.graph.node):
        new = f"/{node.op_type}_{count}"
        nodes[name_of(node)] = new
        for names in (node.input, node.output):
            for index, tensor in enumerate(names):
                names[index] = tensors.setdefault(tensor, f"/t_{len(tensors)}")
        node.name = new
    del graph.model.graph.value_info[:]
    return nodes


FOLDING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
AFFINE = ("Mul", "Div", "Add", "Sub")


def is_folded(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node can become part of the weights before it: a normalisation, or arithmetic with a constant."""
    constant = node.op_type in AFFINE and any(graph.initializer(i) is not None for i in node.input)
    return node.op_type == "BatchNormalization" or constant


def layer_of(graph: Graph, nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """The names of nodes and of what they form one layer with: weights, and what can be folded into them."""
    names: list[str] = []
    for node in nodes:
        names.append(name_of(node))
        if is_folded(graph, node):
            before = graph.producer(node.input[0])
            if before and before.op_type in FOLDING and len(graph.consumers(node.input[0])) == 1:
                names.append(name_of(before))
        if node.op_type in FOLDING:
            after = graph.consumers(node.output[0])
            if len(after) == 1 and is_folded(graph, after[0]):
                names.append(name_of(after[0]))
    return list(dict.fromkeys(names))
