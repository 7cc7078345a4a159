"""The choices about a rewrite, as Python gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from onnxscope.rewriting.options import Options
from onnxscope.rewriting.steps import FREEZE, Policy

Given = np.ndarray | Mapping[str, np.ndarray]  # an image, or all inputs by their names


class Choices(TypedDict, total=False):
    """The choices about a rewrite. The command line has them as options."""

    input_shapes: Mapping[str, Sequence[int]]  # of inputs whose sizes the model leaves free
    image: str | Given | None  # its tensor (default: the only image-like input), or values to decide by
    output: str | None  # the tensor to explain; by default the first output, before its final activation
    policy: str | None  # how non-linear nodes are frozen: freeze (the default) or taylor
    policy_for: Mapping[str, str]  # another policy for a node or an operator, by its name
    opaque: Iterable[str]  # nodes or operators that are taken as constant decisions
    method: str | None  # of the transposed branch: gradient (Fᵀ, the default) or an explanation method
    free_size: bool  # leave height and width of the image free, as the model does: for rewrite and verify


def options_of(chosen: Choices) -> Options:
    """The choices as the one value that the rewriting takes."""
    return Options(
        {name: tuple(shape) for name, shape in (chosen.get("input_shapes") or {}).items()},
        name if isinstance(name := chosen.get("image"), str) else None,
        chosen.get("output"),
        Policy(chosen.get("policy") or FREEZE, chosen.get("policy_for") or {}),
        frozenset(chosen.get("opaque") or ()),
        chosen.get("method") or None,
        chosen.get("free_size", False),
    )


def given_in(chosen: Choices) -> Given | None:
    """The values of an image among the choices."""
    image = chosen.get("image")
    return None if isinstance(image, str) else image
