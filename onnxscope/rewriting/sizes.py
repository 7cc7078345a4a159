"""The sizes of a picture that a model leaves free, and the record of them in a scope's file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onnxscope.errors import BadModel, BadOption, shape_text
from onnxscope.files.models import Model
from onnxscope.files.pixels import channels_axis
from onnxscope.rewriting.formulas import Formula
from onnxscope.rewriting.scope_checks import damaged

RECORD = "onnxscope.free_sizes"  # its key in a scope's metadata
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)  # networks take any size, or multiples of one of these


@dataclass(frozen=True)
class FreeSizes:
    """The axes of a model's input whose sizes a scope leaves free, and the shapes that follow from them."""

    input: str
    axes: tuple[int, ...]
    step: int  # the sizes are multiples of it
    probe: tuple[tuple[int, ...], ...]  # the formula of each size but the leading one
    cotangent: tuple[tuple[int, ...], ...]
    checksum: tuple[int, ...] = ()  # the formula of the weighted sum of the sizes of all tensors

    @classmethod
    def of_text(cls, text: str) -> FreeSizes:
        """The inverse of `str`; refuses what others have changed."""
        try:
            held: dict[str, Any] = json.loads(text)
            rows = {name: tuple(map(tuple, held[name])) for name in ("probe", "cotangent")}
            axes, step, checksum = tuple(held["axes"]), held["step"], tuple(held["checksum"])
            numbers = [*axes, step, *checksum, *(n for name in rows for row in rows[name] for n in row)]
            sound = (
                all(type(n) is int for n in numbers)
                and step in STEPS
                and axes
                and set(axes) <= set(range(1, 4))
            )
            if sound and isinstance(held["input"], str):
                return cls(held["input"], axes, step, **rows, checksum=checksum)
            problem = "its numbers are not those of sizes"
        except (LookupError, ValueError, TypeError) as error:
            problem = repr(error)
        raise damaged(f"its record of free sizes: {problem}", "metadata")

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    def steps_in(self, shape: Sequence[int]) -> list[int]:
        """The free sizes in a shape of the input, counted in steps."""
        sizes = [shape[axis] for axis in self.axes]
        if any(size % self.step for size in sizes):
            raise BadOption(
                f"its free sizes are multiples of {self.step}, and {shape_text(shape)} has others",
                where=f"input '{self.input}'",
                remedy="choose another size, or rewrite the model for this one with --input-shape",
            )
        return [size // self.step for size in sizes]

    def shape_of(self, rows: Sequence[Sequence[int]], shape: Sequence[int]) -> list[int]:
        """The sizes that follow by these formulas from the shape of the input."""
        return [int(v) for v in Formula(np.array(rows, np.int64)).at(self.steps_in(shape))] if rows else []


def free_sizes_of(model: Model) -> FreeSizes | None:
    """The sizes that the file of a scope leaves free, if any."""
    held = {p.key: p.value for p in model.proto.metadata_props}
    try:
        return FreeSizes.of_text(held[RECORD]) if RECORD in held else None
    except (LookupError, ValueError, TypeError, RecursionError) as error:
        raise BadModel(
            f"the scope is damaged ({error!r})",
            where=f"'{model.path}'",
            remedy="write it again with 'onnxscope rewrite'",
        ) from error


def input_sizes(model: Model) -> dict[str, list[int]]:
    """The sizes of each input of a model, 0 where they are free."""
    constants = {t.name for t in model.proto.graph.initializer}  # old files list them among the inputs
    inputs = [i for i in model.proto.graph.input if i.name not in constants]
    return {i.name: [max(d.dim_value, 0) for d in i.type.tensor_type.shape.dim] for i in inputs}


def free_input(model: Model, layout: str = "auto") -> tuple[str, list[int], tuple[int, int]] | None:
    """The input that has free sizes: its name, its shape with 0 where free, its axes of rows and columns."""
    scope, sizes = free_sizes_of(model), input_sizes(model)
    if scope is not None:  # its probe and its cotangent have free sizes, too
        if scope.input not in sizes:
            raise damaged(f"no input '{scope.input}'", "metadata")
        sizes = {scope.input: sizes[scope.input]}
    free = {
        name: [1, *shape[1:]]
        for name, shape in sizes.items()
        if len(shape) == 4 and shape[0] in (0, 1) and 0 in shape[1:]
    }
    if len(free) != 1:
        return None
    ((name, shape),) = free.items()
    channels = channels_axis(shape, layout)
    rows, columns = (axis for axis in (1, 2, 3) if axis != channels)
    return (name, shape, (rows, columns)) if shape[channels] else None
