"""Programs: the parts of a scope that an engine runs.

`freeze` turns the image into y0 and the states, once. `linear` and `transpose` read these states, and turn
probes and cotangents into F·probe and Fᵀ·cotangent; `ledger` turns cotangents into the contribution of each
source. `affine` is F·probe + r. It holds the base as well, because it runs only once for each image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property

import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

from onnxscope.graph.parts import graph_of, part
from onnxscope.graph.tensors import Tensor, element_type, is_known
from onnxscope.rewriting.fuse import fold_gains
from onnxscope.rewriting.scope import COTANGENT, FROZEN, LEDGER, PROBE, TRANSPOSED, Scope
from onnxscope.run import ledger_programs

# Operators that are repeated in every run if what they read is smaller than their result. So a mask is stored
# with one byte for each element, not with four as float32.
REPEATED = {"Cast", "Where", "Expand", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}


class Program:
    """A graph to run, with the names of its inputs and outputs."""

    def __init__(self, name: str, graph: gs.Graph) -> None:
        self.name, self.graph = name, graph

    @property
    def inputs(self) -> list[str]:
        return [t.name for t in self.graph.inputs]

    @property
    def outputs(self) -> list[str]:
        return [t.name for t in self.graph.outputs]

    def peak_bytes(self, probes: int) -> int:
        """The most bytes that results of nodes take at once while so many probes run."""
        nodes = self.graph.nodes
        last = {t.name: k for k, n in enumerate(nodes) for t in n.inputs} | dict.fromkeys(
            self.outputs, len(nodes)
        )
        dying: dict[int, int] = defaultdict(int)
        alive = most = 0
        for k, node in enumerate(nodes):
            for t in node.outputs:
                size = tensor_bytes(t, probes)
                alive += size
                dying[last.get(t.name, k)] += size
            most = max(most, alive)
            alive -= dying[k]
        return most


def tensor_bytes(tensor: Tensor, probes: int) -> int:
    """The size of a tensor for so many probes; 0 where it is not known."""
    kind = element_type(tensor)
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING) or tensor.shape is None:
        return 0
    return math.prod(d if isinstance(d, int) else probes for d in tensor.shape) * int(
        helper.tensor_dtype_to_np_dtype(kind).itemsize
    )


class Programs:
    """The programs of a scope; `stateless` ones run the base with every batch instead of reading states."""

    def __init__(self, scope: Scope, *, stateless: bool = False) -> None:
        self._scope, self.stateless = scope, stateless
        self._without_sources = scope.linear()
        fold_gains(self._without_sources, variables(self._without_sources))

    @cached_property
    def freeze(self) -> Program:
        """Image → y0, x0, the states, and what a specialised scope is guarded by."""
        tensors = {
            n: self._scope.tensor(n)
            for n in dict.fromkeys((self._scope.output, self._scope.image, *self.states, *self._scope.guards))
        }
        made = [t for t in tensors.values() if t.inputs]
        return Program("freeze", part(self._scope.graph, made))

    @cached_property
    def linear(self) -> Program:
        return self._cut("linear", FROZEN)

    @cached_property
    def transpose(self) -> Program:
        return self._cut("transpose", TRANSPOSED)

    @cached_property
    def affine(self) -> Program:
        return Program("affine", part(self._scope.graph, [self._scope.tensor(FROZEN)]))

    @cached_property
    def _whole_ledger(self) -> gs.Graph:
        graph = ledger_programs.ledger(self._scope)
        fold_gains(graph, variables(graph))
        return graph

    @cached_property
    def ledger(self) -> Program:
        """Cotangent → the contribution of each source."""
        whole = part(self._whole_ledger, [t for t in self._whole_ledger.outputs if t.name == LEDGER])
        return Program("ledger", whole if self.stateless else without_base(whole))

    @cached_property
    def sources(self) -> Program:
        """Image → what the ledger reads besides the states, if anything: sources that depend on the image."""
        made = {t.name: t for n in self._whole_ledger.nodes for t in n.outputs}
        known = {*self.states, COTANGENT}
        return Program(
            "sources",
            part(self._whole_ledger, [made[n] for n in self.ledger.inputs if n in made and n not in known]),
        )

    def contributions(self, names: tuple[str, ...]) -> Program:
        """Image and cotangent → cotangent·value at these tensors of the base, cotangent·source at sources."""
        return Program(
            f"contributions at {' '.join(names)}", ledger_programs.contributions(self._scope, names)
        )

    @cached_property
    def states(self) -> list[str]:
        """The names of the base's values that other programs read; of the model's inputs if `stateless`."""
        read = dict.fromkeys((*self.linear.inputs, *self.transpose.inputs))
        return [name for name in read if name not in (PROBE, COTANGENT)]

    def _cut(self, name: str, output: str) -> Program:
        result = next(t for t in self._without_sources.outputs if t.name == output)
        whole = part(self._without_sources, [result])
        return Program(name, whole if self.stateless else without_base(whole))


def without_base(graph: gs.Graph) -> gs.Graph:
    """The nodes that carry probes, and those that are REPEATED for them; the states become inputs."""
    fed = {t.name for t in graph.inputs if t.name in (PROBE, COTANGENT)}
    varying = variables(graph)
    carried = set(fed)
    kept: set[int] = set()
    states: dict[str, Tensor] = {}
    for node in graph.nodes:
        if any(t.name in carried for t in node.inputs):
            carried.update(t.name for t in node.outputs)
            kept.add(id(node))
    for node in [n for n in graph.nodes if id(n) in kept]:
        for t in node.inputs:
            if t.name not in carried:
                hold(t, varying, kept, states)
    inputs = [*states.values(), *(t for t in graph.inputs if t.name in fed)]
    return graph_of(graph, [n for n in graph.nodes if id(n) in kept], inputs, graph.outputs)


def variables(graph: gs.Graph) -> set[str]:
    """The names of all tensors that are not constant expressions."""
    names = {t.name for t in graph.inputs}
    for node in graph.nodes:
        if any(t.name in names for t in node.inputs):
            names.update(t.name for t in node.outputs)
    return names


def hold(tensor: Tensor, varying: set[str], kept: set[int], states: dict[str, Tensor]) -> None:
    """Make a tensor of the base available: as a state, or computed from a smaller one or from constants."""
    if is_known(tensor) or not tensor.name:
        return
    node = tensor.inputs[0] if tensor.inputs else None
    sources = [t for t in node.inputs if t.name in varying] if node else []
    smaller = (
        node is not None
        and node.op in REPEATED
        and len(sources) == 1
        and 0 < tensor_bytes(sources[0], 1) <= tensor_bytes(tensor, 1)
    )
    if node is None or (sources and not smaller):
        states[tensor.name] = tensor
    elif id(node) not in kept:
        kept.add(id(node))
        for t in node.inputs:
            hold(t, varying, kept, states)
