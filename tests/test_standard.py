"""The standard's own cases, and the models that PyTorch wrote for it: every one passes or is a known gap with a reason."""

from __future__ import annotations

import re

import pytest
import standard
from gaps import GAPS, NAMED, NEVER_NAMED

from onnxscope.rewriting.steps import POLICIES

SETS = {"node": standard.node_cases, "converted": standard.converted_cases}
CASES = [(kind, name) for kind, cases in SETS.items() for name in cases()]


def gap(name: str) -> str:
    """Why a case is known not to pass, if it is."""
    return next((reason for pattern, reason in GAPS.items() if re.fullmatch(pattern, name)), "")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", [name for _, name in CASES])
def test_a_case_passes_or_is_a_known_gap(name: str, policy: str) -> None:
    outcome = standard.outcome(name, policy)
    reason = gap(name)
    if not reason:
        assert outcome.status == "passed", outcome.detail
    elif reason.startswith(policy) or not reason.startswith(POLICIES):
        assert outcome.status != "passed", f"a known gap has closed, strike it out: {reason}"
        assert outcome.status == "refused" or reason.startswith(POLICIES), (
            f"fails instead of being refused: {outcome.detail}"
        )


@pytest.mark.parametrize("kind", SETS)
def test_of_the_operators_promised_almost_all_cases_pass(kind: str) -> None:
    promised = [name for name in SETS[kind]() if standard.operators(name) <= NAMED]
    passing = [name for name in promised if not gap(name)]
    assert len(passing) >= 0.96 * len(promised), f"{len(passing)} of {len(promised)}"


def test_every_gap_is_a_case_and_has_a_reason() -> None:
    for pattern, reason in GAPS.items():
        assert reason, pattern
        assert any(re.fullmatch(pattern, name) for _, name in CASES), f"no case is called {pattern}"


def test_the_operators_not_promised_are_listed() -> None:
    everything = {op for _, name in CASES for op in standard.operators(name)}
    assert everything <= NAMED | NEVER_NAMED, everything - NAMED - NEVER_NAMED
