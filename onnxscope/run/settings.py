"""What onnxruntime itself changes: the outputs of one model under other settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscope.files.models import Model
from onnxscope.run.single_runs import session
from onnxscope.runtime import CPU, Device, device, no_cuda

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """How a model is run."""

    name: str
    optimise: bool | str
    on: Device = CPU


@dataclass(frozen=True)
class Moved:
    """How far outputs move under a setting: the largest difference of an element, for the worst output."""

    setting: str
    output: str
    largest: float
    relative: float  # to the largest element
    changed: bool  # whether the largest element is another one


def settings() -> list[Setting]:
    """The first is what the others are compared with: the graph as it is written, on one thread."""
    threads = os.cpu_count() or 1
    found = [
        Setting("as written, 1 thread", False, Device(threads=1)),
        Setting("the same again", False, Device(threads=1)),
        Setting("basic optimisations", "basic", Device(threads=1)),
        Setting("extended optimisations", "extended", Device(threads=1)),
        Setting("all optimisations", True, Device(threads=1)),
        *[
            Setting(f"all optimisations, {count} threads", True, Device(threads=count))
            for count in sorted({2, threads} - {1})
        ],
    ]
    if not no_cuda():
        found += [
            Setting("CUDA, float32", True, device("cuda")),
            Setting("CUDA, TF32 in products", True, device("cuda", tf32=True)),
        ]
    return found


def moved(model: Model, every: Sequence[Arrays]) -> list[Moved]:
    """How far the outputs of a model move under each setting, at most over some images."""
    first, *others = settings()
    with session(model, optimise=first.optimise, on=first.on) as running:
        wanted = [running.run(feeds) for feeds in every]
    found = []
    for setting in others:
        with session(model, optimise=setting.optimise, on=setting.on) as running:
            each = [
                difference(setting.name, name, values[name], want[name])
                for feeds, want in zip(every, wanted, strict=True)
                for values in [running.run(feeds)]
                for name in want
            ]
        found.append(max(each, key=lambda m: m.relative))
    return found


def difference(setting: str, output: str, now: np.ndarray, before: np.ndarray) -> Moved:
    """How far an output has moved; one of another size or with other gaps has moved without bound."""
    if now.shape != before.shape or not np.array_equal(np.isfinite(now), np.isfinite(before)):
        return Moved(setting, output, float("inf"), float("inf"), True)
    a, b = (
        np.nan_to_num(np.asarray(x, np.float64), posinf=0.0, neginf=0.0).reshape(-1) for x in (before, now)
    )
    largest = float(np.abs(a - b).max(initial=0))
    size = float(np.abs(a).max(initial=0))
    changed = bool(a.size and a.argmax() != b.argmax())
    return Moved(setting, output, largest, largest / size if size else float(largest > 0), changed)
