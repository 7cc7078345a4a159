"""What rules rely on: attributes are complete wherever they are read, and a broken promise of the dialect is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxscope.errors import BadModel
from onnxscope.normalise.attributes import attributes
from onnxscope.normalise.promises import check_promises
from onnxscope.rewriting.rules.table import RULES


def node(op: str, *inputs: Any, **attrs: Any) -> gs.Node:
    """Inputs are shapes, or arrays for constants."""
    tensors = [
        gs.Constant(f"c{k}", np.asarray(x)) if isinstance(x, list) else gs.Variable(f"x{k}", np.float32, x)
        for k, x in enumerate(inputs)
    ]
    return gs.Node(op, "N", attrs, tensors, [gs.Variable("y")])


IMAGE, WEIGHTS = (1, 4, 5, 6), (8, 2, 3, 3)
STILL = {"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
COMPLETE: dict[str, tuple[gs.Node, dict[str, Any]]] = {
    "Conv": (node("Conv", IMAGE, WEIGHTS), {**STILL, "group": 1}),
    "what is written stays": (
        node("Conv", IMAGE, WEIGHTS, group=2, strides=[2, 1]),
        {**STILL, "strides": [2, 1], "group": 2},
    ),
    "ConvTranspose": (node("ConvTranspose", IMAGE, WEIGHTS), {**STILL, "output_padding": [0, 0]}),
    "one axis": (node("LpPool", (1, 2, 9), kernel_shape=[2]), {"strides": [1], "pads": [0, 0], "p": 2}),
    "no attribute of this opset": (node("AveragePool", IMAGE, kernel_shape=[2, 2]), STILL),
    "Col2Im": (node("Col2Im", (1, 8, 6), [4, 5, 6], [2, 2, 1]), {"pads": [0] * 6, "strides": [1, 1, 1]}),
    "Transpose": (node("Transpose", (1, 2, 3)), {"perm": [2, 1, 0]}),
    "Softmax": (node("Softmax", (1, 2, 3)), {"axis": 2}),
    "an axis behind the last": (node("Flatten", (1, 2, 3), axis=3), {"axis": 3}),
    "all axes": (node("Resize", IMAGE), {"axes": [0, 1, 2, 3], "mode": "nearest"}),
    "some axes": (node("Resize", IMAGE, axes=[-2, -1]), {"axes": [2, 3]}),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_attributes_are_complete(name: str) -> None:
    n, want = COMPLETE[name]
    written = dict(n.attrs)
    found = attributes(n, 18)
    assert {key: found[key] for key in want} == want
    assert n.attrs == written, "what is written stays as it is"


KEPT = {
    "Conv": node("Conv", IMAGE, WEIGHTS, kernel_shape=[3, 3]),
    "MaxPool": node("MaxPool", IMAGE, kernel_shape=[2, 2]),
    "a named axis": node("ReduceSum", IMAGE, [1, 3]),
    "a scalar has no axes": node("ReduceMax", ()),
    "no axes reduce nothing": node("ReduceL2", IMAGE, noop_with_empty_axes=1),
    "Pad": node("Pad", IMAGE, [0] * 8),
    "Slice": node("Slice", IMAGE, [0], [1], [1], [1]),
    "computed bounds": node("Slice", IMAGE, (None,), (None,)),
    "GroupNormalization": node("GroupNormalization", IMAGE, (4,), (4,), num_groups=2),
}
BROKEN = {
    "pads to be found": node("Conv", IMAGE, WEIGHTS, kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
    "no kernel": node("Conv", IMAGE, WEIGHTS),
    "another kernel": node("Conv", IMAGE, WEIGHTS, kernel_shape=[2, 2]),
    "a kernel of one axis": node("MaxPool", IMAGE, kernel_shape=[2]),
    "a size to be reached": node("ConvTranspose", IMAGE, WEIGHTS, kernel_shape=[3, 3], output_shape=[9, 9]),
    "all axes unnamed": node("ReduceSum", IMAGE),
    "an axis from the end": node("ReduceSum", IMAGE, [-1]),
    "an axis twice": node("ReduceMean", IMAGE, [1, 1]),
    "computed axes": node("ReduceMean", IMAGE, (1,)),
    "pads of some axes": node("Pad", IMAGE, [1, 1]),
    "computed pads": node("Pad", IMAGE, (8,)),
    "no steps": node("Slice", IMAGE, [0], [1], [1]),
    "a scale per group": node("GroupNormalization", IMAGE, (2,), (2,), num_groups=2),
    "Dropout": node("Dropout", IMAGE),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_promise_passes(name: str) -> None:
    check_promises(gs.Graph([KEPT[name]]))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_refused(name: str) -> None:
    with pytest.raises(BadModel, match=r"node 'N' .*the normal dialect promises that"):
        check_promises(gs.Graph([BROKEN[name]]))


def test_a_rule_finds_the_attributes_of_its_operator() -> None:
    """Every operator with a window that has a rule gets the defaults that depend on the rank."""
    windowed = {op for op in RULES if op.endswith(("Conv", "ConvTranspose", "ConvInteger", "Pool"))}
    windowed -= {op for op in windowed if op.startswith("Global")} | {"MaxRoiPool"}
    for op in sorted(windowed):
        found = attributes(node(op, IMAGE, WEIGHTS, WEIGHTS, WEIGHTS), 22)
        assert {key: found[key] for key in STILL} == STILL, op
