"""Quantized models: rounding passes straight through and is a source, saturation is a Clip; exact at the image."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from support import POLICIES, case_model, check, close, columns, model, node, randn, run, runs, standard_cases


def pair(kind, scale, zero, **attrs):
    """x → QuantizeLinear → DequantizeLinear → y."""
    weights = {
        "s": np.asarray(scale, np.float32),
        "z": helper.make_tensor("z", kind, np.shape(zero), np.ravel(zero)),
    }
    return [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], **attrs),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], **attrs),
    ], weights


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "kind", ["INT8", "UINT8", "INT16", "UINT16", "INT4", "UINT4", "FLOAT8E4M3FN", "FLOAT8E5M2"]
)
def test_quantize_then_dequantize_is_the_identity_and_a_rounding_error(kind, policy):
    x, zero = (
        randn(1, 2, 3, 3).clip(-0.8, 1.1),
        0 if kind.startswith("FLOAT8") else 3,
    )  # within half a step of what all types hold
    nodes, weights = pair(TensorProto.DataType.Value(kind), 0.25, zero)
    proto = model(nodes, {"x": x}, ["y"], opset=21, weights=weights)
    d = check(proto, {"x": x}, policy)
    close(d.forward, np.eye(x.size), 1e-6, "straight through")
    close(d.residual, (run(proto, {"x": x})["y"] - x).reshape(-1), 1e-6, "rounding error")
    assert sum(n.name.startswith("source/") for n in d.scope.graph.nodes) == 1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("zero", [-128, 0, 90])
def test_saturation_is_frozen_as_a_clip(zero, between, policy):
    """Bounds of (±127 − zero)·0.01: at −128 this is a Relu with an upper bound."""
    x = 3 * randn(1, 2, 3, 3)
    nodes, weights = pair(TensorProto.INT8, 0.01, zero)
    if between:
        nodes[1].input[0] = "r"
        nodes.insert(1, node("Reshape", ["q", "shape"], ["r"]))
        weights["shape"] = np.array(x.shape)
    low, high = 0.01 * (-128 - zero), 0.01 * (127 - zero)
    inside = (x > low) & (x < high)
    assert 0 < inside.sum() < x.size
    d = check(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy)
    gain = np.where(inside, 1, 0 if policy == "taylor" else x.clip(low, high) / x)
    close(d.forward, np.diag(gain.ravel()), 1e-2, "the gains of a Clip, but for rounding at the bounds")


@pytest.mark.parametrize("layout", ["tensor", "axis", "block", "short block"])
@pytest.mark.parametrize("between", [False, True])
def test_layouts_of_scales(layout, between):
    x = randn(1, 4, 6)
    shape, attrs = {
        "tensor": ((), {}),
        "axis": ((4,), {"axis": 1}),
        "block": ((1, 4, 3), {"axis": 2, "block_size": 2}),
        "short block": ((1, 4, 2), {"axis": -1, "block_size": 4}),
    }[layout]
    scale, zero = (
        np.abs(randn(*shape, seed=1)) * 0.1 + 0.05,
        np.random.default_rng(2).integers(-20, 20, shape),
    )
    nodes, weights = pair(TensorProto.INT8, scale, zero, **attrs)
    if between:  # an operator on integers stands between
        nodes[1].input[0] = "r"
        nodes.insert(1, node("Transpose", ["q"], ["t"], perm=[0, 2, 1]))
        nodes.insert(2, node("Transpose", ["t"], ["r"], perm=[0, 2, 1]))
    d = check(model(nodes, {"x": x}, ["y"], opset=21, weights=weights), {"x": x})
    close(d.forward, np.eye(x.size), 1e-6, "straight through")


INTEGERS = {
    "Relu": (["q"], {}),
    "Clip": (["q", "low", "high"], {}),
    "MaxPool": (["q"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "Resize": (["q", "", "scales"], {}),
    "Concat": (["q", "other", "q"], {"axis": 1}),
    "Pad": (["q", "pads", "low"], {}),
    "Reshape": (["q", "shape"], {}),
    "Slice": (["q", "one", "three", "two"], {}),
    "Where": (["mask", "q", "other"], {}),
    "Gather": (["q", "swap"], {"axis": 1}),
    "Cast": (["q"], {"to": TensorProto.INT32}),
    "Flatten": (["q"], {}),
    "Max": (["q", "other"], {}),
}


@pytest.mark.parametrize("op", INTEGERS)
@pytest.mark.parametrize("policy", POLICIES)
def test_operators_on_integers(op, policy):
    x = randn(1, 2, 4, 4)
    weights = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "low": np.int8(-5),
        "high": np.int8(6),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "other": np.full((1, 1, 4, 4), 4, np.int8),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2]),
        "shape": np.array([1, 4, 8]),
        "one": np.array([1]),
        "three": np.array([3]),
        "two": np.array([2]),
        "swap": np.array([1, 0]),
        "mask": randn(4, 4, seed=3) > 0,
    }
    inputs, attrs = INTEGERS[op]
    last = (
        node("Cast", ["r"], ["y"], to=TensorProto.FLOAT)
        if op in ("Cast", "Max")
        else node("DequantizeLinear", ["r", "s", "z"], ["y"])
    )
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node(op, inputs, ["r"], **attrs), last]
    used = {k: v for k, v in weights.items() if any(k in n.input for n in nodes)}
    d = check(model(nodes, {"x": x}, ["y"], opset=19, weights=used), {"x": x}, policy)
    assert np.abs(d.forward).max() > 0


ARITHMETIC = {
    "Add": ["c", "three"],
    "Sub": ["three", "c"],
    "Mul": ["c", "three"],
    "Div": ["c", "three"],
    "ReduceSum": ["c", "axes"],
    "ReduceMean": ["c", "axes"],
    "MatMul": ["c", "c"],
    "Pow": ["c", "three"],
}


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("policy", POLICIES)
def test_arithmetic_on_integers(op, policy):
    """What int32 and its way back to int8 cut off is a source."""
    x, attrs = randn(1, 2, 3, 3), {"to": TensorProto.INT32}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("Cast", ["q"], ["c"], **attrs),
        node(op, ARITHMETIC[op], ["r"]),
        node("Cast", ["r"], ["n"], to=TensorProto.INT8),
        node("DequantizeLinear", ["n", "s", "z"], ["y"]),
    ]
    weights = {"s": np.float32(0.1), "z": np.int8(2), "three": np.int32(3), "axes": np.array([1])}
    used = {k: v for k, v in weights.items() if any(k in n.input for n in nodes)}
    check(model(nodes, {"x": x}, ["y"], weights=used), {"x": x}, policy)


def dynamic(op, w, attrs, zero):
    """x quantized with its own range, an integer product, and back, as dynamic quantization exports it."""
    weights = {"w": w, "wz": zero, "s": np.float32(0.02)}
    return [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        node(op, ["q", "w", "qz", "wz"], ["i"], **attrs),
        node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        node("Mul", ["qs", "s"], ["t"]),
        node("Mul", ["c", "t"], ["y"]),
    ], weights


@pytest.mark.parametrize("policy", POLICIES)
def test_dynamic_conv(policy):
    x, w = randn(1, 2, 5, 5), np.random.default_rng(0).integers(90, 160, (3, 2, 3, 3)).astype(np.uint8)
    attrs = {"pads": [1, 1, 0, 1], "strides": [2, 1]}
    nodes, weights = dynamic("ConvInteger", w, attrs, np.uint8(130))
    d = check(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy)
    floats = model(
        [node("Conv", ["x", "v"], **attrs)],
        {"x": x},
        ["y"],
        weights={"v": (w.astype(np.float32) - 130) * np.float32(0.02)},
    )
    close(d.forward, columns(floats, {"x": x}, "x", "y"), 1e-4, "the convolution that was quantized")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("zero", [np.int8(3), np.array([1, -2, 0, 4, 5], np.int8)], ids=["tensor", "column"])
def test_dynamic_matmul(policy, shape, zero):
    x, w = randn(*shape), np.random.default_rng(0).integers(-40, 40, (4, 5)).astype(np.int8)
    nodes, weights = dynamic("MatMulInteger", w, {}, zero)
    d = check(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy)
    floats = model(
        [node("MatMul", ["x", "v"])],
        {"x": x},
        ["y"],
        weights={"v": (w.astype(np.float32) - zero) * np.float32(0.02)},
    )
    close(d.forward, columns(floats, {"x": x}, "x", "y"), 1e-4, "the product that was quantized")


@pytest.mark.parametrize("policy", POLICIES)
def test_product_of_two_quantized_values(policy):
    x = randn(3, 3)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        node("MatMulInteger", ["q", "q", "qz", "qz"], ["i"]),
        node("Cast", ["i"], ["c"], to=TensorProto.FLOAT),
        node("Mul", ["qs", "qs"], ["t"]),
        node("Mul", ["c", "t"], ["y"]),
    ]
    check(model(nodes, {"x": x}, ["y"]), {"x": x}, policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_quantized_network(policy):
    """QDQ around a Conv and a Relu: the frozen map is the float network's, the residual says what rounding paid."""
    x, steps = randn(1, 2, 5, 5), np.array([0.01, 0.02, 0.015], np.float32)
    weights = {
        "s": np.float32(0.05),
        "z": np.uint8(120),
        "ws": steps,
        "wz": np.zeros(3, np.int8),
        "bs": steps * np.float32(0.05),
        "w": np.random.default_rng(0).integers(-40, 40, (3, 2, 3, 3)).astype(np.int8),
        "b": np.array([10, -20, 5], np.int32),
        "bz": np.zeros(3, np.int32),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        node("Conv", ["d", "wd", "bd"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    check(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy)


@pytest.mark.parametrize("op", ["QuantizeLinear", "DynamicQuantizeLinear"])
def test_standard(op):
    done = 0
    for case in standard_cases(op):
        proto, feeds = case_model(case, "x")
        if not runs(proto, feeds):
            continue
        proto.graph.node.append(
            node("Cast", [proto.graph.output[0].name], ["as_float"], to=TensorProto.FLOAT)
        )
        proto.graph.output.append(helper.make_tensor_value_info("as_float", TensorProto.FLOAT, None))
        check(proto, feeds, output="as_float")
        done += 1
    assert done >= {"QuantizeLinear": 7, "DynamicQuantizeLinear": 3}[op]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_product_of_integers_with_a_scale_for_each_column(policy):
    """F is the float product with weights that are the integers times their column's scale."""
    x, w = randn(2, 3), np.random.default_rng(1).integers(-40, 40, (3, 4)).astype(np.int8)
    scales = np.array([0.01, 0.02, 0.03, 0.04], np.float32)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearMatMul", ["q", "s", "z", "w", "ws", "wz", "s", "z"], ["p"]),
        node("DequantizeLinear", ["p", "s", "z"], ["y"]),
    ]
    weights = {"s": np.float32(0.05), "z": np.int8(0), "w": w, "ws": scales, "wz": np.zeros(4, np.int8)}
    d = check(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy)
    close(d.forward, np.kron(np.eye(2), (w * scales).T), 1e-6, "the product that was quantized")
