"""F seen from growing orthonormal bases: V of its inputs, U of its outputs, and T = Uᵀ·F·V, a small matrix.

    F·V = U·T + (waiting outputs)·coupling,    Fᵀ·U = V·Tᵀ + (waiting inputs)·coupling.

The waiting vectors of a side are orthonormal, also to its basis. After its pass a waiting vector joins the
basis. With T = P·Σ·Wᵀ the triplets are u = U·p and v = V·w. Their residuals are the couplings times w and
p, so no further pass is needed to know them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onnxscope.linear.linear_map import Block, Space
from onnxscope.linear.svd.orthonormal import (
    Bundle,
    appended,
    combined,
    joined,
    orthonormal,
    turned,
    without,
)
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, rounding

# From a side, vectors of it and their number to their images and the lengths of the images.
Apply = Callable[[int, Block, int], tuple[Block, np.ndarray]]


def nothing() -> np.ndarray:
    return np.zeros((0, 0))


@dataclass(frozen=True)
class Side:
    """The vectors of one side of F."""

    space: Space
    basis: tuple[Bundle, ...] = ()
    waiting: Bundle | None = None
    coupling: np.ndarray = field(default_factory=nothing)  # waiting vectors × the other side's basis

    @property
    def count(self) -> int:
        """The number of vectors in the basis."""
        return sum(bundle.count for bundle in self.basis)


@dataclass(frozen=True)
class Ritz:
    """The singular triplets of T, as triplets of F."""

    sigma: np.ndarray
    turns: tuple[np.ndarray, np.ndarray]  # P and W, a triplet a column
    left: tuple[np.ndarray, np.ndarray]  # F·v − σ·u along the waiting outputs, Fᵀ·u − σ·v along the inputs
    residual: np.ndarray  # the larger of their lengths


@dataclass(frozen=True)
class State:
    """Everything known between two passes. A step makes a new state, so it can be interrupted at any time."""

    sides: tuple[Side, Side]
    projected: np.ndarray = field(default_factory=nothing)  # T
    largest: float = 0.0  # the longest image of a unit vector: σ1 or less
    noise: float = 0.0  # the largest difference seen between ⟨u, F·v⟩ and ⟨Fᵀ·u, v⟩

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
        """The size up to which a number may be rounding alone."""
        return max(rounding(self.sides[INPUTS].space) * self.largest, 2 * self.noise)

    @property
    def rank(self) -> int:
        """How many of T's σ are not 0."""
        return int((self.ritz.sigma > 2 * self.zero).sum())

    @property
    def vectors(self) -> int:
        """The number of vectors held, in the bases and waiting."""
        return sum(side.count + len(side.coupling) for side in self.sides)

    def triplets(self, count: int) -> tuple[Block, Block]:
        """u and v of the leading triplets."""
        u, v = (
            combined(side.space, turn[:, :count], side.basis)
            for side, turn in zip(self.sides, self.ritz.turns, strict=True)
        )
        return u, v

    def having(self, axis: int, here: Side, there: Side | None = None) -> State:
        """The same state with another side, or with both replaced."""
        there = there or self.sides[1 - axis]
        return replace(self, sides=(there, here) if axis == INPUTS else (here, there))


def expecting(state: State, axis: int, new: Bundle) -> State:
    """The state with more vectors waiting on a side, before those that already wait there.

    They must be orthonormal, also to all others of the side; nothing else is known of them.
    """
    side = state.sides[axis]
    coupling = np.vstack([np.zeros((new.count, state.sides[1 - axis].count)), side.coupling])
    waiting = joined(side.space, [new, side.waiting] if side.waiting else [new])
    return state.having(axis, replace(side, waiting=waiting, coupling=coupling))


def preferring(state: State, axis: int, weights: np.ndarray) -> State:
    """The state with a side's waiting vectors turned, so that the first ones hold most of the weights.

    `weights` has a row for each waiting vector.
    """
    side = state.sides[axis]
    if side.waiting is None:
        return state
    turn = np.linalg.svd(weights)[0].T
    waiting = Bundle(side.space.combine(turn, side.waiting.block), side.waiting.count)
    return state.having(axis, replace(side, waiting=waiting, coupling=turn @ side.coupling))


def advanced(state: State, axis: int, width: int, apply: Apply) -> State:
    """The state after a pass of the first waiting vectors of a side.

    They join the basis; the parts of their images that are new wait on the other side.
    """
    here, there = state.sides[axis], state.sides[1 - axis]
    chosen, rest = parted(here.space, here.waiting, width)
    known = here.coupling[:width]  # their images along the other basis
    image, length = apply(axis, chosen.block, width)
    largest = max(state.largest, float(length.max()))
    image = without(there.space, image, known, there.basis)
    every = [*there.basis, *([there.waiting] if there.waiting else [])]
    new, removed, remainder = orthonormal(
        there.space, Bundle(image, width), every, rounding(there.space) * largest
    )
    unexpected, waiting = removed[:, : there.count], removed[:, there.count :]
    coupling = np.zeros((waiting.shape[1] + remainder.shape[1], here.count + width))
    coupling[: waiting.shape[1], : here.count] = there.coupling
    coupling[:, here.count :] = np.hstack([waiting, remainder]).T
    now_here = replace(
        here, basis=appended(here.space, here.basis, chosen), waiting=rest, coupling=here.coupling[width:]
    )
    now_there = replace(
        there,
        waiting=joined(there.space, [bundle for bundle in (there.waiting, new) if bundle]),
        coupling=coupling,
    )
    projected = np.concatenate([state.projected, known.T if axis == INPUTS else known], axis=axis)
    noise = max(state.noise, float(np.linalg.norm(unexpected, axis=1).max()))
    return replace(state.having(axis, now_here, now_there), projected=projected, largest=largest, noise=noise)


def parted(space: Space, bundle: Bundle | None, width: int) -> tuple[Bundle, Bundle | None]:
    """The first vectors of a bundle, and the others."""
    assert bundle is not None
    if bundle.count == width:
        return bundle, None
    every = np.eye(bundle.count)
    first = Bundle(space.combine(every[:width], bundle.block), width)
    return first, Bundle(space.combine(every[width:], bundle.block), bundle.count - width)


def restarted(state: State, keep: int) -> State:
    """The state with both bases reduced to the vectors of the leading triplets, so that T becomes Σ.

    The two equations at the top of this file still hold.
    """
    ritz = state.ritz
    sides = [
        replace(
            side,
            basis=turned(side.space, turn[:, :keep], side.basis),
            coupling=side.coupling @ other[:, :keep],
        )
        for side, turn, other in zip(state.sides, ritz.turns, reversed(ritz.turns), strict=True)
    ]
    return replace(state, sides=(sides[OUTPUTS], sides[INPUTS]), projected=np.diag(ritz.sigma[:keep]))
