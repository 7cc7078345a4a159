"""The jobs of verbs whose work is spread: each opens the question of the command line in its own process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.api.differing import Comparing
from onnxscope.api.two_models import Reading, TwoModels
from onnxscope.ask.scores import read_labels
from onnxscope.ask.trials import Trials
from onnxscope.cli.diffing import Comparison, Sizes
from onnxscope.cli.evaluating import AskedOfFolder
from onnxscope.cli.judging import Judge
from onnxscope.cli.options import Asked, Pictures
from onnxscope.cli.question import Question
from onnxscope.cli.spreading import filled
from onnxscope.errors import BadOption
from onnxscope.files.arrays import Grid
from onnxscope.linear.extract import values_of_block
from onnxscope.work.jobs import Batch

Found = dict[str, np.ndarray]


class Evaluating:
    """Measures explanations, picture by picture."""

    def __init__(
        self, asked: dict[str, Any], first: str, layer: str, methods: Sequence[str], metrics: Sequence[str]
    ) -> None:
        options = filled(AskedOfFolder, asked)
        question = Question("evaluate", options).at(Path(first))
        trials = Trials(question.opened.explainer.at(layer))
        self.judge = Judge(question, trials, methods, metrics, read_labels(options.labels))

    def __call__(self, batch: Batch) -> Found:
        return {"row": np.array([json.dumps(self.judge.answer(Path(p))) for p in batch["picture"].tolist()])}


class Extracting:
    """Computes blocks of F."""

    def __init__(self, asked: dict[str, Any], side: str, facts: dict[str, Any]) -> None:
        self.map, self.side = Question("filter", filled(Asked, asked)).x.map, side
        self.grid = Grid.of(facts)

    def __call__(self, batch: Batch) -> Found:
        """All blocks with as many pixels as the largest has, the rest of which are zeros."""
        most = max(block.count for block in self.grid.blocks)
        found = np.zeros((len(batch["number"]), most, *self.grid.picture), np.float32)
        for into, number in zip(found, batch["number"].tolist(), strict=True):
            block = self.grid.blocks[number]
            into[: block.count] = values_of_block(self.map, self.side, block)
        return {"values": found}


class Differing:
    """Compares two exports, picture by picture."""

    def __init__(self, models: Sequence[str], first: str, options: Mapping[str, Any]) -> None:
        a, b = models
        comparison, sizes = (
            filled(Comparison, options["comparison"]),
            filled(Sizes, options["sizes"]),
        )
        chosen, ways = comparison.chosen(), sizes.chosen()
        preset = filled(Pictures, options["reading"]).chosen()
        reading = Reading(ways["further"], chosen["labels"], preset, ways["options"], chosen["given"])
        self.comparing = Comparing(TwoModels(Path(a), Path(b), reading), comparison.ask)
        self.comparing.models.at(Path(first), self.comparing.models.fed(Path(first)))

    def __call__(self, batch: Batch) -> Found:
        models = self.comparing.models
        found = []
        for name, picture in zip(batch["name"].tolist(), batch["picture"].tolist(), strict=True):
            try:
                fed = models.fed(Path(picture))
            except BadOption:  # a picture that cannot be read
                found.append("{}")
            else:
                found.append(json.dumps(asdict(self.comparing.row(name, models.at(Path(picture), fed)))))
        return {"row": np.array(found)}
