"""What older opsets and foreign operators mean in the normal dialect: one table, by theme."""

from __future__ import annotations

from onnxscope.graph.tables import merged
from onnxscope.normalise.constants import CONSTANTS
from onnxscope.normalise.contrib import CONTRIB
from onnxscope.normalise.control import CONTROL
from onnxscope.normalise.legacy import LEGACY
from onnxscope.normalise.quantized import QUANTIZED
from onnxscope.normalise.resizing import RESIZING
from onnxscope.normalise.versions import VERSIONS
from onnxscope.normalise.windows import WINDOWS

LIFTS = merged(CONSTANTS, CONTRIB, CONTROL, LEGACY, QUANTIZED, RESIZING, VERSIONS, WINDOWS)

__all__ = ["LIFTS"]
