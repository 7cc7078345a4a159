"""The networks that the benchmark and the tests run: classics and generators with seeded random weights, and the trained EDSR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import light
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

MODELS = Path(__file__).parents[1] / "models"
RESIDUAL_SCALE = 0.1  # what an EDSR's blocks multiply their branch by before they add it
Size = int | str  # a free one has a name


class Writer:
    """Collects the nodes and the seeded weights of one network whose input is called `image`."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def drawn(self, name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0) -> str:
        return self.constant(name, (mean + deviation * self.random.standard_normal(shape)).astype(np.float32))

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def conv(
        self,
        x: str,
        name: str,
        channels: tuple[int, int],
        kernel: int = 3,
        stride: int = 1,
        pad: int = 1,
        gain: float = 1,
    ) -> str:
        """A convolution with weights of variance gain/(inputs of a sum); 1 keeps the size of what passes through, 2 through a Relu."""
        into, out = channels
        weight = self.drawn(
            f"{name}.weight", (out, into, kernel, kernel), (kernel * kernel * into / gain) ** -0.5
        )
        bias = self.drawn(f"{name}.bias", (out,), 0.1)
        return self.node(
            "Conv", name, [x, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def doubled(self, x: str, name: str, channels: tuple[int, int]) -> str:
        """A transposed convolution to twice the size, where a pixel sums 9/4 taps of every channel on average."""
        into, out = channels
        weight = self.drawn(f"{name}.weight", (into, out, 3, 3), (9 / 4 * into) ** -0.5)
        bias = self.drawn(f"{name}.bias", (out,), 0.1)
        return self.node(
            "ConvTranspose",
            name,
            [x, weight, bias],
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1] * 4,
            output_padding=[1, 1],
        )

    def normalised(self, x: str, name: str, channels: int) -> str:
        scale = self.drawn(f"{name}.weight", (channels,), 0.1, mean=1.0)
        bias = self.drawn(f"{name}.bias", (channels,), 0.1)
        return self.node("InstanceNormalization", name, [x, scale, bias])

    def batch_normalised(self, x: str, channels: int) -> str:
        """With the statistics that a training starts from."""
        statistics = {"scale": 1, "shift": 0, "mean": 0, "var": 1}
        inputs = [
            self.constant(f"{x}.norm.{k}", np.full(channels, v, np.float32)) for k, v in statistics.items()
        ]
        return self.node("BatchNormalization", f"{x}.norm", [x, *inputs], epsilon=1e-5, momentum=0.9)

    def dense(self, x: str, name: str, sizes: tuple[int, int]) -> str:
        weight = self.drawn(f"{name}.weight", sizes[::-1], (sizes[0] / 2) ** -0.5)
        return self.node("Gemm", name, [x, weight, self.drawn(f"{name}.bias", sizes[1:], 0.01)], transB=1)

    def relu(self, x: str) -> str:
        return self.node("Relu", f"{x}.relu", [x])

    def model(
        self, name: str, image: Sequence[Size], result: str, shape: Sequence[Size], opset: int = 18
    ) -> onnx.ModelProto:
        inputs, outputs = (
            helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s))
            for n, s in (("image", image), (result, shape))
        )
        graph = helper.make_graph(self.nodes, name, [inputs], [outputs], self.weights)
        return helper.make_model(
            graph, producer_name="onnxscope", opset_imports=[helper.make_opsetid("", opset)], ir_version=8
        )


def edsr(
    features: int = 64, blocks: int = 16, scale: int = 2, size: int | None = 48, seed: int = 0
) -> onnx.ModelProto:
    """Super-resolution: [N, 3, size, size] to [N, 3, scale·size, scale·size]; without a size, height and width are free."""
    w, inner = Writer(seed), (features, features)
    factor = w.constant("residual_scale", np.array(RESIDUAL_SCALE, np.float32))
    x = head = w.conv("image", "head", (3, features))
    for k in range(blocks):
        branch = w.conv(w.relu(w.conv(x, f"block{k}.conv1", inner)), f"block{k}.conv2", inner)
        x = w.node("Add", f"block{k}", [w.node("Mul", f"block{k}.scaled", [branch, factor]), x])
    x = w.node("Add", "body", [w.conv(x, "tail", inner), head])
    x = w.conv(x, "upscale", (features, scale * scale * features))
    x = w.node("DepthToSpace", "shuffled", [x], blocksize=scale, mode="CRD")
    w.conv(x, "upscaled", (features, 3))
    given: list[Size] = [size, size] if size else ["height", "width"]
    grown: list[Size] = [scale * size, scale * size] if size else ["upscaled_height", "upscaled_width"]
    return w.model("edsr", ["N", 3, *given], "upscaled", ["N", 3, *grown])


def cyclegan(blocks: int = 9, size: int = 128, features: int = 64, seed: int = 0) -> onnx.ModelProto:
    """The CycleGAN's generator: two halvings, residual blocks at a quarter of the size, two doublings, Tanh."""
    w = Writer(seed)

    def layer(x: str, name: str, channels: tuple[int, int]) -> str:
        """Relu of the normalised convolution `name` of x."""
        return w.relu(w.normalised(x, f"{name}.norm", channels[1]))

    def padded(x: str, by: int) -> str:
        pads = f"reflect{by}"
        if all(t.name != pads for t in w.weights):
            w.constant(pads, np.array([0, 0, by, by, 0, 0, by, by], np.int64))
        return w.node("Pad", f"{x}.padded", [x, pads], mode="reflect")

    x = layer(w.conv(padded("image", 3), "head", (3, features), kernel=7, pad=0), "head", (3, features))
    for k in range(2):
        channels = (features << k, features << k + 1)
        x = layer(w.conv(x, f"halve{k}", channels, stride=2), f"halve{k}", channels)
    inner = (4 * features, 4 * features)
    for k in range(blocks):
        branch = layer(w.conv(padded(x, 1), f"block{k}.conv1", inner, pad=0), f"block{k}.conv1", inner)
        branch = w.normalised(
            w.conv(padded(branch, 1), f"block{k}.conv2", inner, pad=0), f"block{k}.norm2", inner[1]
        )
        x = w.node("Add", f"block{k}", [branch, x])
    for k in range(2):
        channels = (4 * features >> k, 2 * features >> k)
        x = layer(w.doubled(x, f"double{k}", channels), f"double{k}", channels)
    w.node("Tanh", "translated", [w.conv(padded(x, 3), "last", (features, 3), kernel=7, pad=0)])
    same: list[Size] = ["N", 3, size, size]
    return w.model("cyclegan", same, "translated", same, opset=13)  # the newest whose Pad onnx2torch reads


def vgg(
    normalised: bool, kinds: int, widths: Sequence[int] = (16, 32, 48, 64, 64), side: int = 96, seed: int = 0
) -> onnx.ModelProto:
    """A classifier in VGG's form: pairs of convolutions with a MaxPool after each, then two dense layers; or with BatchNormalization."""
    w, into, x = Writer(seed), 3, "image"
    for k, width in enumerate(widths):
        for name in (f"conv{k}a", f"conv{k}b"):
            x = w.conv(x, name, (into, width), gain=2)
            x, into = w.relu(w.batch_normalised(x, width) if normalised else x), width
        x = w.node("MaxPool", f"pool{k}", [x], kernel_shape=[2, 2], strides=[2, 2])
    cells = (side >> len(widths)) ** 2
    x = w.relu(w.dense(w.node("Flatten", "features", [x]), "dense", (cells * into, into)))
    w.dense(x, "scores", (into, kinds))
    return w.model("vgg", ["N", 3, side, side], "scores", ["N", kinds])


def resnet(
    kinds: int, widths: Sequence[int] = (16, 24, 32, 48), side: int = 96, seed: int = 0
) -> onnx.ModelProto:
    """A residual classifier: a block of two normalised convolutions for each width, which halves the size, and a mean over the rest."""
    w = Writer(seed)

    def layer(x: str, name: str, channels: tuple[int, int], **shape: int) -> str:
        return w.batch_normalised(w.conv(x, name, channels, gain=2, **shape), channels[1])

    into = widths[0]
    x = w.relu(layer("image", "stem", (3, into), stride=2))
    for k, width in enumerate(widths):
        stride = 2 if k else 1
        branch = layer(
            w.relu(layer(x, f"block{k}.conv1", (into, width), stride=stride)),
            f"block{k}.conv2",
            (width, width),
        )
        short = layer(x, f"block{k}.short", (into, width), kernel=1, stride=stride, pad=0) if k else x
        x, into = w.relu(w.node("Add", f"block{k}", [branch, short])), width
    x = w.node("Flatten", "features", [w.node("GlobalAveragePool", "mean", [x])])
    w.dense(x, "scores", (into, kinds))
    return w.model("resnet", ["N", 3, side, side], "scores", ["N", kinds])


def pixel_shuffle(scale: int = 2, seed: int = 0) -> onnx.ModelProto:
    """Super-resolution in the four layers that tutorials build: convolutions and Relus, and a DepthToSpace at the end; sizes are free."""
    w = Writer(seed)
    x = w.relu(w.conv("image", "conv1", (3, 64), kernel=5, pad=2, gain=2))
    x = w.relu(w.conv(x, "conv2", (64, 64), gain=2))
    x = w.relu(w.conv(x, "conv3", (64, 32), gain=2))
    x = w.conv(x, "conv4", (32, 3 * scale * scale))
    w.node("DepthToSpace", "upscaled", [x], blocksize=scale, mode="CRD")
    return w.model(
        "pixel_shuffle",
        ["N", 3, "height", "width"],
        "upscaled",
        ["N", 3, "upscaled_height", "upscaled_width"],
    )


NETWORKS: dict[
    str, tuple[Callable[[], onnx.ModelProto], int]
] = {  # what makes a network, and the height and width of its image
    "vgg19": (lambda: light.light_model("vgg19"), 224),
    "resnet50": (lambda: light.light_model("resnet50"), 224),
    "squeezenet": (lambda: light.light_model("squeezenet"), 224),
    "edsr": (edsr, 48),
    "cyclegan": (cyclegan, 128),
    "edsr_small": (lambda: onnx.load(MODELS / "edsr_small.onnx"), 24),
}


def network(name: str, batch: int = 1) -> onnx.ModelProto:
    """A network by name, with an image of fixed size and this batch."""
    make, size = NETWORKS[name]
    return with_image_shape(make(), (batch, 3, size, size))


def with_image_shape(model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
    """The model for images of this shape: its first input is given it, and a Reshape to [1, …] keeps the batch that comes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {t.name: t for t in graph.initializer}
    image = next(i for i in graph.input if i.name not in constants)
    image.CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, list(shape)))
    for output in graph.output:
        for size in output.type.tensor_type.shape.dim:
            size.Clear()  # it follows from the image
    del graph.value_info[:]
    for target in {n.input[1] for n in graph.node if n.op_type == "Reshape"}:
        sizes = numpy_helper.to_array(constants[target]).copy()
        if sizes[0] == 1:
            sizes[0] = 0
            constants[target].CopyFrom(numpy_helper.from_array(sizes, target))
    return changed
