"""What older opsets and foreign operators mean in the normal dialect: one table, by theme."""

from __future__ import annotations

from onnxscope.lifts.constants import CONSTANTS
from onnxscope.lifts.contrib import CONTRIB
from onnxscope.lifts.control import CONTROL
from onnxscope.lifts.legacy import LEGACY
from onnxscope.lifts.quantized import QUANTIZED
from onnxscope.lifts.resizing import RESIZING
from onnxscope.lifts.versions import VERSIONS
from onnxscope.lifts.windows import WINDOWS
from onnxscope.tables import merged

LIFTS = merged(CONSTANTS, CONTRIB, CONTROL, LEGACY, QUANTIZED, RESIZING, VERSIONS, WINDOWS)

__all__ = ["LIFTS"]
