"""What the exporters of a sweep share: weights whose signals survive, and the slope that the framework itself finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 4  # images that normalisations are calibrated on
LEAST_SIGNAL = 1e-4  # of the output, which another image must change
STEP = 1e-7  # of central differences in float64
NEARBY = (
    -1e-5,
    -1e-6,
    1e-6,
    1e-5,
)  # how far off images are that float32 could take for this one, after some layers
IMAGE = "image"
SMALL, TINY = 0.1, 1e-3  # what a constant weight is taken as: a damped branch's scale, a bias


Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Job:
    """One architecture to be exported."""

    exporter: str
    package: str
    name: str
    shape: list[int]  # of one image: channels, height, width
    opset: int
    options: dict[str, Any]  # of the constructor
    target: Path


class NoSignal(Exception):
    """The output is constant or not finite: nothing could be judged by it."""


def drawn(values: np.ndarray, bias: bool, rng: np.random.Generator) -> np.ndarray:
    """Weights as a trained network might have them, where a package begins with constants."""
    if values.size < 2 or values.dtype.kind != "f" or np.ptp(values) > 0:
        return values
    constant, noise = float(values.flat[0]), rng.standard_normal(values.shape)
    if abs(constant) < TINY and bias:
        return (constant + 0.1 * noise).astype(values.dtype)
    if abs(constant) < SMALL:
        return rng.uniform(0.3, 0.7, values.shape).astype(values.dtype)
    return (constant * (1 + 0.1 * noise)).astype(values.dtype)


def signal(f: Function, images: np.ndarray) -> float:
    """How much another image changes the output, relative to it."""
    first, second = (np.asarray(f(images[k : k + 1]), np.float64) for k in (0, 1))
    if first.shape != second.shape:  # a detector finds another number of things
        return 1.0
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise NoSignal("the output is not finite")
    change = float(np.linalg.norm(first - second) / max(np.linalg.norm(first), 1e-30))
    if change < LEAST_SIGNAL:
        raise NoSignal(f"another image changes the output by {change:.1e} only")
    return change


def save_slope(slope_at: Function, image: np.ndarray, target: Path) -> None:
    """What the framework says about the image's neighbourhood, for the judge: a slope, and how unsure rounding makes it."""
    slope, aside = slope_at(image), direction(image)[..., ::-1]
    nearby = [slope_at(image + step * aside) for step in NEARBY]
    unsure = max(np.linalg.norm(slope - s) for s in nearby) / max(np.linalg.norm(slope), 1e-30)
    np.savez(target.with_suffix(".npz"), image=image, direction=direction(image), slope=slope, unsure=unsure)


def direction(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(image.shape).astype(image.dtype)


def difference(f: Function) -> Function:
    """The slope of a function that computes in float64, along the direction at an image."""

    def slope_at(image: np.ndarray) -> np.ndarray:
        v = STEP * direction(image)
        return np.asarray((f(image + v) - f(image - v)) / (2 * STEP))

    return slope_at


def tensor_of(output: Any) -> Any:
    """The first tensor of what a model returns."""
    while not hasattr(output, "shape"):
        output = next(iter(output.values())) if hasattr(output, "values") else output[0]
    return output
