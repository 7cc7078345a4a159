"""Faults in what a layer is: another attribute, another operator, an operator lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from diff.graph import Graph, attribute, set_attribute
from diff.kinds import CONVOLUTIONS, Done, Edit, Kind, at, hosts, removed

Random = np.random.Generator


def setting(fault: str, when: dict[str, Any] | None = None, **values: Any) -> Edit:
    """An edit that sets attributes, where others have certain values."""

    def edit(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
        if any(attribute(node, k) != v for k, v in (when or {}).items()):
            return None
        for key, value in values.items():
            set_attribute(node, key, value)
        return at(graph, node, fault)

    return edit


def larger(name: str, factor: float, default: float) -> Edit:
    """An edit that multiplies an attribute."""

    def edit(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
        before = float(attribute(node, name, default))
        set_attribute(node, name, before * factor)
        return at(graph, node, f"its {name} is {before * factor:.3g} in place of {before:.3g}")

    return edit


def lost(fault: str) -> Edit:
    return lambda graph, node, random: removed(graph, node, fault)


def becomes(kind: str, fault: str, inputs: int = 1, **values: Any) -> Edit:
    """An edit that makes another operator of a node."""

    def edit(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
        node.op_type = kind
        del node.attribute[:]
        del node.input[inputs:]
        for key, value in values.items():
            set_attribute(node, key, value)
        graph.without_unused()
        return at(graph, node, fault)

    return edit


def pads_shifted(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    pads = list(attribute(node, "pads", []))
    if attribute(node, "strides", [1, 1]) != [1, 1] or not pads or not all(pads):
        return None
    half = len(pads) // 2
    new = [p - 1 for p in pads[:half]] + [p + 1 for p in pads[half:]]
    set_attribute(node, "pads", new)
    return at(graph, node, f"its pads are {new} in place of {pads}")


def strided_pads_shifted(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    pads = attribute(node, "pads", [])
    if attribute(node, "strides", [1, 1]) == [1, 1] or pads != [1, 1, 1, 1]:
        return None
    set_attribute(node, "pads", [0, 0, 1, 1])
    return at(graph, node, "it pads at the end alone, as the other framework does")


def opset_raised(version: int) -> Edit:
    """An edit that leaves the nodes and names a newer opset, in which a node means something else."""

    def edit(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
        graph.set_opset(version)
        if node.op_type == "Resize":
            node.input.insert(1, graph.store("region", np.zeros(0, np.float32)))
        return at(graph, node, f"it is read as of opset {version}")

    return edit


def exchanged_inputs(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    if len(set(node.input[:2])) < 2 or any(graph.initializer(i) for i in node.input[:2]):
        return None
    node.input[0], node.input[1] = node.input[1], node.input[0]
    return at(graph, node, "its first two inputs are exchanged")


def residual_subtracted(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    if any(graph.initializer(i) for i in node.input):
        return None
    node.op_type = "Sub"
    return at(graph, node, "it subtracts in place of adding")


def unbounded(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    """A Relu6 that has become a Relu."""
    return becomes("Relu", "it has lost its upper bound")(graph, node, random)


def other_axes(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    if (axes := graph.array(node, 1)) is None or axes.tolist() != [2]:
        return None
    graph.put(node, 1, np.array([3], np.int64))
    return at(graph, node, "it reduces over axis 3 in place of 2")


def padding_by_pad(graph: Graph, node: onnx.NodeProto, random: Random) -> Done | None:
    for key, value in {"ceil_mode": 0, "pads": [0, 0, 1, 1], "count_include_pad": 1}.items():
        set_attribute(node, key, value)
    return at(graph, node, "it counts the row past the edge as zeros (padding in place of ceil_mode)")


BN = ("scenes_vgg_bn", "scenes_resnet", "tiny_scores", "residual_relu")
RELUS = ("scenes_vgg", "scenes_resnet", "edsr_small", "scenes_labels")
SHUFFLES = ("edsr_small", "pixelshuffle_small", "pixelshuffle_small_torch")
PADS = ("scenes_labels", "chain_reflect", "residual_reflect")
ADDS = ("scenes_resnet", "edsr_small", "scenes_labels")
POOLS = ("tiny_scores", *hosts("maxpool"))
STRIDED = ("scenes_resnet", "scenes_labels", "scenes_resnet_torch")
NORMS = ("scenes_labels", *hosts("instancenorm"))
COUNTED = {"pads": [1, 1, 1, 1]}
HALF = {"coordinate_transformation_mode": "half_pixel"}

KINDS = [
    Kind("batchnorm-epsilon", ("BatchNormalization",), BN, larger("epsilon", 100, 1e-5), 3e-4),
    Kind("pads-shifted", ("Conv",), CONVOLUTIONS, pads_shifted),
    Kind("strided-pads-shifted", ("Conv",), STRIDED, strided_pads_shifted),
    Kind("auto-pad", ("Conv",), hosts("same"), setting("SAME_LOWER for SAME_UPPER", auto_pad="SAME_LOWER", when={"auto_pad": "SAME_UPPER"})),
    Kind("dilation", ("Conv",), hosts("dilated"), setting("its dilation is lost", when={"dilations": [2, 2]}, dilations=None, pads=[1, 1, 1, 1])),
    Kind("output-padding", ("ConvTranspose",), hosts("transposeconv"), setting("it cuts at the other end", output_padding=None, pads=[0, 0, 1, 1])),
    Kind("resize-align-corners", ("Resize",), hosts("linear"), setting("align_corners for half_pixel", HALF, coordinate_transformation_mode="align_corners")),
    Kind("resize-asymmetric", ("Resize",), hosts("linear"), setting("asymmetric for half_pixel", HALF, coordinate_transformation_mode="asymmetric")),
    Kind("resize-nearest-mode", ("Resize",), hosts("nearest"), setting("it rounds up", nearest_mode="ceil")),
    Kind("resize-opset", ("Resize",), hosts("resize10"), opset_raised(11)),
    Kind("count-include-pad", ("AveragePool",), hosts("average"), setting("it counts the padding", COUNTED, count_include_pad=1)),
    Kind("average-pool-ceil-mode", ("AveragePool",), hosts("ceilaverage"), padding_by_pad),
    Kind("max-pool-ceil-mode", ("MaxPool",), hosts("floormax"), setting("it rounds its size up", {"kernel_shape": [3, 3]}, ceil_mode=1)),
    Kind("max-pool-pads", ("MaxPool",), POOLS, strided_pads_shifted),
    Kind("clip-lost", ("Clip",), hosts("clip"), lost("it is lost")),
    Kind("relu6-as-relu", ("Clip",), hosts("clip"), unbounded),
    Kind("relu-lost", ("Relu",), RELUS, lost("it is lost")),
    Kind("relu-as-leaky", ("Relu",), RELUS, becomes("LeakyRelu", "it leaks, by 0.01", alpha=0.01)),
    Kind("leaky-slope", ("LeakyRelu",), hosts("leaky"), setting("its slope is 0.01 for 0.2", alpha=0.01)),
    Kind("elu-alpha", ("Elu",), hosts("elu"), larger("alpha", 1.6733, 1.0)),
    Kind("gelu-tanh", ("Gelu",), hosts("gelu"), setting("its approximation by tanh", approximate="tanh"), 5e-5),
    Kind("hard-sigmoid-alpha", ("HardSigmoid",), hosts("hardsigmoid"), setting("its alpha is 0.2 for 1/6", alpha=0.2)),
    Kind("hard-swish-as-mish", ("HardSwish",), hosts("hardswish"), becomes("Mish", "it is a Mish")),
    Kind("softmax-axis", ("Softmax",), hosts("softmax"), setting("it runs over the last axis", axis=-1)),
    Kind("softmax-opset", ("Softmax",), hosts("softmax12"), opset_raised(13)),
    Kind("instance-norm-epsilon", ("InstanceNormalization",), NORMS, larger("epsilon", 100, 1e-5)),
    Kind("layer-norm-epsilon", ("LayerNormalization",), hosts("layernorm"), larger("epsilon", 100, 1e-5)),
    Kind("layer-norm-axis", ("LayerNormalization",), hosts("layernorm"), setting("over two axes for one", axis=-2)),
    Kind("group-norm-groups", ("GroupNormalization",), hosts("groupnorm"), setting("4 groups for 2", num_groups=4)),
    Kind("lrn-size", ("LRN",), hosts("lrn"), setting("over 3 channels for 5", size=3)),
    Kind("depth-to-space", ("DepthToSpace",), SHUFFLES, setting("DCR for CRD", mode="DCR")),
    Kind("concat-order", ("Concat",), hosts("concat"), exchanged_inputs),
    Kind("add-as-sub", ("Add",), ADDS, residual_subtracted),
    Kind("sub-exchanged", ("Sub",), hosts("centred"), exchanged_inputs),
    Kind("reduced-axis", ("ReduceMean",), hosts("centred"), other_axes),
    Kind("transpose-perm", ("Transpose",), hosts("transpose"), setting("rows and columns stay", perm=[0, 1, 2, 3])),
    Kind("pad-mode", ("Pad",), PADS, setting("it repeats the edge for reflecting", mode="edge")),
]  # fmt: skip
