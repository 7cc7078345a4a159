"""The frozen branch, and the linear operations that it is written in.

Every active value of the base has a frozen value, which carries any number of probes at once. If the value of
the base has the shape S, the frozen value has a *raw* tensor whose axis 0 counts the probes: it takes the
place of a leading 1 of S (the batch axis of an image network), or is put before S if there is none. As this
depends on S alone, all questions about layouts are answered here, and the rules and the transposes need not
know about batch sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Shape, Tensor, element_type, numel, shape_of
from onnxscope.rewriting.steps import Treatment


@dataclass(frozen=True, eq=False)
class Frozen:
    """The frozen value of a base value of this shape, with its raw tensor."""

    shape: Shape
    raw: Tensor


@dataclass(frozen=True, eq=False)
class Pair:
    """A value of the base and, if it is active, its frozen value."""

    x0: Tensor
    x1: Frozen | None = None

    @property
    def shape(self) -> Shape:
        return shape_of(self.x0)

    @property
    def carried(self) -> Frozen:
        """The frozen value of a value that is known to be active."""
        assert self.x1 is not None
        return self.x1


def raw_shape(shape: Shape) -> Shape:
    """The shape of the raw tensor for a base value of this shape: -1 stands for the number of probes."""
    return (-1, *(shape[1:] if shape[:1] == (1,) else shape))


class Branch:
    """Writes frozen nodes.

    They are named after the base node that is being frozen, which is set in `at` before its rule is called.
    """

    def __init__(self, b: Builder, moves_masks: bool = True) -> None:
        self.b = b
        self.moves_masks = moves_masks  # whether `select` may exchange a gain and a selection
        self.nodes: list[gs.Node] = []  # in the order in which they were written
        self.values: dict[str, Tensor] = {}  # the tensors that carry probes, by name
        self.sources: dict[str, Tensor] = {}  # by the names of the nodes that add them
        self.at = Treatment()

    def name(self, branch: str, op: str) -> str:
        """A free name for a node: its branch, the base node that it comes from, and what it does there."""
        return self.b.unique("/".join(part for part in (branch, self.at.name.lstrip("/"), op) if part))

    def raw(self, op: str, *inputs: Any, branch: str = "frozen", outputs: int = 1, **attrs: Any) -> Any:
        """Write one node of the frozen branch on raw tensors, and return its output or outputs."""
        name = self.name(branch, "" if op == self.at.op or branch == "source" else op)
        result = self.b.op(op, *inputs, outputs=outputs, node_name=name, **attrs)
        results = result if isinstance(result, tuple) else (result,)
        self.nodes.append(results[0].inputs[0])
        self.values.update((t.name, t) for t in results)
        return result

    # layouts

    def put(self, raw: Tensor, shape: Sequence[int]) -> Tensor:
        """A raw tensor, reshaped to another raw shape."""
        if shape_of(raw) == tuple(shape):
            return raw
        if 0 in shape:
            raise Unsupported(
                "a tensor without elements cannot change its shape",
                where=f"node '{self.at.name}'",
                remedy="export the model with other sizes",
            )
        return self.raw("Reshape", raw, [-1, *shape[1:]])

    def settle(self, raw: Tensor, shape: Shape) -> Frozen:
        """The frozen value for this base shape whose numbers are in a tensor of any raw shape."""
        return Frozen(shape, self.put(raw, raw_shape(shape)))

    def reshape(self, x: Frozen, shape: Sequence[int]) -> Frozen:
        return self.settle(x.raw, tuple(shape))

    def aligned(self, x: Frozen, shape: Shape) -> Tensor:
        """x's raw tensor with the axes of a raw tensor of `shape`, so that the two can be broadcast."""
        padded = (1,) * (len(shape) - len(x.shape)) + x.shape
        return self.put(x.raw, raw_shape(padded) if shape[:1] == (1,) else (-1, *padded))

    def extended(self, x: Frozen) -> Tensor:
        """x's raw tensor with the axis of the probes before all axes of x, also before a leading 1."""
        return self.put(x.raw, (-1, *x.shape))

    def along(self, x: Frozen, shape: Shape, axes: Sequence[int]) -> tuple[Tensor, int]:
        """x's raw tensor for an operator on these axes whose result has this shape.

        Also returns by how much the raw tensor's axes are shifted: 0 where a leading 1 can be left to the
        probes, else 1.
        """
        if x.shape[:1] == (1,) and shape[:1] == (1,) and 0 not in axes:
            return x.raw, 0
        return self.extended(x), 1

    # linear operations: each writes frozen nodes whose transpose is known

    def batched(self, op: str, x: Frozen, *states: Any, **attrs: Any) -> Frozen:
        """An operator on [batch, channels, rows, columns, …], such as Conv, ConvTranspose or DepthToSpace."""
        y = self.raw(op, self.put(x.raw, (-1, *x.shape[1:])), *states, **attrs)
        return self.settle(y, (x.shape[0], *shape_of(y)[1:]))

    def gain(self, x: Frozen, gain: Tensor) -> Frozen:
        """gain · x, element by element. Both may be broadcast."""
        shape = broadcast(x.shape, shape_of(gain))
        if element_type(gain) != TensorProto.FLOAT:
            gain = self.b.op("Cast", gain, to=TensorProto.FLOAT, node_name=self.name("frozen", "Cast"))
        return Frozen(shape, self.put(self.raw("Mul", self.aligned(x, shape), gain), raw_shape(shape)))

    def scale(self, x: Frozen, factor: float) -> Frozen:
        return x if factor == 1.0 else self.gain(x, self.b.constant(np.float32(factor)))

    def source(self, x: Frozen, source: Tensor) -> Frozen:
        """x + source, where the source is what a layer adds whatever the probe is, such as a bias."""
        shape = broadcast(x.shape, shape_of(source))
        x = self.expand(x, shape)
        raw = self.raw("Add", x.raw, source, branch="source")
        self.sources[raw.inputs[0].name] = source
        return Frozen(shape, raw)

    def times(self, a: Pair | Tensor, b: Pair | Tensor) -> Pair:
        """a · b, element by element, in the base and in the frozen branch. One of them must be a pair."""
        x, gain = (a, b) if isinstance(a, Pair) else (b, a)
        y1 = self.gain(x.carried, gain)
        return Pair(self.b.Mul(*(t.x0 if isinstance(t, Pair) else t for t in (a, b))), y1)

    def plus(self, a: Pair, b: Pair) -> Pair:
        """a + b in the base and in the frozen branch. Both are active."""
        return Pair(self.b.Add(a.x0, b.x0), self.add(a.carried, b.carried))

    def minus(self, a: Pair, b: Pair) -> Pair:
        """a − b in the base and in the frozen branch. Both are active."""
        return Pair(self.b.Sub(a.x0, b.x0), self.add(a.carried, self.negate(b.carried)))

    def anchored(self, y: Pair, y0: Tensor) -> Frozen:
        """A·x1 + (y0 − A·x0), where y holds A·x0 and A·x1: at x1 = x0 this is y0, whatever A is."""
        return self.source(y.carried, self.b.Sub(y0, y.x0))

    def add(self, *terms: Frozen) -> Frozen:
        """The sum of frozen values, which may be broadcast."""
        shape = broadcast(*(t.shape for t in terms))
        if len(terms) == 1:
            return terms[0]
        raw = self.raw("Sum", *(self.aligned(t, shape) for t in terms))
        return self.settle(raw, shape)

    def negate(self, x: Frozen) -> Frozen:
        return Frozen(x.shape, self.raw("Neg", x.raw))

    def expand(self, x: Frozen, shape: Shape) -> Frozen:
        if shape == x.shape:
            return x
        raw = self.aligned(x, shape)
        target = shape[1:] if shape[:1] == (1,) else shape
        return self.settle(
            self.raw("Expand", raw, [1, *target]) if shape_of(raw)[1:] != target else raw, shape
        )

    def transpose(self, x: Frozen, perm: Sequence[int]) -> Frozen:
        shape = tuple(x.shape[p] for p in perm)
        raw, shift = self.along(x, shape, [] if perm[0] == 0 else [0])
        return self.settle(
            self.raw("Transpose", raw, perm=[*range(shift), *(p + shift for p in perm)]), shape
        )

    def sum(self, x: Frozen, axes: Sequence[int], keepdims: bool = True) -> Frozen:
        """The sum over these axes."""
        axes = sorted(a % len(x.shape) for a in axes)
        shape = tuple(1 if k in axes else d for k, d in enumerate(x.shape))
        raw, shift = self.along(x, shape, axes)
        y = self.raw("ReduceSum", raw, [a + shift for a in axes], keepdims=1) if axes else raw
        return self.settle(y, shape if keepdims else tuple(d for k, d in enumerate(x.shape) if k not in axes))

    def slice(self, x: Frozen, axis: int, start: int, end: int, step: int = 1) -> Frozen:
        """The elements range(start, end, step) of one axis."""
        size = len(range(start, end, step))
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        raw, shift = self.along(x, shape, [axis])
        end = end if end >= 0 else -(2**31)
        return self.settle(self.raw("Slice", raw, [start], [end], [axis + shift], [step]), shape)

    def split(self, x: Frozen, axis: int, sizes: Sequence[int]) -> list[Frozen]:
        shapes = [(*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in sizes]
        raw, shift = self.along(x, x.shape, [axis])
        parts = self.raw("Split", raw, list(sizes), outputs=len(sizes), axis=axis + shift)
        parts = parts if isinstance(parts, tuple) else (parts,)
        return [self.settle(p, s) for p, s in zip(parts, shapes, strict=True)]

    def concat(self, parts: Sequence[Frozen], axis: int) -> Frozen:
        if len(parts) == 1:
            return parts[0]
        first = parts[0].shape
        shape = (*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :])
        shift = 0 if axis != 0 and shape[0] == 1 else 1
        raws = [p.raw if shift == 0 else self.extended(p) for p in parts]
        return self.settle(self.raw("Concat", *raws, axis=axis + shift), shape)

    def pad(self, x: Frozen, pads: Sequence[int], mode: str = "constant") -> Frozen:
        """Pad by [begin of every axis, end of every axis], with zeros unless another mode is given."""
        if not any(pads):
            return x
        rank = len(x.shape)
        shape = tuple(d + pads[k] + pads[k + rank] for k, d in enumerate(x.shape))
        raw, shift = self.along(x, shape, [0] if pads[0] or pads[rank] else [])
        begin, end = list(pads[:rank]), list(pads[rank:])
        spread = [0] * shift + begin + [0] * shift + end
        return self.settle(self.raw("Pad", raw, spread, mode=mode), shape)

    def matmul(self, a: Frozen | Tensor, b: Frozen | Tensor) -> Frozen:
        """The matrix product a · b of a frozen value and a state, both with at least two axes."""
        sa, sb = (t.shape if isinstance(t, Frozen) else shape_of(t) for t in (a, b))
        shape = (*broadcast(sa[:-2], sb[:-2]), sa[-2], sb[-1])
        if len(shape) > 2:
            raws = [self.aligned(t, shape) if isinstance(t, Frozen) else t for t in (a, b)]
        elif isinstance(a, Frozen):  # where a has a single row, its rows may count probes
            raws = [a.raw if sa[0] == 1 else self.extended(a), b]
        else:
            raws = [a, self.extended(b) if isinstance(b, Frozen) else b]
        return self.settle(self.raw("MatMul", *raws), shape)

    def select(self, x: Frozen, index: Tensor) -> Frozen:
        """The elements of x at these flat indices, in the shape of the indices.

        If x is a gain times a value and fewer elements are selected than x has, the gain is applied to the
        selected elements only: (g·v)[index] = g[index]·v[index]. This is cheaper, and keeps fewer states.
        """
        shape = shape_of(index)
        factors = gain_and_value(x) if self.moves_masks and numel(shape) < numel(x.shape) else None
        if factors is not None:
            gain, value = factors
            selected_gain = self.b.Gather(self.b.Reshape(gain, [-1]), index)
            return self.gain(self.select(value, index), selected_gain)
        flat = self.put(x.raw, (-1, numel(x.shape)))
        index = (
            self.b.Cast(index, to=TensorProto.INT32) if element_type(index) != TensorProto.INT32 else index
        )
        if shape[:1] == (1,) and len(shape) > 1:
            index = self.b.Squeeze(index, [0])
        return self.settle(self.raw("Gather", flat, index, axis=1), shape)

    def scatter_add(self, x: Frozen, index: Tensor, shape: Shape) -> Frozen:
        """Zeros of this shape, to which the elements of x are added at these flat indices."""
        flat = self.put(x.raw, (-1, numel(x.shape)))
        size = self.b.Concat(self.b.Shape(flat, start=0, end=1), [numel(shape)], axis=0)
        spread = self.b.Expand(self.b.Reshape(index, [1, -1]), self.b.Shape(flat))
        zeros = self.b.Expand(self.b.constant(np.zeros(1, np.float32)), size)
        zeros.shape = [None, numel(shape)]  # onnx cannot infer it from a computed size
        return self.settle(self.raw("ScatterElements", zeros, spread, flat, axis=1, reduction="add"), shape)

    def matrix_along(self, x: Frozen, matrix: Tensor, axis: int) -> Frozen:
        """The matrix times each vector that lies along one axis of x."""
        before, after = numel(x.shape[:axis]), numel(x.shape[axis + 1 :])
        shape = (*x.shape[:axis], shape_of(matrix)[0], *x.shape[axis + 1 :])
        if after == 1:
            y = self.matmul(
                self.reshape(x, (1, before, x.shape[axis])), self.b.Transpose(matrix, perm=[1, 0])
            )
        else:
            y = self.matmul(matrix, self.reshape(x, (1, before, x.shape[axis], after)))
        return self.reshape(y, shape)

    def zeros(self, probe: Frozen, shape: Shape) -> Frozen:
        """0 · probe in this shape: the frozen value where no path carries the image."""
        nothing = self.sum(self.reshape(probe, (numel(probe.shape),)), [0])
        return self.gain(nothing, self.b.Expand(self.b.constant(np.float32(0)), list(shape)))


def gain_and_value(x: Frozen) -> tuple[Tensor, Frozen] | None:
    """g and v if x was written as g·v, where g has an element for each element of x; else None."""
    product = next(iter(x.raw.inputs), None)
    if product is None or product.op != "Mul":
        return None
    value, gain = product.inputs
    if numel(shape_of(gain)) != numel(x.shape):
        return None
    cast = next(iter(gain.inputs), None)
    if cast is not None and cast.op == "Cast":  # a mask, whose type before the cast is smaller
        (gain,) = cast.inputs
    return gain, Frozen(x.shape, value)


def broadcast(*shapes: Shape) -> Shape:
    """The shape to which these shapes are broadcast."""
    return tuple(int(d) for d in np.broadcast_shapes(*shapes))
