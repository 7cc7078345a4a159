"""One scope for pictures of all sizes: the model is rewritten at a few, and what differs becomes formulas.

The scopes of these sizes must be the same graph. Constants that differ, such as the target of a Reshape, must
follow from the sizes by a formula, which the scope then computes from the shape of its input. At last, what
the formulas give for further sizes is compared with the scope of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import helper
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxscope.errors import DECIDE, BadOption, Fault, ScopeError, Undecided, Unsupported, shape_text
from onnxscope.files.models import Model
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, is_known, shape_of, values_of
from onnxscope.rewriting.bound import COMPUTED, bound, checksum, fixed_sizes
from onnxscope.rewriting.build import build
from onnxscope.rewriting.formulas import EXACT, Formula, fitted
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import COTANGENT, PROBE, Scope
from onnxscope.rewriting.sizes import STEPS, FreeSizes, free_input
from onnxscope.runtime import evaluate

UNIT = STEPS[-1]
EXAMPLES = ((3, 4), (5, 6))  # the sizes of both axes to rewrite the model for, in units
SMALLEST = (400, 520)  # pixels, at least, of the sizes to compare with: in smaller graphs matrices are folded
NAMES = ("height", "width")
Place = tuple[int, int]  # of a constant: the numbers of its node and of the node's input
At = Callable[[Sequence[int]], Scope]  # the scope of fixed sizes


@dataclass
class Differing:
    """A constant that is not the same at all sizes."""

    where: str  # a node that reads it
    values: list[np.ndarray]  # at each of the sizes
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Examples:
    """The scopes of a few sizes, and what is not the same in them."""

    name: str  # of the input
    axes: tuple[int, ...]
    points: Sequence[tuple[int, ...]]  # the sizes, in units
    scopes: Sequence[Scope]
    constants: Sequence[Differing]

    def formula(self, values: Sequence[np.ndarray], where: str) -> Formula:
        """The formula of numbers that depend on the sizes."""
        found = fitted(self.points, values) if len({v.shape for v in values}) == 1 else None
        if found is None or not found.is_whole(UNIT, UNIT):
            raise Unsupported("it needs numbers that no simple formula gives for all sizes", where=where)
        return found

    def shape(self, name: str) -> list[int | str | None]:
        """The shape of an input or output of the scopes, where sizes that differ are free."""
        shapes = [end.shape for s in self.scopes for end in ends(s.graph) if end.name == name]
        pixels = [tuple(UNIT * k for k in point) for point in self.points]
        names = dict(zip(zip(*pixels, strict=True), NAMES[-len(self.axes) :], strict=True))
        return [d[0] if len(set(d)) == 1 else names.get(d) for d in zip(*shapes, strict=True)]

    def rows(self, name: str, step: int) -> tuple[tuple[int, ...], ...]:
        """The formulas of the sizes of an input of the scopes, but for the leading one."""
        shapes = [np.array(shape_of(s.tensor(name))[1:], np.int64) for s in self.scopes]
        return tuple(tuple(row) for row in self.formula(shapes, name).in_steps(UNIT, step).terms.tolist())


def build_for_all_sizes(model: Model, options: Options) -> Scope:
    """The scope of a model that leaves the sizes of its image free, as the model does."""
    name, shape, axes = free_axes(model, options)

    def at(sizes: Sequence[int]) -> Scope:
        given = dict(zip(axes, sizes, strict=True))
        fixed = tuple(given.get(axis, size) for axis, size in enumerate(shape))
        try:
            return build(model, replace(options, free_size=False, shapes={**options.shapes, name: fixed}))
        except Fault:
            raise
        except ScopeError as error:
            cause = f"for {shape_text(fixed)}: {error.cause}"
            raise type(error)(cause, where=error.where, remedy=error.remedy) from error

    try:
        points = list(itertools.product(*EXAMPLES[-len(axes) :]))
        scopes = [at([UNIT * k for k in point]) for point in points]
        return freed(Examples(name, axes, points, scopes, differing(scopes)), at)
    except Unsupported as error:
        sizes = "x".join(str(size or "?") for size in shape)
        remedy = error.remedy or f"leave --free-size out, and fix the size with --input-shape {name}:{sizes}"
        if isinstance(error, Undecided):
            remedy = f"leave --free-size out, and {DECIDE}"
        raise Unsupported(error.cause, where=error.where, remedy=remedy) from error


def free_axes(model: Model, options: Options) -> tuple[str, list[int], tuple[int, ...]]:
    """The input whose sizes are free: its name, its shape with 0 where it is free, and the free axes."""
    found = free_input(model)
    if found is None:
        raise BadOption(
            "no input is a single image whose height or width the model leaves free",
            where="--free-size",
            remedy="leave it out, or export the model with free (dynamic) sizes",
        )
    name, shape, axes = found
    if name in options.shapes:
        raise BadOption(
            f"the sizes of '{name}' are given, and are to be free",
            where="--free-size",
            remedy="leave it or --input-shape out",
        )
    return name, shape, tuple(axis for axis in axes if not shape[axis])


def freed(examples: Examples, at: At) -> Scope:
    """The scope for sizes that are multiples of the smallest step for which all formulas are whole."""
    formulas = [examples.formula(c.values, c.where) for c in examples.constants]
    sizes = examples.formula([sizes_in(s.graph) for s in examples.scopes], "model")
    step = next(s for s in STEPS if all(f.is_whole(UNIT, s) for f in (*formulas, sizes)))
    scope, free = with_formulas(examples, formulas, step)
    shapes = [shape_of(s.tensor(examples.name)) for s in examples.scopes]
    sums = [np.array([checksum(fixed_sizes(scope, free, shape).graph)]) for shape in shapes]
    (row,) = examples.formula(sums, "model").in_steps(UNIT, step).terms.tolist()
    free = replace(free, checksum=tuple(row))
    scope = replace(scope, about=replace(scope.about, free=free))
    compare(scope, free, at)
    return scope


def compare(scope: Scope, free: FreeSizes, at: At) -> None:
    """Refuse a scope that for further sizes, which are multiples of the step, is not the scope of these."""
    odd = itertools.count(5, 2)  # so that no larger step divides them
    least = SMALLEST[-len(free.axes) :]
    sizes = [free.step * next(k for k in odd if k * free.step >= pixels) for pixels in least]
    fresh = at(sizes)
    shape = shape_of(fresh.tensor(free.input))
    found = differing([fixed_sizes(scope, free, shape), fresh])
    if found:
        raise Unsupported("it needs numbers that no simple formula gives for all sizes", where=found[0].where)
    bound(scope, {free.input: shape})


def differing(scopes: Sequence[Scope]) -> list[Differing]:
    """The constants that are not the same in these scopes; all else must be."""
    found: dict[tuple[bytes, ...], Differing] = {}
    for i, nodes in enumerate(itertools.zip_longest(*(s.graph.nodes for s in scopes))):
        where = next(f"node '{n.name}' ({n.op})" for n in nodes if n is not None)
        if any(n is None for n in nodes) or len({without_constants(n) for n in nodes}) > 1:
            raise Unsupported("it is written in another way for other sizes", where=where)
        for j, operands in enumerate(zip(*(n.inputs for n in nodes), strict=True)):
            if is_known(operands[0]) and not all(same(operands[0], t) for t in operands[1:]):
                values = [values_of(t) for t in operands]
                key = tuple(v.tobytes() + str((v.dtype, v.shape)).encode() for v in values)
                found.setdefault(key, Differing(where, values)).places.append((i, j))
    return list(found.values())


def without_constants(node: gs.Node) -> tuple[object, ...]:
    """What must be the same in a node for all sizes."""
    attributes = [a.SerializeToString() for a in OnnxExporter.export_node(node).attribute]
    return (node.op, node.name, *attributes, *(is_known(t) or t.name for t in node.inputs))


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two constants have the same values, within rounding."""
    stored = getattr(a._values, "tensor", None)
    if stored is not None and stored is getattr(b._values, "tensor", None):  # a weight of the model
        return True
    x, y = values_of(a), values_of(b)
    if x.shape != y.shape or x.dtype != y.dtype or x.dtype.kind != "f":
        return x.dtype == y.dtype and np.array_equal(x, y)
    return np.allclose(x, y, rtol=EXACT, atol=0, equal_nan=True)


def sizes_in(graph: gs.Graph) -> np.ndarray:
    """The sizes of all tensors that nodes compute, -1 where they count probes."""
    sizes = [d for n in graph.nodes for t in n.outputs for d in t.shape or ()]
    return np.array([d if isinstance(d, int) else -1 for d in sizes], np.int64)


def ends(graph: gs.Graph) -> Iterator[Tensor]:
    return itertools.chain(graph.inputs, graph.outputs)


def with_formulas(examples: Examples, formulas: Sequence[Formula], step: int) -> tuple[Scope, FreeSizes]:
    """The first of the scopes with free sizes, where nodes compute the constants that depend on them."""
    first = examples.scopes[0]
    b = Builder.holding(first.graph, evaluate)
    nodes = list(b.graph.nodes)
    for t in (t for n in nodes for t in n.outputs):
        t.shape = None  # they follow when the scope is bound to a size
    for t in ends(b.graph):
        t.shape = examples.shape(t.name)
    b.graph.nodes.clear()
    b.place = COMPUTED
    image = next(t for t in b.graph.inputs if t.name == examples.name)
    whole = [f.in_steps(UNIT, step) for f in formulas]
    for one, value in zip(examples.constants, computed(b, image, examples, whole, step), strict=True):
        for i, j in one.places:
            nodes[i].inputs[j] = value
    b.graph.nodes.extend(nodes)
    probe, cotangent = (examples.rows(name, step) for name in (PROBE, COTANGENT))
    free = FreeSizes(examples.name, examples.axes, step, probe, cotangent)
    return replace(first, graph=b.graph), free


def computed(
    b: Builder, image: Tensor, examples: Examples, formulas: Sequence[Formula], step: int
) -> list[Tensor]:
    """Nodes that compute the constants: one product of all formulas with the monomials, which is split."""
    if not formulas:
        return []
    steps = b.Gather(b.Shape(image), list(examples.axes))
    if step > 1:
        steps = b.Div(steps, step)
    products = [b.ReduceProd(steps, [0], keepdims=1)] if len(examples.axes) > 1 else []
    table = np.concatenate([f.terms for f in formulas])
    sums = b.ReduceSum(b.Mul(b.Concat([1], steps, *products, axis=0), b.constant(table)), [1], keepdims=0)
    counts = [len(f.terms) for f in formulas]
    parts = b.op("Split", sums, counts, outputs=len(counts), axis=0)
    parts = parts if isinstance(parts, tuple) else (parts,)
    return [
        shaped(b, part, like.values[0], formula.inverted)
        for part, like, formula in zip(parts, examples.constants, formulas, strict=True)
    ]


def shaped(b: Builder, x: Tensor, like: np.ndarray, inverted: bool) -> Tensor:
    """Computed numbers, or one over them, with the type and the shape of a constant."""
    if like.dtype != np.int64:
        x = b.Cast(x, to=helper.np_dtype_to_tensor_dtype(like.dtype))
    if inverted:
        x = b.Reciprocal(x)
    return x if like.ndim == 1 else b.Reshape(x, list(like.shape))
