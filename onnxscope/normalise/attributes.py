"""All attributes of a node in the normal dialect: those that are written, and defaults for the others.

A written model keeps exactly the attributes that its exporter gave it. The defaults are filled in here, when
a node is read, and nowhere else: rules and transposes find every attribute that the operator has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import helper

from onnxscope.graph.tensors import shape_of


def attributes(node: gs.Node, opset: int) -> dict[str, Any]:
    """All attributes of a node; axes are counted from the front."""
    found = {**defaults(node.op, opset), **BY_RANK.get(node.op, lambda _: {})(node), **node.attrs}
    for name in ("axis", "axes"):
        if name in found:
            found[name] = from_the_front(found[name], len(shape_of(node.inputs[0])))
    return found


def from_the_front(axis: Any, rank: int) -> Any:
    """An axis, or every axis of a list, counted from the front."""
    if isinstance(axis, int):
        return axis + rank if axis < 0 else axis
    return [from_the_front(a, rank) for a in axis]


@cache
def defaults(op: str, opset: int) -> Mapping[str, Any]:
    """The defaults that an operator's schema states as values."""
    known = onnx.defs.get_schema(op, opset).attributes
    values = {
        name: helper.get_attribute_value(a.default_value) for name, a in known.items() if a.default_value.name
    }
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


def sliding(rank: int) -> dict[str, list[int]]:
    """The defaults of a window that slides over so many axes."""
    return {
        "strides": [1] * rank,
        "dilations": [1] * rank,
        "pads": [0] * 2 * rank,
        "output_padding": [0] * rank,
    }


def of_image(node: gs.Node) -> dict[str, Any]:
    """Windows slide over all axes but the batch and the channels."""
    return sliding(len(shape_of(node.inputs[0])) - 2)


def window(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Those attributes of a convolution that define how its kernel slides."""
    return {name: attrs[name] for name in ("strides", "dilations", "pads", "group")}


WINDOWED = (
    "AveragePool",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DeformConv",
    "LpPool",
    "MaxPool",
    "MaxUnpool",
    "QLinearConv",
)
BY_RANK: dict[str, Callable[[gs.Node], dict[str, Any]]] = {  # the defaults that the standard states in words
    **dict.fromkeys(WINDOWED, of_image),
    "Col2Im": lambda node: sliding(shape_of(node.inputs[1])[0]),
    "Resize": lambda node: {"axes": list(range(len(shape_of(node.inputs[0]))))},
    "Transpose": lambda node: {"perm": list(range(len(shape_of(node.inputs[0]))))[::-1]},
}
