"""What a rewrite must know and a model computes from values: it is computed for one image, and recorded.

The parts of a model that depend on such values become constants, and the model is then specialised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import Unsupported
from onnxscope.files.models import without_weights
from onnxscope.graph.builder import Builder
from onnxscope.graph.decisions import Decision
from onnxscope.graph.parts import graph_of, needed
from onnxscope.graph.tensors import Tensor, is_known, is_sized, numel
from onnxscope.normalise.source import STANDARD, Items, Source, Value
from onnxscope.runtime import Session, ort_value

REDUCED = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
# Inputs that a node's course or the size of its output depends on, with what they are to it.
SIZING: dict[str, dict[int, str]] = {
    **{op: {1: "axes"} for op in (*REDUCED, "Squeeze", "Unsqueeze")},
    **{op: {1: "shape"} for op in ("AffineGrid", "CenterCropPad", "Expand", "Reshape")},
    **{op: {1: "starts", 2: "ends", 3: "axes", 4: "steps"} for op in ("DynamicSlice", "Slice")},
    "Col2Im": {1: "shape", 2: "block"},
    "Compress": {1: "condition"},
    "ConstantFill": {0: "shape"},
    "ConstantOfShape": {0: "shape"},
    "CumSum": {1: "axis"},
    "If": {0: "condition"},
    "Loop": {0: "number of rounds"},
    "MaxUnpool": {2: "shape"},
    "OneHot": {1: "depth"},
    "Pad": {1: "pads", 3: "axes"},
    "Range": {0: "start", 1: "limit", 2: "step"},
    "Resize": {1: "scales or region", 2: "scales", 3: "sizes"},
    "SequenceAt": {1: "position"},
    "SequenceErase": {1: "position"},
    "SequenceInsert": {2: "position"},
    "Split": {1: "sizes"},
    "SplitToSequence": {1: "sizes"},
    "Tile": {1: "repeats", 2: "axis"},
    "TopK": {1: "k"},
    "Upsample": {1: "scales"},
}
COUNTED = {"NonZero", "NonMaxSuppression"}  # how many results they have depends on values
KEPT_BYTES = 4 << 20  # values up to this size are kept, so that the next run begins behind them
KEPT_KINDS = "biuf"  # of NumPy's types


class Trial:
    """Computes tensors of the graph that is being written for one image, and records what they decide."""

    def __init__(self, feeds: Mapping[str, np.ndarray]) -> None:
        """`feeds` are the values of all inputs of the model."""
        self._feeds = feeds
        self.begin()

    def begin(self) -> None:
        """Forget everything about an earlier graph of the same model."""
        self.decided: list[Decision] = []
        self._values = dict(self._feeds)

    def decide_inputs(self, b: Builder, n: Source) -> None:
        """Replace inputs that must be known by what they are for the image."""
        for i, what in SIZING.get(n.key, {}).items():
            x = n.value(i)
            if x is not None and not isinstance(x, Items) and not is_known(x):
                n.inputs[i] = self.decide(b, n, what, x)

    def decide_results(self, b: Builder, n: Source, results: list[Value | None]) -> list[Value | None]:
        """Replace results by what they are for the image, where their number depends on values."""
        if n.op not in COUNTED or n.domain not in STANDARD:
            return results
        return [self._constant_result(b, n, x) if isinstance(x, gs.Variable) else x for x in results]

    def _constant_result(self, b: Builder, n: Source, x: gs.Variable) -> Tensor:
        x.name = b.unique(f"{n.name}/decided")  # the constant goes by the model's name for it
        return self.decide(b, n, "result", x)

    def decide(self, b: Builder, n: Source, what: str, x: Tensor) -> gs.Constant:
        """What a tensor is for the image, as a constant; it is recorded once."""
        value = self.value(b, x)
        if value.dtype.kind not in KEPT_KINDS or not np.isfinite(value).all():
            raise Unsupported(
                f"its {what} depends on values that are no finite numbers",
                where=n.where,
                remedy="export the model with fixed sizes, or give another image",
            )
        if x.name not in {d.tensor for d in self.decided}:
            self.decided.append(Decision(n.name, n.op, what, x.name, value.tolist()))
        return b.constant(value)

    def value(self, b: Builder, x: Tensor) -> np.ndarray:
        """What a tensor is for the image. The graph is run as it is written, without optimisation."""
        if x.name not in self._values:
            nodes = needed(b.graph.nodes, [x], self._values)
            read = {t.name: t for n in nodes for t in n.inputs if t.name in self._values}
            kept = {t.name: t for n in nodes for t in n.outputs if is_light(t)} | {x.name: x}
            graph = graph_of(b.graph, nodes, list(read.values()), list(kept.values()))
            self._values |= run(graph, self._values)
        return self._values[x.name]


def is_light(t: Tensor) -> bool:
    """Whether the value of a tensor may be kept: numbers of a type that NumPy has, and not many."""
    if not t.name or not is_sized(t) or t.dtype is None or isinstance(t.dtype, int):
        return False
    dtype = np.dtype(t.dtype)
    return dtype.kind in KEPT_KINDS and numel(t.shape) * dtype.itemsize <= KEPT_BYTES


def run(graph: gs.Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a graph, which is run once."""
    model, large = without_weights(graph)
    constants: dict[str, Any] = {t.name: t for n in graph.nodes for t in n.inputs if is_known(t)}
    weights = {name: ort_value(constants[name].values) for name in large}
    session = Session(model, optimise=False, weights=weights)
    try:
        return session.run(feeds)
    finally:
        session.close()
