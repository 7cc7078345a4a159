"""A classic upscaler, bicubic interpolation, as a linear map: its singular values and vectors, for contrast with a network's.

It acts on rows and columns separately, so its singular vectors are products of two short ones, which resemble those of a cosine transform.
"""

from __future__ import annotations

import numpy as np

KEYS = -0.5  # the parameter of Keys' kernel, as image libraries mostly choose it


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel: 1 at 0, 0 at the other whole numbers and from 2 on."""
    t = np.abs(t)
    near = ((KEYS + 2) * t - (KEYS + 3)) * t**2 + 1
    far = KEYS * (((t - 5) * t + 8) * t - 4)
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def bicubic_matrix(inputs: int, outputs: int) -> np.ndarray:
    """[outputs, inputs]: along one axis, with the pixels at the edge repeated beyond it."""
    matrix = np.zeros((outputs, inputs))
    for row, centre in enumerate((np.arange(outputs) + 0.5) * inputs / outputs - 0.5):
        taps = np.floor(centre) + np.arange(-1, 3)
        np.add.at(matrix[row], taps.astype(int).clip(0, inputs - 1), cubic(centre - taps))
    return matrix


def bicubic_svd(
    size: tuple[int, int], enlarged: tuple[int, int], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest σ of one channel, with u [k, rows, columns] and v [k, rows, columns]."""
    (uy, sy, vy), (ux, sx, vx) = (
        np.linalg.svd(bicubic_matrix(n, m), full_matrices=False) for n, m in zip(size, enlarged, strict=True)
    )
    products = np.outer(sy, sx)
    ys, xs = np.unravel_index(np.argsort(-products, axis=None, kind="stable")[:k], products.shape)
    u = uy.T[ys][:, :, None] * ux.T[xs][:, None, :]
    v = vy[ys][:, :, None] * vx[xs][:, None, :]
    return products[ys, xs], u, v
