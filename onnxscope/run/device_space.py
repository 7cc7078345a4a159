"""Blocks of vectors that stay on the device: small ONNX programs compute with them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxscope.runtime import Device, Session, Value


class ValueSpace:
    """Blocks that are values on a device."""

    def __init__(self, shape: tuple[int, ...], on: Device) -> None:
        self.shape, self.dtype, self.on = shape, np.dtype(np.float32), on

    def of(self, array: np.ndarray) -> Value:
        return self._session("dot").value(np.ascontiguousarray(array, np.float32).reshape(-1, *self.shape))

    def array(self, block: Value) -> np.ndarray:
        return np.asarray(block.numpy())

    def dot(self, a: Value, b: Value) -> np.ndarray:
        return np.asarray(self._run("dot", a=a, b=b).numpy()).astype(np.float64)

    def combine(self, coefficients: np.ndarray, a: Value) -> Value:
        return self._run("combine", a=a, c=self._coefficients(coefficients))

    def subtract(self, b: Value, coefficients: np.ndarray, a: Value) -> Value:
        return self._run("subtract", a=a, b=b, c=self._coefficients(coefficients))

    def join(self, blocks: Sequence[Value]) -> Value:
        joined = blocks[0]
        for block in blocks[1:]:
            joined = self._run("join", a=joined, b=block)
        return joined

    def _coefficients(self, array: np.ndarray) -> Value:
        return self._session("combine").value(np.ascontiguousarray(array, np.float32))

    def _session(self, name: str) -> Session:
        return operation(name, self.shape, self.on)

    def _run(self, name: str, **values: Value) -> Value:
        return self._session(name).on_values(values)["y"]


@cache
def operation(name: str, shape: tuple[int, ...], on: Device) -> Session:
    """The session of one operation on blocks of this shape."""
    return Session(PROGRAMS[name](shape), on=on)


def flattened(block: str) -> onnx.NodeProto:
    """A node that turns every vector of a block into a row."""
    return helper.make_node("Flatten", [block], [f"{block}_rows"], axis=1)


def combination() -> list[onnx.NodeProto]:
    """c·a as a block."""
    return [
        flattened("a"),
        helper.make_node("MatMul", ["c", "a_rows"], ["c_a"]),
        helper.make_node("Reshape", ["c_a", "block"], ["sum"]),
    ]


def program(shape: tuple[int, ...], inputs: str, *nodes: onnx.NodeProto) -> bytes:
    """A model of these nodes: a and b are blocks, c holds coefficients, y is the result."""
    sizes: dict[str, list[str | int]] = {
        "a": ["count_a", *shape],
        "b": ["count_b", *shape],
        "c": ["count_c", "count_a"],
    }
    fed = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes[name]) for name in inputs]
    block = helper.make_tensor("block", TensorProto.INT64, [1 + len(shape)], [-1, *shape])
    graph = helper.make_graph(
        list(nodes),
        "vectors",
        fed,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [block] if "c" in inputs else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


PROGRAMS: dict[str, Callable[[tuple[int, ...]], bytes]] = {
    "dot": lambda shape: program(
        shape,
        "ab",
        flattened("a"),
        flattened("b"),
        helper.make_node("Transpose", ["b_rows"], ["b_columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["a_rows", "b_columns"], ["y"]),
    ),
    "combine": lambda shape: program(
        shape, "ac", *combination(), helper.make_node("Identity", ["sum"], ["y"])
    ),
    "subtract": lambda shape: program(
        shape, "abc", *combination(), helper.make_node("Sub", ["b", "sum"], ["y"])
    ),
    "join": lambda shape: program(shape, "ab", helper.make_node("Concat", ["a", "b"], ["y"], axis=0)),
}
