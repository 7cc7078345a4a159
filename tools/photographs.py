"""Photographs that ordinary Python packages bring, as bytes, and the arrays that a network takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEARNED_FROM = ("astronaut", "rocket", "camera", "brick", "grass", "gravel", "china.jpg", "flower.jpg")
HELD_OUT = ("chelsea", "coffee")
LICENCES = "`china.jpg` is by danielbuechele and `flower.jpg` by vultilion, both CC BY 2.0; the others are CC0 or in the public domain."


def photographs(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Photographs that scikit-image (by name) and scikit-learn (by file) bring along, as RGB bytes."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    found = {n: load_sample_image(n) if n.endswith(".jpg") else getattr(skimage.data, n)() for n in names}
    return {n: v if v.ndim == 3 else np.repeat(v[:, :, None], 3, 2) for n, v in found.items()}


def as_images(pixels: np.ndarray) -> np.ndarray:
    """[N, height, width, 3] bytes as a network's input: [N, 3, height, width] in 0 to 1."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
