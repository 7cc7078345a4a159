"""Harmless changes of weights: folding, unfolding, and what two neighbouring layers can undo for each other."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from diff.graph import Graph, attribute
from diff.harmless_nodes import number, written


def affine_of(graph: Graph, norm: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
    """A BatchNormalization as a factor and a summand for each channel."""
    stored = [graph.array(norm, k) for k in range(1, 5)]
    scale, shift, mean, variance = (np.asarray(v, np.float64) for v in stored)
    factor = scale / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return factor, shift - mean * factor


def norms_folded(graph: Graph) -> Graph:
    """Each BatchNormalization becomes part of the Conv before it."""
    for norm in graph.of_type("BatchNormalization"):
        conv = graph.producer(norm.input[0])
        assert conv is not None
        factor, summand = affine_of(graph, norm)
        w, b = graph.array(conv, 1), graph.array(conv, 2)
        assert w is not None
        bias = summand + (factor * b if b is not None else 0)
        graph.put(conv, 1, (w * factor.reshape(-1, 1, 1, 1)).astype(np.float32))
        del conv.input[2:]
        conv.input.append(number(graph, bias))
        conv.output[0] = norm.output[0]
        graph.model.graph.node.remove(norm)
    return graph.without_unused()


def norms_as_mul_add(graph: Graph) -> Graph:
    for norm in graph.of_type("BatchNormalization"):
        factor, summand = (number(graph, v.reshape(-1, 1, 1)) for v in affine_of(graph, norm))
        written(graph, norm, [("Mul", [norm.input[0], factor], {}), ("Add", ["$1", summand], {})])
    return graph


def bias_as_add(graph: Graph) -> Graph:
    for conv in graph.of_type("Conv"):
        b = graph.array(conv, 2)
        if b is not None:
            target = conv.output[0]
            del conv.input[2:]
            conv.output[0] = f"{target}.unbiased"
            summand = number(graph, b.reshape(-1, 1, 1))
            add = helper.make_node("Add", [conv.output[0], summand], [target], f"{conv.name}.bias_added")
            graph.model.graph.node.insert(graph.nodes.index(conv) + 1, add)
    return graph.without_unused()


def constants_folded(graph: Graph) -> Graph:
    """A Mul by a constant becomes part of the Conv before it."""
    for mul in graph.of_type("Mul"):
        conv, factor = graph.producer(mul.input[0]), graph.array(mul, 1)
        if conv is not None and conv.op_type == "Conv" and factor is not None and factor.size == 1:
            for index in (1, 2):
                value = graph.array(conv, index)
                assert value is not None
                graph.put(conv, index, value * factor.reshape(()))
            graph.bypass(mul)
    return graph.without_unused()


def preprocessing_rewritten(graph: Graph) -> Graph:
    """Sub and Div of the image as Add of the negative and Mul by the reciprocal."""
    for node in graph.of_type("Sub", "Div"):
        value = graph.array(node, 1)
        if value is not None and node.op_type == "Sub":
            written(graph, node, [("Add", [node.input[0], number(graph, -value)], {})])
        elif value is not None:
            written(graph, node, [("Mul", [node.input[0], number(graph, 1 / value)], {})])
    return graph


def preprocessing_folded(graph: Graph) -> Graph:
    """The Div of the image becomes part of the first Conv."""
    for node in graph.of_type("Div"):
        conv, value = graph.consumers(node.output[0])[0], graph.array(node, 1)
        if value is not None:
            w = graph.array(conv, 1)
            assert w is not None
            graph.put(conv, 1, (w / value).astype(np.float32))
            graph.bypass(node)
    return graph.without_unused()


def followed(graph: Graph) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """A Conv in the middle and the Conv that reads it through a Relu."""
    for conv in graph.of_type("Conv")[3:]:
        relu = graph.consumers(conv.output[0])[0]
        after = graph.consumers(relu.output[0])[0]
        if relu.op_type == "Relu" and after.op_type == "Conv":
            return conv, after
    raise ValueError("no Conv, Relu, Conv in this network")


def moved(graph: Graph, order: np.ndarray, factor: np.ndarray) -> Graph:
    """Give the channels between two convolutions another order and another size, which both know of."""
    conv, after = followed(graph)
    w, b, v = graph.array(conv, 1), graph.array(conv, 2), graph.array(after, 1)
    assert w is not None and b is not None and v is not None
    graph.put(conv, 1, (w * factor.reshape(-1, 1, 1, 1))[order])
    graph.put(conv, 2, (b * factor)[order])
    graph.put(after, 1, (v / factor.reshape(1, -1, 1, 1))[:, order])
    return graph


def channels_permuted(graph: Graph) -> Graph:
    conv, _ = followed(graph)
    w = graph.array(conv, 1)
    assert w is not None
    count = len(w)
    return moved(graph, np.random.default_rng(2).permutation(count), np.ones(count, np.float32))


def channels_rescaled(graph: Graph) -> Graph:
    """Ranges of channels made equal, as before quantization, by powers of two."""
    conv, _ = followed(graph)
    w = graph.array(conv, 1)
    assert w is not None
    sizes = np.abs(w).reshape(len(w), -1).max(1)
    factor = 2.0 ** np.round(np.log2(sizes.max() / sizes))
    return moved(graph, np.arange(len(w)), factor.astype(np.float32))
