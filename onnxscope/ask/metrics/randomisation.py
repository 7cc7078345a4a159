"""Randomisation: whether the map depends on the network's weights and on the score that is explained."""

from __future__ import annotations

import numpy as np

from onnxscope.ask.metrics.case import SEED, Case, scaled, spearman, with_channels

BINS = 100  # of the histogram of a map


def mprt(case: Case) -> float:
    """Spearman's correlation of |e| with |e′|, the map by the network whose weights are all random."""
    assert case.explain_random is not None
    other = scaled(case.explain_random(case.image, case.score))
    return spearman(np.abs(scaled(case.attribution)), np.abs(other))


def efficient_mprt(case: Case) -> float:
    """(H(e′) − H(e)) / H(e), H a histogram's entropy, e′ by the network whose weights are all random."""
    assert case.explain_random is not None
    before, after = map(entropy, (case.attribution, case.explain_random(case.image, case.score)))
    return (after - before) / before if before else float("nan")


def entropy(attribution: np.ndarray) -> float:
    """−Σ p·log p over the shares p of the bins of a histogram."""
    counts, _ = np.histogram(with_channels(attribution), BINS)
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def random_logit(case: Case) -> float:
    """Spearman's correlation of e with the map of another score, which is drawn at random."""
    assert case.explain is not None
    (scores,) = case.network(case.image[None])
    others = np.delete(np.arange(scores.size), case.score)
    if not others.size:
        return float("nan")
    other = int(others[np.random.RandomState(SEED).randint(0, others.size)])
    return spearman(scaled(case.attribution), scaled(case.explain(case.image, other)))
