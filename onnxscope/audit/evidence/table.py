"""`audit.parquet`: a row for each model, picture and check, to be read by analysis tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from onnxscope.audit.evidence.texts import finite
from onnxscope.audit.report import AuditReport, Row
from onnxscope.files import tables

FILE = "audit.parquet"
COLUMNS = {
    "model": "string",
    "images": "string",
    "picture": "string",
    "check": "string",
    "measure": "string",
    "method": "string",
    "value": "double",
    "holds": "bool",
    "layer": "string",
    "note": "string",
}


def table(report: AuditReport) -> bytes:
    """The rows in an order that does not depend on which worker was first."""

    rows = sorted(report.rows, key=place)
    return tables.columns_as_parquet(
        {name: (kind, values(rows, name, kind)) for name, kind in COLUMNS.items()}
    )


def values(rows: Sequence[Row], name: str, kind: str) -> Iterator[str | float | bool | None]:
    """One column; a text that many rows have is checked once."""
    clean = cache(finite) if kind == "string" else finite
    return (clean(getattr(row, name)) for row in rows)


def place(row: Row) -> tuple[str, ...]:
    """Where a row stands among the others."""
    return row.model, row.images, row.picture, row.check, row.measure, row.method
