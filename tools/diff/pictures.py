"""As many pictures as a measurement asks for: those that are given, pieces of them, or noise with a natural spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from onnxscope.files.folders import pictures_in
from onnxscope.files.models import load
from onnxscope.rewriting.sizes import input_sizes

SIDE = 96  # of noise, where a model leaves its image's size free
LEAST_PIECE = 0.5  # of a picture's height and width
MEAN, DEVIATION, COLOUR = 128.0, 50.0, 0.4  # of noise; colour is a share of the brightness's deviation


def gathered(given: Sequence[Path], count: int | None, model: Path, folder: Path) -> list[Path]:
    """The pictures among these files and folders, and so many in all; what is made is written to a folder."""
    sources = [picture for path in given for picture in (pictures_in(path) if path.is_dir() else [path])]
    found, random, size = list(sources), np.random.default_rng(0), image_size(model)
    while len(found) < (count or 1):
        number = len(found)
        made = piece(sources[number % len(sources)], random) if sources else noise(*size, random)
        found.append(folder / f"made_{number:04}.png")
        Image.fromarray(made).save(found[-1])
    return found[:count]


def piece(picture: Path, random: np.random.Generator) -> np.ndarray:
    """A random part of a picture, mirrored or not."""
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    corner: list[slice] = []
    for side in pixels.shape[:2]:
        length = round(side * random.uniform(LEAST_PIECE, 1))
        start = random.integers(0, side - length + 1)
        corner.append(slice(start, start + length))
    part = pixels[corner[0], corner[1]]
    return np.ascontiguousarray(part[:, ::-1] if random.random() < 0.5 else part)


def noise(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Random pixels whose amplitudes fall with the frequency, as those of photographs do."""
    brightness, *colours = natural(height, width, 4, random)
    pixels = MEAN + DEVIATION * (brightness + COLOUR * np.stack(colours))
    return pixels.transpose(1, 2, 0).clip(0, 255).astype(np.uint8)


def natural(height: int, width: int, count: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    for _ in range(count):
        x = np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequency, (height, width))
        yield x / x.std()


def image_size(model: Path) -> tuple[int, int]:
    """Height and width of a model's image."""
    sizes = next((s for s in input_sizes(load(model)).values() if len(s) == 4), (0, 0, 0, 0))
    height, width = sizes[1:3] if sizes[3] in (1, 3, 4) else sizes[2:]
    return height or SIDE, width or SIDE
