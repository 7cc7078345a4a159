"""Proofs that can fail: what rounding hides is not judged, and the verdict says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.rewriting.rules import transposes
from onnxscope.run import claims, verify

X = {"x": randn(1, 3, 8, 8)}
CONV = node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1])


def network(*nodes: onnx.NodeProto, gain: float = 1.0, **weights: Any) -> onnx.ModelProto:
    return model([CONV, *nodes], X, ["y"], weights={"w": gain * randn(4, 3, 3, 3), **weights})


def saturated() -> onnx.ModelProto:
    """Its Relus are all closed: the output is 0 everywhere."""
    return network(node("Add", ["a", "b"], ["c"]), node("Relu", ["c"]), b=np.float32([-1000]))


def drowned() -> onnx.ModelProto:
    """What the image adds to the output is smaller than the rounding of the residual."""
    return network(node("Add", ["a", "b"]), gain=1e-5, b=np.float32([1000]))


def alive() -> onnx.ModelProto:
    return network(node("Relu", ["a"]))


@pytest.mark.parametrize("make", [saturated, drowned, alive])
def test_a_broken_rule_is_never_proved(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the way back the kernels of convolutions are not mirrored, as they would have to be."""
    assert onnxscope.verify(make()).ok
    monkeypatch.setattr(transposes, "flipped", lambda t, w, group: t.op("Transpose", w, perm=[1, 0, 2, 3]))
    report = onnxscope.verify(make())
    assert report.verdict != "proved"
    assert report.ok == (make is saturated)


def test_a_network_whose_decisions_are_all_closed_is_not_proved_without_exception() -> None:
    report = onnxscope.verify(saturated())
    assert report.ok
    assert report.verdict == "proved except F ≠ 0"
    assert report.exceptions == ["F ≠ 0"]


def test_the_runtimes_own_optimising_is_no_fault_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the original as written gives something else, the smaller of two differences counts."""
    written = verify.run_original

    def other(original: Any, feeds: Any, optimise: bool = False) -> Any:
        found = written(original, feeds, optimise=optimise)
        return found if optimise else {k: v + np.float32(0.01) for k, v in found.items()}

    monkeypatch.setattr(verify, "run_original", other)
    check = verify.base_check(onnxscope.rewrite(alive()), X)
    assert check.ok
    assert check.figure is not None
    assert check.figure < 1e-6


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_base_may_be_off_by_what_rounding_the_image_changes(
    monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """In float16, x − c keeps few digits where c is close to x: there no base can be proved by the last digits."""
    x = {"x": np.abs(randn(1, 3, 4, 4)).astype(np.float16) + np.float16(0.5)}
    proto = model(
        [node("Sub", ["x", "c"])],
        x,
        ["y"],
        weights={"c": x["x"] * np.float16(63 / 64 if cancelled else 0)},
        types={"y": onnx.TensorProto.FLOAT16},
    )
    scope, written = onnxscope.rewrite(proto), verify.run_original

    def other(original: Any, feeds: Any, optimise: bool = False) -> Any:
        found = written(original, feeds, optimise=optimise)
        return {k: (v + 0.01 * np.abs(v).max()).astype(np.float16) for k, v in found.items()}

    monkeypatch.setattr(verify, "run_original", other)
    check = verify.base_check(scope, x)
    assert check.outcome == ("ok" if cancelled else "FELL SHORT")


def test_what_rounding_hides_is_not_judged() -> None:
    report = onnxscope.verify(drowned())
    assert report.ok
    assert "frozen(x0) = y0" in report.exceptions
    assert {c.name: c for c in report.checks}["frozen(v) = F·v + r"].figure is not None


def test_a_claim_whose_noise_is_above_a_tenth_is_not_judged() -> None:
    assert claims.judged("claim", 0.05, 0.2).outcome == claims.NOT_JUDGED
    assert claims.judged("claim", 0.05, 0.02).outcome == "ok"
    assert claims.judged("claim", 0.5, 0.02).outcome == "FELL SHORT"


def test_where_noise_hides_the_output_another_image_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []
    floor = verify.noise_floor

    def counted(scope: Any, feeds: Any) -> float:
        tried.append(float(np.abs(feeds["x"]).max()))
        return 0.3 if len(tried) < 3 else floor(scope, feeds)

    monkeypatch.setattr(verify, "noise_floor", counted)
    report = onnxscope.verify(alive())
    assert report.verdict == "proved"
    assert len(tried) == 3
    assert tried[0] <= 1 and tried[1] <= 1 and 100 < tried[2] <= 255


def test_a_given_image_is_the_one_that_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "noise_floor", lambda scope, feeds: 0.3)
    monkeypatch.setattr(verify, "livelier", lambda scope, feeds: pytest.fail("another image was tried"))
    assert onnxscope.verify(alive(), image_values=X["x"]).verdict != "proved"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (2, 3)])
def test_a_wrong_number_is_a_difference_also_where_it_is_the_only_one(shape: tuple[int, ...]) -> None:
    assert claims.relative(np.full(shape, 3.0), np.full(shape, 2.0)) == 0.5
    assert claims.relative(np.full(shape, 2.0), np.full(shape, 2.0)) == 0


def test_nothing_differs_where_there_are_no_numbers() -> None:
    assert claims.relative(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def test_the_verdict_stands_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(saturated(), tmp_path / "s.onnx")
    assert cli.run(["verify", str(tmp_path / "s.onnx"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["exceptions"]) == ("proved except F ≠ 0", ["F ≠ 0"])
