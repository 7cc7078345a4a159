"""What each operator means: freeze rules by family, and the transposes of the linear primitives."""

from __future__ import annotations

from onnxscope.graph.tables import merged
from onnxscope.rewriting.rules.activations import ACTIVATIONS
from onnxscope.rewriting.rules.attention import ATTENTION
from onnxscope.rewriting.rules.convolutions import CONVOLUTIONS
from onnxscope.rewriting.rules.movement import MOVEMENT
from onnxscope.rewriting.rules.normalisations import NORMALISATIONS
from onnxscope.rewriting.rules.primitives import TRANSPOSE
from onnxscope.rewriting.rules.products import PRODUCTS
from onnxscope.rewriting.rules.quantization import QUANTIZATION
from onnxscope.rewriting.rules.reductions import REDUCTIONS
from onnxscope.rewriting.rules.resampling import RESAMPLING
from onnxscope.rewriting.rules.sampling import SAMPLING

RULES = merged(
    ACTIVATIONS,
    ATTENTION,
    CONVOLUTIONS,
    MOVEMENT,
    NORMALISATIONS,
    PRODUCTS,
    QUANTIZATION,
    REDUCTIONS,
    RESAMPLING,
    SAMPLING,
)

__all__ = ["RULES", "TRANSPOSE"]
