"""What evaluate measures on each picture, in this process or in a worker's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.ask.cases import Cases
from onnxscope.ask.scores import Scores
from onnxscope.ask.trials import CHANCE, EDGES, MEASURES, Trials
from onnxscope.cli.question import Question
from onnxscope.errors import BadOption, printable
from onnxscope.files.folders import mask_of


class Judge:
    """Measures methods, and the maps to compare them with, on one picture after the other."""

    def __init__(
        self,
        question: Question,
        trials: Trials,
        methods: Sequence[str],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        self.question, self.trials, self.labels = question, trials, labels
        self.methods, self._metrics = [*methods, EDGES, CHANCE], metrics
        self._cases = Cases(trials)

    def answer(self, picture: Path) -> dict[str, Any]:
        """A row for each method, or why the picture is skipped."""
        try:
            image, mask = with_mask(self.question, picture)
            about = {"picture": printable(picture.name), **self.facts(image, mask)}
        except BadOption as error:
            return {"skipped": error.cause}
        return {"rows": [{**about, "method": m, **self.figures(m, image, mask)} for m in self.methods]}

    def facts(self, image: np.ndarray, mask: np.ndarray | None) -> dict[str, Any]:
        """The class with the highest score, and the share of the picture that the mask covers."""
        scores = Scores(self.trials.network(image), self.labels)
        share = None if mask is None else float(mask.mean())
        return {"class": scores.name(scores.index(None)), "mask_share": share}

    def figures(self, method: str, image: np.ndarray, mask: np.ndarray | None) -> dict[str, Any]:
        """The measures of a method, and then the metrics; None for those that do not apply."""
        found = self.trials.measures(method, image, mask)
        if self._metrics:
            found |= self._cases.measured(self._metrics, method, image, mask)
        defined = {name: float(value) for name, value in found.items() if not math.isnan(value)}
        return {name: defined.get(name) for name in (*MEASURES, *self._metrics)}


def with_mask(q: Question, picture: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture as the model's image, and its mask; None if there is no mask, or it covers all or nothing."""
    file = mask_of(picture)
    image, mask = q.read(picture), q.read_mask(file) if file.exists() else None
    return image, None if mask is not None and mask.all() == mask.any() else mask
