"""What can be read from a graph's tensors and nodes: element types, shapes, values, and names for errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

from onnxscope.errors import DECIDE, BadModel, Undecided, shape_text

gs.logger.G_LOGGER.severity = gs.logger.G_LOGGER.CRITICAL  # it would print into what is printed for machines

Tensor: TypeAlias = gs.Variable | gs.Constant
Shape = tuple[int, ...]

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def element_type(tensor: Tensor) -> int:
    """The onnx element type of a tensor, 0 where it is unknown."""
    dtype = tensor.export_dtype if isinstance(tensor, gs.Constant) else tensor.dtype
    if dtype is None:
        return 0
    return int(dtype) if isinstance(dtype, int) else int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def np_or_enum(elem: int) -> Any:
    """An onnx element type as graphsurgeon stores it: NumPy's type, or onnx's number where NumPy has none."""
    if elem not in TensorProto.DataType.values():
        raise BadModel(f"there is no element type {elem}", remedy="export the model again")
    return helper.tensor_dtype_to_np_dtype(elem) if elem else None


def is_float(tensor: Tensor) -> bool:
    return element_type(tensor) in FLOATS


def is_sized(tensor: Tensor) -> bool:
    """Whether all sizes of the tensor are fixed numbers."""
    return tensor.shape is not None and all(isinstance(d, int) for d in tensor.shape)


def is_known(tensor: Tensor) -> bool:
    """Whether the tensor is a constant."""
    return isinstance(tensor, gs.Constant)


def shape_of(tensor: Tensor) -> Shape:
    """The fixed shape of a tensor. A leading size that is free, as it counts probes, is given as -1."""
    if tensor.shape is None:
        raise Undecided(
            f"the shape of '{tensor.name}' cannot be inferred",
            where=producer_name(tensor),
            remedy=f"fix the input sizes with --input-shape NAME:1x3x224x224, or {DECIDE}",
        )
    return tuple(d if isinstance(d, int) else -1 for d in tensor.shape)


def numel(shape: Sequence[int]) -> int:
    """The number of elements of a tensor of this shape."""
    return int(np.prod(shape, dtype=np.int64)) if len(shape) else 1


def dims(tensor_type: onnx.TypeProto.Tensor) -> list[int | None]:
    """The sizes in a tensor's onnx type, None where they are free."""
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor_type.shape.dim]


def values_of(tensor: Tensor) -> np.ndarray:
    """The values of a tensor that has to be constant."""
    if not isinstance(tensor, gs.Constant):
        raise Undecided(f"'{tensor.name}' must be constant", where=producer_name(tensor), remedy=DECIDE)
    values: np.ndarray = tensor.values
    return values


def ints_of(tensor: Tensor) -> list[int]:
    """The values of a constant as a flat list of integers."""
    return [int(v) for v in values_of(tensor).reshape(-1)]


def producer_name(tensor: Tensor) -> str:
    """How errors name the place where a tensor is computed: its node, or the tensor if it is an input."""
    return describe(tensor.inputs[0]) if tensor.inputs else f"tensor '{tensor.name}'"


def describe(node: gs.Node) -> str:
    """How errors name a node: by its name, its operator and the shapes of its inputs."""
    shapes = ", ".join(shape_text(t.shape) for t in node.inputs if t.name)
    return f"node '{node.name}' ({node.op}: {shapes})"
