"""The element types and shapes of a node's outputs, as onnx infers them from the node's inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxscope.errors import BadModel, shape_text
from onnxscope.graph.faults import fault_at
from onnxscope.graph.shapes import LEFT_OPEN
from onnxscope.graph.tensors import (
    Tensor,
    describe,
    dims,
    element_type,
    is_known,
    np_or_enum,
    numel,
    values_of,
)

MOST_ELEMENTS = 1 << 31  # of one tensor: a damaged model can ask for more than any memory holds
MOST_AXES = 32  # that NumPy broadcasts
MOST_VALUES = 1024  # of a constant input whose values the inference is given, such as the shape of a Reshape
VALUE_TYPES = (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT)
CHECK = "check the sizes given with --input-shape, or the export"


def infer_outputs(node: gs.Node, opset: int, ir_version: int, *, added: bool) -> None:
    """Fill in the element types and shapes of a node's outputs; `added` is a node that the model has not."""
    schema: Any = onnx.defs.get_schema(node.op, opset)  # onnx's stub file lacks half of its attributes
    types: dict[str, onnx.TypeProto] = {}
    try:
        types.update(
            (t.name, helper.make_tensor_type_proto(element_type(t), t.shape)) for t in node.inputs if t.name
        )
        found = shape_inference.infer_node_outputs(
            schema,
            OnnxExporter.export_node(node),
            types,
            small_constants(node),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=ir_version,
        )
    except Exception as error:  # onnx raises its own InferenceError, or a plain one for a type mismatch
        if added:
            raise fault_at(node, error) from error
        raise BadModel(
            f"its inputs do not fit the operator ({error})", where=describe(node), remedy=CHECK
        ) from error
    for t in node.outputs:
        if t.name in found and found[t.name].HasField("tensor_type"):
            tensor_type = found[t.name].tensor_type
            t.dtype = np_or_enum(tensor_type.elem_type)
            if tensor_type.HasField("shape"):
                t.shape = dims(tensor_type)
    if any(t.shape is None for t in node.outputs) and schema.has_function:
        infer_from_function(node, types, opset, ir_version)
    for t, shape in zip(node.outputs, LEFT_OPEN.get(node.op, lambda _: [])(node), strict=False):
        t.shape = t.shape or shape
    for t in node.outputs:
        check_size(t, node)


def small_constants(node: gs.Node) -> dict[str, TensorProto]:
    """The values of a node's small constant inputs, on which the shapes of its outputs may depend."""
    small = (t for t in node.inputs if t.name and is_known(t) and numel(t.shape) <= MOST_VALUES)
    return {
        t.name: onnx.numpy_helper.from_array(values_of(t), t.name)
        for t in small
        if element_type(t) in VALUE_TYPES
    }


def infer_from_function(
    node: gs.Node, types: Mapping[str, onnx.TypeProto], opset: int, ir_version: int
) -> None:
    """Infer the shapes of an operator that the standard defines only by a function of other operators."""
    inputs = [onnx.ValueInfoProto(name=k, type=v) for k, v in types.items()]
    outputs = [onnx.ValueInfoProto(name=t.name) for t in node.outputs]
    graph = helper.make_graph([OnnxExporter.export_node(node)], "one", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    for t, info in zip(node.outputs, shape_inference.infer_shapes(model).graph.output, strict=True):
        if info.type.tensor_type.HasField("shape"):
            t.shape = dims(info.type.tensor_type)


def check_size(output: Tensor, node: gs.Node) -> None:
    """Refuse sizes that no tensor can have."""
    sizes = [d for d in output.shape or () if isinstance(d, int)]
    if len(output.shape or ()) > MOST_AXES:
        raise BadModel(
            f"its output would have {len(output.shape)} axes, and {MOST_AXES} are the most",
            where=describe(node),
            remedy=CHECK,
        )
    if any(d < 0 for d in sizes) or math.prod(sizes) > MOST_ELEMENTS:
        raise BadModel(
            f"its output would have the size {shape_text(output.shape)}", where=describe(node), remedy=CHECK
        )
