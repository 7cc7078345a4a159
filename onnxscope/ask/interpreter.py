"""The frozen map of one image, y1 = F·x1 + r, with questions that take arrays and return arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_axis, check_layout, flat_index, is_picture
from onnxscope.linear.extract import Others, extract
from onnxscope.linear.linear_map import DENSE_BYTES, DotTest, Filter, Space, dense, dot_test
from onnxscope.linear.svd.decompose import Svd, SvdOptions, svd
from onnxscope.run.engine import Engine, FrozenMap
from onnxscope.version import VERSION

Pixel = int | Sequence[int]


class OpenScope:
    """A scope whose sessions are built, ready to be frozen for one image after another."""

    def __init__(self, engine: Engine, layout: str = "auto") -> None:
        check_layout(layout)
        self.engine, self.layout = engine, layout

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of the array that is given as the image."""
        return tuple(self.engine.image_input.shape)

    @property
    def takes_image(self) -> bool:
        """Whether the image is what the model is fed with, not a tensor inside it."""
        return self.engine.takes_image

    def freeze(self, image: np.ndarray | Mapping[str, np.ndarray]) -> Interpreter:
        """The interpreter of an image that is preprocessed already; a mapping names all inputs of several."""
        return Interpreter(self.engine.freeze(image), self.layout)


class Interpreter:
    """F(x0) and r(x0) of one image x0. A pixel is (channel, y, x), an element of a vector its number."""

    def __init__(self, f: FrozenMap, layout: str = "auto") -> None:
        self.map, self.layout = f, layout
        if layout == "auto" and is_picture(f.x0.shape):  # the output has the layout of the image
            self.layout = "nhwc" if channels_axis(f.x0.shape) == f.x0.ndim - 1 else "nchw"

    @property
    def image(self) -> np.ndarray:
        """The image x0."""
        return self.map.x0

    @property
    def output(self) -> np.ndarray:
        """The output y0, in the network's own shape."""
        return self.map.y0

    @property
    def takes_image(self) -> bool:
        """Whether the image is what the model is fed with, not a tensor inside it."""
        return self.map.engine.takes_image

    def residual(self) -> np.ndarray:
        """r: the sum of all sources, each carried to the output."""
        return self.map.residual

    @cached_property
    def filter(self) -> Filter:
        """F as a SciPy LinearOperator on flat vectors."""
        return Filter(self.map)

    def column(self, pixel: Pixel) -> np.ndarray:
        """F·δ: what one input pixel adds to the output, in the output's shape."""
        return self.columns([pixel]).reshape(self.output.shape)

    def row(self, pixel: Pixel) -> np.ndarray:
        """Fᵀ·δ: the weights with which one output pixel sums up the image, in the image's shape."""
        return self.rows([pixel]).reshape(self.image.shape)

    def columns(self, pixels: Iterable[Pixel]) -> np.ndarray:
        """The column of F for each pixel, stacked on axis 0."""
        return np.asarray(self.map.forward(impulses(self.map.inputs, self._indices(self.image, pixels))))

    def rows(self, pixels: Iterable[Pixel]) -> np.ndarray:
        """The row of F for each pixel, stacked on axis 0."""
        return np.asarray(self.map.transpose(impulses(self.map.outputs, self._indices(self.output, pixels))))

    def project(self, x: np.ndarray) -> np.ndarray:
        """F·x for one image, in the output's shape, or for several that are stacked on axis 0."""
        return applied(self.map.forward, x, (self.map.inputs, self.image.shape), self.output.shape)

    def back_project(self, u: np.ndarray) -> np.ndarray:
        """Fᵀ·u for one output, in the image's shape, or for several that are stacked on axis 0."""
        return applied(self.map.transpose, u, (self.map.outputs, self.output.shape), self.image.shape)

    def dense(self, most_bytes: int = DENSE_BYTES) -> np.ndarray:
        """F as a matrix [outputs, inputs]; an error where it would be larger than `most_bytes`."""
        return dense(self.map, most_bytes)

    def dot_test(self, seed: int = 0) -> DotTest:
        """Compares ⟨F·v, u⟩ with ⟨v, Fᵀ·u⟩ for random v and u."""
        return dot_test(self.map, seed=seed)

    def svd(self, k: int, **options: Unpack[SvdOptions]) -> Svd:
        """The k largest singular values with their eigen-inputs v and eigen-outputs u: F·v = σ·u."""
        return svd(self.map, k, **options)

    def extract(
        self,
        path: str | Path,
        *,
        side: str = "columns",
        about: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
        others: Others | None = None,
    ) -> Path:
        """Writes all of F to an .npy file or a .zarr folder; goes on where an earlier run was stopped."""
        known = {**self.identity(), **(about or {})}
        return extract(self.map, Path(path), side=side, about=known, progress=progress, others=others)

    def identity(self) -> dict[str, Any]:
        """What the results depend on: versions, hashes, names, policy, device and precision."""
        scope, on = self.map.engine.scope, self.map.engine.on
        image = hashlib.sha256(np.ascontiguousarray(self.image).tobytes()).hexdigest()
        return {
            "onnxscope": VERSION,
            "model_sha256": scope.source_sha256,
            "image_sha256": image,
            "image": scope.image,
            "output": scope.output,
            "policy": str(scope.policy),
            "device": on.name,
            "precision": on.precision,
        }

    def about(self) -> dict[str, Any]:
        """Where and how it runs: device, precision, memory, and notes for the user."""
        return self.map.engine.about()

    def _indices(self, like: np.ndarray, pixels: Iterable[Pixel]) -> list[int]:
        return [flat_index(like.shape, pixel, self.layout) for pixel in pixels]


def score_rows(x: Interpreter, scores: Sequence[int]) -> np.ndarray:
    """[scores, *shape of the image]: the transposed branch at each of these elements of the output.

    That is the row of F, or what another way back computes instead.
    """
    found = np.asarray(x.map.transpose(impulses(x.map.outputs, scores)))
    return found.reshape(len(scores), *x.image.shape)


def impulses(space: Space, indices: Sequence[int]) -> np.ndarray:
    """Unit vectors, one for each index into the flattened space: [indices, *shape of the space]."""
    block = np.zeros((len(indices), math.prod(space.shape)), np.float32)
    block[np.arange(len(indices)), indices] = 1
    return block.reshape(-1, *space.shape)


def applied(
    function: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    fed: tuple[Space, tuple[int, ...]],
    shape: tuple[int, ...],
) -> np.ndarray:
    """The linear `function` of one array, with a result of this shape, or of several stacked on axis 0."""
    space, natural = fed
    x = np.asarray(x)
    if x.shape not in (natural, space.shape) and x.shape[1:] != space.shape:
        several = ", ".join(["n", *map(str, space.shape)])
        raise BadOption(
            f"has shape {x.shape}, and the shape must be {natural}, or ({several}) for n of them",
            where="probe",
            remedy="reshape it",
        )
    if not np.isfinite(x).all():
        raise BadOption("holds NaN or infinity", where="probe", remedy="give finite numbers only")
    result = function(np.ascontiguousarray(x, np.float32).reshape(-1, *space.shape))
    return result.reshape(shape) if x.shape in (natural, space.shape) else result
