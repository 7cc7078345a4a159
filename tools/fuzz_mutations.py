"""How the fuzzer damages weights, what holds for the whole model, functions, bodies and bytes; and all mutations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fuzz_graphs as graphs
import numpy as np
import onnx
from fuzz_graphs import SMALL, TYPES, Random, a_graph, a_tensor_name, a_weight, array, number, whole
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

FILE = "fuzz.data"  # lies beside the model

# weights


def change_values(r: Random, model: ModelProto) -> None:
    tensor = a_weight(r, model)
    values = numpy_helper.to_array(tensor).copy().reshape(-1)
    with np.errstate(all="ignore"):
        for _ in range(r.choice((1, 2, 10))):
            values[r.randrange(len(values))] = (
                number(r) if values.dtype.kind == "f" else r.choice(SMALL) % 128
            )
    made = numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name)
    tensor.CopyFrom(made)


def reshape_weight(r: Random, model: ModelProto) -> None:
    """Other sizes, with as many values as these need, or without."""
    tensor = a_weight(r, model)
    dims = list(tensor.dims)
    what = r.randrange(4)
    if what == 0:
        dims.insert(r.randint(0, len(dims)), r.choice((0, 1, 2)))
    elif what == 1:
        del dims[r.randrange(len(dims))]
    else:
        dims[r.randrange(len(dims))] = whole(r)
    if all(0 <= d <= 64 for d in dims) and r.random() < 0.8:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.resize(values, dims), tensor.name))
    else:
        tensor.dims[:] = dims


def cast_weight(r: Random, model: ModelProto) -> None:
    tensor = a_weight(r, model)
    if r.random() < 0.3:
        tensor.data_type = r.choice((*TYPES, 99))
        return
    kind = r.choice(("f4", "f2", "f8", "i1", "u1", "i4", "i8", "?"))
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))


def replace_weight(r: Random, model: ModelProto) -> None:
    tensor = a_weight(r, model)
    tensor.CopyFrom(numpy_helper.from_array(array(r), tensor.name))


def cut_weight(r: Random, model: ModelProto) -> None:
    tensor = a_weight(r, model)
    tensor.raw_data = tensor.raw_data[: r.randrange(len(tensor.raw_data))]


def delete_weight(r: Random, model: ModelProto) -> None:
    graph = a_graph(r, model)
    del graph.initializer[r.randrange(len(graph.initializer))]


def feed_weight(r: Random, model: ModelProto) -> None:
    """List a stored tensor among the inputs, or leave it to the caller altogether."""
    graph = model.graph
    tensor = r.choice(graph.initializer)
    graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    if r.random() < 0.5:
        graph.initializer.remove(tensor)


def sparse_weight(r: Random, model: ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    chosen = r.choice(model.graph.initializer)
    sparse.dims[:] = list(chosen.dims)
    sparse.values.CopyFrom(numpy_helper.from_array(np.array([number(r)], np.float32), chosen.name))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([whole(r)])))
    model.graph.initializer.remove(chosen)


def external_weight(r: Random, model: ModelProto) -> None:
    tensor = a_weight(r, model)
    places = {"location": FILE, "offset": "0", "length": str(len(tensor.raw_data))}
    for _ in range(r.randrange(3)):
        key = r.choice(("location", "offset", "length", "checksum", "__class__", "basepath"))
        odd = ("..", "/etc/passwd", ".", "", "x" * 5000, "a\0b", "-1", "1e3", str(whole(r)), FILE, "9" * 40)
        places[key] = r.choice(odd)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in places.items():
        tensor.external_data.add(key=key, value=value)


# what holds for the whole model


def change_opset(r: Random, model: ModelProto) -> None:
    r.choice(model.opset_import).version = r.choice((*range(1, 28), 0, -1, 99, 1 << 40))


def change_imports(r: Random, model: ModelProto) -> None:
    if r.random() < 0.5:
        del model.opset_import[r.randrange(len(model.opset_import))]
    else:
        model.opset_import.append(helper.make_opsetid(r.choice(("", "ai.onnx", "mine")), r.randrange(1, 25)))


def change_ir_version(r: Random, model: ModelProto) -> None:
    model.ir_version = r.choice((0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 99, 1 << 40))


def change_metadata(r: Random, model: ModelProto) -> None:
    if not model.metadata_props:
        key = r.choice(("onnxscope.nodes", "names", "stride", "author", "Image.NominalPixelRange"))
        model.metadata_props.add(
            key=key, value=r.choice(("", "[]", "{}", "null", "32", "Ultralytics", "x" * 5000))
        )
        return
    entry = r.choice(model.metadata_props)
    what = r.randrange(4)
    if what == 0:
        model.metadata_props.remove(entry)
    elif what == 1:
        entry.value = r.choice(
            ("", "[]", "{}", "null", "1", '"x"', "[" * 2000, a_tensor_name(r, model), "taylor")
        )
    elif what == 2:
        at = r.randrange(max(len(entry.value), 1))
        entry.value = entry.value[:at] + r.choice(("", '"', "0", "-", "\x00")) + entry.value[at + 1 :]
    else:
        entry.value = json.dumps(damaged(r, json.loads(entry.value)))


def damaged(r: Random, value: Any) -> Any:
    """JSON with one of its parts replaced."""
    if r.random() < 0.3 or not isinstance(value, (list, dict)) or not value:
        return r.choice((None, 0, -1, 1.5, "", "x", [], {}, True, [[]], 1 << 70))
    key = r.choice(list(value)) if isinstance(value, dict) else r.randrange(len(value))
    value[key] = damaged(r, value[key])
    return value


# functions and bodies


def into_function(r: Random, model: ModelProto) -> None:
    """Let a node call a function that holds it, which may also call itself."""
    node = r.choice(model.graph.node)
    body = NodeProto()
    body.CopyFrom(node)
    inputs, outputs = list(dict.fromkeys(filter(None, node.input))), list(filter(None, node.output))
    imports = [helper.make_opsetid(o.domain, o.version) for o in model.opset_import]
    imports.append(helper.make_opsetid("fuzz", 1))
    own = [body]
    if r.random() < 0.2:
        own = [helper.make_node("F", inputs, outputs, domain="fuzz")]
    if r.random() < 0.3:
        inputs = inputs[: r.randrange(len(inputs) + 1)]
    model.functions.append(helper.make_function("fuzz", "F", inputs, outputs, own, imports))
    node.CopyFrom(helper.make_node("F", inputs, outputs, node.name, domain="fuzz"))
    model.opset_import.append(helper.make_opsetid("fuzz", 1))


def into_if(r: Random, model: ModelProto) -> None:
    """Put a node into both branches of an If, whose condition is stored or computed."""
    node = r.choice(model.graph.node)
    branches = []
    for name in ("then", "else"):
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.output[:] = [f"{o}_{name}" for o in node.output]
        outputs = [onnx.ValueInfoProto(name=o) for o in copy.output]
        branches.append(helper.make_graph([copy], name, [], outputs))
    condition = "fuzz_condition" if r.random() < 0.7 else a_tensor_name(r, model)
    stored = numpy_helper.from_array(np.array(r.random() < 0.5), "fuzz_condition")
    model.graph.initializer.append(stored)
    made = helper.make_node(
        "If", [condition], list(node.output), then_branch=branches[0], else_branch=branches[1]
    )
    node.CopyFrom(made)


def into_loop(r: Random, model: ModelProto) -> None:
    """Put a node with one input into a Loop that carries its tensor."""
    node = r.choice([n for n in model.graph.node if n.input and len(n.output) == 1])
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[0], copy.output[0] = "carried", "carried_on"
    infos = {k: onnx.ValueInfoProto(name=k) for k in ("carried", "carried_on")}
    scalar = {
        k: helper.make_tensor_value_info(k, t, [])
        for k, t in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))
    }
    again = helper.make_node("Identity", ["c"], ["c_on"])
    ends = [scalar["i"], scalar["c"], infos["carried"]]
    on = helper.make_tensor_value_info("c_on", TensorProto.BOOL, [])
    body = helper.make_graph([again, copy], "body", ends, [on, infos["carried_on"]])
    rounds = numpy_helper.from_array(np.array(whole(r)), "fuzz_rounds")
    model.graph.initializer.append(rounds)
    node.CopyFrom(helper.make_node("Loop", ["fuzz_rounds", "", node.input[0]], list(node.output), body=body))


# bytes


def pieces(r: Random, data: bytearray) -> Iterator[tuple[int, int]]:
    while True:
        start = r.randrange(len(data))
        yield start, min(len(data), start + r.choice((1, 2, 8, 64, 500)))


def flip_bits(r: Random, data: bytearray) -> None:
    for _ in range(r.choice((1, 1, 2, 8, 50))):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)


def set_bytes(r: Random, data: bytearray) -> None:
    for _ in range(r.choice((1, 1, 2, 8))):
        data[r.randrange(len(data))] = r.choice((0, 1, 0x7F, 0x80, 0xFF, r.randrange(256)))


def truncate(r: Random, data: bytearray) -> None:
    del data[r.randrange(len(data)) :]


def splice(r: Random, data: bytearray) -> None:
    (start, end), (at, _) = (next(pieces(r, data)) for _ in range(2))
    data[at:at] = data[start:end]


def cut_out(r: Random, data: bytearray) -> None:
    start, end = next(pieces(r, data))
    del data[start:end]


def insert_bytes(r: Random, data: bytearray) -> None:
    at = r.randrange(len(data) + 1)
    data[at:at] = r.randbytes(r.choice((1, 2, 8, 64)))


STRUCTURED: Sequence[Callable[[Random, ModelProto], None]] = (
    *(
        graphs.delete_node,
        graphs.bypass_node,
        graphs.duplicate_node,
        graphs.swap_nodes,
        graphs.change_operator,
        graphs.change_operator,
        graphs.insert_node,
    ),
    *(
        graphs.insert_node,
        graphs.rename_node,
        graphs.change_domain,
        graphs.change_attribute,
        graphs.change_attribute,
        graphs.retype_attribute,
    ),
    *(
        graphs.delete_attribute,
        graphs.add_attribute,
        graphs.add_attribute,
        graphs.refer_to_attribute,
        graphs.change_size,
        graphs.change_size,
        graphs.change_rank,
    ),
    *(
        graphs.drop_shape,
        graphs.change_type,
        graphs.change_kind,
        graphs.rewire,
        graphs.rewire,
        graphs.swap_inputs,
        graphs.dangle,
        graphs.more_or_fewer_inputs,
    ),
    *(
        graphs.more_or_fewer_outputs,
        graphs.rename_output,
        graphs.change_ends,
        change_values,
        reshape_weight,
        reshape_weight,
    ),
    *(cast_weight, replace_weight, cut_weight, delete_weight, feed_weight, sparse_weight, external_weight),
    *(change_opset, change_imports, change_ir_version, change_metadata, into_function, into_if, into_loop),
)
BYTES: Sequence[Callable[[Random, bytearray], None]] = (
    flip_bits,
    set_bytes,
    truncate,
    splice,
    cut_out,
    insert_bytes,
)
