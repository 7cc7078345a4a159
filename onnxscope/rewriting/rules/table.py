"""What each operator means: freeze rules by family, and the transposes of the linear primitives."""

from __future__ import annotations

from onnxscope.graph.tables import merged
from onnxscope.rewriting.rules.activations import ACTIVATIONS
from onnxscope.rewriting.rules.attention import ATTENTION
from onnxscope.rewriting.rules.convolutions import CONVOLUTIONS
from onnxscope.rewriting.rules.decisions import DECISIONS
from onnxscope.rewriting.rules.movement import MOVEMENT
from onnxscope.rewriting.rules.normalisations import NORMALISATIONS
from onnxscope.rewriting.rules.pooling import POOLING, POOLING_TRANSPOSES
from onnxscope.rewriting.rules.products import PRODUCTS
from onnxscope.rewriting.rules.quantize_dequantize import QUANTIZE_DEQUANTIZE
from onnxscope.rewriting.rules.quantized_layers import QUANTIZED_LAYERS
from onnxscope.rewriting.rules.reductions import REDUCTIONS
from onnxscope.rewriting.rules.regions import REGIONS
from onnxscope.rewriting.rules.resampling import RESAMPLING
from onnxscope.rewriting.rules.sampling import SAMPLING
from onnxscope.rewriting.rules.scatter import SCATTER
from onnxscope.rewriting.rules.transposes import TRANSPOSES

RULES = merged(
    ACTIVATIONS,
    ATTENTION,
    CONVOLUTIONS,
    DECISIONS,
    MOVEMENT,
    NORMALISATIONS,
    POOLING,
    PRODUCTS,
    QUANTIZE_DEQUANTIZE,
    QUANTIZED_LAYERS,
    REDUCTIONS,
    REGIONS,
    RESAMPLING,
    SAMPLING,
    SCATTER,
)
TRANSPOSE = merged(POOLING_TRANSPOSES, TRANSPOSES)

__all__ = ["RULES", "TRANSPOSE"]
