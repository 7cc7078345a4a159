"""What the page of a comparison is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxscope.files.preprocessing import Preprocess
from onnxscope.pairing.shares import Share

DISTANCE = "distance"  # the question whose value is how far the outputs are from each other


@dataclass(frozen=True)
class Example:
    """An image, and the main outputs of A and of B for it, both in A's layout."""

    name: str
    task: str  # what the outputs are, as `ask.tasks` calls it
    image: np.ndarray  # the model's own values
    outputs: tuple[np.ndarray, np.ndarray]
    preprocess: Preprocess
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Seen:
    """A comparison with all that its page shows."""

    facts: Mapping[str, Any]  # of the comparison, as JSON has them
    layers: Sequence[Share]
    sentences: Sequence[str]  # whether both are the same, and what makes the difference
    names: tuple[str, str] = ("A", "B")  # of the files
    about: Mapping[str, str] = field(default_factory=dict)  # further facts for the foot of the page
    example: Example | None = None

    @property
    def many(self) -> bool:
        """Whether the figures are means over several images."""
        return bool(self.facts["images"] > 1)

    @property
    def value(self) -> str:
        """What is compared, in words."""
        if self.facts["question"] == DISTANCE:
            return "the distance"
        return str(self.facts["asked"]) if self.facts["question"] else "the value"


def name_of(share: Share) -> str:
    """A layer by its name in A, or by that in B where only B has it."""
    if share.a and share.b:
        return share.a
    return f"{share.a} (only in A)" if share.a else f"{share.b} (only in B)"


def by_size(layers: Sequence[Share]) -> list[Share]:
    """The layers that contribute to the difference, the largest contribution first."""
    return sorted((s for s in layers if s.contribution), key=lambda s: -abs(s.contribution))
