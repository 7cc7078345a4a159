"""The transposed branch: walk the frozen nodes from the output to the image, and transpose each.

No operator is named here. If a value has several consumers, or was broadcast, its cotangent is a sum; these
sums are written here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_graphsurgeon as gs

from onnxscope.errors import MISFITS, Unsupported
from onnxscope.graph.builder import Builder
from onnxscope.graph.faults import fault_at
from onnxscope.graph.tensors import Shape, Tensor, describe, shape_of


@dataclass
class Transposer:
    """Writes transposed nodes. The transposes of the linear primitives write through it."""

    b: Builder
    node: str = ""  # the prefix for the names of the nodes that are written

    def op(self, op: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """Write one node and return its output tensor, or a tuple of them if there are several."""
        return self.b.op(op, *inputs, outputs=outputs, node_name=self.b.unique(f"{self.node}/{op}"), **attrs)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same numbers in another raw shape; a Reshape would take a size of 0 for the input's own."""
        if 0 in shape[1:]:
            return self.zeros(x, tuple(shape))
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
# From a node, the number of one of its inputs and the cotangent of its output to the cotangent of that input.
TransposeRule = Callable[[Transposer, gs.Node, int, Any], Tensor]


@dataclass
class CotangentSums:
    """The cotangents that the consumers of each frozen value have sent to it so far."""

    t: Transposer
    terms: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, value: Tensor, term: Tensor) -> None:
        """Add what a consumer sends to a value, summed over the axes that the consumer broadcast."""
        have, want = shape_of(term), shape_of(value)
        axes = [k for k, (h, w) in enumerate(zip(have, want, strict=True)) if h != w]
        assert all(want[k] == 1 for k in axes), f"{term.name}: cotangent {have} for {want}"
        if axes:
            term = self.t.op("ReduceSum", term, axes, keepdims=1)
        self.terms.setdefault(value.name, []).append(term)

    def take(self, value: Tensor) -> Tensor | None:
        """The cotangent of a value, the sum of all terms; None if no consumer has sent one."""
        terms = self.terms.get(value.name, [])
        return self.t.op("Sum", *terms) if len(terms) > 1 else terms[0] if terms else None


@dataclass(frozen=True)
class Transposed:
    """The cotangent of the probe, and the cotangents of all frozen values, by the names of these values."""

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
    """Write the transposes of the frozen nodes, from the output to the probe.

    `values` are the tensors that carry probes, by name. `seed` is the frozen output and the cotangent that is
    fed to it if `seeded`. A value that is named in `added` receives that cotangent as well as those of its
    consumers.
    """
    t = Transposer(b)
    sums = CotangentSums(t)
    found: dict[str, Tensor] = {}
    if seeded:
        sums.add(*seed)
    for node in reversed(nodes):
        t.node = f"transposed/{node.name.removeprefix('frozen/')}"
        for o in node.outputs:
            if o.name in added:
                sums.add(o, added[o.name])
        cotangents = [sums.take(o) for o in node.outputs]
        found.update((o.name, c) for o, c in zip(node.outputs, cotangents, strict=True) if c is not None)
        if not any(c is not None for c in cotangents):
            continue
        rule = rule_of(node)
        if rule is None:
            raise Unsupported(f"linear primitive {node.op} has no transpose", where=describe(node))
        for i, x in enumerate(node.inputs):
            if x.name in values:
                try:
                    sums.add(x, rule(t, node, i, cotangents[0] if len(cotangents) == 1 else cotangents))
                except MISFITS as error:
                    raise fault_at(node, error) from error
    t.node = "transposed"
    if probe.name in added:
        sums.add(probe, added[probe.name])
    result = sums.take(probe)
    found[probe.name] = result if result is not None else t.zeros(seed[1], shape_of(probe))
    return Transposed(found[probe.name], found)
