"""Whether the weights of a model are sound: their sizes, their values, and the files of external ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from onnxscope.errors import BadModel, shape_text
from onnxscope.files.checks import EXPORT_AGAIN, graphs_of, title
from onnxscope.files.external import Place, described, opened, state_of
from onnxscope.files.weights import (
    PACKED_BITS,
    StoredValues,
    byte_count,
    chunks,
    is_external,
    raw_bytes,
)

LAZY_BYTES = 64 << 10  # smaller external weights are loaded at once
CACHED = 256 << 10  # bytes that are checked at a time, so that they stay in the processor's cache
MOST_SHARED = 16  # times that tensors may share the bytes of a file: tied weights do, bombs do without end
MOST_SPARSE = 1 << 28  # elements of a sparse tensor, which becomes a dense one
COMPLEX = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}
# The bits of +∞ as an integer of the same width. Without the sign bit, all larger integers are NaN.
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


def check_model_tensors(model: ModelProto, folder: Path | None) -> int:
    """Find every external weight, and refuse what is damaged, missing or not finite.

    It returns the number of bytes in other files.
    """
    held_in: dict[str, list[int]] = {}  # each file's size, and the bytes that tensors have in it
    multiplied = {name for node in model.graph.node if node.op_type in MULTIPLIED for name in node.input}
    for held in held_tensors(model):
        check_form(held)
        if is_external(held.tensor):
            attach(held, folder, held_in)
        pieces = chunks(StoredValues(held.tensor)) if is_external(held.tensor) else [checked_bytes(held)]
        check_values(held, pieces, finite=held.name in multiplied)
    return sum(taken for _, taken in held_in.values())


@dataclass(frozen=True)
class Held:
    """A tensor somewhere in a model, and what holds it."""

    tensor: TensorProto
    where: str  # how errors name its holder
    name: str  # of its values in the graph
    top: bool  # whether the model's graph itself holds it, not a node


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
    """Its two tensors; once both have been checked, whether they fit together."""
    yield Held(sparse.values, where, name, False)
    yield Held(sparse.indices, f"{where}, its indices", name, False)
    dims, indices = [int(d) for d in sparse.dims], sparse.indices
    if min(dims, default=0) < 0 or math.prod(dims) > MOST_SPARSE:
        raise BadModel(
            f"its size {shape_text(sparse.dims)} is impossible, or too large for a dense tensor",
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
            f"an index lies outside of its size {shape_text(sparse.dims)}", where=where, remedy=EXPORT_AGAIN
        )


def check_form(held: Held) -> None:
    """Refuse element types that the standard does not have, and negative sizes."""
    tensor = held.tensor
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise BadModel(
            f"its element type {tensor.data_type} is not one of the standard's",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    if any(d < 0 for d in tensor.dims):
        raise BadModel(
            f"its size {shape_text(tensor.dims)} is negative", where=held.where, remedy=EXPORT_AGAIN
        )
    if tensor.data_type == TensorProto.STRING and (is_external(tensor) or tensor.HasField("raw_data")):
        raise BadModel("strings cannot be stored as raw bytes", where=held.where, remedy=EXPORT_AGAIN)


def checked_bytes(held: Held) -> bytes:
    """The bytes of a tensor; refuses one that does not hold as many values as its size needs."""
    tensor = held.tensor
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data  # a copy, and so read only once
        found, needed, unit = len(raw), byte_count(tensor.data_type, tensor.dims), "bytes"
    else:
        found = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        needed, unit = field_count(tensor), "values"
    if found != needed:
        raise BadModel(
            f"it holds {found} {unit} where its size {shape_text(tensor.dims)} needs {needed}",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    return raw if unit == "bytes" else raw_bytes(tensor)


def field_count(tensor: TensorProto) -> int:
    """The number of entries that the typed field of a tensor must have."""
    if tensor.data_type in PACKED_BITS:
        return byte_count(tensor.data_type, tensor.dims)
    return math.prod(int(d) for d in tensor.dims) * (2 if tensor.data_type in COMPLEX else 1)


def check_values(held: Held, pieces: Iterable[bytes], *, finite: bool) -> None:
    """Refuse NaN, and infinity where values must be finite."""
    infinity = INFINITY.get(held.tensor.data_type)
    if infinity is None:
        return
    nans = infinities = 0
    for bits in (np.frombuffer(part, infinity.dtype) for piece in pieces for part in parts_of(piece)):
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


def parts_of(piece: bytes) -> Iterator[memoryview]:
    """A piece in parts of CACHED bytes."""
    view = memoryview(piece)
    return (view[start : start + CACHED] for start in range(0, len(view), CACHED))


def attach(held: Held, folder: Path | None, held_in: dict[str, list[int]]) -> None:
    """Find the file of an external tensor. Small tensors, and those of nodes, are loaded at once.

    `held_in` has the size of each file and the bytes that tensors have in it, which this adds to.
    """
    tensor = held.tensor
    length = byte_count(tensor.data_type, tensor.dims)
    place, size = located(held, folder, length)
    taken = held_in.setdefault(place.location, [size, 0])
    taken[1] += length
    if taken[1] > MOST_SHARED * size + LAZY_BYTES:
        raise BadModel(
            f"the tensors in '{place.location}' overlap so much that they take more than {MOST_SHARED} times "
            f"its {size} bytes",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    if held.top and length > LAZY_BYTES:
        place.write(tensor, length)
    else:
        tensor.raw_data = b"".join(place.chunks(held.where, length))
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def located(held: Held, folder: Path | None, needed: int) -> tuple[Place, int]:
    """Where the data of an external tensor are, and how large the file is.

    A file that is outside, missing or too short is refused.
    """
    said = described(held.tensor, held.where)
    location, offset = said.get("location", ""), int(said.get("offset") or 0)
    if folder is None:
        raise BadModel(
            f"its data is in the file '{location}', and a model in memory has no folder",
            where=held.where,
            remedy="give the path of the model instead",
        )
    if said.get("length") and int(said["length"]) != needed:
        shape = shape_text(held.tensor.dims)
        raise BadModel(
            f"it has {said['length']} bytes of external data where its size {shape} needs {needed}",
            where=held.where,
            remedy=EXPORT_AGAIN,
        )
    folder = folder.resolve()
    with opened(held.where, folder, location) as (_, found):
        size = found.st_size
    if offset + needed > size:
        raise BadModel(
            f"its data ends at byte {offset + needed} of '{location}', which has only {size}",
            where=held.where,
            remedy=f"copy the whole file '{location}' into the model's folder again",
        )
    return Place(folder, location, offset, state_of(found)), size
