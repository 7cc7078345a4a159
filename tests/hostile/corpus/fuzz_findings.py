"""Every model with which the fuzzer found a fault, made small. Each function makes one; its docstring says what was wrong."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from support import model, node, randn

import onnxscope
from onnxscope.files import models

X = {"x": randn(1, 3, 8, 8)}
ROW = ("row", "--pixel", "0")
Finding = tuple[Callable[[], ModelProto], Sequence[str], int]
FINDINGS: dict[str, Finding] = {}


def finding(*command: str, code: int) -> Callable[[Callable[[], ModelProto]], Callable[[], ModelProto]]:
    """Put a model into the table, with the verb that it is given to and the exit code that is right."""

    def put(make: Callable[[], ModelProto]) -> Callable[[], ModelProto]:
        FINDINGS[make.__name__] = make, command, code
        return make

    return put


def network(**conv: object) -> ModelProto:
    nodes = [node("Conv", ["x", "w"], ["h"], name="conv", **conv), node("Relu", ["h"], name="relu")]
    return model(nodes, X, ["y"], weights={"w": randn(4, 3, 3, 3)})


@finding(*ROW, code=0)
def element_of_a_picture() -> ModelProto:
    """A picture's pixel that is named by one number could not be framed, after the arrays had been written."""
    return network()


@finding(*ROW, code=2)
def infinite_row() -> ModelProto:
    """A row that holds infinity left its arrays behind when its picture was refused."""
    nodes = [node("Mul", ["x", "w"], ["a"]), node("Mul", ["a", "w"])]
    return model(nodes, X, ["y"], weights={"w": np.float32([1e30])})


@finding("rewrite", code=0)
def large_flag() -> ModelProto:
    """transB=1000 means what transB=1 means, but 1 - 1000 was taken as its opposite."""
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], transB=1000)]
    return model(nodes, X, ["y"], weights={"w": randn(5, 192)})


@finding("rewrite", code=2)
def reference_outside_of_functions() -> ModelProto:
    """An attribute that refers to one of a function, where there is none, was missing for a rule."""
    proto = model([node("Cast", ["x"], name="cast", to=TensorProto.FLOAT)], X, ["y"])
    proto.graph.node[0].attribute[0].ref_attr_name = "nowhere"
    return proto


@finding("verify", code=2)
def index_without_end() -> ModelProto:
    """onnxruntime refused these indices, and the standard's reference took them and did not come back."""
    nodes = [node("GatherElements", ["x", "i"], axis=3)]
    return model(nodes, X, ["y"], weights={"i": np.full((1, 3, 8, 8), -4647749996605603840)})


@finding("rewrite", code=2)
def output_of_no_kind() -> ModelProto:
    """An output declared as a sequence, which onnxruntime refuses, was compared with the reference's result."""
    proto = model([node("Softmax", ["x"])], X, ["y"], opset=11)
    proto.graph.output[0].type.Clear()
    proto.graph.output[0].type.sequence_type.elem_type.SetInParent()
    return proto


@finding("rewrite", "--policy", "taylor", code=0)
def window_over_padding_alone() -> ModelProto:
    """onnxruntime drops such a window of ceil mode, and onnx's inference before opset 22 counts it."""
    pool = {
        "ceil_mode": 1,
        "count_include_pad": 1,
        "kernel_shape": [3, 2],
        "pads": [1, 0, 1, 1],
        "strides": [1, 2],
    }
    return model([node("AveragePool", ["x"], **pool)], X, ["y"], opset=11)


@finding("rewrite", code=2)
def too_many_axes() -> ModelProto:
    """A tensor of 65 axes, which NumPy neither has nor broadcasts."""
    nodes = [node("Unsqueeze", ["x", "axes"])]
    return model(nodes, X, ["y"], weights={"axes": np.arange(61)})


@finding("doctor", code=2)
def bias_of_a_layer_that_nothing_reads() -> ModelProto:
    """A layer beside the output was noted as a fault of onnxscope, and onnxruntime does not run it either."""
    proto = network()
    proto.graph.node.append(node("ConvTranspose", ["h", "w", "w"], ["unread"], name="beside"))
    return proto


@finding("verify", "--image", "fuzz.png", code=2)
def negative_size() -> ModelProto:
    """A negative size of the image was taken for a size that is given."""
    proto = model([node("Relu", ["x"])], {"x": randn(2, 3, 4, 5)}, ["y"])
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    return proto


@finding("rewrite", code=0)
def unknown_key_of_external_data() -> ModelProto:
    """onnx's warning about an unknown key was printed beside the error."""
    proto = network()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "fuzz.data"), ("__class__", "x")):
        tensor.external_data.add(key=key, value=value)
    return proto


@finding("row", "--pixel", "0", code=0)
def output_that_nothing_reaches() -> ModelProto:
    """The image is no tensor of a network that computes its output from constants."""
    nodes = [node("Shape", ["x"], ["s"]), node("Cast", ["s"], to=TensorProto.FLOAT)]
    return model(nodes, X, ["y"])


# scopes that others have changed


@functools.cache
def scope_bytes() -> bytes:
    scope = onnxscope.rewrite(network(pads=[1] * 4))
    written: bytes = models.to_bytes(scope.graph)
    proto = onnx.ModelProto.FromString(written)
    helper.set_model_props(proto, scope.metadata())
    return proto.SerializeToString()


def scope() -> ModelProto:
    return ModelProto.FromString(scope_bytes())


def entry(proto: ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(p for p in proto.metadata_props if p.key == f"onnxscope.{key}")


@finding(*ROW, code=0)
def sound_scope() -> ModelProto:
    """The refusals below are not for want of a scope that works."""
    return scope()


@finding(*ROW, code=2)
def scope_whose_input_is_stored() -> ModelProto:
    proto = scope()
    proto.graph.initializer.append(numpy_helper.from_array(randn(1, 3, 8, 8), "scope_probe"))
    return proto


@finding("verify", code=2)
def scope_with_a_negative_size() -> ModelProto:
    proto = scope()
    info = next(i for i in proto.graph.input if i.name == "scope_cotangent")
    info.type.tensor_type.shape.dim[2].dim_value = -3
    return proto


@finding(*ROW, code=2)
def scope_without_a_shape() -> ModelProto:
    proto = scope()
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    return proto


@finding("verify", code=2)
def scope_with_three_factors() -> ModelProto:
    """A Mul of three factors could not be taken apart."""
    proto = scope()
    product = next(n for n in proto.graph.node if n.op_type == "Mul")
    product.input.append(product.input[0])
    return proto


@finding(*ROW, code=2)
def scope_of_an_old_version() -> ModelProto:
    """In a file of IR version 2 the shapes of the cotangents could not be inferred."""
    proto = scope()
    proto.ir_version = 2
    return proto


@finding(*ROW, code=2)
def scope_of_a_version_without_end() -> ModelProto:
    """onnx's checker takes no IR version of 64 bits."""
    proto = scope()
    proto.ir_version = 1 << 40
    return proto


@finding(*ROW, code=2)
def scope_of_no_opset() -> ModelProto:
    proto = scope()
    proto.opset_import[0].version = 0
    return proto


@finding(*ROW, code=2)
def scope_with_an_odd_type() -> ModelProto:
    """A type that NumPy lacks was remarked on the standard output, and nothing could be asked about it."""
    proto = scope()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT8E5M2
    return proto


@finding("ledger", code=2)
def scope_with_sizes_that_are_no_json() -> ModelProto:
    proto = scope()
    proto.metadata_props.add(key="onnxscope.free_sizes", value="")
    return proto


@finding(*ROW, code=2)
def scope_with_sizes_of_another_input() -> ModelProto:
    proto = scope()
    sizes = {"input": "nowhere", "axes": [2, 3], "step": 1, "probe": [], "cotangent": [], "checksum": []}
    proto.metadata_props.add(key="onnxscope.free_sizes", value=json.dumps(sizes))
    return proto


@finding(*ROW, code=2)
def scope_with_notes_that_are_numbers() -> ModelProto:
    proto = scope()
    entry(proto, "notes").value = "[1]"
    return proto


@finding(*ROW, code=2)
def scope_with_steps_that_are_numbers() -> ModelProto:
    proto = scope()
    entry(proto, "nodes").value = '[{"name": 1, "op": "Relu", "how": "frozen"}]'
    return proto


@finding(*ROW, code=2)
def scope_with_a_body() -> ModelProto:
    proto = scope()
    body = helper.make_graph([node("Identity", ["h"], ["o"])], "b", [], [onnx.ValueInfoProto(name="o")])
    condition = numpy_helper.from_array(np.array(True), "condition")
    proto.graph.initializer.append(condition)
    relu = next(n for n in proto.graph.node if n.name == "relu")
    relu.CopyFrom(node("If", ["condition"], list(relu.output), then_branch=body, else_branch=body))
    assert relu.attribute[0].type == AttributeProto.GRAPH
    return proto
