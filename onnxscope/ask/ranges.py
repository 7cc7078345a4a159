"""Whether a network takes pixels of 0…255, as its first biases show where nothing else tells."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor, is_float, is_known, is_sized, shape_of, values_of
from onnxscope.run.single_runs import session

# How much larger the biases of the first convolution are than the deviation of what it adds them to, in nats
# (the median over its channels). In networks with a known preprocessing it is −2.5 to 2; a wrong range moves
# it by the logarithm of 255, which is 5.5.
TOO_LARGE, FITTING = 3.5, 2.0
LEVELS = 16.0  # nine tenths of the values of a picture of 0…1 are far below, and many of one of 0…255 above
CANCELLING = {"InstanceNormalization", "GroupNormalization", "LayerNormalization"}  # these remove a bias


def seems_raw(graph: gs.Graph, pixels: Tensor, unit: np.ndarray, raw: np.ndarray) -> str:
    """Why the values of 0…255 must be meant; '' where the biases do not show it."""
    conv = first_convolution(graph, pixels)
    if conv is None:
        return ""
    over_unit, over_raw = (excess(graph, conv, pixels.name, values) for values in (unit, raw))
    if not (over_unit > TOO_LARGE and over_raw < FITTING):
        return ""
    return (
        f"under unit the biases of '{conv.name}' are {np.exp(over_unit):.0f} times what pixels change there"
    )


def gives_levels(graph: gs.Graph, pixels: Tensor, axis: int, unit: np.ndarray) -> str:
    """Why an output must be a picture of 0…255, and so the input; '' where none is."""
    given = shape_of(pixels)
    for output in graph.outputs:
        shape = tuple(output.shape) if is_sized(output) and is_float(output) else ()
        if len(shape) != len(given) or shape[axis] != given[axis] or any(np.less(shape, given)):
            continue  # it is no picture as large as the input
        with session(part(graph, [output])) as running:
            made = np.abs(running.run({pixels.name: unit})[output.name].astype(np.float64))
        if np.quantile(made, 0.9) > LEVELS:
            return f"'{output.name}' is a picture with values up to {made.max():.0f}"
    return ""


def first_convolution(graph: gs.Graph, pixels: Tensor) -> gs.Node | None:
    """The first convolution with biases, if it reads only the picture and nothing removes its biases."""
    for node in graph.nodes:
        if node.op != "Conv":
            continue
        biased = len(node.inputs) > 2 and is_known(node.inputs[2])
        kept = not any(reader.op in CANCELLING for reader in node.outputs[0].outputs)
        alone = [t.name for t in part(graph, [node.outputs[0]]).inputs] == [pixels.name]
        return node if biased and kept and alone and np.any(values_of(node.inputs[2])) else None
    return None


def excess(graph: gs.Graph, conv: gs.Node, name: str, values: np.ndarray) -> float:
    """How much larger the biases are than the deviation over the picture, in nats: the median channel."""
    with session(part(graph, [conv.outputs[0]])) as running:
        made = running.run({name: values})[conv.outputs[0].name].astype(np.float64)
    deviation = made.std(tuple(axis for axis in range(made.ndim) if axis != 1))
    biases = np.abs(values_of(conv.inputs[2]).astype(np.float64))
    return float(np.median(np.log(biases + 1e-9) - np.log(deviation + 1e-9)))
