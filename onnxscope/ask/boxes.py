"""The boxes that a detector finds in an image, and which elements of its outputs each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.ask.layouts import ANCHORS, CENTRE, CORNERS, EITHER, GRID, PLACE, SIDES, Matched

LEAST, OVERLAP, MOST = (
    0.25,
    0.45,
    100,
)  # a box's score, the overlap of two of a class, and the number of boxes
EDGES = ("left", "top", "right", "bottom")
# A box on a YOLO head is this many strides wide and high where its anchors are not known.
UNKNOWN_SIZE = 4.0
Weights = Mapping[int, float]  # of elements of an output


@dataclass(frozen=True)
class Box:
    """One box: its edges in pixels of the network's input, and where its numbers stand."""

    edges: tuple[float, float, float, float]  # left, top, right, bottom
    score: float
    label: int
    places: Mapping[str, tuple[str, Weights]]  # what can be asked for: an output, and weights of its elements


def boxes(found: Matched, outputs: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Box]:
    """The boxes of an image, the most certain first, each once."""
    rows, where = table(found, outputs)
    scores, labels, columns = scored(found, rows)
    kind = written_as(found, rows["box"])
    edges = corners(kind, found.places, rows["box"], size)
    order = np.argsort(-scores, kind="stable")[: 10 * MOST]
    kept: list[int] = []
    for k in order:
        if kept and (scores[k] < LEAST or len(kept) == MOST):
            break
        same = [j for j in kept if labels[j] == labels[k]]
        if not same or overlaps(edges[k], edges[same]).max() <= OVERLAP:
            kept.append(int(k))
    return [
        Box(tuple(edges[k].tolist()), float(scores[k]), int(labels[k]), asked_for(kind, where, k, columns[k]))
        for k in kept
    ]


def table(
    found: Matched, outputs: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, list[tuple[str, np.ndarray]]]]:
    """Each column as [anchors, numbers], and for each column the elements that it comes from, by output."""
    rows: dict[str, np.ndarray] = {}
    where: dict[str, list[tuple[str, np.ndarray]]] = {}
    each = found.layout.anchors or 1
    for part, names in zip(found.layout.parts, found.outputs, strict=True):
        values, places = [], []
        for name in names:
            array = np.asarray(outputs[name], np.float64)
            array = array.reshape(array.shape[array.ndim - len(part.axes.split()) :])
            values.append(part.rows(array, each))
            places.append((name, part.rows(np.arange(array.size).reshape(array.shape), each)))
        every = np.concatenate(values)
        for column, cut in part.columns_of(every.shape[1]).items():
            rows[column] = every[:, cut]
            where[column] = [(name, p[:, cut]) for name, p in places]
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


def corners(kind: str, places: np.ndarray, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[anchors, 4]: left, top, right and bottom in pixels."""
    x, y, stride = places.T
    first, second = raw[:, :2], raw[:, 2:]
    place = np.stack([x, y], 1)
    each = stride[:, None]
    if kind == GRID:
        middle, span = place - each / 2 + first * each, np.exp(second.clip(-10, 10)) * each
    elif kind == PLACE:
        middle, span = place + first, second
    elif kind == ANCHORS:
        middle, span = place, np.repeat(each * UNKNOWN_SIZE, 2, axis=1)
    elif kind == SIDES:
        scale = each if np.abs(raw).max() < max(size) / 8 else 1.0
        return np.concatenate([place - first * scale, place + second * scale], 1)
    else:
        unit = np.array([size[1], size[0]]) if np.quantile(np.abs(raw), 0.9) <= 2 else np.ones(2)
        if kind == CORNERS:
            return np.concatenate([first * unit, second * unit], 1)
        middle, span = first * unit, second * unit
    return np.concatenate([middle - span / 2, middle + span / 2], 1)


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
    kind: str, where: Mapping[str, list[tuple[str, np.ndarray]]], k: int, column: int
) -> dict[str, tuple[str, Weights]]:
    """What can be asked about anchor k: its class, its object's presence, its edges and its size."""

    def at(name: str) -> tuple[str, np.ndarray]:
        row = k
        for output, places in where[name]:
            if row < len(places):
                return output, places[row]
            row -= len(places)
        raise IndexError(k)

    result: dict[str, Any] = {}
    for name in ("class", "score", "object"):
        if name in where:
            output, places = at(name)
            result["class" if name == "score" else name] = (
                output,
                {int(places[column if name == "class" else 0]): 1.0},
            )
    output, places = at("box")
    x, y, z, w = map(int, places)
    if kind in (CORNERS, SIDES):
        edges: Sequence[dict[int, float]] = ({x: 1.0}, {y: 1.0}, {z: 1.0}, {w: 1.0})
    else:
        edges = ({x: 1.0, z: -0.5}, {y: 1.0, w: -0.5}, {x: 1.0, z: 0.5}, {y: 1.0, w: 0.5})
    return result | {edge: (output, weights) for edge, weights in zip(EDGES, edges, strict=True)}


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of several."""
    left, top = np.maximum(box[:2], others[:, :2]).T
    right, bottom = np.minimum(box[2:], others[:, 2:]).T
    both = (right - left).clip(0) * (bottom - top).clip(0)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return np.asarray(both / np.maximum((box[2] - box[0]) * (box[3] - box[1]) + areas - both, 1e-9))


__all__ = ["Box", "boxes"]
