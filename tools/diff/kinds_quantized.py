"""Faults in quantized networks: zero points, scales, ranges."""

from __future__ import annotations

import numpy as np
import onnx

from diff.graph import Graph, attribute, name_of, set_attribute
from diff.kinds import QUANTIZED, Done, Kind

Random = np.random.Generator


def neighbours(graph: Graph, node: onnx.NodeProto, *, reader: bool = False) -> list[str]:
    """The names of a DequantizeLinear, of its QuantizeLinear, and of the layer whose values or weights they hold."""
    found = [name_of(node)]
    before = graph.producer(node.input[0])
    readers = graph.consumers(node.output[0])
    if before is not None:
        found.append(name_of(before))
        source = graph.producer(before.input[0])
        found += [name_of(source)] if source is not None else []
    if (before is None or reader) and len(readers) == 1:
        found.append(name_of(readers[0]))
    return found


def done(graph: Graph, node: onnx.NodeProto, fault: str, *, reader: bool = False) -> Done:
    names = neighbours(graph, node, reader=reader)
    return Done(f"{name_of(node)}: {fault}", names, names, name_of(node))


def of_activation(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether values inside the network pass here: neither weights, nor the image, nor the output."""
    before = graph.producer(node.input[0])
    return before is not None and graph.producer(before.input[0]) is not None


def of_weights(graph: Graph, node: onnx.NodeProto) -> bool:
    stored = graph.array(node, 0)
    return stored is not None and stored.dtype in (np.int8, np.uint8) and stored.ndim > 1


def zero_point_off(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    zero = graph.array(node, 2)
    if not of_activation(graph, node) or zero is None:
        return None
    limits = np.iinfo(zero.dtype)
    new = zero.astype(np.int64) + 8
    graph.put(node, 2, np.where(new > limits.max, new - 16, new).astype(zero.dtype))
    return done(graph, node, "its zero point is off by 8", reader=True)


def weights_zero_point_off(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    zero = graph.array(node, 2)
    if not of_weights(graph, node) or zero is None:
        return None
    graph.put(node, 2, (zero + 2).astype(zero.dtype))
    return done(graph, node, "the weights' zero point is off by 2")


def scale_doubled(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    scale = graph.array(node, 1)
    if not of_activation(graph, node) or scale is None:
        return None
    graph.put(node, 1, (2 * scale).astype(scale.dtype))
    return done(graph, node, "its scale is twice as large", reader=True)


def weights_scale_halved(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    scale = graph.array(node, 1)
    if not of_weights(graph, node) or scale is None:
        return None
    graph.put(node, 1, (scale / 2).astype(scale.dtype))
    return done(graph, node, "the weights' scale is half as large")


def one_scale_for_all(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    scale, stored, zero = (graph.array(node, k) for k in (1, 0, 2))
    if not of_weights(graph, node) or scale is None or stored is None or zero is None or scale.size == 1:
        return None
    axis = attribute(node, "axis", 1)
    shape = [-1 if k == axis else 1 for k in range(stored.ndim)]
    values = (stored.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
    one = np.abs(values).max() / 127
    graph.put(node, 0, np.clip(np.round(values / one), -127, 127).astype(stored.dtype))
    graph.put(node, 1, np.array(one, scale.dtype))
    graph.put(node, 2, np.array(0, zero.dtype))
    set_attribute(node, "axis", None)
    return done(graph, node, "one scale for all channels in place of one for each")


def scales_of_other_channels(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    scale = graph.array(node, 1)
    if not of_weights(graph, node) or scale is None or scale.size == 1:
        return None
    graph.put(node, 1, np.roll(scale, 1))
    return done(graph, node, "its scales belong to the neighbouring channels")


def range_cut(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    before, scale = graph.producer(node.input[0]), graph.array(node, 1)
    if before is None or not of_activation(graph, node) or scale is None:
        return None
    graph.put(node, 1, (scale / 4).astype(scale.dtype))
    before.input[1] = node.input[1]
    graph.without_unused()
    return done(graph, node, "its range is a quarter of what it should be")


def bias_scale_off(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    stored = graph.array(node, 0)
    if stored is None or stored.dtype != np.int32:
        return None
    graph.put(node, 0, 4 * stored)
    return done(graph, node, "its bias was quantized with a scale that is four times too small")


DEQUANTIZE = ("DequantizeLinear",)
KINDS = [
    Kind("zero-point", DEQUANTIZE, QUANTIZED, zero_point_off),
    Kind("weights-zero-point", DEQUANTIZE, QUANTIZED, weights_zero_point_off),
    Kind("scale-doubled", DEQUANTIZE, QUANTIZED, scale_doubled),
    Kind("weights-scale-halved", DEQUANTIZE, QUANTIZED, weights_scale_halved),
    Kind("per-tensor-scale", DEQUANTIZE, QUANTIZED, one_scale_for_all),
    Kind("scales-of-others", DEQUANTIZE, QUANTIZED, scales_of_other_channels),
    Kind("range-cut", DEQUANTIZE, QUANTIZED, range_cut),
    Kind("bias-scale", DEQUANTIZE, QUANTIZED, bias_scale_off),
]
