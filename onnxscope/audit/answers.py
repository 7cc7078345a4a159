"""What workers find out about one model: its items are spread over them, and their answers are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from onnxscope.audit.checks import Check
from onnxscope.audit.facts import digest
from onnxscope.audit.measures.value import MODEL
from onnxscope.audit.policy import Group, Policy, matching
from onnxscope.audit.schema import wrong
from onnxscope.errors import BadOption
from onnxscope.files.folders import first_readable, mask_of
from onnxscope.work.engines import Engine, spread
from onnxscope.work.isolated import Isolation
from onnxscope.work.jobs import Work
from onnxscope.work.journal import Journal
from onnxscope.work.walls import Limits

JOB = "onnxscope.audit.job:Auditing"
LEAST_MEMORY = 300_000_000  # bytes
MOST_CORES = 16  # that a process may use for all the time that it is given


@dataclass(frozen=True)
class Resources:
    """Where an audit runs, and what each of its processes may use."""

    on: str = "local"
    workers: int = 0
    threads: int = 1  # of each worker: so the numbers are the same wherever it runs
    device: str = "cpu"
    memory: int = 8 << 30
    seconds: float = 600.0  # that a model may take for one picture

    def __post_init__(self) -> None:
        if self.memory < LEAST_MEMORY:
            cause = f"a process needs {LEAST_MEMORY // 10**6} MB before it opens a model"
            raise BadOption(cause, where="--memory", remedy="give it more")


@dataclass(frozen=True)
class Item:
    """A picture of a set with the checks that it is needed for, or the model as a whole."""

    images: str
    picture: Path | None
    beside: Path | None
    label: str
    checks: Mapping[int, Check]  # by their places in the policy


@dataclass(frozen=True)
class Answer:
    """What was found for an item, or why nothing was."""

    item: Item
    found: Mapping[str, Any]
    error: str
    walls: Mapping[str, str]

    @property
    def failure(self) -> str:
        """Why the model could not be opened, or its process did not come to a good end."""
        return self.error or str(self.found.get("opens", ""))

    def values(self, place: int) -> list[dict[str, Any]]:
        """The values of a check."""
        return list(self.found.get("values", {}).get(str(place), ()))


@dataclass(frozen=True)
class Audited:
    """One model of a policy."""

    name: str
    file: Path
    group: str
    policy: Policy

    @property
    def about(self) -> Group:
        return self.policy.groups[self.group]

    @property
    def checks(self) -> dict[int, Check]:
        """The checks of this model, by their places in the policy."""
        return {k: c for k, c in enumerate(self.policy.checks) if not c.models or self.group in c.models}

    def items(self) -> list[Item]:
        """The model as a whole, and every picture that a check needs."""
        chosen = self.checks
        whole = {k: c for k, c in chosen.items() if c.table.per == MODEL}
        found = [Item("", None, None, "", whole)]
        for name in self.about.images:
            files, labels = self.policy.sets[name].files, self.policy.sets[name].labels
            for at, picture in enumerate(files):
                checks = {
                    k: c for k, c in chosen.items() if k not in whole and wanted(c, name, at, len(files))
                }
                beside = files[(at + 1) % len(files)] if len(files) > 1 else None
                if checks:
                    found.append(Item(name, picture, beside, labels.get(picture.name, ""), checks))
        return found

    def baseline(self, check: Check) -> Path | None:
        """The model that a check compares with; of several that with the name of this one."""
        pattern = self.policy.baselines.get(check.baseline, {}).get("model")
        if pattern is None:
            return None
        here = Path(pattern)
        files = [here] if here.exists() else matching(here)
        same = [f for f in files if f.name == self.file.name] or (files if len(files) == 1 else [])
        if not same:
            place, cause = f"baselines.{check.baseline}.model", f"there is no such model for '{self.name}'"
            raise wrong(str(self.policy.file), place, cause, "correct the path")
        return same[0]

    def stated(self, check: Check) -> dict[str, Any]:
        """A check as workers are told of it."""
        baseline = self.baseline(check)
        asked = {"measure": check.measure, "method": check.method, "than": check.than}
        return {
            **asked,
            "question": check.question,
            "settings": dict(check.settings),
            "baseline": str(baseline) if baseline else "",
        }

    def readable(self, items: Sequence[Item]) -> list[str]:
        """The files and folders that a worker must be able to read, also behind links."""
        pictures = [p for name in self.about.images for p in self.policy.sets[name].files]
        files = [self.file, *pictures, *map(mask_of, pictures)]
        files += [b for i in items for c in i.checks.values() if (b := self.baseline(c))]
        folders = {str(place) for f in files for place in (f.parent, f.resolve().parent)}
        return sorted(folders | {str(f.resolve()) for f in self.about.files_given})

    def kept(self, journal: Journal, keys: Sequence[str]) -> dict[str, Any]:
        """The answers in the journal, if the model's external files are those that they were found with."""
        found = {key: journal.done[key] for key in keys if key in journal.done}
        files = [f for answer in found.values() for f in answer["found"].get("files", {}).items()]
        places = ((self.file.parent / location, digested) for location, digested in files)
        same = all(place.is_file() and digest(place) == digested for place, digested in places)
        return found if same else {}


def answers(model: Audited, how: Resources, journal: Journal | None) -> Iterator[Answer]:
    """The answers for all items of a model, those in the journal first."""
    items = model.items()
    keys = [f"{model.name}|{item.images}|{item.picture.name if item.picture else ''}" for item in items]
    done = model.kept(journal, keys) if journal is not None else {}
    todo = []
    for number, (key, item) in enumerate(zip(keys, items, strict=True)):
        if key in done:
            yield Answer(item, **done[key])
        else:
            todo.append(spoken(number, item, model))
    pictures = [file for name in model.about.images for file in model.policy.sets[name].files]
    settings = {
        "model": {**model.about.given, "file": str(model.file)},
        "running": {"device": how.device, "threads": how.threads},
        "first": str(first_readable(pictures)) if pictures else "",
        "seed": model.policy.seed,
        "memory": how.memory,
    }
    limits = Limits(
        how.memory,
        cpu_seconds=int(MOST_CORES * how.seconds),
        readable=tuple(model.readable(items)),
        cuda=how.device != "cpu",
    )
    engine = Engine(how.on, how.workers, 1, Isolation(limits, (JOB.partition(":")[0],), how.seconds))
    for batch in spread(Work(JOB, settings), todo, engine) if todo else ():
        for number, error, row, walls in texts(batch):
            plain = partial(without, str(model.policy.file.resolve().parent))
            kept: dict[str, Any] = {
                "found": read(plain(row)),
                "error": plain(told(error)),
                "walls": read(walls),
            }
            if journal is not None:
                journal.add(keys[number], kept)
            yield Answer(items[number], **kept)


def without(folder: str, text: str) -> str:
    """A text in which files are named as the policy names them, so that it is the same wherever they lie."""
    return text.replace(json.dumps(f"{folder}/")[1:-1], "").replace(f"{folder}/", "")


def wanted(check: Check, images: str, at: int, count: int) -> bool:
    """Whether a check needs the picture at this place of a set."""
    return (not check.images or images in check.images) and at < (check.pictures or count)


def spoken(number: int, item: Item, model: Audited) -> dict[str, Any]:
    """An item as workers are given it."""
    return {
        "number": number,
        "picture": str(item.picture or ""),
        "beside": str(item.beside or ""),
        "label": item.label,
        "checks": json.dumps({place: model.stated(check) for place, check in item.checks.items()}),
    }


def texts(batch: Mapping[str, Any]) -> Iterator[tuple[int, str, str, str]]:
    """The items of a batch; those that failed have no row."""
    empty = [""] * len(batch["number"])
    rows, walls = (batch[k].tolist() if k in batch else empty for k in ("row", "walls"))
    yield from zip(batch["number"].tolist(), batch["error"].tolist(), rows, walls, strict=True)


def read(text: str) -> dict[str, Any]:
    return dict(json.loads(text)) if text else {}


def told(error: str) -> str:
    """A worker's error as one line."""
    if not error:
        return ""
    e = json.loads(error)
    line = f"{e['where']}: {e['cause']}" if e["where"] else e["cause"]
    return f"{line}; {e['remedy']}" if e["remedy"] else line
