"""Bicubic interpolation, a classic upscaler, as a linear map: its singular values and vectors.

They are compared with those of a network. Bicubic interpolation acts on rows and columns separately, so that
each singular vector is the product of a vector over the rows and one over the columns, both similar to cosine
waves.
"""

from __future__ import annotations

import numpy as np

KEYS = -0.5  # the parameter of Keys' cubic kernel that most image libraries use


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel: 1 at 0, 0 at every other whole number and beyond ±2."""
    t = np.abs(t)
    near = ((KEYS + 2) * t - (KEYS + 3)) * t**2 + 1
    far = KEYS * (((t - 5) * t + 8) * t - 4)
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def bicubic_matrix(inputs: int, outputs: int) -> np.ndarray:
    """[outputs, inputs]: the interpolation along one axis; pixels at the edge are repeated beyond it."""
    matrix = np.zeros((outputs, inputs))
    for row, centre in enumerate((np.arange(outputs) + 0.5) * inputs / outputs - 0.5):
        taps = np.floor(centre) + np.arange(-1, 3)
        np.add.at(matrix[row], taps.astype(int).clip(0, inputs - 1), cubic(centre - taps))
    return matrix


def bicubic_svd(
    size: tuple[int, int], enlarged: tuple[int, int], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest singular values σ for one channel, with u and v, each [k, rows, columns]."""
    (uy, sy, vy), (ux, sx, vx) = (
        np.linalg.svd(bicubic_matrix(n, m), full_matrices=False) for n, m in zip(size, enlarged, strict=True)
    )
    products = np.outer(sy, sx)
    ys, xs = np.unravel_index(np.argsort(-products, axis=None, kind="stable")[:k], products.shape)
    u = uy.T[ys][:, :, None] * ux.T[xs][:, None, :]
    v = vy[ys][:, :, None] * vx[xs][:, None, :]
    return products[ys, xs], u, v
