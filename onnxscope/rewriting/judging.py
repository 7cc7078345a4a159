"""Whose fault it is that a rule stumbles: the model's, or that of onnxscope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import shape_inference

from onnxscope.errors import BadModel, Fault, ScopeError
from onnxscope.files.models import Model
from onnxscope.files.weights import is_external
from onnxscope.graph.tensors import Shape, element_type
from onnxscope.normalise.dialect import graph_inputs
from onnxscope.runtime import Session, first_line


@contextmanager
def judged(model: Model, shapes: Mapping[str, Shape]) -> Iterator[None]:
    """Turn a fault into a refusal of the model, if onnx or onnxruntime refuse the model too."""
    try:
        yield
    except Fault as fault:
        refuse_bad(model, shapes, fault)
        raise


def refuse_bad(model: Model, shapes: Mapping[str, Shape], fault: ScopeError) -> None:
    """Refuse a model that onnx or onnxruntime refuse, because of an error that may be its own fault."""
    if reason := refusal(model, shapes):
        raise BadModel(reason, where=fault.where, remedy="export the model again") from fault


def refusal(model: Model, shapes: Mapping[str, Shape]) -> str:
    """Why onnx's checker refuses a model, or onnxruntime cannot run it on ones; empty if both accept it."""
    try:
        # the checker wants all outputs to have a type and a shape, and many exporters leave them out
        filled = shape_inference.infer_shapes(model.proto, strict_mode=True)
        for info in filled.graph.output:
            info.type.tensor_type.elem_type = info.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
            info.type.tensor_type.shape.SetInParent()
        if not any(map(is_external, filled.graph.initializer)):  # the loaded model has absolute paths to them
            onnx.checker.check_model(filled)
    except Exception as error:  # onnx raises several kinds of its own
        return f"onnx's checker refuses the model ({first_line(error)})"
    try:
        session = Session(model.path or model.proto.SerializeToString(), optimise=False)
        inputs = graph_inputs(model.proto.graph, shapes)
        dtypes = {t.name: onnx.helper.tensor_dtype_to_np_dtype(element_type(t)) for t in inputs}
        session.run({t.name: np.ones(tuple(t.shape), dtypes[t.name]) for t in inputs})
    except ScopeError as error:
        return error.cause
    return ""
