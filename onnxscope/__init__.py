"""onnxscope: what an exported network does, as plain ONNX."""

from onnxscope.api import Check, Diagnosis, Report, Scope, Step, doctor, rewrite, verify
from onnxscope.errors import BadModel, BadOption, NotProved, ScopeError, Unsupported

__all__ = ["BadModel", "BadOption", "Check", "Diagnosis", "NotProved", "Report", "Scope", "ScopeError", "Step", "Unsupported",
           "doctor", "rewrite", "verify"]
