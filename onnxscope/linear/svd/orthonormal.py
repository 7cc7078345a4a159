"""Orthonormal bases as bundles of a bounded number of vectors, so that a basis grows without being copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.linear.linear_map import Block, Space

WIDTH = 16  # vectors in one bundle of a basis


@dataclass(frozen=True)
class Bundle:
    """A block and the number of its vectors, which is at least 1."""

    block: Block
    count: int


def joined(space: Space, bundles: Sequence[Bundle]) -> Bundle | None:
    """All vectors as one bundle; None where there are none."""
    if len(bundles) < 2:
        return bundles[0] if bundles else None
    return Bundle(space.join([bundle.block for bundle in bundles]), sum(bundle.count for bundle in bundles))


def appended(space: Space, basis: tuple[Bundle, ...], new: Bundle) -> tuple[Bundle, ...]:
    """The basis with more vectors, in its last bundle if they fit there."""
    if basis and basis[-1].count + new.count <= WIDTH:
        last, count = basis[-1], basis[-1].count + new.count
        return (*basis[:-1], Bundle(space.join([last.block, new.block]), count))
    return (*basis, new)


def combined(space: Space, turn: np.ndarray, basis: Sequence[Bundle]) -> Block:
    """basis·turn, column by column."""
    start, total = basis[0].count, space.combine(turn[: basis[0].count].T, basis[0].block)
    for bundle in basis[1:]:
        total = space.subtract(total, -turn[start : start + bundle.count].T, bundle.block)
        start += bundle.count
    return total


def turned(space: Space, turn: np.ndarray, basis: Sequence[Bundle]) -> tuple[Bundle, ...]:
    """basis·turn as a basis."""
    parts = [turn[:, i : i + WIDTH] for i in range(0, turn.shape[1], WIDTH)]
    return tuple(Bundle(combined(space, part, basis), part.shape[1]) for part in parts)


def without(space: Space, block: Block, coefficients: np.ndarray, basis: Sequence[Bundle]) -> Block:
    """block − coefficients·basis, where most of the coefficients are 0."""
    start = 0
    for bundle in basis:
        part = coefficients[:, start : start + bundle.count]
        start += bundle.count
        if part.any():
            block = space.subtract(block, part, bundle.block)
    return block


def orthonormal(
    space: Space, x: Bundle, to: Sequence[Bundle], vanishing: float
) -> tuple[Bundle | None, np.ndarray, np.ndarray]:
    """new, removed and remainder with x = removed·to + remainder·new.

    `new` is orthonormal and orthogonal to `to`. What is no longer than `vanishing` is dropped.

    Directions of similar length are taken together, the longest first. The others are then made orthogonal to
    them and measured again, so that a short direction becomes as orthogonal as a long one.
    """
    block, removed, gram = cleaned(space, x.block, to, vanishing)
    taken: list[Bundle] = []
    remainder, turn = np.zeros((x.count, 0)), np.eye(x.count)
    while True:
        power, axes = np.linalg.eigh(gram)
        strong = power > max(power[-1] / 4, vanishing**2)
        if strong.any():
            length = np.sqrt(power[strong])
            taken.append(Bundle(space.combine((axes[:, strong] / length).T, block), len(length)))
            remainder = np.hstack([remainder, turn @ axes[:, strong] * length])
        if strong.all() or not strong.any():
            return joined(space, taken), removed, remainder
        turn = turn @ axes[:, ~strong]
        weak = space.combine(axes[:, ~strong].T, block)
        block, _, gram = cleaned(space, weak, [*to, *taken], vanishing)


def cleaned(
    space: Space, block: Block, of: Sequence[Bundle], vanishing: float
) -> tuple[Block, np.ndarray, np.ndarray]:
    """The block without its parts along the bundles, those parts, and ⟨x_i, x_j⟩ of the rest.

    This is repeated while any vector loses more than it keeps, because the rounding of the loss may be as
    large as the rest. Vectors that lie within the bundles keep nothing, and do not count.
    """
    total: np.ndarray | float = 0.0
    nothing = vanishing * float(np.finfo(space.dtype).eps)
    while True:
        parts = []
        for bundle in of:
            parts.append(space.dot(block, bundle.block))
            block = space.subtract(block, parts[-1], bundle.block)
        gram = space.dot(block, block)
        removed = np.hstack([*parts, np.zeros((len(gram), 0))])
        total = total + removed
        left = np.sqrt(np.diagonal(gram))
        if np.all((np.linalg.norm(removed, axis=1) <= left) | (left <= nothing)):
            return block, total, gram
