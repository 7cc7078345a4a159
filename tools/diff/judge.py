"""Compare what `onnxscope diff` matches with the truth of pairs of exports."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENOUGH = 0.99  # of the layers of all pairs
LIMIT = 300  # seconds for one pair


@dataclass
class Verdict:
    """What a matcher got right in one pair."""

    name: str
    layers: int
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def matched(self) -> int:
        return self.layers - len(self.missing)


def judged(name: str, truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Verdict:
    """The verdict on the entries of a comparison that name a node of A and a node of B."""
    matches = [(entry["a"], entry["b"]) for entry in found if entry.get("a") and entry.get("b")]
    allowed = [(set(a), set(b)) for a, b in truth["pairs"] + truth["also"]]
    left = set(truth["only_a"]).union(*(a for a, _ in allowed))
    right = set(truth["only_b"]).union(*(b for _, b in allowed))
    verdict = Verdict(name, len(truth["pairs"]))
    for a, b in matches:
        is_right = any(a in names_a and b in names_b for names_a, names_b in allowed)
        if not is_right and (a in left or b in right):
            verdict.wrong.append(f"{a} with {b}")
    for layer, (names_a, names_b) in zip(truth["layers"], truth["pairs"], strict=True):
        if not any(a in names_a and b in names_b for a, b in matches):
            verdict.missing.append(layer)
    return verdict


def compared(folder: Path, command: Sequence[str]) -> Verdict:
    """Run the comparison of one pair and judge it."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    files = [str(folder / name) for name in ("a.onnx", "b.onnx", "image.png")]
    words = [*command, "diff", *files[:2], "--image", files[2], "--json"]
    began = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
        verdict = judged(folder.name, truth, json.loads(done.stdout)["layers"])
    except (json.JSONDecodeError, KeyError, TypeError):
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        verdict = Verdict(folder.name, len(truth["pairs"]), list(truth["layers"]), error=said[-1])
    except subprocess.TimeoutExpired:
        verdict = Verdict(folder.name, len(truth["pairs"]), list(truth["layers"]), error=f"over {LIMIT} s")
    verdict.seconds = time.monotonic() - began
    return verdict


def judge(folder: Path, only: str, command: Sequence[str]) -> int:
    """Judge the pairs of a folder and print the table; 0 if enough is matched and nothing wrongly."""
    chosen = sorted(p.parent for p in folder.glob("*/truth.json") if only in p.parent.name)
    if not chosen:
        print(f"there are no pairs in {folder}")
        return 1
    print("| pair | layers | matched | wrong | missing | seconds |\n|---|---|---|---|---|---|", flush=True)
    verdicts = []
    for pair in chosen:
        verdicts.append(compared(pair, command))
        print(line(verdicts[-1]), flush=True)
    layers, matched = (sum(getattr(v, key) for v in verdicts) for key in ("layers", "matched"))
    wrong, failed = sum(len(v.wrong) for v in verdicts), sum(bool(v.error) for v in verdicts)
    total = Verdict(f"all {len(chosen)}", layers, [""] * (layers - matched), [""] * wrong)
    total.seconds = sum(v.seconds for v in verdicts)
    print(line(total))
    print(
        f"\n{100 * matched / max(layers, 1):.2f} % of the layers matched, {wrong} wrongly, {failed} pairs failed"
    )
    for verdict in verdicts:
        for kind, names in (("wrong", verdict.wrong), ("missing", [] if verdict.error else verdict.missing)):
            print(*(f"{verdict.name}: {kind}: {name}\n" for name in names), sep="", end="")
    return int(matched < ENOUGH * layers or wrong > 0 or failed > 0)


def line(v: Verdict) -> str:
    name = f"{v.name} ({v.error})" if v.error else v.name
    return f"| {name} | {v.layers} | {v.matched} | {len(v.wrong)} | {len(v.missing)} | {v.seconds:.1f} |"
