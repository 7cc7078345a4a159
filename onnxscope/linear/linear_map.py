"""F as a linear operator: what probes and solvers see, never a graph.

Vectors come in blocks: arrays whose first axis counts them, and whose other axes are the shape of one
picture, such as (3, 24, 24). A space holds the operations on blocks, whether they are on the host or on a
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse.linalg import LinearOperator

from onnxscope.errors import BadOption

DENSE_BYTES = 1 << 30  # a larger F is to be extracted to disk
FLOAT32 = np.dtype(np.float32)
Block = Any  # an array on the host, or a value on a device; only its space can look into it


class Space(Protocol):
    """Blocks of vectors of one shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def of(self, array: np.ndarray) -> Block:
        """A block with the values of an array on the host."""

    def array(self, block: Block) -> np.ndarray:
        """The values of a block as an array on the host."""

    def dot(self, a: Block, b: Block) -> np.ndarray:
        """⟨a_i, b_j⟩ for all pairs, on the host."""

    def combine(self, coefficients: np.ndarray, a: Block) -> Block:
        """Σ_j c_ij·a_j."""

    def subtract(self, b: Block, coefficients: np.ndarray, a: Block) -> Block:
        """b_i − Σ_j c_ij·a_j."""

    def join(self, blocks: Sequence[Block]) -> Block:
        """Several blocks as one."""


@dataclass(frozen=True)
class ArraySpace:
    """Blocks that are NumPy arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT32

    def of(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array, self.dtype).reshape(-1, *self.shape)

    def array(self, block: np.ndarray) -> np.ndarray:
        return block

    def dot(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        product: np.ndarray = (rows(a) @ rows(b).T).astype(np.float64)
        return product

    def combine(self, coefficients: np.ndarray, a: np.ndarray) -> np.ndarray:
        combined: np.ndarray = coefficients.astype(self.dtype) @ rows(a)
        return combined.reshape(-1, *self.shape)

    def subtract(self, b: np.ndarray, coefficients: np.ndarray, a: np.ndarray) -> np.ndarray:
        difference: np.ndarray = b - self.combine(coefficients, a)
        return difference

    def join(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(blocks)


def rows(block: np.ndarray) -> np.ndarray:
    """Every vector of a block as a row of a matrix."""
    return block.reshape(len(block), -1)


class LinearMap(Protocol):
    """F and its transpose on blocks."""

    @property
    def inputs(self) -> Space: ...

    @property
    def outputs(self) -> Space: ...

    @property
    def batch(self) -> int:
        """The best number of vectors in a block; any other number works too."""

    def forward(self, block: Block) -> Block:
        """F·x for every x of the block."""

    def transpose(self, block: Block) -> Block:
        """Fᵀ·u for every u of the block."""


class Filter(LinearOperator):  # type: ignore[misc]
    """F as a matrix on flat vectors, for scipy's solvers."""

    def __init__(self, f: LinearMap) -> None:
        super().__init__(f.inputs.dtype, (math.prod(f.outputs.shape), math.prod(f.inputs.shape)))
        self._f = f

    def _matmat(self, columns: np.ndarray) -> np.ndarray:
        return self._applied(self._f.forward, self._f.inputs, columns)

    def _rmatmat(self, columns: np.ndarray) -> np.ndarray:
        return self._applied(self._f.transpose, self._f.outputs, columns)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(x.reshape(-1, 1)).ravel()

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return self._rmatmat(x.reshape(-1, 1)).ravel()

    def _applied(
        self, function: Callable[[np.ndarray], np.ndarray], space: Space, columns: np.ndarray
    ) -> np.ndarray:
        vectors = np.ascontiguousarray(columns.T, space.dtype).reshape(-1, *space.shape)
        return np.ascontiguousarray(rows(function(vectors)).T)


def units(space: Space, start: int, stop: int) -> np.ndarray:
    """The unit vectors from `start` to `stop` − 1 of a space, as an array on the host."""
    size = math.prod(space.shape)
    block = np.zeros((stop - start, size), space.dtype)
    block[np.arange(stop - start), np.arange(start, stop)] = 1
    return block.reshape(-1, *space.shape)


def dense(f: LinearMap, most_bytes: int = DENSE_BYTES) -> np.ndarray:
    """F as a matrix [outputs, inputs], built from whichever side has fewer vectors."""
    m, n = math.prod(f.outputs.shape), math.prod(f.inputs.shape)
    if m * n * f.inputs.dtype.itemsize > most_bytes:
        raise BadOption(
            f"F has {m:,} × {n:,} entries, {m * n * f.inputs.dtype.itemsize / 1e9:.1f} GB",
            where="dense",
            remedy="raise most_bytes, or extract it to disk with 'onnxscope filter'",
        )
    result = np.empty((m, n), f.inputs.dtype)
    if n <= m:
        for start in range(0, n, f.batch):
            stop = min(start + f.batch, n)
            result[:, start:stop] = rows(f.forward(units(f.inputs, start, stop))).T
    else:
        for start in range(0, m, f.batch):
            stop = min(start + f.batch, m)
            result[start:stop] = rows(f.transpose(units(f.outputs, start, stop)))
    return result


@dataclass(frozen=True)
class DotTest:
    """|⟨F·v, u⟩ − ⟨v, Fᵀ·u⟩| over ‖F·v‖·‖u‖ or ‖v‖·‖Fᵀ·u‖, whichever is larger, for random v and u."""

    figure: float
    bound: float

    @property
    def ok(self) -> bool:
        return self.figure <= self.bound


def dot_test(f: LinearMap, *, seed: int = 0, bound: float = 1e-5) -> DotTest:
    """Whether Fᵀ is the transpose of F, by random vectors."""
    rng = np.random.default_rng(seed)
    v, u = (rng.standard_normal((1, *s.shape)).astype(s.dtype) for s in (f.inputs, f.outputs))
    y, x = f.forward(v).astype(np.float64), f.transpose(u).astype(np.float64)
    size = max(np.linalg.norm(y) * np.linalg.norm(u), np.linalg.norm(v) * np.linalg.norm(x), 1e-30)
    return DotTest(float(abs(np.vdot(y, u) - np.vdot(v, x)) / size), bound)
