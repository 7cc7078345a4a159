"""What older opsets and foreign operators mean in the normal dialect: one table, by theme."""

from __future__ import annotations

from onnxscope.graph.tables import merged
from onnxscope.normalise.constants import CONSTANTS
from onnxscope.normalise.contrib import CONTRIB
from onnxscope.normalise.contrib_quantized import CONTRIB_QUANTIZED
from onnxscope.normalise.control import CONTROL
from onnxscope.normalise.legacy import LEGACY
from onnxscope.normalise.movement import MOVEMENT
from onnxscope.normalise.recurrent import RECURRENT
from onnxscope.normalise.resizing import RESIZING
from onnxscope.normalise.versions import VERSIONS
from onnxscope.normalise.windows import WINDOWS

LIFTS = merged(
    CONSTANTS, CONTRIB, CONTROL, CONTRIB_QUANTIZED, LEGACY, MOVEMENT, RECURRENT, RESIZING, VERSIONS, WINDOWS
)

__all__ = ["LIFTS"]
