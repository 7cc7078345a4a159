"""Models in from disk, artifacts out to disk: the boundary to files.

A large model is never copied: weights stay where the source has them and are streamed one by one into the artifact.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import TensorProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnxscope.errors import BadModel, BadOption
from onnxscope.files.checks import EXPORT_AGAIN, check
from onnxscope.files.weights import StoredValues, byte_count, check_model_tensors, chunks

PROTOBUF_BYTES = 2**31 - 1  # what a protobuf can hold
EXTERNAL_BYTES = PROTOBUF_BYTES - 2**24  # beyond it weights are written beside the model
LARGE = 1024  # smaller weights are never written beside the model
ELSEWHERE = "choose another file with -o"
PLAIN = {  # types that every runtime takes from NumPy
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.INT64,
}
ALIGNMENT = 4096  # of external weights, so that a runtime can map them


@dataclass
class Model:
    """A model as it came: its protobuf, in which large external weights are paths, its checksum, where it lies and how large it is."""

    proto: onnx.ModelProto
    sha256: str
    path: Path | None = None
    nbytes: int = 0  # with its external weights


def load(source: str | Path | bytes | onnx.ModelProto | Model) -> Model:
    """Read and check a model, refusing what no one could run."""
    if isinstance(source, Model):
        return source
    path = Path(source) if isinstance(source, (str, Path)) else None
    if isinstance(source, onnx.ModelProto):
        proto, data = source, serialised_whole(source)
    else:
        data = source if isinstance(source, bytes) else read(Path(source))
        proto = parse(data, path)
    model = Model(proto, hashlib.sha256(data).hexdigest(), path, len(data))
    del data  # before the weights are looked at one by one
    check(model.proto, where_of(path))
    model.nbytes += check_model_tensors(model.proto, path.parent if path else None)
    return model


def where_of(path: Path | None) -> str:
    return f"'{path}'" if path else "model"


def read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise BadModel("is a folder", where=where_of(path), remedy="name the .onnx file in it")
        if path.exists() and not path.is_file():  # a pipe cannot be read twice, and some devices never end
            raise BadModel(
                "is not a regular file", where=where_of(path), remedy="save the model to a file first"
            )
        if path.stat().st_size > PROTOBUF_BYTES:
            raise too_large(where_of(path), "export it with external data")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError for a path with a null byte
        raise BadModel(
            f"cannot be read ({getattr(error, 'strerror', error)})",
            where=where_of(path),
            remedy="check the path",
        ) from error


def parse(data: bytes, path: Path | None) -> onnx.ModelProto:
    if not data:
        raise BadModel("the file is empty", where=where_of(path), remedy=EXPORT_AGAIN)
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise BadModel(
            "not an ONNX model, or cut short: its protobuf cannot be parsed",
            where=where_of(path),
            remedy=EXPORT_AGAIN,
        ) from error
    return model


def serialised_whole(proto: onnx.ModelProto) -> bytes:
    try:
        data: bytes = proto.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise too_large("model", "save it with external data and give its path") from error
    return data


def too_large(where: str, remedy: str) -> BadModel:
    return BadModel("larger than the 2 GiB that a protobuf can hold", where=where, remedy=remedy)


def stored(tensor: TensorProto, name: str = "") -> gs.Constant:
    """A tensor of the model as a constant of a graph, under its own or another name; nothing is read or copied yet."""
    return gs.Constant(name or tensor.name, StoredValues(tensor))


def check_target(target: Path, sources: Iterable[Path] = ()) -> Path:
    """The file that will be written, following links; refuse a place where nothing can or should be."""
    try:
        path = target.resolve()
        problem = target_problem(path, sources)
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # a name too long, links that form a loop, a null byte
        raise unwritable(target, error) from error
    if problem:
        raise BadOption(problem, where=where_of(target), remedy=ELSEWHERE)
    return path


def target_problem(path: Path, sources: Iterable[Path]) -> str:
    """What is wrong with a place to write to, if anything."""
    if path.is_dir():
        return "is a folder"
    if not path.parent.is_dir():
        return f"there is no folder '{path.parent}'"
    if path.exists() and not path.is_file():
        return "is not a regular file"
    if any(path == source.resolve() for source in sources):
        return "is the model itself, which stays as it is"
    return "" if os.access(path.parent, os.W_OK) else "cannot write into its folder"


def unwritable(target: Path, error: Exception) -> BadOption:
    return BadOption(
        f"cannot be written ({getattr(error, 'strerror', None) or error})",
        where=where_of(target),
        remedy=f"make room there, or {ELSEWHERE}",
    )


def save(
    graph: gs.Graph,
    path: Path,
    metadata: Mapping[str, str],
    *,
    source: Path | None = None,
    external_bytes: int | None = None,
) -> Path:
    """Write the graph as a model; nothing is left behind where it fails.

    Where it would exceed `external_bytes`, its weights go into a file beside it, called as the model and `.data`.
    """
    weights = weights_of(graph)
    body = skeleton(graph, metadata)
    total = len(body.SerializeToString()) + sum(w.nbytes for w in weights)
    large = (
        [w for w in weights if w.nbytes > LARGE]
        if total > (EXTERNAL_BYTES if external_bytes is None else external_bytes)
        else []
    )
    sources = [
        *([source] if source else []),
        *(w.values.file for w in weights if isinstance(w.values, StoredValues) and w.values.file),
    ]
    target = check_target(path, sources)
    files: dict[Path, Iterator[bytes]] = {}
    if large:
        data = check_target(target.with_name(target.name + ".data"), sources)
        set_aside(large, data.name)
        files[data] = aligned(large)
    files[target] = streamed(body, weights)
    write(files, path)
    return path


def to_bytes(graph: gs.Graph) -> bytes:
    """The graph as a model in memory."""
    return b"".join(streamed(skeleton(graph, {}), weights_of(graph)))


def without_weights(graph: gs.Graph) -> tuple[bytes, list[str]]:
    """The graph as a model in memory that leaves its large weights to the runtime, and their names."""
    weights = weights_of(graph)
    large = [w for w in weights if w.nbytes > LARGE and w.data_type in PLAIN]
    set_aside(large, "weights")
    return b"".join(streamed(skeleton(graph, {}), weights)), [w.name for w in large]


def write(files: Mapping[Path, Iterator[bytes]], shown: Path) -> None:
    """Write all files beside their places, then rename them in turn."""
    written: dict[Path, Path] = {}
    try:
        for target, pieces in files.items():
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            written[target] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
            written[target].chmod(0o666 & ~_umask())
        for target, file_beside in written.items():
            file_beside.replace(target)
    except OSError as error:
        raise unwritable(shown, error) from error
    finally:
        for file_beside in written.values():
            file_beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass
class Weight:
    """A constant on its way into an artifact."""

    name: str
    values: StoredValues | np.ndarray
    data_type: int
    nbytes: int
    aside: tuple[str, int] | None = (
        None  # the file and the offset of its values, where they lie beside the model
    )

    def header(self) -> TensorProto:
        """All of it but values that follow in the same file."""
        header = TensorProto(name=self.name, data_type=self.data_type, dims=self.values.shape)
        if self.aside is not None:
            header.data_location = TensorProto.EXTERNAL
            for key, value in zip(("location", "offset", "length"), (*self.aside, self.nbytes), strict=True):
                header.external_data.add(key=key, value=str(value))
        return header


def weights_of(graph: gs.Graph) -> list[Weight]:
    """The constants of a graph, but for strings, which have no bytes of their own."""
    return [
        weight_of(t) for t in graph.tensors().values() if isinstance(t, gs.Constant) and t.dtype != object
    ]


def weight_of(constant: gs.Constant) -> Weight:
    values = constant._values
    if isinstance(values, LazyValues):
        values = StoredValues(values.tensor)
        return Weight(constant.name, values, values.tensor.data_type, values.nbytes)
    data_type = int(onnx.helper.np_dtype_to_tensor_dtype(values.dtype))
    return Weight(constant.name, values, data_type, byte_count(data_type, values.shape))


def set_aside(weights: Iterable[Weight], file: str) -> None:
    """Give each weight its place in a file beside the model."""
    offset = 0
    for w in weights:
        w.aside = (file, offset)
        offset += w.nbytes + -w.nbytes % ALIGNMENT


def aligned(weights: Iterable[Weight]) -> Iterator[bytes]:
    """The file beside the model."""
    for w in weights:
        yield from chunks(w.values)
        yield bytes(-w.nbytes % ALIGNMENT)


def skeleton(graph: gs.Graph, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model without its weights, and without the shapes that every runtime infers for itself."""
    strings = [t for t in graph.tensors().values() if isinstance(t, gs.Constant) and t.dtype == object]
    body = onnx.helper.make_graph(
        [OnnxExporter.export_node(n) for n in graph.nodes],
        graph.name,
        [OnnxExporter.export_value_info_proto(t, False) for t in graph.inputs],
        [OnnxExporter.export_value_info_proto(t, False) for t in graph.outputs],
        [OnnxExporter.export_tensor_proto(t) for t in strings],
    )
    model = onnx.helper.make_model(
        body, producer_name="onnxscope", opset_imports=graph.import_domains, ir_version=graph.ir_version
    )
    onnx.helper.set_model_props(model, dict(metadata))
    return model


def streamed(model: onnx.ModelProto, weights: Iterable[Weight]) -> Iterator[bytes]:
    """The model's protobuf in pieces: all but the weights, then these one by one."""
    outer = onnx.ModelProto()
    outer.CopyFrom(model)
    outer.ClearField("graph")
    graph = model.graph.SerializeToString()
    starts = [(w, initializer_start(w)) for w in weights]
    size = len(graph) + sum(len(start) + (0 if w.aside else w.nbytes) for w, start in starts)
    yield outer.SerializeToString() + tag(onnx.ModelProto, "graph", size) + graph
    for w, start in starts:
        yield start
        if not w.aside:
            yield from chunks(w.values)


def initializer_start(weight: Weight) -> bytes:
    """What stands before the values of a weight, or the whole of it where they lie beside the model."""
    header: bytes = weight.header().SerializeToString()
    if weight.aside:
        return tag(onnx.GraphProto, "initializer", len(header)) + header
    raw = tag(TensorProto, "raw_data", weight.nbytes)
    return tag(onnx.GraphProto, "initializer", len(header) + len(raw) + weight.nbytes) + header + raw


def tag(message: type[Message], field: str, length: int) -> bytes:
    """The start of a length-delimited field in a protobuf."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2) + varint(length)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
