"""How large the parts of a model may be. These limits hold before anything interprets the model.

They are far above what exporters write, and below what fills the memory or the stack of onnx and onnxruntime.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from onnxscope.errors import BadModel, shape_text
from onnxscope.files.checks import EXPORT_AGAIN, graphs_of, names, title

UNSEEN = 4 << 20  # bytes of a file whose parts are not counted: parsed, they take 75 times as much at most
MOST_PARTS = 1 << 21  # fields of the protobuf: 2 bytes of an empty node take 150 bytes of memory
MOST_NODES = 1 << 18  # in all graphs, with functions written out: as many as a rewriting writes at most
MOST_TENSORS = 1 << 18  # stored ones, in initializers and in nodes
MOST_RANK = 64  # axes of a tensor: NumPy has no more, and shape inference reserves memory for each
MOST_NESTED = 16  # bodies in bodies of If, Loop and Scan: onnx and onnxruntime follow them by recursion
MOST_CALLS = 64  # functions that call functions, for the same reason
MOST_ELEMENTS = 1 << 31  # of a tensor that is declared as an input or output of a graph
MOST_LETTERS = 1 << 16  # of a name
SMALLER = "export a smaller model"
Key = tuple[str, str, str]  # domain, name and overload of a function


def check_parts(data: bytes, where: str) -> None:
    """Refuse a file that consists of so many parts that parsing it would fill the memory."""
    if len(data) > UNSEEN and more_parts(data, MOST_PARTS):
        raise BadModel(f"it has more than {MOST_PARTS:,} parts", where=where, remedy=SMALLER)


def more_parts(data: bytes, most: int) -> bool:
    """Whether a serialised model has more fields than `most`. Damage is left to the parser to find."""
    around: list[tuple[int, int, Mapping[int, Any]]] = []  # the rest of each message that has been entered
    at, end, inner = 0, len(data), messages_in(ModelProto.DESCRIPTOR)
    try:
        while at < end or around:
            if at >= end:
                at, end, inner = around.pop()
                continue
            most -= 1
            if most < 0:
                return True
            key, at = varint(data, at)
            kind = key & 7
            if kind == 2:
                length, at = varint(data, at)
                if key >> 3 in inner:
                    around.append((at + length, end, inner))
                    end, inner = min(at + length, end), messages_in(inner[key >> 3])
                else:
                    at += length
            elif kind == 0:
                _, at = varint(data, at)
            else:  # 1 and 5 are numbers; 3 and 4 enclose a group, whose fields are counted as any others
                at += {1: 8, 5: 4}.get(kind, 0)
    except IndexError:
        pass
    return False


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in a protobuf, and where the next field starts."""
    value, shift = data[at] & 127, 7
    while data[at] & 128:
        at += 1
        value |= (data[at] & 127) << shift
        shift += 7
        if shift > 70:
            raise IndexError("no number of a protobuf is longer")
    return value, at + 1


@cache
def messages_in(descriptor: Any) -> Mapping[int, Any]:
    """The fields of a message that are messages themselves, by their number."""
    return {f.number: f.message_type for f in descriptor.fields if f.message_type is not None}


def check_limits(model: ModelProto, where: str) -> None:
    """Refuse a model whose parts are more, deeper or larger than the limits."""
    bodies: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    nodes = [node for body in bodies for node in every_node(body.node, 0)]
    if len(nodes) > MOST_NODES:
        raise BadModel(f"it has more than {MOST_NODES:,} nodes", where=where, remedy=SMALLER)
    if sum(map(len, map(tensors_of, nodes)), len(model.graph.initializer)) > MOST_TENSORS:
        raise BadModel(f"it stores more than {MOST_TENSORS:,} tensors", where=where, remedy=SMALLER)
    for name in names(model):
        if len(name) > MOST_LETTERS:
            raise BadModel(f"a name in it has {len(name):,} letters", where=where, remedy=SMALLER)
    check_calls(model, where)
    graphs = [model.graph, *(graph for node in nodes for graph in graphs_of(node))]
    for graph in graphs:
        check_declared(graph)
    for node in nodes:
        for tensor in tensors_of(node):
            check_rank(tensor.dims, title(node))


def every_node(nodes: Sequence[NodeProto], depth: int) -> Iterator[NodeProto]:
    """The nodes, and those of their bodies; refuses bodies that are nested too deeply."""
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            if depth == MOST_NESTED:
                raise BadModel(
                    f"bodies are nested more than {MOST_NESTED} deep", where=title(node), remedy=EXPORT_AGAIN
                )
            yield from every_node(graph.node, depth + 1)


def tensors_of(node: NodeProto) -> list[TensorProto]:
    found = []
    for a in node.attribute:
        found += [a.t, *a.tensors] if a.HasField("t") else list(a.tensors)
        for sparse in (
            [a.sparse_tensor, *a.sparse_tensors] if a.HasField("sparse_tensor") else a.sparse_tensors
        ):
            found += [sparse.values, sparse.indices]
    return found


def check_calls(model: ModelProto, where: str) -> None:
    """Refuse functions that call themselves, call each other too deeply, or have too many nodes in all."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    known: dict[Key, tuple[int, int]] = {}  # the nodes of a function written out, and how deep it calls

    def measured(nodes: Sequence[NodeProto], calls: tuple[Key, ...]) -> tuple[int, int]:
        count = depth = 0
        times = Counter((n.domain, n.op_type, n.overload) for n in every_node(nodes, 0))
        for key, often in times.items():
            count += often
            if key in functions:
                if key in calls or len(calls) == MOST_CALLS:
                    problem = "calls itself" if key in calls else f"lies more than {MOST_CALLS} calls deep"
                    raise BadModel(problem, where=f"function '{key[1]}'", remedy=EXPORT_AGAIN)
                if key not in known:
                    known[key] = measured(functions[key].node, (*calls, key))
                inner, below = known[key]
                count += often * inner
                depth = max(depth, below + 1)
                if len(calls) + depth > MOST_CALLS:
                    raise BadModel(
                        f"it calls functions more than {MOST_CALLS} deep", where=where, remedy=EXPORT_AGAIN
                    )
        return count, depth

    count, _ = measured(model.graph.node, ())
    if count > MOST_NODES:
        raise BadModel(
            f"with its functions written out it has more than {MOST_NODES:,} nodes",
            where=where,
            remedy=SMALLER,
        )


def check_declared(graph: GraphProto) -> None:
    """Refuse tensors of a graph whose declared sizes are impossible."""
    for tensor in graph.initializer:
        check_rank(tensor.dims, f"initializer '{tensor.name}'")
    for info in (*graph.input, *graph.output, *graph.value_info):
        dims = dims_of(info.type)
        check_rank(dims, f"tensor '{info.name}'")
        if any(d < 0 for d in dims) or math.prod(dims) > MOST_ELEMENTS:
            raise BadModel(
                f"it is declared to have the size {shape_text(dims)}",
                where=f"tensor '{info.name}'",
                remedy=EXPORT_AGAIN,
            )


def dims_of(kind: TypeProto) -> list[int]:
    """The declared sizes of a tensor, or of the tensors in a sequence; 1 for those that are left open."""
    while not kind.HasField("tensor_type"):
        which = kind.WhichOneof("value")
        if which == "sparse_tensor_type":
            return [d.dim_value if d.HasField("dim_value") else 1 for d in kind.sparse_tensor_type.shape.dim]
        if which not in ("sequence_type", "optional_type"):
            return []
        kind = getattr(kind, which).elem_type
    return [d.dim_value if d.HasField("dim_value") else 1 for d in kind.tensor_type.shape.dim]


def check_rank(dims: Sequence[int], where: str) -> None:
    if len(dims) > MOST_RANK:
        raise BadModel(
            f"it has {len(dims):,} axes, and {MOST_RANK} are the most", where=where, remedy=EXPORT_AGAIN
        )
