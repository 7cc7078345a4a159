"""The ledger of a score: what the image paid towards it, and what each layer's sources did.

score = ⟨row of F, x0⟩ + Σ over layers ⟨cotangent, source⟩
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.ask.interpreter import LinearInterpreter, impulses


@dataclass(frozen=True)
class Ledger:
    """A score and what it is made of; the layers stand in the order in which the network computes them."""

    score: float
    input: float
    layers: dict[str, float]

    @property
    def residual(self) -> float:
        """What all layers paid together: r of this score."""
        return sum(self.layers.values())

    @property
    def remainder(self) -> float:
        """What rounding left unaccounted for."""
        return self.score - self.input - self.residual


def ledgers(x: LinearInterpreter, scores: Sequence[int]) -> list[Ledger]:
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


def sources_by_layer(x: LinearInterpreter) -> dict[str, list[int]]:
    """Which of the scope's sources each node has, in the order of the nodes; one that belongs to none stands for itself, at the end."""
    scope = x.map.engine.scope
    places = {name: k for k, name in enumerate(scope.at_sources)}
    layers = {step.name: [places.pop(s) for s in step.sources if s in places] for step in scope.steps}
    return {name: found for name, found in layers.items() if found} | {
        name: [k] for name, k in places.items()
    }
