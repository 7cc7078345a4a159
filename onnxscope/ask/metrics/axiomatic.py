"""Axioms: what every good map has to fulfil, by definition.

f(x) is the score, and a the map.
"""

from __future__ import annotations

import numpy as np

from onnxscope.ask.metrics.case import Case, features, of_score, one_by_one, with_channels

LEAST = 1e-5  # a smaller change or value counts as none
CLOSE = 1e-4  # by which equal attributions may differ
SHIFT = np.float32(-1)  # of all values of the image


def completeness(case: Case) -> float:
    """1 if Σ a = f(x) − f(x₀) to the last bit, else 0; x₀ has the image's smallest value everywhere."""
    before, after = of_score(case, [case.image, np.full_like(case.image, case.image.min())])
    return float(with_channels(case.attribution).sum() == before - after)


def non_sensitivity(case: Case) -> float:
    """The number of features for which one of |a| and |f(x) − f(x∖i)| is below 0.00001, and one not."""
    single = one_by_one(case.image, np.arange(case.image.size)[:, None], case.image.min())
    (before,) = of_score(case, [case.image])
    ignored = np.abs(of_score(case, single) - before) < LEAST
    return float((ignored ^ (np.abs(features(case)) < LEAST)).sum())


def input_invariance(case: Case) -> float:
    """1 if the map of x − 1, by the network that adds 1 to it, is a within 0.0001 everywhere; else 0."""
    assert case.explain_shifted is not None
    shifted = with_channels(case.explain_shifted(case.image + SHIFT, case.score))
    return float(np.isclose(with_channels(case.attribution), shifted, atol=CLOSE).all())
