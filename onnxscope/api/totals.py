"""Adds up what a comparison found on many images. What is held does not grow with the images' size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np

from onnxscope.api.difference import Interval
from onnxscope.api.rows import Row
from onnxscope.pairing.shares import Share

RESAMPLED, INSIDE = 2000, 0.95  # of bootstrap intervals


@dataclass
class Total:
    """A layer's figures, added up over images."""

    contribution: float = 0.0
    squares: float = 0.0
    kinds: dict[str, float] = field(default_factory=dict)
    flips: float = 0
    flip_price: float = 0.0
    cut: float = 0.0
    error: float = 0.0

    def add(self, share: Share) -> None:
        self.contribution += share.contribution
        self.squares += share.contribution**2
        for kind, value in share.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0.0) + value
        self.flips += share.flips
        self.flip_price += share.flip_price
        self.cut += share.cut
        self.error = max(self.error, share.error)

    def mean(self, a: str | None, b: str | None, count: int) -> Share:
        contribution = self.contribution / count
        return Share(
            a,
            b,
            contribution,
            {kind: value / count for kind, value in self.kinds.items()},
            self.flips / count if count > 1 else self.flips,
            self.flip_price / count,
            self.cut / count,
            self.error,
            math.sqrt(max(0.0, self.squares / count - contribution**2)) if count > 1 else 0.0,
        )


class Totals:
    """The rows of a comparison, added up."""

    def __init__(self) -> None:
        self.rows: list[Row] = []  # without their shares
        self.layers: dict[tuple[str | None, str | None], Total] = {}
        self._first: tuple[int, Row] | None = None  # the row whose first wrong layer is the earliest

    def add(self, row: Row) -> None:
        for share in row.shares:
            self.layers.setdefault((share.a, share.b), Total()).add(share)
        wrong = next((k for k, share in enumerate(row.shares) if share.error), None)
        if wrong is not None and (self._first is None or wrong < self._first[0]):
            self._first = wrong, row
        self.rows.append(replace(row, shares=[]))

    def shares(self) -> tuple[Share, ...]:
        count = len(self.rows)
        return tuple(total.mean(a, b, count) for (a, b), total in self.layers.items() if a or b)

    def facts(self) -> dict[str, Any]:
        """The figures of a Difference that are means over the rows, or hold for all of them."""
        rows, first = self.rows, self.rows[0]
        difference = fmean(r.value_b - r.value_a for r in rows)
        in_filter = fmean(r.in_filter for r in rows)
        one = len({r.question for r in rows}) == 1
        return {
            "same": all(r.same for r in rows),
            "images": len(rows),
            "question": first.question if one else "",
            "asked": first.asked if one else scores_or_any(rows),
            "value_a": fmean(r.value_a for r in rows),
            "value_b": fmean(r.value_b for r in rows),
            "difference": difference,
            "noise": fmean(r.noise for r in rows),
            "changed": interval([r.changed for r in rows if r.changed is not None]),
            "divergence": interval([r.divergence for r in rows if r.divergence is not None]),
            "in_filter": in_filter,
            "in_residual": difference - in_filter,
            "layers": self.shares(),
            "remainder": fmean(r.remainder for r in rows),
            "first_wrong": self._first[1].first_wrong if self._first else None,
        }


def scores_or_any(rows: Sequence[Row]) -> str:
    """What was asked where each image had a question of its own."""
    scores = all(row.question.startswith("score:") for row in rows)
    return "the score that is A's highest" if scores else "the value that suits each image"


def interval(values: Sequence[float]) -> Interval | None:
    """The mean, and the interval of the means of images drawn from these with replacement."""
    if not values:
        return None
    x, draws = np.asarray(values, np.float64), np.random.default_rng(0)
    means = [x[draws.integers(0, x.size, x.size)].mean() for _ in range(RESAMPLED if x.size > 1 else 1)]
    low, high = np.quantile(means, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return Interval(float(x.mean()), float(low), float(high))
