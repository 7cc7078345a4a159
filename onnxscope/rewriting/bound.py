"""A scope with free sizes for one choice of them: an ordinary scope, as if it was rewritten for this size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxscope.errors import BadOption, shape_text
from onnxscope.files.models import to_bytes
from onnxscope.graph.parts import graph_of
from onnxscope.graph.tensors import Shape, Tensor, is_known
from onnxscope.rewriting.scope import (
    COTANGENT,
    COTANGENTS,
    FROZEN,
    PROBE,
    PROBES,
    TRANSPOSED,
    Scope,
    with_types,
)
from onnxscope.rewriting.scope_checks import damaged
from onnxscope.rewriting.sizes import FreeSizes
from onnxscope.runtime import reference

SIDES = (64, 256, 1024)  # pixels, of the smallest picture that proofs are made with: the first that fits
COMPUTED = "scope_size"  # begins the names of the nodes that compute what depends on the sizes


def bound(scope: Scope, shapes: Mapping[str, Shape]) -> Scope:
    """The scope for an input of this shape, given by its name."""
    free = scope.about.free
    assert free is not None
    shape = given_shape(scope.tensor(free.input), free, shapes)
    found = fixed_sizes(scope, free, shape)
    if checksum(found.graph) != free.shape_of([free.checksum], shape)[0]:
        raise BadOption(
            f"the network cannot take {shape_text(shape)}, or is another one for it",
            where=f"input '{free.input}'",
            remedy="choose a larger size, or rewrite the model for this one with --input-shape",
        )
    return found


def fixed_sizes(scope: Scope, free: FreeSizes, shape: Shape) -> Scope:
    """The same, but it is not checked whether the network can take this size."""
    graph = scope.graph.copy()
    ends: dict[str, list[int | str]] = {
        free.input: list(shape),
        PROBE: [PROBES, *free.shape_of(free.probe, shape)],
        COTANGENT: [COTANGENTS, *free.shape_of(free.cotangent, shape)],
    }
    for t in graph.inputs:
        t.shape = ends.get(t.name, t.shape)
    for t in graph.outputs:
        t.shape = {FROZEN: ends[COTANGENT], TRANSPOSED: ends[PROBE]}.get(t.name)
    compute_sizes(graph, next(t for t in graph.inputs if t.name == free.input))
    return replace(scope, graph=with_types(graph), about=replace(scope.about, free=None))


def checksum(graph: gs.Graph) -> int:
    """A weighted sum of the sizes of all tensors, which checks the formulas; 0 if one is not positive.

    A Slice, for example, takes less than its number of pixels from a picture that has fewer.
    """
    sizes = [d for n in graph.nodes for t in n.outputs for d in t.shape or () if isinstance(d, int)]
    return sum(d * (k % 7 + 1) for k, d in enumerate(sizes)) if min(sizes, default=1) > 0 else 0


def samples(scope: Scope) -> list[Scope]:
    """The scope for three sizes to prove it on, or the scope itself if it leaves no sizes free."""
    free = scope.about.free
    if free is None:
        return [scope]
    for side in SIDES:
        least = -(-side // free.step)
        try:
            return [
                in_steps(scope, free, counts)
                for counts in ((least, least + 1), (least + 1, least), (least + 3, least + 2))
            ]
        except BadOption as error:
            refusal = error
    raise refusal


def in_steps(scope: Scope, free: FreeSizes, counts: Sequence[int]) -> Scope:
    """The scope for sizes of so many steps."""
    shape = list(scope.tensor(free.input).shape)
    for axis, count in zip(free.axes, counts, strict=False):
        shape[axis] = free.step * count
    return bound(scope, {free.input: tuple(shape)})


def given_shape(x: Tensor, free: FreeSizes, shapes: Mapping[str, Shape]) -> Shape:
    """The shape that is given for the input with free sizes, which must be the only one that is given."""
    shape = shapes.get(x.name, ())
    own = [None if axis in free.axes else size for axis, size in enumerate(x.shape)]
    if (
        set(shapes) != {x.name}
        or len(shape) != len(own)
        or any(o not in (None, s) for o, s in zip(own, shape, strict=True))
    ):
        raise BadOption(
            f"its sizes are free ({shape_text(own)})",
            where=f"input '{x.name}' of the scope",
            remedy=f"give them, and only them, with --input-shape {x.name}:{shape_text(own)}",
        )
    return shape


def compute_sizes(graph: gs.Graph, image: Tensor) -> None:
    """Replace what is computed from the shape of the input, which is fixed now, by constants."""
    chain: list[gs.Node] = []
    made: set[str] = set()
    for node in graph.nodes:
        sized = node.op == "Shape" and node.inputs[0].name == image.name
        if node.name.startswith(COMPUTED) and (
            sized or all(is_known(t) or t.name in made for t in node.inputs)
        ):
            chain.append(node)
            made.update(t.name for t in node.outputs)
    ours = {id(n) for n in chain}
    graph.nodes[:] = [n for n in graph.nodes if id(n) not in ours]
    read = {t.name: t for n in graph.nodes for t in n.inputs if t.name in made}
    if not read:
        return
    model = onnx.ModelProto.FromString(to_bytes(graph_of(graph, chain, [image], list(read.values()))))
    try:
        values = reference(model, {image.name: np.broadcast_to(np.float32(0), image.shape)})
    except Exception as error:  # it raises whatever its operators raise
        raise damaged(f"its sizes cannot be computed: {error}", f"input '{image.name}'") from error
    constants = {name: gs.Constant(name, v) for name, v in values.items()}
    for node in graph.nodes:
        node.inputs = [constants.get(t.name, t) for t in node.inputs]
