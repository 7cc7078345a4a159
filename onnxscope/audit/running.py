"""Runs an audit: one model after the other, its pictures spread over workers, then the judgement."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import machine, python_version, system
from typing import Any

from onnxscope.audit.answers import Answer, Audited, Resources, answers
from onnxscope.audit.evidence.texts import set_digest
from onnxscope.audit.facts import digest
from onnxscope.audit.policy import Policy
from onnxscope.audit.report import AuditReport, Entry, Row, Subject
from onnxscope.audit.results import Named, entries_of, opens
from onnxscope.errors import BadOption
from onnxscope.files.folders import mask_of
from onnxscope.files.results import save_bytes
from onnxscope.work.engines import Engine
from onnxscope.work.journal import Journal

PACKAGES = ("onnxscope", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy", "scipy", "pillow", "protobuf")
Progress = Callable[[int, int], None]


@dataclass
class Times:
    """What differs from run to run, and is kept apart from the evidence."""

    began: float = field(default_factory=time.time)
    models: dict[str, float] = field(default_factory=dict)  # seconds
    figures: list[dict[str, Any]] = field(default_factory=list)  # of checks that measure times

    def write(self, file: Path, evidence: Sequence[Path]) -> Path:
        """Write them, with the digests of the evidence that they belong to."""
        facts = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "seconds": round(time.time() - self.began, 3),
            "models": self.models,
            "figures": self.figures,
            "evidence": {path.name: digest(path) for path in evidence},
        }
        return save_bytes(file, json.dumps(facts, indent=1).encode(), ".json")


class Auditor:
    """Audits every model of a policy."""

    def __init__(self, policy: Policy, resources: Resources) -> None:
        self.policy, self.resources, self.times = policy, resources, Times()
        reports = {name: b["report"] for name, b in policy.baselines.items() if "report" in b}
        self.earlier = {name: figures(read_report(Path(file))) for name, file in reports.items()}
        self.pictures = {
            name: {p.name: digest(p) for p in pictures.files} for name, pictures in policy.sets.items()
        }
        self.walls: dict[str, str] = {}
        Engine(resources.on)  # refuses one that is not there
        self.models = [Audited(self.name_of(f), f, g, policy) for g, f, _ in policy.models()]
        self.further = self.further_digests()

    def report(self, journal: Path | None = None, progress: Progress | None = None) -> AuditReport:
        """Audit all models. What is done of a run that was killed is taken from the journal, which stays."""
        hashes = {m.name: digest(m.file) for m in self.models}
        kept = Journal(journal, self.identity(hashes)) if journal is not None else None
        subjects, entries, rows = list[Subject](), list[Entry](), list[Row]()
        for k, model in enumerate(self.models):
            began = time.monotonic()
            found = self.answered(model, kept)
            subjects.append(subject(model.name, hashes[model.name], found))
            entries.append(opens(model.name, found))
            for more_rows, more_entries in self.judged(model, found):
                rows += more_rows
                entries += more_entries
            self.times.models[model.name] = round(time.monotonic() - began, 3)
            if progress is not None:
                progress(k + 1, len(self.models))
        return AuditReport(
            self.policy.name,
            self.policy.file.name,
            self.policy.sha256,
            subjects,
            self.pictures,
            environment(self.resources),
            self.walls,
            entries,
            rows,
            self.policy.stops_on,
            self.further,
        )

    def further_digests(self) -> dict[str, str]:
        """The digests of what the outcomes depend on beside models and pictures."""
        masks = {n: [m for p in s.files if (m := mask_of(p)).is_file()] for n, s in self.policy.sets.items()}
        found = {f"masks of {n}": set_digest({m.name: digest(m) for m in f}) for n, f in masks.items() if f}
        files = {f for m in self.models for f in m.about.files_given}
        files |= {b for m in self.models for c in m.checks.values() if (b := m.baseline(c))}
        files |= {Path(b["report"]) for b in self.policy.baselines.values() if "report" in b}
        files |= {s.table for s in self.policy.sets.values() if s.table}
        return found | {self.name_of(f): digest(f) for f in sorted(files)}

    def name_of(self, file: Path) -> str:
        """A model's path, relative to the policy's folder."""
        return Path(os.path.relpath(file, self.policy.file.resolve().parent)).as_posix()

    def identity(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        """What the answers depend on."""
        resources = {"threads": self.resources.threads, "device": self.resources.device}
        where = environment(self.resources)
        known = {"policy": self.policy.sha256, "models": hashes, "images": self.pictures}
        return {**known, "further": self.further, **resources, **where}

    def answered(self, model: Audited, kept: Journal | None) -> list[Answer]:
        """All answers for a model in the order of its items, so that no engine changes the evidence."""
        found = []
        for answer in answers(model, self.resources, kept):
            self.walls.update(answer.walls)
            found.append(answer)
        place = {(i.images, str(i.picture or "")): k for k, i in enumerate(model.items())}
        return sorted(found, key=lambda a: place[a.item.images, str(a.item.picture or "")])

    def judged(self, model: Audited, found: list[Answer]) -> list[tuple[list[Row], list[Entry]]]:
        """The rows and the entries of each check."""
        results = []
        for place, check in model.checks.items():
            earlier: Named = self.earlier.get(check.baseline, {})
            rows, entries = entries_of(model.name, check, place, found, self.policy, earlier)
            if check.table.timed:
                self.times.figures += [
                    {"model": r.model, "check": r.check, "picture": r.picture, "value": r.value} for r in rows
                ]
                rows = []
            results.append((rows, entries))
        return results


def subject(name: str, sha256: str, found: list[Answer]) -> Subject:
    """What is known of the model itself."""
    about = next((a.found for a in found if "facts" in a.found), {})
    beside = {(Path(name).parent / f).as_posix(): digest for f, digest in about.get("files", {}).items()}
    files = {name: sha256, **beside}
    return Subject(name, sha256, files, about.get("facts", {}))


def read_report(file: Path) -> dict[str, Any]:
    """The audit.json of an earlier run."""
    cause = "is no report of an audit"
    try:
        stated = json.loads(file.read_bytes())
        if isinstance(stated, dict) and isinstance(stated.get("entries"), list):
            return stated
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        pass
    raise BadOption(cause, where=f"'{file}'", remedy="name the audit.json of an earlier run")


def figures(report: Mapping[str, Any]) -> dict[tuple[str, str, str, str], float]:
    """The figures of an earlier report, by model, check, set of pictures and slice."""
    return {
        (e["model"], e["check"], e.get("images", ""), e.get("slice", "")): float(e["figure"])
        for e in report["entries"]
        if isinstance(e, dict) and isinstance(e.get("figure"), (int, float))
    }


def environment(resources: Resources) -> dict[str, str]:
    """The versions and the device that figures depend on."""
    found = {"python": python_version(), "platform": f"{system()} {machine()}", "device": resources.device}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
