"""What must hold for the file of a scope beyond what holds for every model, as others may have changed it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from onnx.onnx_cpp2py_export.checker import CheckerContext, ValidationError

from onnxscope.errors import BadModel

NEWEST_IR_VERSION = 1 << 30  # that onnx's checker can be told
LEAST_IR_VERSION = 4  # in older ones all weights are inputs too


def damaged(what: object, where: str) -> BadModel:
    return BadModel(
        f"the scope is damaged ({what})", where=where, remedy="write it again with 'onnxscope rewrite'"
    )


def damage_in(model: ModelProto, floats: Iterable[str]) -> str:
    """What is wrong with the graph of a scope's file, if anything; `floats` are inputs of floats."""
    graph = model.graph
    if model.functions or graph.sparse_initializer or [o.domain for o in model.opset_import] != [""]:
        return "it has functions, sparse weights or operators of other domains"
    if not LEAST_IR_VERSION <= model.ir_version <= NEWEST_IR_VERSION:
        return f"its IR version is {model.ir_version}"
    return wrong_ends(graph, set(floats)) or wrong_order(graph) or wrong_node(model)


def wrong_ends(graph: GraphProto, floats: set[str]) -> str:
    """An input or output that is no tensor, or an input whose type or sizes are not known."""
    for info in (*graph.input, *graph.output):
        tensor = info.type.tensor_type
        if info.type.WhichOneof("value") not in (None, "tensor_type"):
            return f"'{info.name}' is no tensor"
        if any(d.dim_value < 0 for d in tensor.shape.dim):
            return f"'{info.name}' has a negative size"
    for info in graph.input:
        tensor = info.type.tensor_type
        if not tensor.elem_type or not tensor.HasField("shape"):
            return f"the type or the sizes of '{info.name}' are not known"
        if info.name in floats and (tensor.elem_type != TensorProto.FLOAT or not tensor.shape.dim):
            return f"'{info.name}' does not hold floats"
    return ""


def wrong_order(graph: GraphProto) -> str:
    """A tensor that is made twice, or that is read before it is made."""
    made: set[str] = set()
    given = itertools.chain((i.name for i in graph.input), (t.name for t in graph.initializer))
    for read, written in [((), given), *((n.input, n.output) for n in graph.node)]:
        if missing := next((name for name in read if name and name not in made), None):
            return f"'{missing}' is read before it is made"
        for name in filter(None, written):
            if name in made:
                return f"'{name}' is made twice"
            made.add(name)
    computed = {name for n in graph.node for name in n.output}
    return next((f"no node makes '{o.name}'" for o in graph.output if o.name not in computed), "")


def wrong_node(model: ModelProto) -> str:
    """A node that is not one of the standard's."""
    context = CheckerContext()
    context.ir_version, context.opset_imports = model.ir_version, {"": model.opset_import[0].version}
    for node in model.graph.node:
        try:
            onnx.checker.check_node(node, context)
        except ValidationError as error:
            return f"node '{node.name}': {str(error).splitlines()[0]}"
        if has_body(node):
            return f"node '{node.name}' has a body"
    return ""


def has_body(node: NodeProto) -> bool:
    return any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)


def texts(value: Any) -> Any:
    """The value, if it is a list of texts or a mapping of texts to texts; else a TypeError."""
    every = [*value, *value.values()] if isinstance(value, dict) else value
    if not isinstance(every, list) or not all(isinstance(text, str) for text in every):
        raise TypeError("its metadata do not hold texts where they should")
    return value
