"""A question that is understood: which elements of which tensors are summed, and what that means."""

from __future__ import annotations

from dataclasses import dataclass

from onnxscope.rewriting.build import Place

OPTION = "--ask"
TRIVIAL = "asked under taylor: a frozen decision would make a position trivial"
NO_PATH = "asked under taylor, as F = 0 under freeze: a decision stands on every path"
Sums = dict[Place, dict[int, float]]  # the weights of elements, by their numbers


@dataclass(frozen=True)
class Asked:
    """A question that is understood."""

    text: str
    words: str  # what is asked, as a sentence has it
    sums: Sums
    constant: float = 0.0  # is added to the sums
    coordinate: bool = False  # whether a position is asked for, which may be computed by a softmax


def difference(text: str, first: Asked, second: Asked) -> Asked:
    """The first question's sums less the second's."""
    sums: Sums = {place: dict(weights) for place, weights in first.sums.items()}
    for place, weights in second.sums.items():
        into = sums.setdefault(place, {})
        for k, w in weights.items():
            into[k] = into.get(k, 0.0) - w
    words = f"{first.words}, less {second.words}"
    constant = first.constant - second.constant
    return Asked(text, words, sums, constant, first.coordinate or second.coordinate)
