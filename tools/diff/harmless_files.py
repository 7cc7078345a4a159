"""Harmless changes of a whole file: names, order, opset, where weights lie, sizes, optimizers, exporters."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, version_converter

from diff import networks
from diff.graph import Graph, renamed, shuffled_order

Change = Callable[[Graph], Graph]


def renamed_all(graph: Graph) -> Graph:
    renamed(graph)
    return graph


def reordered(graph: Graph) -> Graph:
    shuffled_order(graph, np.random.default_rng(1))
    stored = list(graph.model.graph.initializer)[::-1]
    copies = [onnx.TensorProto.FromString(i.SerializeToString()) for i in stored]
    del graph.model.graph.initializer[:]
    graph.model.graph.initializer.extend(copies)
    return graph


def renamed_and_reordered(graph: Graph) -> Graph:
    return reordered(renamed_all(graph))


def opset(version: int) -> Change:
    return lambda graph: Graph(version_converter.convert_version(graph.model, version))


def weights_as_constants(graph: Graph) -> Graph:
    """Each weight in a Constant node."""
    for stored in reversed(list(graph.model.graph.initializer)):
        node = helper.make_node("Constant", [], [stored.name], name=f"Constant_{stored.name}", value=stored)
        graph.model.graph.node.insert(0, node)
    del graph.model.graph.initializer[:]
    return graph


def fixed_sizes(batch: int, height: int | None = None, width: int | None = None) -> Change:
    """Sizes of the image that are free become fixed, and the output's are left out."""

    def change(graph: Graph) -> Graph:
        sizes = graph.model.graph.input[0].type.tensor_type.shape.dim
        for index, size in ((0, batch), (2, height), (3, width)):
            if size is not None:
                sizes[index].dim_value = size
        output = graph.model.graph.output[0].type.tensor_type
        for size in output.shape.dim:
            size.ClearField("dim_param")
        output.shape.dim[0].dim_value = batch
        return graph

    return change


def channels_last_input(graph: Graph) -> Graph:
    """The image has its colours last and is transposed inside the file."""
    given = graph.model.graph.input[0]
    old = given.name
    sizes = [d.dim_value or d.dim_param for d in given.type.tensor_type.shape.dim]
    first = graph.nodes[0]
    for reader in graph.consumers(old):
        for index, tensor in enumerate(reader.input):
            if tensor == old:
                reader.input[index] = "channels_first"
    graph.insert(
        first, helper.make_node("Transpose", [old], ["channels_first"], "to_nchw", perm=[0, 3, 1, 2])
    )
    given.CopyFrom(
        helper.make_tensor_value_info(old, given.type.tensor_type.elem_type, [sizes[k] for k in (0, 2, 3, 1)])
    )
    return graph


def weights_for_each(graph: Graph) -> Graph:
    """A weight that several nodes read is stored once for each."""
    for node in graph.nodes:
        for index in range(len(node.input)):
            value = graph.array(node, index)
            if value is not None:
                graph.put(node, index, value)
    return graph.without_unused()


def functions(graph: Graph) -> Graph:
    """Conv with Relu as a function that is local to the model, as exporters write modules."""
    body = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv"),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    body[0].attribute.extend(
        [
            helper.make_attribute("kernel_shape", [3, 3]),
            helper.make_attribute("pads", [1, 1, 1, 1]),
            helper.make_attribute("strides", [1, 1]),
        ]
    )
    opsets = [helper.make_opsetid("", graph.opset())]
    graph.model.functions.append(
        helper.make_function("modules", "ConvRelu", ["x", "w", "b"], ["z"], body, opsets)
    )
    graph.model.opset_import.append(helper.make_opsetid("modules", 1))
    for relu in graph.of_type("Relu"):
        conv = graph.producer(relu.input[0])
        if conv is not None and conv.op_type == "Conv":
            call = helper.make_node(
                "ConvRelu", list(conv.input), list(relu.output), f"module_{conv.name}", domain="modules"
            )
            graph.replace(conv, call)
            graph.model.graph.node.remove(relu)
    return graph


def optimized(level: str) -> Change:
    """The file as onnxruntime writes it after its own optimizations."""

    def change(graph: Graph) -> Graph:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            onnxruntime.InferenceSession(
                graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            return Graph(onnx.load(options.optimized_model_filepath))

    return change


def the_other(name: str) -> Change:
    """Another bundled file of the same network."""
    return lambda graph: networks.network(name)
