"""Faults in what a layer stores: weights, biases, slopes, statistics."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx

from diff.graph import Graph, attribute, set_attribute
from diff.kinds import CLASSIFIERS, CONVOLUTIONS, Done, Edit, Kind, at, hosts

Random = np.random.Generator


def changed(index: int, how: Any, fault: str) -> Edit:
    """An edit that replaces a node's stored input by a function of it; None from the function means not here."""

    def edit(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
        value = graph.array(node, index)
        new = None if value is None else how(value)
        if new is None:
            return None
        graph.put(node, index, np.asarray(new, value.dtype if value is not None else None))
        return at(graph, node, fault)

    return edit


def exchanged(w: np.ndarray) -> np.ndarray | None:
    return w.swapaxes(0, 1) if w.ndim == 4 and w.shape[0] == w.shape[1] else None


def kernel_transposed(w: np.ndarray) -> np.ndarray | None:
    return w.swapaxes(2, 3) if w.ndim == 4 and w.shape[2] == w.shape[3] > 1 else None


def flipped(w: np.ndarray) -> np.ndarray | None:
    return w[:, :, ::-1, ::-1] if w.ndim == 4 and w.shape[2] > 1 else None


def colours_exchanged(w: np.ndarray) -> np.ndarray | None:
    return w[:, ::-1] if w.shape[1] == 3 else None


def in_four_bits(w: np.ndarray) -> np.ndarray:
    step = np.abs(w).max() / 7
    return np.asarray(np.round(w / step) * step)


def in_bfloat16(w: np.ndarray) -> np.ndarray:
    return np.asarray(w.astype(ml_dtypes.bfloat16).astype(w.dtype))


def one_filter_zeroed(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    w = graph.array(node, 1)
    if w is None:
        return None
    w = w.copy()
    chosen = int(np.argmax(np.abs(w).reshape(len(w), -1).sum(1)))
    w[chosen] = 0
    graph.put(node, 1, w)
    return at(graph, node, f"filter {chosen} is zero")


def filters_permuted(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    w, b = graph.array(node, 1), graph.array(node, 2)
    if w is None or len(w) < 4:
        return None
    first, second = sorted(int(k) for k in random.choice(len(w), 2, replace=False))
    order = np.arange(len(w))
    order[[first, second]] = second, first
    graph.put(node, 1, w[order])
    if b is not None:
        graph.put(node, 2, b[order])
    return at(graph, node, f"channels {first} and {second} of what it gives are exchanged")


def another_bias(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    own = graph.array(node, 2)
    if own is None:
        return None
    for other in graph.of_type(node.op_type):
        found = graph.array(other, 2)
        if other.name != node.name and found is not None and found.shape == own.shape:
            graph.put(node, 2, found)
            return at(graph, node, f"it has the bias of {other.name}")
    return None


def lost_bias(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    if graph.array(node, 2) is None:
        return None
    del node.input[2]
    graph.without_unused()
    return at(graph, node, "its bias is lost")


def groups_shuffled(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    groups, w = attribute(node, "group", 1), graph.array(node, 1)
    if groups == 1 or w is None:
        return None
    order = np.roll(np.arange(len(w)).reshape(groups, -1), 1, axis=0).ravel()
    graph.put(node, 1, w[order])
    return at(graph, node, "its groups have each other's weights")


def dense_not_transposed(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    w = graph.array(node, 1)
    if w is None or w.shape[0] != w.shape[1]:
        return None
    set_attribute(node, "transB", 1 - attribute(node, "transB", 0))
    return at(graph, node, "its weights are read transposed")


def constant_doubled(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    for index in (0, 1):
        value = graph.array(node, index)
        if value is not None:
            graph.put(node, index, np.asarray(2 * value, value.dtype))
            return at(graph, node, "its constant is doubled")
    return None


def statistics_exchanged(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    scale, shift = graph.array(node, 1), graph.array(node, 3)
    if scale is None or shift is None:
        return None
    graph.put(node, 3, np.zeros_like(shift))
    return at(graph, node, "the mean that it takes away is lost")


CONV = ("Conv",)
MULS = ("edsr_small", *hosts("transpose", "clip", "softmax"))
FILES_WITH_BIAS = ("scenes_vgg", "scenes_resnet_torch", "pixelshuffle_small", "edsr_small")
COLOURED = ("scenes_vgg", "pixelshuffle_small", "scenes_resnet", "scenes_labels")
DEPTHS = ("scenes_vgg_bn", "scenes_resnet", "tiny_scores")

KINDS = [
    Kind("weights-transposed", CONV, CONVOLUTIONS, changed(1, exchanged, "inputs and outputs are exchanged")),
    Kind(
        "kernel-transposed", CONV, CONVOLUTIONS, changed(1, kernel_transposed, "rows and columns exchanged")
    ),
    Kind("kernel-flipped", CONV, CONVOLUTIONS, changed(1, flipped, "its kernel is turned by 180 degrees")),
    Kind("filter-zeroed", CONV, CONVOLUTIONS, one_filter_zeroed),
    Kind("filters-permuted", CONV, CONVOLUTIONS, filters_permuted),
    Kind("bgr-for-rgb", CONV, COLOURED, changed(1, colours_exchanged, "it reads the colours as BGR")),
    Kind("weights-negated", CONV, CONVOLUTIONS, changed(1, np.negative, "its weights have the wrong sign")),
    Kind("weights-4-bit", CONV, CONVOLUTIONS, changed(1, in_four_bits, "its weights are rounded to 4 bits")),
    Kind("weights-bfloat16", CONV, CONVOLUTIONS, changed(1, in_bfloat16, "its weights are bfloat16"), 1e-4),
    Kind("bias-lost", (*CONV, "Gemm"), FILES_WITH_BIAS, lost_bias),
    Kind("bias-of-another", CONV, FILES_WITH_BIAS, another_bias),
    Kind("groups-shuffled", CONV, hosts("group"), groups_shuffled),
    Kind("dense-transposed", ("Gemm",), hosts("relu"), dense_not_transposed),
    Kind("dense-4-bit", ("Gemm",), CLASSIFIERS, changed(1, in_four_bits, "its weights are rounded to 4 bits")),
    Kind("constant-doubled", ("Mul",), MULS, constant_doubled),
    Kind("mean-lost", ("BatchNormalization",), DEPTHS, statistics_exchanged),
    Kind("prelu-slope", ("PRelu",), hosts("prelu"), changed(1, lambda s: s[::-1], "slopes of other channels")),
]  # fmt: skip
