"""Work of verbs that is done by workers: what they are told, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.cli.spreading import Spreading
from onnxscope.files.arrays import Grid
from onnxscope.work.engines import Items, spread
from onnxscope.work.jobs import Batch, Work
from onnxscope.work.worker import raised

JOBS = "onnxscope.cli.jobs"


def batches(name: str, settings: Mapping[str, Any], items: Items, spreading: Spreading) -> Iterator[Batch]:
    """What a job answers; an item that failed is an error."""
    for batch in spread(Work(f"{JOBS}:{name}", settings), items, spreading.engine()):
        raised(batch)
        yield batch


def blocks(
    settings: Mapping[str, Any], spreading: Spreading, facts: Mapping[str, Any], numbers: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of F, without the zeros at their ends."""
    grid = Grid.of(facts)
    items = [{"number": n} for n in numbers]
    for batch in batches("Extracting", {**settings, "facts": dict(facts)}, items, spreading):
        for number, values in zip(batch["number"].tolist(), batch["values"], strict=True):
            yield number, np.ascontiguousarray(values[: grid.blocks[number].count])


def answers(
    name: str, settings: Mapping[str, Any], pictures: Mapping[str, Path], spreading: Spreading
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a job finds for each picture, by the picture's name and in their order: early ones wait."""
    names, waiting, done = list(pictures), dict[int, str](), 0
    items = [{"number": k, "name": n, "picture": str(pictures[n].absolute())} for k, n in enumerate(names)]
    for batch in batches(name, settings, items, spreading) if items else ():
        waiting |= zip(batch["number"].tolist(), batch["row"].tolist(), strict=True)
        while done in waiting:
            yield names[done], json.loads(waiting.pop(done))
            done += 1
