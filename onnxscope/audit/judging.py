"""Outcomes: the figure of many values, its interval, and whether it is within the bound."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.audit.checks import Check
from onnxscope.audit.report import FAIL, INVESTIGATE, PASS, Row

RESAMPLED, INSIDE = 2000, 0.95  # of bootstrap intervals
NEAR = 1e-9  # how far a figure may be off its bound by rounding, relative to the bound
AT_ONCE = 1 << 20  # values that are drawn at a time
Figure = Callable[..., Any]  # of an array along an axis
FIGURES: dict[str, Figure] = {"mean": np.mean, "median": np.median, "least": np.min, "most": np.max}


@dataclass(frozen=True)
class Judgement:
    """What came of the values of a check."""

    outcome: str
    figure: float | None
    interval: tuple[float, float] | None
    bound: str
    count: int
    failed: int
    allowed: int | None = None
    note: str = ""


def holds(check: Check, value: float) -> bool:
    """Whether one value is within the bound."""
    least, most = check.least, check.most
    above = least is None or value >= least - NEAR * abs(least)
    below = most is None or value <= most + NEAR * abs(most)
    return above and below


def judged(check: Check, rows: Sequence[Row], earlier: float | None = None) -> Judgement:
    """The outcome of the values of these rows."""
    values = np.array([r.value for r in rows if r.value is not None], np.float64)
    missing = len(rows) - values.size
    bound = bound_text(check, len(rows), earlier)
    if not values.size:
        why = next((r.note for r in rows if r.note), "there is nothing to judge")
        return Judgement(INVESTIGATE, None, None, bound, 0, 0, note=f"not judged: {why}")
    seed = int(hashlib.sha256(f"{check.name}|{rows[0].model}".encode()).hexdigest()[:8], 16)
    kept = [holds(check, v) for v in values.tolist()]
    if check.hold is not None:
        return proportion(check, kept, (missing, bound, seed))
    figure = float(FIGURES[check.of](values))
    interval = bootstrap(values, FIGURES[check.of], seed)
    outcome, note = by_interval(check, figure, interval, earlier)
    if missing:
        note = "; ".join(filter(None, [note, f"{missing} of {len(rows)} values were not judged"]))
    return Judgement(outcome, figure, interval, bound, values.size, kept.count(False), note=note)


def proportion(check: Check, kept: list[bool], about: tuple[int, str, int]) -> Judgement:
    """So many must be within the bound. What was not judged may be or not."""
    missing, bound, seed = about
    assert check.hold is not None
    count, failed = len(kept) + missing, kept.count(False)
    allowed = count - required(check.hold, count)
    figure = (len(kept) - failed) / len(kept)
    interval = bootstrap(np.array(kept, np.float64), FIGURES["mean"], seed)
    outcome, note = PASS, ""
    if failed > allowed:
        outcome, note = FAIL, f"{failed} of {count} are not within the bound"
    elif failed + missing > allowed:
        outcome, note = INVESTIGATE, f"{missing} of {count} values were not judged"
    return Judgement(outcome, figure, interval, bound, len(kept), failed, allowed, note)


def required(share: float, count: int) -> int:
    """How many of so many are at least this share of them."""
    return math.ceil(share * count - NEAR * max(count, 1))


def by_interval(
    check: Check, figure: float, interval: tuple[float, float], earlier: float | None
) -> tuple[str, str]:
    """Pass or fail where the whole interval lies on one side of the bound."""
    outcomes = [
        PASS if worse >= 0 else FAIL if better < 0 else INVESTIGATE
        for worse, better in sides(check, interval, earlier)
    ]
    if FAIL in outcomes:
        return FAIL, f"the figure is {figure:.4g}"
    if check.worse_by is not None and earlier is None:
        return INVESTIGATE, "not judged: the baseline's report has no such figure"
    if INVESTIGATE in outcomes:
        low, high = interval
        return INVESTIGATE, f"the interval from {low:.4g} to {high:.4g} straddles the bound"
    return PASS, ""


def sides(check: Check, interval: tuple[float, float], earlier: float | None) -> list[tuple[float, float]]:
    """How far both ends of the interval are inside of each bound, the worse end first."""
    low, high = interval
    found = []
    least, most = check.least, check.most
    if check.worse_by is not None and earlier is not None:
        if check.higher:
            found.append((low - earlier + check.worse_by, high - earlier + check.worse_by))
        else:
            found.append((earlier + check.worse_by - high, earlier + check.worse_by - low))
    if least is not None:
        found.append((low - least, high - least))
    if most is not None:
        found.append((most - high, most - low))
    scale = NEAR * max((abs(x) for x in (low, high, earlier or 0.0) if math.isfinite(x)), default=0.0)
    return [(a + scale, b + scale) for a, b in found]


def bootstrap(values: np.ndarray, figure: Figure, seed: int) -> tuple[float, float]:
    """The interval that holds 95 % of the figures of values drawn from these with replacement."""
    count, whole = values.size, float(figure(values))
    if (values == values[0]).all() or not np.isfinite(values).all():
        return whole, whole
    draws, rows = np.random.default_rng(seed), max(1, AT_ONCE // count)
    drawn = [
        figure(values[draws.integers(0, count, (min(rows, RESAMPLED - first), count))], axis=1)
        for first in range(0, RESAMPLED, rows)
    ]
    low, high = np.quantile(np.concatenate(drawn), [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return float(low), float(high)


def beyond(check: Check, value: float) -> float:
    """How far a value is on the wrong side of the bound, or on the side where values are worse."""
    misses = [check.least - value] if check.least is not None else []
    misses += [value - check.most] if check.most is not None else []
    return max(misses, default=-value if check.higher else value)


def bound_text(check: Check, count: int, earlier: float | None) -> str:
    """The bound in words."""
    parts = [f"at least {check.least:g}"] if check.least is not None else []
    parts += [f"at most {check.most:g}"] if check.most is not None else []
    if check.worse_by is not None:
        than = "the baseline's" if earlier is None else f"{earlier:.4g}"
        parts.append(f"at most {check.worse_by:g} worse than {than}")
    text = " and ".join(parts) or "none"
    if check.hold is None:
        return text
    must = required(check.hold, count)
    share = "each" if check.hold == 1 else f"{check.hold:g}"
    return f"{text} for {share} of {count}: {must} must pass, {count - must} may fail"
