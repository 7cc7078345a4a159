"""What the operators at a network's input do to its pixels, and which preprocessing that tells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.files.preprocessing import PRESETS, per_channel
from onnxscope.graph.tensors import Tensor, is_known, shape_of, values_of

CANDIDATES = ("unit", "signed", "centred", "imagenet", "caffe", "raw")
ALIKE = {"centred": "signed"}  # their values are 0.4 % apart: only statistics of the very picture tell
MOVING = {"Identity", "Cast", "Pad", "Resize", "Upsample", "Dropout", "Reshape", "Squeeze", "Unsqueeze"}
ARITHMETIC = {"Add", "Sub", "Mul", "Div"}
NEAR = 0.04  # of the range of values, by which two preprocessings may differ and be the same
USUAL_LEVEL, USUAL_DEVIATION = 118.0, 58.0  # of the pixels of photographs
Line = tuple[np.ndarray, np.ndarray]  # value = slope·pixel + shift, for each channel


def affine(name: str, order: str, channels: int) -> Line:
    """A preset as slope and shift of each channel, in the order of the channels that the network sees."""
    p = PRESETS[name]
    mean, std = (np.array(per_channel(v, channels, "--preset")) for v in (p.mean, p.std))
    if channels == 3 and order != p.channels:
        mean, std = mean[::-1], std[::-1]
    return p.scale / std, -mean / std


def meant(graph: gs.Graph, pixels: Tensor, axis: int) -> tuple[str, str, str] | None:
    """The preset, the order of the channels and the evidence, if the operators at the input tell it."""
    quantized = in_range(graph, pixels)
    if quantized is not None:
        return quantized
    slope, shift, seen = followed(graph, pixels, axis)
    if not seen:
        return None
    orders = ("rgb", "bgr") if len(slope) == 3 else ("luma",)
    hits = {(n, o) for n in ("raw", "unit", "signed") for o in orders if is_target(n, o, slope, shift)}
    names = {name for name, _ in hits} or {n for n in ("raw", "unit") if is_normal(n, slope, shift)}
    if len(names) != 1:
        return None
    (name,) = names
    turned = hits == {(name, "bgr")}
    figures = f"slope {listed(slope)} and shift {listed(shift)}"
    return name, "bgr" if turned else "", f"the operators at the input ({', '.join(seen)}) have {figures}"


def listed(values: np.ndarray) -> str:
    """One figure where all are the same, else all."""
    same = np.allclose(values, values[0], rtol=1e-4)
    return ", ".join(f"{v:.4g}" for v in (values[:1] if same else values))


def is_target(name: str, order: str, slope: np.ndarray, shift: np.ndarray) -> bool:
    """Whether pixels under a preset become those under another one.

    Orders differ only in means and deviations that differ between the colours.
    """
    first, second = affine(name, "rgb", len(slope))
    low, high = slope * second + shift, slope * (255 * first + second) + shift
    for other in {*CANDIDATES} - {name, *(n for n, family in ALIKE.items() if family == name)}:
        a, b = affine(other, order, len(slope))
        close = NEAR * 255 * a
        if (abs(low - b) < close).all() and (abs(high - 255 * a - b) < close).all():
            return True
    return False


def is_normal(name: str, slope: np.ndarray, shift: np.ndarray) -> bool:
    """Whether pixels under a preset come to lie around 0, at a usual scale or at their own."""
    first, second = affine(name, "rgb", len(slope))
    a, b = slope * first, slope * second + shift
    scaled = ((a * USUAL_DEVIATION > 0.15) & (a * USUAL_DEVIATION < 1.8)) | (abs(a - 1) < 0.02)
    centre = abs(a * USUAL_LEVEL + b)
    return bool(scaled.all() and (centre < 0.35 * a * USUAL_DEVIATION).all())


def in_range(graph: gs.Graph, pixels: Tensor) -> tuple[str, str, str] | None:
    """What a QuantizeLinear at the input tells by the range of numbers that it can write."""
    nodes = readers(graph, pixels)
    if (
        len(nodes) != 1
        or nodes[0].op != "QuantizeLinear"
        or not all(is_known(t) for t in nodes[0].inputs[1:])
    ):
        return None
    scale, *zeros = (values_of(t).reshape(-1) for t in nodes[0].inputs[1:3])
    zero = zeros[0] if zeros else np.zeros(1, np.uint8)
    symmetric = zero.dtype == np.int8 and zero[0] == 0  # does not tell where the pixels begin
    if len(scale) != 1 or zero.dtype not in (np.uint8, np.int8) or symmetric:
        return None
    limits = np.iinfo(zero.dtype)
    low, high = ((float(end) - float(zero[0])) * float(scale[0]) for end in (limits.min, limits.max))
    for name in ("unit", "signed", "raw"):
        (a, *_), (b, *_) = affine(name, "rgb", 3)
        if abs(low - b) < NEAR * 255 * a and abs(high - 255 * a - b) < NEAR * 255 * a:
            return name, "", f"the QuantizeLinear at the input has the range {low:.3g} to {high:.3g}"
    return None


def readers(graph: gs.Graph, x: Tensor) -> list[gs.Node]:
    """The nodes that read a tensor's values, and not its shape alone."""
    return [n for n in graph.nodes if n.op != "Shape" and any(t.name == x.name for t in n.inputs)]


def followed(graph: gs.Graph, pixels: Tensor, axis: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What the operators up to the first other one compute of each channel, and those that change numbers."""
    count = shape_of(pixels)[axis]
    slope, shift = np.ones(count), np.zeros(count)
    seen: list[str] = []
    for node, x, at in steps(graph, pixels, axis):
        line = line_of(node, x, at, count)
        if line is None:
            break
        if node.op in ARITHMETIC or node.op == "BatchNormalization":
            seen.append(node.op)
        slope, shift = slope * line[0], shift * line[0] + line[1]
    return slope, shift, seen


def steps(graph: gs.Graph, x: Tensor, axis: int) -> Iterator[tuple[gs.Node, Tensor, int]]:
    """The operators that the picture passes one after another, with what they read and its channels' axis."""
    count = shape_of(x)[axis]
    while len(nodes := readers(graph, x)) == 1:
        (node,) = nodes
        yield node, x, axis
        x = node.outputs[0]
        if node.op == "Transpose":
            axis = list(node.attrs["perm"]).index(axis)
        if x.shape is None or len(x.shape) <= axis or shape_of(x)[axis] != count:
            return


def line_of(node: gs.Node, x: Tensor, axis: int, count: int) -> Line | None:
    """What an operator does to each channel; None where that is not the same for all its pixels."""
    one, zero = np.ones(count), np.zeros(count)
    if node.op in MOVING or node.op == "Transpose":
        return one, zero
    if node.op == "BatchNormalization" and axis == 1 and all(is_known(t) for t in node.inputs[1:]):
        gain, bias, mean, variance = (values_of(t).astype(np.float64) for t in node.inputs[1:5])
        gain = gain / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
        return gain, bias - gain * mean
    if node.op not in ARITHMETIC:
        return None
    first, second = node.inputs
    other = second if first.name == x.name else first
    if not is_known(other) or (node.op == "Div" and other is first):
        return None
    c = of_channels(values_of(other).astype(np.float64), len(shape_of(x)), axis, count)
    if c is None or (node.op == "Div" and not c.all()):
        return None
    turned = other is first
    return {
        "Add": (one, c),
        "Sub": (-one, c) if turned else (one, -c),
        "Mul": (c, zero),
        "Div": (1 / np.where(c == 0, 1, c), zero),
    }[node.op]


def of_channels(values: np.ndarray, rank: int, axis: int, count: int) -> np.ndarray | None:
    """A constant as one number for each channel; None where it has another shape, such as more axes."""
    if values.ndim > rank:
        return None
    wide = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if wide.shape[axis] not in (1, count):
        return None
    means = wide.mean(tuple(k for k in range(rank) if k != axis))
    return np.broadcast_to(means, (count,)).astype(np.float64)
