"""A first policy: it measures models on pictures and writes bounds that hold today."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from onnxscope.ask.scores import read_labels
from onnxscope.ask.tasks import SCORES
from onnxscope.audit.answers import Resources
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.policy import BY_NAME, label_in, policy_of
from onnxscope.audit.report import PASS, AuditReport, Entry
from onnxscope.audit.running import Auditor
from onnxscope.errors import BadOption
from onnxscope.files import models
from onnxscope.files.folders import mask_of, pictures_in

HEAD = """\
# Written by 'onnxscope audit --init'. The bounds are what was measured, with some room: they hold today.
# Tighten those that matter, say in 'means' what a failure means, and leave out the rest. What does not hold
# today is only observed.
"""
ROOM = 0.2  # of a figure's size that is left to its bound
FEW = 3  # pictures for measures that take long
ALWAYS: dict[str, dict[str, Any]] = {
    "proved": {"measure": "proofs", "pictures": FEW},
    "ledger adds up": {"measure": "ledger-completeness"},
    "nodes carried": {"measure": "carried", "pictures": 1},
    "residual": {"measure": "residual-norm"},
    "gain on noise": {"measure": "noise-gain"},
    "largest gain": {"measure": "largest-gain", "pictures": FEW},
    "dead units": {"measure": "dead-units"},
    "size": {"measure": "bytes"},
    "opset": {"measure": "opset"},
}
OF_SCORES: dict[str, dict[str, Any]] = {
    "attack": {"measure": "fgsm-flips"},
    "explanation suffices": {"measure": "insertion", "method": "discussion"},
    "explanation is needed": {"measure": "deletion", "method": "discussion"},
    "explanation knows the class": {"measure": "class-sensitivity", "method": "discussion", "pictures": FEW},
    "explanation knows the weights": {
        "measure": "weight-randomisation",
        "method": "discussion",
        "pictures": FEW,
    },
    "explanations agree": {"measure": "agreement", "pictures": FEW},
}
OF_MASKS: dict[str, dict[str, Any]] = {
    "explanation points at the object": {"measure": "pointing", "method": "discussion"},
    "explanation covers the object": {"measure": "mass-inside", "method": "discussion"},
    "object is seen whole": {"measure": "receptive-field", "pictures": FEW},
}


def start(policy: Path, chosen: str, images: str, resources: Resources) -> AuditReport:
    """Measure, and write the policy; its report holds the figures that the bounds come from."""
    target = models.check_target(policy)
    if target.exists():
        raise BadOption("is there already", where=f"'{policy}'", remedy="choose another name, or remove it")
    pattern = f"{chosen}/*.onnx" if Path(chosen).is_dir() else chosen
    folder = target.parent
    stated: dict[str, Any] = {
        "name": f"{Path(chosen).name} on {Path(images).name}",
        "models": {"models": {"files": [relative(pattern, folder)]}},
        "images": {"pictures": {"folder": relative(images, folder)}},
        "checks": {"size": {"measure": "bytes", "observe_only": True}},
    }
    tasks = tasks_of(audited(stated, target, resources))
    stated["models"] = grouped(tasks, labels_in(Path(images)))
    names = labelled(Path(images))
    if names:
        stated["images"]["pictures"]["labels"] = BY_NAME
    stated["checks"] = drafts(list(stated["models"]), Path(images), bool(names))
    report = audited(stated, target, resources)
    stated["checks"] = bounded(stated["checks"], report)
    left_out = "".join(f"# {name} is left out: it cannot be opened.\n" for name in tasks.get("", ()))
    text = (
        HEAD
        + left_out
        + yaml.safe_dump(plain(stated, folder), sort_keys=False, allow_unicode=True, width=100)
    )
    models.write({target: iter([text.encode()])}, policy)
    return report


def audited(stated: Mapping[str, Any], file: Path, resources: Resources) -> AuditReport:
    return Auditor(policy_of(stated, file, ""), resources).report()


def relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def tasks_of(report: AuditReport) -> dict[str, list[str]]:
    """The models by what they give; '' for those that cannot be opened."""
    found = defaultdict(list)
    for subject in report.subjects:
        found[str(subject.facts.get("task", ""))].append(subject.name)
    return dict(found)


def grouped(tasks: Mapping[str, Sequence[str]], labels: str) -> dict[str, Any]:
    """A group of models for each task."""
    found = {}
    for task, names in tasks.items():
        if task:
            found[task] = {"files": list(names), **({"labels": labels} if labels and task == SCORES else {})}
    if not found:
        cause, remedy = "none of the models can be opened", "see 'onnxscope doctor MODEL'"
        raise BadOption(cause, where="--init", remedy=remedy)
    return found


def labels_in(images: Path) -> str:
    """The file with the names of the scores beside the pictures, if it is there."""
    file = images / "labels.txt"
    return str(file.resolve()) if file.is_file() else ""


def labelled(images: Path) -> bool:
    """Whether the pictures' names begin with the labels."""
    if not labels_in(images):
        return False
    known = read_labels(Path(labels_in(images)))
    return all(label_in(p) in known for p in pictures_in(images))


def drafts(groups: Sequence[str], images: Path, names: bool) -> dict[str, Any]:
    """The checks without bounds, for the groups of models that they apply to."""
    masks = any(mask_of(p).exists() for p in pictures_in(images))
    found = {name: {**check, "observe_only": True} for name, check in ALWAYS.items()}
    if SCORES in groups:
        table = {**OF_SCORES, **(OF_MASKS if masks else {})}
        if names:
            table["accuracy"] = {"measure": "accuracy"}
        found |= {name: {**check, "models": [SCORES], "observe_only": True} for name, check in table.items()}
    return found


def bounded(checks: Mapping[str, dict[str, Any]], report: AuditReport) -> dict[str, Any]:
    """The checks with bounds that hold; those that could not be judged are left out.

    What falls short of a bound that a measure has by itself is only observed.
    """
    found = {}
    for name, check in checks.items():
        measure = MEASURES[check["measure"]]
        own = {k: v for k, v in check.items() if k != "observe_only"}
        entries = [e for e in report.entries if e.check == name or e.check.startswith(f"{name}: ")]
        everywhere = {e.model for e in entries if e.interval is not None} == {e.model for e in entries}
        if not everywhere:
            continue
        if measure.most is not None or measure.least is not None:
            holds = all(e.outcome == PASS for e in entries)
            found[name] = own if holds else {**own, "observe_only": True}
        elif known := [e for e in entries if e.interval is not None]:
            found[name] = {**own, **bound(measure.better, known)}
    return found


def bound(better: str, entries: Sequence[Entry]) -> dict[str, float]:
    """The bound on the side where values are worse, or on both where neither side is."""
    low = min(e.interval[0] for e in entries if e.interval)
    high = max(e.interval[1] for e in entries if e.interval)
    room = ROOM * max(abs(low), abs(high))
    sides = {"least": rounded(low - room, math.floor), "most": rounded(high + room, math.ceil)}
    if low >= 0:
        sides["least"] = max(sides["least"], 0.0)
    return {"higher": {"least": sides["least"]}, "lower": {"most": sides["most"]}}.get(better, sides)


def rounded(value: float, towards: Callable[[float], int]) -> float:
    """Two digits, rounded away from what was measured."""
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{towards(value / unit) * unit:.2g}")


def plain(stated: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The policy with paths from its own folder on."""
    groups = {
        name: {**g, **({"labels": relative(g["labels"], folder)} if "labels" in g else {})}
        for name, g in stated["models"].items()
    }
    return {**stated, "models": groups}
