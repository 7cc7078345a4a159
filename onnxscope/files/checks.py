"""What must hold before a model is used: names are text, and nodes have what their operators require.

onnx and onnxruntime rely on some of this without checking it, and crash the process where it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from onnxscope.errors import BadModel

EXPORT_AGAIN = "export or download the model again"
BODIES = {"If", "Loop", "Scan"}  # operators that may leave out any of their outputs
MOST_AXES = 1 << 10
Opsets = Mapping[str, int]


def check_model(model: onnx.ModelProto, where: str) -> None:
    """Refuse a damaged model, and a file of another kind."""
    if not model.ir_version or not model.opset_import:
        raise BadModel(
            "not an ONNX model, or cut short: it names no IR version or no operator set",
            where=where,
            remedy=EXPORT_AGAIN,
        )
    if not model.graph.node:
        raise BadModel("the graph holds no nodes", where=where, remedy="export it again")
    if any(isinstance(name, bytes) for name in names(model)):  # protobuf could not decode it
        raise BadModel("damaged: a name in it is not text", where=where, remedy=EXPORT_AGAIN)
    opsets = {o.domain: o.version for o in model.opset_import}
    check_nodes(model.graph, opsets)
    for function in model.functions:
        own = {o.domain: o.version for o in function.opset_import}
        check_nodes(function, {**opsets, **own}, in_function=True)


def names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Every name by which the model's parts refer to each other."""
    yield from (opset.domain for opset in model.opset_import)
    yield from names_in(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        yield from (opset.domain for opset in function.opset_import)
        yield from names_at(function.node)


def names_in(graph: GraphProto) -> Iterator[str | bytes]:
    yield graph.name
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    yield from names_at(graph.node)


def names_at(nodes: Sequence[NodeProto]) -> Iterator[str | bytes]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (
            name for attribute in node.attribute for name in (attribute.name, attribute.ref_attr_name)
        )
        for graph in graphs_of(node):
            yield from names_in(graph)


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The subgraphs of a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def check_nodes(body: GraphProto | FunctionProto, opsets: Opsets, *, in_function: bool = False) -> None:
    """Refuse attributes of the wrong type, and nodes that leave out a required tensor."""
    for node in body.node:
        if not in_function and (referring := next((a for a in node.attribute if a.ref_attr_name), None)):
            raise BadModel(
                f"its attribute '{referring.name}' refers to one of a function, and it is in no function",
                where=title(node),
                remedy=EXPORT_AGAIN,
            )
        schema = schema_of(node.op_type, node.domain, opsets.get(node.domain, opsets.get("ai.onnx", 1)))
        if schema is not None:
            problem = wrong_attribute(node, schema) or left_out(node, schema)
            if problem:
                raise BadModel(problem, where=title(node), remedy=EXPORT_AGAIN)
        for graph in graphs_of(node):
            check_nodes(graph, opsets, in_function=in_function)


@cache
def schema_of(op: str, domain: str, version: int) -> Any:  # its stub file lacks half of what it has
    """The standard's definition of an operator, or None."""
    domain = "" if domain == "ai.onnx" else domain
    known = 1 <= version <= onnx.defs.onnx_opset_version() and onnx.defs.has(op, version, domain)
    return onnx.defs.get_schema(op, version, domain) if known else None


def wrong_attribute(node: NodeProto, schema: Any) -> str:
    for attribute in node.attribute:
        wanted = schema.attributes.get(attribute.name)
        if wanted is not None and not attribute.ref_attr_name and attribute.type != wanted.type.value:
            return f"its attribute '{attribute.name}' is not of the type {wanted.type.name}"
        if attribute.name == "axis" and abs(attribute.i) > MOST_AXES:
            return f"its axis {attribute.i} lies outside of any tensor"
    return ""


def left_out(node: NodeProto, schema: Any) -> str:
    """Which required tensor of a node has an empty name, if any; only optional ones may."""
    for kind, given, formal in (
        ("input", node.input, schema.inputs),
        ("output", node.output, schema.outputs),
    ):
        for i, name in enumerate(given):
            option = formal[min(i, len(formal) - 1)].option.name if formal else "Optional"
            if (
                not name
                and (option == "Variadic" or (kind == "input" and option == "Single"))
                and node.op_type not in BODIES
            ):
                return f"its {kind} {i} is left out"
    return ""


def title(node: NodeProto) -> str:
    """How errors name a node of the model."""
    return f"node '{node.name or next(iter(node.output), '')}' ({node.op_type})"
