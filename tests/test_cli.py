"""The command line: what it prints, what it returns, and that the guide has the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from PIL import Image

from onnxscope.api import opening
from onnxscope.cli import main as cli
from onnxscope.cli import options
from onnxscope.errors import DEBUG, REPORT, BadOption, NotProved
from onnxscope.files import pictures
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.steps import Policy

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "tiny_scores.onnx"
VERBS = typer.main.get_command(cli.app).commands

sys.path.insert(0, str(ROOT / "tools"))
import generate  # noqa: E402
import make_model  # noqa: E402


@pytest.fixture
def scope(tmp_path):
    path = tmp_path / "tiny.scope.onnx"
    assert cli.run(["rewrite", str(MODEL), "-o", str(path)]) == 0
    return path


def answer(capsys, *arguments):
    """The exit code and the JSON that a verb prints."""
    capsys.readouterr()
    code = cli.run([*(str(a) for a in arguments), "--json"])
    said = capsys.readouterr()
    assert not said.err
    return code, json.loads(said.out)


def test_rewrite_prints_what_it_did(capsys, scope):
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "image",
        "output",
        "policy",
        "method",
        "active",
        "note",
        "written",
    ]
    assert str(scope) in lines[-1] and "before the final Softmax" in lines[5]
    onnx.checker.check_model(scope, full_check=True)


def test_rewrite_writes_beside_the_model_by_default(capsys, tmp_path):
    (tmp_path / "net.onnx").write_bytes(MODEL.read_bytes())
    code, facts = answer(
        capsys, "rewrite", tmp_path / "net.onnx", "--policy", "taylor", "--policy-for", "Relu=freeze"
    )
    assert (
        code == 0
        and facts["written"] == str(tmp_path / "net.scope.onnx")
        and facts["policy"] == "taylor,Relu=freeze"
    )
    assert facts["nodes"]["frozen"] > 0 and facts["bytes"] == (tmp_path / "net.scope.onnx").stat().st_size


def test_doctor(capsys):
    code, found = answer(capsys, "doctor", MODEL)
    assert code == 0 and found["ok"] and not found["problems"]
    assert {step["op"]: step["how"] for step in found["steps"]}["Conv"] == "linear"
    assert cli.run(["doctor", str(MODEL)]) == 0
    table = capsys.readouterr().out
    assert all(step["name"] in table for step in found["steps"]) and table.endswith("it can be rewritten\n")


def test_doctor_says_what_stops_a_rewrite(capsys, monkeypatch):
    monkeypatch.setattr(
        opening,
        "doctor",
        lambda model, **_: opening.Diagnosis((), "x", "y", "scores", (), (), ("node 'n': no rule",)),
    )
    code, found = answer(capsys, "doctor", MODEL)
    assert code == 1 and not found["ok"]
    assert cli.run(["doctor", str(MODEL)]) == 1
    assert "problem: node 'n': no rule" in capsys.readouterr().out


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_verify_a_model(capsys, policy):
    code, report = answer(capsys, "verify", MODEL, "--policy", policy, "--seed", 7)
    assert code == 0 and report["ok"] and all(c["ok"] for c in report["checks"])


def test_verify_a_scope_on_a_picture(capsys, scope, tmp_path):
    Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(tmp_path / "cat.png")
    assert cli.run(["verify", str(scope), "--image", str(tmp_path / "cat.png")]) == 0
    assert capsys.readouterr().out.endswith("\nproved except base equals original\n")


def test_a_check_that_fell_short(capsys, monkeypatch):
    short = opening.Check("frozen(x0) = y0", float("inf"), 1e-5, 0.0, False)
    monkeypatch.setattr(opening, "verify", lambda model, **_: opening.Report((short,)))
    code, report = answer(capsys, "verify", MODEL)
    assert code == 1 and report["checks"][0]["figure"] is None
    assert cli.run(["verify", str(MODEL)]) == 1
    assert "FELL SHORT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (NotProved("differs", where="base"), 1, "onnxscope: error: base: differs\n"),
        (BadOption("two\nlines"), 2, "onnxscope: error: two lines\n"),
        (KeyboardInterrupt(), 130, "onnxscope: error: interrupted\n"),
        (
            MemoryError(),
            2,
            "onnxscope: error: there is not enough memory; give smaller sizes with --input-shape, or use a larger machine\n",
        ),
        (
            RecursionError(),
            2,
            "onnxscope: error: the model's functions or bodies are nested too deeply; export it without them\n",
        ),
        (
            ZeroDivisionError("a\nb"),
            70,
            f"onnxscope: error: fault of onnxscope in cli/PLACE (ZeroDivisionError: a b); {REPORT}\n",
        ),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, tmp_path, raised, code, line):
    def failing(model, **_):
        raise raised

    monkeypatch.setattr(opening, "rewrite", failing)
    assert cli.run(["rewrite", str(MODEL), "-o", str(tmp_path / "out.onnx")]) == code
    said = capsys.readouterr()
    assert (
        re.sub(r"cli/\S+:\d+", "cli/PLACE", said.err.lstrip("\n")) == line
        and not said.out
        and not list(tmp_path.iterdir())
    )


def test_machines_get_errors_as_json(capsys):
    for arguments in (["rewrite", "absent.onnx"], ["nosuch"]):
        assert cli.run([*arguments, "--json"]) == 2
        said = capsys.readouterr()
        assert said.err == f"onnxscope: error: {json.loads(said.out)['error']}\n"


def test_tracebacks_are_for_those_who_ask(capsys, monkeypatch):
    monkeypatch.setenv(DEBUG, "1")
    monkeypatch.setattr(opening, "doctor", lambda model, **_: 1 // 0)
    assert cli.run(["doctor", str(MODEL)]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ('"$@" | head -n 1; exit ${PIPESTATUS[0]}', 0, ""),
        ('"$@" | true; exit ${PIPESTATUS[0]}', 0, ""),
        (
            '"$@" > /dev/full',
            2,
            "onnxscope: error: standard output: cannot be written (No space left on device); make room there\n",
        ),
        ('"$@" >&-', 0, ""),
    ],
)
def test_output_that_no_one_reads(shell, code, said):
    program = [sys.executable, "-c", "from onnxscope.cli.main import main; main()", "doctor", str(MODEL)]
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_a_scope_takes_no_options(capsys, scope):
    assert cli.run(["verify", str(scope), "--policy", "taylor"]) == 2
    assert "is a scope, whose sizes and policies cannot be changed" in capsys.readouterr().err


def test_names_may_hold_colons_and_equal_signs():
    assert options.named_shape("input:0:1x128x128x3") == ("input:0", (1, 128, 128, 3))
    assert options.named_policy("a=b/Relu=taylor") == ("a=b/Relu", "taylor")


def test_options_reach_the_api(monkeypatch):
    given = {}
    monkeypatch.setattr(
        opening,
        "doctor",
        lambda model, **kw: given.update(kw) or opening.Diagnosis((), "x", "y", "scores", (), (), ()),
    )
    cli.run(
        [
            "doctor",
            "m.onnx",
            "--input-shape",
            "a:1x2",
            "--input-shape",
            "b:3",
            "--image-input",
            "a",
            "--output",
            "o",
            "--policy",
            "taylor",
            "--policy-for",
            "Relu=freeze",
            "--opaque",
            "TopK",
            "--opaque",
            "n",
        ]
    )
    assert given["options"] == Options(
        {"a": (1, 2), "b": (3,)}, "a", "o", Policy("taylor", {"Relu": "freeze"}), frozenset({"TopK", "n"})
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(capsys, verb):
    assert cli.run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example:\n    onnxscope {verb} " in text
    assert all(option.help for option in VERBS[verb].params)


def test_help_and_version(capsys):
    assert cli.run(["--help"]) == 0
    assert all(f"\n  {verb} " in capsys.readouterr().out for verb in [next(iter(VERBS))])
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("onnxscope 0.")


@pytest.mark.parametrize(
    ("shape", "corner"), [((1, 3, 4, 6), (0, slice(None), 0, 0)), ((1, 5, 6, 3), (0, 0, 0, slice(None)))]
)
def test_pictures_take_the_shape_of_the_input(tmp_path, shape, corner):
    Image.new("RGB", (60, 40), (255, 51, 0)).save(tmp_path / "red.png")
    pixels = pictures.read(tmp_path / "red.png", shape)
    assert pixels.shape == shape and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[corner], [1, 0.2, 0])


def test_sixteen_bits_are_not_cut_off(tmp_path):
    Image.fromarray(np.full((8, 8), 257 * 51, np.uint16)).save(tmp_path / "grey.png")
    np.testing.assert_allclose(pictures.read(tmp_path / "grey.png", (1, 1, 5, 5)), 0.2)


def test_pictures_become_grey_for_one_channel(tmp_path):
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "white.jpg")
    assert pictures.read(tmp_path / "white.jpg", (1, 1, 5, 5)).min() > 0.99
    with pytest.raises(BadOption, match="a picture does not fit the model's input of 1x12x5x5"):
        pictures.read(tmp_path / "white.jpg", (1, 12, 5, 5))


def test_the_generated_parts_of_the_guide_are_up_to_date():
    assert not generate.out_of_date(), "run python tools/generate.py"


def test_every_frozen_operator_says_how():
    assert [op for op, (how, rule) in RULES.items() if how == "frozen" and not (rule and rule.__doc__)] == []


def test_the_small_model_is_reproduced_byte_for_byte():
    assert make_model.tiny_scores().SerializeToString(deterministic=True) == MODEL.read_bytes()
