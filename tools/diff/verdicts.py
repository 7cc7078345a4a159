"""Judging the answers of tools against the truth, keeping them in one file, and the table of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diff.answers import TOOLS, Answer, installed

RESULTS = "results.json"
Results = dict[str, dict[str, dict[str, Any]]]  # what is known by tool and by case


def cases_in(folder: Path, only: str = "") -> list[Path]:
    return sorted(p.parent for p in folder.glob("*/truth.json") if only in p.parent.name)


def truth_of(case: Path) -> dict[str, Any]:
    return dict(json.loads((case / "truth.json").read_text()))


def load(folder: Path) -> Results:
    path = folder / RESULTS
    return dict(json.loads(path.read_text())) if path.exists() else {}


def verdict(answer: Answer, truth: Mapping[str, Any]) -> bool | None:
    """Whether the answer is right; None if the tool cannot take the pair."""
    if truth.get("harmless"):
        return not answer.alarm if answer.taken or answer.alarm else None
    if not answer.taken:
        return False if answer.alarm else None
    return answer.named_a in truth["a"] or answer.named_b in truth["b"]


def judge(folder: Path, tool: str, only: str, command: list[str], *, right_ones: bool = True) -> None:
    """Ask one tool about each case, or each that it has not answered rightly, and write down what it says."""
    before = {} if right_ones else load(folder).get(tool, {})
    for case in cases_in(folder, only):
        truth = truth_of(case)
        if before.get(case.name, {}).get("right"):
            continue
        started = time.perf_counter()
        try:
            answer = TOOLS[tool](case, command)
        except Exception as reason:  # one case that a tool breaks on does not end the others
            answer = Answer(alarm=True, taken=False, note=f"{type(reason).__name__}: {reason}"[:300])
        record = answer.to_dict() | {"right": verdict(answer, truth), "version": installed(tool)}
        record["right_elsewhere"] = any(name in truth["b"] for name in answer.also)
        record |= {"exact": bool(truth.get("exact")) and answer.named_a == truth["exact"]}
        record["seconds"] = round(time.perf_counter() - started, 2)
        results = load(folder)
        results.setdefault(tool, {})[case.name] = record
        part = folder / f"{RESULTS}.part"
        part.write_text(json.dumps(results, indent=1) + "\n")
        part.replace(folder / RESULTS)
        sign = {True: "right", False: "WRONG", None: "not taken"}[record["right"]]
        print(f"{sign:10}{case.name}: {answer.named_a} / {answer.named_b} ({answer.note})", flush=True)


def cell(record: Mapping[str, Any] | None, harmless: bool) -> str:
    """What one tool says in one row."""
    if record is None or record["right"] is None:
        return "–"
    sign = "right" if record["right"] else "**wrong**"
    if not record["taken"]:
        return f"{sign}: fails"
    named = record["named_a"] or record["named_b"]
    if named is None:
        return sign if harmless and record["right"] else f"{sign}: names nothing"
    return f"{sign}: `{named}`"


def table(folder: Path, only: str = "") -> str:
    """All cases, with what each tool names; then the totals."""
    results = load(folder)
    lines = ["| kind | network | the layer | " + " | ".join(TOOLS) + " |", "|" + "---|" * (3 + len(TOOLS))]
    for case in cases_in(folder, only):
        truth = truth_of(case)
        harmless = bool(truth.get("harmless"))
        layer = "none" if harmless else f"`{truth['exact']}`"
        network = truth["network"] + (" (re-exported)" if truth.get("reexported") else "")
        said = [cell(results.get(tool, {}).get(case.name), harmless) for tool in TOOLS]
        lines.append(f"| {truth['kind']} | {network} | {layer} | " + " | ".join(said) + " |")
    return "\n".join([*lines, "", totals(folder, only)])


def groups_of(folder: Path, only: str) -> dict[str, list[str]]:
    """The names of cases in the groups that totals are given for."""
    groups: dict[str, list[str]] = {}
    for case in cases_in(folder, only):
        truth = truth_of(case)
        if truth.get("harmless"):
            group = "harmless, hard" if truth.get("hard") else "harmless"
        else:
            group = "faults, and written by another exporter" if truth.get("reexported") else "faults"
        groups.setdefault(group, []).append(case.name)
    return groups


def counted(records: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> str:
    """How many of the cases that a tool takes it answers rightly."""
    asked = [records[n] for n in names if n in records and records[n]["right"] is not None]
    right = sum(bool(r["right"]) for r in asked)
    others = sum(not r["right"] and r["right_elsewhere"] for r in asked)
    more = f" (and {others} in another of its lists)" if others else ""
    return f"{right} of {len(asked)}{more}" if asked else "–"


def totals(folder: Path, only: str = "") -> str:
    """Right answers by group of cases, and by tool."""
    results = load(folder)
    lines = ["| right answers | cases | " + " | ".join(TOOLS) + " |", "|" + "---|" * (2 + len(TOOLS))]
    for group, names in sorted(groups_of(folder, only).items()):
        said = [counted(results.get(tool, {}), names) for tool in TOOLS]
        lines.append(f"| {group} | {len(names)} | " + " | ".join(said) + " |")
    return "\n".join(lines)


def by_kind(folder: Path, only: str = "") -> str:
    """One row for each kind of fault, with how many of its cases each tool answers rightly."""
    results = load(folder)
    kinds: dict[str, list[str]] = {}
    for case in cases_in(folder, only):
        truth = truth_of(case)
        kinds.setdefault(("harmless: " if truth.get("harmless") else "") + truth["kind"], []).append(
            case.name
        )
    lines = ["| kind | cases | " + " | ".join(TOOLS) + " |", "|" + "---|" * (2 + len(TOOLS))]
    for kind, names in sorted(kinds.items(), key=lambda pair: (pair[0].startswith("harmless"), pair[0])):
        said = [counted(results.get(tool, {}), names) for tool in TOOLS]
        lines.append(f"| {kind} | {len(names)} | " + " | ".join(said) + " |")
    return "\n".join([*lines, "", totals(folder, only)])
