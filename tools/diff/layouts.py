"""A file whose values are stored with the channels last, as exporters of TensorFlow write them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from diff.exports import Export, rewritten

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # what Transpose needs to bring the channels there
ELEMENTWISE = {
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Swish", "Gelu", "Erf"),
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt"),
}
LEAVES_PICTURE = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "MatMul", "Gemm", "Shape"}


def channels_last(export: Export, tidy: bool) -> Export:
    """The export with images and values as N × H × W × C: a Transpose before and behind what needs channels first.

    With `tidy`, no value is turned twice, and a dense layer behind a Flatten has its weights in the other order.
    """
    work = ChannelsLast(export.model, tidy)
    made = rewritten(export, work.model())
    last = export.feed

    def feed(pictures: np.ndarray) -> np.ndarray:
        return last(pictures).transpose(LAST)

    return Export(made.model, made.layers, feed, export.loose)


class ChannelsLast:
    """The graph that is written, node by node."""

    def __init__(self, model: onnx.ModelProto, tidy: bool) -> None:
        self.source, self.tidy = onnx.shape_inference.infer_shapes(model, data_prop=True), tidy
        graph = self.source.graph
        held = [*graph.value_info, *graph.input, *graph.output]
        self.rank = {v.name: len(v.type.tensor_type.shape.dim) for v in held}
        self.weights = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.weights[node.output[0]] = node.attribute[0].t
        self.nodes: list[onnx.NodeProto] = []
        self.extra: dict[str, onnx.TensorProto] = {}
        self.ends = {o.name for o in graph.output}
        self.pictures = {graph.input[0].name: graph.input[0].name}  # tensors with channels last, by name
        self.first: dict[str, str] = {}  # the same values with channels first, where they are there

    def model(self) -> onnx.ModelProto:
        graph = self.source.graph
        for node in graph.node:
            self.write(node)
        shape = graph.input[0].type.tensor_type.shape.dim
        sizes = [d.dim_value for d in shape]
        for d, k in zip(shape, LAST, strict=True):
            d.dim_value = sizes[k]
        held = [*graph.initializer, *self.extra.values()]
        del graph.node[:], graph.initializer[:]
        nodes = needed(self.nodes, self.ends)
        used = {name for n in nodes for name in n.input}
        graph.node.extend(nodes)
        graph.initializer.extend(t for t in held if t.name in used)
        return self.source

    def write(self, node: onnx.NodeProto) -> None:
        """One node of the source, in the form that its inputs ask for."""
        active = [name for name in node.input if name in self.pictures]
        stays = bool(active) and self.rank.get(node.output[0]) == 4 and node.op_type not in LEAVES_PICTURE
        if not active:
            self.nodes.append(node)
        elif stays and (node.op_type in ELEMENTWISE or node.op_type == "Concat") and self.all_known(node):
            self.in_place(node)
        elif self.tidy and node.op_type == "Flatten" and self.reordered(node):
            self.nodes.append(copied(node, [self.pictures[node.input[0]]], list(node.output)))
        else:
            self.wrapped(node, stays)

    def all_known(self, node: onnx.NodeProto) -> bool:
        return all(not n or n in self.pictures or n in self.weights for n in node.input)

    def in_place(self, node: onnx.NodeProto) -> None:
        """An elementwise node, or a Concat along the channels, on values with the channels last."""
        given = [self.pictures.get(name) or self.turned(name) for name in node.input]
        made = copied(node, given, [self.last_name(node.output[0])])
        if node.op_type == "Concat":
            axis = next(a for a in made.attribute if a.name == "axis")
            axis.i = LAST.index(axis.i % 4)
        self.nodes.append(made)
        self.finish(node.output[0])

    def wrapped(self, node: onnx.NodeProto, stays: bool) -> None:
        """A node that computes with the channels first."""
        given = [self.first_of(name) if name in self.pictures else name for name in node.input]
        if not stays:
            self.nodes.append(copied(node, given, list(node.output)))
            return
        name = node.output[0]
        self.nodes.append(copied(node, given, [f"{name}_nchw", *node.output[1:]]))
        self.first[name] = f"{name}_nchw"
        self.nodes.append(transpose(f"{name}_nchw", self.last_name(name), LAST))
        self.finish(name)

    def last_name(self, name: str) -> str:
        return f"{name}_nhwc" if name in self.ends else name

    def finish(self, name: str) -> None:
        """Note a value with the channels last; the file's outputs keep the order that they had."""
        self.pictures[name] = self.last_name(name)
        if name in self.ends:
            self.nodes.append(transpose(self.pictures[name], name, FIRST))

    def first_of(self, name: str) -> str:
        """The value with the channels first."""
        if self.tidy and name in self.first:
            return self.first[name]
        made = f"{name}_nchw{len(self.nodes)}"
        self.nodes.append(transpose(self.pictures[name], made, FIRST))
        self.first[name] = made
        return made

    def turned(self, name: str) -> str:
        """A constant that is broadcast to values with the channels last."""
        if not name or name not in self.weights:
            return name
        values = numpy_helper.to_array(self.weights[name])
        if values.size == 1 or values.ndim < 3:
            return name
        wide = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(LAST)
        self.extra[f"{name}_nhwc"] = numpy_helper.from_array(np.ascontiguousarray(wide), f"{name}_nhwc")
        return f"{name}_nhwc"

    def reordered(self, node: onnx.NodeProto) -> bool:
        """Put the weights of the one dense layer behind a Flatten in the order of its new input."""
        after = [n for n in self.source.graph.node if node.output[0] in n.input]
        if len(after) != 1 or after[0].op_type != "Gemm" or after[0].input[1] not in self.weights:
            return False
        if {a.name: a.i for a in after[0].attribute}.get("transB") != 1:
            return False
        value = next(v for v in self.source.graph.value_info if v.name == node.input[0])
        _, c, h, w = (d.dim_value for d in value.type.tensor_type.shape.dim)
        weight = numpy_helper.to_array(self.weights[after[0].input[1]])
        other = weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(weight.shape)
        name = f"{after[0].input[1]}_nhwc"
        self.extra[name] = numpy_helper.from_array(np.ascontiguousarray(other), name)
        after[0].input[1] = name
        return True


def copied(node: onnx.NodeProto, given: list[str], made: list[str]) -> onnx.NodeProto:
    """The node with other inputs and outputs."""
    other = onnx.NodeProto()
    other.CopyFrom(node)
    del other.input[:], other.output[:]
    other.input.extend(given)
    other.output.extend(made)
    return other


def transpose(given: str, made: str, order: list[int]) -> onnx.NodeProto:
    return helper.make_node("Transpose", [given], [made], f"Transpose__{made}", perm=order)


def needed(nodes: list[onnx.NodeProto], ends: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs need."""
    wanted, kept = set(ends), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
