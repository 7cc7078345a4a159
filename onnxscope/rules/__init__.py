"""What each operator means: freeze rules by family, and the transposes of the linear primitives."""

from __future__ import annotations

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
from onnxscope.tables import merged

RULES = merged(ACTIVATIONS, ATTENTION, CONVOLUTIONS, MOVEMENT, NORMALISATIONS, PRODUCTS, QUANTIZATION, REDUCTIONS, RESAMPLING, SAMPLING)

__all__ = ["RULES", "TRANSPOSE"]
