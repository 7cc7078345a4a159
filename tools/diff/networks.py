"""The networks that faults are put into: the bundled ones, small random ones around one operator, and quantized ones."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image

from diff.graph import Graph
from diff.middles import MIDDLES

MODELS = Path(__file__).parents[2] / "models"
SIDE = 32  # of the images of random networks
WIDTH = 8  # channels in the middle of random networks
FREE = {
    "edsr_small": 32,
    "pixelshuffle_small": 48,
    "tiny_scores": 32,
}  # sides of images where 96 is not fixed
CALIBRATED_BY = 4  # images
STYLES = ("chain", "residual", "branches", "plain")


class Builder:
    """Writes a network node by node; weights are random, of the size that keeps values near 1."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.opset = 18

    def node(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: Any) -> str:
        self.weights[name] = value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
        return name

    def normal(self, name: str, *shape: int, size: float = 1.0, mean: float = 0.0) -> str:
        return self.weight(name, (mean + size * self.random.standard_normal(shape)).astype(np.float32))

    def conv(
        self, name: str, x: str, channels: tuple[int, int], side: int = 3, gain: float = 1.5, **given: Any
    ) -> str:
        """A convolution that keeps the sizes unless told otherwise, with weights and a bias."""
        before, after = channels
        fan = before // given.get("group", 1)
        w = self.normal(
            f"{name}.weight", after, fan, side, side, size=float(gain / np.sqrt(fan * side * side))
        )
        b = self.normal(f"{name}.bias", after, size=0.2)
        if "auto_pad" not in given:
            given = {"pads": [side // 2] * 4, **given}
        return self.node("Conv", name, x, w, b, **{"kernel_shape": [side, side], **given})

    def relu(self, x: str) -> str:
        return self.node("Relu", f"{x}.relu", x)

    def norm(self, x: str, channels: int) -> str:
        parts = [
            self.normal(f"{x}.norm.scale", channels, size=0.1, mean=1.0),
            self.normal(f"{x}.norm.shift", channels, size=0.1),
            self.normal(f"{x}.norm.mean", channels, size=0.1),
            self.weight(f"{x}.norm.var", (0.01 + self.random.uniform(0.2, 0.6, channels)).astype(np.float32)),
        ]
        return self.node("BatchNormalization", f"{x}.norm", x, *parts, epsilon=1e-5)

    def model(self) -> onnx.ModelProto:
        """The network as a model with the image [1, 3, SIDE, SIDE] for its input and `scores` for its output."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5])
        stored = [onnx.numpy_helper.from_array(v, k) for k, v in self.weights.items()]
        graph = helper.make_graph(self.nodes, "network", [image], [scores], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        if self.opset > 17:
            onnx.checker.check_model(model)
        return model


def head(b: Builder, x: str, channels: int) -> None:
    """Means over the picture, two dense layers, five scores."""
    x = b.node("Flatten", "features", b.node("GlobalAveragePool", "mean", x))
    for name, before, after in (("dense", channels, channels), ("scores", channels, 5)):
        w = b.normal(f"{name}.weight", after, before, size=float(1.5 / np.sqrt(before)))
        bias = b.normal(f"{name}.bias", after, size=0.2)
        x = b.node("Gemm", name, x, w, bias, transB=1)
        if name == "dense":
            x = b.relu(x)


def normalised(b: Builder) -> str:
    """The image less its mean, over its deviation, as preprocessing inside the file."""
    mean = b.weight("image.mean", np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1))
    deviation = b.weight("image.deviation", np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1))
    return b.node("Div", "normalised", b.node("Sub", "centred", "image", mean), deviation)


def chain(b: Builder, middle: str) -> None:
    """Convolutions one after the other."""
    x = b.relu(b.conv("conv1", normalised(b), (3, WIDTH), strides=[2, 2]))
    x = b.conv("conv2", x, (WIDTH, WIDTH))
    x = MIDDLES[middle](b, x)
    x = b.relu(b.conv("conv3", x, (WIDTH, 12)))
    x = b.node("MaxPool", "pool", x, kernel_shape=[2, 2], strides=[2, 2])
    head(b, b.relu(b.conv("conv4", x, (12, 12))), 12)


def residual(b: Builder, middle: str) -> None:
    """Two residual blocks with normalisations, the operator between them."""
    x = b.relu(b.norm(b.conv("stem", "image", (3, WIDTH), strides=[2, 2]), WIDTH))
    for block in (0, 1):
        y = b.relu(b.norm(b.conv(f"block{block}.conv1", x, (WIDTH, WIDTH)), WIDTH))
        y = b.norm(b.conv(f"block{block}.conv2", y, (WIDTH, WIDTH), gain=0.7), WIDTH)
        x = b.node("Add", f"block{block}", y, x)
        if not block:
            x = MIDDLES[middle](b, x)
    head(b, b.relu(x), WIDTH)


def plain(b: Builder, middle: str) -> None:
    """A stem, the operator, and one convolution after it."""
    x = b.node("LeakyRelu", "stem.leaky", b.conv("stem", "image", (3, WIDTH), strides=[2, 2]), alpha=0.1)
    x = MIDDLES[middle](b, b.conv("before", x, (WIDTH, WIDTH)))
    head(b, b.node("LeakyRelu", "after.leaky", b.conv("after", x, (WIDTH, 10)), alpha=0.1), 10)


def branches(b: Builder, middle: str) -> None:
    """Two branches that are joined by a Concat, the operator in one of them, and a gate."""
    x = b.node("LeakyRelu", "stem.leaky", b.conv("stem", "image", (3, WIDTH), strides=[2, 2]), alpha=0.1)
    wide = MIDDLES[middle](b, b.conv("wide", x, (WIDTH, WIDTH)))
    wide = b.relu(b.conv("wider", wide, (WIDTH, WIDTH)))
    wide = b.node("GlobalAveragePool", "wide.mean", wide)  # sizes may have changed
    narrow = b.relu(b.conv("narrow", x, (WIDTH, WIDTH), side=1))
    gate = b.node("Sigmoid", "gate", b.conv("excite", wide, (WIDTH, WIDTH), side=1, gain=3.0))
    gated = b.node("Mul", "gated", narrow, gate)
    both = b.node("Concat", "both", gated, narrow, axis=1)
    x = b.relu(b.conv("fuse", both, (2 * WIDTH, 12)))
    head(b, b.relu(b.conv("last", x, (12, 12))), 12)


def random_network(style: str, middle: str) -> onnx.ModelProto:
    """A small random network of a style, with an operator in its middle."""
    writers: dict[str, Callable[[Builder, str], None]] = {
        "chain": chain,
        "residual": residual,
        "branches": branches,
        "plain": plain,
    }
    b = Builder(zlib.crc32(f"{style}_{middle}".encode()))
    writers[style](b, middle)
    return b.model()


def picture(side: int, number: int = 0) -> np.ndarray:
    """A bundled scene of a side, as bytes."""
    files = sorted(p for p in (MODELS / "scenes").glob("*.png") if "mask" not in p.name)
    with Image.open(files[(7 * number + 4) % len(files)]) as opened:
        return np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def as_input(bytes_of: np.ndarray) -> np.ndarray:
    """A picture as what the networks take: [1, 3, height, width], 0 to 1."""
    return np.ascontiguousarray(bytes_of.transpose(2, 0, 1)[None], np.float32) / 255


class Scenes(CalibrationDataReader):  # type: ignore[misc]
    """A few scenes to find the ranges of activations with."""

    def __init__(self, side: int) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = (
            {"image": as_input(picture(side, k))} for k in range(CALIBRATED_BY)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


@cache
def quantized(name: str) -> bytes:
    """A network in int8, QuantizeLinear and DequantizeLinear around each layer, weights by channel."""
    source = network(name).model
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(source, before)
        quantize_static(
            before, after, Scenes(side_of(name)), quant_format=QuantFormat.QDQ, per_channel=True
        )  # fmt: skip
        return after.read_bytes()


def network(name: str) -> Graph:
    """A network by its name: a bundled file, STYLE_OPERATOR, or NAME_qdq."""
    style, _, middle = name.partition("_")
    if name.endswith("_qdq"):
        return Graph(onnx.ModelProto.FromString(quantized(name.removesuffix("_qdq"))))
    if style in STYLES and middle in MIDDLES:
        return Graph(random_network(style, middle))
    return Graph(onnx.load(MODELS / f"{name}.onnx"))


def float_twin(name: str) -> Graph | None:
    """The network in float32 that a quantized one was made from."""
    for ending in ("_qdq", "_int8"):
        if name.endswith(ending):
            return network(name.removesuffix(ending))
    return None


def side_of(name: str) -> int:
    """The side of the images that a network is tried with."""
    if name.partition("_")[0] in STYLES:
        return SIDE
    return next((side for start, side in FREE.items() if name.startswith(start)), 96)


def is_random(name: str) -> bool:
    return name.partition("_")[0] in STYLES
