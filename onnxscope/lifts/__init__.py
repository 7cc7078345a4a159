"""What older opsets and foreign operators mean in the normal dialect: one table, by theme."""

from __future__ import annotations

from collections.abc import Mapping

from onnxscope.lifts.constants import CONSTANTS
from onnxscope.lifts.contrib import CONTRIB
from onnxscope.lifts.control import CONTROL
from onnxscope.lifts.interpreter import Lift
from onnxscope.lifts.legacy import LEGACY
from onnxscope.lifts.quantized import QUANTIZED
from onnxscope.lifts.resizing import RESIZING
from onnxscope.lifts.versions import VERSIONS
from onnxscope.lifts.windows import WINDOWS


def merged(*tables: Mapping[str, Lift]) -> dict[str, Lift]:
    """One table out of the themes', refusing an operator that two of them claim."""
    result: dict[str, Lift] = {}
    for table in tables:
        if twice := result.keys() & table.keys():
            raise ValueError(f"two lifts for {sorted(twice)}")
        result.update(table)
    return result


LIFTS = merged(CONSTANTS, CONTRIB, CONTROL, LEGACY, QUANTIZED, RESIZING, VERSIONS, WINDOWS)

__all__ = ["LIFTS"]
