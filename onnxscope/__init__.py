"""onnxscope: what an exported network does, as plain ONNX."""

from onnxscope.ask.opening import (
    Check,
    Diagnosis,
    LinearInterpreter,
    OpenModel,
    Report,
    Scope,
    Step,
    doctor,
    load,
    rewrite,
    verify,
)
from onnxscope.errors import BadModel, BadOption, NotProved, OutOfMemory, ScopeError, Unsupported

__all__ = [
    "BadModel",
    "BadOption",
    "Check",
    "Diagnosis",
    "LinearInterpreter",
    "NotProved",
    "OpenModel",
    "OutOfMemory",
    "Report",
    "Scope",
    "ScopeError",
    "Step",
    "Unsupported",
    "doctor",
    "load",
    "rewrite",
    "verify",
]
