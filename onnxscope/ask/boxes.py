"""The boxes that a detector finds in an image, and which elements of its outputs each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from onnxscope.ask.layouts import (
    ANCHORS,
    CELLS,
    CENTRE,
    CORNERS,
    EITHER,
    GRID,
    LAYOUTS,
    PLACE,
    SIDES,
    Matched,
)

LEAST, OVERLAP, MOST = (
    0.25,
    0.45,
    100,
)  # a box's score, the overlap of two of a class, and the number of boxes
TRANSPOSED = "YOLO without anchors, transposed"
USUAL_COUNTS = {20, 80, 365}  # of classes: of VOC, COCO and Objects365
EDGES = ("left", "top", "right", "bottom")
# A box on a YOLO head is this many strides wide and high where its anchors are not known.
UNKNOWN_SIZE = 4.0
STEP = 1e-3  # of a box's numbers, to see how its edges change
Weights = Mapping[int, float]  # of elements of an output


class Asking(NamedTuple):
    """A sum of elements with weights, by their outputs, and a constant."""

    weights: Mapping[str, Weights]
    constant: float = 0.0


class Elements(NamedTuple):
    """Where the numbers of each anchor stand, [anchors, numbers]: in which output, and where there."""

    output: np.ndarray
    element: np.ndarray

    def named(self, outputs: Sequence[str], k: int) -> list[tuple[str, int]]:
        """The output and the element of each number of anchor k."""
        return [(outputs[o], int(e)) for o, e in zip(self.output[k], self.element[k], strict=True)]


@dataclass(frozen=True)
class Box:
    """One box: its edges in pixels of the network's input, and where its numbers stand."""

    edges: tuple[float, float, float, float]  # left, top, right, bottom
    score: float
    label: int
    places: Mapping[str, Asking]  # what can be asked for


def boxes(found: Matched, outputs: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Box]:
    """The boxes of an image, the most certain first, each once."""
    rows, where = table(found, outputs)
    if is_without_object(found, rows):
        found = replace(found, layout=next(x for x in LAYOUTS if x.name == TRANSPOSED))
        rows, where = table(found, outputs)
    scores, labels, columns = scored(found, rows)
    kind = written_as(found, rows["box"])
    scale = scales(kind, found.places, rows["box"], size)
    edges = corners(kind, found.places, rows["box"], scale)
    order = np.argsort(-scores, kind="stable")[: 10 * MOST]
    kept: list[int] = []
    for k in order:
        if kept and (scores[k] < LEAST or len(kept) == MOST):
            break
        same = [j for j in kept if labels[j] == labels[k]]
        if not same or overlaps(edges[k], edges[same]).max() <= OVERLAP:
            kept.append(int(k))

    names = [name for names in found.outputs for name in names]

    def box(k: int) -> Box:
        raw = rows["box"][k]
        asked = asked_for(where, names, k, columns[k])
        if kind != ANCHORS:  # else only the place is known
            slope = slopes(kind, found.places[k], raw, scale[k])
            asked |= edges_asked_for(where["box"].named(names, k), edges[k], raw, slope)
        return Box(tuple(edges[k].tolist()), float(scores[k]), int(labels[k]), asked)

    return [box(k) for k in kept]


def is_without_object(found: Matched, rows: Mapping[str, np.ndarray]) -> bool:
    """Whether what YOLOX has for an object's presence is a class, which shapes cannot tell.

    Then boxes are in pixels, and none is likely with that class as the presence. A number of classes that a
    usual data set has is that of YOLOX.
    """
    if found.layout.name != "YOLOX" or rows["class"].shape[1] in USUAL_COUNTS:
        return False
    return written_as(found, rows["box"]) == CENTRE and bool(scored(found, rows)[0].max() < LEAST)


def table(
    found: Matched, outputs: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, Elements]]:
    """Each column as [anchors, numbers], and the elements that it comes from."""
    rows: dict[str, np.ndarray] = {}
    where: dict[str, Elements] = {}
    each, number = found.layout.anchors or 1, 0
    for part, names in zip(found.layout.parts, found.outputs, strict=True):
        parts = []
        for name in names:
            array = np.asarray(outputs[name], np.float64)
            array = array.reshape(array.shape[array.ndim - len(part.axes.split()) :])
            places = part.rows(np.arange(array.size).reshape(array.shape), each)
            parts.append((part.rows(array, each), np.full_like(places, number), places))
            number += 1
        values, output, element = (np.concatenate(p) for p in zip(*parts, strict=True))
        for column, cut in part.columns_of(values.shape[1]).items():
            rows[column], where[column] = values[:, cut], Elements(output[:, cut], element[:, cut])
    if "offset" in rows:
        rows["box"] = np.concatenate([rows["offset"], rows["size"]], 1)
        pair = (where["offset"], where["size"])
        where["box"] = Elements(*(np.concatenate(p, 1) for p in zip(*pair, strict=True)))
    return rows, where


def scored(found: Matched, rows: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each anchor: the score of its best class, this class, and the class's column."""
    if "score" in rows:
        best = chances(rows["score"])[:, 0]
        labels = rows["label"][:, 0].round().astype(int) if "label" in rows else np.zeros(len(best), int)
        return best, labels, np.zeros(len(best), int)
    raw = rows["class"]
    classes, first = softmaxed(raw) if excludes(raw) else (chances(raw), 0)
    columns = classes.argmax(1)
    best = classes.max(1) * (chances(rows["object"])[:, 0] if "object" in rows else 1)
    return best, columns, columns + first


def excludes(raw: np.ndarray) -> bool:
    """Whether the classes exclude each other: they add up to 1, or one of them stands for nothing.

    Behind a softmax, and where no class is above zero nearly everywhere but the first or the last.
    """
    if raw.shape[1] < 2:
        return False
    if raw.min() >= 0 and raw.max() <= 1:
        return bool(np.allclose(raw.sum(1), 1, atol=1e-3))
    best = raw.argmax(1)
    return bool(
        max((best == 0).mean(), (best == raw.shape[1] - 1).mean()) > 0.9 and np.median(raw.max(1)) > 0
    )


def softmaxed(raw: np.ndarray) -> tuple[np.ndarray, int]:
    """The shares of all classes but that for nothing, the first or the last; and the column of the first."""
    shares = raw
    if raw.min() < 0 or raw.max() > 1:
        shares = np.exp(raw - raw.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
    nothing_first = shares[:, 0].mean() > shares[:, -1].mean()
    return (shares[:, 1:], 1) if nothing_first else (shares[:, :-1], 0)


def chances(raw: np.ndarray) -> np.ndarray:
    """Numbers between 0 and 1 as they are; others through a sigmoid."""
    inside = raw.min(initial=0) >= 0 and raw.max(initial=0) <= 1
    return raw if inside else np.exp(-np.logaddexp(0, -raw))


def scales(kind: str, places: np.ndarray, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[anchors, 2]: how many pixels one unit of a box's numbers is, along x and y."""
    each = places[:, 2:].repeat(2, axis=1)
    if kind in (GRID, CELLS, ANCHORS):
        return each
    if kind == SIDES and np.abs(raw).max() < max(size) / 8:
        return each
    if kind in (CENTRE, CORNERS) and np.quantile(np.abs(raw), 0.9) <= 2:
        return np.broadcast_to(np.array(size[::-1], np.float64), each.shape)
    return np.ones_like(each)


def corners(kind: str, places: np.ndarray, raw: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[anchors, 4]: left, top, right and bottom in pixels."""
    place, first, second = places[:, :2], raw[:, :2] * scale, raw[:, 2:] * scale
    if kind == SIDES:
        return np.concatenate([place - first, place + second], 1)
    if kind == CORNERS:
        return np.concatenate([first, second], 1)
    if kind in (GRID, CELLS):
        span = second if kind == CELLS else np.exp(raw[:, 2:].clip(-10, 10)) * scale
        middle = place - scale / 2 + first
    elif kind == PLACE:
        middle, span = place + first, second
    elif kind == ANCHORS:
        middle, span = place, UNKNOWN_SIZE * scale
    else:
        middle, span = first, second
    return np.concatenate([middle - span / 2, middle + span / 2], 1)


def slopes(kind: str, place: np.ndarray, raw: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[edges, numbers]: how the edges of one box change with its numbers."""
    many = [np.broadcast_to(v, (4, len(v))) for v in (place, scale)]
    up, down = (corners(kind, many[0], raw + s * STEP * np.eye(4), many[1]) for s in (1, -1))
    return np.asarray((up - down).T / (2 * STEP))


def written_as(found: Matched, raw: np.ndarray) -> str:
    """How a box is written, where the layout leaves that open or the numbers show that it is done already."""
    kind = found.layout.boxes
    if kind == EITHER:
        ordered = ((raw[:, 2] > raw[:, 0]) & (raw[:, 3] > raw[:, 1])).mean()
        if ordered > 0.98:
            return CORNERS
        return CENTRE if (raw[:, 2:] >= 0).mean() > 0.98 else ANCHORS
    if kind == GRID and np.median(np.abs(raw[:, :2])) > 8:  # offsets are some strides at most
        return CENTRE
    return kind


def asked_for(
    where: Mapping[str, Elements], outputs: Sequence[str], k: int, column: int
) -> dict[str, Asking]:
    """What can be asked about anchor k: its class, and its object's presence."""
    found = {}
    for name in ("class", "score", "object"):
        if name in where:
            output, element = where[name].named(outputs, k)[column if name == "class" else 0]
            found["class" if name == "score" else name] = Asking({output: {element: 1.0}})
    return found


def edges_asked_for(
    numbers: Sequence[tuple[str, int]], edges: np.ndarray, raw: np.ndarray, slope: np.ndarray
) -> dict[str, Asking]:
    """The edges of a box in pixels, as sums of its numbers: exact here, and with the right slopes."""
    found = {}
    for name, edge, row in zip(EDGES, edges, slope, strict=True):
        weights: dict[str, dict[int, float]] = {}
        for (output, element), weight in zip(numbers, row, strict=True):
            if weight:
                weights.setdefault(output, {})[element] = float(weight)
        found[name] = Asking(weights, float(edge - row @ raw))
    return found


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of several."""
    left, top = np.maximum(box[:2], others[:, :2]).T
    right, bottom = np.minimum(box[2:], others[:, 2:]).T
    both = (right - left).clip(0) * (bottom - top).clip(0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return np.asarray(both / np.maximum((box[2] - box[0]) * (box[3] - box[1]) + areas - both, 1e-9))


__all__ = ["Box", "boxes"]
