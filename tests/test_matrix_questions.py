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
