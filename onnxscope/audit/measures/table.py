"""The table of all measures."""

from __future__ import annotations

from onnxscope.audit.measures.linear import LINEAR
from onnxscope.audit.measures.maps import MAPS
from onnxscope.audit.measures.models import MODELS
from onnxscope.audit.measures.proofs import PROOFS
from onnxscope.audit.measures.value import Measure
from onnxscope.audit.measures.versions import VERSIONS

TABLES = (PROOFS, VERSIONS, LINEAR, MAPS, MODELS)
MEASURES: dict[str, Measure] = {name: measure for table in TABLES for name, measure in table.items()}
assert len(MEASURES) == sum(map(len, TABLES)), "two measures have one name"
