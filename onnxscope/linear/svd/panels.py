"""Orthonormal vectors in panels: blocks of bounded size, so that a basis grows without being copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.linear.linear_map import Block, Space

WIDTH = 16  # vectors in one panel


@dataclass(frozen=True)
class Panel:
    """A block and how many vectors it holds, at least one."""

    block: Block
    count: int


def joined(space: Space, panels: Sequence[Panel]) -> Panel | None:
    """All vectors as one panel; nothing where there are none."""
    if len(panels) < 2:
        return panels[0] if panels else None
    return Panel(space.join([panel.block for panel in panels]), sum(panel.count for panel in panels))


def appended(space: Space, panels: tuple[Panel, ...], new: Panel) -> tuple[Panel, ...]:
    if panels and panels[-1].count + new.count <= WIDTH:
        last, count = panels[-1], panels[-1].count + new.count
        return (*panels[:-1], Panel(space.join([last.block, new.block]), count))
    return (*panels, new)


def combined(space: Space, turn: np.ndarray, panels: Sequence[Panel]) -> Block:
    """basis·turn, column by column."""
    start, total = panels[0].count, space.combine(turn[: panels[0].count].T, panels[0].block)
    for panel in panels[1:]:
        total = space.subtract(total, -turn[start : start + panel.count].T, panel.block)
        start += panel.count
    return total


def turned(space: Space, turn: np.ndarray, panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """basis·turn as panels."""
    parts = [turn[:, i : i + WIDTH] for i in range(0, turn.shape[1], WIDTH)]
    return tuple(Panel(combined(space, part, panels), part.shape[1]) for part in parts)


def without(space: Space, block: Block, coefficients: np.ndarray, panels: Sequence[Panel]) -> Block:
    """The block less what is known to lie along a basis; most of the coefficients are 0."""
    start = 0
    for panel in panels:
        part = coefficients[:, start : start + panel.count]
        start += panel.count
        if part.any():
            block = space.subtract(block, part, panel.block)
    return block


def orthonormal(
    space: Space, x: Panel, beside: Sequence[Panel], vanishing: float
) -> tuple[Panel | None, np.ndarray, np.ndarray]:
    """x = removed·beside + remainder·new, `new` being orthonormal to itself and to `beside`: new, removed and remainder.

    What is no longer than `vanishing` is dropped. Directions of like length are taken together, the longest first, and the others are
    cleaned of them and looked at again: a short direction becomes as orthogonal as a long one.
    """
    block, removed, gram = cleaned(space, x.block, beside, vanishing)
    taken: list[Panel] = []
    remainder, turn = np.zeros((x.count, 0)), np.eye(x.count)
    while True:
        power, axes = np.linalg.eigh(gram)
        strong = power > max(power[-1] / 4, vanishing**2)
        if strong.any():
            length = np.sqrt(power[strong])
            taken.append(Panel(space.combine((axes[:, strong] / length).T, block), len(length)))
            remainder = np.hstack([remainder, turn @ axes[:, strong] * length])
        if strong.all() or not strong.any():
            return joined(space, taken), removed, remainder
        turn = turn @ axes[:, ~strong]
        block, _, gram = cleaned(
            space, space.combine(axes[:, ~strong].T, block), [*beside, *taken], vanishing
        )


def cleaned(
    space: Space, block: Block, beside: Sequence[Panel], vanishing: float
) -> tuple[Block, np.ndarray, np.ndarray]:
    """The block without its parts along the panels, those parts, and ⟨x_i, x_j⟩ of what is left.

    Repeated while more comes off any vector than is left of it, for so may its rounding; nothing is left of those within the panels.
    """
    total: np.ndarray | float = 0.0
    nothing = vanishing * float(np.finfo(space.dtype).eps)
    while True:
        parts = []
        for panel in beside:
            parts.append(space.dot(block, panel.block))
            block = space.subtract(block, parts[-1], panel.block)
        gram = space.dot(block, block)
        removed = np.hstack([*parts, np.zeros((len(gram), 0))])
        total = total + removed
        left = np.sqrt(np.diagonal(gram))
        if np.all((np.linalg.norm(removed, axis=1) <= left) | (left <= nothing)):
            return block, total, gram
