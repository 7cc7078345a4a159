"""The nine classic networks that the onnx package ships without weights, with seeded random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)


def light_model(name: str, seed: int = 0) -> onnx.ModelProto:
    """Convolutions and matrices drawn to keep the size of what passes through, batch statistics near the standard ones."""
    rng = np.random.default_rng(seed)
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph = model.graph
    sizes = {t.name: tuple(numpy_helper.to_array(t)) for t in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in sizes:
            shapes[node.output[0]] = sizes[node.input[0]]
        else:
            kept.append(node)
    used = {i: (n.op_type, k) for n in kept for k, i in enumerate(n.input)}
    for n in kept:
        if n.op_type == "Unsqueeze":
            used[n.input[0]] = used[n.output[0]]
    values = [numpy_helper.from_array(drawn(rng, shape, *used[key]), key) for key, shape in shapes.items()]
    del graph.node[:]
    graph.node.extend(kept)
    placeholders = [t for t in graph.initializer if not any(t.name in n.input for n in kept)]
    for t in placeholders:
        graph.initializer.remove(t)
    graph.initializer.extend(values)
    names = {t.name for t in placeholders} | set(shapes)
    inputs = [i for i in graph.input if i.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    return model


def drawn(rng: np.random.Generator, shape: tuple[int, ...], op: str, position: int) -> np.ndarray:
    """Weights of one tensor, by what it is used for."""
    values = rng.standard_normal(shape).astype(np.float32)
    if op == "Mul" or (op == "BatchNormalization" and position in (1, 4)):  # scales and variances
        return np.abs(values * np.float32(0.1) + np.float32(1))
    if position == 1 and len(shape) > 1:
        fan_in = shape[0] if op == "MatMul" else int(np.prod(shape[1:]))
        return values * np.float32(np.sqrt(2 / fan_in))
    return values * np.float32(0.1)
