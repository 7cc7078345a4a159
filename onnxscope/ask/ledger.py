"""The ledger of a score: what the image contributes to it, and what each layer's sources add.

score = ⟨row of F, x0⟩ + Σ over layers ⟨cotangent, source⟩
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.ask.interpreter import Interpreter, impulses
from onnxscope.files.results import Cells, Result


@dataclass(frozen=True, repr=False)
class Ledger(Result):
    """A score and its parts: what the image contributes through F, and what each layer's sources add, in order."""

    score: float
    input: float
    layers: dict[str, float]
    name: str = ""  # of the score

    @property
    def residual(self) -> float:
        """What all layers add together: r of this score."""
        return sum(self.layers.values())

    @property
    def remainder(self) -> float:
        """What rounding left unaccounted for."""
        return self.score - self.input - self.residual

    @property
    def entries(self) -> dict[str, float]:
        """The image's part and each layer's, by name."""
        return {"the image": self.input, **self.layers}

    @property
    def title(self) -> str:
        return f"score {self.name or ''} = {self.score:.5g}".replace("  ", " ")

    def cells(self) -> Cells:
        rows = [*self.entries.items(), ("remainder", self.remainder), ("score", self.score)]
        shares = [(name, f"{v:.4g}", f"{100 * v / (self.score or 1):.1f} %") for name, v in rows]
        return ("part", "contribution", "share"), shares

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "residual": self.residual, "remainder": self.remainder}


def ledgers(x: Interpreter, scores: Sequence[int]) -> list[Ledger]:
    """One for each of these elements of the output."""
    cotangents = impulses(x.map.outputs, scores)
    rows = np.asarray(x.map.transpose(cotangents)).reshape(len(scores), -1)
    paid = np.asarray(x.map.ledger(cotangents), np.float64)
    layers = sources_by_layer(x)
    inputs = rows.astype(np.float64) @ x.image.reshape(-1)
    return [
        Ledger(
            float(x.output.reshape(-1)[score]),
            float(given),
            {name: float(terms[at].sum()) for name, at in layers.items()},
        )
        for score, given, terms in zip(scores, inputs, paid, strict=True)
    ]


def sources_by_layer(x: Interpreter) -> dict[str, list[int]]:
    """Which of the scope's sources each node has, in the order of the nodes; one that belongs to none stands for itself, at the end."""
    scope = x.map.engine.scope
    places = {name: k for k, name in enumerate(scope.at_sources)}
    layers = {step.name: [places.pop(s) for s in step.sources if s in places] for step in scope.steps}
    return {name: found for name, found in layers.items() if found} | {
        name: [k] for name, k in places.items()
    }
