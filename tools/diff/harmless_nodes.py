"""Harmless changes of nodes: the same operator under another name, or written out in several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from diff.graph import Graph, attribute, set_attribute

Change = Callable[[Graph], Graph]
Steps = list[tuple[str, list[str], dict[str, Any]]]


def after_each(kind: str, new: str) -> Change:
    """Put a node that does nothing after each node of a kind."""

    def change(graph: Graph) -> Graph:
        for node in graph.of_type(kind):
            target = node.output[0]
            readers = graph.consumers(target)
            if readers:
                inserted = helper.make_node(new, [target], [f"{target}.{new}"], f"{node.name}.{new}")
                for reader in readers:
                    for index, tensor in enumerate(reader.input):
                        if tensor == target:
                            reader.input[index] = inserted.output[0]
                graph.model.graph.node.insert(graph.nodes.index(node) + 1, inserted)
        return graph

    return change


def written(graph: Graph, node: onnx.NodeProto, steps: Steps) -> None:
    """Replace a node by steps; `$1` in an input is the output of the first step, and so on."""
    made: list[onnx.NodeProto] = []
    for count, (kind, inputs, attributes) in enumerate(steps, 1):
        last = count == len(steps)
        output = node.output[0] if last else f"{node.output[0]}.step{count}"
        read = [made[int(i[1:]) - 1].output[0] if i.startswith("$") else i for i in inputs]
        made.append(helper.make_node(kind, read, [output], f"{node.name}/{kind}_{count}", **attributes))
    graph.replace(node, *made)
    graph.without_unused()


def number(graph: Graph, value: Any, kind: Any = np.float32) -> str:
    return graph.store(f"number_{len(graph.model.graph.initializer)}", np.asarray(value, kind))


def transposed_twice(graph: Graph) -> Graph:
    """To channels last and back before each MaxPool."""
    for node in graph.of_type("MaxPool"):
        x = node.input[0]
        there = helper.make_node("Transpose", [x], [f"{x}.nhwc"], f"{x}.there", perm=[0, 2, 3, 1])
        back = helper.make_node("Transpose", [f"{x}.nhwc"], [f"{x}.nchw"], f"{x}.back", perm=[0, 3, 1, 2])
        graph.insert(node, there, back)
        node.input[0] = back.output[0]
    return graph


def relu_as_max(graph: Graph) -> Graph:
    for node in graph.of_type("Relu"):
        written(graph, node, [("Max", [node.input[0], number(graph, 0)], {})])
    return graph


def relu_as_clip(graph: Graph) -> Graph:
    for node in graph.of_type("Relu"):
        written(graph, node, [("Clip", [node.input[0], number(graph, 0)], {})])
    return graph


def clip_with_inputs(graph: Graph) -> Graph:
    """Bounds as attributes become inputs, and the opset is newer; no other node means anything else in it."""
    for node in graph.of_type("Clip"):
        node.input.extend([number(graph, attribute(node, key)) for key in ("min", "max")])
        del node.attribute[:]
    graph.set_opset(11)
    return graph


def leaky_as_prelu(graph: Graph) -> Graph:
    for node in graph.of_type("LeakyRelu"):
        slope = number(graph, np.full((1, 1, 1), attribute(node, "alpha")))
        written(graph, node, [("PRelu", [node.input[0], slope], {})])
    return graph


def gelu_written_out(graph: Graph) -> Graph:
    for node in graph.of_type("Gelu"):
        x = node.input[0]
        steps: Steps = [
            ("Div", [x, number(graph, np.sqrt(2))], {}),
            ("Erf", ["$1"], {}),
            ("Add", ["$2", number(graph, 1)], {}),
            ("Mul", [x, "$3"], {}),
            ("Mul", ["$4", number(graph, 0.5)], {}),
        ]
        written(graph, node, steps)
    return graph


def hard_swish_written_out(graph: Graph) -> Graph:
    for node in graph.of_type("HardSwish"):
        x = node.input[0]
        steps: Steps = [
            ("Add", [x, number(graph, 3)], {}),
            ("Clip", ["$1", number(graph, 0), number(graph, 6)], {}),
            ("Div", ["$2", number(graph, 6)], {}),
            ("Mul", [x, "$3"], {}),
        ]
        written(graph, node, steps)
    return graph


def normalised_over(graph: Graph, node: onnx.NodeProto, axes: list[int], scale: str, shift: str) -> Steps:
    """Values less their mean, over their deviation, scaled and shifted; opset 13 and 18 take axes differently."""
    x, epsilon = node.input[0], attribute(node, "epsilon", 1e-5)
    given: dict[str, Any] = {"keepdims": 1}
    over = []
    if graph.opset() < 18:
        given["axes"] = axes
    else:
        over = [number(graph, axes, np.int64)]
    return [
        ("ReduceMean", [x, *over], given),
        ("Sub", [x, "$1"], {}),
        ("Mul", ["$2", "$2"], {}),
        ("ReduceMean", ["$3", *over], given),
        ("Add", ["$4", number(graph, epsilon)], {}),
        ("Sqrt", ["$5"], {}),
        ("Div", ["$2", "$6"], {}),
        ("Mul", ["$7", scale], {}),
        ("Add", ["$8", shift], {}),
    ]


def instance_norm_written_out(graph: Graph) -> Graph:
    for node in graph.of_type("InstanceNormalization"):
        scale, shift = (graph.array(node, k) for k in (1, 2))
        assert scale is not None and shift is not None
        stored = [number(graph, v.reshape(-1, 1, 1)) for v in (scale, shift)]
        written(graph, node, normalised_over(graph, node, [2, 3], stored[0], stored[1]))
    return graph


def layer_norm_written_out(graph: Graph) -> Graph:
    for node in graph.of_type("LayerNormalization"):
        written(graph, node, normalised_over(graph, node, [-1], node.input[1], node.input[2]))
    return graph


def depth_to_space_written_out(graph: Graph) -> Graph:
    """Reshape, Transpose, Reshape, for the sizes of the random networks."""
    for node in graph.of_type("DepthToSpace"):
        apart = number(graph, [1, 8, 2, 2, 16, 16], np.int64)
        steps: Steps = [
            ("Reshape", [node.input[0], apart], {}),
            ("Transpose", ["$1"], {"perm": [0, 1, 4, 2, 5, 3]}),
            ("Reshape", ["$2", number(graph, [1, 8, 32, 32], np.int64)], {}),
        ]
        written(graph, node, steps)
    return graph


def concat_split(graph: Graph) -> Graph:
    for node in graph.of_type("Concat"):
        if len(node.input) == 3:
            first, second, third = node.input
            steps: Steps = [
                ("Concat", [first, second], {"axis": 1}),
                ("Concat", ["$1", third], {"axis": 1}),
            ]
            written(graph, node, steps)
    return graph


def pads_as_pad(graph: Graph) -> Graph:
    for node in graph.of_type("Conv"):
        pads = attribute(node, "pads", [0] * 4)
        if any(pads):
            amounts = number(graph, [0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
            padded = f"{node.name}.padded"
            graph.insert(node, helper.make_node("Pad", [node.input[0], amounts], [padded], padded))
            node.input[0] = padded
            set_attribute(node, "pads", [0, 0, 0, 0])
    return graph


def auto_pad_written_out(graph: Graph) -> Graph:
    for node in graph.of_type("Conv"):
        if attribute(node, "auto_pad", "NOTSET") == "SAME_UPPER":
            set_attribute(node, "auto_pad", None)
            set_attribute(node, "pads", [0, 0, 1, 1])
    return graph


def ceil_as_pads(graph: Graph) -> Graph:
    for node in graph.of_type("MaxPool"):
        if attribute(node, "ceil_mode"):
            set_attribute(node, "ceil_mode", None)
            set_attribute(node, "pads", [0, 0, 1, 1])
    return graph


def output_padding_as_pads(graph: Graph) -> Graph:
    for node in graph.of_type("ConvTranspose"):
        set_attribute(node, "output_padding", None)
        set_attribute(node, "pads", [1, 1, 0, 0])
    return graph


def mean_as_reduce(graph: Graph) -> Graph:
    for node in graph.of_type("GlobalAveragePool"):
        axes = number(graph, [2, 3], np.int64)
        written(graph, node, [("ReduceMean", [node.input[0], axes], {"keepdims": 1})])
    return graph


def flatten_as_reshape(graph: Graph) -> Graph:
    for node in graph.of_type("Flatten"):
        written(graph, node, [("Reshape", [node.input[0], number(graph, [0, -1], np.int64)], {})])
    return graph


def flatten_with_computed_shape(graph: Graph) -> Graph:
    """A Reshape to a shape that is put together at run time."""
    for node in graph.of_type("Flatten"):
        steps: Steps = [
            ("Shape", [node.input[0]], {}),
            ("Gather", ["$1", number(graph, 0, np.int64)], {"axis": 0}),
            ("Unsqueeze", ["$2", number(graph, [0], np.int64)], {}),
            ("Concat", ["$3", number(graph, [-1], np.int64)], {"axis": 0}),
            ("Reshape", [node.input[0], "$4"], {}),
        ]
        written(graph, node, steps)
    return graph


def dense_as_matmul(graph: Graph) -> Graph:
    for node in graph.of_type("Gemm"):
        w = graph.array(node, 1)
        if w is None:
            continue
        weights = number(graph, w.T if attribute(node, "transB") else w)
        steps: Steps = [("MatMul", [node.input[0], weights], {}), ("Add", ["$1", node.input[2]], {})]
        written(graph, node, steps)
    return graph


def dense_as_conv(graph: Graph) -> Graph:
    """The dense layer after a global mean as a 1×1 convolution before the Flatten."""
    for node in graph.of_type("Gemm"):
        flat, w = graph.producer(node.input[0]), graph.array(node, 1)
        assert flat is not None and w is not None
        stored = number(graph, w.reshape(*w.shape, 1, 1))
        steps: Steps = [("Conv", [flat.input[0], stored, node.input[2]], {}), ("Flatten", ["$1"], {})]
        written(graph, node, steps)
        graph.model.graph.node.remove(flat)
    return graph


def sizes_for_scales(graph: Graph) -> Graph:
    for node in graph.of_type("Resize"):
        del node.input[1:]
        node.input.extend(["", "", number(graph, [1, 8, 32, 32], np.int64)])
    return graph.without_unused()
