"""Which nodes of two exports belong together, and the proof: they compute what the layer gives in torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from torch import nn

from diff.exports import CARRIERS, Export, NoTruth
from diff.layers import Network

WEIGHTED = ("Conv", "Gemm", "MatMul", "Attention")  # parts of the operators' names
TIGHT, LOOSE = 2e-3, 0.6  # how far values may be from torch's, relative to their spread
Groups = list[tuple[list[str], list[str]]]  # names in A and names in B


@dataclass
class Side:
    """What one export has for each layer."""

    names: dict[str, set[str]]  # every name that stands for the layer
    cores: dict[str, list[onnx.NodeProto]]  # the nodes that compute it
    merged: list[list[str]]  # layers that one node computes


def name_of(node: onnx.NodeProto) -> str:
    return node.name or next(o for o in node.output if o)


def side(export: Export) -> Side:
    """The nodes of each layer, and the conversions around them."""
    found = Side(defaultdict(set), defaultdict(list), [])
    owners: dict[str, list[str]] = {}  # layers by tensor
    graph = export.model.graph
    for node in graph.node:
        layers = export.layers.get(node.output[0], [])
        if node.op_type in CARRIERS and not layers:
            layers = owners.get(node.input[0], [])
        else:
            found.merged += [layers] if len(layers) > 1 else []
            for layer in layers:
                found.cores[layer].append(node)
        for layer in layers:
            found.names[layer].add(name_of(node))
        owners[node.output[0]] = layers
    for layer, nodes in found.cores.items():
        for node in nodes:
            found.names[layer] |= {name_of(n) for n in dequantizers(node, graph)}
    return found


def dequantizers(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The pairs of quantization that a node reads through: of its inputs and of its weights."""
    makers = {o: n for n in graph.node for o in n.output}
    found: list[onnx.NodeProto] = []
    waiting = list(node.input)
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is not None and maker.op_type in ("QuantizeLinear", "DequantizeLinear"):
            found.append(maker)
            waiting += maker.input[:1]
    return found


def groups(network: Network, a: Export, b: Export) -> dict[str, Any]:
    """The truth about a pair: `pairs` have to be matched, `also` may be, and nothing else."""
    one, two = side(a), side(b)
    parent = {layer: layer for layer in network.layers}

    def root(layer: str) -> str:
        while parent[layer] != layer:
            layer = parent[layer]
        return layer

    for first, *others in one.merged + two.merged:
        for other in others:
            parent[root(other)] = root(first)
    members: dict[str, list[str]] = defaultdict(list)
    for layer in sorted(network.layers, key=lambda name: network.layers[name].order):
        members[root(layer)].append(layer)
    truth: dict[str, Any] = {"pairs": [], "also": [], "only_a": [], "only_b": [], "layers": []}
    for layers in members.values():
        left, right = (sorted(set().union(*(s.names[x] for x in layers))) for s in (one, two))
        if left and right:
            needed = counts(network, layers, one, two)
            truth["pairs" if needed else "also"].append([left, right])
            truth["layers"] += [" + ".join(layers)] if needed else []
        else:
            truth["only_a"] += left
            truth["only_b"] += right
    return truth


def counts(network: Network, layers: list[str], one: Side, two: Side) -> bool:
    """Whether a layer has to be matched: it has weights, or is one node on both sides."""
    nodes = [[n for layer in layers for n in s.cores[layer]] for s in (one, two)]
    if all(any(w in n.op_type for n in part for w in WEIGHTED) for part in nodes):
        return True
    return any(
        network.layers[layer].single and len(one.cores[layer]) == len(two.cores[layer]) == 1
        for layer in layers
    )


def check(network: Network, export: Export) -> float:
    """Run the file and compare each layer with torch; the largest distance of a layer from its values."""
    last: dict[str, tuple[str, list[str]]] = {}  # the tensor that holds each layer's value, or a later one's
    for node in export.model.graph.node:
        layers = export.layers.get(node.output[0], [])
        last |= dict.fromkeys(layers, (node.output[0], layers))
    if missing := network.layers.keys() - last:
        raise NoTruth(f"no node is known for {', '.join(sorted(missing))}")
    values = run(export, sorted({tensor for tensor, _ in last.values()}), network.image)
    worst = 0.0
    for tensor, layers in last.values():
        if isinstance(network.module.get_submodule(layers[-1]), nn.Flatten | nn.ReflectionPad2d):
            continue  # only moves values, whose order depends on the layout and whose range on the image's
        apart = {x: distance(values[tensor], y.output, export.loose) for x, y in network.layers.items()}
        own, nearest = min(apart[layer] for layer in layers), min(apart, key=lambda x: apart[x])
        bound, more = (LOOSE, 0.02 + apart[nearest]) if export.loose else (TIGHT, 1e-6)
        if own > min(bound, apart[nearest] + more):
            raise NoTruth(
                f"'{tensor}' is off {', '.join(layers)} by {own:.1e}, off {nearest} by {apart[nearest]:.1e}"
            )
        worst = max(worst, own)
    return worst


def run(export: Export, names: list[str], image: np.ndarray) -> dict[str, np.ndarray]:
    """Values inside a file for a picture, as float64."""
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    held = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in held)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    kind = session.get_inputs()[0]
    fed = export.feed(image[None].astype(np.float32) / 255)
    fed = fed.astype(np.float16 if "float16" in kind.type else np.float32)
    made = session.run(names, {kind.name: fed})
    return {name: np.asarray(value, np.float64) for name, value in zip(names, made, strict=True)}


def distance(value: np.ndarray, reference: np.ndarray, loose: bool) -> float:
    """How far a value is from a layer's, in either order of the axes; if `loose`, after the best scale and shift."""
    if value.size != reference.size:
        return np.inf
    forms = [value.reshape(-1)] if unsqueezed(value) == unsqueezed(reference) else []
    if value.ndim == 4:
        turned = value.transpose(0, 3, 1, 2)
        forms += [turned.reshape(-1)] if unsqueezed(turned) == unsqueezed(reference) else []
    wanted = reference.reshape(-1).astype(np.float64)
    return min((apart(form, wanted, loose) for form in forms), default=np.inf)


def unsqueezed(value: np.ndarray) -> list[int]:
    return [n for n in value.shape if n > 1]


def apart(value: np.ndarray, wanted: np.ndarray, loose: bool) -> float:
    spread = np.linalg.norm(wanted - wanted.mean()) or 1.0
    if not loose:
        return float(np.linalg.norm(value - wanted) / spread)
    centred, aim = value - value.mean(), wanted - wanted.mean()
    size = np.linalg.norm(centred)
    agreement = float(centred @ aim) / (size * spread) if size else 0.0
    return float(np.sqrt(max(0.0, 1 - max(agreement, 0.0) ** 2)))
