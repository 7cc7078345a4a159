"""What a model's files tell without being run, and the digests of all of them."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.files import external, models
from onnxscope.files.weight_checks import held_tensors
from onnxscope.files.weights import is_external

CHUNK = 1 << 20  # bytes that are read at a time


def facts(model: models.Model) -> dict[str, Any]:
    """What a file tells without being run: sizes, opsets, operators, inputs and outputs."""
    graph = model.proto.graph
    nodes: dict[str, int] = {}
    for node in graph.node:
        name = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        nodes[name] = nodes.get(name, 0) + 1
    weights = {t.name for t in graph.initializer}
    return {
        "bytes": model.nbytes,
        "opsets": {o.domain or "ai.onnx": o.version for o in model.proto.opset_import},
        "operators": dict(sorted(nodes.items())),
        "parameters": sum(int(np.prod(t.dims, dtype=np.int64)) for t in graph.initializer),
        "inputs": {i.name: sizes_of(i) for i in graph.input if i.name not in weights},
        "outputs": {o.name: sizes_of(o) for o in graph.output},
        "external": model.elsewhere > 0,
    }


def sizes_of(value: Any) -> list[int | str]:
    return [d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]


@cache
def facts_of(file: Path) -> dict[str, Any]:
    """The facts of another model, which many checks compare with."""
    return facts(models.load(file))


def external_digests(file: Path) -> dict[str, str]:
    """The SHA-256 of each file with weights that a model names, by its path from the model's folder."""
    proto = models.parse(models.read_file(file), file)
    outside = [held for held in held_tensors(proto) if is_external(held.tensor)]
    places = {external.described(held.tensor, held.where)["location"]: held.where for held in outside}
    found = {}
    for location, where in sorted(places.items()):
        with external.opened(where, file.parent, location) as (opened, _):
            found[Path(location).as_posix()] = hashed(opened)
    return found


def digest(file: Path) -> str:
    """The SHA-256 of a file; empty for what is no regular file, and for what cannot be read."""
    try:
        if file.is_file():
            with file.open("rb") as data:
                return hashed(data.fileno())
    except OSError:
        pass
    return ""


def hashed(opened: int) -> str:
    """The SHA-256 of what a descriptor reads."""
    found = hashlib.sha256()
    while piece := os.read(opened, CHUNK):
        found.update(piece)
    return found.hexdigest()
