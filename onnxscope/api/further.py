"""Values of the inputs that a model has beyond its image, as users write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxscope.errors import BadOption, shape_text
from onnxscope.files import pictures
from onnxscope.files.preprocessing import Preprocess

OPTION = "--input"


def further_inputs(
    texts: Sequence[str], shapes: Mapping[str, tuple[int, ...]], preprocess: Preprocess
) -> dict[str, np.ndarray]:
    """The values of inputs of these shapes, each given as NAME=VALUE, NAME=VALUE,VALUE,… or NAME=FILE."""
    found: dict[str, np.ndarray] = {}
    for text in texts:
        name = next((n for n in shapes if text.startswith(f"{n}=")), None)
        if name is None or name in found:
            raise BadOption(
                "must be the name of an input, '=' and its value, for each input once",
                where=f"{OPTION} {text}",
                remedy=f"the inputs are {', '.join(shapes)}",
            )
        found[name] = value_of(text.removeprefix(f"{name}="), name, shapes[name], preprocess)
    return found


def value_of(text: str, name: str, shape: tuple[int, ...], preprocess: Preprocess) -> np.ndarray:
    """Numbers, or a picture or an array from a file, in the shape of an input; one number fills it."""
    try:
        numbers = np.array([float(part) for part in text.split(",")])
    except ValueError:
        return pictures.read(Path(text), shape, preprocess)
    if numbers.size not in (1, int(np.prod(shape))):
        raise BadOption(
            f"{numbers.size} numbers do not fill the shape {shape_text(shape)}",
            where=f"{OPTION} {name}",
            remedy="give one number for all elements, or as many as there are",
        )
    return np.broadcast_to(numbers, shape).copy() if numbers.size == 1 else numbers.reshape(shape)
