"""What freezing means, restated as explicit matrices: y1 = A(x0)·x1 + c(x0) for single operators, written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from support import materialise, model, node, randn

X = np.array([-2.0, -0.5, 0.04, 0.7, 3.0], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def frozen(proto: onnx.ModelProto, x: np.ndarray, policy: str = "freeze") -> tuple[np.ndarray, np.ndarray]:
    d = materialise(proto, {"x": x}, policy, "x", "y")
    return d.forward, d.residual


def unary(op: str, **attrs: float) -> onnx.ModelProto:
    return model([node(op, ["x"], **attrs)], {"x": X}, ["y"], opset=20)


GAINS: dict[str, tuple[dict[str, float], Callable[[np.ndarray], np.ndarray]]] = {
    "Relu": ({}, lambda x: (x > 0) * 1.0),
    "LeakyRelu": ({"alpha": 0.2}, lambda x: np.where(x < 0, 0.2, 1)),
    "ThresholdedRelu": ({"alpha": 1.0}, lambda x: (x > 1) * 1.0),
    "Abs": ({}, np.sign),
    "Tanh": ({}, lambda x: np.tanh(x) / x),
    "Elu": ({"alpha": 1.0}, lambda x: np.where(x < 0, np.expm1(x) / x, 1)),
    "HardSwish": ({}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "Mish": ({}, lambda x: np.tanh(np.log1p(np.exp(x)))),
    "Softsign": ({}, lambda x: 1 / (1 + np.abs(x))),
}


@pytest.mark.parametrize("op", GAINS)
def test_functions_through_zero_are_a_gain_and_nothing_else(op: str) -> None:
    attrs, gain = GAINS[op]
    a, c = frozen(unary(op, **attrs), X)
    assert np.allclose(a, np.diag(gain(X.astype(np.float64))), atol=1e-6)
    assert np.allclose(c, 0)


def test_a_sigmoid_is_its_ratio_and_near_zero_its_tangent() -> None:
    a, c = frozen(unary("Sigmoid"), X)
    s = sigmoid(X.astype(np.float64))
    near = np.abs(X) < 0.1
    assert near.sum() == 1
    assert np.allclose(np.diag(a), np.where(near, s * (1 - s), s / X), atol=1e-6)
    assert np.allclose(c, np.where(near, s - s * (1 - s) * X, 0), atol=1e-6)


def test_a_sigmoid_under_taylor_is_its_tangent_everywhere() -> None:
    a, c = frozen(unary("Sigmoid"), X, "taylor")
    s = sigmoid(X.astype(np.float64))
    assert np.allclose(np.diag(a), s * (1 - s), atol=1e-6)
    assert np.allclose(c, s - s * (1 - s) * X, atol=1e-6)


def test_a_hard_swish_is_straight_beyond_its_ends() -> None:
    x = np.float32([[-4, -3.5, -2, 2, 3.5, 4]])
    a, _ = frozen(model([node("HardSwish", ["x"])], {"x": x}, ["y"]), x, "taylor")
    assert np.allclose(np.diag(a), [0, 0, 2 * -2 / 6 + 0.5, 2 * 2 / 6 + 0.5, 1, 1])


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_a_product_of_two_active_matrices_keeps_its_bias(policy: str) -> None:
    """The bias may be a constant, or depend on the image itself."""
    x = randn(2, 2)
    for bias in (["x", "x", "b"], ["x", "x", "x"]):
        proto = model([node("Gemm", bias, beta=0.5)], {"x": x}, ["y"], weights={"b": np.float32([3, -4])})
        a, c = frozen(proto, x, policy)
        added = x if bias[2] == "x" else np.float32([3, -4])
        assert np.allclose(a @ x.ravel() + c, (x @ x + 0.5 * added).ravel(), atol=1e-5)
    assert a.any()


def test_clip_is_one_inside_and_a_ratio_or_a_source_outside() -> None:
    proto = model(
        [node("Clip", ["x", "low", "high"])],
        {"x": X},
        ["y"],
        weights={"low": np.float32(-1), "high": np.float32(2)},
    )
    a, c = frozen(proto, X)
    assert np.allclose(np.diag(a), [0.5, 1, 1, 1, 2 / 3])
    assert np.allclose(c, 0)
    a, c = frozen(proto, X, "taylor")
    assert np.allclose(np.diag(a), [0, 1, 1, 1, 0])
    assert np.allclose(c, [-1, 0, 0, 0, 2])


def test_max_pool_takes_the_pixel_that_the_base_picked() -> None:
    x = np.array([[[1, 5, 2, 4, 3, 0]]], np.float32)
    a, c = frozen(model([node("MaxPool", ["x"], kernel_shape=[2], strides=[2])], {"x": x}, ["y"]), x)
    assert np.array_equal(a, [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]])
    assert not c.any()


def test_instance_normalization_keeps_the_mean_and_deviation_of_the_base() -> None:
    x = randn(1, 1, 5)
    proto = model(
        [node("InstanceNormalization", ["x", "s", "b"], epsilon=0.01)],
        {"x": x},
        ["y"],
        weights={"s": np.float32([3]), "b": np.float32([0.5])},
    )
    a, c = frozen(proto, x)
    gain = 3 / np.sqrt(x.var() + 0.01)
    assert np.allclose(a, gain * np.eye(5), atol=1e-5)
    assert np.allclose(c, 0.5 - x.mean() * gain, atol=1e-5)


def test_layer_normalization_under_taylor_is_its_jacobian() -> None:
    x = randn(1, 6)
    proto = model(
        [node("LayerNormalization", ["x", "s"], epsilon=0.01)],
        {"x": x},
        ["y"],
        weights={"s": np.ones(6, np.float32)},
    )
    a, _ = frozen(proto, x, "taylor")
    deviation = np.sqrt(x.var() + 0.01)
    z = (x - x.mean()) / deviation
    assert np.allclose(a, (np.eye(6) - 1 / 6 - z.T @ z / 6) / deviation, atol=1e-5)


def test_a_gate_is_a_decision_and_its_value_is_carried() -> None:
    silu = model([node("Sigmoid", ["x"], ["g"]), node("Mul", ["g", "x"])], {"x": X}, ["y"])
    a, c = frozen(silu, X)
    assert np.allclose(a, np.diag(sigmoid(X)), atol=1e-6)
    assert np.allclose(c, 0, atol=1e-7)


def test_two_gates_of_one_strength_are_carried_half_each() -> None:
    gates = [node("Sigmoid", ["x"], ["g"]), node("HardSigmoid", ["x"], ["h"])]
    g, h = sigmoid(X), np.clip(0.2 * X + 0.5, 0, 1)
    a, _ = frozen(model([*gates, node("Mul", ["g", "h"])], {"x": X}, ["y"]), X)
    of_g, of_h = (frozen(model([node(n.op_type, ["x"])], {"x": X}, ["y"]), X)[0] for n in gates)
    assert np.allclose(a, (h[:, None] * of_g + g[:, None] * of_h) / 2, atol=1e-6)


def test_the_weaker_of_two_gates_is_carried() -> None:
    clipped = [node("Clip", ["x"], ["g"]), node("Sigmoid", ["x"], ["h"]), node("Mul", ["g", "h"])]
    a, _ = frozen(model(clipped, {"x": X}, ["y"]), X)
    assert np.allclose(a, np.diag(sigmoid(X)), atol=1e-6)


def test_a_product_without_a_gate_is_carried_half_each() -> None:
    a, c = frozen(model([node("Mul", ["x", "x"])], {"x": X}, ["y"]), X)
    assert np.allclose(a, np.diag(X))
    assert np.allclose(c, 0, atol=1e-7)
    a, c = frozen(model([node("Mul", ["x", "x"])], {"x": X}, ["y"]), X, "taylor")
    assert np.allclose(a, np.diag(2 * X))
    assert np.allclose(c, -X * X, atol=1e-6)


def test_attention_weights_are_a_decision_and_the_values_are_carried() -> None:
    x = randn(1, 3, 4)
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["x", "t"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("MatMul", ["p", "x"]),
    ]
    a, c = frozen(model(nodes, {"x": x}, ["y"]), x)
    scores = np.exp(x[0] @ x[0].T)
    assert np.allclose(a, np.kron(scores / scores.sum(1, keepdims=True), np.eye(4)), atol=1e-5)
    assert np.allclose(c, 0, atol=1e-6)


def test_batch_normalization_is_a_gain_and_a_source() -> None:
    x = randn(1, 2, 1, 1)
    weights = {
        "s": np.float32([2, 3]),
        "b": np.float32([1, -1]),
        "m": np.float32([0.5, 0.2]),
        "v": np.float32([4, 9]),
    }
    a, c = frozen(
        model(
            [node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=0.0)],
            {"x": x},
            ["y"],
            weights=weights,
        ),
        x,
    )
    assert np.allclose(a, np.diag([1, 1]), atol=1e-6)
    assert np.allclose(c, [1 - 0.5, -1 - 0.2], atol=1e-6)


def test_the_rounding_of_quantization_is_a_source() -> None:
    x = np.float32([0.26, -0.1, 9.0])
    q = {"scale": np.float32(0.1), "zero": np.int8(3)}
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"]),
    ]
    proto = model(nodes, {"x": x}, ["y"], weights=q)
    a, c = frozen(proto, x)
    assert np.allclose(a, np.eye(3))
    assert np.allclose(c, np.float32([0.3, -0.1, 9.0]) - x, atol=1e-6)
    d = materialise(proto, {"x": x}, "freeze", "x", "y")
    assert len(d.scope.at_sources) == 1, "the zero points cancel and leave no trace in the ledger"


def test_an_interior_softmax_on_every_path_leaves_nothing_to_carry() -> None:
    proto = model([node("Softmax", ["x"], ["p"]), node("Neg", ["p"])], {"x": X[None]}, ["y"])
    d = materialise(proto, {"x": X[None]}, "freeze", "x", "y")
    assert not d.forward.any()
    assert any("F = 0" in note for note in d.scope.notes)


def test_the_policy_may_differ_by_operator_and_by_node() -> None:
    from onnxscope import rewrite

    proto = model(
        [node("Sigmoid", ["x"], ["s"], name="first"), node("Tanh", ["s"], name="second")], {"x": X}, ["y"]
    )
    for special in ({"Sigmoid": "taylor"}, {"first": "taylor"}):
        policies = {s.name: s.policy for s in rewrite(proto, policy_for=special).steps}
        assert policies == {"first": "taylor", "second": "freeze"}


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5)])
@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_a_model_may_have_a_batch_of_its_own(shape: tuple[int, ...], policy: str) -> None:
    """Then the probes stand before it: F maps whole batches, and maps each image to its own output alone."""
    x = randn(*shape)
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1] * 4, strides=[2, 2]),
        node("Sigmoid", ["a"], ["s"]),
        node("MaxPool", ["s"], ["m"], kernel_shape=[2, 2]),
        node("Transpose", ["m"], ["t"], perm=[1, 0, 2, 3]),
        node("Reshape", ["t", "shape"], ["r"]),
        node("MatMul", ["r", "v"]),
    ]
    weights = {"w": randn(2, 3, 3, 3, seed=1), "v": randn(2, 3, seed=2), "shape": np.array([2, -1, 2])}
    d = materialise(model(nodes, {"x": x}, ["y"], weights=weights), {"x": x}, policy, "x", "y")
    assert np.allclose(d.frozen_at_x0, d.base["y"].ravel(), atol=1e-5)
    assert np.allclose(d.forward, d.backward.T, atol=1e-5)
    each = d.forward.reshape(2, shape[0], -1, shape[0], x[0].size)
    assert all(not each[:, i, :, k].any() for i in range(shape[0]) for k in range(shape[0]) if i != k)


@pytest.mark.parametrize("shape", [(2, 1, 3, 2), (2, 3, 1, 2), (1, 3, 2, 2)])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_parts_are_joined_along_every_axis(shape: tuple[int, ...], axis: int) -> None:
    """Also where the first axis is no batch of one, beside which the probes stand."""
    x = randn(1, int(np.prod(shape)))
    nodes = [
        node("Reshape", ["x", "shape"], ["a"]),
        node("Neg", ["a"], ["b"]),
        node("Concat", ["a", "b"], axis=axis),
    ]
    d = materialise(model(nodes, {"x": x}, ["y"], weights={"shape": np.array(shape)}), {"x": x})
    units = np.eye(x.size).reshape(-1, *shape)
    expected = np.concatenate([units, -units], 1 + axis).reshape(x.size, -1).T
    np.testing.assert_array_equal(d.forward, expected)
    np.testing.assert_array_equal(d.backward.T, expected)
