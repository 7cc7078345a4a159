"""What each operator means: freeze rules by family, and the transposes of the linear primitives."""

from __future__ import annotations

from collections.abc import Mapping

from onnxscope.linearize import Entry
from onnxscope.rules.activations import ACTIVATIONS
from onnxscope.rules.attention import ATTENTION
from onnxscope.rules.convolutions import CONVOLUTIONS
from onnxscope.rules.movement import MOVEMENT
from onnxscope.rules.normalisations import NORMALISATIONS
from onnxscope.rules.primitives import TRANSPOSE
from onnxscope.rules.products import PRODUCTS
from onnxscope.rules.quantization import QUANTIZATION
from onnxscope.rules.reductions import REDUCTIONS
from onnxscope.rules.resampling import RESAMPLING
from onnxscope.rules.sampling import SAMPLING


def merged(*tables: Mapping[str, Entry]) -> dict[str, Entry]:
    """One table out of the families', refusing an operator that two of them claim."""
    result: dict[str, Entry] = {}
    for table in tables:
        if twice := result.keys() & table.keys():
            raise ValueError(f"two rules for {sorted(twice)}")
        result.update(table)
    return result


RULES = merged(ACTIVATIONS, ATTENTION, CONVOLUTIONS, MOVEMENT, NORMALISATIONS, PRODUCTS, QUANTIZATION, REDUCTIONS, RESAMPLING, SAMPLING)

__all__ = ["RULES", "TRANSPOSE"]
