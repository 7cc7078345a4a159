"""Rows of figures as CSV and Parquet files."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxscope.errors import BadOption, printable
from onnxscope.files import models

TABLES = (".csv", ".parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what formulas begin with
Rows = Sequence[Mapping[str, Any]]  # all with the same keys


def check_can_write(target: Path) -> None:
    """Refuse a Parquet file if the package that writes it is not installed."""
    if target.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise BadOption(
            "Parquet needs pyarrow", where=f"'{target}'", remedy="pip install pyarrow, or write .csv"
        )


def write_table(target: Path, rows: Rows) -> None:
    """Write the rows as CSV or Parquet, whichever the file's name ends in."""
    check_can_write(target)
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
    data = io.BytesIO()
    table = importlib.import_module("pyarrow").Table.from_pylist(rows)
    importlib.import_module("pyarrow.parquet").write_table(table, data)
    return data.getvalue()
