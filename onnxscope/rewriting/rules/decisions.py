"""Operators whose result is a decision: the frozen branch takes it from the base as a constant."""

from __future__ import annotations

from onnxscope.graph import decisions
from onnxscope.rewriting.linearize import Entry

DECISIONS: dict[str, Entry] = dict.fromkeys(decisions.DECISIONS, ("decision", None))
