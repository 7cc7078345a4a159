"""Reading pictures as the input of a model, and finding the names of its scores."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxscope.ask.scores import read_labels
from onnxscope.errors import BadOption
from onnxscope.files import models, pictures
from onnxscope.files.preprocessing import Preprocess, preprocessing

METADATA = ("names", "classes", "labels", "class_names")  # keys under which exporters store labels


def read_image(
    file: str | Path, preset: str | Preprocess = "unit", *, shape: Sequence[int] | None = None
) -> np.ndarray:
    """A picture file as a model's input, preprocessed by a preset: imagenet, unit, signed, caffe or raw.

    Unless a `shape` is given, the picture keeps its size and becomes [1, 3, rows, columns]. To fit a picture
    to a model's own input, use `load(model, preset=…).freeze(file)`.
    """
    chosen = preset if isinstance(preset, Preprocess) else preprocessing(preset)
    if shape is None:
        size = pictures.picture_size(Path(file))
        shape = (1, *size, 3) if chosen.layout == "nhwc" else (1, 3, *size)
    return pictures.read(Path(file), shape, chosen)


def find_labels(source: str | Path) -> list[str]:
    """The names of a model's scores.

    The source is a text file with one name on each line, or a model. A model's names are looked for in its
    metadata, and then in the files MODEL.labels.txt, MODEL.txt and labels.txt in its folder.
    """
    path = Path(source)
    if path.suffix.lower() != ".onnx":
        return read_labels(path)
    found = labels_in(models.load(path).proto)
    if found:
        return found
    candidates = (path.with_suffix(".labels.txt"), path.with_suffix(".txt"), path.with_name("labels.txt"))
    file = next((f for f in candidates if f.is_file()), None)
    if file is None:
        raise BadOption(
            "has no labels in its metadata, and there is no file of labels in its folder",
            where=f"'{path}'",
            remedy=f"put them, one on each line, into '{candidates[0].name}'",
        )
    return read_labels(file)


def labels_in(proto: onnx.ModelProto) -> list[str]:
    """The labels in a model's metadata, stored as a list or as a mapping from numbers; empty if none are."""
    held = {p.key: p.value for p in proto.metadata_props}
    for text in (held[key] for key in METADATA if key in held):
        value = literal(text)
        if isinstance(value, dict) and sorted(map(str, value)) == sorted(map(str, range(len(value)))):
            return [str(name) for _, name in sorted(value.items(), key=lambda item: int(item[0]))]
        if isinstance(value, list):
            return [str(name) for name in value]
    return []


def literal(text: str) -> Any:
    """The value of a text, which may be JSON, a Python literal, or words separated by commas."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two for deep nesting
            continue
    return text.split(",") if "," in text else None
