"""How detectors lay out their outputs: each layout is recognised, and the box that it holds is found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxscope.ask import boxes, layouts

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


def cornered(k: int, at: int) -> np.ndarray:
    found = np.tile([1.0, 1.0, 3.0, 3.0], (k, 1))
    found[at] = EDGES
    return found


def yolox() -> np.ndarray:
    """Raw: offsets and logarithms in strides, at anchor 109.

    The first level has 12 · 8 cells. The second one has 6 columns of stride 16, so that 109 − 96 = 13 is its
    cell in row 2, column 1, whose corner lies at x = 16, y = 32. The box has its centre at 40, 32.
    """
    found = np.zeros((TOTAL, 4))
    found[109] = 24 / 16, 0, np.log(32 / 16), np.log(32 / 16)
    return found


def sides(at: int) -> np.ndarray:
    """Distances in strides from 52, 20: the centre of cell 30 of the first level, which has anchors 60 and 61.

    Where there is one anchor at a place it is anchor 30.
    """
    found = np.zeros(({30: 1, 61: 2}[at] * TOTAL, 4))
    found[at] = 28 / 8, 4 / 8, 4 / 8, 28 / 8
    return found


def levels(rows: np.ndarray, each: int) -> list[np.ndarray]:
    return np.split(rows, np.cumsum([each * c for c in CELLS])[:-1])


def scores(k: int, at: int) -> np.ndarray:
    found = np.full((k, 1), 0.01)
    found[at] = 0.8
    return found


def in_maps(rows: np.ndarray) -> list[np.ndarray]:
    """[numbers, rows, columns] of each level, with one anchor at a place."""
    shapes = [(SIZE[0] // s, SIZE[1] // s, -1) for s in (8, 16, 32)]
    return [a.reshape(shape).transpose(2, 0, 1) for a, shape in zip(levels(rows, 1), shapes, strict=True)]


def moved(at: int, count: int) -> np.ndarray:
    """The centre as an offset from the place 8, 8, width and height, and six points."""
    found = np.zeros((count, 16))
    found[at, :4] = 40 - 8, 32 - 8, 32, 32
    return found


def numbered(**outputs: list[np.ndarray]) -> Arrays:
    """Outputs of several levels, by a letter and the level."""
    return {f"{name}{k}": a for name, arrays in outputs.items() for k, a in enumerate(arrays)}


def softmaxed(k: int, at: int) -> np.ndarray:
    """Logits of a background, which comes first, and of classes."""
    found = np.zeros((k, 1 + CLASSES))
    found[:, 0] = 6.0
    found[at, 1 + LABEL] = 12.0
    return found


def in_cells(count: int, *values: float) -> np.ndarray:
    """[count, 16, 24]: these values in row 8, column 10 of cells of 4 pixels, which begins at (40, 32)."""
    found = np.full((count, 16, 24), 0.1)
    found[:, 8, 10] = values
    return found


def heat_map(label: int) -> np.ndarray:
    return in_cells(CLASSES, *(0.9 if k == label else 0.01 for k in range(CLASSES)))


DETECTORS: dict[str, tuple[str, Arrays, int]] = {
    "YOLOv5": (
        "YOLO with objectness",
        {"o": of_anchors(centred(3 * TOTAL, 7), 3 * TOTAL, 7, object_=True)},
        LABEL,
    ),
    "YOLOX": ("YOLOX", {"o": of_anchors(yolox(), TOTAL, 109, object_=True)}, LABEL),
    "YOLOX, decoded": ("YOLOX", {"o": of_anchors(centred(TOTAL, 3), TOTAL, 3, object_=True)}, LABEL),
    "YOLOv8, as rows": ("YOLOX", {"o": of_anchors(centred(TOTAL, 3), TOTAL, 3)}, LABEL),
    "YOLOv8": ("YOLO without anchors", {"o": of_anchors(centred(TOTAL, 3), TOTAL, 3).T}, LABEL),
    "CenterNet": (
        "centre heat maps",
        {
            "hm": heat_map(LABEL),
            "wh": in_cells(2, 8.0, 8.0),
            "reg": in_cells(2, 0.0, 0.0),
        },
        LABEL,
    ),
    "YOLOv10": (
        "boxes after suppression",
        {"o": np.concatenate([cornered(20, 4), scores(20, 4), np.full((20, 1), LABEL)], 1)},
        LABEL,
    ),
    "SSD": ("boxes and classes", {"b": cornered(50, 3), "c": softmaxed(50, 3)}, LABEL),
    "SSD, in shares of the picture": (
        "boxes and classes",
        {"b": cornered(50, 3) / [96, 64, 96, 64], "c": softmaxed(50, 3)},
        LABEL,
    ),
    "centres in shares of the picture": (
        "boxes and classes",
        {"b": centred(50, 3) / [96, 64, 96, 64], "c": softmaxed(50, 3)},
        LABEL,
    ),
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
    "YOLOv8 of one class, transposed": (
        "YOLO without anchors, transposed",
        {"o": np.concatenate([centred(TOTAL, 3), scores(TOTAL, 3)], 1)},
        0,
    ),
    "SCRFD": (
        "SCRFD",
        numbered(
            s=levels(scores(2 * TOTAL, 61), 2),
            b=levels(sides(61), 2),
            p=levels(np.zeros((2 * TOTAL, 10)), 2),
        ),
        0,
    ),
    "SCRFD without points": (
        "SCRFD without points",
        numbered(s=levels(scores(2 * TOTAL, 61), 2), b=levels(sides(61), 2)),
        0,
    ),
    "FCOS": (
        "FCOS",
        numbered(
            o=in_maps(scores(TOTAL, 30)),
            b=in_maps(sides(30)),
            c=in_maps(of_anchors(sides(30), TOTAL, 30)[:, 4:]),
        ),
        LABEL,
    ),
    "FCOS, in pixels": (
        "FCOS",
        numbered(
            o=in_maps(scores(TOTAL, 30)),
            b=in_maps(8 * sides(30)),
            c=in_maps(of_anchors(sides(30), TOTAL, 30)[:, 4:]),
        ),
        LABEL,
    ),
    "BlazeFace": ("BlazeFace", {"s": scores(336, 193), "b": moved(193, 336)}, 0),
    "BlazeFace by level": (
        "BlazeFace by level",
        numbered(s=np.split(scores(336, 193), [192]), b=np.split(moved(193, 336), [192])),
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


def boxes_in(outputs: Arrays) -> tuple[str, list[boxes.Box]]:
    """The name of the layout, and the boxes that are found."""
    found = layouts.recognised({k: v.shape for k, v in outputs.items()}, SIZE)
    assert found is not None
    return found.layout.name, boxes.boxes(found, {k: v[None] for k, v in outputs.items()}, SIZE)


@pytest.mark.parametrize("name", DETECTORS)
def test_the_box_is_found_in_every_layout(name: str) -> None:
    layout, outputs, label = DETECTORS[name]
    known_as, (box, *others) = boxes_in(outputs)
    assert (known_as, box.label, others) == (layout, label, [])
    np.testing.assert_allclose(box.edges, EDGES, atol=1e-3)
    ((output, weights),) = box.places["class"].weights.items()
    ((element, weight),) = weights.items()
    assert weight == 1
    assert outputs[output].reshape(-1)[element] == max(outputs[output].reshape(-1)[element], 0.8)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_edge_is_a_sum_of_elements_whose_weights_are_its_slopes(name: str) -> None:
    _, outputs, _ = DETECTORS[name]
    box = boxes_in(outputs)[1][0]
    for k, (edge, expected) in enumerate(zip(boxes.EDGES, EDGES, strict=True)):
        sums, constant = box.places[edge]
        places = [(output, n, w) for output, weights in sums.items() for n, w in weights.items()]
        total = sum(w * outputs[output].reshape(-1)[n] for output, n, w in places)
        assert total + constant == pytest.approx(expected, abs=1e-3)
        for output, element, weight in places:
            moved = {name: array.astype(np.float64) for name, array in outputs.items()}
            moved[output].flat[element] += 1e-2
            change = boxes_in(moved)[1][0].edges[k] - box.edges[k]
            assert change / 1e-2 == pytest.approx(weight, rel=0.02, abs=1e-3)


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
        with np.errstate(over="raise"):
            _, (box,) = boxes_in({"o": np.concatenate([rows[:, :4], logits], 1).T})
        assert (box.label, box.score) == (LABEL, pytest.approx(chance))


@pytest.mark.parametrize("first", [True, False])
def test_of_classes_that_exclude_each_other_the_score_is_the_share(first: bool) -> None:
    """One class stands for nothing: the first or the last. The shares may be in the file already."""
    logits = softmaxed(50, 3) if first else np.roll(softmaxed(50, 3), -1, axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for given in (logits, shares):
        _, (box,) = boxes_in({"b": cornered(50, 3), "c": given})
        assert (box.label, box.score) == (
            LABEL,
            pytest.approx(math.exp(12) / (math.exp(12) + math.exp(6) + 4)),
        )


def raw_heads(each: int, count: int) -> list[np.ndarray]:
    """[rows, columns, anchors, numbers] of each level: 0.01 but for the last anchor at a place of the second."""
    found = [np.full((SIZE[0] // s, SIZE[1] // s, each, count), 0.01) for s in (8, 16, 32)]
    found[1][1, 2, -1, [-CLASSES - 1, LABEL - CLASSES]] = 0.9  # that there is an object, and its class
    return found


HEADS: dict[str, Arrays] = {
    "YOLO heads": numbered(
        h=[a.reshape(*a.shape[:2], -1).transpose(2, 0, 1) for a in raw_heads(3, 5 + CLASSES)]
    ),
    "YOLO heads, anchors apart": numbered(h=[a.transpose(2, 0, 1, 3) for a in raw_heads(3, 5 + CLASSES)]),
    "YOLO heads, anchors behind": numbered(h=raw_heads(3, 5 + CLASSES)),
    "RetinaNet": numbered(
        b=[a[..., :4].reshape(*a.shape[:2], -1).transpose(2, 0, 1) for a in raw_heads(9, 5 + CLASSES)],
        c=[a[..., 5:].reshape(*a.shape[:2], -1).transpose(2, 0, 1) for a in raw_heads(9, 5 + CLASSES)],
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_raw_heads_tell_where_a_box_is(name: str) -> None:
    """Row 1, column 2 at stride 16. How large the box is only the anchors tell, which are not in the file."""
    outputs = HEADS[name]
    layout, (box,) = boxes_in(outputs)
    assert layout == name
    left, top, right, bottom = box.edges
    assert ((left + right) / 2, (top + bottom) / 2, box.label) == (40, 24, LABEL)
    ((output, weights),) = box.places["class"].weights.items()
    assert [outputs[output].reshape(-1)[k] for k in weights] == [0.9]
    assert not set(boxes.EDGES) & set(box.places)


def test_every_layout_has_an_example() -> None:
    assert {layout for layout, _, _ in DETECTORS.values()} | {*HEADS} == {x.name for x in layouts.LAYOUTS}


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
