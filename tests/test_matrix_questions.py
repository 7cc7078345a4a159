"""A question in words, on every form of file: the value is that of the network, or the refusal holds."""

from __future__ import annotations

import json
from pathlib import Path

import forms
import numpy as np
import pytest

from onnxscope.cli import main as cli


@pytest.mark.parametrize("name", forms.FORMS)
def test_a_question_is_answered(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form = forms.FORMS[name](tmp_path)
    given = ["--image", form.image, *form.options, *form.reading, "-o", tmp_path / "out", "--json"]
    capsys.readouterr()
    code = cli.run(["row", str(form.model), "--ask", "mean", *map(str, given)])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert found["question"] == "mean"
    assert np.isclose(found["value"], form.scores.mean(), rtol=0.03)


@pytest.mark.parametrize("name", forms.FORMS)
def test_a_tour_answers_several_questions(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = forms.FORMS[name](tmp_path)
    given = ["--image", form.image, *form.options, *form.reading, "-o", tmp_path / "page.html", "--json"]
    capsys.readouterr()
    asked = ["--ask", "mean", "--ask", "score:2-score:1"]
    assert cli.run(["tour", str(form.model), *asked, *map(str, given)]) == 0
    found = json.loads(capsys.readouterr().out)
    scores = form.scores.reshape(-1).astype(float)
    values = [a["value"] for a in found["answers"]["answers"]]
    np.testing.assert_allclose(values, [scores.mean(), scores[2] - scores[1]], atol=0.03)
    assert found["proofs"]["ok"]
