"""Rows and entries: the answers of workers, judged by the checks of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxscope.audit.answers import Answer
from onnxscope.audit.checks import Check
from onnxscope.audit.judging import Judgement, beyond, holds, judged
from onnxscope.audit.measures.value import SET, Value
from onnxscope.audit.policy import Part, Policy
from onnxscope.audit.report import FAIL, PASS, Entry, Row

OPENS = "opens and runs"  # the check that every model has
Named = Mapping[tuple[str, str, str, str], float]  # the figures of an earlier report


def opens(model: str, answers: Sequence[Answer]) -> Entry:
    """Whether the model could be opened, and its processes came to a good end."""
    failed = [(a.item.picture.name if a.item.picture else "", why) for a in answers if (why := a.failure)]
    note = f"{failed[0][0]}: {failed[0][1]}".removeprefix(": ") if failed else ""
    if not failed and "task" not in answers[0].found.get("facts", {}):
        note = "it was read and not run, because the policy names no pictures for it"
    count = len(answers)
    return Entry(
        model,
        OPENS,
        OPENS,
        FAIL if failed else PASS,
        (count - len(failed)) / count,
        None,
        f"{count} of {count} must",
        count=count,
        failed=len(failed),
        allowed=0,
        note=note,
        means="The model cannot be used, or it harms the process that opens it.",
    )


def rows_of(model: str, check: Check, place: int, answers: Sequence[Answer]) -> list[Row]:
    """A row for each value of a check."""
    found = []
    for answer in answers:
        if place not in answer.item.checks:
            continue
        picture = answer.item.picture.name if answer.item.picture else ""
        missing = {"value": None, "part": "", "layer": "", "note": answer.failure}
        for value in answer.values(place) or [missing]:
            number = value["value"]
            found.append(
                Row(
                    model,
                    answer.item.images,
                    picture,
                    f"{check.name}: {value['part']}" if value["part"] else check.name,
                    check.measure,
                    check.method,
                    number,
                    holds(check, number) if check.hold is not None and number is not None else None,
                    value["layer"],
                    value["note"],
                )
            )
    return found


def entries_of(
    model: str, check: Check, place: int, answers: Sequence[Answer], policy: Policy, earlier: Named
) -> tuple[list[Row], list[Entry]]:
    """The rows of a check for one model, and its entries: for each set of pictures, and each slice of it."""
    rows = rows_of(model, check, place, answers)
    about = {
        (a.item.images, a.item.picture.name): (a.item.label, a.found.get("mask_share"))
        for a in answers
        if a.item.picture
    }
    entries = []
    for images in dict.fromkeys(r.images for r in rows):
        mine = [r for r in rows if r.images == images]
        if check.table.per == SET:
            values = [v for a in answers if a.item.images == images for v in a.values(place)]
            mine = [joined_row(mine, check, [v["held"] for v in values if v["held"]])]
            rows = [r for r in rows if r.images != images] + mine
        for name in dict.fromkeys(r.check for r in mine):
            part = [r for r in mine if r.check == name]
            before = earlier.get((model, name, images, ""))
            entries.append(entry(check, part, "", judged(check, part, before), before))
            for title in slices_of(check, policy):
                chosen = [r for r in part if inside(policy.slices[title], r, about)]
                if chosen:
                    before = earlier.get((model, name, images, title))
                    entries.append(entry(check, chosen, title, judged(check, chosen, before), before))
    return rows, entries


def slices_of(check: Check, policy: Policy) -> Sequence[str]:
    """The slices that a check is judged on: where every picture must hold, the whole set says it all."""
    if check.table.per == SET or check.table.timed:
        return ()
    return check.slices if check.slices is not None else () if check.hold == 1 else list(policy.slices)


def joined_row(rows: Sequence[Row], check: Check, held: Sequence[Mapping[str, Any]]) -> Row:
    """One row for a set, whose value is made from all its pictures."""
    assert check.table.joined is not None
    first = next((r for r in rows if r.note), rows[0])
    (found,) = check.table.joined(held) if held else [Value(None, note=first.note)]
    kept = holds(check, found.value) if check.hold is not None and found.value is not None else None
    left_out = f"{len(rows) - len(held)} of {len(rows)} pictures were left out: {first.note}"
    note = "; ".join([found.note] + [left_out] * (0 < len(held) < len(rows)))
    about = (first.model, first.images, "", first.check, first.measure, first.method)
    return Row(*about, found.value, kept, found.layer, note)


def inside(part: Part, row: Row, about: Mapping[tuple[str, str], tuple[str, float | None]]) -> bool:
    return bool(row.picture) and part.holds(row.picture, *about[row.images, row.picture])


def entry(check: Check, rows: Sequence[Row], part: str, found: Judgement, earlier: float | None) -> Entry:
    """The outcome, with the layer that the worst value points to. It tells nothing that a time decides."""
    first, worst, timed = rows[0], worst_row(check, rows), check.table.timed
    note = "; ".join(filter(None, [found.note, said(worst, rows)]))
    return Entry(
        first.model,
        first.check,
        check.measure,
        found.outcome,
        None if timed else found.figure,
        None if timed else found.interval,
        found.bound,
        first.images,
        part,
        check.method,
        0 if timed else found.count,
        0 if timed else found.failed,
        None if timed else found.allowed,
        worst.layer if worst else "",
        "its values are in audit.times.json" if timed and found.count else note,
        check.means,
        check.level,
        check.observe_only,
        earlier,
        check.most,
        check.least,
    )


def worst_row(check: Check, rows: Sequence[Row]) -> Row | None:
    """The row whose value is farthest on the wrong side."""
    known = [r for r in rows if r.value is not None]
    return max(known, key=lambda r: beyond(check, r.value or 0.0), default=None)


def said(worst: Row | None, rows: Sequence[Row]) -> str:
    """Which picture is the worst, and what its value says."""
    if worst is None:
        return ""
    if len(rows) == 1 or not worst.picture:
        return worst.note
    return f"worst on {worst.picture}: {worst.value:.4g}" + (f" ({worst.note})" if worst.note else "")
