"""Models in from disk, artifacts out to disk: the boundary to files.

A large model is never copied: weights stay in the source's protobuf and are streamed one by one into the artifact.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper

from onnxscope.errors import BadModel, BadOption

EXTERNAL_BYTES = 2**31 - 2**24  # what a protobuf can hold, less room for the graph itself
LARGE = 1024  # weights above this size are streamed


@dataclass
class Model:
    """A model as it came: its protobuf without external weights, where it lies, and its checksum."""

    proto: onnx.ModelProto
    sha256: str
    path: Path | None = None


def load(source: str | Path | bytes | onnx.ModelProto) -> Model:
    """Read and check a model, refusing what no one could run."""
    if isinstance(source, onnx.ModelProto):
        proto, sha, path = source, hashlib.sha256(source.SerializeToString()).hexdigest(), None
    else:
        path = None if isinstance(source, bytes) else Path(source)
        try:
            data = source if isinstance(source, bytes) else Path(source).read_bytes()
        except OSError as error:
            raise BadModel(f"cannot be read ({error.strerror})", where=f"'{source!s}'", remedy="check the path") from error
        sha = hashlib.sha256(data).hexdigest()
        try:
            proto = onnx.ModelProto.FromString(data)
        except DecodeError as error:
            raise BadModel("not an ONNX model, or cut short: its protobuf cannot be parsed", where=f"'{path or 'model'}'",
                           remedy="export or download it again") from error
    check(proto, str(path or "model"))
    attach_external(proto, path)
    return Model(proto, sha, path)


def check(proto: onnx.ModelProto, name: str) -> None:
    if not proto.ir_version or not proto.opset_import:
        raise BadModel("not an ONNX model: it names no IR version or operator set", where=f"'{name}'", remedy="export it again")
    if not proto.graph.node:
        raise BadModel("the graph holds no nodes", where=f"'{name}'", remedy="export it again")


def attach_external(proto: onnx.ModelProto, path: Path | None) -> None:
    """placeholder"""
    if path:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))


def save(graph: gs.Graph, path: Path, metadata: Mapping[str, str], *, external_bytes: int | None = None) -> Path:
    """Write the graph as a model; nothing is left behind where it fails."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise BadOption(f"cannot write there ({error.strerror})", where=f"'{path}'", remedy="choose another place with -o") from error
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in serialised(graph, metadata):
                file.write(chunk)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadOption(f"cannot be written ({error.strerror})", where=f"'{path}'", remedy="make room or choose another place with -o") from error
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_bytes(graph: gs.Graph) -> bytes:
    return b"".join(serialised(graph, {}))


def serialised(graph: gs.Graph, metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The model's protobuf in pieces: all but the large weights, then these one by one, each serialised alone."""
    large: dict[str, tuple[gs.Constant, TensorProto]] = {}
    for t in graph.tensors().values():
        if isinstance(t, gs.Constant) and isinstance(t._values, gs.ir.tensor.LazyValues) and t._values.nbytes > LARGE:
            large[t.name] = (t, t._values.tensor)
            t._values.tensor = TensorProto(name=t.name, data_type=t._values.tensor.data_type)
    try:
        skeleton = gs.export_onnx(graph, do_type_check=False)
    finally:
        for t, tensor in large.values():
            t._values.tensor = tensor
    kept = [t for t in skeleton.graph.initializer if t.name not in large]
    del skeleton.graph.initializer[:]
    skeleton.graph.initializer.extend(kept)
    skeleton.producer_name = "onnxscope"
    onnx.helper.set_model_props(skeleton, dict(metadata))
    body = skeleton.graph.SerializeToString()
    skeleton.ClearField("graph")
    sizes = {name: tensor.ByteSize() for name, (_, tensor) in large.items()}
    total = len(body) + sum(1 + len(varint(s)) + s for s in sizes.values())
    yield skeleton.SerializeToString()
    yield field(onnx.ModelProto, "graph") + varint(total) + body
    for name, (_, tensor) in large.items():
        tensor.name = name
        yield field(onnx.GraphProto, "initializer") + varint(sizes[name])
        yield tensor.SerializeToString()


def field(message: type, name: str) -> bytes:
    """The tag of a length-delimited field."""
    return varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2)  # type: ignore[attr-defined]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
