"""What is done to exports on their way to a device: folded, fused, quantized, halved, renamed, given another range."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from diff.exports import Export, NoTruth, quiet, rewritten
from diff.layers import Network


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """One calibration image after the other, as the file takes it."""

    def __init__(self, export: Export, network: Network) -> None:
        name = export.model.graph.input[0].name
        self.feeds: Iterator[dict[str, np.ndarray]] = (
            {name: export.feed(batch[None])} for batch in network.batch
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def optimised(level: str) -> Callable[[Export, Network], Export]:
    """The file that onnxruntime's optimiser writes."""
    levels = onnxruntime.GraphOptimizationLevel
    chosen = {"basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED}[level]

    def form(export: Export, network: Network) -> Export:
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level, options.log_severity_level = chosen, 3
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            source = export.model.SerializeToString()
            onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
            return rewritten(export, onnx.load(options.optimized_model_filepath))

    return form


def quantized(form: QuantFormat, per_channel: bool) -> Callable[[Export, Network], Export]:
    """Static quantization to eight bits by onnxruntime."""

    def made(export: Export, network: Network) -> Export:
        with tempfile.TemporaryDirectory() as folder, quiet():
            plain, small = (Path(folder) / name for name in ("plain.onnx", "small.onnx"))
            onnx.save(onnx.shape_inference.infer_shapes(export.model), plain)
            quantize_static(
                plain,
                small,
                Pictures(export, network),
                form,
                per_channel=per_channel,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return rewritten(export, onnx.load(small), loose=True)

    return made


def halved(keep: bool) -> Callable[[Export, Network], Export]:
    """Float16; `keep` leaves image and output in float32."""

    def form(export: Export, network: Network) -> Export:
        with quiet():
            small = convert_float_to_float16(copy_of(export.model), keep_io_types=keep)
        return rewritten(export, small, loose=True)

    return form


def with_softmax(export: Export, network: Network) -> Export:
    """A Softmax behind the last layer."""
    model = copy_of(export.model)
    output = model.graph.output[0]
    node = helper.make_node("Softmax", [output.name], ["probabilities"], "probabilities", axis=1)
    model.graph.node.append(node)
    output.name = "probabilities"
    return replace(export, model=model)


def levels(export: Export, network: Network) -> Export:
    """A file that takes 0…255 and subtracts the mean and divides by the deviation itself."""
    model = copy_of(export.model)
    image = model.graph.input[0].name
    mean, deviation = (255 * np.reshape(part, (1, 3, 1, 1)) for part in network.scaling)
    model.graph.initializer.extend([constant(mean, "mean"), constant(deviation, "deviation")])
    for node in model.graph.node:
        node.input[:] = ["normalised" if name == image else name for name in node.input]
    first = helper.make_node("Sub", [image, "mean"], ["centred"], "centre")
    second = helper.make_node("Div", ["centred", "deviation"], ["normalised"], "normalise")
    nodes = [first, second, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return replace(export, model=model, feed=as_levels)


def folded(export: Export, network: Network) -> Export:
    """A file that takes 0…255 and has mean and deviation in the weights of its first convolution."""
    model = copy_of(export.model)
    mean, deviation = (255 * np.asarray(part) for part in network.scaling)
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    held = {t.name: t for t in model.graph.initializer}
    if mean.any() and any(i for a in conv.attribute if a.name == "pads" for i in a.ints):
        raise NoTruth("a mean cannot be folded into a convolution that pads with zeros")
    weight = numpy_helper.to_array(held[conv.input[1]]) / deviation[:, None, None]
    bias = numpy_helper.to_array(held[conv.input[2]]) - weight.sum((2, 3)) @ mean
    model.graph.initializer.extend([constant(weight, "first_weight"), constant(bias, "first_bias")])
    conv.input[1:3] = ["first_weight", "first_bias"]
    return replace(export, model=model, feed=as_levels)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def constant(values: np.ndarray, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)


def as_levels(pictures: np.ndarray) -> np.ndarray:
    return pictures * np.float32(255)
