"""Weights as model files hold them: large ones stay in their files until something asks for their values.

They are read in pieces when they are checked or written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnxscope.files.external import Place

PACKED_BITS: dict[int, int] = {
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.UINT2: 2,
    TensorProto.INT2: 2,
}


def byte_count(data_type: int, dims: Sequence[int]) -> int:
    """The number of bytes that the values of a tensor take in a file."""
    bits = PACKED_BITS.get(data_type) or 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    return (math.prod(dims) * bits + 7) // 8


def is_external(tensor: TensorProto) -> bool:
    return bool(external_data_helper.uses_external_data(tensor))


class StoredValues(LazyValues):  # type: ignore[misc]
    """The values of a tensor of the model, which are read only when something asks for them."""

    def __init__(self, tensor: TensorProto) -> None:  # not the base's, which prints warnings
        self.tensor = tensor
        self.shape = tuple(tensor.dims)
        self.dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        self.nbytes = byte_count(tensor.data_type, tensor.dims)

    def load(self) -> np.ndarray:
        if not is_external(self.tensor):
            return numpy_helper.to_array(self.tensor)
        raw = b"".join(chunks(self))
        return numpy_helper.to_array(
            TensorProto(data_type=self.tensor.data_type, dims=self.tensor.dims, raw_data=raw)
        )

    def refuse_changed(self) -> None:
        """Refuse a file that was changed or exchanged after it had been checked."""
        with Place.of(self.tensor).unchanged(self.where):
            pass

    def mapped(self) -> np.ndarray:
        """The values where they lie in their file, if they have one of their own."""
        if not (is_external(self.tensor) and self.nbytes):
            return self.load()
        return Place.of(self.tensor).mapped(self.where, self.dtype, self.shape)

    def part(self, start: int, count: int) -> np.ndarray:
        """So many of the values, flat, from the given one on."""
        if not is_external(self.tensor):
            return self.load().reshape(-1)[start : start + count]
        size = self.dtype.itemsize
        pieces = Place.of(self.tensor).chunks(self.where, count * size, start * size)
        return np.frombuffer(b"".join(pieces), self.dtype)

    @property
    def where(self) -> str:
        """How errors name the tensor."""
        return f"initializer '{self.tensor.name}'"

    @property
    def file(self) -> Path | None:
        """The file of an external tensor."""
        return Place.of(self.tensor).path if is_external(self.tensor) else None


def chunks(values: StoredValues | np.ndarray) -> Iterator[bytes]:
    """The bytes of a constant as an ONNX file holds them, piece by piece."""
    if isinstance(values, np.ndarray):
        yield numpy_helper.from_array(values).raw_data
    elif is_external(values.tensor):
        yield from Place.of(values.tensor).chunks(values.where, values.nbytes)
    else:
        yield raw_bytes(values.tensor)


def raw_bytes(tensor: TensorProto) -> bytes:
    """The bytes of a tensor in memory, whichever field holds its values; empty for strings."""
    if tensor.data_type == TensorProto.STRING:
        return b""
    raw: bytes = (
        tensor if tensor.HasField("raw_data") else numpy_helper.from_array(numpy_helper.to_array(tensor))
    ).raw_data
    return raw
