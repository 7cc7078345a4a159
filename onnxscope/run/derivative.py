"""The derivative of a function along a line, by central differences, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STEP_SIZES = tuple(0.2 * 0.5**k for k in range(12))  # relative to v


@dataclass(frozen=True)
class Line:
    """f(x0 + h·v) as a function of h, with f(x0) = y0."""

    f: Callable[[np.ndarray], np.ndarray]
    x0: np.ndarray
    y0: np.ndarray
    v: np.ndarray

    def quotient(self, h: float) -> np.ndarray:
        """(f(x0 + h·v) − y0)/h."""
        quotient: np.ndarray = (self.f(np.asarray(self.x0 + h * self.v, self.x0.dtype)) - self.y0) / h
        return quotient


@dataclass(frozen=True, order=True)
class Difference:
    """The central difference of one step; noise and error are relative to its length."""

    noise: float
    step: float
    error: float  # how far the given slope is from it


def least_noisy(line: Line, slope: np.ndarray, noise_of_x: float, noise_of_y: float) -> Difference:
    """The central difference with the least noise, compared with a slope that should be the derivative.

    The noise consists of half the difference between the two one-sided quotients (a kink or a bend within the
    step) or the change since the step was twice as long (a jump), whichever is larger, and of the rounding of
    x and y over the step. `noise_of_x` is relative to x, `noise_of_y` is absolute.
    """
    found: list[Difference] = []
    wider: np.ndarray | None = None  # the central difference of the step before
    for h in STEP_SIZES:
        up, down = line.quotient(h), line.quotient(-h)
        central = (up + down) / 2
        finite = np.isfinite(central)  # a step may leave the domain of f
        size = max(length(central[finite]), 1e-30)
        bend = length((up - down)[finite]) / 2
        jump = size
        if wider is not None and np.isfinite(wider[finite]).all():
            jump = length((central - wider)[finite])
        noise = (max(bend, jump) + noise_of_y / h) / size + noise_of_x / h
        found.append(Difference(noise, h, length((slope - central)[finite]) / size))
        wider = central
    return min(found)


def length(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))
