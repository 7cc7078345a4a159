"""Scores of a classifier by number or by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.files.numbers import regular

MOST_BYTES = 16 << 20  # of a file of labels: a hundred for each of 160,000


@dataclass(frozen=True)
class Scores:
    """A network's output as a vector, and the labels of its elements where there are any."""

    values: np.ndarray
    labels: Sequence[str] = ()
    numbered: bool = True  # whether a name ends with the number

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != self.values.size:
            raise BadOption(
                f"the file must hold one label for each of the {self.values.size} scores, "
                f"and it holds {len(self.labels)}",
                where="--labels",
                remedy="give one line for each score",
            )

    def name(self, score: int) -> str:
        """`LABEL (NUMBER)`, or the number where there are no labels."""
        if not self.labels:
            return str(score)
        return f"{self.labels[score]} ({score})" if self.numbered else self.labels[score]

    def index(self, chosen: int | str | None) -> int:
        """The number of the score with this label or number; of the highest score for None."""
        asked = str(chosen)
        if chosen is None:
            return int(self.values.argmax())
        if asked in self.labels:
            return list(self.labels).index(asked)
        if not asked.isdecimal() or int(asked) >= self.values.size:
            known = f"a number below {self.values.size}" + (" or a label" if self.labels else "")
            raise BadOption(f"there is no score '{asked}'", where="--score", remedy=f"give {known}")
        return int(asked)

    def highest(self, count: int) -> list[int]:
        """The numbers of the highest scores, the highest first."""
        return [int(k) for k in np.argsort(-self.values, kind="stable")[:count]]


def read_labels(file: Path | None) -> list[str]:
    """The labels in a file, one on each line; an empty list for None."""
    if file is None:
        return []
    where, remedy = f"--labels '{file}'", "name a file with one label a line"
    try:
        with regular(file) as opened:
            text = opened.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        names = text.decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadOption("the file cannot be read as text", where=where, remedy=remedy) from error
    if not names:
        raise BadOption("the file holds no labels", where=where, remedy=remedy)
    return names
