"""tools/diff: what is measured on pairs of exports, and with which pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import MODELS
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from diff import completeness, costs, given, pictures, reverting
from measuring import Failed, stage

from onnxscope.api.rows import Row

A, B = MODELS / "scenes_resnet.onnx", MODELS / "scenes_resnet_int8.onnx"
SCENES = MODELS / "scenes"
ROW = Row("one.png", "score:1", "", -2.0, -1.0, 1e-6, False, 0.0, 1e-5, None, None, None, [])


# pictures


def test_pictures_that_are_missing_are_pieces_of_those_given(tmp_path: Path) -> None:
    given_ones = pictures.gathered([SCENES / "car_0.png", SCENES / "boat_0.png"], None, A, tmp_path)
    assert [p.name for p in given_ones] == ["car_0.png", "boat_0.png"]
    more = pictures.gathered(given_ones, 7, A, tmp_path)
    assert more[:2] == given_ones and len({p.read_bytes() for p in more}) == 7
    for made in more[2:]:
        with Image.open(made) as opened:
            assert all(48 <= side <= 96 for side in opened.size)
    assert pictures.gathered([SCENES], 3, A, tmp_path) == pictures.pictures_in(SCENES)[:3]


def test_without_pictures_there_is_noise_of_the_models_size(tmp_path: Path) -> None:
    first, second = pictures.gathered([], 2, MODELS / "tiny_scores.onnx", tmp_path)
    pixels = [np.asarray(Image.open(p), np.float64) for p in (first, second)]
    assert all(p.shape == (32, 32, 3) for p in pixels) and not np.array_equal(*pixels)
    power = np.abs(np.fft.rfft2(pixels[0].mean(2))) ** 2
    assert power[1:4, 1:4].mean() > 10 * power[12:16, 12:16].mean()


# pairs


def test_a_list_of_pairs_is_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list"
    file.write_text("a.onnx 'b of a.onnx'\n\n/c.onnx d.onnx\n")
    monkeypatch.setattr(sys, "argv", ["tool", "--pairs", str(file), "x.png", "--count", "3"])
    found = given.given("")
    expected = [("a.onnx", "b of a.onnx"), ("/c.onnx", "d.onnx")]
    assert found.pairs == [(tmp_path / a, tmp_path / b) for a, b in expected]
    assert (found.pictures, found.count) == ([Path("x.png")], 3)
    file.write_text("a.onnx\n")
    with pytest.raises(SystemExit, match="two names"):
        given.given("")
    monkeypatch.setattr(sys, "argv", ["tool", "a.onnx"])
    with pytest.raises(SystemExit):
        given.given("")
    assert "name A and B" in capsys.readouterr().err


# completeness


def test_a_remainder_is_compared_with_the_score_and_with_the_noise() -> None:
    assert completeness.excess(ROW) == pytest.approx(0.5)
    assert completeness.excess(replace(ROW, noise=5e-5)) == pytest.approx(0.2)
    assert completeness.excess(replace(ROW, remainder=float("nan"))) == np.inf
    rows = [ROW, replace(ROW, image="two.png", remainder=-1e-4), ROW]
    assert completeness.cells("pair", rows)[:6] == ["pair", "score:1", "3", "5", "1", "two.png"]


def test_two_exports_leave_nothing_and_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{A} {B}\n{A} missing.onnx\n")
    tool = str(Path(completeness.__file__))
    arguments = ["--pairs", str(tmp_path / "list"), str(SCENES), "--count", "3"]
    done = subprocess.run([sys.executable, tool, *arguments], capture_output=True, text=True, timeout=120)
    (line,) = done.stdout.splitlines()[2:]
    pair, _, images, largest, above, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    assert (pair, images, above) == ("scenes_resnet / _int8", "3", "0") and float(largest) < 1
    assert done.returncode == 1 and "missing.onnx" in done.stderr


# putting layers back


def test_effects_below_one_percent_are_equal() -> None:
    entries = [
        {"a": "w", "predicted": -0.5, "measured": -0.4},
        {"a": "x", "predicted": -0.2, "measured": -0.1},
    ]
    entries += [{"a": f"{k}", "predicted": k * 1e-3, "measured": -k * 1e-3} for k in range(4)]
    effects = reverting.Effects.of([*entries, {"a": "of A alone", "predicted": 1.0}], 1.0)
    assert effects.predicted.size == 6
    assert effects.correlation(0.01) == pytest.approx(1)
    assert effects.correlation(0) < 0.7
    assert effects.top() == (2, 3)
    assert np.isnan(reverting.Effects.of(entries, 1.0).correlation(1.0))


def test_every_layer_is_put_back() -> None:
    effects, alone, predicting, measuring = reverting.measured(A, B, [SCENES / "car_0.png"], "distance")
    assert effects.predicted.size > 15 and effects.difference > 0 and min(predicting, measuring) > 0
    assert effects.measured.min() < -0.01 * effects.difference
    assert alone.predicted.size == effects.predicted.size


def test_an_error_alone_changes_a_score_as_predicted() -> None:
    """All other layers keep their errors, so that nothing is rounded anew."""
    pictures = sorted(SCENES.glob("*_[01].png"))[:6]
    _, alone, _, _ = reverting.measured(A, B, pictures, "score:3")
    assert alone.correlation(0.0) > 0.95 and alone.top()[0] >= 2


# costs


def test_a_further_image_is_timed_beside_plain_onnxruntime() -> None:
    text = costs.times(stage(costs.STAGES, "times", A, B, 0))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    names = ["plain A", "plain B", "whole row", "A", "B", "ledger", "linear parts"]
    assert [row[0] for row in rows] == names and rows[0][2] == "1.00"
    assert float(rows[2][1]) > float(rows[5][1]) > 0


def test_memory_is_measured_on_few_and_on_many_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "FEW", 2)
    monkeypatch.setattr(costs, "MANY", 4)
    few, many = costs.memory(A, B, tmp_path).splitlines()[2:]
    assert len(list((tmp_path / "4").glob("*.png"))) == 4
    assert "(1.00×)" in few and json.loads(many.split("|")[2].split()[0]) > 20
    with pytest.raises(Failed, match=r"peak: .*missing"):
        stage(costs.STAGES, "peak", A, tmp_path / "missing.onnx", tmp_path / "2")
