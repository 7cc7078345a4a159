"""The two ends of the analysis: which tensor is the image, and which one is explained."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption
from onnxscope.graph.tensors import Tensor, is_float, shape_of

SCORES = {"Softmax", "LogSoftmax"}
PASSED_BY = {
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Cast",
    "QuantizeLinear",
    "DequantizeLinear",
}


def find_image(graph: gs.Graph, name: str | None) -> Tensor:
    """The tensor that the analysis takes as the image."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs} | {t.name: t for t in graph.inputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(
                f"the model has no tensor '{name}'",
                where="--image-input",
                remedy=f"choose one of {listed(t.name for t in graph.inputs)}",
            )
        if not is_float(tensors[name]):
            raise BadOption(
                f"tensor '{name}' holds no floating-point numbers",
                where="--image-input",
                remedy=f"choose a floating-point tensor behind it{suggestion(graph)}",
            )
        return tensors[name]
    floats = [t for t in graph.inputs if is_float(t)]
    if not floats:
        raise BadModel(
            "no input holds floating-point numbers",
            remedy=f"name the first floating-point tensor with --image-input{suggestion(graph)}",
        )
    images = [t for t in floats if len(t.shape) >= 3] or floats
    if len(images) > 1:
        raise BadOption(
            f"several inputs could be the image: {listed(t.name for t in images)}",
            where="--image-input",
            remedy=f"choose one, such as --image-input {images[0].name}",
        )
    return images[0]


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)


def suggestion(graph: gs.Graph) -> str:
    first = next((t.name for n in graph.nodes for t in n.outputs if is_float(t)), None)
    return f", such as --image-input {first}" if first else ""


def find_output(graph: gs.Graph, name: str | None) -> tuple[Tensor, str]:
    """The tensor that is explained, and what to say about the choice: the first output, before a final softmax."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(
                f"the model has no tensor '{name}'",
                where="--output",
                remedy=f"choose one of {listed(t.name for t in graph.outputs)}",
            )
        return tensors[name], ""
    first = next((t for t in graph.outputs if is_float(t)), None)
    if first is None:
        last = next((t.name for n in reversed(graph.nodes) for t in n.outputs if is_float(t)), "")
        raise BadModel(
            "no output holds floating-point numbers",
            remedy="name a floating-point tensor with --output"
            + (f", such as --output {last}" if last else ""),
        )
    x = first
    while x.inputs:
        node = x.inputs[0]
        vector = sum(d != 1 for d in shape_of(node.outputs[0])) <= 1
        if node.op in SCORES or (node.op == "Sigmoid" and vector):
            scores = node.inputs[0]
            if not scores.inputs:
                break
            return (
                scores,
                f"'{scores.name}', before the final {node.op}, stands for the output '{first.name}'",
            )
        if node.op not in PASSED_BY:
            break
        x = node.inputs[0]
    return first, ""
