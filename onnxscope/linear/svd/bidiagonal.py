"""F seen from growing orthonormal bases: V of its inputs, U of its outputs, and the small matrix T = Uᵀ·F·V between them.

    F·V = U·T + (waiting outputs)·coupling,    Fᵀ·U = V·Tᵀ + (waiting inputs)·coupling.

Waiting vectors are orthonormal to their basis and to each other; one that gets its pass moves into the basis. With T = P·Σ·Wᵀ the
triplets are u = U·p and v = V·w, and what they leave undone is what the couplings make of w and p: no pass is needed to know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onnxscope.linear.linear_map import Block, Space
from onnxscope.linear.svd.panels import Panel, appended, combined, joined, orthonormal, turned, without
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, rounding

Apply = Callable[
    [int, Block, int], tuple[Block, np.ndarray]
]  # of a side, vectors and their number: their images and the lengths of those


def nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True)
class Side:
    """The vectors of one side of F."""

    space: Space
    panels: tuple[Panel, ...] = ()
    waiting: Panel | None = None
    coupling: np.ndarray = field(default_factory=nothing)  # waiting vectors × the other side's basis

    @property
    def count(self) -> int:
        return sum(panel.count for panel in self.panels)


@dataclass(frozen=True)
class Ritz:
    """T's own triplets, what they leave in the waiting vectors of each side, and how much that is: ‖F·v − σ·u‖ or ‖Fᵀ·u − σ·v‖."""

    sigma: np.ndarray
    turns: tuple[np.ndarray, np.ndarray]  # P and W, a triplet a column
    left: tuple[np.ndarray, np.ndarray]
    residual: np.ndarray


@dataclass(frozen=True)
class State:
    """Everything between two passes. A step makes a new one, so that an interrupted step leaves the old one sound."""

    sides: tuple[Side, Side]
    projected: np.ndarray = field(default_factory=nothing)  # T
    largest: float = 0.0  # the longest image of a unit vector: σ1 or less
    noise: float = 0.0  # how far ⟨u, F·v⟩ and ⟨Fᵀ·u, v⟩ were seen to differ

    @cached_property
    def ritz(self) -> Ritz:
        p, sigma, wt = np.linalg.svd(self.projected, full_matrices=False)
        left = (self.sides[OUTPUTS].coupling @ wt.T, self.sides[INPUTS].coupling @ p)
        return Ritz(sigma, (p, wt.T), left, np.max([np.linalg.norm(x, axis=0) for x in left], axis=0))

    @property
    def loose(self) -> float:
        """How strongly F leads out of the bases."""
        return float(max(np.linalg.norm(side.coupling) for side in self.sides))

    @property
    def zero(self) -> float:
        """What rounding makes of nothing."""
        return max(rounding(self.sides[INPUTS].space) * self.largest, 2 * self.noise)

    @property
    def rank(self) -> int:
        """How many of T's σ are not 0."""
        return int((self.ritz.sigma > 2 * self.zero).sum())

    @property
    def vectors(self) -> int:
        return sum(side.count + len(side.coupling) for side in self.sides)

    def triplets(self, count: int) -> tuple[Block, Block]:
        """u and v of the leading ones."""
        u, v = (
            combined(side.space, turn[:, :count], side.panels)
            for side, turn in zip(self.sides, self.ritz.turns, strict=True)
        )
        return u, v

    def having(self, axis: int, here: Side, there: Side | None = None) -> State:
        """The same with another side, or with both."""
        there = there or self.sides[1 - axis]
        return replace(self, sides=(there, here) if axis == INPUTS else (here, there))


def expecting(state: State, axis: int, new: Panel) -> State:
    """More vectors wait on a side, before those that wait already; nothing is known of them but that they are orthonormal."""
    side = state.sides[axis]
    coupling = np.vstack([np.zeros((new.count, state.sides[1 - axis].count)), side.coupling])
    waiting = joined(side.space, [new, side.waiting] if side.waiting else [new])
    return state.having(axis, replace(side, waiting=waiting, coupling=coupling))


def preferring(state: State, axis: int, weights: np.ndarray) -> State:
    """The waiting vectors turned so that the first stand for most of the weights, of which each has a row."""
    side = state.sides[axis]
    if side.waiting is None:
        return state
    turn = np.linalg.svd(weights)[0].T
    waiting = Panel(side.space.combine(turn, side.waiting.block), side.waiting.count)
    return state.having(axis, replace(side, waiting=waiting, coupling=turn @ side.coupling))


def advanced(state: State, axis: int, width: int, apply: Apply) -> State:
    """The first waiting vectors of a side get their pass; what is new in their images waits on the other side."""
    here, there = state.sides[axis], state.sides[1 - axis]
    chosen, rest = parted(here.space, here.waiting, width)
    known = here.coupling[:width]  # of their images, along the other basis
    image, length = apply(axis, chosen.block, width)
    largest = max(state.largest, float(length.max()))
    image = without(there.space, image, known, there.panels)
    beside = [*there.panels, *([there.waiting] if there.waiting else [])]
    new, removed, remainder = orthonormal(
        there.space, Panel(image, width), beside, rounding(there.space) * largest
    )
    unexpected, waiting = removed[:, : there.count], removed[:, there.count :]
    coupling = np.zeros((waiting.shape[1] + remainder.shape[1], here.count + width))
    coupling[: waiting.shape[1], : here.count] = there.coupling
    coupling[:, here.count :] = np.hstack([waiting, remainder]).T
    now_here = replace(
        here, panels=appended(here.space, here.panels, chosen), waiting=rest, coupling=here.coupling[width:]
    )
    now_there = replace(
        there,
        waiting=joined(there.space, [panel for panel in (there.waiting, new) if panel]),
        coupling=coupling,
    )
    projected = np.concatenate([state.projected, known.T if axis == INPUTS else known], axis=axis)
    noise = max(state.noise, float(np.linalg.norm(unexpected, axis=1).max()))
    return replace(state.having(axis, now_here, now_there), projected=projected, largest=largest, noise=noise)


def parted(space: Space, panel: Panel | None, width: int) -> tuple[Panel, Panel | None]:
    """The first vectors of a panel, and the others."""
    assert panel is not None
    if panel.count == width:
        return panel, None
    every = np.eye(panel.count)
    return Panel(space.combine(every[:width], panel.block), width), Panel(
        space.combine(every[width:], panel.block), panel.count - width
    )


def restarted(state: State, keep: int) -> State:
    """Both bases reduced to the leading triplets' vectors: T becomes Σ, and what holds of the bases goes on holding."""
    ritz = state.ritz
    sides = [
        replace(
            side,
            panels=turned(side.space, turn[:, :keep], side.panels),
            coupling=side.coupling @ other[:, :keep],
        )
        for side, turn, other in zip(state.sides, ritz.turns, reversed(ritz.turns), strict=True)
    ]
    return replace(state, sides=(sides[OUTPUTS], sides[INPUTS]), projected=np.diag(ritz.sigma[:keep]))
