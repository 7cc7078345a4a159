"""Earlier reports, as their `audit.json` has them, checked and made ready to be looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxscope.audit.evidence.texts import finite, identity
from onnxscope.audit.report import OUTCOMES
from onnxscope.errors import BadOption

Known = Mapping[tuple[str, ...], Mapping[str, Any]]  # the entries of a report, by what identifies them
History = Sequence[Known]  # the oldest report first


def history_of(earlier: Sequence[Mapping[str, Any]]) -> History:
    """The entries of each earlier report; refuses what is not an audit.json."""
    return [known_entries(report, f"earlier report {k}") for k, report in enumerate(earlier, 1)]


def known_entries(report: Any, where: str) -> Known:
    """The entries of one report by what identifies them."""
    entries = report.get("entries") if isinstance(report, Mapping) else None
    if not isinstance(entries, list):
        raise not_a_report("has no list 'entries'", where)
    return {identity(entry): entry for entry in (checked(entry, where) for entry in entries)}


def checked(entry: Any, where: str) -> dict[str, Any]:
    """An entry of an earlier report with an outcome and a figure that can be drawn."""
    if not isinstance(entry, Mapping) or entry.get("outcome") not in OUTCOMES:
        raise not_a_report("has an entry without an outcome", where)
    figure = entry.get("figure")
    if isinstance(figure, bool) or not isinstance(figure, (int, float, type(None))):
        raise not_a_report("has a figure that is not a number", where)
    return {**entry, "figure": finite(figure)}


def not_a_report(cause: str, where: str) -> BadOption:
    """The error for a file that no audit wrote."""
    return BadOption(f"is not a report of an audit: it {cause}", where=where, remedy="name an audit.json")
