"""A score at any depth: what every pixel of a feature map adds to it, and the bias that the layers behind it still add.

Where every path passes a tensor, score = Σ cotangent·value there + the bias that remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.ask.interpreter import LinearInterpreter, impulses
from onnxscope.errors import BadOption


@dataclass(frozen=True)
class Contribution:
    """What one tensor's elements add to a score."""

    tensor: str
    values: (
        np.ndarray
    )  # rows × columns of a feature map, its channels summed; else what the tensor's elements add
    score: float

    @property
    def total(self) -> float:
        return float(self.values.sum())

    @property
    def bias(self) -> float:
        """What is added behind the tensor."""
        return self.score - self.total


def contributions(x: LinearInterpreter, score: int, tensors: Sequence[str] = ()) -> list[Contribution]:
    """At these tensors of the base, or at all that every path from the image to the output passes."""
    names = list(tensors) or passed_by_all(x)
    known = x.map.engine.scope.at_tensors
    if unknown := [name for name in names if name not in known]:
        raise BadOption(
            f"there is no tensor '{unknown[0]}' that carries the image to the output",
            where="--tensor",
            remedy="see the nodes with 'onnxscope doctor'; a Relu before a MaxPool is taken together with it",
        )
    found = x.map.contributions(impulses(x.map.outputs, [score]), names)
    value = float(x.output.reshape(-1)[score])
    return [Contribution(name, summed(found[name][0].astype(np.float64)), value) for name in names]


def summed(values: np.ndarray) -> np.ndarray:
    """Channels first, as runtimes have them, are summed."""
    return np.asarray(values.sum(0)) if values.ndim == 3 else values


def passed_by_all(x: LinearInterpreter) -> list[str]:
    """The tensors that every path from the image to the output passes, in their order: none that was there before is read after them."""
    scope = x.map.engine.scope
    base = [n for n in scope.graph.nodes if any(t.name in scope.at_tensors for t in n.outputs)]
    made: dict[str, int] = {scope.image: -1} | {
        t.name: k for k, n in enumerate(base) for t in n.outputs if t.name in scope.at_tensors
    }
    read: dict[str, int] = {t.name: k for k, n in enumerate(base) for t in n.inputs if t.name in made} | {
        scope.output: len(base)
    }
    latest, cuts = -1, list[str]()
    for name, k in made.items():
        if latest <= k:
            cuts.append(name)
        latest = max(latest, read.get(name, k))
    return cuts
