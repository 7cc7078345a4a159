"""What a user can choose about a rewrite: one value, from the command line and from Python down to the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxscope.graph.tensors import Shape
from onnxscope.rewriting.steps import Policy

GRADIENT = "gradient"  # the way back that is Fᵀ


@dataclass(frozen=True)
class Options:
    """What is to be analysed, and how."""

    shapes: Mapping[str, Shape] = field(default_factory=dict)  # sizes that the model leaves free
    image: str | None = None  # the tensor that is the image; the only image-like input otherwise
    output: str | None = None  # the tensor to explain; the first output before a softmax otherwise
    policy: Policy = field(default_factory=Policy)
    opaque: frozenset[str] = frozenset()  # nodes or operators that are taken as constant decisions
    method: str | None = None  # what the transposed branch computes: Fᵀ of a model, unless another is named
