"""A graph as the bytes of a model, piece by piece, so that no large weight is copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import Message
from onnx import TensorProto
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnxscope.files.weights import StoredValues, byte_count, chunks

ALIGNMENT = 4096  # of external weights, so that a runtime can map them into memory


@dataclass
class Weight:
    """A constant on its way into an artifact."""

    name: str
    values: StoredValues | np.ndarray
    data_type: int
    nbytes: int
    aside: tuple[str, int] | None = (
        None  # the file and the offset of its values, if they are not in the model
    )

    def header(self) -> TensorProto:
        """The tensor without its values; it names their file if they are not in the model."""
        header = TensorProto(name=self.name, data_type=self.data_type, dims=self.values.shape)
        if self.aside is not None:
            header.data_location = TensorProto.EXTERNAL
            for key, value in zip(("location", "offset", "length"), (*self.aside, self.nbytes), strict=True):
                header.external_data.add(key=key, value=str(value))
        return header


def weights_of(graph: gs.Graph) -> list[Weight]:
    """The constants of a graph except strings, which are part of the skeleton."""
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
    """Give each weight a place in a file of their own."""
    offset = 0
    for w in weights:
        w.aside = (file, offset)
        offset += w.nbytes + -w.nbytes % ALIGNMENT


def aligned(weights: Iterable[Weight]) -> Iterator[bytes]:
    """The file that these weights were set aside for."""
    for w in weights:
        yield from chunks(w.values)
        yield bytes(-w.nbytes % ALIGNMENT)


def skeleton(graph: gs.Graph, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model without its weights, and without the shapes that runtimes infer for themselves."""
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
    """The protobuf of a model in pieces: first its skeleton, then the weights one by one."""
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
    """The bytes before the values of a weight, or all its bytes if the values are not in the model."""
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
