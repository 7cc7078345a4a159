"""The transposed branch: walk the frozen nodes backward, transpose each, sum where a value was used twice.

No operator is named here. Sums over consumers and over broadcast axes happen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs

from onnxscope.errors import MISFITS, Unsupported, misfit
from onnxscope.graph import Builder, Shape, Tensor, describe, shape_of


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
        y = self.op("Expand", self.b.constant([0.0], like), self.op("Concat", probes, list(shape[1:]), axis=0))
        y.shape = [None, *shape[1:]]  # onnx cannot infer it from a computed size
        return y


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


def transpose(b: Builder, nodes: Sequence[gs.Node], values: Mapping[str, Tensor], seed: tuple[Tensor, Tensor],
              probe: Tensor, rules: Mapping[str, TransposeRule]) -> tuple[Tensor, dict[str, str]]:
    """Write Fᵀ for the frozen nodes; `seed` is the frozen output and the cotangent fed to it.

    Returns the cotangent of the probe, and of every source node the name of the cotangent that meets it.
    """
    at_sources: dict[str, str] = {}
    t = Transposer(b)
    cotangents = Cotangents(t)
    cotangents.add(*seed)
    for node in reversed(nodes):
        prefix, _, rest = node.name.partition("/")
        t.node = f"transposed/{rest}" if prefix == "frozen" else f"transposed/{node.name}"
        arrived = [cotangents.take(o) for o in node.outputs]
        if not any(a is not None for a in arrived):
            continue
        if prefix == "source" and arrived[0] is not None:
            at_sources[node.name] = arrived[0].name
        if node.op not in rules:
            raise Unsupported(f"linear primitive {node.op} has no transpose", where=describe(node))
        for i, x in enumerate(node.inputs):
            if x.name in values:
                try:
                    cotangents.add(x, rules[node.op](t, node, i, arrived[0] if len(arrived) == 1 else arrived))
                except MISFITS as error:
                    raise misfit(error, describe(node)) from error
    t.node = "transposed"
    result = cotangents.take(probe)
    return result if result is not None else t.zeros(seed[1], shape_of(probe)), at_sources
