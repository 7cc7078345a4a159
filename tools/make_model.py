"""Write models/tiny_scores.onnx: a small classifier as an exporter would write it, with random weights.

It has the same bytes on every machine: its weights are uniform random numbers, which need no logarithm, whose
last bit depends on the processor.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

MODEL = Path(__file__).parents[1] / "models" / "tiny_scores.onnx"
SEED = 20261120


class Exporter:
    """Collects nodes and weights under the names that a training framework gives them."""

    def __init__(self) -> None:
        self.random = np.random.RandomState(SEED)  # a generator whose numbers never change
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, shape: tuple[int, ...], low: float, high: float) -> str:
        values = low + (high - low) * self.random.random_sample(shape)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, op: str, module: str, inputs: list[str], **attrs: object) -> str:
        name = f"/{module}/{op}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_output_0"], name, **attrs))
        return f"{name}_output_0"

    def convolution(self, x: str, module: str, channels: tuple[int, int]) -> str:
        """A convolution that keeps the size, and a batch normalisation."""
        into, out = channels
        bound = math.sqrt(6 / (9 * into))
        w = self.weight(f"{module}.conv.weight", (out, into, 3, 3), -bound, bound)
        y = self.node("Conv", f"{module}/conv", [x, w], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        ranges = [
            ("weight", 0.8, 1.2),
            ("bias", -0.2, 0.2),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.5, 1.5),
        ]
        statistics = [self.weight(f"{module}.bn.{name}", (out,), low, high) for name, low, high in ranges]
        return self.node("BatchNormalization", f"{module}/bn", [y, *statistics])


def tiny_scores() -> onnx.ModelProto:
    """A network from 3×32×32 to ten probabilities, with a pool and a residual block."""
    e = Exporter()
    x = e.node("Relu", "stem/relu", [e.convolution("image", "stem", (3, 16))])
    x = e.node("MaxPool", "stem/pool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = e.node("Relu", "body/relu", [e.convolution(x, "body", (16, 24))])
    branch = e.node("Relu", "block/relu1", [e.convolution(x, "block.0", (24, 24))])
    branch = e.convolution(branch, "block.1", (24, 24))
    x = e.node("Relu", "block/relu2", [e.node("Add", "block", [branch, x])])
    x = e.node("Flatten", "head", [e.node("GlobalAveragePool", "head/pool", [x])], axis=1)
    weight, bias = e.weight("head.fc.weight", (10, 24), -0.5, 0.5), e.weight("head.fc.bias", (10,), -0.1, 0.1)
    x = e.node("Gemm", "head/fc", [x, weight, bias], transB=1)
    e.nodes.append(helper.make_node("Softmax", [x], ["probabilities"], "/head/Softmax", axis=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])
    scores = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(e.nodes, "tiny_scores", [image], [scores], e.weights)
    return helper.make_model(
        graph, producer_name="tools/make_model.py", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


if __name__ == "__main__":
    MODEL.parent.mkdir(exist_ok=True)
    MODEL.write_bytes(tiny_scores().SerializeToString(deterministic=True))
    print(f"{MODEL.name}: {MODEL.stat().st_size:,} bytes")
