"""Two exports of one network: layers are paired by what they compute, and their parts of a difference add up to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import MODELS
from onnx import numpy_helper
from support import model, node, randn, run

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.pairing.secants import SECANTS

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from diff.cases import make as make_cases

PICTURE = MODELS / "scenes" / "car_0.png"
VARIANTS = [
    (name, kind) for name in ("scenes_resnet", "pixelshuffle_small") for kind in ("torch", "fp16", "int8")
]
SHAPE = (1, 4, 8, 8)
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
# operators on a value x of SHAPE, with further inputs and attributes
SINGLE: dict[str, tuple[str, list[np.ndarray], dict[str, Any]]] = {
    **{
        op: (op, [], {})
        for op in SECANTS
        if op not in ("MaxPool", "PRelu", "Clip", "Pow", "Log", "Sqrt", "Identity")
    },
    "MaxPool": ("MaxPool", [], POOL),
    "PRelu": ("PRelu", [randn(4, 1, 1)], {}),
    "Clip": ("Clip", [np.float32(-0.5), np.float32(0.7)], {}),
    "Pow": ("Pow", [np.float32(2)], {}),
    "Softmax": ("Softmax", [], {"axis": 1}),
    "LogSoftmax": ("LogSoftmax", [], {"axis": 1}),
    "InstanceNormalization": ("InstanceNormalization", [randn(4), randn(4, seed=1)], {}),
    "LayerNormalization": ("LayerNormalization", [randn(8)], {"axis": -1}),
    "LRN": ("LRN", [], {"size": 3}),
    "GlobalMaxPool": ("GlobalMaxPool", [], {}),
    "AveragePool": ("AveragePool", [], POOL),
    "ReduceMax": ("ReduceMax", [np.array([1])], {}),
    "ReduceL2": ("ReduceL2", [np.array([1])], {}),
    "BatchNormalization": ("BatchNormalization", [randn(4), randn(4), randn(4), np.abs(randn(4)) + 1], {}),
}
UNBOUNDED = {"Tan", "Acos", "Asin", "Acosh", "Atanh", "Reciprocal"}  # outside of their domain, or at a pole
NEWER = {"Swish": 24, "Gelu": 20}  # opsets


def two_layers(
    middle: list[onnx.NodeProto], extra: dict[str, np.ndarray], change: float, opset: int
) -> onnx.ModelProto:
    """A convolution, these nodes from x to y, and a mean; the convolution's weights are changed so much."""
    weights = randn(4, 3, 3, 3) / 3 + change * randn(4, 3, 3, 3, seed=5) / 3
    nodes = [
        node("Conv", ["image", "w"], ["x"], pads=[1, 1, 1, 1]),
        *middle,
        node("Flatten", ["y"], ["flat"]),
        node("MatMul", ["flat", "last"], ["scores"]),
    ]
    size = 4 * 8 * 8
    for n in middle:
        if n.op_type in ("MaxPool", "AveragePool"):
            size = 4 * 4 * 4
        if n.op_type == "GlobalMaxPool":
            size = 4
        if n.op_type in ("ReduceMax", "ReduceL2"):
            size = 8 * 8
    constants = {"w": weights, "last": randn(size, 5, seed=7), **extra}
    return model(nodes, {"image": randn(1, 3, 8, 8)}, ["scores"], opset=opset, weights=constants)


@pytest.mark.parametrize("name", [n for n in SINGLE if n not in UNBOUNDED])
@pytest.mark.parametrize("change", [0.3, 1e-4])
def test_the_parts_add_up_through_every_operator(name: str, change: float) -> None:
    op, inputs, attrs = SINGLE[name]
    extra = {f"c{k}": value for k, value in enumerate(inputs)}
    nodes = [node(op, ["x", *extra], ["y"], **attrs)]
    pair = [two_layers(nodes, extra, c, NEWER.get(op, 18)) for c in (0.0, change)]
    check_sum(*pair, least=1e-6)


def check_sum(a: onnx.ModelProto, b: onnx.ModelProto, least: float) -> onnxscope.Difference:
    """The difference is that of the files, and its parts add up to it."""
    image = randn(1, 3, 8, 8, seed=3)
    found = onnxscope.diff(a, b, image, ask="score:2")
    values = [run(each, {"image": image})["scores"][0, 2] for each in (a, b)]
    np.testing.assert_allclose([found.value_a, found.value_b], values, rtol=1e-5, atol=1e-6)
    total = sum(s.contribution for s in found.layers) + found.remainder
    assert total == pytest.approx(found.difference, abs=1e-6) and abs(found.difference) > least
    assert abs(found.remainder) <= 1e-5 * max(abs(found.value_a), abs(found.value_b), 1.0)
    return found


@pytest.mark.parametrize("op", ["Mul", "MatMul", "Div", "Max", "Add", "Sub"])
def test_the_parts_add_up_through_two_active_values(op: str) -> None:
    nodes = [node("Sigmoid", ["x"], ["gate"]), node(op, ["x", "gate"], ["y"])]
    check_sum(*(two_layers(nodes, {}, change, 18) for change in (0.0, 0.3)), least=1e-6)


def test_each_layer_is_paid_what_it_changed() -> None:
    """Two products: the first changes w₂·ΔW₁·x, the second Δw₂·W₁′·x."""
    x, w1, w2 = randn(1, 6), randn(6, 4, seed=1), randn(4, 3, seed=2)
    d1, d2 = 0.1 * randn(6, 4, seed=3), 0.1 * randn(4, 3, seed=4)
    nodes = [node("MatMul", ["image", "w1"], ["h"]), node("MatMul", ["h", "w2"], ["scores"])]
    a, b = (
        model(nodes, {"image": x}, ["scores"], weights={"w1": w1 + k * d1, "w2": w2 + k * d2}) for k in (0, 1)
    )
    found = onnxscope.diff(a, b, x, ask="score:1")
    want = [(x @ d1 @ w2)[0, 1], (x @ (w1 + d1) @ d2)[0, 1]]
    np.testing.assert_allclose([s.contribution for s in found.layers], want, rtol=1e-5)
    assert [set(s.kinds) for s in found.layers] == [{"weights"}, {"weights"}]
    filtered = (x @ (w1 + d1) @ (w2 + d2) - x @ w1 @ w2)[0, 1]
    assert found.in_filter == pytest.approx(filtered, rel=1e-4) and found.in_residual == pytest.approx(
        0, abs=1e-5
    )


def test_another_bias_is_told_from_other_weights() -> None:
    x, w1, w2, bias, change = (randn(*s, seed=k) for k, s in enumerate([(1, 6), (6, 4), (4, 3), (4,), (4,)]))
    nodes = [node("Gemm", ["image", "w1", "b1"], ["h"]), node("MatMul", ["h", "w2"], ["scores"])]
    a, b = (
        model(nodes, {"image": x}, ["scores"], weights={"w1": w1, "w2": w2, "b1": bias + k * change})
        for k in (0, 1)
    )
    found = onnxscope.diff(a, b, x, ask="score:1")
    assert found.first_wrong is not None and found.first_wrong["kind"] == "bias"
    assert found.layers[0].kinds["bias"] == pytest.approx((change @ w2)[1], rel=1e-5)
    assert found.layers[0].kinds["weights"] == pytest.approx(0, abs=1e-6)
    assert found.in_residual == pytest.approx((change @ w2)[1], rel=1e-4)
    assert found.in_filter == pytest.approx(0, abs=1e-5)


def test_what_a_range_cuts_off_is_told_from_rounding() -> None:
    """A quantizer from −6.4 to 6.35 in steps of 0.05, behind values of up to 10."""
    x, w1, w2, step = 10 * randn(1, 6), np.eye(6, dtype=np.float32), randn(6, 3, seed=2), 0.05
    first, last = node("MatMul", ["image", "w1"], ["h"]), node("MatMul", ["h", "w2"], ["scores"])
    rounding = [
        node("QuantizeLinear", ["h", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["r"]),
        node("MatMul", ["r", "w2"], ["scores"]),
    ]
    weights = {"w1": w1, "w2": w2, "step": np.float32(step), "zero": np.int8(0)}
    a = model([first, last], {"image": x}, ["scores"], weights={"w1": w1, "w2": w2})
    b = model([first, *rounding], {"image": x}, ["scores"], weights=weights)
    found = onnxscope.diff(a, b, x, ask="score:1")
    own = np.clip(np.round(x / step), -128, 127) * step - x
    cut = np.abs(own) > 0.51 * step
    assert 0 < cut.sum() < cut.size
    kinds = {k: v for s in found.layers for k, v in s.kinds.items() if k in ("rounding", "saturation")}
    assert kinds["saturation"] == pytest.approx((own * cut @ w2)[0, 1], rel=1e-4)
    assert kinds["rounding"] == pytest.approx((own * ~cut @ w2)[0, 1], abs=1e-4)
    assert max(s.cut for s in found.layers) == pytest.approx(cut.mean())


@pytest.mark.parametrize(("name", "kind"), VARIANTS)
def test_variants_of_bundled_networks(name: str, kind: str) -> None:
    found = onnxscope.diff(MODELS / f"{name}.onnx", MODELS / f"{name}_{kind}.onnx", PICTURE)
    assert abs(found.remainder) <= max(1e-5 * abs(found.value_a), found.noise)
    assert not found.only_a and not found.only_b
    assert found.same or kind != "torch"  # float16 may be the same within its noise
    assert (found.first_wrong is None) == (kind != "int8")
    convolutions = [n.name for n in onnx.load(MODELS / f"{name}.onnx").graph.node if n.op_type == "Conv"]
    assert set(convolutions) <= {s.a for s in found.layers if s.b}


@pytest.mark.parametrize(
    "kind",
    ["add-as-sub", "group-norm-groups", "max-pool-ceil-mode", "range-cut", "zero-point", "reduced-axis"],
)
def test_the_first_wrong_layer_is_named(kind: str, tmp_path: Path) -> None:
    make_cases(tmp_path, kind)
    cases = [folder for folder in tmp_path.iterdir() if (folder / "truth.json").exists()]
    assert cases
    for case in cases:
        truth = json.loads((case / "truth.json").read_text(encoding="utf-8"))
        picture = next(case.glob("image.*"))
        found = onnxscope.diff(case / "a.onnx", case / "b.onnx", picture).first_wrong
        assert found and (found["a"] in truth["a"] or found["b"] in truth["b"]), (case.name, found, truth)


def test_a_difference_above_a_limit_sets_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(MODELS / f"scenes_resnet{kind}.onnx") for kind in ("", "_int8")]
    for limit, code in (("0.03", 1), ("0.05", 0)):
        assert cli.run(["diff", *files, "--image", str(PICTURE), "--fail-above", limit]) == code
        assert "is 4.34161 in A and 4.30326 in B" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_in_one_line() -> None:
    def refused(a: str, b: str) -> str:
        with pytest.raises(onnxscope.ScopeError) as error:
            onnxscope.diff(MODELS / a, MODELS / b, PICTURE)
        return str(error.value)

    assert "nothing in common: 1 of 13 layers match" in refused("scenes_resnet.onnx", "scenes_vgg.onnx")
    assert "no outputs are of one size" in refused("scenes_resnet.onnx", "edsr_small.onnx")


def test_changed_weights_are_told_from_another_definition() -> None:
    proto = onnx.load(MODELS / "scenes_resnet.onnx")
    weights = next(t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[0] == 24)
    changed = numpy_helper.to_array(weights).copy()
    changed[3] = 0
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    reader = next(n.name for n in proto.graph.node if weights.name in n.input)
    found = onnxscope.diff(MODELS / "scenes_resnet.onnx", proto, PICTURE)
    assert found.first_wrong == {"a": reader, "b": reader, "kind": "weights"}
    assert sum(s.contribution != 0 for s in found.layers if s.error) == 1
