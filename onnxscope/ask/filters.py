"""Filters of image networks: which pixels are worth a look, how far a filter reaches, and where to.

A filter is a row or a column of F, looked at as a picture of energies: rows × columns, each the sum over the
channels of the squared coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.ask.interpreter import Interpreter
from onnxscope.files.pixels import channels_axis, channels_last
from onnxscope.linear.linear_map import Space

MARGIN = 1 / 6  # of a side: no pixel is chosen nearer to the edge, where its filter would be cut off
NEIGHBOURHOOD = 5  # pixels over which contrast is averaged
MOST_ENERGY = 0.9  # the share of the energy that lies within a filter's radius
SEEN = 1e-3  # of the largest |coefficient|: the box holds all that is larger
FAR = 1 / 4  # of the shorter side: what is further away does not belong to a pixel's surroundings
Place = tuple[int, int]  # y, x


@dataclass(frozen=True)
class Reach:
    """How far a filter reaches from the pixel that it belongs to."""

    radius: float  # in pixels; MOST_ENERGY of the energy lies within
    rows: int  # of the box that holds all coefficients larger than SEEN of the largest
    columns: int
    energy: float
    far: float  # the share of the energy that is further away than FAR of the shorter side
    pixels: float  # (Σe)²/Σe²: over how many pixels the energy is spread


def places_by_contrast(picture: np.ndarray) -> dict[str, Place]:
    """The pixels of highest, median and lowest contrast in a picture (rows × columns × channels)."""
    height, width = picture.shape[:2]
    slopes = (
        np.hypot(*np.gradient(picture.astype(np.float64).mean(2)))
        if min(height, width) > 1
        else np.zeros((height, width))
    )
    from scipy.ndimage import uniform_filter  # only now: it takes a tenth of a second to import

    contrast = uniform_filter(slopes, NEIGHBOURHOOD)
    top, left = round(MARGIN * height), round(MARGIN * width)
    inner = contrast[top : height - top, left : width - left]
    order = np.argsort(inner, axis=None, kind="stable")
    places = {
        "an edge": int(order[-1]),
        "in between": int(order[len(order) // 2]),
        "a flat place": int(order[0]),
    }
    return {name: (k // inner.shape[1] + top, k % inner.shape[1] + left) for name, k in places.items()}


def at_places(space: Space, shape: Sequence[int], layout: str, places: Sequence[Place]) -> np.ndarray:
    """[places, *shape of the space]: for each place a picture that is 1 there, in all channels, else 0."""
    block = np.zeros((len(places), *shape[-3:]), np.float32)
    last = channels_axis(shape, layout) == len(shape) - 1
    for picture, (y, x) in zip(block, places, strict=True):
        picture[(y, x, slice(None)) if last else (slice(None), y, x)] = 1
    return block.reshape(-1, *space.shape)


def receptive(x: Interpreter, places: Sequence[Place]) -> np.ndarray:
    """[places, *shape of the image]: Fᵀ·δ, what output pixels take from the image, all channels together."""
    rows = x.map.transpose(at_places(x.map.outputs, x.output.shape, x.layout, places))
    return np.asarray(rows).reshape(len(places), *x.image.shape)


def projective(x: Interpreter, places: Sequence[Place]) -> np.ndarray:
    """[places, *shape of the output]: F·δ, what input pixels add to the output, all channels together."""
    columns = x.map.forward(at_places(x.map.inputs, x.image.shape, x.layout, places))
    return np.asarray(columns).reshape(len(places), *x.output.shape)


def energies(filters: np.ndarray, layout: str) -> np.ndarray:
    """[filters, rows, columns]: the squared coefficients of filters, summed over the channels."""
    return np.stack([(channels_last(f, layout).astype(np.float64) ** 2).sum(2) for f in filters])


def moved(place: Place, from_size: Sequence[int], to_size: Sequence[int]) -> Place:
    """The pixel of a picture of another size that covers the same place."""
    y, x = (min(int((p + 0.5) * t / f), t - 1) for p, f, t in zip(place, from_size, to_size, strict=True))
    return y, x


def reach(energy: np.ndarray, place: Place) -> Reach:
    """How far one filter, given by its energies, reaches from the place that it belongs to."""
    total = float(energy.sum())
    if not total:
        return Reach(0.0, 0, 0, 0.0, 0.0, 0.0)
    distance = distances(energy.shape, place)
    order = np.argsort(distance, axis=None, kind="stable")
    within = int(np.searchsorted(np.cumsum(energy.ravel()[order]), MOST_ENERGY * total))
    seen = energy > SEEN**2 * energy.max()
    rows, columns = (int(np.ptp(np.nonzero(seen.any(axis=axis))[0])) + 1 for axis in (1, 0))
    far = float(energy[distance > FAR * min(energy.shape)].sum())
    return Reach(
        float(distance.ravel()[order[min(within, len(order) - 1)]]),
        rows,
        columns,
        total,
        far / total,
        total**2 / float((energy**2).sum()),
    )


def distances(shape: Sequence[int], place: Place) -> np.ndarray:
    """The distance of every pixel from a place."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - place[0], x - place[1]))


def grid(size: Sequence[int], count: int) -> list[Place]:
    """Places spread evenly over a picture, at most `count` along each side."""
    ys, xs = (np.unique(((np.arange(count) + 0.5) * s / count).astype(int)) for s in size)
    return [(int(y), int(x)) for y in ys for x in xs]


@dataclass(frozen=True)
class Sampled:
    """Filters at places that are spread over the picture."""

    places: list[Place]
    reaches: list[Reach]
    # rows × columns: the energy there of filters whose own places are far away, as a share of all energy
    afar: np.ndarray

    @property
    def farthest(self) -> int:
        """Which of the places has the filter with the most energy far away."""
        return int(np.argmax([r.far * r.energy for r in self.reaches]))


def sampled(
    filters: Callable[[Interpreter, Sequence[Place]], np.ndarray],
    x: Interpreter,
    size: Sequence[int],
    count: int,
) -> Sampled:
    """`receptive` or `projective` filters at a grid of places, where the output has the size of the image.

    They are computed a batch at a time, because each filter is as large as a picture.
    """
    places, reaches, afar = grid(size, count), list[Reach](), np.zeros(tuple(size))
    for start in range(0, len(places), x.map.batch):
        batch = places[start : start + x.map.batch]
        for e, place in zip(energies(filters(x, batch), x.layout), batch, strict=True):
            reaches.append(reach(e, place))
            afar += np.where(distances(e.shape, place) > FAR * min(e.shape), e, 0)
    return Sampled(places, reaches, afar / max(sum(r.energy for r in reaches), 1e-300))


def along_a_line(x: Interpreter, size: Sequence[int], most: int) -> np.ndarray:
    """The norm of what output pixels of the middle line take from each column of the image.

    The result is [output pixels, columns of the image], with at most `most` output pixels, spread evenly.
    """
    step = math.ceil(size[1] / most)
    places = [(size[0] // 2, column) for column in range(0, size[1], step)]
    return np.asarray(np.sqrt(energies(receptive(x, places), x.layout).sum(1)))
