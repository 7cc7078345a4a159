"""`audit.json`: the verdict, the counts and every entry, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from onnxscope.audit.evidence.texts import json_bytes, set_digest, without_infinities
from onnxscope.audit.report import AuditReport


def summary(report: AuditReport) -> bytes:
    """The report without its rows, as JSON. It is what `--json` prints."""
    return json_bytes(as_mapping(without_infinities(report)))


def as_mapping(report: AuditReport) -> dict[str, Any]:
    """The report without its rows, as plain values."""
    return {
        "verdict": report.verdict,
        "stops": report.stops,
        "stops_on": list(report.stops_on),
        "counts": report.counts,
        "policy": {"name": report.policy, "file": report.policy_file, "sha256": report.policy_sha256},
        "subjects": [asdict(subject) for subject in report.subjects],
        "images": {
            name: {"sha256": set_digest(files), "files": files} for name, files in report.images.items()
        },
        "further": report.further,
        "environment": report.environment,
        "walls": report.walls,
        "entries": [asdict(entry) for entry in report.entries],
    }
