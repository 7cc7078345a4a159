"""A node of the model as it was exported, and what can be read off protobufs without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from onnxscope.errors import DECIDE, BadModel, Fault, Undecided, Unsupported, shape_text
from onnxscope.graph.tensors import Tensor, ints_of, is_known, is_sized, values_of

STANDARD = ("", "ai.onnx")


class Items(tuple[Tensor, ...]):
    """A sequence of tensors: it exists while the model is interpreted, never in what is written."""


Value: TypeAlias = Tensor | Items


@dataclass
class Source:
    """A node of the model as it was exported, with its inputs already in the normal dialect."""

    op: str
    domain: str
    name: str
    opset: int
    inputs: list[Value | None]
    outputs: list[str]  # "" for one that nothing reads
    attrs: dict[str, Any] = field(default_factory=dict)
    overload: str = ""

    @property
    def key(self) -> str:
        return self.op if self.domain in STANDARD else f"{self.domain}.{self.op}"

    @property
    def where(self) -> str:
        return f"node '{self.name}' ({self.op})"

    def fault(self, error: Exception) -> Fault:
        """The fault that an exception shows while this node is written."""
        shapes = [shape_text(x.shape) for x in self.inputs if isinstance(x, Tensor)]
        return Fault.of(error, self.where, node=self.name, operator=self.key, shapes=shapes)

    def value(self, i: int) -> Value | None:
        return self.inputs[i] if i < len(self.inputs) else None

    def input(self, i: int) -> Tensor | None:
        """Input i, or None where it is left out."""
        value = self.value(i)
        if isinstance(value, Items):
            raise Unsupported(
                f"its input {i} is a sequence of tensors",
                where=self.where,
                remedy="export the model without sequences",
            )
        return value

    def __getitem__(self, i: int) -> Tensor:
        x = self.input(i)
        if x is None:
            raise BadModel(f"input {i} is missing", where=self.where, remedy="export the model again")
        return x

    @property
    def tensors(self) -> list[Tensor | None]:
        return [self.input(i) for i in range(len(self.inputs))]

    @property
    def has_free_size(self) -> bool:
        """Whether the size of an input depends on values."""
        return any(isinstance(x, gs.Variable) and not is_sized(x) for x in self.inputs)

    def ints(self, i: int, what: str) -> list[int]:
        """The numbers of an input that has to be constant."""
        if not is_known(self[i]):
            raise Undecided(
                f"its {what} must be constant, not computed from {origin(self[i])}",
                where=self.where,
                remedy=DECIDE,
            )
        return ints_of(self[i])

    def axes(self, given: Sequence[int], rank: int) -> list[int]:
        """Axes counted from the front."""
        wrong = [a for a in given if not -rank <= a < rank]
        if wrong:
            raise BadModel(
                f"axis {wrong[0]} lies outside the {rank} there are",
                where=self.where,
                remedy="export the model again",
            )
        return [a % rank for a in given]

    def wants(self, i: int) -> bool:
        """Whether anything reads output i."""
        return i < len(self.outputs) and bool(self.outputs[i])


def attribute(a: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(a)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if a.type == a.STRINGS:
        return [text.decode(errors="replace") for text in value]
    return list(value) if a.type in (a.INTS, a.FLOATS) else value


def dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """A sparse tensor written out: indices are [count] into the flat tensor, or [count, rank]."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        array.reshape(-1)[indices] = values
    else:
        array[tuple(indices.T)] = values
    return numpy_helper.from_array(array, sparse.values.name)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node takes from the graph around it, also inside its bodies."""
    yield from (i for i in node.input if i)
    for a in node.attribute:
        for graph in (*([a.g] if a.type == a.GRAPH else []), *a.graphs):
            own = {t.name for t in (*graph.input, *graph.initializer)} | {
                t.values.name for t in graph.sparse_initializer
            }
            own |= {o for inner in graph.node for o in inner.output}
            yield from (i for inner in graph.node for i in reads(inner) if i not in own)
            yield from (o.name for o in graph.output if o.name not in own)


def ordered(nodes: Sequence[onnx.NodeProto], given: Mapping[str, Any]) -> list[onnx.NodeProto]:
    """The nodes, producers first: in their own order wherever that does already."""
    maker: dict[str, int] = {}
    for k, node in enumerate(nodes):
        for out in node.output:
            if out and maker.setdefault(out, k) != k:
                raise BadModel(
                    f"it computes '{out}', and so does another node",
                    where=title(node),
                    remedy="export the model again",
                )
    needs: dict[int, set[int]] = {}
    for k, node in enumerate(nodes):
        needs[k] = set()
        for name in reads(node):
            if name in maker:
                needs[k].add(maker[name])
            elif name not in given:
                raise BadModel(
                    f"nothing computes its input '{name}'", where=title(node), remedy="export the model again"
                )
    if all(j < k for k in needs for j in needs[k]):
        return list(nodes)
    try:
        return [nodes[k] for k in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise BadModel(
            "its result is one of its own inputs: the graph has a cycle",
            where=title(nodes[error.args[1][0]]),
            remedy="export the model again",
        ) from error


def title(node: onnx.NodeProto) -> str:
    return f"node '{node.name or next(iter(node.output), '')}' ({node.op_type})"


def origin(x: Tensor) -> str:
    """What a tensor's value goes back to, for errors."""
    seen, found, queue = set(), [], [x]
    while queue:
        t = queue.pop()
        if t.name in seen or is_known(t):
            continue
        seen.add(t.name)
        if t.inputs:
            queue.extend(i for i in t.inputs[0].inputs if i.name)
        else:
            found.append(t.name)
    return (
        " and ".join(f"'{name}'" for name in sorted(found))
        or f"'{x.name}', which cannot be computed beforehand"
    )


def known_number(x: Tensor | None) -> Any:
    """The one number of a constant; None where it is left out or not constant."""
    return values_of(x).reshape(-1)[0].item() if x is not None and is_known(x) else None
