"""Faithfulness: whether the score falls where the map says that it should.

a is the map divided by its largest size, f(x) the score, and x∖S the image in which the features S have the
image's smallest value.
"""

from __future__ import annotations

import numpy as np

from onnxscope.ask.metrics.case import (
    SEED,
    Case,
    area,
    features,
    in_steps,
    of_score,
    one_after_another,
    one_by_one,
    order,
    patches,
    pearson,
    replaced,
    spearman,
    with_channels,
)

RUNS = 100  # of faithfulness-correlation
SHARE = 16  # each of them replaces one of so many features
DRAWS = 10  # random values for each step of monotonicity-correlation
REGIONS = 100  # that region-perturbation replaces
UNSEEN = 1e-5  # a score below this size is not divided by


def falls(case: Case, groups: list[np.ndarray]) -> np.ndarray:
    """f(x) − f(x∖S) for each group S of features."""
    first, *others = of_score(case, [case.image, *one_by_one(case.image, groups, case.image.min())])
    return np.asarray(first - np.array(others))


def faithfulness_correlation(case: Case) -> float:
    """Pearson's correlation of Σ a over S and f(x) − f(x∖S), for random S of a sixteenth of the features."""
    random, a = np.random.RandomState(SEED), features(case)
    subsets = [random.choice(a.size, max(a.size // SHARE, 1), replace=False) for _ in range(RUNS)]
    return pearson(np.array([a[s].sum() for s in subsets]), falls(case, subsets))


def faithfulness_estimate(case: Case) -> float:
    """Pearson's correlation of Σ a over S and f(x) − f(x∖S), where S are steps down the order of a."""
    a = features(case)
    groups = in_steps(case, order(a))
    return pearson(np.array([a[g].sum() for g in groups]), falls(case, groups))


def monotonicity_correlation(case: Case) -> float:
    """Spearman's correlation of Σ |a| over S and the mean of (f(x′) − f(x))² / f(x)², S random in x′."""
    random, a = np.random.RandomState(SEED), np.abs(features(case))
    groups = in_steps(case, order(-a))
    changed = (replaced(case.image, g, random.uniform(size=1)[0]) for g in groups for _ in range(DRAWS))
    (before,) = of_score(case, [case.image])
    moved = (of_score(case, changed).reshape(len(groups), DRAWS) - before) ** 2
    return spearman(
        np.array([a[g].sum() for g in groups]),
        moved.mean(1) / (before**2 if abs(before) >= UNSEEN else 1),
    )


def pixel_flipping(case: Case) -> float:
    """The area under f while features get the smallest value, those of the highest a first."""
    groups = in_steps(case, order(features(case)))
    return area(of_score(case, one_after_another(case.image, groups, case.image.min())))


def patches_by_relevance(case: Case) -> list[np.ndarray]:
    """The image's squares, that of the highest sum of a first."""
    a, squares = features(case), patches(case)
    return [squares[k] for k in order(np.array([a[s].sum() for s in squares]))]


def region_perturbation(case: Case) -> float:
    """The area under f(x) − f(x∖S) while S grows by squares, those of the highest Σ a first."""
    groups = patches_by_relevance(case)[:REGIONS]
    (before,) = of_score(case, [case.image])
    return area(before - of_score(case, one_after_another(case.image, groups, case.image.min())))


def selectivity(case: Case) -> float:
    """The area under f(x∖S) while S grows by squares to the whole image, those of the highest Σ a first."""
    groups = patches_by_relevance(case)
    return area(of_score(case, one_after_another(case.image, groups, case.image.min())))


def infidelity(case: Case) -> float:
    """The mean of (f(x) − f(x∖S) − Σ a·(x − x∖S))² with a as it is, while S grows by squares as read."""
    a = np.broadcast_to(with_channels(case.attribution), case.image.shape)
    images = list(one_after_another(case.image, patches(case), case.image.min()))
    before, *after = of_score(case, [case.image, *images])
    told = [float((a * (case.image - image)).sum()) for image in images]
    return float(np.mean((before - np.array(after) - told) ** 2))
