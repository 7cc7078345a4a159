"""Measure how well diff predicts what putting each layer of B back to A's changes.

python tools/diff/reverting.py A.onnx B.onnx [PICTURE|FOLDER ...] [--count N] [--ask QUESTION]
python tools/diff/reverting.py --pairs LIST [PICTURE|FOLDER ...] [--count N] [--ask QUESTION]

Compared is the distance of the outputs, or the answer to a question. The table gives the rank correlation of predicted and measured effects, with
effects rounded to 1 % of the whole difference and as they are; the same where all other layers keep their errors, so that
nothing is rounded anew; how many of the three layers that help most are among the three predicted, in both ways; and the
seconds for predicting and for measuring all layers, once the two models are open.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import table

from diff.given import given, title
from diff.held import Held
from diff.pictures import gathered
from onnxscope.api.difference import Difference
from onnxscope.api.differing import Comparing
from onnxscope.api.two_models import Reading, TwoModels
from onnxscope.errors import ScopeError

EVERY = 10**6  # more layers than any network has
TIE = 0.01  # of the whole difference: effects are rounded to it
TOP = 3
HEAD = ("pair", "layers", "images", "rank correlation", "unrounded", "top three")
HEAD = (*HEAD, "others held", "unrounded", "top three", "predicting", "measuring", "measuring / predicting")


@dataclass(frozen=True)
class Effects:
    """What putting each layer back changes, as predicted and as measured."""

    predicted: np.ndarray
    measured: np.ndarray
    difference: float

    @classmethod
    def of(cls, would_help: Sequence[Mapping[str, Any]], difference: float) -> Effects:
        both = [(e["predicted"], e["measured"]) for e in would_help if "measured" in e]
        predicted, measured = np.array(both, np.float64).reshape(-1, 2).T
        return cls(predicted, measured, difference)

    def correlation(self, unit: float) -> float:
        """Spearman's, of effects in whole units; NaN where all effects are equal. Unit 0 does not round."""
        both = [np.round(x / unit) if unit else x for x in (self.predicted, self.measured)]
        if any(np.unique(x).size < 2 for x in both):
            return math.nan
        return float(spearmanr(*both).statistic)

    def top(self) -> tuple[int, int]:
        """How many of the layers that help most are predicted to, and how many there are."""
        best = [set(np.argsort(x, kind="stable")[:TOP].tolist()) for x in (self.predicted, self.measured)]
        return len(best[0] & best[1]), len(best[1])


def held(comparing: Comparing, found: Difference, pictures: Sequence[Path]) -> Effects:
    """The effects where all other layers keep their errors."""
    pair, names = comparing.models.pair, [e["a"] for e in found.would_help]
    network, layers = Held(pair), pair.shares.by_name(names)
    totals = dict.fromkeys(layers, 0.0)
    for picture in pictures:
        at = comparing.models.at(picture, comparing.models.fed(picture))
        reader, errors = comparing.models.reader(at), network.errors(at)
        _, sums = comparing.asked(reader, at)
        for name, layer in layers.items():
            outputs = network.outputs(at, errors, layer.tensor)
            totals[name] += comparing.effect(reader, at, sums, outputs) / len(pictures)
    kept = [{**e, "measured": totals[e["a"]]} for e in found.would_help if e["a"] in totals]
    return Effects.of(kept, found.difference)


def measured(a: Path, b: Path, pictures: Sequence[Path], ask: str) -> tuple[Effects, Effects, float, float]:
    """The effects on these pictures, in both ways, and the seconds for predicting and for measuring them."""
    comparing = Comparing(TwoModels(a, b, Reading()), ask)
    comparing.over(pictures[:1])  # opens and matches the two
    began = time.perf_counter()
    found = comparing.over(pictures)
    predicting = time.perf_counter() - began
    found = comparing.checked(found, pictures, EVERY)
    measuring = time.perf_counter() - began - predicting
    alone = held(comparing, found, pictures)
    return Effects.of(found.would_help, found.difference), alone, predicting, measuring


def cells(a: Path, b: Path, pictures: Sequence[Path], ask: str) -> list[str]:
    *both, predicting, measuring = measured(a, b, pictures, ask)
    return [
        title(a, b),
        str(both[0].predicted.size),
        str(len(pictures)),
        *(cell for effects in both for cell in agreement(effects)),
        f"{predicting:.2f} s",
        f"{measuring:.2f} s",
        f"{measuring / predicting:.1f}",
    ]


def agreement(effects: Effects) -> list[str]:
    """Both rank correlations, and how many of the layers that help most are predicted."""
    correlations = [effects.correlation(unit) for unit in (TIE * abs(effects.difference), 0.0)]
    hits, of = effects.top()
    return [*("–" if math.isnan(c) else f"{c:.3f}" for c in correlations), f"{hits} of {of}"]


def main() -> int:
    options, lines, failed = given(__doc__ or ""), list[list[str]](), 0
    for a, b in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            try:
                lines.append(
                    cells(a, b, gathered(options.pictures, options.count, a, Path(folder)), options.ask)
                )
            except ScopeError as error:
                failed += 1
                print(f"{title(a, b)}: {error}", file=sys.stderr)
    if lines:
        print(table(HEAD, lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
