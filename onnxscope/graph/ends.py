"""The two ends of the analysed part of a network: the tensor that is the image, and the one to explain."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption
from onnxscope.graph.tensors import Tensor, is_float, shape_of

SCORES = {"Softmax", "LogSoftmax"}
# Operators that may stand between a final softmax and the output, as they do not change the numbers.
TRANSPARENT = {
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
    """The tensor that the analysis takes as the image: the named one, or the only image-like input."""
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
                remedy=f"choose a floating-point tensor that is computed from it{suggestion(graph)}",
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
    """`'a', 'b', 'c'`."""
    return ", ".join(f"'{n}'" for n in names)


def suggestion(graph: gs.Graph) -> str:
    """An example for a remedy: the first floating-point tensor that a node computes."""
    first = next((t.name for n in graph.nodes for t in n.outputs if is_float(t)), None)
    return f", such as --image-input {first}" if first else ""


def find_output(graph: gs.Graph, name: str | None) -> tuple[Tensor, str]:
    """The tensor to explain, and a note about the choice.

    Unless one is named, this is the first floating-point output. Where that is a final softmax, or a final
    sigmoid of a vector, it is the input of that node instead, as the note tells.
    """
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
    final = final_activation(first)
    if final is None or not final.inputs[0].inputs:
        return first, ""
    scores = final.inputs[0]
    return scores, f"'{scores.name}', before the final {final.op}, stands for the output '{first.name}'"


def final_activation(output: Tensor) -> gs.Node | None:
    """The final softmax (or sigmoid of a vector) of an output, which may be reshaped or cast after it."""
    x = output
    while x.inputs:
        node = x.inputs[0]
        is_vector = sum(d != 1 for d in shape_of(node.outputs[0])) <= 1
        if node.op in SCORES or (node.op == "Sigmoid" and is_vector):
            return node
        if node.op not in TRANSPARENT:
            return None
        x = node.inputs[0]
    return None
