"""What a network gives is recognised, and a detector's boxes are read from every known layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.ask import boxes, layouts, tasks
from onnxscope.graph.ends import End

SIZE = (64, 96)
CELLS = [(SIZE[0] // s) * (SIZE[1] // s) for s in (8, 16, 32)]  # 96, 24, 6
TOTAL = sum(CELLS)
EDGES = (24.0, 16.0, 56.0, 48.0)  # of the box to be found: left, top, right, bottom
LABEL, CLASSES = 2, 5
Arrays = dict[str, np.ndarray]


def of_anchors(boxes: np.ndarray, k: int, at: int, *, more: int = 0, object_: bool = False) -> np.ndarray:
    """[anchors, 4 + …]: anchor `at` holds a box of class LABEL; all others hold boxes without a score."""
    columns = [
        boxes,
        *([np.full((k, 1), 0.01)] if object_ else []),
        np.full((k, CLASSES), 0.01),
        np.zeros((k, more)),
    ]
    found = np.concatenate(columns, 1).astype(np.float32)
    first = 4 + object_
    found[at, first + LABEL] = 0.9
    if object_:
        found[at, 4] = 0.9
    return found


def centred(k: int, at: int) -> np.ndarray:
    found = np.tile([10.0, 10.0, 4.0, 4.0], (k, 1))
    left, top, right, bottom = EDGES
    found[at] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return found


def cornered(k: int, at: int, unit: bool = False) -> np.ndarray:
    found = np.tile([1.0, 1.0, 3.0, 3.0], (k, 1))
    found[at] = EDGES
    return found / [SIZE[1], SIZE[0]] * 2 if unit else found


def yolox() -> np.ndarray:
    """Raw: offsets and logarithms in strides, at anchor 109.

    The first level has 12 · 8 cells. The second one has 6 columns of stride 16, so that 109 − 96 = 13 is its
    cell in row 2, column 1, whose corner lies at x = 16, y = 32. The box has its centre at 40, 32.
    """
    found = np.zeros((TOTAL, 4))
    found[109] = 24 / 16, 0, np.log(32 / 16), np.log(32 / 16)
    return found


def sides() -> np.ndarray:
    """Distances in strides, at anchor 61, the second one of cell 30: row 2, column 6, its centre at 52, 20."""
    found = np.zeros((2 * TOTAL, 4))
    found[61] = 28 / 8, 4 / 8, 4 / 8, 28 / 8
    return found


def levels(rows: np.ndarray, each: int) -> list[np.ndarray]:
    return np.split(rows, np.cumsum([each * c for c in CELLS])[:-1])


def scores(k: int, at: int) -> np.ndarray:
    found = np.full((k, 1), 0.01)
    found[at] = 0.8
    return found


def softmaxed(k: int, at: int) -> np.ndarray:
    """Logits of a background, which comes first, and of classes."""
    found = np.zeros((k, 1 + CLASSES))
    found[:, 0] = 6.0
    found[at, 1 + LABEL] = 12.0
    return found


DETECTORS: dict[str, tuple[str, Arrays, int]] = {
    "YOLOv5": (
        "YOLO with objectness",
        {"o": of_anchors(centred(3 * TOTAL, 7), 3 * TOTAL, 7, object_=True)},
        LABEL,
    ),
    "YOLOX": ("YOLOX", {"o": of_anchors(yolox(), TOTAL, 109, object_=True)}, LABEL),
    "YOLOX, decoded": ("YOLOX", {"o": of_anchors(centred(TOTAL, 3), TOTAL, 3, object_=True)}, LABEL),
    "YOLOv8": ("YOLO without anchors", {"o": of_anchors(centred(TOTAL, 3), TOTAL, 3).T}, LABEL),
    "YOLOv10": (
        "boxes after suppression",
        {"o": np.concatenate([cornered(20, 4), scores(20, 4), np.full((20, 1), LABEL)], 1)},
        LABEL,
    ),
    "SSD": ("boxes and classes", {"b": cornered(50, 3), "c": softmaxed(50, 3)}, LABEL),
    "classes first": (
        "boxes and classes, transposed",
        {"b": cornered(50, 3), "c": of_anchors(cornered(50, 3), 50, 3)[:, 4:].T},
        LABEL,
    ),
    "YOLOv4": (
        "YOLOv4",
        {"b": cornered(50, 3)[:, None], "c": of_anchors(cornered(50, 3), 50, 3)[:, 4:]},
        LABEL,
    ),
    "SCRFD": (
        "SCRFD",
        {
            **{f"s{k}": a for k, a in enumerate(levels(scores(2 * TOTAL, 61), 2))},
            **{f"b{k}": a for k, a in enumerate(levels(sides(), 2))},
            **{f"p{k}": np.zeros((len(a), 10)) for k, a in enumerate(levels(sides(), 2))},
        },
        0,
    ),
    "YuNet": (
        "YuNet",
        {
            **{f"cls_{k}": a for k, a in enumerate(levels(scores(TOTAL, 109), 1))},
            **{f"obj_{k}": a for k, a in enumerate(levels(scores(TOTAL, 109), 1))},
            **{f"bbox_{k}": a for k, a in enumerate(levels(yolox(), 1))},
            **{f"kps_{k}": np.zeros((c, 10)) for k, c in enumerate(CELLS)},
        },
        0,
    ),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_the_box_is_found_in_every_layout(name: str) -> None:
    layout, outputs, label = DETECTORS[name]
    found = layouts.recognised({k: v.shape for k, v in outputs.items()}, SIZE)
    assert found is not None
    assert found.layout.name == layout
    box, *others = boxes.boxes(found, {k: v[None] for k, v in outputs.items()}, SIZE)
    assert not others
    assert box.label == label
    np.testing.assert_allclose(box.edges, EDGES, atol=1e-3)
    output, weights = box.places["class"]
    ((element, weight),) = weights.items()
    assert weight == 1
    assert outputs[output].reshape(-1)[element] == max(outputs[output].reshape(-1)[element], 0.8)


@pytest.mark.parametrize("name", ["YOLOv5", "YOLOv8", "SSD", "YOLOv10", "YOLOv4"])
def test_an_edge_is_a_sum_of_elements(name: str) -> None:
    _, outputs, _ = DETECTORS[name]
    found = layouts.recognised({k: v.shape for k, v in outputs.items()}, SIZE)
    assert found is not None
    box = boxes.boxes(found, {k: v[None] for k, v in outputs.items()}, SIZE)[0]
    for edge, expected in zip(boxes.EDGES, EDGES, strict=True):
        output, weights = box.places[edge]
        assert sum(w * outputs[output].reshape(-1)[k] for k, w in weights.items()) == pytest.approx(expected)


PYRAMIDS = [
    *[(8,), (16,), (4,), (8, 16), (16, 32), (8, 16, 32), (4, 8, 16), (32, 64, 128)],
    *[(8, 16, 32, 64), (4, 8, 16, 32), (8, 16, 32, 64, 128)],
]


@pytest.mark.parametrize("strides", PYRAMIDS)
def test_the_number_of_anchors_tells_the_levels(strides: tuple[int, ...]) -> None:
    """The first anchor lies in the middle of the first level's first cell, the last one in that of the last."""
    rows, columns = 256, 640
    count = sum((rows // s) * (columns // s) for s in strides)
    found = layouts.recognised({"y": (4 + CLASSES, count)}, (rows, columns))
    assert found is not None
    assert found.layout.name == "YOLO without anchors"
    assert sorted(set(found.places[:, 2])) == list(strides)
    np.testing.assert_array_equal(found.places[0], [strides[0] / 2, strides[0] / 2, strides[0]])
    end = strides[-1] / 2
    np.testing.assert_array_equal(found.places[-1], [columns - end, rows - end, strides[-1]])


def test_scores_may_be_logits_of_any_size() -> None:
    """Far below zero they are nearly 0, and their order still tells the likeliest box."""
    rows = of_anchors(centred(TOTAL, 3), TOTAL, 3)
    for highest, chance in ((2.0, 1 / (1 + math.exp(-2))), (-100.0, math.exp(-100))):
        logits = np.full((TOTAL, CLASSES), -5000.0)
        logits[3, LABEL] = highest
        outputs = {"o": np.concatenate([rows[:, :4], logits], 1).T}
        found = layouts.recognised({"o": outputs["o"].shape}, SIZE)
        assert found is not None
        with np.errstate(over="raise"):
            (box,) = boxes.boxes(found, {"o": outputs["o"][None]}, SIZE)
        assert (box.label, box.score) == (LABEL, pytest.approx(chance))


def test_raw_heads_of_three_levels_are_known() -> None:
    shapes = {f"h{s}": (3 * (5 + CLASSES), SIZE[0] // s, SIZE[1] // s) for s in (8, 16, 32)}
    found = layouts.recognised(shapes, SIZE)
    assert found is not None
    assert found.layout.name == "YOLO heads"
    assert len(found.places) == 3 * TOTAL


@pytest.mark.parametrize(
    "shapes",
    [
        {"y": (10,)},
        {"y": (3, 64, 96)},
        {"a": (96, 8, 12), "b": (192, 4, 6)},  # features of a backbone
        {"y": (24, 37)},
        {"y": (8400, 2)},
        {},
    ],
)
def test_what_is_no_detector_is_not_taken_for_one(shapes: dict[str, tuple[int, ...]]) -> None:
    assert layouts.recognised(shapes, SIZE) is None


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
    weights = {"wb": randn(48, 4 * 20), "wc": randn(48, CLASSES * 20, seed=1)}
    weights |= {"anchors": np.array([1, 20, 4]), "classes": np.array([1, 20, CLASSES])}
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
