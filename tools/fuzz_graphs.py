"""How the fuzzer damages a graph: its nodes, attributes, shapes, types and wiring.

A mutation takes a source of random numbers, and raises IndexError if the model has nothing for it to change.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Random = random.Random
SMALL = (-3, -2, -1, 0, 1, 1, 2, 2, 3, 4, 5, 7, 8, 12, 16)
EXTREME = (64, 255, 1000, 1 << 16, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-12, 1e-45, 3e38, -3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    "SAME_UPPER",
    "VALID",
    "NOTSET",
    "linear",
    "nearest",
    "cubic",
    "edge",
    "reflect",
    "constant",
    "wrap",
)
NAMES = (
    "",
    "x",
    "scope_probe",
    "scope_frozen",
    "\x1b[2J",
    "a\nb",
    "<b>&amp;",
    "../../x",
    "n" * 5000,
    "ü\u202e",
)
OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""})
TYPES = sorted(TensorProto.DataType.values())


def whole(r: Random) -> int:
    return r.choice(SMALL) if r.random() < 0.8 else r.choice(EXTREME)


def number(r: Random) -> float:
    return r.choice(NUMBERS) if r.random() < 0.5 else r.gauss(0, 10)


def graphs(model: ModelProto) -> list[Any]:
    """The model's graph, its functions, and all bodies of nodes."""
    found: list[Any] = [model.graph, *model.functions]
    for body in found:
        found += [
            g for n in body.node for a in n.attribute for g in (*([a.g] if a.g.node else []), *a.graphs)
        ]
    return found


def nodes(model: ModelProto) -> list[NodeProto]:
    return [n for body in graphs(model) for n in body.node]


def a_node(r: Random, model: ModelProto) -> NodeProto:
    return r.choice(nodes(model))


def a_graph(r: Random, model: ModelProto) -> GraphProto:
    return r.choice([g for g in graphs(model) if isinstance(g, GraphProto)])


def a_weight(r: Random, model: ModelProto) -> TensorProto:
    held = [t for g in graphs(model) if isinstance(g, GraphProto) for t in g.initializer]
    return r.choice(
        held + [a.t for n in nodes(model) for a in n.attribute if a.type == AttributeProto.TENSOR]
    )


def a_tensor_name(r: Random, model: ModelProto) -> str:
    graph = model.graph
    names = [o for n in graph.node for o in n.output] + [i.name for i in graph.input]
    return r.choice(names + [t.name for t in graph.initializer])


def array(r: Random) -> np.ndarray:
    """A small array of a random shape, type and content."""
    shape = [r.choice((0, 1, 1, 2, 3, 4, 5, 8)) for _ in range(r.randrange(5))]
    values = np.array([number(r) for _ in range(int(np.prod(shape)))], np.float64).reshape(shape)
    kind = r.choice(
        (np.float32, np.float32, np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, bool)
    )
    with np.errstate(all="ignore"):
        return (
            values.astype(kind) if kind in (np.float32, np.float64, np.float16) else (values > 0).astype(kind)
        )


# nodes


def delete_node(r: Random, model: ModelProto) -> None:
    body = r.choice(graphs(model))
    del body.node[r.randrange(len(body.node))]


def bypass_node(r: Random, model: ModelProto) -> None:
    """Delete a node and let its readers read its first input."""
    node = r.choice(model.graph.node)
    old, new = r.choice(node.output), node.input[0]
    model.graph.node.remove(node)
    for reader in model.graph.node:
        reader.input[:] = [new if i == old else i for i in reader.input]


def duplicate_node(r: Random, model: ModelProto) -> None:
    body = r.choice(graphs(model))
    copy = body.node.add()
    copy.CopyFrom(r.choice(list(body.node)[:-1]))
    if r.random() < 0.7:
        copy.output[:] = [f"{o}_again" for o in copy.output]


def swap_nodes(r: Random, model: ModelProto) -> None:
    body = r.choice(graphs(model))
    i, j = (r.randrange(len(body.node)) for _ in range(2))
    first, second = NodeProto(), NodeProto()
    first.CopyFrom(body.node[i])
    second.CopyFrom(body.node[j])
    body.node[i].CopyFrom(second)
    body.node[j].CopyFrom(first)


def change_operator(r: Random, model: ModelProto) -> None:
    a_node(r, model).op_type = r.choice(OPERATORS)


def insert_node(r: Random, model: ModelProto) -> None:
    """Another operator between a tensor and its readers."""
    graph, name = model.graph, a_tensor_name(r, model)
    extra = [a_tensor_name(r, model) for _ in range(r.choice((0, 0, 1, 2)))]
    node = helper.make_node(r.choice(OPERATORS), [name, *extra], [f"{name}_in"], f"{name}_node")
    readers = [n for n in graph.node if name in n.input]
    at = list(graph.node).index(r.choice(readers))
    for reader in readers:
        reader.input[:] = [f"{name}_in" if i == name else i for i in reader.input]
    graph.node.insert(at, node)
    if r.random() < 0.5:
        add_attribute(r, model, node)


def rename_node(r: Random, model: ModelProto) -> None:
    node = a_node(r, model)
    node.name = r.choice((*NAMES, r.choice(nodes(model)).name))


def change_domain(r: Random, model: ModelProto) -> None:
    a_node(r, model).domain = r.choice(("", "ai.onnx", "com.microsoft", "ai.onnx.ml", "mine"))


# attributes


def value_of(r: Random, kind: int) -> Any:
    """A value for an attribute of this kind."""
    count = r.choice((0, 1, 2, 2, 3, 4, 4, 6, 8))
    if kind == AttributeProto.INTS:
        return [whole(r)] * count if r.random() < 0.5 else [whole(r) for _ in range(count)]
    if kind == AttributeProto.FLOATS:
        return [number(r) for _ in range(count)]
    if kind == AttributeProto.STRINGS:
        return [r.choice(TEXTS) for _ in range(count)]
    if kind == AttributeProto.TENSOR:
        return numpy_helper.from_array(array(r), "value")
    return {AttributeProto.FLOAT: number(r), AttributeProto.STRING: r.choice(TEXTS)}.get(kind, whole(r))


def set_attribute(node: NodeProto, name: str, kind: int, value: Any) -> None:
    made = helper.make_attribute(name, value, attr_type=kind) if kind in KINDS else AttributeProto(name=name)
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, made])


KINDS = tuple(getattr(AttributeProto, k) for k in "INT INTS FLOAT FLOATS STRING STRINGS TENSOR".split())


def change_attribute(r: Random, model: ModelProto) -> None:
    node, attribute = r.choice([(n, a) for n in nodes(model) for a in n.attribute])
    if attribute.type == AttributeProto.INTS and attribute.ints and r.random() < 0.6:
        attribute.ints[r.randrange(len(attribute.ints))] = whole(r)
    else:
        set_attribute(node, attribute.name, attribute.type, value_of(r, attribute.type))


def retype_attribute(r: Random, model: ModelProto) -> None:
    node, attribute = r.choice([(n, a) for n in nodes(model) for a in n.attribute])
    if r.random() < 0.3:
        attribute.type = r.choice(AttributeProto.AttributeType.values())
    else:
        kind = r.choice(KINDS)
        set_attribute(node, attribute.name, kind, value_of(r, kind))


def delete_attribute(r: Random, model: ModelProto) -> None:
    node = r.choice([n for n in nodes(model) if n.attribute])
    del node.attribute[r.randrange(len(node.attribute))]


def add_attribute(r: Random, model: ModelProto, node: NodeProto | None = None) -> None:
    """One that the operator has, of its kind, or one that no operator has."""
    node = node or a_node(r, model)
    known = onnx.defs.get_schema(node.op_type).attributes if onnx.defs.has(node.op_type) else {}
    if known and r.random() < 0.9:
        name = r.choice(sorted(known))
        kind = known[name].type.value
        set_attribute(node, name, kind, value_of(r, kind))
    else:
        kind = r.choice(KINDS)
        set_attribute(node, r.choice(("odd", "axis", "to", "value")), kind, value_of(r, kind))


def refer_to_attribute(r: Random, model: ModelProto) -> None:
    r.choice([a for n in nodes(model) for a in n.attribute]).ref_attr_name = r.choice(("", "axis", "nowhere"))


# shapes and types


def infos(model: ModelProto) -> list[Any]:
    return [
        i for g in graphs(model) if isinstance(g, GraphProto) for i in (*g.input, *g.output, *g.value_info)
    ]


def change_size(r: Random, model: ModelProto) -> None:
    dim = r.choice([d for i in infos(model) for d in i.type.tensor_type.shape.dim])
    if r.random() < 0.3:
        dim.dim_param = r.choice(("N", "", "height", "scope"))
    else:
        dim.dim_value = whole(r)


def change_rank(r: Random, model: ModelProto) -> None:
    shape = r.choice(infos(model)).type.tensor_type.shape
    if shape.dim and r.random() < 0.5:
        del shape.dim[r.randrange(len(shape.dim))]
    else:
        shape.dim.add().dim_value = whole(r)


def drop_shape(r: Random, model: ModelProto) -> None:
    r.choice(infos(model)).type.tensor_type.ClearField("shape")


def change_type(r: Random, model: ModelProto) -> None:
    r.choice(infos(model)).type.tensor_type.elem_type = r.choice((*TYPES, 99))


def change_kind(r: Random, model: ModelProto) -> None:
    """A sequence, an optional or a map where a tensor was."""
    kind = r.choice(infos(model)).type
    held = onnx.TypeProto()
    held.CopyFrom(kind)
    which = r.choice(("sequence_type", "optional_type", "map_type", "nothing"))
    kind.Clear()
    if which == "map_type":
        kind.map_type.key_type = TensorProto.INT64
        kind.map_type.value_type.CopyFrom(held)
    elif which != "nothing":
        getattr(kind, which).elem_type.CopyFrom(held)


# wiring


def rewire(r: Random, model: ModelProto) -> None:
    node = r.choice([n for n in nodes(model) if n.input])
    node.input[r.randrange(len(node.input))] = a_tensor_name(r, model)


def swap_inputs(r: Random, model: ModelProto) -> None:
    node = r.choice([n for n in nodes(model) if len(n.input) > 1])
    node.input[:] = r.sample(list(node.input), len(node.input))


def dangle(r: Random, model: ModelProto) -> None:
    node = r.choice([n for n in nodes(model) if n.input])
    node.input[r.randrange(len(node.input))] = r.choice(("", "nowhere"))


def more_or_fewer_inputs(r: Random, model: ModelProto) -> None:
    node = a_node(r, model)
    if node.input and r.random() < 0.5:
        del node.input[-1]
    else:
        node.input.append(a_tensor_name(r, model))


def more_or_fewer_outputs(r: Random, model: ModelProto) -> None:
    node = a_node(r, model)
    if node.output and r.random() < 0.5:
        del node.output[-1]
    else:
        node.output.append(r.choice(("", "more", a_tensor_name(r, model))))


def rename_output(r: Random, model: ModelProto) -> None:
    node = r.choice([n for n in nodes(model) if n.output])
    node.output[r.randrange(len(node.output))] = r.choice((*NAMES, a_tensor_name(r, model)))


def change_ends(r: Random, model: ModelProto) -> None:
    """Delete, repeat, add or rename an input or output of a graph."""
    graph = a_graph(r, model)
    ends = graph.input if r.random() < 0.5 else graph.output
    what = r.randrange(4)
    if what == 0:
        del ends[r.randrange(len(ends))]
    elif what == 1:
        ends.add().CopyFrom(r.choice(list(ends)[:-1]))
    elif what == 2:
        ends.append(helper.make_tensor_value_info(a_tensor_name(r, model), r.choice(TYPES[1:]), [1, 3]))
    else:
        r.choice(ends).name = r.choice((*NAMES, a_tensor_name(r, model)))
