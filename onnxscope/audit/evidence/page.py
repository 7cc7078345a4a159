"""`audit.html`: the report for a person who signs off. It needs no other file, no network and no script.

Every name on it may come from a hostile file: the template escapes all text, control characters are written
out beforehand, and the policy in the page's head allows its own style and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxscope.audit.evidence.drawings import bar, trend
from onnxscope.audit.evidence.earlier import History
from onnxscope.audit.evidence.findings import Findings, failing, verdict_of, worst_first, worst_slices
from onnxscope.audit.evidence.texts import number, set_digest, title
from onnxscope.audit.report import AuditReport, Entry, Subject
from onnxscope.errors import one_line

OBSERVED = "observed"
SYMBOLS = {"pass": "✓", "fail": "✗", "investigate": "?", OBSERVED: "○"}


@dataclass(frozen=True)
class Model:
    """A model with its entries."""

    subject: Subject
    entries: Sequence[Entry]
    anchor: str

    @property
    def files(self) -> dict[str, str]:
        """All files of the model with their digests, the model itself first."""
        return {self.subject.name: self.subject.sha256, **self.subject.files}

    @property
    def open(self) -> list[Entry]:
        """The entries that need a reader, the most serious first."""
        return worst_first(e for e in self.entries if kind(e) not in ("pass", OBSERVED))

    @property
    def settled(self) -> bool:
        """Whether there is nothing that a reader must look at."""
        return not self.open

    @property
    def worst(self) -> str:
        """The outcome of the whole model."""
        return worst_kind(self.entries)

    def cell(self, check: str) -> tuple[str, int]:
        """The worst outcome of a check over all sets, slices and methods, and how many entries have it."""
        entries = [entry for entry in self.entries if entry.check == check]
        found = worst_kind(entries) if entries else ""
        return found, sum(kind(entry) == found for entry in entries)


def page(report: AuditReport, history: History) -> bytes:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("onnxscope.audit", "evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=shown,
    )
    environment.filters |= {"number": number, "heading": title, "kind": kind, "bar": bar, "facts": facts}
    loader = environment.loader
    assert loader is not None
    style = loader.get_source(environment, "page.css")[0]
    models = [
        Model(s, [e for e in report.entries if e.model == s.name], f"model-{k}")
        for k, s in enumerate(report.subjects, 1)
    ]
    text = environment.get_template("page.html.j2").render(
        report=report,
        models=models,
        checks=list(dict.fromkeys(entry.check for entry in report.entries)),
        findings=Findings(failing(report.rows)),
        slices=worst_slices(report.entries),
        trends=[(e, drawn) for e in report.entries if not e.slice and (drawn := trend(e, history))],
        runs=len(history) + 1,
        verdict=verdict_of(report),
        symbols=SYMBOLS,
        set_digest=set_digest,
        style=style,
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    return text.encode()


def shown(value: Any) -> Any:
    """What a place of the template shows: text on one line, without codes, no longer than can be read."""
    return one_line(value) if type(value) is str else value


def kind(entry: Entry) -> str:
    """The outcome as the page shows it: a check that is only observed stands apart."""
    return OBSERVED if entry.observe_only else entry.outcome


def worst_kind(entries: Sequence[Entry]) -> str:
    """The worst outcome of entries, of those that count if there are any; `observed` if there are none."""
    kinds = {kind(entry) for entry in entries}
    return next((name for name in ("fail", "investigate", "pass") if name in kinds), OBSERVED)


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a model, each in one line."""
    return {name: listed(value) for name, value in found.items()}


def listed(value: Any) -> str:
    """A fact of a model in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {listed(inside)}" for key, inside in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(listed, value))
    return str(value)
