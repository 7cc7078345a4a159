"""Small networks for each task: what they give is recognised, and their questions have answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from support import model, node, randn

X = randn(1, 3, 16, 48, seed=3)
CONV = node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1])
TANH = node("Tanh", ["a"], ["t"])


def network(*nodes: onnx.NodeProto, channels: int = 4, **weights: Any) -> onnx.ModelProto:
    given = {"w": randn(channels, 3, 3, 3) / 4, **weights}
    return model([CONV, TANH, *nodes], {"x": X}, ["y"], weights=given, opset=18)


def classifier() -> onnx.ModelProto:
    nodes = [node("Flatten", ["t"], ["f"]), node("MatMul", ["f", "v"], ["s"]), node("Softmax", ["s"])]
    return network(*nodes, v=randn(4 * 16 * 48, 5, seed=1) / 10)


def segmenter() -> onnx.ModelProto:
    nodes = [node("Conv", ["t", "v"], ["s"]), node("Softmax", ["s"], axis=1)]
    return network(*nodes, v=randn(5, 4, 1, 1, seed=1))


def reader() -> onnx.ModelProto:
    nodes = [
        node("AveragePool", ["t"], ["p"], kernel_shape=[16, 2], strides=[16, 2]),
        node("Squeeze", ["p", "two"], ["q"]),
        node("Transpose", ["q"], ["r"], perm=[0, 2, 1]),
        node("MatMul", ["r", "v"], ["s"]),
        node("Softmax", ["s"], axis=2),
    ]
    return network(*nodes, two=np.array([2]), v=randn(4, 12, seed=5) * 9)


def embedder() -> onnx.ModelProto:
    nodes = [
        node("Flatten", ["t"], ["f"]),
        node("MatMul", ["f", "v"], ["e"]),
        node("ReduceL2", ["e", "one"], ["l"], keepdims=1),
        node("Div", ["e", "l"]),
    ]
    return network(*nodes, one=np.array([1]), v=randn(4 * 16 * 48, 6, seed=1) / 10)


def detector() -> onnx.ModelProto:
    """YOLO without anchors: a softmax over bins for each edge, and sigmoids for the classes."""
    nodes = [
        node("Slice", ["x", "zero", "two", "axis"], ["x2"]),
        node("Conv", ["t", "v"], ["h"], kernel_shape=[8, 8], strides=[8, 8]),
        node("Reshape", ["h", "anchors"], ["g"]),
        node("Split", ["g", "parts"], ["b", "c"], axis=1),
        node("Reshape", ["b", "bins"], ["d"]),
        node("Softmax", ["d"], ["p"], axis=2),
        node("Mul", ["p", "middle"], ["m"]),
        node("ReduceSum", ["m", "two"], ["boxes"], keepdims=0),
        node("Sigmoid", ["c"], ["scores"]),
        node("Concat", ["boxes", "scores"], axis=1),
    ]
    return network(
        *nodes[1:],
        v=randn(15, 4, 8, 8, seed=2) / 8,
        anchors=np.array([1, 15, 12]),
        parts=np.array([12, 3]),
        bins=np.array([1, 4, 3, 12]),
        middle=np.float32([4, 8, 16]).reshape(1, 1, 3, 1),
        two=np.array([2]),
    )


def landmarks() -> onnx.ModelProto:
    """Heat maps of five landmarks at a quarter of the size."""
    pooled = node("AveragePool", ["t"], ["p"], kernel_shape=[4, 4], strides=[4, 4])
    heat = node("Conv", ["p", "v"], ["heatmaps"])
    proto = network(pooled, heat, node("Identity", ["heatmaps"]), v=randn(5, 4, 1, 1, seed=4))
    proto.graph.output[0].name = "heatmap"
    proto.graph.node[-1].output[0] = "heatmap"
    return proto


def depth() -> onnx.ModelProto:
    return network(node("Conv", ["t", "v"]), v=randn(1, 4, 1, 1, seed=4))


def centres() -> onnx.ModelProto:
    """A detector by centre heat maps, at a quarter of the size."""
    pooled = node("AveragePool", ["t"], ["p"], kernel_shape=[4, 4], strides=[4, 4])
    heads = [
        node("Conv", ["p", "hv"], ["h"]),
        node("Sigmoid", ["h"], ["hm"]),
        node("Conv", ["p", "sv"], ["s"]),
        node("Exp", ["s"], ["wh"]),
        node("Conv", ["p", "ov"], ["reg"]),
    ]
    weights = {"w": randn(4, 3, 3, 3) / 4, "hv": 9 * randn(3, 4, 1, 1, seed=4)}
    weights |= {"sv": randn(2, 4, 1, 1, seed=5), "ov": randn(2, 4, 1, 1, seed=6) / 4}
    return model([CONV, TANH, pooled, *heads], {"x": X}, ["hm", "wh", "reg"], weights=weights, opset=18)
