"""Passes of vectors through F and Fᵀ, counted, checked and kept within a budget; what a solver returns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscope.errors import BadModel
from onnxscope.linear.linear_map import Block, LinearMap, Space

OUTPUTS, INPUTS = 0, 1  # F's two sides, numbered as the axes of a matrix
RAISED = 2.0**60  # a factor for lengths that are too small to be squared


class BudgetSpent(Exception):
    """The next pass exceeds the budget; the text names the limit."""


@dataclass(frozen=True)
class Found:
    """The triplets at one moment, the largest σ first; residuals are relative to σ1."""

    sigma: np.ndarray
    residual: np.ndarray
    vectors: Callable[[int], tuple[Block, Block]]  # u and v of the leading triplets, at least one
    ended: str = ""  # why no more triplets, or no better ones, can be had

    def converged(self, k: int, tol: float) -> int:
        """How many of the leading k have residuals within tol, up to the first that has not."""
        return int(np.cumprod(self.residual[:k] <= tol).sum())


class Passes:
    """F and Fᵀ on blocks; every vector counts as a pass."""

    def __init__(self, f: LinearMap, most: int | None = None, seconds: float | None = None) -> None:
        self.f, self.spaces = f, (f.outputs, f.inputs)
        self.sizes = (math.prod(f.outputs.shape), math.prod(f.inputs.shape))
        self.most, self.seconds, self.begun = most, seconds, time.monotonic()
        self.forward = self.transpose = 0

    @property
    def total(self) -> int:
        return self.forward + self.transpose

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def of(self, side: int, block: Block, count: int) -> tuple[Block, np.ndarray]:
        """The images of `count` inputs under F, or of as many outputs under Fᵀ, and their lengths."""
        if self.most is not None and self.total + count > self.most:
            raise BudgetSpent("out of passes")
        if self.seconds is not None and self.elapsed >= self.seconds:
            raise BudgetSpent("out of seconds")
        first = self.total == 0
        if side == INPUTS:
            image = self.f.forward(block)
            self.forward += count
        else:
            image = self.f.transpose(block)
            self.transpose += count
        return image, checked_lengths(
            self.spaces[1 - side], image, count, "F·v" if side == INPUTS else "Fᵀ·u", first
        )


def checked_lengths(space: Space, image: Block, count: int, name: str, first: bool) -> np.ndarray:
    """The lengths of images; refuses those whose squares overflow, or vanish in the first pass."""
    length = lengths(space, image)
    if not np.isfinite(length).all():
        raise BadModel(
            f"{name} holds values that are not finite, or too large to be squared",
            where="svd",
            remedy="the network overflows for this image: try another one",
        )
    limits = np.finfo(space.dtype)
    if (
        first
        and length.max() ** 2 < limits.tiny / limits.eps
        and lengths(space, space.combine(RAISED * np.eye(count), image)).any()
    ):
        raise BadModel(
            f"{name} is so small that its square is lost in {space.dtype}",
            where="svd",
            remedy="explain an output that is not saturated for this image",
        )
    return length


def lengths(space: Space, block: Block) -> np.ndarray:
    """‖x‖ of every vector of a block; not finite where a square is not."""
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt(np.diagonal(space.dot(block, block))))


def rounding(space: Space) -> float:
    """What a few operations in a row may lose, relative to the largest number in them."""
    return 10 * float(np.finfo(space.dtype).eps)
