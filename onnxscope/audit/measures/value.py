"""What a measure gives: a value, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxscope.audit.opened import Seen

HIGHER, LOWER, NEITHER = "higher", "lower", "neither"  # which values are better
PICTURE, MODEL, SET = "picture", "model", "set"  # what has a value of its own


@dataclass(frozen=True)
class Value:
    """A value of one picture or one model."""

    value: float | None  # None: not judged
    part: str = ""  # of a measure that gives several, such as the name of a proof
    layer: str = ""  # of the model, where the value points to one
    note: str = ""
    held: Mapping[str, Any] | None = None  # what a measure of a whole set adds up


def value(number: float, **more: Any) -> list[Value]:
    """One value; a number that is not defined is not judged."""
    if math.isnan(number):
        return [Value(None, note="the measure is not defined here", **more)]
    return [Value(float(number), **more)]


def none(why: str) -> list[Value]:
    return [Value(None, note=why)]


@dataclass(frozen=True)
class Asked:
    """What a check asks of a measure."""

    method: str = ""
    question: str = ""
    baseline: str = ""  # the file of the model that is compared with
    settings: Mapping[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: float) -> float:
        return float(self.settings.get(name, default))


Measuring = Callable[[Seen, Asked], list[Value]]
Joining = Callable[[Sequence[Mapping[str, Any]]], list[Value]]


@dataclass(frozen=True)
class Measure:
    """An entry of the table: what it is, which values are better, and how it is computed."""

    doc: str
    of: Measuring
    better: str = NEITHER
    per: str = PICTURE
    needs: frozenset[str] = frozenset()  # method, baseline, labels, mask, scores, question
    settings: Mapping[str, str] = field(default_factory=dict)  # their names, and what they mean
    hold: float | None = None  # the share of pictures that must be within the bound; None: the mean is judged
    most: float | None = None  # the bound, where a policy names none
    least: float | None = None
    joined: Joining | None = None  # how the values of a set become one
    timed: bool = False  # whether it is a time, which is kept apart from the evidence
