"""`audit.sarif`: what did not pass, in SARIF 2.1.0, for dashboards that collect findings.

Passed checks are left out: dashboards list every result as a finding, whatever its kind. A failure has the
kind `fail`. A check that could not be decided is `open`, and one that is only observed is `informational`;
both have the level `none`, as the standard demands of all kinds but `fail`. Every result names a place,
because dashboards refuse results without a file and a line; that of a binary file is always 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from onnxscope.audit.evidence.earlier import History, Known
from onnxscope.audit.evidence.texts import explained, identity, json_bytes, number
from onnxscope.audit.report import FAIL, LEVELS, PASS, AuditReport, Entry
from onnxscope.errors import one_line, printable
from onnxscope.version import VERSION

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(report: AuditReport, history: History) -> bytes:
    """The findings; if there is an earlier report, each says whether it is new against the newest of them."""
    rules = rules_of(report.entries)
    files = artifacts(report)
    places = {artifact["location"]["uri"]: k for k, artifact in enumerate(files)}
    order = {name: k for k, name in enumerate(rules)}
    results = [
        result(entry, order[entry.check], places)
        | ({"baselineState": state(entry, history[-1])} if history else {})
        for entry in report.entries
        if entry.outcome != PASS
    ]
    run = {
        "tool": {"driver": {"name": "onnxscope", "version": VERSION, "rules": list(rules.values())}},
        "automationDetails": {"id": f"onnxscope-audit/{quote(encoded(report.policy), safe='')}/"},
        "invocations": [{"executionSuccessful": True, "exitCode": int(report.stops)}],
        "artifacts": files,
        "results": results,
        "properties": {
            "verdict": report.verdict,
            "counts": report.counts,
            "policySha256": report.policy_sha256,
            "environment": report.environment,
        },
    }
    return json_bytes({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def rules_of(entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """A rule for each check, by its name in the policy, as serious as its most serious entry."""
    checks: dict[str, list[Entry]] = {}
    for entry in entries:
        checks.setdefault(entry.check, []).append(entry)
    return {name: rule(name, found) for name, found in checks.items()}


def rule(name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """A check, with what a failure of it means."""
    level = next(level for level in (*LEVELS, entries[0].level) if any(e.level == level for e in entries))
    means = next((entry.means for entry in entries if entry.means), "")
    return {
        "id": printable(name),
        "shortDescription": {"text": one_line(f"{name}: {entries[0].measure}")},
        "help": {"text": one_line(means) or "The policy does not say what a failure of this check means."},
        "defaultConfiguration": {"level": level},
    }


def result(entry: Entry, rule_index: int, places: Mapping[str, int]) -> dict[str, Any]:
    """A check of a model that did not pass."""
    kind = "informational" if entry.observe_only else "fail" if entry.outcome == FAIL else "open"
    uri = path_uri(entry.model)
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri} | ({"index": places[uri]} if uri in places else {}),
            "region": {"startLine": 1},
        }
    }
    if entry.layer:
        layer = printable(entry.layer)
        whole = f"{printable(entry.model)}::{layer}"
        place["logicalLocations"] = [{"name": layer, "fullyQualifiedName": whole, "kind": "layer"}]
    return {
        "ruleId": printable(entry.check),
        "ruleIndex": rule_index,
        "kind": kind,
        "level": entry.level if kind == "fail" else "none",
        "message": {"text": "\n".join(explained(entry))},
        "locations": [place],
        "partialFingerprints": {"check/v1": fingerprint(entry)},
        "properties": {"outcome": entry.outcome, "figure": entry.figure, "bound": entry.bound},
    }


def fingerprint(entry: Entry) -> str:
    """The same in every run for the same check of the same model on the same pictures."""
    parts = identity(vars(entry))
    return hashlib.sha256(json_bytes(list(parts))).hexdigest()


def state(entry: Entry, known: Known) -> str:
    """How a finding stands to the earlier report: its figures are compared as a person reads them."""
    before = known.get(identity(vars(entry)))
    if before is None or before["outcome"] == PASS:
        return "new"
    same = before["outcome"] == entry.outcome and number(before["figure"]) == number(entry.figure)
    return "unchanged" if same else "updated"


def artifacts(report: AuditReport) -> list[dict[str, Any]]:
    """The policy and all files of the models, with their digests."""
    digests = {report.policy_file: report.policy_sha256}
    roles = {report.policy_file: "userSpecifiedConfiguration"}
    for subject in report.subjects:
        digests |= {**subject.files, subject.name: subject.sha256}
        roles[subject.name] = "analysisTarget"
    return [
        {"location": {"uri": path_uri(name)}}
        | ({"roles": [roles[name]]} if name in roles else {})
        | ({"hashes": {"sha-256": digest}} if digest else {})
        for name, digest in digests.items()
    ]


def path_uri(path: str) -> str:
    """A relative path as a URI reference."""
    return quote(encoded(path))


def encoded(text: str) -> bytes:
    """The bytes of a file's name, also where the system's name for it is not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace")
