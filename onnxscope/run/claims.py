"""Claims with their figures: what holds, what falls short, and what rounding hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.files.results import Cells, Result, plain

FIGURE = 1e-5  # float32 rounding through a deep network, relative to the largest value
NOISE = 4.0  # how many times its own noise floor a model may be off
USELESS = 0.1  # a claim whose noise is larger than this share of what is compared is not judged
NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Check:
    """One claim: its figure must not exceed the bound, which is FIGURE or a multiple of the noise floor."""

    name: str
    figure: float | None
    bound: float | None
    floor: float | None
    ok: bool
    note: str = ""

    @property
    def outcome(self) -> str:
        if not self.ok:
            return "FELL SHORT"
        return NOT_JUDGED if self.figure is None else "ok"


@dataclass(frozen=True, repr=False)
class Report(Result):
    """All checks of one scope."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(c.ok for c in self.checks)

    @property
    def exceptions(self) -> list[str]:
        """The claims that could not be judged."""
        return list(dict.fromkeys(c.name for c in self.checks if c.outcome == NOT_JUDGED))

    @property
    def verdict(self) -> str:
        """`proved`, `not proved`, or `proved except` for claims that could not be judged."""
        if not self.ok:
            return "not proved"
        return f"proved except {', '.join(self.exceptions)}" if self.exceptions else "proved"

    @property
    def title(self) -> str:
        return self.verdict

    def cells(self) -> Cells:
        rows = [(c.name, *map(number, (c.figure, c.bound, c.floor)), c.outcome, c.note) for c in self.checks]
        return ("check", "figure", "bound", "noise floor", "", "note"), rows

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "exceptions": self.exceptions,
            "checks": plain(self.checks),
        }


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def judged(name: str, figure: float, floor: float, note: str = "") -> Check:
    if floor > USELESS:
        why = f"rounding alone moves what is compared by {floor:.1e} of its largest value"
        return Check(name, None, None, floor, True, f"{why}: {note}" if note else why)
    bound = max(FIGURE, NOISE * floor)
    return Check(name, figure, bound, floor, bool(figure <= bound), note)


def unable(name: str, note: str) -> Check:
    """A claim that could not be judged, and why; it does not count against the scope."""
    return Check(name, None, None, None, True, note)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference between a and b, relative to the largest value of b; two NaNs count as equal."""
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0 or a.dtype.kind in "OSU":
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    scale = np.max(np.abs(b), where=np.isfinite(b), initial=1e-30)
    gap = np.max(np.abs(np.subtract(a, b, where=~same, out=np.zeros_like(a))))
    return float(gap / scale) if np.isfinite(gap) else float("inf")
