"""Tables of operators, one for each theme, are merged into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def merged(*tables: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of all tables; an operator that stands in two of them is an error."""
    result: dict[str, Entry] = {}
    for table in tables:
        if twice := result.keys() & table.keys():
            raise ValueError(f"two entries for {sorted(twice)}")
        result.update(table)
    return result
