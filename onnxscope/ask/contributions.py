"""What each pixel of a feature map contributes to a score, and what the layers after that map add as biases.

For every tensor t that all paths from the image to the output pass through,

    score = ⟨cotangent at t, value of t⟩ + the biases added after t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.ask.interpreter import Interpreter, impulses
from onnxscope.errors import BadOption
from onnxscope.files.results import Cells, Result

HEAD = ("tensor", "contribution of its elements", "biases added after it", "biases' share of the score")


@dataclass(frozen=True, repr=False)
class Contribution(Result):
    """What the elements of one tensor contribute to a score."""

    tensor: str
    values: np.ndarray  # rows × columns of a feature map (its channels summed), or one value for each element
    score: float

    @property
    def total(self) -> float:
        """What all elements contribute together."""
        return float(self.values.sum())

    @property
    def bias(self) -> float:
        """What the sources of the layers after the tensor add."""
        return self.score - self.total

    @property
    def title(self) -> str:
        return f"contribution of tensor '{self.tensor}' to the score {self.score:.5g}"

    def cells(self) -> Cells:
        return HEAD[1:], [self.row()[1:]]

    def row(self) -> Sequence[str]:
        """The row of this tensor in a table with `HEAD`."""
        bias_share = f"{100 * self.bias / (self.score or 1):.1f} %"
        return self.tensor, f"{self.total:.4g}", f"{self.bias:.4g}", bias_share

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "total": self.total, "bias": self.bias}


@dataclass(frozen=True, repr=False)
class Contributions(Result, Sequence[Contribution]):
    """The contributions of several tensors to one score, in the order of computation."""

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
    """The contributions of these tensors; of all that every path passes through where none is named."""
    names = list(tensors) or passed_by_all(x)
    known = x.map.engine.scope.at_tensors
    if unknown := [name for name in names if name not in known]:
        raise BadOption(
            f"there is no tensor '{unknown[0]}' that depends on the image and leads to the output",
            where="--tensor",
            remedy="name the output of a node that 'onnxscope doctor' lists; "
            "a Relu directly before a MaxPool is treated as one node with it",
        )
    found = x.map.contributions(impulses(x.map.outputs, [score]), names)
    value = float(x.output.reshape(-1)[score])
    return [Contribution(name, summed(found[name][0].astype(np.float64)), value) for name in names]


def summed(values: np.ndarray) -> np.ndarray:
    """A feature map [channels, rows, columns] with its channels summed; anything else unchanged."""
    return np.asarray(values.sum(0)) if values.ndim == 3 else values


def passed_by_all(x: Interpreter) -> list[str]:
    """The tensors that every path from the image to the output passes through, in the order of computation.

    A tensor is one of them where no tensor that was computed before it is read after it.
    """
    scope = x.map.engine.scope
    nodes = [n for n in scope.graph.nodes if any(t.name in scope.at_tensors for t in n.outputs)]
    computed: dict[str, int] = {scope.image: -1} | {
        t.name: k for k, n in enumerate(nodes) for t in n.outputs if t.name in scope.at_tensors
    }
    last_read: dict[str, int] = {
        t.name: k for k, n in enumerate(nodes) for t in n.inputs if t.name in computed
    }
    last_read[scope.output] = len(nodes)
    earlier_read, found = -1, list[str]()  # when the tensors before this one are last read
    for name, k in computed.items():
        if earlier_read <= k:
            found.append(name)
        earlier_read = max(earlier_read, last_read.get(name, k))
    return found
