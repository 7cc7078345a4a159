"""Policies: what is audited, on which pictures, with which bounds."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxscope.audit import parsing, schema
from onnxscope.audit.checks import Check, Known, checks_of
from onnxscope.audit.report import FAIL, INVESTIGATE
from onnxscope.audit.schema import wrong
from onnxscope.errors import BadOption
from onnxscope.files.folders import pictures_in

BY_NAME = "names"


@dataclass(frozen=True)
class Group:
    """Models that are opened alike."""

    files: Sequence[Path]
    given: Mapping[str, Any]
    images: Sequence[str]

    @property
    def files_given(self) -> list[Path]:
        """The files with labels and with values of further inputs."""
        values = [text.partition("=")[2] for text in self.given.get("inputs", ()) if not is_numbers(text)]
        return [Path(f) for f in (self.given.get("labels"), *values) if f]


@dataclass(frozen=True)
class Pictures:
    """A set of pictures, with their true classes if these are known."""

    files: Sequence[Path]
    labels: Mapping[str, str]  # by the names of the pictures
    table: Path | None = None  # the file of the labels


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
    stated, data = parsing.parse(file)
    try:
        schema.check(stated, schema.POLICY, "", str(file))
    except RecursionError as error:
        raise BadOption("is nested too deeply", where=f"'{file}'", remedy="correct it") from error
    return policy_of(stated, file, hashlib.sha256(data).hexdigest())


def policy_of(stated: Mapping[str, Any], file: Path, sha256: str) -> Policy:
    folder = file.resolve().parent
    sets = {
        name: pictures_of(s, folder, f"images.{name}", file) for name, s in stated.get("images", {}).items()
    }
    slices = {name: part_of(s, f"slices.{name}", sets, file) for name, s in stated.get("slices", {}).items()}
    known = Known(file, {}, sets, slices, baselines_of(stated, folder, file))
    groups = {name: group_of(g, folder, f"models.{name}", known) for name, g in stated["models"].items()}
    known = Known(file, groups, sets, slices, known.baselines)
    questions = stated.get("questions", ())
    checks = [one for name, c in stated["checks"].items() for one in checks_of(name, c, questions, known)]
    name, count = Counter(c.name for c in checks).most_common(1)[0]
    if count > 1:
        raise wrong(str(file), "checks", f"two checks have the name '{name}'", "give one another name")
    return Policy(
        stated.get("name", file.stem),
        file,
        sha256,
        groups,
        sets,
        slices,
        known.baselines,
        checks,
        stated.get("stops_on", [FAIL, INVESTIGATE]),
        stated.get("seed", 0),
    )


def baselines_of(stated: Mapping[str, Any], folder: Path, file: Path) -> dict[str, dict[str, str]]:
    """Models and reports to compare with, by absolute paths."""
    for name, baseline in stated.get("baselines", {}).items():
        for key, path in baseline.items():
            existing(path, folder, f"baselines.{name}.{key}", file)
    return {
        name: {key: str(folder / path) for key, path in b.items()}
        for name, b in stated.get("baselines", {}).items()
    }


def part_of(stated: Mapping[str, Any], where: str, sets: Mapping[str, Pictures], file: Path) -> Part:
    """A slice; a name that no picture has would make it empty for ever."""
    names = [p.name for s in sets.values() for p in s.files]
    for pattern in stated.get("pictures", ()):
        if not fnmatch.filter(names, pattern):
            cause = f"no picture has a name like '{pattern}'"
            raise wrong(str(file), f"{where}.pictures", cause, "correct the pattern")
    labels = {label: label for s in sets.values() for label in s.labels.values()}
    for label in stated.get("labels", ()):
        if label not in labels:
            here = schema.nearest(label, labels) if labels else "give the pictures labels"
            raise wrong(str(file), f"{where}.labels", f"no picture has the label '{label}'", here)
    return Part(**stated)


def group_of(stated: Mapping[str, Any], folder: Path, where: str, known: Known) -> Group:
    file = known.file
    left_out = {p for pattern in stated.get("except", ()) for p in found(pattern, folder)}
    files = [
        p
        for pattern in stated["files"]
        for p in existing(pattern, folder, f"{where}.files", file)
        if p not in left_out
    ]
    if not files:
        raise wrong(str(file), f"{where}.except", "it leaves out all models", "correct the patterns")
    if folders := [p for p in files if p.is_dir()]:
        cause = f"'{folders[0].name}' is a folder"
        raise wrong(
            str(file), f"{where}.files", cause, f"name the models in it, as in {folders[0].name}/*.onnx"
        )
    chosen = known.named(stated.get("images", list(known.sets)), known.sets, f"{where}.images")
    given = {k: v for k, v in stated.items() if k not in ("files", "except", "images")}
    if "labels" in given:
        given["labels"] = str(existing(given["labels"], folder, f"{where}.labels", file)[0])
    if "inputs" in given:
        given["inputs"] = [input_of(text, folder, f"{where}.inputs", file) for text in given["inputs"]]
    return Group(list(dict.fromkeys(files)), given, chosen)


def input_of(text: str, folder: Path, where: str, file: Path) -> str:
    """NAME=VALUE as it is, and NAME=FILE with the whole path."""
    name, _, value = text.partition("=")
    return text if is_numbers(text) else f"{name}={existing(value, folder, where, file)[0]}"


def is_numbers(text: str) -> bool:
    """Whether NAME=VALUE gives numbers, not a file."""
    try:
        [float(part) for part in text.partition("=")[2].split(",")]
    except ValueError:
        return False
    return True


def existing(pattern: str, folder: Path, where: str, file: Path) -> list[Path]:
    """The files that a path or a pattern names; one that names none is refused."""
    files = found(pattern, folder)
    if not files:
        cause = f"there is no file '{pattern}'"
        raise wrong(str(file), where, cause, "correct the path, which starts at the policy's folder")
    return files


def found(pattern: str, folder: Path) -> list[Path]:
    """The files that a path or a pattern names, in the order of their names."""
    whole = Path(os.path.normpath(folder / pattern))
    try:
        if whole.exists() or not any(c in pattern for c in "*?["):
            return [whole] if whole.exists() else []
        return matching(whole)
    except (OSError, ValueError):  # a name that is too long, a null byte
        return []


def matching(pattern: Path) -> list[Path]:
    """The files that an absolute pattern names; a link that leads nowhere is one that cannot be opened."""
    top = Path(pattern.anchor)
    return sorted(p for p in top.glob(str(pattern.relative_to(top))) if not p.is_dir())


def pictures_of(stated: Mapping[str, Any], folder: Path, where: str, file: Path) -> Pictures:
    patterns = stated.get("files", ["*"])
    every = [
        p for p in pictures_in(folder / stated["folder"]) if any(fnmatch.fnmatch(p.name, x) for x in patterns)
    ]
    files = every[: stated.get("count")]
    if not files:
        raise wrong(str(file), f"{where}.files", "no picture has such a name", "correct the patterns")
    labels = stated.get("labels", "")
    table = folder / labels if labels not in ("", BY_NAME) else None
    return Pictures(files, labels_of(labels, files, folder, f"{where}.labels", file), table)


def labels_of(stated: str, files: Sequence[Path], folder: Path, where: str, file: Path) -> dict[str, str]:
    """The true classes by the pictures' names."""
    if not stated:
        return {}
    if stated == BY_NAME:
        return {p.name: label_in(p) for p in files}
    try:
        rows = list(csv.DictReader(io.StringIO((folder / stated).read_text(encoding="utf-8"))))
        labels = {r["picture"]: r["label"].strip() for r in rows}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise wrong(
            str(file),
            where,
            f"'{stated}' is no table of labels",
            "write a CSV file with the columns picture, label",
        ) from error
    missing = [p.name for p in files if p.name not in labels]
    if missing:
        raise wrong(str(file), where, f"'{stated}' has no label for '{missing[0]}'", "add it")
    return {p.name: labels[p.name] for p in files}


def label_in(picture: Path) -> str:
    """The label that a picture's name begins with: all before its last dash or underscore."""
    return re.sub("[-_][^-_]*$", "", picture.stem)
