"""What the normal dialect promises beyond the standard, checked once. Rules and transposes rely on it."""

from __future__ import annotations

from collections.abc import Callable

import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel
from onnxscope.graph.tensors import describe, ints_of, is_known, numel, shape_of

KERNEL_INPUT = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "DeformConv": 1, "QLinearConv": 3}
POOLS = ("AveragePool", "LpPool", "MaxPool")
REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
WRITTEN_OUT = ("Constant", "Dropout", "If", "Loop", "Scan")


def has_window(node: gs.Node) -> bool:
    """Whether the kernel has a size for every axis of space, and the pads are numbers."""
    kernel, space = node.attrs.get("kernel_shape", []), shape_of(node.inputs[0])[2:]
    weights = node.inputs[KERNEL_INPUT[node.op]] if node.op in KERNEL_INPUT else None
    own = weights is None or shape_of(weights)[2:] == tuple(kernel)
    return len(kernel) == len(space) and own and not {"auto_pad", "output_shape"} & node.attrs.keys()


def names_axes(node: gs.Node) -> bool:
    """Whether the reduced axes are constant and counted from the front; without axes nothing is reduced."""
    if len(node.inputs) < 2:
        return not shape_of(node.inputs[0]) or bool(node.attrs.get("noop_with_empty_axes"))
    axes = ints_of(node.inputs[1]) if is_known(node.inputs[1]) else [-1]
    return axes == sorted(set(axes)) and min(axes, default=0) >= 0


def names_bounds(node: gs.Node) -> bool:
    """Whether starts, ends, axes and steps are there; how many there are may depend on values."""
    return len(node.inputs) == 5 or -1 in shape_of(node.inputs[1])


def has_channels(node: gs.Node) -> bool:
    return shape_of(node.inputs[1])[0] == shape_of(node.inputs[0])[1]


def pads_every_axis(node: gs.Node) -> bool:
    known = len(node.inputs) < 4 and is_known(node.inputs[1])
    return known and numel(shape_of(node.inputs[1])) == 2 * len(shape_of(node.inputs[0]))


PROMISES: dict[str, tuple[str, Callable[[gs.Node], bool]]] = {
    **dict.fromkeys((*KERNEL_INPUT, *POOLS), ("kernels and pads are written out", has_window)),
    **dict.fromkeys(REDUCTIONS, ("the reduced axes are constant and named", names_axes)),
    **dict.fromkeys(WRITTEN_OUT, ("the operator does not occur", lambda node: False)),
    "GroupNormalization": ("scale and bias are per channel", has_channels),
    "Pad": ("every axis has two constant pads", pads_every_axis),
    "Slice": ("a Slice names its axes and steps", names_bounds),
}


def check_promises(graph: gs.Graph) -> None:
    """Refuse a graph with a node that breaks its promise, which is the fault of a lift."""
    for node in graph.nodes:
        promise, is_kept = PROMISES.get(node.op, ("", lambda node: True))
        if not is_kept(node):
            raise BadModel(
                f"the normal dialect promises that {promise}, and this node breaks it",
                where=describe(node),
                remedy="check the model in onnxruntime, and report it if it runs there",
            )
