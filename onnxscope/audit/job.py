"""The job of an audit: it opens one model and measures what the checks ask for, picture by picture."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.audit.facts import external_digests
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.measures.value import LOWER, Asked, Measure, Value
from onnxscope.audit.opened import Audited, Given, Seen
from onnxscope.errors import Fault, ScopeError
from onnxscope.run.engine import Running


class Auditing:
    """Answers for a picture, or for the model as a whole where no picture is named."""

    def __init__(
        self, model: Mapping[str, Any], running: Mapping[str, Any], first: str, seed: int, memory: int | None
    ) -> None:
        self.audited, self.first = Audited(Given(**model), Running(**running), seed, memory), first

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = ("picture", "beside", "label", "checks")
        items = zip(*(batch[name].tolist() for name in names), strict=True)
        return {"row": np.array([json.dumps(self.answered(*map(str, item))) for item in items])}

    def answered(self, picture: str, beside: str, label: str, checks: str) -> dict[str, Any]:
        """The values of each check, by its place in the policy."""
        seen = Seen(self.audited, Path(picture or self.first), Path(beside) if beside else None, label)
        if picture:
            self.audited.opened_for(Path(self.first))
            found = {"mask_share": mask_share(seen)}
        else:
            found = self.about(seen)
        values = {place: measured(seen, check) for place, check in json.loads(checks).items()}
        return {**found, "values": {place: [asdict(v) for v in each] for place, each in values.items()}}

    def about(self, seen: Seen) -> dict[str, Any]:
        """What is known of the model, and why it cannot be audited, if it cannot."""
        known: dict[str, Any] = {"facts": self.audited.facts, "opens": ""}
        if self.audited.model.elsewhere:
            known["files"] = external_digests(self.audited.file)
        if not self.first:
            return known
        try:
            opened = seen.opened
            about = {"task": opened.task, "image": opened.scope.image, "output": opened.scope.output}
            return {**known, "facts": {**known["facts"], **about, "preset": opened.preset.line}}
        except ScopeError as error:
            return {**known, "opens": str(error)}


def mask_share(seen: Seen) -> float | None:
    """The share of the picture that is masked. Measures that need a mask say what is wrong with one."""
    try:
        return None if seen.mask is None else float(seen.mask.mean())
    except ScopeError:
        return None


def measured(seen: Seen, check: Mapping[str, Any]) -> Sequence[Value]:
    """The values of one check; what cannot be measured is not judged, and says why."""
    measure: Measure = MEASURES[check["measure"]]
    asked = Asked(check["method"], check["question"], check["baseline"], check["settings"])
    try:
        values = measure.of(seen, asked)
        if check["than"]:
            other = Asked(check["than"], asked.question, asked.baseline, asked.settings)
            values = [better(measure, *pair) for pair in zip(values, measure.of(seen, other), strict=True)]
        return values
    except ScopeError as error:
        return [Value(None, note=str(error))]
    except MemoryError:
        raise
    except Exception as error:
        traceback.print_exc()
        return [Value(None, note=str(Fault.of(error)))]


def better(measure: Measure, own: Value, other: Value) -> Value:
    """By how much a value is better than another one."""
    if own.value is None or other.value is None:
        return Value(None, own.part, own.layer, own.note or other.note)
    sign = -1 if measure.better == LOWER else 1
    note = f"{own.value:.4g} and {other.value:.4g}"
    return Value(sign * (own.value - other.value), own.part, own.layer, note)
