"""The colours of signed values, and such values laid over a picture."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution

import numpy as np

from onnxscope.show.panels import Picture, magnitude, natural_pixels, signed_pixels

STRONGEST, FULL = 0.85, 0.995  # how opaque large values are, laid over a picture: those above this quantile
SQUARES = 50  # along the shorter side of a picture, over each of which such values are averaged
PALE = 0.35  # share of white in a picture that values are laid over, so that their colours show
BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue


@cache
def vik() -> np.ndarray:
    """[256, 3]: from blue for the lowest values to red for the highest, white between; in 0…1."""
    table = distribution("cmcrameri").locate_file("cmcrameri/cmaps/vik.txt")  # importing it takes long
    return np.loadtxt(str(table))


def signed(values: np.ndarray, scale: float) -> np.ndarray:
    """[…, 3] in 0…1: the colours of values between −scale and scale."""
    shares = values / scale if scale else np.zeros(values.shape)
    return np.asarray(vik()[np.rint(127.5 + 127.5 * shares.clip(-1, 1)).astype(int)])


def shown(picture: Picture) -> np.ndarray:
    """[rows, columns, 3] bytes: a picture without enlargement; channels that are no colours as their mean."""
    values = picture.values if picture.values.shape[2] in (1, 3) else picture.values.mean(2, keepdims=True)
    pixels = natural_pixels(values) if picture.natural else signed_pixels(values, magnitude(values))
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)


def coloured(values: np.ndarray, label: str) -> Picture:
    """[rows, columns] signed values in colours; the label ends with the scale."""
    scale = magnitude(values)
    ends = f"white = 0, red and blue = ±{scale:.3g}" if scale else "0 everywhere"
    return Picture(signed(values, scale), "; ".join(filter(None, [label, ends])), natural=True)


def laid_over(picture: Picture, values: np.ndarray, label: str) -> Picture:
    """Signed values in colours over a pale grey picture: the larger, the more opaque.

    They are averaged over squares of a fiftieth of the picture's side, so that places can be seen.
    """
    smooth = averaged(values.astype(np.float64), 2 * (min(values.shape) // (2 * SQUARES)) + 1)
    scale = float(np.quantile(np.abs(smooth), FULL)) or magnitude(smooth)
    opaque = STRONGEST * (np.abs(smooth) / (scale or 1.0)).clip(0, 1)[..., None]
    grey = (shown(picture) / 255 @ BRIGHTNESS)[..., None] * (1 - PALE) + PALE
    return Picture(opaque * signed(smooth, scale) + (1 - opaque) * grey, label, natural=True)


def averaged(values: np.ndarray, side: int) -> np.ndarray:
    """The mean over the square of this odd side around each pixel; beyond the border values repeat."""
    for axis in (0, 1):
        padded = np.pad(values, [(side // 2, side // 2) if a == axis else (0, 0) for a in (0, 1)], "edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, side, axis)
        values = windows.mean(-1)
    return values
