"""Checks of a policy: measures with bounds, and what makes them fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxscope.ask.explain import EXPLANATIONS
from onnxscope.ask.trials import CHANCE, EDGES, VOTES
from onnxscope.audit import schema
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.measures.value import HIGHER, MODEL, Measure
from onnxscope.audit.report import ERROR
from onnxscope.audit.schema import wrong

METHODS = (*EXPLANATIONS, VOTES, EDGES, CHANCE)


@dataclass(frozen=True)
class Check:
    """A measure with a bound."""

    name: str
    measure: str
    least: float | None = None
    most: float | None = None
    of: str = "mean"
    hold: float | None = None
    worse_by: float | None = None
    method: str = ""
    than: str = ""
    question: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[str] = ()
    images: Sequence[str] = ()
    pictures: int = 0
    slices: Sequence[str] | None = None
    baseline: str = ""
    means: str = ""
    level: str = ERROR
    observe_only: bool = False

    @property
    def table(self) -> Measure:
        return MEASURES[self.measure]

    @property
    def higher(self) -> bool:
        """Whether larger values are better: what is better than another method's is so, too."""
        return bool(self.than) or self.table.better == HIGHER


@dataclass(frozen=True)
class Known:
    """What a policy defines by name, and the file that it stands in."""

    file: Path
    groups: Mapping[str, Any]
    sets: Mapping[str, Any]
    slices: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, str]]

    def wrong(self, where: str, cause: str, remedy: str) -> Exception:
        return wrong(str(self.file), where, cause, remedy)

    def named(self, chosen: Sequence[str], names: Mapping[str, Any], where: str) -> Sequence[str]:
        """Refuse a name that the policy does not define."""
        for name in chosen:
            if name not in names:
                here = schema.nearest(name, names) if names else "the policy names none"
                raise self.wrong(where, f"there is no '{name}'", here)
        return chosen


def checks_of(name: str, stated: Mapping[str, Any], questions: Sequence[str], policy: Known) -> list[Check]:
    """A check, or several where each question is one."""
    measure, defaults = MEASURES[stated["measure"]], dict[str, Any]()
    if not {"least", "most"} & set(stated):
        defaults = {"least": measure.least, "most": measure.most}
    if not {"hold", "of", "worse_by"} & set(stated):
        defaults["hold"] = measure.hold
    check = Check(name=name, **{**defaults, **stated})
    refuse_unused(check, stated, policy)
    refuse_bounds(check, policy)
    refuse_places(check, policy)
    asked = [check]
    if "question" in measure.needs and not check.question and questions:
        asked = [replace(check, name=f"{name}: {q}", question=q) for q in questions]
    return [*asked, *beside_edges(check)]


def refuse_unused(check: Check, stated: Mapping[str, Any], policy: Known) -> None:
    """Refuse what the measure needs and the check lacks, and what it states and the measure does not use."""
    where, needs = f"checks.{check.name}", check.table.needs
    if "method" in needs and not check.method:
        raise policy.wrong(where, f"'{check.measure}' needs 'method'", "name the method")
    used = {"method": "method" in needs, "than": "method" in needs, "question": "question" in needs}
    used["baseline"] = "baseline" in needs or "worse_by" in stated or check.table.per == MODEL
    for key, taken in used.items():
        if key in stated and not taken:
            raise policy.wrong(f"{where}.{key}", f"'{check.measure}' does not use it", "leave it out")
    for name in filter(None, [check.method, check.than, *check.settings.get("methods", ())]):
        if name not in METHODS:
            raise policy.wrong(where, f"there is no method '{name}'", schema.nearest(name, METHODS))
    for name in check.settings:
        if name not in check.table.settings:
            here = schema.nearest(name, check.table.settings) if check.table.settings else "it has none"
            raise policy.wrong(f"{where}.settings", f"'{check.measure}' has no setting '{name}'", here)


def refuse_bounds(check: Check, policy: Known) -> None:
    """Refuse bounds that are missing, or that nothing can be within."""
    where = f"checks.{check.name}"
    if check.least is check.most is check.worse_by is None and not check.observe_only:
        raise policy.wrong(where, "it has no bound", "give 'least' or 'most', or set 'observe_only: true'")
    if check.least is not None and check.most is not None and check.least > check.most:
        raise policy.wrong(where, "'least' is larger than 'most'", "exchange them")
    if check.hold is not None and check.of != "mean":
        raise policy.wrong(where, "'hold' judges each value, and 'of' their figure", "leave out one of them")
    if check.hold is not None and check.worse_by is not None:
        cause = "'hold' judges each value, and 'worse_by' their figure"
        raise policy.wrong(where, cause, "leave out one of them")


def refuse_places(check: Check, policy: Known) -> None:
    """Refuse names that the policy does not define, and a check that there is nothing to judge for."""
    where = f"checks.{check.name}"
    policy.named(check.models, policy.groups, f"{where}.models")
    policy.named(check.images, policy.sets, f"{where}.images")
    policy.named(check.slices or (), policy.slices, f"{where}.slices")
    policy.named([check.baseline] if check.baseline else [], policy.baselines, f"{where}.baseline")
    baseline = policy.baselines.get(check.baseline, {})
    if check.worse_by is not None and "report" not in baseline:
        cause = "it compares with an earlier report"
        raise policy.wrong(f"{where}.worse_by", cause, "name a baseline that has a 'report'")
    if "baseline" in check.table.needs and "model" not in baseline:
        cause = f"'{check.measure}' compares with another model"
        raise policy.wrong(where, cause, "name a baseline that has a 'model'")
    groups = [g for name, g in policy.groups.items() if not check.models or name in check.models]
    sets = {name for g in groups for name in g.images if not check.images or name in check.images}
    if check.table.per != MODEL and not sets:
        cause = f"'{check.measure}' is measured on pictures, and these models have none"
        raise policy.wrong(where, cause, "name a set of pictures in 'images'")


def beside_edges(check: Check) -> list[Check]:
    """The same measure of an edge detector, which stands beside every explanation and is only observed."""
    if "method" not in check.table.needs or check.method in (EDGES, CHANCE) or check.than:
        return []
    return [replace(check, name=f"{check.name}, edges", method=EDGES, observe_only=True)]
