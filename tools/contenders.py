"""The networks as all contenders of a benchmark are given them, and plain onnxruntime to compare with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import onnxscope
from onnxscope.linear.linear_map import LinearMap
from onnxscope.runtime import Device

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from networks import NETWORKS, network, with_image_shape

# Relative bounds. In cyclegan 18 normalisations, each by the deviation of its input, amplify rounding.
AGREE = {"cyclegan": 1e-2}
AGREE_OTHERS = 1e-3
IMAGES = range(12)  # seeds


def prepared(name: str) -> onnx.ModelProto:
    """A network as a simplifier would write it.

    It has no Dropout and no final Softmax, its weights are constants, and a Flatten replaces its Reshape.
    Otherwise onnxruntime would not fold weights, onnx2torch would not read it, and torch could not trace it.
    """
    model: onnx.ModelProto = network(name)
    graph = model.graph
    model.ir_version = max(model.ir_version, 8)
    weights = {t.name for t in graph.initializer}
    for given in [i for i in graph.input if i.name in weights]:
        graph.input.remove(given)
    if graph.node[-1].op_type == "Softmax":
        graph.output[0].name = graph.node.pop().input[0]
    renamed: dict[str, str] = {}
    for node in list(graph.node):
        node.input[:] = [renamed.get(i, i) for i in node.input]
        if node.op_type == "Dropout":
            renamed[node.output[0]] = node.input[0]
            graph.node.remove(node)
        elif node.op_type == "Reshape":  # to rows, in all these networks
            node.CopyFrom(helper.make_node("Flatten", node.input[:1], node.output, node.name, axis=1))
    return model


def in_batches(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The network for batches of this size."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    sized: onnx.ModelProto = with_image_shape(model, (batch, *shape[1:]))
    return sized


def image(name: str, seed: int) -> np.ndarray:
    size = NETWORKS[name][1]
    return np.random.default_rng(seed).random((1, 3, size, size)).astype(np.float32)


def probes(f: LinearMap, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random vectors for F and for Fᵀ."""
    rng = np.random.default_rng(count)
    v, u = (rng.standard_normal((count, *space.shape)).astype(np.float32) for space in (f.inputs, f.outputs))
    return v, u


def plain(source: Path | bytes, x0: np.ndarray, batch: int, on: Device) -> Callable[[], object]:
    """A function that runs a network in onnxruntime by default settings, on images that are on the device."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = on.threads
    session = onnxruntime.InferenceSession(
        str(source) if isinstance(source, Path) else source, options, providers=on.providers
    )
    images = onnxruntime.OrtValue.ortvalue_from_numpy(np.repeat(x0, batch, axis=0), on.name, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, images)
    binding.bind_output(session.get_outputs()[0].name, on.name)
    return lambda: session.run_with_iobinding(binding)


def difference(a: Any, b: Any) -> float:
    """‖a − b‖/‖b‖, whatever their shapes."""
    a, b = (np.asarray(array, np.float64).ravel() for array in (a, b))
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-30))


def agreement(name: str) -> float:
    """The largest difference between two correct implementations of a network."""
    return AGREE.get(name, AGREE_OTHERS)


def first_agreeing(
    differences: Callable[[int], Mapping[str, float]], bound: float
) -> tuple[int, dict[str, float]]:
    """The first image whose differences are all within the bound, or else the last one, and the differences.

    Two correct implementations round differently, and sometimes that leads to another decision: a Relu at
    1e-9 is open or not, and whole columns differ by 1e-2. If no image agrees, the reason is not rounding.
    """
    for seed in IMAGES:
        found = dict(differences(seed))
        if max(found.values()) <= bound:
            break
    return seed, found


def opened(model: onnx.ModelProto, on: Device, **options: Any) -> onnxscope.OpenModel:
    """The model, opened by onnxscope."""
    return onnxscope.load(
        model.SerializeToString(), device=on.name, threads=on.threads, tf32=on.tf32, **options
    )
