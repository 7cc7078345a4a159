"""What all formats share: names of checks, figures as text, digests of image sets, JSON and the fixed time.

Names come from files of others. In JSON they stand as they are, because programs compare them; wherever a
person reads them they are made printable.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from onnxscope.audit.report import FAIL, INVESTIGATE, PASS, AuditReport, Entry
from onnxscope.errors import BadOption, one_line, printable

PASSED, STOPPED, WARNED = "passed", "stopped", "warned"  # what an entry means for the whole audit


def effect(report: AuditReport, entry: Entry) -> str:
    """What an entry does to the audit: a check that is only observed warns at most."""
    if entry.outcome == PASS:
        return PASSED
    stops = entry.outcome == FAIL or (entry.outcome == INVESTIGATE and INVESTIGATE in report.stops_on)
    return STOPPED if stops and not entry.observe_only else WARNED


def title(entry: Entry) -> str:
    """The check with the set, the slice and the method, which together name an entry of a model."""
    parts = [entry.images, entry.slice and f"slice {entry.slice}", entry.method and f"method {entry.method}"]
    inside = ", ".join(printable(part) for part in parts if part)
    return printable(entry.check) + (f" ({inside})" if inside else "")


def identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes an entry the same one in two reports, by its fields as they are or as they were in JSON."""
    return tuple(finite(str(entry.get(key) or "")) for key in ("model", "check", "images", "slice", "method"))


def number(value: float | None) -> str:
    """A figure as a person reads it."""
    return "not measured" if value is None else f"{value:.4g}"


def sentence(entry: Entry) -> str:
    """An entry in one sentence: the figure, the interval, the bound and how many pictures do not hold."""
    text = f"{title(entry)}: {number(entry.figure)}"
    if entry.interval:
        text += f" (95 % interval {number(entry.interval[0])} to {number(entry.interval[1])})"
    text += f", bound: {one_line(entry.bound) or 'none'}"
    if entry.count:
        text += f", {entry.failed} of {entry.count} values do not hold"
    if entry.layer:
        text += f", layer {one_line(entry.layer)}"
    return text


def explained(entry: Entry) -> list[str]:
    """An entry in lines: what was measured, why it has this outcome, and what a failure means."""
    lines = [sentence(entry)]
    if entry.note:
        lines.append(one_line(entry.note))
    if entry.means:
        lines.append(f"What a failure means: {one_line(entry.means)}")
    return lines


def set_digest(images: Mapping[str, str]) -> str:
    """The digest of an image set: SHA-256 of its lines `digest  name`, sorted, as sha256sum writes them."""
    lines = sorted(f"{digest}  {name}\n" for name, digest in images.items())
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def finite(value: Any) -> Any:
    """A value as JSON has it: NaN and infinities are null, and what UTF-8 cannot hold is an escape."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {finite(str(key)): finite(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inside) for inside in value]
    return value if value is None or isinstance(value, (bool, int)) else finite(str(value))


def json_bytes(value: Any) -> bytes:
    """JSON in ASCII with sorted keys: equal values give equal bytes, and no code reaches a terminal."""
    return (json.dumps(finite(value), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def without_infinities(report: AuditReport) -> AuditReport:
    """The report without figures that are not finite, and without intervals that have an infinite end."""
    entries = [
        replace(
            entry,
            figure=finite(entry.figure),
            interval=entry.interval if entry.interval and all(map(math.isfinite, entry.interval)) else None,
            earlier=finite(entry.earlier),
            at_most=finite(entry.at_most),
            at_least=finite(entry.at_least),
        )
        for entry in report.entries
    ]
    return replace(report, entries=entries)


def fixed_time() -> datetime | None:
    """The time that SOURCE_DATE_EPOCH fixes, if it is set: the evidence names no other time."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadOption(
            f"'{text}' is no time", where="SOURCE_DATE_EPOCH", remedy="give seconds since 1970, or unset it"
        ) from error
