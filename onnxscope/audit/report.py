"""What an audit found: a row for each model, picture and check, and an entry for each check of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PASS, FAIL, INVESTIGATE = "pass", "fail", "investigate"
OUTCOMES = (PASS, FAIL, INVESTIGATE)
ERROR, WARNING, NOTE = "error", "warning", "note"  # how serious a failure is, by the policy
LEVELS = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Subject:
    """A model that is audited, by the digests of all its files."""

    name: str  # its path, relative to the policy's folder
    sha256: str  # of the .onnx file
    files: Mapping[str, str]  # all its files by path, as `name`, with their digests; external data included
    facts: Mapping[str, Any]  # sizes, opsets, operators, inputs, outputs, task; empty if it did not open


@dataclass(frozen=True)
class Row:
    """The value of one check for one picture and one model; the picture is empty for facts of the model."""

    model: str
    images: str
    picture: str
    check: str
    measure: str
    method: str
    value: float | None  # None: not judged
    holds: bool | None  # whether this value is within the bound; None where only the mean of all is judged
    layer: str = ""  # of the model, where the value points to one
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """The outcome of one check for one model, on all pictures of a set or on those of a slice."""

    model: str
    check: str  # as the policy names it
    measure: str
    outcome: str  # one of OUTCOMES
    figure: float | None
    interval: tuple[float, float] | None  # where the figure lies with 95 % confidence
    bound: str  # in words, such as "at most 0.0001", or "0.95 of 200: 190 must pass, 10 may fail"
    images: str = ""
    slice: str = ""
    method: str = ""
    count: int = 0  # values that were judged
    failed: int = 0  # of them, those that do not hold
    allowed: int | None = None  # how many may fail, for a proportion
    layer: str = ""
    note: str = ""  # why it failed or was not judged, in one sentence
    means: str = ""  # what a failure means, in the policy's words
    level: str = ERROR
    observe_only: bool = False  # reported, but it never fails
    earlier: float | None = None  # the figure of the baseline's report
    at_most: float | None = None  # the bound as a number, to draw it; both for a range
    at_least: float | None = None


@dataclass(frozen=True)
class AuditReport:
    """All that the evidence is written from. It holds no times, so that two runs give the same bytes."""

    policy: str  # its name
    policy_file: str
    policy_sha256: str
    subjects: Sequence[Subject]
    images: Mapping[str, Mapping[str, str]]  # the pictures of each set by name, with their digests
    environment: Mapping[str, str]  # versions, the device and the platform
    walls: Mapping[str, str]  # what limited the workers: each wall with its limit, or why it did not stand
    entries: Sequence[Entry]
    rows: Sequence[Row] = field(default_factory=tuple)
    stops_on: Sequence[str] = (FAIL, INVESTIGATE)  # the outcomes for which the exit code is 1
    further: Mapping[str, str] = field(default_factory=dict)  # digests of masks, labels, inputs and baselines

    @property
    def counts(self) -> dict[str, int]:
        """How many entries have each outcome; checks that are only observed are counted apart."""
        found = Counter("observed" if e.observe_only else e.outcome for e in self.entries)
        return {name: found[name] for name in (*OUTCOMES, "observed")}

    @property
    def verdict(self) -> str:
        """The worst outcome of all checks that count; if none does, nothing is known: investigate."""
        counts = self.counts
        return next((o for o in (FAIL, INVESTIGATE, PASS) if counts[o]), INVESTIGATE)

    @property
    def stops(self) -> bool:
        """Whether the audit ends with exit code 1."""
        return self.verdict in self.stops_on or any(self.counts[outcome] for outcome in self.stops_on)
