"""What is taken as the image and as the output, what the node table says, and that a remedy works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import model, node, randn

import onnxscope
from onnxscope import BadModel, BadOption, Scope, Unsupported
from onnxscope.files import models

X = randn(1, 3, 8, 8)
W = {"w": randn(4, 3, 3, 3, seed=1)}
CONV = node("Conv", ["x", "w"], ["a"], name="conv")


def small(
    *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **weights: np.ndarray
) -> onnx.ModelProto:
    return model([CONV, *nodes], {"x": X}, list(outputs), weights={**W, **weights})


SCORES = [node("GlobalAveragePool", ["a"], ["g"]), node("Flatten", ["g"], ["s"])]


@pytest.mark.parametrize(
    ("last", "chosen"),
    [
        (node("Softmax", ["s"], name="last"), "s"),
        (node("LogSoftmax", ["s"], name="last"), "s"),
        (node("Sigmoid", ["s"], name="last"), "s"),
        (node("Relu", ["s"], name="last"), "y"),
    ],
)
def test_scores_are_explained_before_what_squashes_them(last: onnx.NodeProto, chosen: str) -> None:
    scope = onnxscope.rewrite(small(*SCORES, last))
    assert scope.output == chosen
    assert bool(scope.notes) == (chosen == "s"), "and the report says so"


def test_an_image_is_explained_after_its_sigmoid() -> None:
    assert onnxscope.rewrite(small(node("Sigmoid", ["a"]))).output == "y"


def test_any_tensor_can_be_the_image_or_the_output() -> None:
    proto = small(
        node("Relu", ["a"], ["r"]), node("Sigmoid", ["r"], ["s"]), node("MaxPool", ["s"], kernel_shape=[2, 2])
    )
    scope = onnxscope.rewrite(proto, image="r", output="s")
    assert {s.name for s in scope.steps if s.how != "unsupported"} == {"s", "y"}
    report = onnxscope.verify(scope)
    assert report.ok, report
    with pytest.raises(BadOption, match=r"no tensor 'q'.*'x'"):
        onnxscope.rewrite(proto, image="q")
    with pytest.raises(BadOption, match=r"no tensor 'q'.*'y'"):
        onnxscope.rewrite(proto, output="q")


def test_integer_pixels_are_explained_behind_their_cast() -> None:
    pixels = np.zeros((1, 3, 8, 8), np.uint8)
    proto = model(
        [node("Cast", ["p"], ["x"], to=TensorProto.FLOAT), CONV, node("Relu", ["a"])],
        {"p": pixels},
        ["y"],
        weights=W,
    )
    assert onnxscope.rewrite(proto).image == "x"
    assert onnxscope.verify(proto, policy="taylor").ok


def test_of_several_inputs_the_image_like_one_is_taken_or_one_is_asked_for() -> None:
    nodes = [CONV, node("Mul", ["a", "z"])]
    assert onnxscope.rewrite(model(nodes, {"x": X, "z": randn(1)}, ["y"], weights=W)).image == "x"
    both = model(nodes, {"x": X, "z": randn(1, 4, 6, 6)}, ["y"], weights=W)
    with pytest.raises(BadOption, match=r"'x', 'z'.*--image-input x"):
        onnxscope.rewrite(both)
    assert onnxscope.verify(both, image="z").ok


@pytest.mark.parametrize("opset", [11, 13, 18, 20])
def test_what_stands_before_a_selection_of_boxes_can_be_explained(opset: int) -> None:
    """Sizes behind NonMaxSuppression depend on values; the base keeps them as they are."""
    split = {"split": [4, 2]} if opset < 13 else {}
    axes = {"axes": [0]} if opset < 13 else {}
    more = [[], []] if opset < 13 else [["sizes"], ["zero"]]
    nodes = [
        node("Conv", ["x", "w"], ["a"], strides=[2, 2]),
        node("Reshape", ["a", "rows"], ["p"]),
        node("Split", ["p", *more[0]], ["boxes", "logits"], axis=2, **split),
        node("Sigmoid", ["logits"], ["l"]),
        node("Transpose", ["l"], ["scores"], perm=[0, 2, 1]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["kept"]),
        node("Gather", ["kept", "column"], ["index"], axis=1),
        node("Unsqueeze", ["index", *more[1]], ["u"], **axes),
        node("Squeeze", ["u", *more[1]], ["i"], **axes),
        node("Gather", ["boxes", "i"], ["picked"], axis=1),
        node("Shape", ["picked"], ["count"]),
        node("Flatten", ["picked"], ["flat"], axis=1),
    ]
    weights = {
        "w": randn(6, 3, 3, 3),
        "rows": np.array([1, -1, 6]),
        "most": np.array([5]),
        "iou": np.float32([0.5]),
        "least": np.float32([0.1]),
        "column": np.array(2),
        "sizes": np.array([4, 2]),
        "zero": np.array([0]),
    }
    used = {i for n in nodes for i in n.input}
    info = helper.make_tensor_value_info
    outputs = [
        info("flat", TensorProto.FLOAT, None),
        info("count", TensorProto.INT64, None),
        info("boxes", TensorProto.FLOAT, None),
    ]
    initial = [numpy_helper.from_array(v, k) for k, v in weights.items() if k in used]
    graph = helper.make_graph(nodes, "boxes", [info("x", TensorProto.FLOAT, X.shape)], outputs, initial)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    assert onnxscope.verify(proto, output="boxes", policy="taylor").ok
    with pytest.raises(Unsupported, match=r"size .* depends on values.*--output"):
        onnxscope.rewrite(proto, output="flat")
    scope = onnxscope.rewrite(proto)
    assert scope.output == "scores/logits"
    assert "before the Sigmoid and the NonMaxSuppression" in scope.notes[0]


def test_the_doctor_names_what_stops_a_rewrite_and_the_remedy_works() -> None:
    nodes = [
        node("Relu", ["a"], ["r"]),
        node("Reshape", ["r", "matrices"], ["t"]),
        node("Det", ["t"], ["q"], name="reader"),
        node("ReduceMean", ["r"], ["m"], keepdims=0),
        node("Add", ["q", "m"]),
    ]
    proto = small(*nodes, matrices=np.array([4, 6, 6]))
    found = onnxscope.doctor(proto)
    assert not found.ok
    assert {s.name: s.how for s in found.steps}["reader"] == "unsupported"
    assert "reader" in found.problems[0]
    assert "--opaque reader" in found.problems[0]
    assert onnxscope.doctor(proto, opaque=["reader"]).ok
    assert onnxscope.verify(proto, opaque=["Det"]).ok


@pytest.mark.parametrize(("side", "folded"), [(8, True), (90, True), (91, False), (3000, False)])
def test_large_results_of_small_constants_are_not_stored(side: int, folded: bool) -> None:
    """Up to 64 KiB are computed beforehand, eight bytes being counted for each element."""
    nodes = [
        node("ConstantOfShape", ["size"], ["zeros"]),
        node("ReduceMean", ["zeros"], ["mean"]),
        node("Add", ["x", "mean"]),
    ]
    proto = model(nodes, {"x": X}, ["y"], weights={"size": np.array([side, side])})
    scope = onnxscope.rewrite(proto)
    assert ("ConstantOfShape" in {n.op for n in scope.graph.nodes}) != folded
    assert len(models.to_bytes(scope.graph)) < 10_000


def test_an_operator_without_a_rule_beside_the_path_does_not_matter() -> None:
    """The explained output does not pass by it, so the base keeps it and nothing is refused."""
    nodes = [node("Relu", ["a"]), node("Reshape", ["a", "matrices"], ["t"]), node("Det", ["t"], ["h"])]
    assert onnxscope.verify(small(*nodes, outputs=("y", "h"), matrices=np.array([4, 6, 6]))).ok


def test_a_saved_scope_tells_all_that_it_told_before(tmp_path: Path) -> None:
    scope = onnxscope.rewrite(
        small(*SCORES, node("Softmax", ["s"])), policy="taylor", policy_for={"conv": "freeze"}
    )
    again = Scope.load(scope.save(tmp_path / "s.onnx"))
    for field in ("image", "output", "policy", "source_sha256", "steps", "notes", "at_sources"):
        assert getattr(again, field) == getattr(scope, field), field
    assert onnxscope.verify(again).ok


def test_names_say_which_branch_a_node_belongs_to() -> None:
    scope = onnxscope.rewrite(small(node("Relu", ["a"], name="relu")))
    own = {"conv", "relu"}
    branches = {n.name.split("/")[0] for n in scope.graph.nodes if n.name not in own}
    assert branches == {"state", "frozen", "transposed"}
    assert {"frozen/conv", "transposed/conv/Conv"} <= {n.name for n in scope.graph.nodes}


@pytest.mark.parametrize("name", ["scope_probe", "scope_frozen", "scope_ledger"])
def test_names_that_the_scope_needs_are_refused_in_the_model(name: str) -> None:
    with pytest.raises(BadModel, match=f"tensor '{name}'.*rename"):
        onnxscope.rewrite(small(node("Relu", ["a"], [name]), node("Neg", [name])))


def test_a_node_of_the_model_may_be_called_as_a_source() -> None:
    scope = onnxscope.rewrite(small(node("Relu", ["a"], ["r"], name="source/r"), node("Mul", ["r", "r"])))
    assert "source/r" in {n.name for n in scope.linear().nodes}, (
        "only the sources of the scope itself are left out"
    )
    assert onnxscope.verify(scope).ok


@pytest.mark.parametrize("damage", ["image", "nodes", "sources", "output"])
def test_a_damaged_scope_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    bias = {"b": randn(4, 1, 1)}
    saved = onnx.load(onnxscope.rewrite(small(node("Add", ["a", "b"]), **bias)).save(tmp_path / "s.onnx"))
    for p in saved.metadata_props:
        if p.key == f"onnxscope.{damage}":
            p.value = "{}" if damage == "sources" else "nowhere"
    onnx.save(saved, tmp_path / "t.onnx")
    with pytest.raises(BadModel, match="scope is damaged"):
        onnxscope.verify(tmp_path / "t.onnx")


@pytest.mark.parametrize("branch", ["frozen", "transposed", "source"])
def test_a_tampered_branch_falls_short(branch: str, tmp_path: Path) -> None:
    saved = onnx.load(onnxscope.rewrite(small(node("Sigmoid", ["a"], name="s"))).save(tmp_path / "s.onnx"))
    kinds = {
        "frozen": ("Conv", "frozen/conv"),
        "transposed": ("Mul", "transposed/s"),
        "source": ("Add", "source/s"),
    }
    op, name = kinds[branch]
    tampered = next(n for n in saved.graph.node if n.op_type == op and n.name.startswith(name))
    saved.graph.initializer.append(numpy_helper.from_array(np.float32(1.5), "tamper"))
    at = list(saved.graph.node).index(tampered)
    saved.graph.node.insert(
        at, helper.make_node("Mul", [tampered.input[1], "tamper"], ["tampered"], name="tampering")
    )
    saved.graph.node[at + 1].input[1] = "tampered"
    onnx.save(saved, tmp_path / "t.onnx")
    assert onnxscope.verify(tmp_path / "s.onnx").ok
    assert not onnxscope.verify(tmp_path / "t.onnx").ok


def test_a_scope_is_not_rewritten_again(tmp_path: Path) -> None:
    written = onnxscope.rewrite(small(node("Relu", ["a"]))).save(tmp_path / "s.onnx")
    for verb in (onnxscope.rewrite, onnxscope.doctor):
        with pytest.raises(BadModel, match="is a scope already"):
            verb(written)
