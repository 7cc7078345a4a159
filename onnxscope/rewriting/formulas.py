"""Formulas for what depends on the sizes that a model leaves free, found from a few examples.

A formula is a sum of monomials with whole coefficients. The monomials are 1 and the products of the free
sizes, such as h, w and h·w; sizes are counted in steps of so many pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COUNTED = 2.0**20  # what is one over a whole number below this tells the number, also in float32
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
    is a formula for values that are whole, or one over a whole number, which is known if it is not too large
    or a multiple of one monomial.
    """
    table = np.stack([monomials(point) for point in points])
    elements = np.stack([np.asarray(v, np.float64).reshape(-1) for v in values])
    if not np.isfinite(elements).all():
        return None
    if (elements == np.rint(elements)).all():
        return Formula(through(table, elements))
    counts = 1 / np.where(elements == 0, np.nan, elements)
    if (np.abs(counts) < COUNTED).all() and (
        np.abs(counts - np.rint(counts)) <= EXACT * np.abs(counts)
    ).all():
        return Formula(through(table, np.rint(counts)), inverted=True)
    terms = np.zeros((elements.shape[1], table.shape[1]))
    for row, count in zip(terms, counts.T, strict=True):
        ratios = count[:, None] / table
        steady = np.ptp(ratios, axis=0) <= EXACT * np.abs(ratios[0])
        if not steady.any():
            return None
        row[steady.argmax()] = ratios[:, steady.argmax()].mean()
    return Formula(terms, inverted=True)


def through(table: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """The coefficients of the sums with these values: whole ones, as the table's inverse is whole."""
    found: np.ndarray = (np.rint(np.linalg.inv(table)) @ wholes).T
    return found
