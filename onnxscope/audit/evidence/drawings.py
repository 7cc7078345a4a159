"""The small drawings of the page: a figure against its bound, and a figure over several reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from onnxscope.audit.evidence.earlier import History
from onnxscope.audit.evidence.texts import identity, number
from onnxscope.audit.report import Entry

WIDTH, HEIGHT = 300, 90  # of a chart of figures over reports, in its own units
EDGE, MARGIN = 8, 30  # what stays free on each side of a chart, so that dots are whole, and of a bar
WIDE = 50  # times: if positive values differ by more, the scale is logarithmic

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Bar:
    """A figure with its interval, on a line of which a part is allowed; places are from 0 to 300."""

    figure: float
    interval: tuple[float, float] | None
    allowed: tuple[float, float]
    bounds: Sequence[tuple[float, float]]  # where, and the value
    label: str


@dataclass(frozen=True)
class Dot:
    """The figure of one report."""

    x: float
    y: float
    outcome: str
    label: str


@dataclass(frozen=True)
class Trend:
    """The figures of a check in several reports, the newest last; a gap in the line is a missing figure."""

    dots: Sequence[Dot]
    lines: Sequence[str]  # each the points of one unbroken line
    bounds: Sequence[float]
    label: str


def bar(entry: Entry) -> Bar | None:
    """A drawing of the entry, if it has a figure and a bound that is a number."""
    bounds = [value for value in (entry.at_least, entry.at_most) if value is not None]
    if entry.figure is None or not bounds:
        return None
    scale = scale_of([entry.figure, *bounds, *(entry.interval or ())], MARGIN, WIDTH - MARGIN)
    ends = (
        scale(entry.at_least) if entry.at_least is not None else 0.0,
        scale(entry.at_most) if entry.at_most is not None else float(WIDTH),
    )
    interval = (scale(entry.interval[0]), scale(entry.interval[1])) if entry.interval else None
    label = f"figure {number(entry.figure)} against {limits(entry)}"
    return Bar(scale(entry.figure), interval, ends, [(scale(value), value) for value in bounds], label)


def limits(entry: Entry) -> str:
    """The bounds that are drawn, in words."""
    least = f"at least {number(entry.at_least)}" if entry.at_least is not None else ""
    most = f"at most {number(entry.at_most)}" if entry.at_most is not None else ""
    return " and ".join(filter(None, (least, most)))


def trend(entry: Entry, history: History) -> Trend | None:
    """The entry's figure in all earlier reports that have it and in this one, if there are two or more."""
    found = [known.get(identity(vars(entry)), {}) for known in history]
    figures = [*((e.get("figure"), str(e.get("outcome", ""))) for e in found), (entry.figure, entry.outcome)]
    known = [figure for figure, _ in figures if figure is not None]
    if len(known) < 2:
        return None
    bounds = [value for value in (entry.at_least, entry.at_most) if value is not None]
    scale = scale_of([*known, *bounds], HEIGHT - EDGE, EDGE)
    step = (WIDTH - 2 * EDGE) / (len(figures) - 1)
    dots = [
        None
        if figure is None
        else Dot(round(EDGE + k * step, 1), scale(figure), outcome, f"{number(figure)}, {outcome}")
        for k, (figure, outcome) in enumerate(figures)
    ]
    label = f"first {number(known[0])}, last {number(known[-1])}" + (f"; {limits(entry)}" if bounds else "")
    return Trend([dot for dot in dots if dot], unbroken(dots), [scale(value) for value in bounds], label)


def unbroken(dots: Iterable[Dot | None]) -> list[str]:
    """The points of the lines between dots that follow each other."""
    lines: list[list[str]] = [[]]
    for dot in dots:
        if dot is None:
            lines.append([])
        else:
            lines[-1].append(f"{dot.x},{dot.y}")
    return [" ".join(points) for points in lines if len(points) > 1]


def scale_of(values: Sequence[float], start: float, end: float) -> Scale:
    """Where a value is drawn; logarithmic if the values are positive and far apart."""
    wide = min(values) > 0 and max(values) > WIDE * min(values)
    position: Callable[[float], float] = math.log10 if wide else float
    low, high = position(min(values)) / 2, position(max(values)) / 2  # half, because a sum could overflow
    if high == low:
        return lambda value: round((start + end) / 2, 1)
    return lambda value: round(start + (position(value) / 2 - low) / (high - low) * (end - start), 1)
