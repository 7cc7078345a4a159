"""Complexity: over how many pixels the map is spread.

a is the size of the map, divided by its largest one.
"""

from __future__ import annotations

import numpy as np

from onnxscope.ask.metrics.case import Case, scaled

TINY, SMALL = 1e-12, 1e-7  # added, against 0
COUNTED = 1e-5  # what is larger counts


def sizes(case: Case) -> np.ndarray:
    """|a| as a vector."""
    return np.asarray(np.abs(scaled(case.attribution)).reshape(-1))


def complexity(case: Case) -> float:
    """The entropy −Σ p·log p of p = a / Σ a."""
    p = sizes(case) / sizes(case).sum()
    return float(-(p * np.log(p + TINY)).sum())


def effective_complexity(case: Case) -> float:
    """The number of values of a above 0.00001."""
    return float((sizes(case) > COUNTED).sum())


def sparseness(case: Case) -> float:
    """The Gini index Σ (2k − n − 1)·a_k / (n·Σ a) of a in rising order, k from 1 to n."""
    a = np.sort(sizes(case) + SMALL)
    weights = 2 * np.arange(1, a.size + 1) - a.size - 1
    return float((weights * a).sum() / (a.size * a.sum()))
