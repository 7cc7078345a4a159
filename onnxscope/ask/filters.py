"""Filters of image networks: which pixels to look at, how far a filter reaches, and where from afar it takes or gives.

A filter here is a row or a column of F as a picture's energies: rows × columns of Σ over channels of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from onnxscope.ask.interpreter import Interpreter
from onnxscope.files.pixels import channels_axis, channels_last
from onnxscope.linear.linear_map import Space

MARGIN = 1 / 6  # of a side: nearer to the edge no pixel is chosen, for its filter would be cut off
NEIGHBOURHOOD = 5  # pixels over which contrast is averaged
MOST_ENERGY, SEEN = (
    0.9,
    1e-3,
)  # the share that a reach holds; of the largest |coefficient|, what counts as one
FAR = 1 / 4  # of the shorter side: what is further away is not the pixel's own surroundings
Place = tuple[int, int]  # y, x


@dataclass(frozen=True)
class Reach:
    """How far a filter reaches from its own place."""

    radius: float  # in pixels; MOST_ENERGY of the energy lies within
    rows: int  # of the box that holds all coefficients larger than SEEN of the largest
    columns: int
    energy: float
    far: float  # the share of the energy from further away than FAR of the shorter side
    pixels: float  # (Σe)²/Σe²: over how many pixels the energy is spread


def chosen(picture: np.ndarray) -> dict[str, Place]:
    """Pixels of a picture (rows × columns × channels) worth a look: where it changes most, middlingly, and least."""
    height, width = picture.shape[:2]
    steps = (
        np.hypot(*np.gradient(picture.astype(np.float64).mean(2)))
        if min(height, width) > 1
        else np.zeros((height, width))
    )
    contrast = uniform_filter(steps, NEIGHBOURHOOD)
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
    """For each place a picture of this shape that is 1 there, in every channel, and 0 elsewhere."""
    block = np.zeros((len(places), *shape[-3:]), np.float32)
    last = channels_axis(shape, layout) == len(shape) - 1
    for picture, (y, x) in zip(block, places, strict=True):
        picture[(y, x, slice(None)) if last else (slice(None), y, x)] = 1
    return block.reshape(-1, *space.shape)


def receptive(x: Interpreter, places: Sequence[Place]) -> np.ndarray:
    """Fᵀ·δ for output pixels, all channels together: what they look at, shaped as the image."""
    rows = x.map.transpose(at_places(x.map.outputs, x.output.shape, x.layout, places))
    return np.asarray(rows).reshape(len(places), *x.image.shape)


def projective(x: Interpreter, places: Sequence[Place]) -> np.ndarray:
    """F·δ for input pixels, all channels together: what they do, shaped as the output."""
    columns = x.map.forward(at_places(x.map.inputs, x.image.shape, x.layout, places))
    return np.asarray(columns).reshape(len(places), *x.output.shape)


def energies(filters: np.ndarray, layout: str) -> np.ndarray:
    """[filters, rows, columns]."""
    return np.stack([(channels_last(f, layout).astype(np.float64) ** 2).sum(2) for f in filters])


def moved(place: Place, from_size: Sequence[int], to_size: Sequence[int]) -> Place:
    """The pixel of a picture of another size that covers the same place."""
    y, x = (min(int((p + 0.5) * t / f), t - 1) for p, f, t in zip(place, from_size, to_size, strict=True))
    return y, x


def reach(energy: np.ndarray, place: Place) -> Reach:
    """Of one filter around the place that it belongs to."""
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
    """Of every pixel from a place."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - place[0], x - place[1]))


def grid(size: Sequence[int], count: int) -> list[Place]:
    """Places spread evenly over a picture, at most `count` a side."""
    ys, xs = (np.unique(((np.arange(count) + 0.5) * s / count).astype(int)) for s in size)
    return [(int(y), int(x)) for y in ys for x in xs]


@dataclass(frozen=True)
class Sampled:
    """Filters at places spread over the picture: each one's reach, and where what comes from afar comes from."""

    places: list[Place]
    reaches: list[Reach]
    afar: (
        np.ndarray
    )  # rows × columns: the filters' energy that is far from their own places, as a share of all of it

    @property
    def farthest(self) -> int:
        """The place whose filter has the most energy from afar."""
        return int(np.argmax([r.far * r.energy for r in self.reaches]))


def sampled(
    filters: Callable[[Interpreter, Sequence[Place]], np.ndarray],
    x: Interpreter,
    size: Sequence[int],
    count: int,
) -> Sampled:
    """Of a same-size network: `receptive` or `projective` filters at a grid of places, some at a time, for they are large."""
    places, reaches, afar = grid(size, count), list[Reach](), np.zeros(tuple(size))
    for start in range(0, len(places), x.map.batch):
        some = places[start : start + x.map.batch]
        for e, place in zip(energies(filters(x, some), x.layout), some, strict=True):
            reaches.append(reach(e, place))
            afar += np.where(distances(e.shape, place) > FAR * min(e.shape), e, 0)
    return Sampled(places, reaches, afar / max(sum(r.energy for r in reaches), 1e-300))


def along_a_line(x: Interpreter, size: Sequence[int], most: int) -> np.ndarray:
    """|F| from input columns to output columns: for output pixels of the middle line, the size of what they take from each input column."""
    step = math.ceil(size[1] / most)
    places = [(size[0] // 2, column) for column in range(0, size[1], step)]
    return np.asarray(np.sqrt(energies(receptive(x, places), x.layout).sum(1)))
