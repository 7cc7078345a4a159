"""What makes programs faster changes nothing: gains folded into weights, and masks and sums in the convolutions' layout."""

from __future__ import annotations

from collections import Counter

import networks
import numpy as np
import onnx
import pytest
from support import model, node, randn

import onnxscope
from onnxscope import LinearInterpreter
from onnxscope.rewriting.fuse import fold_gains
from onnxscope.rewriting.scope import COTANGENT, FROZEN, PROBE, TRANSPOSED
from onnxscope.run import channel_blocks
from onnxscope.run.programs import Programs, tensor_bytes, variables
from onnxscope.run.single_runs import session


def normalised(op: str, weight: tuple[int, ...], **attributes: object) -> onnx.ModelProto:
    """A convolution between two batch normalisations, whose gains stand before it in F and in Fᵀ."""
    weights: dict[str, np.ndarray] = {"w": randn(*weight, seed=9)}

    def statistics(name: str, channels: int) -> list[str]:
        for k, part in enumerate(("scale", "shift", "mean", "var")):
            values = randn(channels, seed=10 * channels + k)
            weights[f"{name}{part}"] = np.abs(values) + 0.5 if part == "var" else values
        return [f"{name}{part}" for part in ("scale", "shift", "mean", "var")]

    out = weight[0] if op == "Conv" else weight[1] * int(attributes.get("group", 1))
    nodes = [
        node("BatchNormalization", ["x", *statistics("a", 4)], ["n"]),
        node(op, ["n", "w"], ["c"], **attributes),
        node("Relu", ["c"], ["r"]),
        node("BatchNormalization", ["r", *statistics("b", out)], ["y"]),
    ]
    return model(nodes, {"x": randn(1, 4, 6, 6)}, ["y"], weights=weights)


def classic() -> onnx.ModelProto:
    """Residual and concatenated branches of convolutions, with as many channels as the CPU's blocks take, and a few more."""
    weights = {
        "w0": randn(32, 3, 3, 3) / 5,
        "w1": randn(32, 32, 3, 3, seed=1) / 17,
        "w2": randn(32, 32, 1, 1, seed=2) / 6,
        "w3": randn(20, 64, 3, 3, seed=3) / 24,
        "w4": randn(20, 20, 3, 3, seed=4) / 13,
    }
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "w0"], ["a"], **same),
        node("Relu", ["a"], ["ar"]),
        node("Conv", ["ar", "w1"], ["b"], **same),
        node("Add", ["b", "ar"], ["s"]),
        node("Relu", ["s"], ["sr"]),
        node("Conv", ["sr", "w2"], ["c"]),
        node("Add", ["c", "ar"], ["t"]),
        node("Relu", ["t"], ["tr"]),
        node("Concat", ["tr", "sr"], ["k"], axis=1),
        node("Conv", ["k", "w3"], ["d"], **same),
        node("Relu", ["d"], ["dr"]),
        node("Conv", ["dr", "w4"], ["e"], **same),
        node("Add", ["e", "d"], ["y"]),
    ]
    return model(nodes, {"x": randn(1, 3, 8, 8)}, ["y"], weights=weights)


FOLDED = {
    "plain": normalised("Conv", (6, 4, 3, 3), pads=[1, 1, 1, 1]),
    "grouped": normalised("Conv", (6, 2, 3, 3), group=2),
    "depthwise": normalised("Conv", (8, 1, 3, 3), group=4, strides=[2, 2]),
    "transposed": normalised("ConvTranspose", (4, 5, 3, 3), strides=[2, 2]),
    "transposed in groups": normalised("ConvTranspose", (4, 3, 2, 2), group=2),
}


def assert_as_written(proto: onnx.ModelProto) -> LinearInterpreter:
    """The engine computes what the scope computes that nothing was done to."""
    x0 = randn(*(d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim))
    scope = onnxscope.rewrite(proto)
    x = onnxscope.load(scope).freeze(x0)
    v, u = randn(3, *x.map.inputs.shape), randn(2, *x.map.outputs.shape, seed=1)
    with session(scope.linear(), optimise=False) as whole:
        want = whole.run({scope.image: x0, PROBE: v, COTANGENT: u})
    np.testing.assert_allclose(x.map.forward(v), want[FROZEN], atol=2e-6 * np.abs(want[FROZEN]).max())
    np.testing.assert_allclose(
        x.map.transpose(u), want[TRANSPOSED], atol=2e-6 * np.abs(want[TRANSPOSED]).max()
    )
    return x


@pytest.mark.parametrize("name", FOLDED)
def test_constant_gains_become_part_of_the_weights(name: str) -> None:
    x = assert_as_written(FOLDED[name])
    programs = x.map.engine.programs
    for program in (programs.linear, programs.transpose):
        varying = variables(program.graph)
        read = [
            t.inputs[0]
            for n in program.graph.nodes
            if n.op in ("Conv", "ConvTranspose")
            for t in n.inputs[:1]
            if t.inputs
        ]
        assert not [
            n.name for n in read if n.op == "Mul" and all(t.name in varying for t in n.inputs) is False
        ]


@pytest.mark.parametrize("proto", [classic(), networks.network("edsr_small")], ids=["classic", "edsr_small"])
def test_masks_and_sums_stay_in_blocks(proto: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[Counter[str]] = []

    def counted(graph: onnx.GraphProto, *known: object, keep=channel_blocks.keep_blocked) -> bool:
        before = Counter(n.op_type for n in graph.node)
        found = keep(graph, *known)
        counts.append(before - Counter(n.op_type for n in graph.node))
        return found

    monkeypatch.setattr(channel_blocks, "keep_blocked", counted)
    assert_as_written(proto)
    assert sum(removed["ReorderOutput"] for removed in counts) > 0
    assert sum(removed["Sum"] + removed["Add"] for removed in counts) > 0


def test_the_sizes_of_what_lives_at_once() -> None:
    """Two convolutions of 4 channels on 5×5 pixels: at most the input's and the output's 4·5·5 floats for each probe."""
    weights = {"v": randn(4, 3, 1, 1), "w": randn(4, 4, 1, 1)}
    proto = model(
        [node("Conv", ["x", "v"], ["a"]), node("Conv", ["a", "w"])],
        {"x": randn(1, 3, 5, 5)},
        ["y"],
        weights=weights,
    )
    linear = Programs(onnxscope.rewrite(proto)).linear
    assert linear.peak_bytes(1) == 2 * 4 * 25 * 4
    assert linear.peak_bytes(7) == 7 * linear.peak_bytes(1)
    assert tensor_bytes(linear.graph.inputs[0], 2) == 2 * 3 * 25 * 4


def test_nothing_is_folded_that_others_read() -> None:
    proto = FOLDED["plain"]
    scope = onnxscope.rewrite(proto)
    graph = scope.linear()
    conv = next(
        n for n in graph.nodes if n.op == "Conv" and n.inputs[0].inputs and n.inputs[0].inputs[0].op == "Mul"
    )
    graph.outputs.append(conv.inputs[0])
    product = conv.inputs[0].inputs[0]
    fold_gains(graph, variables(graph))
    assert product in graph.nodes
    assert graph.outputs[-1].inputs
