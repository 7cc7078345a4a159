"""What a user can choose about a rewrite, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxscope.graph.tensors import Shape
from onnxscope.rewriting.steps import Policy

GRADIENT = "gradient"  # the method whose transposed branch is Fᵀ


@dataclass(frozen=True)
class Options:
    """The choices that the command line and Python hand down to the rewriting of the graph."""

    shapes: Mapping[str, Shape] = field(default_factory=dict)  # of inputs whose sizes the model leaves free
    image: str | None = None  # the tensor that is the image; None for the only image-like input
    output: str | None = None  # the tensor to explain; None for the first output, before a softmax
    policy: Policy = field(default_factory=Policy)
    opaque: frozenset[str] = frozenset()  # nodes or operators that are taken as constant decisions
    method: str | None = None  # what the transposed branch computes; None for Fᵀ, or for a scope's own method
    free_size: bool = False  # whether the scope leaves height and width free, as the model does
