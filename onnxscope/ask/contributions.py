"""A score at any depth: what every pixel of a feature map adds to it, and the bias that the layers behind it still add.

Where every path passes a tensor, score = Σ cotangent·value there + the bias that remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.ask.interpreter import Interpreter, impulses
from onnxscope.errors import BadOption
from onnxscope.files.results import Cells, Result

HEAD = ("tensor", "its elements add", "bias behind it", "share of the score")


@dataclass(frozen=True, repr=False)
class Contribution(Result):
    """What one tensor's elements add to a score."""

    tensor: str
    values: np.ndarray  # rows × columns of a feature map, its channels summed, or one value for each element
    score: float

    @property
    def total(self) -> float:
        """What all elements of the tensor add together."""
        return float(self.values.sum())

    @property
    def bias(self) -> float:
        """What the layers behind the tensor add."""
        return self.score - self.total

    @property
    def title(self) -> str:
        return f"tensor '{self.tensor}' of the score {self.score:.5g}"

    def cells(self) -> Cells:
        return HEAD[1:], [self.row()[1:]]

    def row(self) -> Sequence[str]:
        """In a table of several tensors."""
        share = f"{100 * self.bias / (self.score or 1):.1f} %"
        return self.tensor, f"{self.total:.4g}", f"{self.bias:.4g}", share

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "total": self.total, "bias": self.bias}


@dataclass(frozen=True, repr=False)
class Contributions(Result, Sequence[Contribution]):
    """The contributions of several tensors to one score, in the network's order."""

    found: Sequence[Contribution]
    name: str = ""  # of the score

    def __getitem__(self, k: Any) -> Any:
        return self.found[k]

    def __len__(self) -> int:
        return len(self.found)

    @property
    def title(self) -> str:
        return f"score {self.name} = {self.found[0].score:.5g}"

    def cells(self) -> Cells:
        return HEAD, [c.row() for c in self.found]


def contributions(x: Interpreter, score: int, tensors: Sequence[str] = ()) -> list[Contribution]:
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


def passed_by_all(x: Interpreter) -> list[str]:
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
