"""A report of an audit with everything in it that could break its evidence; also reports of before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onnxscope.audit.report import (
    FAIL,
    INVESTIGATE,
    PASS,
    WARNING,
    AuditReport,
    Entry,
    Row,
    Subject,
)

HTML = "models/<script>alert(1)</script>&amp;\"'.onnx"
TERMINAL = "models/\x1b[31mred\x07\n\u202etxt.onnx"
BYTES = "models/\udcff\ud800 %41#?.onnx"  # a byte that is no UTF-8, and a surrogate that stands for none
MODEL, LAYER = "models/scenes_vgg.onnx", "features/<b>conv\x1b[0m\u202e4</b>"
MEANS = "The explanations of this model cannot be trusted: parts of a score are missing."
HOSTILE = (HTML, TERMINAL, BYTES)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def subject(name: str, **facts: Any) -> Subject:
    files = {name: digest(name)}
    if name == MODEL:
        files["models/scenes_vgg.onnx.data"] = digest("data")
    return Subject(name, digest(name), files, facts)


def entries() -> list[Entry]:
    """Every outcome, with slices, methods, missing figures, infinities, long and hostile texts."""
    complete = Entry(
        MODEL, "completeness", "largest relative error of a ledger", FAIL, 3.2e-3, (2.9e-3, 3.4e-3),
        "at most 0.0001", "scenes", count=24, failed=3, allowed=0, layer="features/conv4",
        note="The parts of 3 scores do not add up.", means=MEANS, at_most=1e-4, earlier=4e-5,
    )  # fmt: skip
    accuracy = Entry(
        MODEL, "accuracy", "share of pictures whose highest score is their label", INVESTIGATE, 0.953,
        (0.91, 0.98), "0.95 of 24: 23 must pass, 1 may fail", "scenes", count=24, failed=1, allowed=1,
        note="The interval straddles the bound.", at_least=0.95,
    )  # fmt: skip
    unjudged = Entry(MODEL, "dead-units", "share of dead units", INVESTIGATE, None, None, "at most 0.2")
    found = [
        complete,
        accuracy,
        replace(accuracy, outcome=PASS, figure=1.0, interval=None, slice="bright", note=""),
        replace(accuracy, outcome=FAIL, figure=0.7, interval=(0.4, 0.9), slice="dark <i>", count=6),
        replace(unjudged, note="No picture reaches this layer."),
        Entry(MODEL, "noise", "gain on noise", FAIL, 12.5, None, "at most 10", observe_only=True, at_most=10),
        Entry(MODEL, "rank", "rank correlation", PASS, 0.9, (0.8, 1.0), "", method="grad-cam"),
        Entry(MODEL, "rank", "rank correlation", PASS, float("nan"), (0.0, float("inf")), "", method="lrp"),
    ]
    for name in HOSTILE:
        hostile = replace(complete, model=name, check=name, bound=name, images=name, layer=LAYER)
        found.append(replace(hostile, note=name, means="</style>" + name, measure=name, level=WARNING))
    found.append(
        Entry("models/plain.onnx", "opset", "highest opset", PASS, 18, None, "at most 21", at_most=21)
    )
    return found


def rows() -> list[Row]:
    """A row for each picture, of which three do not hold; the order is that of no worker."""
    found = [
        Row(MODEL, "scenes", f"car_{k}.png", "completeness", "error", "", v, v <= 1e-4, "features/conv4")
        for k, v in enumerate([1e-5, 3.2e-3, 2e-5, 8e-4, 3e-5, 2e-3])
    ]
    found.append(Row(MODEL, "scenes", "car_1.png", "noise", "gain", "", 12.5, False))
    found += [Row(name, name, name, name, name, name, float("nan"), None, name, name) for name in HOSTILE]
    return [*found, Row(MODEL, "", "", "opset", "highest opset", "", None, None)][::-1]


def report(**changes: Any) -> AuditReport:
    """The report, with some of its fields changed."""
    names = [MODEL, *HOSTILE, "models/plain.onnx", "models/unread.onnx"]
    facts = {"task": "classification", "inputs": {"image": [1, 3, 64, 64]}, "outputs": ["scores"], "bytes": 9}
    subjects = [subject(name, **(facts if name == MODEL else {})) for name in names]
    subjects[-1] = replace(subjects[-1], sha256="", files={})
    images: dict[str, Mapping[str, str]] = {
        "scenes": {f"car_{k}.png": digest(f"car {k}") for k in range(24)},
        "empty": {},
        HTML: {TERMINAL: digest("t"), BYTES: digest("b")},
    }
    known = AuditReport(
        policy="release </title><script>",
        policy_file="policies/release.yaml",
        policy_sha256=digest("policy"),
        subjects=subjects,
        images=images,
        environment={"onnxruntime": "1.31.1", "device": "CPU", "platform": "Linux \x1b[2J<b>"},
        walls={"memory": "2 GiB", "network": "not limited: this kernel has no Landlock", "": HTML},
        entries=entries(),
        rows=rows(),
    )
    return replace(known, **changes)


def nothing() -> AuditReport:
    """A report in which every list is empty."""
    return report(subjects=[], images={}, environment={}, walls={}, entries=[], rows=[])


def earlier() -> list[dict[str, Any]]:
    """Three earlier reports as they are read from JSON; in the second one a figure is missing."""
    figures = [(PASS, 2e-5), (INVESTIGATE, None), (FAIL, 9e-4)]
    known = {"model": MODEL, "check": "completeness", "images": "scenes"}
    rank = {"model": MODEL, "check": "rank", "method": "grad-cam", "outcome": PASS, "figure": 0.85}
    unjudged = {"model": MODEL, "check": "dead-units", "outcome": INVESTIGATE, "figure": None}
    return [
        {"entries": [known | {"outcome": outcome, "figure": figure}, rank, unjudged]}
        for outcome, figure in figures
    ]
