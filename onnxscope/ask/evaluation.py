"""Maps put to the test: what the network still sees in the pixels that they name, objects' masks, other classes' maps, the image itself.

A map is rows × columns, larger where a pixel is more relevant. Pixels of equal relevance come in a random order, always the same, so that
a constant map tells what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.files.pixels import channels_axis

Network = Callable[[np.ndarray], np.ndarray]  # an image to the vector of its scores
KEPT, TOP = 0.3, 5  # the share of pixels that is kept, and the classes that are compared then
STEPS = 20  # of a curve, each the same share of the pixels


def ranks(relevance: np.ndarray) -> np.ndarray:
    """Every pixel's place, from 0 for the most relevant one to almost 1."""
    shuffled = np.random.default_rng(0).permutation(relevance.size)
    places = np.empty(relevance.size)
    places[shuffled[np.argsort(-relevance.reshape(-1)[shuffled], kind="stable")]] = (
        np.arange(relevance.size) / relevance.size
    )
    return places.reshape(relevance.shape)


def with_only(
    image: np.ndarray, pixels: np.ndarray, elsewhere: np.ndarray | float, layout: str = "auto"
) -> np.ndarray:
    """The image where `pixels` is true."""
    axis = channels_axis(image.shape, layout) - (image.ndim - 3)
    return np.asarray(np.where(np.expand_dims(pixels, axis), image, elsewhere), image.dtype)


def mean_colour(image: np.ndarray, layout: str = "auto") -> np.ndarray:
    channels = channels_axis(image.shape, layout)
    return np.asarray(image.mean(tuple(a for a in range(image.ndim) if a != channels), keepdims=True))


# against the network


def top_kept(
    network: Network, image: np.ndarray, relevance: np.ndarray, layout: str = "auto", top: int = TOP
) -> float:
    """The share of the image's highest classes that are still among the highest of its most relevant 30 %, the other pixels being 0.

    Of few classes the higher half is compared; NaN where there is one only.
    """
    part = with_only(image, ranks(relevance) < KEPT, 0.0, layout)
    whole, kept = network(image), network(part)
    count = min(top, whole.size // 2)
    highest = [set(np.argsort(-s, kind="stable")[:count].tolist()) for s in (whole, kept)]
    return len(highest[0] & highest[1]) / count if count else float("nan")


@dataclass(frozen=True)
class Curve:
    """A class's probability and score while pixels change from the most relevant to the least, in equal steps."""

    probability: np.ndarray
    score: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Under both, the pixels' share running from 0 to 1."""
        p, s = (float(np.trapezoid(values) / (len(values) - 1)) for values in (self.probability, self.score))
        return p, s


def deletion(
    network: Network,
    image: np.ndarray,
    relevance: np.ndarray,
    score: int,
    layout: str = "auto",
    steps: int = STEPS,
) -> Curve:
    """Pixels take the image's mean colour. The area is small where the map names what the class depends on."""
    places = ranks(relevance)
    return curve(network, image, [places >= share for share in np.linspace(0, 1, steps + 1)], score, layout)


def insertion(
    network: Network,
    image: np.ndarray,
    relevance: np.ndarray,
    score: int,
    layout: str = "auto",
    steps: int = STEPS,
) -> Curve:
    """Pixels appear on the image's mean colour. The area is large where the map names what suffices for the class."""
    places = ranks(relevance)
    return curve(network, image, [places < share for share in np.linspace(0, 1, steps + 1)], score, layout)


def curve(network: Network, image: np.ndarray, shown: Sequence[np.ndarray], score: int, layout: str) -> Curve:
    colour = mean_colour(image, layout)
    scores = np.stack([network(with_only(image, pixels, colour, layout)) for pixels in shown])
    return Curve(probabilities(scores)[:, score], scores[:, score])


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax of the last axis; the logistic function of a single score."""
    against = scores if scores.shape[-1] > 1 else np.concatenate([scores, np.zeros_like(scores)], -1)
    e = np.exp(against.astype(np.float64) - against.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


# against a mask of the object, whose share of the image is what chance gives


def pointing(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Whether the most relevant pixel lies inside; of several such, their share."""
    return float(mask[relevance == relevance.max()].mean())


def mass_inside(relevance: np.ndarray, mask: np.ndarray) -> float:
    """The share of all positive relevance that lies inside; NaN where there is none."""
    positive = relevance.clip(0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total else float("nan")


def voting(votes: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The shares of the pixels inside, and of those outside, that vote for the class."""
    return float(votes[mask].mean()), float(votes[~mask].mean())


# against other maps


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of both less their means; 0 where one is constant."""
    a, b = (x.reshape(-1).astype(np.float64) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def class_sensitivity(attributions: np.ndarray) -> float:
    """1 − correlation of the first class's attributions with another's, its mean over all others: 0 for a method that ignores the class.

    NaN where there is no other, or where the first one's are all the same.
    """
    first, *others = attributions
    return (
        float(np.mean([1 - correlation(first, other) for other in others]))
        if others and np.ptp(first)
        else float("nan")
    )


def image_recovery(attribution: np.ndarray, image: np.ndarray) -> float:
    """|correlation| with the image itself: 1 for a picture of the image rather than of the decision."""
    return abs(correlation(attribution, image))
