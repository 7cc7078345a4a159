"""What a metric looks at, and what most metrics do with it.

The image is channels × rows × columns. A map of rows × columns counts for every channel alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.stats import rankdata

from onnxscope.ask.evaluation import ranks

Network = Callable[[np.ndarray], np.ndarray]  # images [N, channels, rows, columns] to scores [N, scores]
Explain = Callable[[np.ndarray, int], np.ndarray]  # an image and the number of a score to an attribution
BATCH = 32  # images that the network is given at once
STEPS = 24  # in which features are replaced; each replaces the same number of pixels
PATCH = 8  # rows and columns of the squares that are replaced
SAMPLES = 10  # noisy images of a metric
SEED = 42


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, an image, and the explanation of one score, with what further metrics need.

    `explain` gives the explanation of any image and score, `explain_random` that by the same network with
    random weights, and `explain_shifted` that by the network that adds 1 to its input first.
    """

    network: Network
    image: np.ndarray
    attribution: np.ndarray  # rows × columns, or channels × rows × columns
    score: int
    mask: np.ndarray | None = None  # rows × columns: true on the object
    explain: Explain | None = None
    explain_random: Explain | None = None
    explain_shifted: Explain | None = None


@dataclass(frozen=True)
class Metric:
    """How a metric is computed, what it needs beyond the network and the map, and what it is in Quantus."""

    function: Callable[[Case], float]
    category: str
    better: str  # "higher", "lower" or "neither"
    quantus: str  # the name of its class
    parameters: (
        str  # of that class for the same figure, but for defaults; or the property that has the figure
    )
    needs: Sequence[str] = ()  # fields of the case

    @property
    def doc(self) -> str:
        """The definition, in one line."""
        return " ".join((self.function.__doc__ or "").split())


# attributions


def with_channels(attribution: np.ndarray) -> np.ndarray:
    """[channels, rows, columns], where a map has one channel."""
    values = np.asarray(attribution, np.float64)
    return values[None] if values.ndim == 2 else values


def scaled(attribution: np.ndarray) -> np.ndarray:
    """The attribution divided by its largest size, unless it is 0 everywhere."""
    values = with_channels(attribution)
    largest = np.abs(values).max()
    return np.asarray(values / largest if largest else values)


def features(case: Case, attribution: np.ndarray | None = None) -> np.ndarray:
    """The scaled attribution of each value of the image, as a vector."""
    given = scaled(case.attribution if attribution is None else attribution)
    return np.asarray(np.broadcast_to(given, case.image.shape).reshape(-1))


def pixels(case: Case) -> np.ndarray:
    """One number for each pixel, rows × columns: the sum over the channels, scaled."""
    return np.asarray(scaled(with_channels(case.attribution).sum(0))[0])


def order(values: np.ndarray) -> np.ndarray:
    """The indices of a vector from its highest to its lowest value; equal ones in a fixed random order."""
    return np.argsort(ranks(values), kind="stable")


# changed images


def scores(case: Case, images: Iterable[np.ndarray]) -> np.ndarray:
    """All scores of these images, [images, scores], computed in batches."""
    left, found = iter(images), []
    while batch := list(islice(left, BATCH)):
        found.append(case.network(np.stack(batch)))
    return np.concatenate(found)


def of_score(case: Case, images: Iterable[np.ndarray]) -> np.ndarray:
    """The explained score of each image."""
    return scores(case, images)[:, case.score]


def replaced(image: np.ndarray, indices: np.ndarray, value: float) -> np.ndarray:
    """A copy of the image in which the elements with these flat indices have another value."""
    changed = image.copy()
    changed.reshape(-1)[indices] = value
    return changed


def one_by_one(image: np.ndarray, groups: Iterable[np.ndarray], value: float) -> Iterator[np.ndarray]:
    """Images in each of which one group of elements is replaced."""
    return (replaced(image, group, value) for group in groups)


def one_after_another(image: np.ndarray, groups: Iterable[np.ndarray], value: float) -> Iterator[np.ndarray]:
    """Images in each of which one more group of elements is replaced."""
    for group in groups:
        image = replaced(image, group, value)
        yield image


def in_steps(case: Case, indices: np.ndarray) -> list[np.ndarray]:
    """The indices in their order, in at most `STEPS` groups of whole pixels."""
    channels, rows, columns = case.image.shape
    return np.split(indices, range(size := channels * -(-rows * columns // STEPS), indices.size, size))


def patches(case: Case) -> list[np.ndarray]:
    """The indices of each square of `PATCH` × `PATCH` pixels in the order of reading.

    Squares at the edges are smaller where they do not fit; what is left over is shared by both edges.
    """
    _, rows, columns = case.image.shape
    y, x = ((np.arange(size) + -size % PATCH // 2) // PATCH for size in (rows, columns))
    number = np.broadcast_to(y[:, None] * (x[-1] + 1) + x, case.image.shape).reshape(-1)
    by_number = np.argsort(number, kind="stable")
    return np.split(by_number, np.flatnonzero(np.diff(number[by_number])) + 1)


# figures


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation; NaN where one of both is constant."""
    a, b = (np.asarray(v, np.float64).reshape(-1) for v in (a, b))
    if not np.ptp(a) or not np.ptp(b):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of the ranks; NaN where one of both is constant."""
    return pearson(rankdata(a), rankdata(b))


def area(curve: np.ndarray) -> float:
    """The area under a curve whose points are 1 apart."""
    return float(np.trapezoid(curve.astype(np.float64)))
