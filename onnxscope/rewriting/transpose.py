"""The transposed branch: walk the frozen nodes backward, transpose each, sum where a value was used twice.

No operator is named here. Sums over consumers and over broadcast axes happen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs

from onnxscope.errors import MISFITS, Unsupported, misfit
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Shape, Tensor, describe, shape_of


@dataclass
class Transposer:
    """Writes transposed nodes; the rules of the linear primitives write through it."""

    b: Builder
    node: str = ""

    def op(self, op: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        return self.b.op(op, *inputs, outputs=outputs, node_name=self.b.unique(f"{self.node}/{op}"), **attrs)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same numbers in another raw shape."""
        return x if shape_of(x) == tuple(shape) else self.op("Reshape", x, [-1, *shape[1:]])

    def zeros(self, like: Tensor, shape: Shape) -> Tensor:
        """Zeros of this raw shape for as many probes as `like` carries."""
        probes = self.op("Shape", like, start=0, end=1)
        y = self.op(
            "Expand", self.b.constant([0.0], like), self.op("Concat", probes, list(shape[1:]), axis=0)
        )
        y.shape = [None, *shape[1:]]  # onnx cannot infer it from a computed size
        return y


NOTHING: Mapping[str, Tensor] = {}
TransposeRule = Callable[[Transposer, gs.Node, int, Any], Tensor]


@dataclass
class Cotangents:
    """What has arrived so far at each frozen value."""

    t: Transposer
    terms: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, value: Tensor, term: Tensor) -> None:
        """A consumer's contribution, summed over the axes that the consumer broadcast."""
        have, want = shape_of(term), shape_of(value)
        axes = [k for k, (h, w) in enumerate(zip(have, want, strict=True)) if h != w]
        assert all(want[k] == 1 for k in axes), f"{term.name}: cotangent {have} for {want}"
        if axes:
            term = self.t.op("ReduceSum", term, axes, keepdims=1)
        self.terms.setdefault(value.name, []).append(term)

    def take(self, value: Tensor) -> Tensor | None:
        terms = self.terms.get(value.name, [])
        return self.t.op("Sum", *terms) if len(terms) > 1 else terms[0] if terms else None


@dataclass(frozen=True)
class Transposed:
    """What arrives at the probe, and the cotangents on the way there, by the names of the frozen values that they meet."""

    result: Tensor
    cotangents: Mapping[str, Tensor]


def transpose(
    b: Builder,
    nodes: Sequence[gs.Node],
    values: Mapping[str, Tensor],
    seed: tuple[Tensor, Tensor],
    probe: Tensor,
    rule_of: Callable[[gs.Node], TransposeRule | None],
    added: Mapping[str, Tensor] = NOTHING,
    seeded: bool = True,
) -> Transposed:
    """Write Fᵀ for the frozen nodes; `seed` is the frozen output and the cotangent fed to it, if that is `seeded`.

    A value in `added` gets that beside what its consumers send.
    """
    t = Transposer(b)
    cotangents = Cotangents(t)
    found: dict[str, Tensor] = {}
    if seeded:
        cotangents.add(*seed)
    for node in reversed(nodes):
        prefix, _, rest = node.name.partition("/")
        t.node = f"transposed/{rest}" if prefix == "frozen" else f"transposed/{node.name}"
        for o in node.outputs:
            if o.name in added:
                cotangents.add(o, added[o.name])
        arrived = [cotangents.take(o) for o in node.outputs]
        found.update((o.name, a) for o, a in zip(node.outputs, arrived, strict=True) if a is not None)
        if not any(a is not None for a in arrived):
            continue
        rule = rule_of(node)
        if rule is None:
            raise Unsupported(f"linear primitive {node.op} has no transpose", where=describe(node))
        for i, x in enumerate(node.inputs):
            if x.name in values:
                try:
                    cotangents.add(x, rule(t, node, i, arrived[0] if len(arrived) == 1 else arrived))
                except MISFITS as error:
                    raise misfit(error, describe(node)) from error
    t.node = "transposed"
    if probe.name in added:
        cotangents.add(probe, added[probe.name])
    arrived_there = cotangents.take(probe)
    found[probe.name] = arrived_there if arrived_there is not None else t.zeros(seed[1], shape_of(probe))
    return Transposed(found[probe.name], found)
