"""What is explained: the tensor before final activations and decisions, also behind joins and cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from support import model, node, randn

import onnxscope
from onnxscope.errors import BadModel

X = {"x": randn(1, 3, 8, 8)}
CONV = node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1])
W = {"w": randn(6, 3, 3, 3)}


def ending(*nodes: onnx.NodeProto, outputs: Sequence[str] = ("y",), **weights: np.ndarray) -> onnx.ModelProto:
    types = {o: TensorProto.INT64 for o in outputs if o in ("chosen", "places")}
    types |= {o: TensorProto.BOOL for o in outputs if o == "mask"}
    return model([CONV, *nodes], X, outputs, weights={**W, **weights}, types=types)


FLAT = node("Reshape", ["a", "rows"], ["f"])
ROWS = {"rows": np.array([1, 6, 64])}
PARTS = [
    FLAT,
    node("Split", ["f", "sizes"], ["boxes", "scores"], axis=1),
    node("Sigmoid", ["scores"], ["s"]),
    node("Mul", ["boxes", "boxes"], ["b"]),
    node("Concat", ["b", "s"], ["c"], axis=1),
]
SIZES = {"sizes": np.array([4, 2]), **ROWS}
ENDS: dict[str, tuple[onnx.ModelProto, str, str]] = {
    "argmax": (
        ending(node("ArgMax", ["a"], ["chosen"], axis=1), outputs=["chosen"]),
        "a",
        "on which the ArgMax decides",
    ),
    "argmax of a softmax": (
        ending(
            node("Softmax", ["a"], ["p"], axis=1),
            node("ArgMax", ["p"], ["k"], axis=1),
            node("Cast", ["k"], ["y"], to=TensorProto.FLOAT),
        ),
        "a",
        "before the Softmax and the ArgMax",
    ),
    "topk": (ending(FLAT, node("TopK", ["f", "k"], ["y", ""], axis=2), k=np.array([3]), **ROWS), "f", "TopK"),
    "best of topk": (
        ending(
            FLAT,
            node("TopK", ["f", "k"], ["best", ""], axis=2),
            node("Squeeze", ["best", "two"]),
            k=np.array([1]),
            two=np.array([2]),
            **ROWS,
        ),
        "f",
        "on which the TopK decides",
    ),
    "places of topk": (
        ending(
            FLAT,
            node("TopK", ["f", "k"], ["", "places"], axis=2),
            outputs=["places"],
            k=np.array([3]),
            **ROWS,
        ),
        "f",
        "TopK",
    ),
    "comparison": (
        ending(
            node("Sigmoid", ["a"], ["s"]),
            node("Greater", ["s", "h"], ["mask"]),
            outputs=["mask"],
            h=np.float32([0.5]),
        ),
        "a",
        "before the Sigmoid and the Greater",
    ),
    "cast": (ending(node("Cast", ["a"], ["chosen"], to=TensorProto.INT64), outputs=["chosen"]), "a", "Cast"),
    "sigmoid of many channels": (ending(node("Sigmoid", ["a"])), "a", "before the final Sigmoid"),
    "parts": (ending(*PARTS, node("Identity", ["c"]), **SIZES), "y/logits", "before the final Sigmoid"),
    "parts, moved": (
        ending(
            *PARTS,
            node("Transpose", ["c"], ["t"], perm=[0, 2, 1]),
            node("Concat", ["t", "t"], ["y"], axis=1),
            **SIZES,
        ),
        "y/logits",
        "before the final Sigmoid",
    ),
    "cut": (
        ending(
            node("Sigmoid", ["a"], ["s"]),
            node("Slice", ["s", "from", "to", "axes"]),
            **{"from": np.array([1]), "to": np.array([5]), "axes": np.array([1])},
        ),
        "y/logits",
        "before the final Sigmoid",
    ),
    "nothing": (ending(node("LeakyRelu", ["a"])), "y", ""),
}


@pytest.mark.parametrize("case", ENDS)
def test_what_stands_before_the_end_is_explained(case: str) -> None:
    proto, tensor, note = ENDS[case]
    scope = onnxscope.rewrite(proto)
    assert scope.output == tensor
    assert note in " ".join(scope.notes)
    assert bool(note) == bool(scope.notes)
    x = onnxscope.load(scope).freeze(X["x"])
    assert np.abs(x.row(x.output.size - 1)).max() > 1e-3
    assert onnxscope.verify(scope).ok


def test_what_is_written_again_has_the_numbers_before_the_activation() -> None:
    """Element by element, in the output's order: boxes stay, and a sigmoid of the scores gives its scores."""
    proto = ending(*PARTS, node("Transpose", ["c"], perm=[0, 2, 1]), **SIZES)
    x = onnxscope.load(proto).freeze(X["x"])
    given = onnxscope.load(proto, output="y").freeze(X["x"]).output
    np.testing.assert_allclose(x.output[..., :4], given[..., :4], rtol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-x.output[..., 4:])), given[..., 4:], rtol=1e-5, atol=1e-6)


def test_a_sigmoid_before_a_transposition_is_stepped_back_over_in_the_outputs_order() -> None:
    nodes = [node("Reshape", ["a", "flat"], ["f"]), node("Sigmoid", ["f"], ["s"])]
    proto = ending(*nodes, node("Transpose", ["s"], perm=[0, 2, 1]), flat=np.array([1, 16, -1]))
    x = onnxscope.load(proto).freeze(X["x"])
    given = onnxscope.load(proto, output="y").freeze(X["x"]).output
    np.testing.assert_allclose(1 / (1 + np.exp(-x.output)), given, rtol=1e-5, atol=1e-6)
    assert [o.explained for o in onnxscope.doctor(proto).outputs] == ["y/logits"]


def test_a_written_output_can_be_named() -> None:
    proto = ending(*PARTS, node("Identity", ["c"]), **SIZES)
    assert onnxscope.rewrite(proto, output="c/logits").output == "c/logits"
    assert onnxscope.rewrite(proto, output="y").output == "y"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_that_ends_in_a_sigmoid_stays(channels: int) -> None:
    nodes = [node("Conv", ["x", "v"], ["a"], pads=[1, 1, 1, 1]), node("Sigmoid", ["a"])]
    assert onnxscope.rewrite(model(nodes, X, ["y"], weights={"v": randn(channels, 3, 3, 3)})).output == "y"


def shape_alone() -> onnx.ModelProto:
    return ending(node("Shape", ["a"], ["chosen"]), outputs=["chosen"])


def no_path() -> onnx.ModelProto:
    nodes = [node("Cast", ["n"], ["chosen"], to=TensorProto.INT64)]
    return ending(*nodes, outputs=["chosen"], n=randn(2))


@pytest.mark.parametrize("make", [shape_alone, no_path])
def test_an_output_that_no_number_of_the_image_leads_to_is_refused(
    make: Callable[[], onnx.ModelProto],
) -> None:
    with pytest.raises(BadModel, match="--output"):
        onnxscope.rewrite(make())


def test_the_first_output_that_can_be_explained_is() -> None:
    proto = ending(node("Shape", ["a"], ["chosen"]), node("Relu", ["a"]), outputs=["chosen", "y"])
    assert onnxscope.rewrite(proto).output == "y"


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 1)])
def test_a_single_pixel_is_no_image(shape: tuple[int, ...]) -> None:
    nodes = [CONV, node("Mul", ["a", "z"])]
    proto = model(
        [node("Reshape", ["one", "flat"], ["z"]), *nodes],
        {**X, "one": randn(*shape)[:, :1]},
        ["y"],
        weights={**W, "flat": np.array([1])},
    )
    assert onnxscope.rewrite(proto).image == "x"
