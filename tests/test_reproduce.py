"""The papers' figures with our own networks: each is drawn and told, and the biases behind a tensor are those of the network's rest."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxscope
from onnxscope.ask.ledger import ledgers

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import figures_scores
import findings
from photographs import as_images
from scenes import held_out

for needed in ("torch", "skimage", "sklearn"):
    pytest.importorskip(
        needed, reason="pip install '.[train]' brings the photographs, and what the networks learned with"
    )
reproduce, figures_images = map(importlib.import_module, ("reproduce", "figures_images"))

SAME = 1e-4  # a share of the score: sums of thousands of float32 terms in two orders


def at_hand(name: str) -> Path:
    path = findings.MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not in models/ yet")
    return path


@pytest.mark.parametrize("target", reproduce.TARGETS)
def test_a_target_writes_its_pictures_and_a_section(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PAIRS": 4, "TOL": 0.1, "ACROSS": 2, "GRID": 2, "LINE": 4}.items():  # quickly
        monkeypatch.setattr(figures_images, name, value)
    figures_images.upscaled.cache_clear()
    monkeypatch.setattr(sys, "argv", ["reproduce.py", target, "--count", "2", "--out", str(tmp_path / "new")])
    reproduce.main()
    report = (tmp_path / "new" / "REPORT.md").read_text(encoding="utf-8")
    if "Left out:" in report:
        pytest.skip(report.rpartition("Left out: ")[2].strip())
    written = {path.name for path in (tmp_path / "new").iterdir()} - {"REPORT.md"}
    assert written
    assert all(f"]({name})" in report for name in written)
    assert "| the paper says | asked here | found | verdict |" in report
    assert "nan" not in report


def test_what_is_absent_is_said_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(findings, "MODELS", tmp_path / "models")
    figures_scores.judged.cache_clear()
    findings.opened.cache_clear()
    monkeypatch.setattr(
        sys, "argv", ["reproduce.py", "table3", "figure7", "--count", "1", "--out", str(tmp_path)]
    )
    reproduce.main()
    said = capsys.readouterr().out
    assert "Left out: models/scenes_vgg.onnx is not there." in said
    assert "Left out: models/scenes_labels.onnx is not there." in said


def test_an_unknown_target_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "figure99"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "there is no target 'figure99'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name,tensor", [(name, tensors[len(tensors) // 2]) for name, tensors in figures_scores.PASSED.items()]
)
def test_the_bias_behind_a_tensor_is_the_residual_of_what_follows_it(name: str, tensor: str) -> None:
    model = at_hand(name)
    image = as_images(held_out(1)[0].pixels[None])
    x = onnxscope.load(model).freeze(image)
    top = int(x.output.argmax())
    order = [step.name for step in x.map.engine.scope.steps]
    behind = figures_scores.remaining(ledgers(x, [top])[0], order, tensor)
    rest = onnxscope.load(model, image=tensor).freeze(image).residual().reshape(-1)[top]
    assert abs(behind) > SAME * abs(x.output.reshape(-1)[top])
    np.testing.assert_allclose(behind, rest, rtol=0, atol=SAME * abs(x.output.reshape(-1)[top]))


def test_measures_of_pictures_tell_waves_stripes_and_checks() -> None:
    y, x = np.mgrid[:32, :32] + 0.5
    stripes, checks = np.cos(np.pi / 2 * (x + y)), np.cos(np.pi / 2 * x) * np.cos(np.pi / 2 * y)
    slow = np.cos(np.pi / 8 * x) * np.cos(np.pi / 8 * y)
    pictures = np.stack([np.stack([p] * 3) for p in (stripes, checks, slow)])
    np.testing.assert_allclose(
        figures_images.fineness(pictures), np.array([1 / 4, 1 / 4, 1 / 16]) * 2**0.5, rtol=1e-6
    )
    np.testing.assert_allclose(figures_images.direction(pictures), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(figures_images.coverage(pictures)[2], figures_images.WAVE, rtol=1e-6)
