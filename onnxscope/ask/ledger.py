"""The ledger of a score: what the image contributes to it, and what the sources of each layer contribute.

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
    """A score as a sum: the image's contribution through F, and that of each layer's sources, in order."""

    score: float
    input: float
    layers: dict[str, float]
    name: str = ""  # of the score

    @property
    def residual(self) -> float:
        """What all layers contribute together: the element of r that belongs to this score."""
        return sum(self.layers.values())

    @property
    def remainder(self) -> float:
        """The difference between the score and the sum of all contributions, which is due to rounding."""
        return self.score - self.input - self.residual

    @property
    def entries(self) -> dict[str, float]:
        """The contributions of the image and of each layer, by name."""
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
    """The ledger of each of these elements of the output."""
    cotangents = impulses(x.map.outputs, scores)
    rows = np.asarray(x.map.transpose(cotangents)).reshape(len(scores), -1)
    by_source = np.asarray(x.map.ledger(cotangents), np.float64)
    layers = sources_by_layer(x)
    inputs = rows.astype(np.float64) @ x.image.reshape(-1)
    return [
        Ledger(
            float(x.output.reshape(-1)[score]),
            float(of_image),
            {name: float(of_sources[at].sum()) for name, at in layers.items()},
        )
        for score, of_image, of_sources in zip(scores, inputs, by_source, strict=True)
    ]


def sources_by_layer(x: Interpreter) -> dict[str, list[int]]:
    """The places of each node's sources in `at_sources` of the scope, in the order of the nodes.

    A source that belongs to no node comes at the end under its own name.
    """
    scope = x.map.engine.scope
    places = {name: k for k, name in enumerate(scope.at_sources)}
    layers = {step.name: [places.pop(s) for s in step.sources if s in places] for step in scope.steps}
    return {name: found for name, found in layers.items() if found} | {
        name: [k] for name, k in places.items()
    }
