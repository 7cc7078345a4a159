"""Operators whose result is a decision: the frozen branch takes it from the base as a constant."""

from __future__ import annotations

from onnxscope.rewriting.linearize import Entry

CHOICES = ("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "OneHot", "Unique")
SIZES = ("EyeLike", "Range", "Shape", "Size")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual")
LOGIC = ("And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Not", "Or", "Xor")
STEPS = ("Ceil", "Floor", "Sign")  # constant but for jumps

DECISIONS: dict[str, Entry] = dict.fromkeys(
    (*CHOICES, *SIZES, *COMPARISONS, *LOGIC, *STEPS), ("decision", None)
)
