"""Programs that multiply cotangents by sources, which gives the ledger, or by values of the base."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.scope import LEDGER, TRANSPOSED, Scope


class Extended:
    """A copy of a scope's graph that nodes are added to."""

    def __init__(self, scope: Scope) -> None:
        self.graph = scope.graph.copy()
        self.tensors = {t.name: t for t in self.graph.inputs} | {
            t.name: t for n in self.graph.nodes for t in n.outputs
        }

    def node(self, op: str, name: str, *inputs: Tensor, **attrs: int) -> Tensor:
        self.graph.nodes.append(gs.Node(op, name, attrs, list(inputs), [gs.Variable(name, np.float32)]))
        return self.graph.nodes[-1].outputs[0]

    def sizes(self, name: str, sizes: Sequence[int]) -> gs.Constant:
        return gs.Constant(name, np.array(sizes, np.int64))


def ledger(scope: Scope) -> gs.Graph:
    """The contribution of every source to ⟨cotangent, output⟩.

    `scope_ledger` has the shape [cotangents, sources], with the sources in the order of `at_sources`.
    """
    e = Extended(scope)
    sources = {n.name: n.inputs[1] for n in e.graph.nodes if n.name in scope.at_sources}
    added = [
        contribution_of(e, f"ledger/{name}", e.tensors[arrived], sources[name])
        for name, arrived in scope.at_sources.items()
    ]
    total = e.node("Concat", LEDGER, *added, axis=1)
    return part(
        e.graph, [total, *(t for t in e.graph.outputs if t.name == TRANSPOSED), e.tensors[scope.output]]
    )


def contribution_of(e: Extended, place: str, cotangents: Tensor, source: Tensor) -> Tensor:
    """⟨cotangent, source⟩ for each of the cotangents at a source.

    A source with one number for each channel is multiplied by the channel's mean, because runtimes compute
    such a mean in any layout of their convolutions.
    """
    channels, space = cotangents.shape[1:2], cotangents.shape[2:]
    if len(space) != 2 or source.shape is None or tuple(source.shape)[-3:] != (*channels, 1, 1):
        flat = e.node("Flatten", f"{place}/Flatten", e.node("Mul", place, cotangents, source), axis=1)
        return e.node("ReduceSum", f"{place}/ReduceSum", flat, e.sizes(f"{place}/axes", [1]))
    means = e.node(
        "Flatten",
        f"{place}/Flatten",
        e.node("GlobalAveragePool", f"{place}/GlobalAveragePool", cotangents),
        axis=1,
    )
    sums = e.node("Mul", place, means, gs.Constant(f"{place}/pixels", np.array(math.prod(space), np.float32)))
    return e.node(
        "MatMul",
        f"{place}/MatMul",
        sums,
        e.node("Reshape", f"{place}/Reshape", source, e.sizes(f"{place}/shape", [-1, 1])),
    )


def contributions(scope: Scope, names: Sequence[str]) -> gs.Graph:
    """cotangent·value at these tensors of the base, or cotangent·source at these sources, element by element.

    The outputs are `contribution/NAME`, in the order of the names.
    """
    e = Extended(scope)
    sources = {n.name: n.inputs[1] for n in e.graph.nodes if n.name in scope.at_sources}
    made = []
    for name in names:
        place, arrived = (
            f"contribution/{name}",
            e.tensors[scope.at_sources.get(name) or scope.at_tensors[name]],
        )
        value = sources.get(name)
        if value is None:
            value = e.node("Cast", f"{place}/Cast", e.tensors[name], to=TensorProto.FLOAT)
            value = e.node(
                "Reshape", f"{place}/Reshape", value, e.sizes(f"{place}/shape", [1, *arrived.shape[1:]])
            )
        made.append(e.node("Mul", place, arrived, value))
    return part(e.graph, made)
