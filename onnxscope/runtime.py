"""onnxruntime sessions. The only module that imports onnxruntime."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from onnxscope.errors import BadModel, Unsupported

ODD_TYPES = {"tensor(bfloat16)": ml_dtypes.bfloat16}  # what NumPy knows only by ml_dtypes, which onnx brings
CODES = [  # of onnxruntime's messages, and what stands for them
    (r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(cc|h):\d+ |Load model from .*? failed:", ""),
    (r"Non-zero status code returned while running (\w+) node. Name:'(.*?)' Status Message:", r"node '\2' (\1):"),
]


class Session:
    """A model on the CPU, from a file or from bytes; `optimise=False` runs the graph as it is written."""

    def __init__(self, model: Path | bytes, *, optimise: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds of its own
            raise Unsupported(f"onnxruntime cannot run the model ({first_line(error)})",
                              remedy="export it with operators and types that onnxruntime has") from error
        self.inputs = {i.name: i.type for i in self._session.get_inputs()}
        self._types = {o.name: o.type for o in self._session.get_outputs()}
        self.outputs = list(self._types)

    def close(self) -> None:
        """Give the weights' memory back."""
        del self._session

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The named outputs, or all of them."""
        names = list(outputs or self.outputs)
        feeds = {k: v for k, v in feeds.items() if k in self.inputs}
        try:
            return self._run(names, feeds)
        except Exception as error:  # onnxruntime raises many kinds of its own
            raise BadModel(f"onnxruntime stops while it runs the model ({first_line(error)})",
                           remedy="check the sizes given with --input-shape, or the export") from error

    def _run(self, names: list[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not any(t in ODD_TYPES for t in (*self.inputs.values(), *self._types.values())):
            return dict(zip(names, self._session.run(names, feeds), strict=True))
        values = self._session.run_with_ort_values(names, {k: ort_value(v) for k, v in feeds.items()})
        return {n: from_ort_value(v, self._types[n]) for n, v in zip(names, values, strict=True)}


def first_line(error: Exception) -> str:
    """What onnxruntime says, without its codes and source files."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    for pattern, plain in CODES:
        text = re.sub(pattern, plain, text)
    return text[:300].strip()


def ort_value(array: np.ndarray) -> onnxruntime.OrtValue:
    """An array of any element type, also one that onnxruntime's NumPy bridge does not know."""
    if array.dtype not in ODD_TYPES.values():
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array).view(np.uint16), element)


def from_ort_value(value: onnxruntime.OrtValue, kind: str) -> np.ndarray:
    if kind not in ODD_TYPES:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape)))
    array: np.ndarray = np.frombuffer(raw, dtype=np.uint16).reshape(shape).view(ODD_TYPES[kind])
    return array


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
