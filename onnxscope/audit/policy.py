"""Policies: what is audited, on which pictures, with which bounds."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from onnxscope.ask.trials import CHANCE, EDGES
from onnxscope.audit import schema
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.measures.value import HIGHER, Measure
from onnxscope.audit.report import ERROR, FAIL, INVESTIGATE
from onnxscope.audit.schema import wrong
from onnxscope.errors import BadOption
from onnxscope.files.folders import pictures_in

MOST_BYTES = 4 << 20  # of a policy's file
BY_NAME = "names"


@dataclass(frozen=True)
class Group:
    """Models that are opened alike."""

    files: Sequence[Path]
    given: Mapping[str, Any]
    images: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """A set of pictures, with their true classes if these are known."""

    files: Sequence[Path]
    labels: Mapping[str, str]  # by the names of the pictures


@dataclass(frozen=True)
class Part:
    """Which pictures belong to a slice."""

    pictures: Sequence[str] = ()
    labels: Sequence[str] = ()
    mask_share: Mapping[str, float] = field(default_factory=dict)

    def holds(self, name: str, label: str, share: float | None) -> bool:
        if self.pictures and not any(fnmatch.fnmatch(name, p) for p in self.pictures):
            return False
        if self.labels and label not in self.labels:
            return False
        if not self.mask_share:
            return True
        least, most = self.mask_share.get("least", 0.0), self.mask_share.get("most", 1.0)
        return share is not None and least <= share <= most


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
class Policy:
    """A whole policy; all its paths are found."""

    name: str
    file: Path
    sha256: str
    groups: Mapping[str, Group]
    sets: Mapping[str, Pictures]
    slices: Mapping[str, Part]
    baselines: Mapping[str, Mapping[str, str]]
    checks: Sequence[Check]
    stops_on: Sequence[str]
    seed: int

    def models(self) -> list[tuple[str, Path, Group]]:
        """Every model once, with the group it belongs to."""
        found: dict[Path, tuple[str, Path, Group]] = {}
        for name, group in self.groups.items():
            for file in group.files:
                if file in found:
                    raise wrong(
                        str(self.file),
                        f"models.{name}",
                        f"'{file.name}' is in two groups",
                        "leave it out of one",
                    )
                found[file] = (name, file, group)
        return list(found.values())


def read(file: Path) -> Policy:
    """Read a policy, check it, and find all files that it names."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise BadOption("is larger than a policy can be", where=f"'{file}'", remedy="name another file")
        data = file.read_bytes()
        stated = yaml.safe_load(data)
    except OSError as error:
        raise BadOption(
            f"cannot be read ({error.strerror})", where=f"'{file}'", remedy="name a policy"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise BadOption(f"is not YAML ({cause})", where=f"'{file}'", remedy="correct it") from error
    schema.check(stated, schema.POLICY, "", str(file))
    return policy_of(stated, file, hashlib.sha256(data).hexdigest())


def policy_of(stated: Mapping[str, Any], file: Path, sha256: str) -> Policy:
    folder = file.resolve().parent
    sets = {
        name: pictures_of(s, folder, f"images.{name}", file) for name, s in stated.get("images", {}).items()
    }
    groups = {name: group_of(g, folder, f"models.{name}", file, sets) for name, g in stated["models"].items()}
    baselines = {
        name: {key: str(folder / path) for key, path in b.items()}
        for name, b in stated.get("baselines", {}).items()
    }
    slices = {name: Part(**s) for name, s in stated.get("slices", {}).items()}
    questions = stated.get("questions", [""])
    checks = [
        one
        for name, c in stated["checks"].items()
        for one in checks_of(name, c, questions, file, (groups, sets, slices, baselines))
    ]
    stops = stated.get("stops_on", [FAIL, INVESTIGATE])
    return Policy(
        stated.get("name", file.stem),
        file,
        sha256,
        groups,
        sets,
        slices,
        baselines,
        checks,
        stops,
        stated.get("seed", 0),
    )


def group_of(
    stated: Mapping[str, Any], folder: Path, where: str, file: Path, sets: Mapping[str, Pictures]
) -> Group:
    left_out = {p for pattern in stated.get("except", ()) for p in found(pattern, folder)}
    files = [p for pattern in stated["files"] for p in found(pattern, folder) if p not in left_out]
    if not files:
        raise wrong(
            str(file), f"{where}.files", "no file is there", "correct the paths, relative to the policy"
        )
    chosen = known(stated.get("images", list(sets)), sets, f"{where}.images", file)
    given = {k: v for k, v in stated.items() if k not in ("files", "except", "images")}
    if "labels" in given:
        given["labels"] = str(folder / given["labels"])
    return Group(list(dict.fromkeys(files)), given, chosen)


def found(pattern: str, folder: Path) -> list[Path]:
    """The files that a path or a pattern names, in the order of their names."""
    whole = folder / pattern
    if any(c in pattern for c in "*?["):
        return matching(whole)
    return [whole] if whole.exists() else []


def matching(pattern: Path) -> list[Path]:
    """The files that an absolute pattern names."""
    top = Path(pattern.anchor)
    return sorted(p for p in top.glob(str(pattern.relative_to(top))) if p.is_file())


def pictures_of(stated: Mapping[str, Any], folder: Path, where: str, file: Path) -> Pictures:
    patterns = stated.get("files", ["*"])
    every = [
        p for p in pictures_in(folder / stated["folder"]) if any(fnmatch.fnmatch(p.name, x) for x in patterns)
    ]
    files = every[: stated.get("count")]
    if not files:
        raise wrong(str(file), f"{where}.files", "no picture has such a name", "correct the patterns")
    return Pictures(files, labels_of(stated.get("labels", ""), files, folder, f"{where}.labels", file))


def labels_of(stated: str, files: Sequence[Path], folder: Path, where: str, file: Path) -> dict[str, str]:
    """The true classes by the pictures' names."""
    if not stated:
        return {}
    if stated == BY_NAME:
        return {p.name: p.stem.rsplit("-", 1)[0].rsplit("_", 1)[0] for p in files}
    try:
        rows = list(csv.DictReader(io.StringIO((folder / stated).read_text(encoding="utf-8"))))
        labels = {r["picture"]: r["label"] for r in rows}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise wrong(
            str(file),
            where,
            f"'{stated}' is no table of labels",
            "write a CSV file with the columns picture, label",
        ) from error
    missing = [p.name for p in files if p.name not in labels]
    if missing:
        raise wrong(str(file), where, f"'{stated}' has no label for '{missing[0]}'", "add it")
    return labels


Names = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]


def checks_of(
    name: str, stated: Mapping[str, Any], questions: Sequence[str], file: Path, names: Names
) -> list[Check]:
    """A check, or several where each question is one."""
    groups, sets, slices, baselines = names
    where, measure = f"checks.{name}", MEASURES[stated["measure"]]
    defaults: dict[str, Any] = {}
    if "least" not in stated and "most" not in stated:
        defaults = {"least": measure.least, "most": measure.most}
    if not {"hold", "of"} & set(stated):
        defaults["hold"] = measure.hold
    for key, needed in (("method", "method"), ("baseline", "baseline")):
        if needed in measure.needs and not stated.get(key):
            raise wrong(str(file), where, f"'{stated['measure']}' needs '{key}'", f"name the {key}")
    if unknown := set(stated.get("settings", ())) - set(measure.settings):
        here = schema.nearest(min(unknown), measure.settings) if measure.settings else "it has none"
        raise wrong(str(file), f"{where}.settings", f"there is no '{min(unknown)}'", here)
    check = Check(name=name, **{**defaults, **stated})
    known(check.models, groups, f"{where}.models", file)
    known(check.images, sets, f"{where}.images", file)
    known(check.slices or (), slices, f"{where}.slices", file)
    known([check.baseline] if check.baseline else [], baselines, f"{where}.baseline", file)
    if check.worse_by is not None and "report" not in baselines.get(check.baseline, {}):
        raise wrong(
            str(file), f"{where}.worse_by", "it compares with an earlier report", "name such a baseline"
        )
    if check.least is check.most is check.worse_by is None and not check.observe_only:
        raise wrong(
            str(file), where, "it has no bound", "give 'least' or 'most', or set 'observe_only: true'"
        )
    asked = [check]
    if "question" in measure.needs and not check.question and questions != [""]:
        asked = [replace(check, name=f"{name}: {q}", question=q) for q in questions]
    return [*asked, *beside_edges(check)]


def beside_edges(check: Check) -> list[Check]:
    """The same measure of an edge detector, which stands beside every explanation and is only observed."""
    if "method" not in check.table.needs or check.method in (EDGES, CHANCE) or check.than:
        return []
    return [replace(check, name=f"{check.name}, edges", method=EDGES, observe_only=True)]


def known(chosen: Sequence[str], names: Mapping[str, Any], where: str, file: Path) -> Sequence[str]:
    """Refuse a name that the policy does not define."""
    for name in chosen:
        if name not in names:
            raise wrong(str(file), where, f"there is no '{name}'", schema.nearest(name, names) + ".")
    return chosen
