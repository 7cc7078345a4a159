"""Localisation: whether the map covers the object's mask.

a is the map divided by its largest size, and M the pixels of the mask.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from onnxscope.ask.metrics.case import Case, order, pixels

SHARE = 10  # top-k-intersection looks at one of so many pixels
TINY = 1e-9  # added to what is divided by


def parts(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The map and the mask as vectors."""
    assert case.mask is not None
    return pixels(case).reshape(-1), case.mask.reshape(-1).astype(bool)


def attribution_localisation(case: Case) -> float:
    """Σ |a| over M / Σ |a|."""
    a, mask = parts(case)
    return float(np.abs(a)[mask].sum() / (np.abs(a).sum() + TINY))


def auc(case: Case) -> float:
    """The chance that a pixel of M has a higher a than a pixel outside; equal ones count half."""
    a, mask = parts(case)
    inside, outside = int(mask.sum()), int((~mask).sum())
    return float((rankdata(a)[mask].sum() - inside * (inside + 1) / 2) / (inside * outside))


def pointing_game(case: Case) -> float:
    """1 if the pixel of the highest a belongs to M, else 0; of several such pixels, the share in M."""
    a, mask = parts(case)
    return float(mask[a == a.max()].mean())


def relevance_mass_accuracy(case: Case) -> float:
    """Σ a over M / Σ a, with signs."""
    a, mask = parts(case)
    return float(a[mask].sum() / a.sum())


def relevance_rank_accuracy(case: Case) -> float:
    """The share of M among the |M| pixels of the highest a."""
    a, mask = parts(case)
    return float(mask[order(a)[: mask.sum()]].mean())


def top_k_intersection(case: Case) -> float:
    """The share of M among the tenth of all pixels of the highest a."""
    a, mask = parts(case)
    return float(mask[order(a)[: max(a.size // SHARE, 1)]].mean())
