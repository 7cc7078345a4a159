"""What the page points out: the verdict in words, the pictures that fail, and the worst slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnxscope.audit.report import FAIL, INVESTIGATE, LEVELS, PASS, AuditReport, Entry, Row

MOST = 5  # pictures that are named; all of them are in the Parquet file

Failing = Mapping[tuple[str, str], Sequence[Row]]


@dataclass(frozen=True)
class Verdict:
    """The verdict as the page shows it."""

    kind: str
    word: str
    text: str


@dataclass(frozen=True)
class Slices:
    """The entry of the worst slice of a check, beside the one of all pictures."""

    worst: Entry
    whole: Entry | None
    count: int
    failed: int


@dataclass(frozen=True)
class Findings:
    """The rows that do not hold, by model and check."""

    rows: Failing

    def worst(self, entry: Entry) -> list[Row]:
        """The pictures that miss the bound by most; none for a slice, as rows do not name theirs."""
        if entry.slice:
            return []
        found = [
            row
            for row in self.rows.get((entry.model, entry.check), ())
            if row.images == entry.images and row.method == entry.method and row.picture
        ]
        return sorted(found, key=lambda row: (-beyond(entry, row.value), row.picture))[:MOST]

    def often(self, model: str) -> list[tuple[str, int]]:
        """The pictures for which the most values of a model do not hold, if any fails more than once."""
        rows = [row for (name, _), found in self.rows.items() if name == model for row in found]
        counts = Counter(" / ".join(filter(None, (row.images, row.picture))) for row in rows if row.picture)
        return sorted((c for c in counts.items() if c[1] > 1), key=lambda c: (-c[1], c[0]))[:MOST]


def failing(rows: Iterable[Row]) -> Failing:
    """The rows that do not hold."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.holds is False:
            found.setdefault((row.model, row.check), []).append(row)
    return found


def verdict_of(report: AuditReport) -> Verdict:
    """The verdict and the counts in words. An audit that judged nothing is not shown as passed."""
    counts = report.counts
    judged = sum(counts.values()) - counts["observed"]
    if not judged:
        text = "No check counts towards the verdict, so that nothing is known about these models."
        return Verdict(report.verdict, "Nothing was judged", text)
    parts = [
        f"{counts[FAIL]} of {judged} results failed",
        f"{counts[INVESTIGATE]} must be investigated",
        f"{counts[PASS]} passed",
    ]
    text = ", ".join(parts) + "."
    if counts["observed"]:
        text += f" Not counted, because they are only observed: {counts['observed']}."
    words = {PASS: "Passed", FAIL: "Failed", INVESTIGATE: "To be investigated"}
    return Verdict(report.verdict, words[report.verdict], text)


def worst_first(entries: Iterable[Entry]) -> list[Entry]:
    """Failures before what is to be investigated, and among them errors before warnings and notes."""
    levels = {level: k for k, level in enumerate(LEVELS)}
    return sorted(entries, key=lambda e: (e.outcome != FAIL, levels.get(e.level, len(levels))))


def worst_slices(entries: Iterable[Entry]) -> list[Slices]:
    """Of each check of a model that has slices, the slice that stands worst against the bound."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.model, entry.check, entry.images, entry.method), []).append(entry)
    found = []
    for group in groups.values():
        sliced = [entry for entry in group if entry.slice]
        if sliced:
            whole = next((entry for entry in group if not entry.slice), None)
            worst = max(sliced, key=lambda e: (severity(e), beyond(e, e.figure)))
            found.append(Slices(worst, whole, len(sliced), sum(e.outcome == FAIL for e in sliced)))
    return found


def severity(entry: Entry) -> int:
    """The order of outcomes, the worst last."""
    return (PASS, INVESTIGATE, FAIL).index(entry.outcome)


def beyond(entry: Entry, value: float | None) -> float:
    """By how much a value misses the entry's bound; negative within it, zero if nothing is known."""
    if value is None:
        return 0.0
    over = value - entry.at_most if entry.at_most is not None else None
    under = entry.at_least - value if entry.at_least is not None else None
    return max((miss for miss in (over, under) if miss is not None), default=0.0)
