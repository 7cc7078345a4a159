"""A constant factor of each channel is multiplied into the weights of a neighbouring convolution.

The network then has fewer operators that read and write a whole tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, is_known, numel, shape_of, values_of

CONVOLUTIONS = ("Conv", "ConvTranspose")


def fold_gains(graph: gs.Graph, varying: Collection[str]) -> None:
    """Rewrite Conv(g·x, W) as Conv(x, g·W), where g is constant. The runtime computes g·W once.

    `varying` names the tensors that are not constant.
    """
    uses = Counter(t.name for n in graph.nodes for t in n.inputs) + Counter(t.name for t in graph.outputs)
    nodes: list[gs.Node] = []
    for node in graph.nodes:
        if (
            node.op in CONVOLUTIONS
            and node.inputs[1].name not in varying
            and uses[node.inputs[0].name] == 1
            and (found := constant_gain(node, varying))
        ):
            uses[node.inputs[0].name] = 0
            node.inputs[0], gain = found
            made, node.inputs[1] = scaled_weights(node, gain)
            nodes += made
        nodes.append(node)
    graph.nodes[:] = [n for n in nodes if any(uses.get(t.name, 1) for t in n.outputs)]


def constant_gain(conv: gs.Node, varying: Collection[str]) -> tuple[Tensor, Tensor] | None:
    """x and g if the input of a convolution is g·x with a constant g for each channel, else None."""
    product = next(iter(conv.inputs[0].inputs), None)
    if product is None or product.op != "Mul":
        return None
    channels, rank = shape_of(conv.inputs[0])[1], len(shape_of(conv.inputs[0]))
    for gain, x in (product.inputs, product.inputs[::-1]):
        spread = (1,) * (rank - len(shape_of(gain))) + shape_of(gain)
        whole = shape_of(x) == shape_of(conv.inputs[0])
        if gain.name not in varying and whole and numel(spread) == spread[1] and spread[1] in (1, channels):
            return x, gain
    return None


def scaled_weights(conv: gs.Node, gain: Tensor) -> tuple[list[gs.Node], Tensor]:
    """Nodes that multiply each weight of a convolution by the gain of its input channel, and their result."""
    w, group = conv.inputs[1], conv.attrs.get("group", 1)
    shape = shape_of(w)
    kernel, many = shape[2:], numel(shape_of(gain)) > 1
    if conv.op == "ConvTranspose":
        split, factors = shape, (shape[0] if many else 1, 1, *(1 for _ in kernel))
    else:  # each group of a Conv has its own input channels
        split = (group, shape[0] // group, *shape[1:])
        factors = (group, 1, shape[1], *(1 for _ in kernel)) if many else (1,) * len(split)
    made: list[gs.Node] = []

    def op(kind: str, *inputs: Tensor) -> Tensor:
        name = f"{conv.name}/gain/{len(made)}"
        made.append(gs.Node(kind, name, {}, list(inputs), [gs.Variable(name, np.float32)]))
        return made[-1].outputs[0]

    def reshaped(x: Tensor, sizes: Sequence[int]) -> Tensor:
        return op("Reshape", x, gs.Constant(f"{conv.name}/sizes/{len(made)}", np.array(sizes, np.int64)))

    result = reshaped(op("Mul", reshaped(w, split), reshaped(gain, factors)), shape)
    for node, sizes in zip(made, (split, factors, split, shape), strict=True):
        node.outputs[0].shape = list(sizes)
    return made, result


def fold_batch_norms(b: Builder, keep: Collection[str]) -> None:
    """Merge each BatchNormalization into the Conv or ConvTranspose before it; tensors in `keep` stay.

    Methods that treat positive and negative weights differently need the merged weights.
    """
    uses = Counter(t.name for n in b.graph.nodes for t in n.inputs)
    for norm in [n for n in b.graph.nodes if n.op == "BatchNormalization" and len(n.outputs) == 1]:
        between = norm.inputs[0]
        conv = between.inputs[0] if between.inputs else norm
        constants = (*conv.inputs[1:], *norm.inputs[1:])
        if (
            conv.op not in CONVOLUTIONS
            or uses[between.name] != 1
            or between.name in keep
            or not all(is_known(t) for t in constants)
        ):
            continue
        weights, bias = merged_weights(conv, norm)
        conv.inputs = [conv.inputs[0], b.constant(weights), b.constant(bias)]
        (result,) = norm.outputs
        norm.outputs.clear()
        conv.outputs = [result]
    b.graph.nodes[:] = [n for n in b.graph.nodes if n.outputs]


def merged_weights(conv: gs.Node, norm: gs.Node) -> tuple[np.ndarray, np.ndarray]:
    """Weights W·g and bias (bias − mean)·g + shift, where g = scale/√(var + ε) for each output channel."""
    scale, shift, mean, var = (values_of(t).astype(np.float64) for t in norm.inputs[1:5])
    gain = scale / np.sqrt(var + norm.attrs.get("epsilon", 1e-5))
    weights, bias = values_of(conv.inputs[1]), values_of(conv.inputs[2]) if len(conv.inputs) > 2 else 0.0
    kernel, group = [1] * (weights.ndim - 2), conv.attrs.get("group", 1)
    if conv.op == "Conv":
        spread = gain.reshape(-1, 1, *kernel)
    else:
        spread = (
            gain.reshape(group, -1)
            .repeat(weights.shape[0] // group, axis=0)
            .reshape(len(weights), -1, *kernel)
        )
    return (weights * spread).astype(weights.dtype), ((bias - mean) * gain + shift).astype(weights.dtype)
