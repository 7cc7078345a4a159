"""What a network gives is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.ask import tasks
from onnxscope.graph.ends import End

KINDS: list[tuple[str, tuple[int, ...], str, str]] = [
    ("y", (1, 10), "", tasks.SCORES),
    ("y", (1, 10, 1, 1), "", tasks.SCORES),
    ("y", (1, 1), "", tasks.NUMBER),
    ("embedding", (1, 128), "", tasks.EMBEDDING),
    ("landmarks", (1, 10), "", tasks.POINTS),
    ("y", (1, 136), "", tasks.POINTS),
    ("y", (1, 21, 3), "", tasks.POINTS),
    ("y", (1, 3, 64, 96), "", tasks.PICTURE),
    ("y", (1, 3, 128, 192), "", tasks.PICTURE),
    ("y", (1, 64, 96, 3), "", tasks.PICTURE),
    ("y", (1, 1, 64, 96), "", tasks.MAP),
    ("y", (1, 64, 96), "", tasks.MAP),
    ("y", (1, 21, 64, 96), "", tasks.CLASS_MAP),
    ("y", (1, 3, 64, 96), "on which the ArgMax decides", tasks.CLASS_MAP),
    ("y", (1, 17, 16, 24), "", tasks.POINTS),
    ("heatmap", (1, 9, 16, 24), "", tasks.POINTS),
    ("y", (1, 19, 16, 24), "before the final Softmax", tasks.CLASS_MAP),
    ("y", (1, 24, 37), "", tasks.TEXT),
    ("y", (24, 1, 37), "", tasks.TEXT),
    ("y", (1, 8, 9, 3), "", tasks.NUMBERS),
]


@pytest.mark.parametrize(("name", "shape", "note", "task"), KINDS)
def test_a_single_output_is_recognised(name: str, shape: tuple[int, ...], note: str, task: str) -> None:
    end = End(name, gs.Variable(name, np.float32, list(shape)), note)
    assert tasks.kind_of(end, (3, 64, 96)) == task


@pytest.mark.parametrize("times", [1, 2])
def test_one_channel_is_a_picture_where_the_network_reads_one(times: int) -> None:
    end = End("y", gs.Variable("y", np.float32, [1, 1, 64 * times, 96 * times]))
    assert tasks.kind_of(end, (1, 64, 96)) == tasks.PICTURE


def test_where_a_detector_has_several_outputs_its_scores_are_the_main_one() -> None:
    nodes = [
        node("Flatten", ["x"], ["f"]),
        *(node("MatMul", ["f", f"w{k}"], [f"m{k}"]) for k in "bc"),
        node("Reshape", ["mb", "anchors"], ["b"]),
        node("Reshape", ["mc", "classes"], ["c"]),
    ]
    weights = {"wb": randn(48, 4 * 20), "wc": randn(48, 5 * 20, seed=1)}
    weights |= {"anchors": np.array([1, 20, 4]), "classes": np.array([1, 20, 5])}
    proto = model(nodes, {"x": randn(1, 3, 4, 4)}, ["b", "c"], weights=weights)
    x = onnxscope.load(proto).freeze(randn(1, 3, 4, 4))
    assert (x.model.task, x.reader.output) == (tasks.BOXES, "c")
    assert x.ask("mean").value == pytest.approx(x.reader.arrays["c"].mean(), abs=1e-5)


def test_a_vector_that_is_divided_by_its_length_is_an_embedding() -> None:
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "w"], ["g"]),
        node("ReduceL2", ["g", "one"], ["l"], keepdims=1),
        node("Div", ["g", "l"]),
    ]
    proto = model(nodes, {"x": randn(1, 1, 4, 4)}, ["y"], weights={"w": randn(16, 6), "one": np.array([1])})
    assert onnxscope.doctor(proto).task == tasks.EMBEDDING


@pytest.mark.parametrize(
    ("op", "count", "task"),
    [
        ("LpNormalization", 6, tasks.EMBEDDING),
        ("BatchNormalization", 128, tasks.EMBEDDING),
        ("BatchNormalization", 6, tasks.SCORES),
    ],
)
def test_a_vector_that_is_normalised_is_an_embedding_if_it_has_a_usual_length(
    op: str, count: int, task: str
) -> None:
    """A vector of length 1 is one whatever its number of elements is."""
    more = ["one", "zero", "zero", "one"] if op == "BatchNormalization" else []
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["g"]), node(op, ["g", *more])]
    held = {"one": np.ones(count, np.float32), "zero": np.zeros(count, np.float32)} if more else {}
    proto = model(nodes, {"x": randn(1, 1, 4, 4)}, ["y"], weights={"w": randn(16, count), **held})
    assert onnxscope.doctor(proto).task == task


REAL: Sequence[tuple[str, str]] = [
    ("det_blazeface_front_op12", tasks.BOXES),
    ("det_ultraface_slim320_simp_op9", tasks.BOXES),
    ("seg_selfie_landscape_op9", tasks.MAP),
    ("lowlight_sci_op11", tasks.PICTURE),
    ("cifar10_winml_op10", tasks.SCORES),
    ("mnist_cntk_op8", tasks.SCORES),
]


@pytest.mark.parametrize(("name", "task"), REAL)
def test_real_models_are_recognised(name: str, task: str) -> None:
    file = Path(__file__).parents[2] / "shared/models" / f"{name}.onnx"
    if not file.exists():
        pytest.skip("the shared models are not here")
    found = onnxscope.doctor(file)
    assert found.task == task
    assert all(o.task == task for o in found.outputs)
