"""Operators whose result is a decision, or a size: it does not follow the numbers that they look at."""

from __future__ import annotations

CHOICES = ("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "OneHot", "Unique")
SIZES = ("EyeLike", "Range", "Shape", "Size")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual")
LOGIC = ("And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Not", "Or", "Xor")
STEPS = ("Ceil", "Floor", "Sign")  # constant but for jumps
DECISIONS = (*CHOICES, *SIZES, *COMPARISONS, *LOGIC, *STEPS)
