"""`audit.cdx.json`: the models in a CycloneDX 1.6 bill of materials, each with its model card."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from onnxscope.audit.evidence.texts import explained, fixed_time, json_bytes, set_digest, title
from onnxscope.audit.report import INVESTIGATE, AuditReport, Entry, Subject
from onnxscope.errors import one_line, printable
from onnxscope.version import VERSION

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "audit.onnxscope")  # of serial numbers


def cyclonedx(report: AuditReport) -> bytes:
    """The bill of materials. Its serial number is made from its content: equal reports have the same."""
    time = fixed_time()
    tool = {"type": "application", "name": "onnxscope", "version": VERSION}
    bom = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "properties": properties(about(report))}
        | ({"timestamp": f"{time:%Y-%m-%dT%H:%M:%SZ}"} if time else {}),
        "components": [
            *(model(report, subject) for subject in report.subjects),
            *(dataset(name, files) for name, files in report.images.items()),
        ],
    }
    content = json_bytes(bom).decode()
    return json_bytes(bom | {"serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"})


def about(report: AuditReport) -> list[tuple[str, str]]:
    """What holds for the whole audit."""
    return [
        ("verdict", report.verdict),
        ("policy", report.policy),
        ("policy:sha256", report.policy_sha256),
        *((f"environment:{name}", value) for name, value in report.environment.items()),
        *((f"wall:{name}", value) for name, value in report.walls.items()),
    ]


def properties(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Named values that the standard has no place for."""
    return [{"name": f"onnxscope:{printable(name)}", "value": one_line(value)} for name, value in pairs]


def hashes(digest: str) -> dict[str, Any]:
    """A digest as a component has it; a file that could not be read has none."""
    return {"hashes": [{"alg": "SHA-256", "content": digest}]} if digest else {}


def model(report: AuditReport, subject: Subject) -> dict[str, Any]:
    """A model, with files of external data as its parts."""
    entries = [entry for entry in report.entries if entry.model == subject.name]
    parts = [
        {"type": "file", "name": name, "bom-ref": f"file:{subject.name}:{name}", **hashes(digest)}
        for name, digest in subject.files.items()
        if name != subject.name
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{subject.name}",
        "name": subject.name,
        **hashes(subject.sha256),
        **({"components": parts} if parts else {}),
        "modelCard": card(report, subject, entries),
    }


def card(report: AuditReport, subject: Subject, entries: Sequence[Entry]) -> dict[str, Any]:
    """What was measured of a model, on what, and what remained open."""
    used = {entry.images for entry in entries}
    parameters: dict[str, Any] = {
        "datasets": [{"ref": f"images:{name}"} for name in report.images if name in used],
        **{
            key: [{"format": one_line(text)} for text in listed(subject.facts[key])]
            for key in ("inputs", "outputs")
            if key in subject.facts
        },
    }
    if subject.facts.get("task"):
        parameters["task"] = one_line(str(subject.facts["task"]))
    limits = [" ".join(explained(e)) for e in entries if e.outcome == INVESTIGATE and e.figure is None]
    outcomes = [("outcome", f"{title(entry)}: {entry.outcome}, bound: {entry.bound}") for entry in entries]
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": [metric(e) for e in entries if e.figure is not None]},
        "considerations": {"technicalLimitations": limits},
        "properties": properties(outcomes),
    }


def metric(entry: Entry) -> dict[str, Any]:
    """A figure with its interval; the slice names the set and the slice of it."""
    where = " / ".join(printable(part) for part in (entry.images, entry.slice) if part)
    named = f"{entry.check}: {entry.measure}" + (f", {entry.method}" if entry.method else "")
    found: dict[str, Any] = {"type": one_line(named), "value": str(entry.figure)}
    if where:
        found["slice"] = where
    if entry.interval:
        low, high = entry.interval
        found["confidenceInterval"] = {"lowerBound": str(low), "upperBound": str(high)}
    return found


def dataset(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """An image set as data, with one digest for all its pictures."""
    described = (
        f"{len(files)} pictures; the digest is that of the lines 'digest  name' of all pictures, sorted"
    )
    return {
        "type": "data",
        "bom-ref": f"images:{name}",
        "name": name,
        "description": described,
        **hashes(set_digest(files)),
        "data": [{"type": "dataset", "name": name}],
    }


def listed(value: Any) -> list[str]:
    """A fact of a model as lines of text: of a mapping, one for each name."""
    if isinstance(value, Mapping):
        return [f"{name}: {inside}" for name, inside in value.items()]
    return [str(inside) for inside in value] if isinstance(value, (list, tuple)) else [str(value)]
