"""onnxruntime sessions. The only module that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator


class Session:
    """A model on the CPU, from a file or from bytes; `optimise=False` runs the graph as it is written."""

    def __init__(self, model: Path | bytes, *, optimise: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        source = str(model) if isinstance(model, Path) else model
        self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs = [o.name for o in self._session.get_outputs()]

    def close(self) -> None:
        """Give the weights' memory back."""
        del self._session

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The named outputs, or all of them."""
        names = list(outputs or self.outputs)
        feeds = {k: v for k, v in feeds.items() if k in self.inputs}
        return dict(zip(names, self._session.run(names, feeds), strict=True))


def reference(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by the standard's own reference implementation, which is slow and knows every operator."""
    names = [o.name for o in model.graph.output]
    inputs = {i.name for i in model.graph.input}
    values = ReferenceEvaluator(model).run(names, {k: v for k, v in feeds.items() if k in inputs})
    return {n: np.asarray(v) for n, v in zip(names, values, strict=True)}


def evaluate(model: onnx.ModelProto) -> list[np.ndarray] | None:
    """The outputs of a small model without inputs, or None where neither runtime can compute it."""
    names = [o.name for o in model.graph.output]
    try:
        session = Session(model.SerializeToString(), optimise=False)
        return [session.run({})[n] for n in names]
    except Exception:  # onnxruntime lacks the kernel for this type: the reference has all of them
        pass
    try:
        return list(reference(model, {}).values())
    except Exception:  # the reference refuses too: the expression stays in the graph
        return None
