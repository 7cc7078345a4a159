"""Rows of figures as CSV and Parquet files."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxscope.errors import printable
from onnxscope.files import models

TABLES = (".csv", ".parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what formulas begin with
Rows = Sequence[Mapping[str, Any]]  # all with the same keys


def write_table(target: Path, rows: Rows) -> None:
    """Write the rows as CSV or Parquet, whichever the file's name ends in."""
    table = as_parquet(rows) if target.suffix.lower() == ".parquet" else as_csv(rows)
    models.write({target: iter([table])}, target)


def as_csv(rows: Rows) -> bytes:
    """The rows as the bytes of a CSV file. Names are made safe, as programs for tables compute formulas."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0] if rows else ())
    writer.writeheader()
    writer.writerows({key: safe(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def safe(value: Any) -> Any:
    """A cell: in a text, control characters are escaped, and an apostrophe is put before a formula."""
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA) else "") + printable(value)


def as_parquet(rows: Rows) -> bytes:
    """The rows as the bytes of a Parquet file."""
    return parquet_bytes(importlib.import_module("pyarrow").Table.from_pylist(rows))


def columns_as_parquet(columns: Mapping[str, tuple[str, Iterable[Any]]]) -> bytes:
    """Columns, each with the name of its type and its values, as the bytes of a Parquet file."""
    arrow = importlib.import_module("pyarrow")
    arrays = {
        name: arrow.array(values, arrow.type_for_alias(kind)) for name, (kind, values) in columns.items()
    }
    return parquet_bytes(arrow.table(arrays))


def parquet_bytes(table: Any) -> bytes:
    """A table of pyarrow as the bytes of a Parquet file."""
    data = io.BytesIO()
    importlib.import_module("pyarrow.parquet").write_table(table, data)
    return data.getvalue()
