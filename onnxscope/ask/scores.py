"""Scores by number or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxscope.errors import BadOption


@dataclass(frozen=True)
class Scores:
    """A network's output as a vector, and the labels of its elements, if there are any."""

    values: np.ndarray
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != self.values.size:
            raise BadOption(
                f"holds {len(self.labels)} labels, and the network gives {self.values.size} numbers",
                where="--labels",
                remedy="give one line for each score",
            )

    def name(self, score: int) -> str:
        return f"{self.labels[score]} ({score})" if self.labels else str(score)

    def index(self, chosen: int | str | None) -> int:
        """Of a label or a number; of the highest score where nothing is named."""
        text = str(chosen)
        if chosen is None:
            return int(self.values.argmax())
        if text in self.labels:
            return list(self.labels).index(text)
        if not text.isdecimal() or int(text) >= self.values.size:
            known = f"a number below {self.values.size}" + (" or a label" if self.labels else "")
            raise BadOption(f"there is no score '{text}'", where="--score", remedy=f"give {known}")
        return int(text)

    def highest(self, count: int) -> list[int]:
        return [int(k) for k in np.argsort(-self.values, kind="stable")[:count]]


def read_labels(file: Path | None) -> list[str]:
    """One label a line; none where no file is named."""
    if file is None:
        return []
    try:
        names = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadOption(
            "cannot be read as text", where=f"--labels '{file}'", remedy="name a file with one label a line"
        ) from error
    if not names:
        raise BadOption(
            "holds no labels", where=f"--labels '{file}'", remedy="name a file with one label a line"
        )
    return names
