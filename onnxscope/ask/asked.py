"""A question that is understood: which elements of which tensors are summed, and what that means."""

from __future__ import annotations

from dataclasses import dataclass

from onnxscope.errors import BadOption

OPTION = "--ask"
Sums = dict[str, dict[int, float]]  # tensor, element, weight


@dataclass(frozen=True)
class Asked:
    """A question that is understood."""

    text: str
    words: str  # what is asked, as a sentence has it
    sums: Sums
    coordinate: bool = False  # whether a position is asked for, which may be computed by a softmax
    value: float | None = None  # where it is not the sum itself


def difference(text: str, first: Asked, second: Asked) -> Asked:
    """The first question's sums less the second's."""
    sums: Sums = {name: dict(weights) for name, weights in first.sums.items()}
    for name, weights in second.sums.items():
        into = sums.setdefault(name, {})
        for k, w in weights.items():
            into[k] = into.get(k, 0.0) - w
    known = [a.value for a in (first, second)]
    if any(v is not None for v in known) and None in known:
        raise BadOption(
            "'same:…' can only be compared with another 'same:…'", where=OPTION, remedy="ask two questions"
        )
    value = None if known[0] is None or known[1] is None else known[0] - known[1]
    words = f"{first.words}, less {second.words}"
    return Asked(text, words, sums, first.coordinate or second.coordinate, value)
