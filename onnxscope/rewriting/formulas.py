"""Formulas for what depends on the sizes that a model leaves free, found from a few examples.

A formula is a sum of monomials with whole coefficients. The monomials are 1 and the products of the free
sizes, such as h, w and h·w; sizes are counted in steps of so many pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXACT = 2.0**-22  # what a float32 that is computed in another way may be off by, of its value


def monomials(sizes: Sequence[int]) -> np.ndarray:
    """1, h, w and h·w of two sizes, 1 and w of one."""
    found = [1]
    for size in sizes:
        found += [product * size for product in found]
    return np.array(found, np.int64)


def degrees(count: int) -> np.ndarray:
    """How many sizes each of so many monomials multiplies."""
    return np.array([k.bit_count() for k in range(count)])


@dataclass(frozen=True)
class Formula:
    """How the elements of a constant follow from the sizes."""

    terms: np.ndarray  # a row for each element, a column for each monomial
    inverted: bool = False  # whether the elements are one over these sums

    def is_whole(self, unit: int, step: int) -> bool:
        """Whether the formula has whole coefficients where sizes are counted in steps and not in units."""
        terms = self._counted(unit, step)
        tolerance = EXACT * np.abs(terms) if self.inverted else 0
        return bool((np.abs(terms - np.rint(terms)) <= tolerance).all())

    def in_steps(self, unit: int, step: int) -> Formula:
        """The formula for sizes that are counted in steps, for which it is whole."""
        return Formula(np.rint(self._counted(unit, step)).astype(np.int64), self.inverted)

    def _counted(self, unit: int, step: int) -> np.ndarray:
        counted: np.ndarray = self.terms * (step / unit) ** degrees(self.terms.shape[1])
        return counted

    def at(self, sizes: Sequence[int]) -> np.ndarray:
        """The elements at these sizes."""
        sums: np.ndarray = self.terms @ monomials(sizes)
        return 1 / sums if self.inverted else sums


def fitted(points: Sequence[Sequence[int]], values: Sequence[np.ndarray]) -> Formula | None:
    """The formula that has these values at these sizes, of which there are as many as monomials.

    The sizes are consecutive whole numbers on each axis, so that whole values give whole coefficients. There
    is no formula for values that are neither whole nor one over a multiple of one monomial.
    """
    table = np.stack([monomials(point) for point in points])
    elements = np.stack([np.asarray(v, np.float64).reshape(-1) for v in values])
    if not np.isfinite(elements).all():
        return None
    if (elements == np.rint(elements)).all():
        return Formula((np.rint(np.linalg.inv(table)) @ elements).T)
    terms = np.zeros((elements.shape[1], table.shape[1]))
    for row, element in zip(terms, elements.T, strict=True):
        ratios = 1 / (element[:, None] * table) if element.all() else np.full(table.shape, np.nan)
        steady = np.ptp(ratios, axis=0) <= EXACT * np.abs(ratios[0])
        if not steady.any():
            return None
        row[steady.argmax()] = ratios[:, steady.argmax()].mean()
    return Formula(terms, inverted=True)
