"""Photographs that come with scikit-image and scikit-learn, as the input of networks and to judge them by.

python tools/photographs.py FOLDER      # writes pieces of the held-out photographs at half their size
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LEARNED_FROM = ("astronaut", "rocket", "camera", "brick", "grass", "gravel", "china.jpg", "flower.jpg")
HELD_OUT = ("chelsea", "coffee")
Pair = tuple[np.ndarray, np.ndarray]
LICENCES = (
    "`china.jpg` is by danielbuechele and `flower.jpg` by vultilion, both CC BY 2.0; "
    "the others are CC0 or in the public domain."
)


def photographs(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Photographs as RGB bytes: those of scikit-image by name, those of scikit-learn by file."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    found = {n: load_sample_image(n) if n.endswith(".jpg") else getattr(skimage.data, n)() for n in names}
    return {n: v if v.ndim == 3 else np.repeat(v[:, :, None], 3, 2) for n, v in found.items()}


def as_images(pixels: np.ndarray) -> np.ndarray:
    """Bytes [N, height, width, 3] as a network's input [N, 3, height, width], from 0 to 1."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def signed(pixels: np.ndarray) -> np.ndarray:
    """The same input, from −1 to 1."""
    return 2 * as_images(pixels) - 1


def halved(photograph: np.ndarray) -> Pair:
    """A photograph at half its size, by Pillow's bicubic filter, and the photograph, cut to even sides."""
    height, width = (s // 2 * 2 for s in photograph.shape[:2])
    whole = np.ascontiguousarray(photograph[:height, :width])
    return np.asarray(
        Image.fromarray(whole).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    ), whole


def decibels(pixels: np.ndarray, wanted: np.ndarray) -> float:
    """PSNR over all three channels. As usual, four pixels along the edges are not counted."""
    inner = np.s_[4:-4, 4:-4]
    return float(10 * np.log10(255**2 / np.mean((pixels[inner].astype(np.float64) - wanted[inner]) ** 2)))


def compared(run: Callable[[np.ndarray], np.ndarray], pair: Pair) -> tuple[float, float]:
    """PSNR of the bicubic enlargement and of the network's enlargement, both rounded to bytes."""
    small, whole = pair
    bicubic = np.asarray(Image.fromarray(small).resize(whole.shape[1::-1], Image.Resampling.BICUBIC))
    enlarged = run(as_images(small[None]))[0].transpose(1, 2, 0)
    return decibels(bicubic, whole), decibels(np.rint(255 * np.clip(enlarged, 0, 1)), whole)


PIECES = {  # file: photograph, and left, top, right, bottom
    "cat": ("chelsea", (100, 50, 228, 178)),
    "coffee": ("coffee", (230, 130, 422, 322)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write pieces of held-out photographs, at half their size.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, (photograph, piece) in PIECES.items():
        whole = Image.fromarray(photographs([photograph])[photograph]).crop(piece)
        whole.resize([side // 2 for side in whole.size], Image.Resampling.BICUBIC).save(
            options.folder / f"{name}.png", optimize=True
        )


if __name__ == "__main__":
    main()
