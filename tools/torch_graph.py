"""An ONNX graph that is computed by torch, so that its weights can be trained and written back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

Array = torch.Tensor


def conv(
    x: Array, weight: Array, bias: Array, *, kernel_shape: object, strides: list[int], pads: list[int]
) -> Array:
    return functional.conv2d(x, weight, bias, strides, pads[:2])  # pads are the same on both sides


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array,
    *,
    kernel_shape: object,
    strides: list[int],
    pads: list[int],
    output_padding: list[int],
) -> Array:
    return functional.conv_transpose2d(x, weight, bias, strides, pads[:2], output_padding)


def batch_normalization(
    x: Array, scale: Array, shift: Array, mean: Array, var: Array, *, epsilon: float, momentum: float
) -> Array:
    """By the statistics of the batch while gradients are computed, which then change the stored ones."""
    return functional.batch_norm(x, mean, var, scale, shift, torch.is_grad_enabled(), 1 - momentum, epsilon)


def depth_to_space(x: Array, *, blocksize: int, mode: bytes) -> Array:
    assert mode == b"CRD", "the order of torch's pixel_shuffle"
    return functional.pixel_shuffle(x, blocksize)


def pad(x: Array, pads: Array, *, mode: bytes) -> Array:
    (_, _, top, left, _, _, bottom, right) = pads.tolist()
    return functional.pad(x, (left, right, top, bottom), mode.decode())


OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": torch.add,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Flatten": lambda x: torch.flatten(x, 1),
    "Gemm": lambda x, weight, bias, transB: functional.linear(x, weight, bias),
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "InstanceNormalization": lambda x, scale, shift: functional.instance_norm(x, weight=scale, bias=shift),
    "MaxPool": lambda x, kernel_shape, strides: functional.max_pool2d(x, kernel_shape, strides),
    "Mul": torch.mul,
    "Pad": pad,
    "Relu": torch.relu,
    "Tanh": torch.tanh,
}


class TorchGraph(torch.nn.Module):
    """A graph whose weights are parameters; scalars, sizes and BatchNormalization's statistics are not."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model
        self.names = {t.name: t.name.replace(".", "_") for t in model.graph.initializer}
        statistics = {
            name for n in model.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:]
        }
        for t in model.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(t).copy())
            if value.ndim and value.is_floating_point() and t.name not in statistics:
                self.register_parameter(self.names[t.name], torch.nn.Parameter(value))
            else:
                self.register_buffer(self.names[t.name], value)

    def forward(self, image: Array) -> Array:
        graph = self.model.graph
        values = {name: getattr(self, attribute) for name, attribute in self.names.items()} | {
            graph.input[0].name: image
        }
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = OPERATORS[node.op_type](*(values[i] for i in node.input), **attributes)
        return values[graph.output[0].name]

    def trained(self) -> onnx.ModelProto:
        """The graph with the weights as they are now."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            value = np.asarray(getattr(self, self.names[tensor.name]).detach())
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return model
