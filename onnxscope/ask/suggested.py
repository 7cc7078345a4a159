"""The questions that are asked where none is given: those that suit what the network gives."""

from __future__ import annotations

import numpy as np

from onnxscope.ask import tasks
from onnxscope.ask.questions import Reader

BOXES, AREAS, LETTERS = 3, 3, 8  # how many of them are asked about
LEAST_AREA = 0.01  # of the map: smaller areas of a class are passed over, unless there is no larger one


def suggested(reader: Reader) -> list[str]:
    """The first is the question of verbs that take one."""
    name = reader.task.name
    if name == tasks.BOXES:
        return [f"box:{n}" for n in range(1, min(BOXES, len(reader.boxes)) + 1)]
    if name == tasks.CLASS_MAP:
        return [f"class:{k}" for k in areas(reader)]
    if name == tasks.TEXT and reader.letters:
        return [f"letter:{n}" for n in range(1, min(LETTERS, len(reader.letters)) + 1)]
    if name == tasks.POINTS:
        count = len(reader.landmarks)
        return [f"landmark:{n}" for n in sorted({1, (count + 1) // 2, count})]
    if name == tasks.EMBEDDING:
        return ["length"]
    if name in (tasks.PICTURE, tasks.MAP):
        return ["mean"]
    return [f"score:{int(reader.main.argmax())}"]


def areas(reader: Reader) -> list[int]:
    """The classes with the largest areas."""
    counts = np.bincount(reader.classes.reshape(-1))
    largest = [int(k) for k in np.argsort(-counts, kind="stable")[:AREAS]]
    return [k for k in largest if counts[k] >= LEAST_AREA * counts.sum()] or largest[:1]
