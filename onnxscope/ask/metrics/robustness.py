"""Robustness: how much the map changes when the image changes a little.

e(x) is the map of the image x, and x′ is a changed image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from onnxscope.ask.metrics.case import SAMPLES, SEED, Case, scaled, scores, with_channels

NOISE = 0.1  # the standard deviation of Gaussian noise
SPREAD = 0.2  # uniform noise lies between -SPREAD and SPREAD
LEAST, MOST = 0.02, 0.2  # between which uniform noise lies that only adds
SHIFTS = 28  # of the image, at most, from one side to the other
TINY, SMALL, DIVISOR = 1e-10, 1e-9, 1e-6  # instead of 0, or added to what is divided by

Draw = Callable[[np.random.RandomState, int], np.ndarray]  # noise for so many values


def noisy(case: Case, draw: Draw) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`SAMPLES` noisy images, each with its explanation."""
    assert case.explain is not None
    random = np.random.RandomState(SEED)
    for _ in range(SAMPLES):
        image = (case.image + draw(random, case.image.size).reshape(case.image.shape)).astype(
            case.image.dtype
        )
        yield image, case.explain(image, case.score)


def both_ways(random: np.random.RandomState, size: int) -> np.ndarray:
    """Uniform noise around 0."""
    return random.uniform(-SPREAD, SPREAD, size)


def upwards(random: np.random.RandomState, size: int) -> np.ndarray:
    """Uniform noise that makes every value larger."""
    return random.uniform(LEAST, MOST, size)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The length of the difference."""
    return float(np.linalg.norm((a.astype(np.float64) - b).reshape(-1)))


def largest(values: Iterable[float]) -> float:
    """The largest value; NaN if one is NaN."""
    return float(np.max(list(values)))


def local_lipschitz_estimate(case: Case) -> float:
    """The largest ‖e(x) − e(x′)‖ / ‖x − x′‖ under Gaussian noise, each map scaled to 1."""
    first = scaled(case.attribution)
    gaussian = noisy(case, lambda random, size: random.normal(0, NOISE, size))
    return largest(distance(first, scaled(e)) / (distance(case.image, x) + TINY) for x, e in gaussian)


def sensitivities(case: Case) -> list[float]:
    """‖e(x) − e(x′)‖ / ‖e(x)‖ under uniform noise."""
    first = with_channels(case.attribution)
    size = np.linalg.norm(first.reshape(-1))
    return [float(distance(first, with_channels(e)) / size) for _, e in noisy(case, both_ways)]


def max_sensitivity(case: Case) -> float:
    """The largest ‖e(x) − e(x′)‖ / ‖e(x)‖ under uniform noise."""
    return largest(sensitivities(case))


def avg_sensitivity(case: Case) -> float:
    """The mean of ‖e(x) − e(x′)‖ / ‖e(x)‖ under uniform noise."""
    return float(np.mean(sensitivities(case)))


def relative(before: np.ndarray, after: np.ndarray) -> float:
    """‖(before − after) / before‖, where a small number stands for 0 in the divisor."""
    known = before.astype(np.float64)
    return float(np.linalg.norm(((known - after) / (known + (known == 0) * DIVISOR)).reshape(-1)))


def relative_input_stability(case: Case) -> float:
    """The largest ‖(e(x) − e(x′)) / e(x)‖ / ‖(x − x′) / x‖ under noise that only adds."""
    first = with_channels(case.attribution)
    pairs = [(relative(first, with_channels(e)), relative(case.image, x)) for x, e in noisy(case, upwards)]
    return largest(a / (b or DIVISOR) for a, b in pairs)


def relative_output_stability(case: Case) -> float:
    """The largest ‖(e(x) − e(x′)) / e(x)‖ / ‖f(x) − f(x′)‖ under noise that only adds, f all scores."""
    first = with_channels(case.attribution)
    images, maps = zip(*noisy(case, upwards), strict=True)
    before, *after = scores(case, [case.image, *images])
    pairs = [
        (relative(first, with_channels(e)), distance(before, y)) for e, y in zip(maps, after, strict=True)
    ]
    return largest(a / (b or DIVISOR) for a, b in pairs)


def continuity(case: Case) -> float:
    """The largest Σ|e(x) − e(x′)| / ‖x − x′‖, x moved sideways to x′, maps scaled and without signs."""
    assert case.explain is not None
    columns, first = case.image.shape[2], np.abs(scaled(case.attribution))
    step = max((2 * columns + 1) // SHIFTS, 1)
    found = []
    for shift in range(step - columns, columns + 1, step)[:SHIFTS]:
        image = moved(case.image, shift)
        changed = np.abs(scaled(case.explain(image, case.score)))
        found.append(float(np.abs(first - changed).sum()) / (distance(case.image, image) + SMALL))
    return largest(found)


def moved(image: np.ndarray, columns: int) -> np.ndarray:
    """The image moved to the right, or to the left; its smallest value fills what becomes free."""
    found = np.full_like(image, image.min())
    if columns >= 0:
        found[:, :, columns:] = image[:, :, : image.shape[2] - columns]
    else:
        found[:, :, :columns] = image[:, :, -columns:]
    return found
