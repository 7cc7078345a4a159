"""Clips and volumes: the pictures of a folder, in the order of their names, as one input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnxscope.errors import BadOption, shape_text
from onnxscope.files import pictures
from onnxscope.files.folders import pictures_in
from onnxscope.files.preprocessing import UNIT, Preprocess


def read(path: Path, shape: Sequence[int], preprocess: Preprocess = UNIT) -> np.ndarray:
    """A file, or the pictures of a folder, as the input of a model whose input has this shape."""
    return read_clip(path, shape, preprocess) if path.is_dir() else pictures.read(path, shape, preprocess)


def read_clip(folder: Path, shape: Sequence[int], preprocess: Preprocess) -> np.ndarray:
    """As many pictures as the input takes, spread evenly over those of the folder."""
    time, one = axes_of(folder, shape)
    files, wanted = pictures_in(folder), shape[time]
    if len(files) < wanted:
        raise BadOption(
            f"holds {len(files)} pictures, and the model takes {wanted}",
            where=f"{pictures.OPTION} '{folder}'",
            remedy="name a folder with more, or give an .npy file",
        )
    chosen = [files[k * len(files) // wanted] for k in range(wanted)]
    frames = [pictures.read_picture(file, one, preprocess).reshape(one[1:]) for file in chosen]
    return np.stack(frames, axis=time - 1)[None]


def axes_of(folder: Path, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The axis of an input that counts the pictures of a clip, and the shape of one picture."""
    if len(shape) == 5 and shape[0] == 1:
        for channels, axis in itertools.product((3, 1, 4), (1, 2, 4)):
            if shape[axis] == channels:
                time = 2 if axis == 1 else 1
                return time, tuple(size for k, size in enumerate(shape) if k != time)
    raise BadOption(
        f"a folder of pictures is a clip, and the model takes {shape_text(shape)}",
        where=f"{pictures.OPTION} '{folder}'",
        remedy="name one of its pictures",
    )
