"""Outcomes by cases that are computed by hand, bootstrap intervals, and the verdict of all outcomes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import audited
import numpy as np
import pytest

from onnxscope.audit.answers import Answer, Item
from onnxscope.audit.checks import Check
from onnxscope.audit.job import better
from onnxscope.audit.judging import FIGURES, INSIDE, beyond, bootstrap, holds, judged, required
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.measures.value import Value
from onnxscope.audit.report import FAIL, INVESTIGATE, PASS, Entry, Row
from onnxscope.audit.results import entry, worst_row

HIGHER_IS_BETTER, LOWER_IS_BETTER = "accuracy", "noise-gain"


def check(measure: str = LOWER_IS_BETTER, **more: Any) -> Check:
    return Check("the check", measure, **more)


def rows(values: Sequence[float | None], note: str = "", layer: str = "") -> list[Row]:
    pictures = (f"{k}.png" for k in range(len(values)))
    return [
        Row("m.onnx", "seen", p, "the check", "m", "", v, None, layer, note)
        for p, v in zip(pictures, values, strict=True)
    ]


def outcome(values: Sequence[float | None], earlier: float | None = None, **more: Any) -> str:
    return judged(check(**more), rows(values), earlier).outcome


# the figure of all values

SAME = {  # bounds, and what becomes of many values of 0.3
    "below the most": ({"most": 0.31}, PASS),
    "at the most": ({"most": 0.3}, PASS),
    "above the most": ({"most": 0.29}, FAIL),
    "above the least": ({"least": 0.29}, PASS),
    "at the least": ({"least": 0.3}, PASS),
    "below the least": ({"least": 0.31}, FAIL),
    "between": ({"least": 0.3, "most": 0.3}, PASS),
    "below both": ({"least": 0.4, "most": 0.5}, FAIL),
    "above both": ({"least": 0.1, "most": 0.2}, FAIL),
}


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("count", [1, 3, 10])
def test_equal_values_are_judged_by_the_bound_itself(case: str, count: int) -> None:
    bounds, expected = SAME[case]
    found = judged(check(**bounds), rows([0.3] * count))
    assert found.outcome == expected
    assert found.figure == pytest.approx(0.3) and found.interval == (found.figure, found.figure)
    assert (found.count, found.failed) == (count, 0 if expected == PASS else count)


def test_a_mean_that_rounding_leaves_beside_its_bound_holds() -> None:
    thirds = [0.1, 0.2, 0.3]  # whose mean is 0.20000000000000004
    assert np.mean(thirds) != 0.2
    assert outcome([float(np.mean(thirds))], most=0.2) == PASS
    assert outcome([math.nextafter(0.3, 1)], most=0.3) == PASS
    assert outcome([math.nextafter(0.3, 0)], least=0.3) == PASS
    assert outcome([1e-12], most=0.0) == FAIL


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"most": 1.1}, PASS),
        ({"most": 0.5}, INVESTIGATE),
        ({"most": -0.1}, FAIL),
        ({"least": -0.1}, PASS),
        ({"least": 0.5}, INVESTIGATE),
        ({"least": 1.1}, FAIL),
        ({"least": 0.5, "most": 1.1}, INVESTIGATE),
        ({"least": 0.5, "most": -0.1}, FAIL),  # a policy with such bounds is refused
    ],
)
def test_an_interval_on_both_sides_of_the_bound_is_to_be_investigated(
    bounds: dict[str, float], expected: str
) -> None:
    found = judged(check(**bounds), rows([0.0, 1.0] * 6))
    assert found.outcome == expected
    assert found.interval is not None and 0.15 < found.interval[0] < 0.35 and 0.65 < found.interval[1] < 0.85
    if expected == INVESTIGATE:
        low, high = found.interval
        assert found.note == f"the interval from {low:.4g} to {high:.4g} straddles the bound"


@pytest.mark.parametrize(("of", "figure"), [("mean", 3.75), ("median", 2.5), ("least", 0.0), ("most", 10.0)])
def test_the_statistic_is_the_one_that_the_policy_names(of: str, figure: float) -> None:
    values = [0.0, 2.0, 3.0, 10.0]
    found = judged(check(of=of, most=100), rows(values))
    assert found.figure == figure and found.outcome == PASS
    assert found.interval is not None and found.interval[0] <= figure <= found.interval[1]
    assert set(found.interval) <= {*values} or of in ("mean", "median")


@pytest.mark.parametrize(("most", "expected"), [(100.0, FAIL), (None, PASS)])
def test_a_value_that_is_infinite_is_beyond_every_bound(most: float | None, expected: str) -> None:
    assert outcome([1.0, math.inf], most=most, least=0) == expected


# values that were not judged


def test_nothing_that_could_be_judged_is_to_be_investigated() -> None:
    found = judged(check(most=1), rows([None, None], "the picture has no mask"))
    assert (found.outcome, found.figure, found.interval, found.count) == (INVESTIGATE, None, None, 0)
    assert found.note == "not judged: the picture has no mask"
    assert judged(check(most=1), rows([None])).note == "not judged: there is nothing to judge"
    assert judged(check(most=1, hold=0.0), rows([None])).outcome == INVESTIGATE


def test_a_mean_says_how_many_values_it_lacks() -> None:
    found = judged(check(most=1), rows([0.5, None, 0.5]))
    assert (found.outcome, found.count, found.note) == (PASS, 2, "1 of 3 values were not judged")
    failed = judged(check(most=0.1), rows([0.5, None]))
    assert failed.note == "the figure is 0.5; 1 of 2 values were not judged"


# proportions


@pytest.mark.parametrize(
    ("share", "count", "must"),
    [(0.95, 200, 190), (0.95, 20, 19), (0.95, 10, 10), (0.9, 10, 9), (0.7, 10, 7), (0.1, 3, 1), (1, 7, 7), (0, 5, 0), (1 / 3, 3, 1)],
)  # fmt: skip
def test_how_many_must_pass(share: float, count: int, must: int) -> None:
    assert required(share, count) == must


@pytest.mark.parametrize(
    ("bad", "missing", "expected"),
    [
        (0, 0, PASS),
        (2, 0, PASS),
        (3, 0, FAIL),
        (0, 2, PASS),
        (0, 3, INVESTIGATE),
        (2, 1, INVESTIGATE),
        (3, 4, FAIL),
        (1, 1, PASS),
    ],
)
def test_a_proportion_allows_so_many_failures_and_no_more(bad: int, missing: int, expected: str) -> None:
    values: list[float | None] = [2.0] * bad + [None] * missing + [0.5] * (20 - bad - missing)
    found = judged(check(most=1, hold=0.9), rows(values))
    assert found.outcome == expected
    assert (found.count, found.failed, found.allowed) == (20 - missing, bad, 2)
    assert found.figure == pytest.approx((20 - bad - missing) / (20 - missing))
    assert found.bound == "at most 1 for 0.9 of 20: 18 must pass, 2 may fail"
    if expected == FAIL:
        assert found.note == f"{bad} of 20 are not within the bound"
    elif expected == INVESTIGATE:
        assert found.note == f"{missing} of 20 values were not judged"


def test_each_value_is_held_against_both_bounds() -> None:
    both = check(least=1, most=2, hold=0.5)
    assert [holds(both, v) for v in (0.99, 1, 1.5, 2, 2.01)] == [False, True, True, True, False]
    assert holds(check(most=0), 0.0) and holds(check(least=0), 0.0) and not holds(check(most=0), 1e-12)
    assert judged(both, rows([0.0, 1.5, 3.0])).outcome == FAIL
    assert judged(both, rows([0.0, 1.5])).outcome == PASS


# against an earlier report


@pytest.mark.parametrize(
    ("measure", "than", "now", "expected"),
    [
        (HIGHER_IS_BETTER, "", 0.85, PASS),
        (HIGHER_IS_BETTER, "", 0.8, PASS),
        (HIGHER_IS_BETTER, "", 0.79, FAIL),
        (HIGHER_IS_BETTER, "", 5.0, PASS),
        (LOWER_IS_BETTER, "", 0.95, PASS),
        (LOWER_IS_BETTER, "", 1.0, PASS),
        (LOWER_IS_BETTER, "", 1.01, FAIL),
        (LOWER_IS_BETTER, "", 0.0, PASS),
        ("deletion", "", 1.01, FAIL),
        ("deletion", "edges", 1.01, PASS),  # by how much it is better than that of edges: higher is better
        ("deletion", "edges", 0.79, FAIL),
    ],
)
def test_worse_by_looks_to_the_side_where_values_are_worse(
    measure: str, than: str, now: float, expected: str
) -> None:
    found = judged(check(measure, worse_by=0.1, than=than), rows([now] * 4), 0.9)
    assert found.outcome == expected and found.bound == "at most 0.1 worse than 0.9"


def test_worse_by_is_judged_by_the_interval_and_together_with_bounds() -> None:
    values = [0.0, 1.0] * 10
    assert outcome(values, 0.5, measure=HIGHER_IS_BETTER, worse_by=0.05) == INVESTIGATE
    assert outcome(values, 0.5, measure=HIGHER_IS_BETTER, worse_by=0.4) == PASS
    assert outcome(values, 1.5, measure=HIGHER_IS_BETTER, worse_by=0.4) == FAIL
    assert outcome([0.5], 0.5, measure=HIGHER_IS_BETTER, worse_by=0.4, least=0.6) == FAIL


@pytest.mark.parametrize(("least", "expected"), [(None, INVESTIGATE), (0.4, INVESTIGATE), (0.6, FAIL)])
def test_an_earlier_report_without_the_figure_judges_nothing(least: float | None, expected: str) -> None:
    found = judged(check(HIGHER_IS_BETTER, worse_by=0.1, least=least), rows([0.5]))
    assert found.outcome == expected
    if expected == INVESTIGATE:
        assert found.note == "not judged: the baseline's report has no such figure"
        assert found.bound.endswith("at most 0.1 worse than the baseline's")


@pytest.mark.parametrize(("measure", "expected"), [("insertion", 0.2), ("deletion", -0.2)])
def test_than_says_by_how_much_a_method_is_better(measure: str, expected: float) -> None:
    (found,) = [better(MEASURES[measure], Value(0.7), Value(0.5))]
    assert found.value == pytest.approx(expected) and found.note == "0.7 and 0.5"
    missing = better(MEASURES[measure], Value(0.7), Value(None, note="no mask"))
    assert missing.value is None and missing.note == "no mask"


# intervals


def test_an_interval_is_the_same_in_every_process() -> None:
    values = np.random.default_rng(5).standard_normal(3000)
    code = (
        "import numpy as np; from onnxscope.audit.judging import bootstrap, FIGURES\n"
        "print(bootstrap(np.random.default_rng(5).standard_normal(3000), FIGURES['median'], 7))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(bootstrap(values, FIGURES["median"], 7))
    assert bootstrap(values, FIGURES["median"], 8) != bootstrap(values, FIGURES["median"], 7)


def test_the_interval_of_a_check_depends_on_the_check_and_the_model_alone() -> None:
    values = rows(np.random.default_rng(0).random(12).tolist())
    one, again = (judged(check(most=1), values).interval for _ in range(2))
    other = judged(Check("another", LOWER_IS_BETTER, most=1), values).interval
    assert one == again != other


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random, hits = np.random.default_rng(1), 0
    for seed in range(200):
        low, high = bootstrap(random.normal(3.0, 2.0, 60), FIGURES["mean"], seed)
        hits += low <= 3.0 <= high
    assert INSIDE == 0.95 and 0.9 < hits / 200 < 0.98


def test_an_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    low, high = bootstrap(np.repeat([1.0, 0.0], [90, 10]), FIGURES["mean"], 0)
    spread = 1.96 * math.sqrt(0.9 * 0.1 / 100)
    assert (low, high) == (pytest.approx(0.9 - spread, abs=0.012), pytest.approx(0.9 + spread, abs=0.012))


# entries


@pytest.mark.parametrize(
    ("bounds", "worst"),
    [({"most": 4.0}, 9.0), ({"least": 1.0}, -3.0), ({"least": -1.0, "most": 8.5}, -3.0), ({"least": -2.9, "most": 3.0}, 9.0), ({}, 9.0)],
)  # fmt: skip
def test_the_worst_value_is_the_one_farthest_on_the_wrong_side(
    bounds: dict[str, float], worst: float
) -> None:
    found = worst_row(check("residual-norm", **bounds), rows([1.0, None, 9.0, -3.0]))
    assert found is not None and found.value == worst
    assert worst_row(check(), rows([None])) is None


def test_without_bounds_the_worst_value_is_that_on_the_worse_side() -> None:
    assert beyond(check(HIGHER_IS_BETTER), 0.2) > beyond(check(HIGHER_IS_BETTER), 0.3)
    assert beyond(check(LOWER_IS_BETTER), 0.2) < beyond(check(LOWER_IS_BETTER), 0.3)


def test_an_entry_names_the_worst_picture_and_its_layer() -> None:
    one = check(most=1)
    values = [*rows([0.5], layer="early"), *rows([3.0], "it is loud", "late")]
    made = entry(one, values, "", judged(one, values), None)
    assert made.layer == "late" and made.note.endswith("worst on 0.png: 3 (it is loud)")


def test_an_entry_about_times_tells_none() -> None:
    one = check("pass-time", most=1)
    values = rows([0.5, 3.0, 1.25])
    made = entry(one, values, "", judged(one, values), None)
    assert (made.figure, made.interval, made.count, made.failed) == (None, None, 0, 0)
    assert made.note == "its values are in audit.times.json"
    missing = rows([None], "no baseline is named")
    assert "no baseline is named" in entry(one, missing, "", judged(one, missing), None).note


def test_an_item_has_the_values_of_its_checks() -> None:
    item = Item("", None, None, "", {})
    assert Answer(item, {"values": {"3": [{"value": 1.0}]}}, "", {}).values(3) == [{"value": 1.0}]
    assert Answer(item, {}, "crashed", {}).values(3) == []


# the verdict


def entries_with(*outcomes: tuple[str, bool]) -> list[Entry]:
    return [
        Entry(audited.MODEL, f"check {k}", "m", outcome, 1, None, "", observe_only=observed)
        for k, (outcome, observed) in enumerate(outcomes)
    ]


BOTH = (FAIL, INVESTIGATE)


@pytest.mark.parametrize(
    ("entries", "stops_on", "verdict", "stops"),
    [
        ([(PASS, False)], BOTH, PASS, False),
        ([(PASS, False), (INVESTIGATE, False)], BOTH, INVESTIGATE, True),
        ([(PASS, False), (INVESTIGATE, False)], (FAIL,), INVESTIGATE, False),
        ([(FAIL, False), (INVESTIGATE, False)], BOTH, FAIL, True),
        ([(FAIL, False), (INVESTIGATE, False)], (INVESTIGATE,), FAIL, True),
        ([(FAIL, False)], (INVESTIGATE,), FAIL, False),
        ([(FAIL, False)], (), FAIL, False),
        ([(PASS, False), (FAIL, True), (INVESTIGATE, True)], BOTH, PASS, False),
        ([(FAIL, True)], BOTH, INVESTIGATE, True),
        ([], BOTH, INVESTIGATE, True),
        ([], (FAIL,), INVESTIGATE, False),
    ],
)
def test_the_verdict_is_the_worst_outcome_that_counts(
    entries: list[tuple[str, bool]], stops_on: tuple[str, ...], verdict: str, stops: bool
) -> None:
    found = audited.report(entries=entries_with(*entries), stops_on=stops_on)
    assert (found.verdict, found.stops) == (verdict, stops)
    assert sum(found.counts.values()) == len(entries)
