"""Arrays that a model is fed with, checked and brought to the types and shapes of its inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.graph.tensors import Tensor, is_float

Arrays = Mapping[str, np.ndarray]
SCALE = re.compile("scale", re.IGNORECASE)
SIZE = re.compile(r"im(age|g)?_?(shape|size|info|hw)|(target|orig\w*|input)_?(shape|sizes?)", re.IGNORECASE)


def feeds(inputs: Sequence[Tensor], given: Arrays) -> dict[str, np.ndarray]:
    """Arrays by the names of a model's inputs, brought to the inputs' types and shapes."""
    names = {t.name for t in inputs}
    if wrong := [n for n in given if n not in names]:
        raise BadOption(f"the model has no input '{wrong[0]}'", remedy=f"it has {', '.join(sorted(names))}")
    sizes = [tuple(t.shape) for t in inputs if t.name in given and len(t.shape) == 4]
    usual = {t.name: usual_value(t, sizes[0]) for t in inputs if t.name not in given and sizes}
    given = {**{name: value for name, value in usual.items() if value is not None}, **given}
    if missing := sorted(names - set(given)):
        remedy = f"give it with --input {missing[0]}=VALUE, or all by name in Python: load(…).freeze({{…}})"
        raise BadOption(f"the model has a further input '{missing[0]}'", where="image", remedy=remedy)
    return {t.name: fitted(t, np.asarray(given[t.name])) for t in inputs}


def usual_value(t: Tensor, image: Sequence[int]) -> np.ndarray | None:
    """What an input is whose name and shape say it: the size of the image, or a scale of one."""
    count = math.prod(t.shape)
    if SCALE.search(t.name) and count <= 4:
        return np.ones(tuple(t.shape))
    rows, columns = image[2:] if image[3] > 4 else image[1:3]
    if SIZE.search(t.name) and 2 <= count <= 3:
        return np.array([rows, columns, 1][:count]).reshape(t.shape)
    return None


def fitted(t: Tensor, array: np.ndarray) -> np.ndarray:
    """An array for an input of the model, in the input's type and shape; a leading 1 may be missing."""
    shape = tuple(t.shape)
    if array.shape != shape and (1, *array.shape) != shape:
        raise BadOption(
            f"has shape {array.shape}, and the model's input '{t.name}' has shape {shape}",
            where="image",
            remedy="resize the image",
        )
    if array.dtype.kind not in "biuf":
        raise BadOption(
            f"must be an array of numbers, and holds {array.dtype}", where="image", remedy="convert it"
        )
    if not np.isfinite(array).all():
        raise BadOption("holds NaN or infinity", where="image", remedy="give finite numbers")
    if not is_float(t) and np.any(array.astype(t.dtype) != array):
        raise BadOption(
            f"holds numbers that the model's input '{t.name}' of {np.dtype(t.dtype)} does not take",
            where="image",
            remedy="give whole numbers, and pictures with --preset raw",
        )
    return np.ascontiguousarray(array.reshape(shape), t.dtype)
