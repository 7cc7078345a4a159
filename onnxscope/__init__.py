"""onnxscope: what an exported network does, as plain ONNX."""

from typing import Any

from onnxscope.api.answers import Explanation, PixelArray, Singular
from onnxscope.api.difference import Difference
from onnxscope.api.differing import diff
from onnxscope.api.model import LinearInterpreter, OpenModel
from onnxscope.api.opening import Check, Diagnosis, Report, Scope, Step, doctor, load, rewrite, verify
from onnxscope.api.reading import find_labels, read_image
from onnxscope.api.runtime_noise import RuntimeNoise, runtime_noise
from onnxscope.ask.contributions import Contribution, Contributions
from onnxscope.ask.ledger import Ledger
from onnxscope.ask.votes import Votes
from onnxscope.errors import (
    BadModel,
    BadOption,
    NotProved,
    OtherDecision,
    OutOfMemory,
    ScopeError,
    Undecided,
    Unsupported,
)
from onnxscope.files.preprocessing import Preprocess
from onnxscope.files.results import Drawing
from onnxscope.version import VERSION as __version__

__all__ = [
    "BadModel",
    "BadOption",
    "Check",
    "Contribution",
    "Contributions",
    "Diagnosis",
    "Difference",
    "Drawing",
    "Explanation",
    "Ledger",
    "LinearInterpreter",
    "NotProved",
    "OpenModel",
    "OtherDecision",
    "OutOfMemory",
    "PixelArray",
    "Preprocess",
    "Report",
    "RuntimeNoise",
    "Scope",
    "ScopeError",
    "Singular",
    "Step",
    "Tour",
    "Undecided",
    "Unsupported",
    "Votes",
    "__version__",
    "diff",
    "doctor",
    "find_labels",
    "load",
    "read_image",
    "rewrite",
    "runtime_noise",
    "verify",
]


def __getattr__(name: str) -> Any:
    """`Tour` is imported when it is asked for: charts take half a second to import."""
    if name != "Tour":
        raise AttributeError(f"module 'onnxscope' has no attribute '{name}'")
    from onnxscope.show.tour.visit import Visit

    return Visit


def __dir__() -> list[str]:
    return sorted(__all__)
