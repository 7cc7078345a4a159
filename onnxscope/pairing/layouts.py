"""How one tensor's numbers lie in another's shape: a chain of Reshape and Transpose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Shape, Tensor, shape_of

RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
VIEWS = {*RESHAPES, "Transpose"}  # operators that only say how the same numbers lie
MOST_AXES = 5  # of a tensor whose axes are tried in every order


@dataclass(frozen=True)
class Layout:
    """Steps from one shape to another. A step is a shape to reshape to, or an order of axes."""

    start: Shape
    steps: tuple[tuple[str, Shape], ...] = ()

    @property
    def end(self) -> Shape:
        shape = self.start
        for op, numbers in self.steps:
            shape = numbers if op == "Reshape" else tuple(shape[k] for k in numbers)
        return shape

    def reshaped(self, shape: Shape) -> Layout:
        if shape == self.end:
            return self
        kept = self.steps[:-1] if self.steps and self.steps[-1][0] == "Reshape" else self.steps
        shorter = Layout(self.start, kept)
        return shorter if shape == shorter.end else Layout(self.start, (*kept, ("Reshape", shape)))

    def transposed(self, perm: Shape) -> Layout:
        if self.steps and self.steps[-1][0] == "Transpose":
            perm = tuple(self.steps[-1][1][k] for k in perm)
            shorter = Layout(self.start, self.steps[:-1])
            return shorter.transposed(perm)
        if perm == tuple(range(len(perm))):
            return self
        shape = self.end
        if [k for k in perm if shape[k] != 1] == [k for k in range(len(perm)) if shape[k] != 1]:
            return self.reshaped(tuple(shape[k] for k in perm))
        return Layout(self.start, (*self.steps, ("Transpose", perm)))

    def then(self, other: Layout) -> Layout:
        layout = self.reshaped(other.start)
        for op, numbers in other.steps:
            layout = layout.reshaped(numbers) if op == "Reshape" else layout.transposed(numbers)
        return layout

    @property
    def inverse(self) -> Layout:
        shapes = [self.start]
        for op, numbers in self.steps:
            shapes.append(numbers if op == "Reshape" else tuple(shapes[-1][k] for k in numbers))
        layout = Layout(shapes[-1])
        for (op, numbers), before in zip(reversed(self.steps), reversed(shapes[:-1]), strict=True):
            back = tuple(int(k) for k in np.argsort(numbers))
            layout = layout.reshaped(before) if op == "Reshape" else layout.transposed(back)
        return layout

    def of(self, array: np.ndarray) -> np.ndarray:
        for op, numbers in self.steps:
            array = array.reshape(numbers) if op == "Reshape" else array.transpose(numbers)
        return array

    def write(self, b: Builder, x: Tensor) -> Tensor:
        """The tensor in this layout, written as nodes."""
        for op, numbers in self.steps:
            x = b.Reshape(x, list(numbers)) if op == "Reshape" else b.Transpose(x, perm=list(numbers))
        return x


def of_view(node: gs.Node) -> Layout:
    """What a node that only changes the layout does."""
    layout = Layout(shape_of(node.inputs[0]))
    if node.op == "Transpose":
        rank = len(layout.start)
        return layout.transposed(tuple(node.attrs.get("perm") or range(rank)[::-1]))
    return layout.reshaped(shape_of(node.outputs[0]))


def between(start: Shape, end: Shape) -> Iterator[Layout]:
    """The layouts that could lead from one shape to another: first the same order of numbers."""
    if math.prod(start) != math.prod(end):
        return
    plain = Layout(start)
    yield plain.reshaped(end)
    long = [k for k, d in enumerate(start) if d != 1]
    wanted = [d for d in end if d != 1]
    if len(long) > MOST_AXES or sorted(start[k] for k in long) != sorted(wanted):
        return
    ones = [k for k, d in enumerate(start) if d == 1]
    for order in permutations(long):
        if list(order) != long and [start[k] for k in order] == wanted:
            yield plain.transposed((*ones, *order)).reshaped(end)


def of_image(theirs: Shape, ours: Shape) -> Layout | None:
    """From B's image to A's: as it is, or with the channels at the other end."""
    rank = len(theirs)
    orders = [tuple(range(rank)), (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)]
    fitting = (o for o in orders[: 3 if rank > 2 else 1] if tuple(theirs[k] for k in o) == ours)
    return next((Layout(theirs).transposed(order) for order in fitting), None)
