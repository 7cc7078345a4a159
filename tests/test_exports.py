"""What exporters and optimizers write for ordinary networks, in the smallest form of each pattern."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper
from support import POLICIES, check, close, materialise, model, node, randn, run


def predicted(name: str, shape: tuple[int, ...], seed: int) -> tuple[list, dict]:
    """A tensor of this shape that depends on the image x, which is [1, 6]."""
    size = int(np.prod(shape))
    nodes = [
        node("MatMul", ["x", f"{name}_matrix"], [f"{name}_row"]),
        node("Reshape", [f"{name}_row", f"{name}_shape"], [name]),
    ]
    return nodes, {f"{name}_matrix": randn(6, size, seed=seed), f"{name}_shape": np.array(shape)}


CONVOLUTIONS = {
    "groups": ("Conv", (1, 4, 5, 6), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 1, 1], "strides": [2, 1]}),
    "batch": ("Conv", (2, 4, 5, 6), (6, 4, 3, 2), {"dilations": [1, 2]}),
    "transposed": (
        "ConvTranspose",
        (1, 4, 5, 6),
        (4, 3, 3, 2),
        {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1], "output_padding": [1, 0]},
    ),
    "line": ("ConvTranspose", (2, 4, 5), (4, 6, 3), {}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_convolution_with_predicted_weights(case, both, policy):
    """CondConv, dynamic filters, StyleGAN: weights and bias are computed from the image, or from a style."""
    op, image, kernel, attrs = CONVOLUTIONS[case]
    nodes, weights = predicted("w", kernel, 1)
    bias, bias_weights = predicted("b", (6,), 2)
    pixels, pixel_weights = predicted("i", image, 3) if both else ([], {"i": randn(*image, seed=3)})
    nodes = [*nodes, *bias, *pixels, node(op, ["i", "w", "b"], **attrs)]
    feeds = {"x": randn(1, 6)}
    proto = model(nodes, feeds, ["y"], weights={**weights, **bias_weights, **pixel_weights})
    tangent = both and policy == "taylor"
    d = check(proto, feeds, policy, linear=not both, step=0.05 if tangent else 0.0, tolerance=5e-5)
    note = next(s.note for s in d.scope.steps if s.op == op)
    assert note == (
        "" if not both else "product rule" if policy == "taylor" else "the weights are a decision"
    )


EINSUMS = {
    "bhci,bhcj->bhij": ((1, 2, 3, 4), (1, 2, 3, 5)),
    "...ij,...jk->...ik": ((2, 2, 3, 4), (2, 2, 4, 5)),
    "...ij,jk": ((2, 3, 4), (4, 5)),
    "b...c,c...d->...bd": ((2, 3, 4), (4, 3, 5)),
    "i,j": ((3,), (4,)),
}


@pytest.mark.parametrize("equation", EINSUMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_einsum_of_two_active_operands(equation, policy):
    """Attention as timm and einops write it."""
    left, right = EINSUMS[equation]
    (a, a_weights), (b, b_weights) = predicted("a", left, 1), predicted("b", right, 2)
    feeds = {"x": randn(1, 6, seed=3)}
    proto = model(
        [*a, *b, node("Einsum", ["a", "b"], equation=equation)],
        feeds,
        ["y"],
        weights={**a_weights, **b_weights},
    )
    check(proto, feeds, policy, step=0.05 if policy == "taylor" else 0.0, tolerance=5e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_einsum_takes_a_gate_for_a_gate(policy):
    (a, a_weights), (b, b_weights) = predicted("a", (1, 3, 4), 1), predicted("b", (1, 4, 2), 2)
    feeds = {"x": randn(1, 6)}
    proto = model(
        [*a, *b, node("Sigmoid", ["a"], ["s"]), node("Einsum", ["s", "b"], equation="nij,njk->nik")],
        feeds,
        ["y"],
        weights={**a_weights, **b_weights},
    )
    d = check(proto, feeds, policy, step=0.05 if policy == "taylor" else 0.0)
    assert ("input 0 is the frozen gate" in next(s.note for s in d.scope.steps if s.op == "Einsum")) == (
        policy == "freeze"
    )


@pytest.mark.parametrize(("old", "new"), [(17, 33), (3, 5), (6, 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [9, 10, 13, 18])
def test_scales_that_float32_rounds(old, new, mode, opset):
    """PyTorch writes sizes as float32 ratios: onnxruntime multiplies them in float32, the standard's inference more exactly."""
    op, inputs = (
        ("Upsample", ["x", "s"]) if opset == 9 else ("Resize", ["x", "s"] if opset == 10 else ["x", "", "s"])
    )
    x = {"x": randn(1, 1, old, 2)}
    proto = model(
        [node(op, inputs, mode=mode)],
        x,
        ["y"],
        opset=opset,
        weights={"s": np.array([1, 1, new / old, 2], np.float32)},
    )
    assert run(proto, x)["y"].shape[2] == new
    check(proto, x, linear=True)


@pytest.mark.parametrize("opset", [9, 13, 14, 17])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_left_in_training_mode(opset, batch, policy):
    """GAN generators: the batch's own statistics, by an attribute or (before opset 14) by five outputs."""
    x = {"x": randn(batch, 3, 4, 5)}
    weights = {k: np.abs(randn(3, seed=s)) + 0.5 for s, k in enumerate(("scale", "bias", "mean", "var"))}
    bn = node(
        "BatchNormalization",
        ["x", *weights],
        ["y", "m", "v"] if opset >= 14 else ["y", "m", "v", "sm", "sv"],
        momentum=0.8,
        **({"training_mode": 1} if opset >= 14 else {}),
    )
    proto = model([bn], x, ["y", "m", "v"] if opset >= 14 else ["y"], opset=opset, weights=weights)
    check(proto, x, policy, step=0.02 if policy == "taylor" else 0.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_by_computed_statistics(policy):
    """Without running statistics PyTorch computes mean and variance in front of it."""
    x = {"x": randn(1, 3, 4, 5)}
    nodes = [
        node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        node("ReduceMean", ["x", "axes"], ["centre"], keepdims=1),
        node("Sub", ["x", "centre"], ["off"]),
        node("Mul", ["off", "off"], ["square"]),
        node("ReduceMean", ["square", "axes"], ["var"], keepdims=0),
        node("BatchNormalization", ["x", "scale", "bias", "mean", "var"]),
    ]
    weights = {"axes": np.array([0, 2, 3]), "scale": np.abs(randn(3, seed=1)), "bias": randn(3, seed=2)}
    d = check(model(nodes, x, ["y"], weights=weights), x, policy, step=0.02 if policy == "taylor" else 0.0)
    if policy == "freeze":
        gain = weights["scale"] / np.sqrt(x["x"].var((0, 2, 3)) + 1e-5)
        close(np.diag(d.forward), np.repeat(gain, 20), 1e-5, "gain")


def test_round_is_straight_through():
    """Fake quantization written out, and images rounded at the end: what is rounded off is a source."""
    x = {"x": 3 * randn(1, 2, 3, 3)}
    proto = model(
        [node("Div", ["x", "s"], ["d"]), node("Round", ["d"], ["r"]), node("Mul", ["r", "s"])],
        x,
        ["y"],
        weights={"s": np.float32(0.25)},
    )
    close(check(proto, x).forward, np.eye(18), 1e-6, "F")
    assert not check(proto, x, "taylor").forward.any()


def contrib(op: str, inputs: list[str], **attrs):
    return helper.make_node(op, inputs, ["y"], domain="com.microsoft", **attrs)


def foreign(nodes, feeds, weights):
    proto = model(nodes, feeds, ["y"], opset=17, weights=weights)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    proto.ir_version = 8
    return proto


@pytest.mark.parametrize(
    "attrs",
    [
        {"transBatchA": 1},
        {"transBatchA": 1, "transA": 1},
        {"transBatchB": 1, "alpha": 0.5},
        {"transBatchB": 1, "transB": 1},
        {"transA": 1, "transB": 1},
    ],
)
def test_fused_matmul_that_transposes_batches(attrs):
    """What onnxruntime's optimizer makes of multi-head attention."""

    def side(k: str, rows: int, columns: int) -> tuple[int, ...]:
        rows, columns = (columns, rows) if attrs.get(f"trans{k}") else (rows, columns)
        return (rows, 2, columns) if attrs.get(f"transBatch{k}") else (2, rows, columns)

    x = {"x": randn(*side("A", 3, 4))}
    check(
        foreign([contrib("FusedMatMul", ["x", "b"], **attrs)], x, {"b": randn(*side("B", 4, 5), seed=1)}),
        x,
        linear=True,
    )


@pytest.mark.parametrize("columns", [False, True])
def test_dynamic_quantize_matmul(columns):
    x, w = {"x": randn(1, 3, 4)}, np.random.default_rng(0).integers(-127, 127, (4, 5)).astype(np.int8)
    weights = {
        "w": w,
        "s": np.full(5 if columns else 1, 0.02, np.float32),
        "z": np.zeros(5 if columns else 1, np.int8),
        "bias": randn(5),
    }
    d = materialise(foreign([contrib("DynamicQuantizeMatMul", ["x", "w", "s", "z", "bias"])], x, weights), x)
    close(d.frozen_at_x0, d.base["y"].reshape(-1), 1e-5, "frozen(x0)")
    close(d.forward, np.kron(np.eye(3), 0.02 * w.T), 1e-4, "F")


@pytest.mark.parametrize("policy", POLICIES)
def test_matmul_of_integers_to_float(policy):
    x, w = {"x": randn(1, 3, 4)}, np.random.default_rng(0).integers(0, 255, (4, 5)).astype(np.uint8)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        contrib("MatMulIntegerToFloat", ["q", "w", "qs", "s", "qz", "z", "bias"]),
    ]
    weights = {"w": w, "s": np.float32([0.02]), "z": np.uint8([128]), "bias": randn(5)}
    d = check(foreign(nodes, x, weights), x, policy)
    close(d.forward, np.kron(np.eye(3), 0.02 * (w.T.astype(np.float32) - 128)), 1e-4, "F")


def test_quantized_where():
    x = {"x": randn(1, 2, 3)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        contrib("QLinearWhere", ["mask", "q", "s", "z", "other", "s", "z", "t", "z"]),
        node("DequantizeLinear", ["y", "t", "z"], ["out"]),
    ]
    weights = {
        "s": np.float32(0.05),
        "t": np.float32(0.06),
        "z": np.uint8(128),
        "mask": np.array([[[True, False, True]] * 2]),
        "other": np.full((1, 2, 3), 150, np.uint8),
    }
    proto = foreign(nodes, x, weights)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, None))
    close(check(proto, x, output="out").forward, np.diag([1.0, 0, 1, 1, 0, 1]), 1e-5, "F")


def test_written_out_gelu_is_gated_by_its_phi():
    """Before opset 20 exporters write x·½(1 + erf(x/√2)): frozen it is Φ(x0), as for the operator."""
    x = {"x": randn(1, 5)}
    nodes = [
        node("Div", ["x", "root"], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["p"]),
        node("Mul", ["x", "p"], ["q"]),
        node("Mul", ["q", "half"]),
    ]
    d = check(
        model(
            nodes,
            x,
            ["y"],
            weights={"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
        ),
        x,
    )
    close(d.forward, np.diag([0.5 * (1 + math.erf(v / 2**0.5)) for v in x["x"][0]]), 1e-5, "F")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Clip", ["a", "low", "high"], ["c"])],
        [node("Max", ["a", "low"], ["b"]), node("Min", ["b", "high"], ["c"])],
    ],
    ids=["Clip", "Max and Min"],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_bounds_in_float16(nodes, policy):
    """onnxruntime computes float16 in float32 where it likes, and rounds one reader's copy of a value and not another's."""
    x = {"x": randn(1, 3, 8, 8)}
    weights = {
        "w": randn(4, 3, 3, 3, seed=1),
        "low": np.float32(-0.3),
        "high": np.float32(1),
        "v": randn(2, 4, 3, 3, seed=2),
    }
    ends = (
        [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Conv", ["h", "w"], ["a"])],
        [node("Conv", ["c", "v"])],
    )
    half = {k: v.astype(np.float16) for k, v in weights.items()}
    proto = model(
        [*ends[0], *nodes, *ends[1]], x, ["y"], opset=17, weights=half, types={"y": TensorProto.FLOAT16}
    )
    d = materialise(proto, x, policy)
    close(d.frozen_at_x0, d.base["y"].reshape(-1), 4e-3, "frozen(x0)")
    if policy == "taylor":
        ends = [node("Conv", ["x", "w"], ["a"])], [node("Conv", ["c", "v"])]
        full = materialise(
            model([*ends[0], *nodes, *ends[1]], x, ["y"], opset=17, weights=weights), x, policy
        )
        wrong = np.abs(d.forward - full.forward) > 1e-2 * np.abs(full.forward).max()
        assert full.forward.any() and wrong.mean() < 0.02  # a value at a bound may round to its other side


@pytest.mark.parametrize(("op", "factor"), [("Shape", 9), ("Size", 18)])
def test_sizes_that_depend_on_values(op, factor):
    """PyTorch asks for the shape of what a mask selects: [axes, non-zero elements]."""
    x = {"x": randn(1, 2, 3)}
    nodes = [
        node("NonZero", ["x"], ["n"]),
        node(op, ["n"], ["s"]),
        node("Cast", ["s"], ["c"], to=TensorProto.FLOAT),
        node("ReduceSum", ["c"], ["k"], keepdims=0),
        node("Mul", ["x", "k"]),
    ]
    close(check(model(nodes, x, ["y"]), x).forward, factor * np.eye(6), 1e-6, "F")
