"""Literal tables, one per theme, become one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def merged(*tables: Mapping[str, Entry]) -> dict[str, Entry]:
    """All entries, refusing an operator that two tables claim."""
    result: dict[str, Entry] = {}
    for table in tables:
        if twice := result.keys() & table.keys():
            raise ValueError(f"two entries for {sorted(twice)}")
        result.update(table)
    return result
