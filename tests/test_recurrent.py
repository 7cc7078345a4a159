"""LSTM, GRU and RNN: written out step by step they compute what onnxruntime's layers compute."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support import model, node, randn

import onnxscope
from onnxscope.errors import Unsupported
from onnxscope.runtime import Session

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OTHERS = {
    "LSTM": (["HardSigmoid", "Elu", "ScaledTanh"], [0.3, 0.7, 1.5], [0.4, 0.6]),
    "GRU": (["HardSigmoid", "LeakyRelu"], [0.3, 0.1], [0.4]),
    "RNN": (["Affine"], [0.5], [0.1]),
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def layer(op: str, direction: str = "forward", given: str = "", **attrs: Any) -> onnx.ModelProto:
    """A layer; the letters of `given` say which optional inputs it has: bias, lengths, start, peepholes."""
    count, gates, turned = DIRECTIONS[direction], GATES[op], attrs.get("layout", 0)
    start = randn(*((BATCH, count, HIDDEN) if turned else (count, BATCH, HIDDEN)), seed=5)
    inputs = {
        "w": randn(count, gates * HIDDEN, INPUTS, seed=1) / 2,
        "r": randn(count, gates * HIDDEN, HIDDEN, seed=2) / 2,
        "b": randn(count, 2 * gates * HIDDEN, seed=3),
        "l": np.array([STEPS, STEPS - 2], np.int32),
        "h": start,
        "c": -start,
        "p": randn(count, 3 * HIDDEN, seed=6),
    }
    wanted = {"w", "r", *given.replace("s", "hc" if op == "LSTM" else "h")}
    names = ["x", *(name if name in wanted else "" for name in ("w", "r", "b", "l", "h", "c", "p"))]
    while not names[-1]:
        names.pop()
    outputs = ["y", "last", "cell"][: 3 if op == "LSTM" else 2]
    reader = node(op, names, outputs, name="reader", hidden_size=HIDDEN, direction=direction, **attrs)
    flat = [node("Reshape", [o, "flat"], [f"{o}f"]) for o in outputs]
    joined = node("Concat", [f"{o}f" for o in outputs], ["all"], axis=0)
    weights = {"flat": np.array([-1]), **{k: v for k, v in inputs.items() if k in wanted}}
    x = randn(*((BATCH, STEPS, INPUTS) if turned else (STEPS, BATCH, INPUTS)), seed=7)
    return model([reader, *flat, joined], {"x": x}, ["all"], weights=weights, opset=17)


X = randn(STEPS, BATCH, INPUTS, seed=8)
CASES = [
    *(((op, d, g), {}) for op, d, g in product(GATES, DIRECTIONS, ("", "b", "bs", "bl", "bls"))),
    *((("LSTM", d, g), {}) for d, g in product(DIRECTIONS, ("bp", "bslp"))),
    *((("GRU", d, g), {"linear_before_reset": 1}) for d, g in product(DIRECTIONS, ("", "bs"))),
    *(((op, "bidirectional", "bs"), {"clip": 0.3}) for op in GATES),
    (("LSTM", "reverse", "bs"), {"input_forget": 1}),
    *(
        ((op, d, "bs"), {"activations": a * n, "activation_alpha": x * n, "activation_beta": y * n})
        for (op, (a, x, y)), (d, n) in product(OTHERS.items(), DIRECTIONS.items())
    ),
]


@pytest.mark.parametrize(("what", "attrs"), CASES, ids=lambda v: "-".join(map(str, v)))
def test_a_layer_computes_the_same_step_by_step(what: tuple[str, ...], attrs: dict[str, Any]) -> None:
    proto = layer(*what, **attrs)
    scope = onnxscope.rewrite(proto, prove=False)
    assert not GATES.keys() & {n.op for n in scope.graph.nodes}
    expected = Session(proto.SerializeToString()).run({"x": X})["all"]
    np.testing.assert_allclose(onnxscope.load(scope).freeze(X).output, expected, atol=2e-6)


@pytest.mark.parametrize("op", GATES)
def test_the_batch_may_come_first(op: str) -> None:
    """onnxruntime has no such layer; the standard's reference has."""
    proto, x = layer(op, given="bs", layout=1), X.transpose(1, 0, 2).copy()
    expected = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    got = onnxscope.load(onnxscope.rewrite(proto, prove=False)).freeze(x).output
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
@pytest.mark.parametrize("op", GATES)
def test_a_reader_of_text_is_proved(op: str, policy: str) -> None:
    """A convolutional network whose columns are the steps of a layer in both directions."""
    gates = GATES[op]
    nodes = [
        node("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["a"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[4, 1]),
        node("Squeeze", ["m", "two"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[2, 0, 1]),
        node(op, ["t", "w", "u", "b"], ["h"], hidden_size=4, direction="bidirectional"),
        node("Transpose", ["h"], ["g"], perm=[0, 2, 1, 3]),
        node("Reshape", ["g", "steps"], ["f"]),
        node("MatMul", ["f", "v"], ["s"]),
        node("Softmax", ["s"], ["y"], axis=2),
    ]
    weights = {
        "k": randn(6, 1, 3, 3, seed=1),
        "two": np.array([2]),
        "w": randn(2, 4 * gates, 6, seed=2) / 2,
        "u": randn(2, 4 * gates, 4, seed=3) / 2,
        "b": randn(2, 8 * gates, seed=4),
        "steps": np.array([0, 0, 8]),
        "v": randn(8, 11, seed=5),
    }
    proto = model(nodes, {"x": randn(1, 1, 8, 24, seed=6)}, ["y"], weights=weights, opset=17)
    report = onnxscope.verify(proto, policy=policy)
    assert report.ok, report
    scope = onnxscope.rewrite(proto, policy=policy)
    assert scope.output == "s"
    assert np.abs(onnxscope.load(scope).freeze(randn(1, 1, 8, 24, seed=9)).row(13)).max() > 1e-4


def test_gates_are_decisions_under_freeze() -> None:
    """What is multiplied by a gate is carried, and the gate is not."""
    scope = onnxscope.rewrite(layer("LSTM", given="b"))
    notes = {s.note for s in scope.steps if s.op == "Mul"}
    assert {note for note in notes if "frozen gate" in note}


def test_a_layer_that_is_declared_opaque_stays() -> None:
    nodes = [
        node("LSTM", ["x", "w", "r"], ["", "h"], name="reader", hidden_size=4),
        node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        node("ReduceMean", ["m"], ["n"], axes=[2], keepdims=1),
        node("Add", ["h", "n"], ["y"]),
    ]
    proto = model(nodes, {"x": X}, ["y"], weights={"w": randn(1, 16, 3), "r": randn(1, 16, 4)}, opset=17)
    for name in ("reader", "LSTM"):
        scope = onnxscope.rewrite(proto, opaque=[name])
        assert {s.name: s.how for s in scope.steps}["reader"] == "decision"


def test_a_sequence_that_is_too_long_is_refused() -> None:
    nodes = [node("RNN", ["x", "w", "r"], ["y"], name="reader", hidden_size=4)]
    weights = {"w": randn(1, 4, 1), "r": randn(1, 4, 4)}
    with pytest.raises(Unsupported, match=r"'reader'.*2000 steps.*--opaque reader"):
        onnxscope.rewrite(model(nodes, {"x": randn(2000, 1, 1)}, ["y"], weights=weights, opset=17))
