"""Models read from disk, and artifacts written to disk.

A large model is never copied: weights stay in the files of the source and are streamed one by one into the
artifact.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto

from onnxscope.errors import BadModel, BadOption
from onnxscope.files.checks import EXPORT_AGAIN, check_model
from onnxscope.files.limits import check_limits, check_parts
from onnxscope.files.streaming import aligned, set_aside, skeleton, streamed, weights_of
from onnxscope.files.weight_checks import check_model_tensors
from onnxscope.files.weights import StoredValues, chunks, is_external

PROTOBUF_BYTES = 2**31 - 1  # what a protobuf can hold
EXTERNAL_BYTES = PROTOBUF_BYTES - 2**24  # in larger models the weights get a file of their own
LARGE = 1024  # bytes; smaller weights are always in the model itself
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


@dataclass
class Model:
    """A model as it was given."""

    proto: onnx.ModelProto  # large external weights are still in their files
    sha256: str
    path: Path | None = None
    nbytes: int = 0  # with its external weights
    elsewhere: int = 0  # of them, the bytes of external weights

    def refuse_changed(self) -> None:
        """Refuse files of weights that were changed or exchanged after they had been checked."""
        for tensor in filter(is_external, self.proto.graph.initializer):
            StoredValues(tensor).refuse_changed()


def load(source: str | Path | bytes | onnx.ModelProto | Model) -> Model:
    """Read and check a model; refuses what no runtime could run."""
    if isinstance(source, Model):
        return source
    path = Path(source) if isinstance(source, (str, Path)) else None
    if isinstance(source, onnx.ModelProto):
        proto, data = source, serialised_whole(source)
    else:
        data = source if isinstance(source, bytes) else read_file(Path(source))
        proto = parse(data, path)
    model = Model(proto, hashlib.sha256(data).hexdigest(), path, len(data))
    del data  # the checks of the weights need memory too
    check_limits(model.proto, where_of(path))
    check_model(model.proto, where_of(path))
    model.elsewhere = check_model_tensors(model.proto, path.parent if path else None)
    model.nbytes += model.elsewhere
    return model


def where_of(path: Path | None) -> str:
    return f"'{path}'" if path else "model"


def read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise BadModel("is a folder", where=where_of(path), remedy="name the .onnx file in it")
        if path.exists() and not path.is_file():  # some devices never end
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
    check_parts(data, where_of(path))
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


def check_target(target: Path, sources: Iterable[Path] = ()) -> Path:
    """The file that will be written, following links; refuses what cannot or should not be overwritten."""
    try:
        path = target.resolve()
        problem = target_problem(path, sources)
    except (OSError, RuntimeError, ValueError) as error:  # a long name, links that form a loop, a null byte
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
    """Write the graph as a model; a failure leaves no file behind.

    A model that would exceed `external_bytes` gets its large weights in a second file, named as the model
    with `.data` appended.
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


def in_memory(model: Model) -> tuple[bytes, list[StoredValues]]:
    """A model with data in other files, as bytes; and its large weights, to be given to a runtime as values.

    So the runtime opens none of these files, and nobody can exchange them after they have been checked.
    """
    proto, large = onnx.ModelProto(), list[StoredValues]()
    proto.CopyFrom(model.proto)
    for tensor, kept in zip(proto.graph.initializer, model.proto.graph.initializer, strict=True):
        if not is_external(tensor):
            continue
        values = StoredValues(kept)
        del tensor.external_data[:]
        if tensor.data_type in PLAIN:
            large.append(values)
            tensor.external_data.add(key="location", value="weights")
        else:
            tensor.raw_data = b"".join(chunks(values))
            tensor.data_location = TensorProto.DEFAULT
    return serialised_whole(proto), large


def write(files: Mapping[Path, Iterator[bytes]], shown: Path) -> None:
    """Write all files under temporary names, then rename them; `shown` is the file that errors name."""
    written: dict[Path, Path] = {}
    try:
        for target, pieces in files.items():
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            written[target] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
            written[target].chmod(0o666 & ~_umask())
        for target, temporary in written.items():
            temporary.replace(target)
    except OSError as error:
        raise unwritable(shown, error) from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
