"""Weights as they lie in model files: where their bytes are, and whether they are sound.

Large external weights stay in their files. They are read in pieces when they are checked or written, and whole only
when something asks for their values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    external_data_helper,
    helper,
    numpy_helper,
)
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnxscope.errors import BadModel
from onnxscope.files.checks import EXPORT_AGAIN, graphs_of, title

LAZY_BYTES = 64 << 10  # smaller external weights are loaded at once
CHUNK = 4 << 20  # how much of a file is read at a time
CACHED = 256 << 10  # how much is checked at a time
MOST_SPARSE = 1 << 28  # elements of a sparse tensor, which is written out
PACKED_BITS: dict[int, int] = {
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.UINT2: 2,
    TensorProto.INT2: 2,
}
COMPLEX = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}
# The bits of +∞ as an integer of the same width: without the sign, whatever is above it is NaN.
INFINITY: dict[int, np.unsignedinteger] = {
    TensorProto.FLOAT: np.uint32(0x7F800000),
    TensorProto.DOUBLE: np.uint64(0x7FF0000000000000),
    TensorProto.FLOAT16: np.uint16(0x7C00),
    TensorProto.BFLOAT16: np.uint16(0x7F80),
}
MULTIPLIED = {  # operators whose weights must be finite; elsewhere -inf is a mask
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "DeformConv",
    "Gemm",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "PRelu",
    "RMSNormalization",
}


@dataclass(frozen=True)
class Held:
    """A tensor somewhere in a model: who holds it, under which name its values are known, and whether the graph itself does."""

    tensor: TensorProto
    where: str
    name: str
    top: bool


def held_tensors(model: ModelProto) -> Iterator[Held]:
    """Every tensor of a model: initializers, Constant nodes, attributes, subgraphs and functions."""
    yield from _of_graph(model.graph, top=True)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto, *, top: bool) -> Iterator[Held]:
    for tensor in graph.initializer:
        yield Held(tensor, f"initializer '{tensor.name}'", tensor.name, top)
    for sparse in graph.sparse_initializer:
        yield from _of_sparse(sparse, f"sparse initializer '{sparse.values.name}'", sparse.values.name)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Sequence[NodeProto]) -> Iterator[Held]:
    for node in nodes:
        where, name = title(node), node.output[0] if node.output else ""
        for attribute in node.attribute:
            for tensor in [attribute.t] if attribute.type == AttributeProto.TENSOR else attribute.tensors:
                yield Held(tensor, where, name, False)
            if attribute.type == AttributeProto.SPARSE_TENSOR:
                yield from _of_sparse(attribute.sparse_tensor, where, name)
        for graph in graphs_of(node):
            yield from _of_graph(graph, top=False)


def _of_sparse(sparse: SparseTensorProto, where: str, name: str) -> Iterator[Held]:
    """Its two tensors; once both have been looked at, what they say together."""
    yield Held(sparse.values, where, name, False)
    yield Held(sparse.indices, f"{where}, its indices", name, False)
    dims, indices = [int(d) for d in sparse.dims], sparse.indices
    if min(dims, default=0) < 0 or math.prod(dims) > MOST_SPARSE:
        raise BadModel(
            f"its size {_size_text(sparse)} is impossible, or too large to be written out",
            where=where,
            remedy=EXPORT_AGAIN,
        )
    flat = [list(sparse.values.dims), [*sparse.values.dims, len(dims)]]
    if indices.data_type != TensorProto.INT64 or list(indices.dims) not in flat:
        raise BadModel("its indices do not fit its values", where=where, remedy=EXPORT_AGAIN)
    places = numpy_helper.to_array(indices)
    if places.size and (
        places.min() < 0 or np.any(places >= (math.prod(dims) if places.ndim == 1 else dims))
    ):
        raise BadModel(
            f"an index lies outside of its size {_size_text(sparse)}", where=where, remedy=EXPORT_AGAIN
        )


def byte_count(data_type: int, dims: Sequence[int]) -> int:
    """How many bytes the values of a tensor take."""
    bits = PACKED_BITS.get(data_type) or 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    return (math.prod(dims) * bits + 7) // 8


def check_model_tensors(model: ModelProto, folder: Path | None) -> int:
    """Find every external weight and refuse whatever is damaged, missing or not finite; how many bytes lie in other files."""
    elsewhere = 0
    multiplied = {name for node in model.graph.node if node.op_type in MULTIPLIED for name in node.input}
    for held in held_tensors(model):
        check_form(held)
        if is_external(held.tensor):
            attach(held, folder)
            elsewhere += byte_count(held.tensor.data_type, held.tensor.dims)
        pieces = chunks(StoredValues(held.tensor)) if is_external(held.tensor) else [checked_bytes(held)]
        check_values(held, pieces, finite=held.name in multiplied)
    return elsewhere


def is_external(tensor: TensorProto) -> bool:
    return bool(external_data_helper.uses_external_data(tensor))


def check_form(held: Held) -> None:
    """Its type is one that the standard knows, its sizes are sizes."""
    tensor = held.tensor
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise BadModel(
            f"its element type {tensor.data_type} is not one of the standard's",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    if any(d < 0 for d in tensor.dims):
        raise BadModel(f"its size {_size_text(tensor)} is negative", where=held.where, remedy=EXPORT_AGAIN)
    if tensor.data_type == TensorProto.STRING and (is_external(tensor) or tensor.HasField("raw_data")):
        raise BadModel("strings cannot be stored as raw bytes", where=held.where, remedy=EXPORT_AGAIN)


def checked_bytes(held: Held) -> bytes:
    """The bytes of a tensor that holds as many values as its sizes say."""
    tensor = held.tensor
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data  # a copy, and so read only once
        found, needed, unit = len(raw), byte_count(tensor.data_type, tensor.dims), "bytes"
    else:
        found = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        needed, unit = field_count(tensor), "values"
    if found != needed:
        raise BadModel(
            f"it holds {found} {unit} where its size {_size_text(tensor)} needs {needed}",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    return raw if unit == "bytes" else raw_bytes(tensor)


def field_count(tensor: TensorProto) -> int:
    """How many entries the typed field of a tensor must have."""
    if tensor.data_type in PACKED_BITS:
        return byte_count(tensor.data_type, tensor.dims)
    return math.prod(int(d) for d in tensor.dims) * (2 if tensor.data_type in COMPLEX else 1)


def _size_text(tensor: TensorProto | SparseTensorProto) -> str:
    return "x".join(map(str, tensor.dims)) or "scalar"


def check_values(held: Held, pieces: Iterable[bytes], *, finite: bool) -> None:
    """No weight is NaN, and none that is multiplied with is infinite."""
    infinity = INFINITY.get(held.tensor.data_type)
    if infinity is None:
        return
    nans = infinities = 0
    for bits in (np.frombuffer(part, infinity.dtype) for piece in pieces for part in split(piece)):
        magnitude = bits & np.iinfo(infinity.dtype).max // 2
        if magnitude.size and magnitude.max() >= infinity:
            nans += int(np.count_nonzero(magnitude > infinity))
            infinities += int(np.count_nonzero(magnitude == infinity))
    if nans or (finite and infinities):
        what = f"{nans} NaN" if nans else f"{infinities} infinite"
        raise BadModel(
            f"{what} among its {math.prod(held.tensor.dims)} values",
            where=held.where,
            remedy="repair the weights or export the model again",
        )


def attach(held: Held, folder: Path | None) -> None:
    """Find a tensor's bytes in their own file; small ones, and those inside of nodes, are loaded at once."""
    tensor = held.tensor
    path, offset = located(held, folder)
    length = byte_count(tensor.data_type, tensor.dims)
    del tensor.external_data[:]
    if held.top and length > LAZY_BYTES:
        for key, value in (("location", str(path)), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    else:
        tensor.raw_data = b"".join(read_chunks(path, offset, length))
        tensor.data_location = TensorProto.DEFAULT


def located(held: Held, folder: Path | None) -> tuple[Path, int]:
    """The file and the offset of an external tensor, which must lie in the model's own folder and be long enough."""
    try:
        info = external_data_helper.ExternalDataInfo(held.tensor)
    except ValueError as error:
        raise BadModel(
            f"its external data is described wrongly ({error})", where=held.where, remedy=EXPORT_AGAIN
        ) from error
    if folder is None:
        raise BadModel(
            f"its data lies in the file '{info.location}', and a model in memory has no folder",
            where=held.where,
            remedy="give the path of the model instead",
        )
    path = safe_path(held.where, info.location, folder)
    needed, offset = byte_count(held.tensor.data_type, held.tensor.dims), info.offset or 0
    if info.length is not None and info.length != needed:
        raise BadModel(
            f"{info.length} bytes of external data where its size {_size_text(held.tensor)} needs {needed}",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    if offset + needed > (size := path.stat().st_size):
        raise BadModel(
            f"its data ends at byte {offset + needed} of '{info.location}', which has only {size}",
            where=held.where,
            remedy=f"copy the whole of '{info.location}' beside the model again",
        )
    return path, offset


def safe_path(where: str, location: str, folder: Path) -> Path:
    """The file at a location relative to the model's folder, and inside of it even after following links."""
    remedy = "move the file into the model's folder and name it relative to that"
    if not location or Path(location).is_absolute() or PureWindowsPath(location).anchor:
        raise BadModel(
            f"the path of its external data, '{location}', is not relative", where=where, remedy=remedy
        )
    folder = folder.resolve()
    try:
        path = (folder / location).resolve()
        inside, there = path.is_relative_to(folder), path.is_file()
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a name too long, a null byte, links that form a loop
        raise BadModel(
            f"the path of its external data, '{location[:80]!r}', leads nowhere",
            where=where,
            remedy=EXPORT_AGAIN,
        ) from error
    if not inside:
        raise BadModel(
            f"the path of its external data, '{location}', leads out of the model's folder",
            where=where,
            remedy=remedy,
        )
    if not there:
        raise BadModel(
            f"its data is missing: there is no file '{location}' beside the model",
            where=where,
            remedy="copy the file there",
        )
    return path


def read_chunks(path: Path, offset: int, length: int) -> Iterator[bytes]:
    """A part of a file, piece by piece."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while length:
                piece = file.read(min(length, CHUNK))
                if not piece:
                    raise BadModel(
                        "the file became shorter while it was read", where=f"'{path}'", remedy="try again"
                    )
                length -= len(piece)
                yield piece
    except OSError as error:
        raise BadModel(
            f"cannot be read ({error.strerror})", where=f"'{path}'", remedy="check the file"
        ) from error


class StoredValues(LazyValues):  # type: ignore[misc]
    """The values of a tensor of the model, read from it or from their own file only when something asks for them."""

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

    @property
    def file(self) -> Path | None:
        """The file of an external tensor."""
        return (
            Path(external_data_helper.ExternalDataInfo(self.tensor).location)
            if is_external(self.tensor)
            else None
        )


def chunks(values: StoredValues | np.ndarray) -> Iterator[bytes]:
    """The bytes of a constant as an ONNX file holds them, piece by piece."""
    if isinstance(values, np.ndarray):
        yield numpy_helper.from_array(values).raw_data
    elif is_external(values.tensor):
        info = external_data_helper.ExternalDataInfo(values.tensor)
        yield from read_chunks(Path(info.location), info.offset or 0, values.nbytes)
    else:
        yield raw_bytes(values.tensor)


def raw_bytes(tensor: TensorProto) -> bytes:
    """The bytes of a tensor in memory, whichever field holds its values; strings have none."""
    if tensor.data_type == TensorProto.STRING:
        return b""
    raw: bytes = (
        tensor if tensor.HasField("raw_data") else numpy_helper.from_array(numpy_helper.to_array(tensor))
    ).raw_data
    return raw


def split(piece: bytes) -> Iterator[memoryview]:
    """Pieces that stay in the processor's cache."""
    view = memoryview(piece)
    return (view[start : start + CACHED] for start in range(0, len(view), CACHED))
