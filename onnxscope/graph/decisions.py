"""Operators whose result is a decision, or a size: it does not follow the numbers that they look at.

And decisions that a model was specialised on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_SHOWN = 8  # values of one decision

CHOICES = ("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "OneHot", "Unique")
SIZES = ("EyeLike", "Range", "Shape", "Size")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual")
LOGIC = ("And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Not", "Or", "Xor")
STEPS = ("Ceil", "Floor", "Sign")  # constant but for jumps
DECISIONS = (*CHOICES, *SIZES, *COMPARISONS, *LOGIC, *STEPS)


@dataclass(frozen=True)
class Decision:
    """A value that one image decided, and that the model has as a constant since."""

    node: str  # that needs the value
    op: str
    what: str  # the value is to the node, such as its condition
    tensor: str  # of the base, which computes the value for any image
    value: Any  # a number, or nested lists of numbers, as in JSON

    @property
    def where(self) -> str:
        return f"node '{self.node}' ({self.op})"

    def __str__(self) -> str:
        return f"{self.what} of '{self.node}' = {shown(self.value)}"


def shown(value: Any) -> str:
    """The value of a decision as text: its first elements, with its shape where there are more."""
    array = np.asarray(value)
    first = [str(v).lower() if array.dtype == bool else f"{v:g}" for v in array.reshape(-1)[:MOST_SHOWN]]
    if not array.shape:
        return first[0]
    if array.size <= MOST_SHOWN and array.ndim == 1:
        return f"[{', '.join(first)}]"
    more = ["…"] if array.size > MOST_SHOWN else []
    return f"{'x'.join(map(str, array.shape))} numbers [{', '.join([*first, *more])}]"


def note_of(decided: Sequence[Decision]) -> str:
    """What a specialised model was specialised on, in one line."""
    listed = "; ".join(map(str, decided[:MOST_SHOWN]))
    more = f"; and {len(decided) - MOST_SHOWN} more" if len(decided) > MOST_SHOWN else ""
    return f"specialised on this image: {listed}{more}"
