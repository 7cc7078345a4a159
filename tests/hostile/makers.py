"""What hostile files are made from: a sound model, its parts, and raw bytes of protobufs and pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (1, 3, 8, 8)
OPSETS = [helper.make_opsetid("", 18)]
LOCAL = helper.make_opsetid("local", 1)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(
    op: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **attrs: Any
) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), **attrs)


def stored(values: Any, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[TensorProto] = (),
    shape: Sequence[int | str] = SIZE,
    **more: Any,
) -> onnx.ModelProto:
    """A model from `x` to `y`."""
    infos = [helper.make_tensor_value_info(name, FLOAT, s) for name, s in (("x", shape), ("y", None))]
    graph = helper.make_graph(list(nodes), "graph", infos[:1], infos[1:], list(weights))
    return helper.make_model(graph, opset_imports=[*OPSETS, LOCAL], ir_version=10, **more)


def classifier(relu: str = "relu", hidden: str = "h") -> onnx.ModelProto:
    """A sound network of four scores, with these names of a node and of a tensor."""
    nodes = [
        node("Conv", ["x", "w"], [hidden], name="conv", pads=[1] * 4),
        node("Relu", [hidden], ["r"], name=relu),
        node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        node("Flatten", ["p"], ["y"], name="flat"),
    ]
    return model(nodes, [stored(numbers(4, 3, 3, 3))])


def after(*nodes: onnx.NodeProto, weights: Sequence[TensorProto] = ()) -> onnx.ModelProto:
    """A network that adds the tensor `c`, which these nodes make, to its input."""
    return model([*nodes, node("Add", ["x", "c"])], weights)


def graph_of(nodes: Sequence[onnx.NodeProto], output: str, inputs: Sequence[Any] = ()) -> onnx.GraphProto:
    return helper.make_graph(
        list(nodes), "body", list(inputs), [helper.make_tensor_value_info(output, FLOAT, None)]
    )


def nested_ifs(depth: int) -> onnx.ModelProto:
    body = graph_of([node("Identity", ["x"], ["b0"])], "b0")
    for k in range(1, depth):
        body = graph_of([node("If", ["yes"], [f"b{k}"], then_branch=body, else_branch=body)], f"b{k}")
        body.node[0].attribute[1].g.CopyFrom(graph_of([node("Identity", ["x"], ["e"])], "e"))
    other = graph_of([node("Identity", ["x"], ["e"])], "e")
    return model([node("If", ["yes"], ["y"], then_branch=body, else_branch=other)], [stored(True, "yes")])


def deep_bytes(depth: int) -> bytes:
    """Bodies in bodies as bytes: protobuf itself refuses to make them."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return raw_model(graph)


def nested_loops(depth: int, rounds: int) -> onnx.ModelProto:
    """Loops in loops, each of so many rounds."""
    body_inputs = [
        helper.make_tensor_value_info("k", INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("a", FLOAT, SIZE),
    ]
    outputs = [helper.make_tensor_value_info(n, t, None) for n, t in (("c2", TensorProto.BOOL), ("b", FLOAT))]
    inner = node("Relu", ["a"], ["b"])
    for _ in range(depth):
        body = helper.make_graph([node("Identity", ["c"], ["c2"]), inner], "body", body_inputs, outputs)
        inner = node("Loop", ["n", "", "a"], ["b"], body=body)
    inner.input[2], inner.output[0] = "x", "y"
    return model([inner], [stored(np.int64(rounds), "n")])


def functions(*calls: Sequence[str]) -> onnx.ModelProto:
    """Functions f0, f1, … that each call these functions, one after the other."""
    proto = model([helper.make_node("f0", ["x"], ["y"], "call", domain="local")])
    for k, called in enumerate(calls):
        body = [
            helper.make_node(name, [f"a{j}"], [f"a{j + 1}"], domain="" if name == "Relu" else "local")
            for j, name in enumerate(called)
        ]
        proto.functions.append(
            helper.make_function("local", f"f{k}", ["a0"], [f"a{len(called)}"], body, [*OPSETS, LOCAL])
        )
    return proto


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def raw_model(graph: bytes) -> bytes:
    """The bytes of a model with these bytes as its graph."""
    return b"\x08\x0a" + field(8, b"\x10\x12") + field(7, graph)


def external(beside: Path, location: str = "w.bin", **keys: object) -> onnx.ModelProto:
    """The sound network, its weight in a file beside it."""
    proto = classifier()
    tensor = proto.graph.initializer[0]
    if not (beside / "w.bin").exists():
        (beside / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **keys}.items():
        tensor.external_data.add(key=key, value=str(value))
    return proto


def png(width: int, height: int, rows: int = 0, **chunks: bytes) -> bytes:
    """A PNG of one bit a pixel; so many rows of it are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezed, line = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    body = b"".join(squeezed.compress(line) for _ in range(rows)) + squeezed.flush()
    others = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + others + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with this header."""
    text = header.encode() + b"\n"
    length = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data
