"""What has been matched: tensors of A with tensors of B."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnxscope.pairing.layouts import Layout

ROUNDING = {"Cast", "QuantizeLinear", "DequantizeLinear"}  # operators that give on the same numbers, rounded


@dataclass(frozen=True)
class Member:
    """A tensor of B that is the same as a tensor of A, and how it comes to A's shape."""

    name: str
    layout: Layout


@dataclass(frozen=True)
class Fit:
    """A tensor of B that could be the same as a tensor of A, and how far it is from it."""

    member: Member
    error: float


@dataclass
class Found:
    """What has been matched so far. Tensors that differ by their layout only are in one group."""

    members: dict[str, list[Member]] = field(default_factory=dict)  # by tensors of A
    groups_a: dict[str, int] = field(default_factory=dict)
    groups_b: dict[str, int] = field(default_factory=dict)
    unmatched: dict[str, np.ndarray] = field(default_factory=dict)  # A's values on B's, of what has no match
    errors: dict[str, float] = field(default_factory=dict)  # of the match, by tensors of A

    def copy(self) -> Found:
        members = {name: list(found) for name, found in self.members.items()}
        return Found(
            members, dict(self.groups_a), dict(self.groups_b), dict(self.unmatched), dict(self.errors)
        )


def norm(x: np.ndarray) -> float:
    """The square root of the sum of squares."""
    return float(np.linalg.norm(np.asarray(x, np.float32).reshape(-1)))
