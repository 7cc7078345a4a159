"""Measures of a relevance map: what the network still recognises in the pixels that the map ranks highest,
how well the map covers an object's mask, and how much it resembles the maps of other classes or the image
itself.

A map is rows × columns, larger where a pixel is more relevant. Pixels of equal relevance are ranked in a
random order that is the same in every run, so that a constant map shows what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.files.pixels import channels_axis

Network = Callable[[np.ndarray], np.ndarray]  # an image to the vector of its scores
KEPT, TOP = (
    0.3,
    5,
)  # the share of pixels that `top_kept` leaves, and how many of the highest classes it compares
STEPS = 20  # of a curve; each changes the same number of pixels


def ranks(relevance: np.ndarray) -> np.ndarray:
    """The rank of every pixel divided by their number: 0 for the most relevant one, almost 1 for the last."""
    shuffled = np.random.default_rng(0).permutation(relevance.size)
    places = np.empty(relevance.size)
    places[shuffled[np.argsort(-relevance.reshape(-1)[shuffled], kind="stable")]] = (
        np.arange(relevance.size) / relevance.size
    )
    return places.reshape(relevance.shape)


def with_only(
    image: np.ndarray, pixels: np.ndarray, elsewhere: np.ndarray | float, layout: str = "auto"
) -> np.ndarray:
    """The image where `pixels` is true, and the values `elsewhere` in all other pixels."""
    axis = channels_axis(image.shape, layout) - (image.ndim - 3)
    return np.asarray(np.where(np.expand_dims(pixels, axis), image, elsewhere), image.dtype)


def mean_colour(image: np.ndarray, layout: str = "auto") -> np.ndarray:
    """The mean of each channel, in a shape that broadcasts with the image."""
    channels = channels_axis(image.shape, layout)
    return np.asarray(image.mean(tuple(a for a in range(image.ndim) if a != channels), keepdims=True))


# measures that run the network on changed images


def top_kept(
    network: Network, image: np.ndarray, relevance: np.ndarray, layout: str = "auto", top: int = TOP
) -> float:
    """The share of the `top` highest classes that stay among the highest when 30 % of the pixels are left.

    The most relevant pixels are left, all others are 0. A network with few classes is judged by its higher
    half of them; NaN where it has one class only.
    """
    part = with_only(image, ranks(relevance) < KEPT, 0.0, layout)
    whole, kept = network(image), network(part)
    count = min(top, whole.size // 2)
    highest = [set(np.argsort(-s, kind="stable")[:count].tolist()) for s in (whole, kept)]
    return len(highest[0] & highest[1]) / count if count else float("nan")


@dataclass(frozen=True)
class Curve:
    """The probability and the score of a class while pixels change, the most relevant ones first."""

    probability: np.ndarray
    score: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """The areas under both; the share of changed pixels runs from 0 to 1."""
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
    """Pixels are replaced by the mean colour. A small area means that the class depends on these pixels."""
    places = ranks(relevance)
    return curve(network, image, [places >= part for part in np.linspace(0, 1, steps + 1)], score, layout)


def insertion(
    network: Network,
    image: np.ndarray,
    relevance: np.ndarray,
    score: int,
    layout: str = "auto",
    steps: int = STEPS,
) -> Curve:
    """Pixels are put onto the mean colour. A large area means that these pixels suffice for the class."""
    places = ranks(relevance)
    return curve(network, image, [places < part for part in np.linspace(0, 1, steps + 1)], score, layout)


def curve(network: Network, image: np.ndarray, shown: Sequence[np.ndarray], score: int, layout: str) -> Curve:
    """The curve over images that show these pixels, all others having the mean colour."""
    colour = mean_colour(image, layout)
    scores = np.stack([network(with_only(image, pixels, colour, layout)) for pixels in shown])
    return Curve(probabilities(scores)[:, score], scores[:, score])


def probabilities(scores: np.ndarray) -> np.ndarray:
    """The softmax over the last axis, or the logistic function where that axis has one score only."""
    several = scores if scores.shape[-1] > 1 else np.concatenate([scores, np.zeros_like(scores)], -1)
    e = np.exp(several.astype(np.float64) - several.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


# measures against a mask of the object; chance gives the mask's share of the image


def pointing(relevance: np.ndarray, mask: np.ndarray) -> float:
    """1 if the most relevant pixel lies inside the mask, else 0; of several equal ones, the share inside."""
    return float(mask[relevance == relevance.max()].mean())


def mass_inside(relevance: np.ndarray, mask: np.ndarray) -> float:
    """The share of all positive relevance that lies inside the mask; NaN where nothing is positive."""
    positive = relevance.clip(0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total else float("nan")


def voting(votes: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The share of the pixels inside the mask that vote for the class, and of those outside."""
    return float(votes[mask].mean()), float(votes[~mask].mean())


# measures against other maps


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of both is constant."""
    a, b = (x.reshape(-1).astype(np.float64) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def class_sensitivity(attributions: np.ndarray) -> float:
    """The mean of 1 − correlation between the attributions of the first class and those of each other class.

    It is 0 for a method that ignores the class; NaN where there is one class only, or where the first
    attributions are constant.
    """
    first, *others = attributions
    return (
        float(np.mean([1 - correlation(first, other) for other in others]))
        if others and np.ptp(first)
        else float("nan")
    )


def image_recovery(attribution: np.ndarray, image: np.ndarray) -> float:
    """|correlation| with the image: 1 means that the method shows the image itself and not the decision."""
    return abs(correlation(attribution, image))
