"""What a rule stumbles over is the model's fault if onnx or onnxruntime refuse the model, or else a fault of onnxscope."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import onnx
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.api import opening
from onnxscope.cli import main as cli
from onnxscope.errors import DEBUG, Fault
from onnxscope.rewriting.rules import table

X = {"x": randn(1, 3, 8, 8)}
VERBS = (["rewrite"], ["doctor"], ["verify"])


def network(channels: int = 3) -> onnx.ModelProto:
    """It is sound for three channels. For others, onnxruntime refuses to run it, and no rule looks at that."""
    nodes = [node("Relu", ["x"], ["h"], name="relu"), node("Conv", ["h", "w"], name="conv")]
    return model(nodes, X, ["y"], weights={"w": randn(4, channels, 3, 3)})


def stumble(*_: Any) -> NoReturn:
    raise KeyError("stumbled")


def saved(folder: Path, proto: onnx.ModelProto) -> str:
    onnx.save(proto, folder / "model.onnx")
    return str(folder / "model.onnx")


def ran(verb: Sequence[str], path: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any, str]:
    """The exit code, what is printed as JSON, and the one line of the error."""
    code, said = cli.run([*verb, path, "--json"]), capsys.readouterr()
    assert said.err.count("\n") == 1
    return code, json.loads(said.out), said.err


@pytest.fixture
def broken_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.RULES, "Relu", ("frozen", stumble))  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_of_ours_at_a_sound_model(verb, broken_relu, capsys, tmp_path):
    code, printed, line = ran(verb, saved(tmp_path, network()), capsys)
    assert code == 70 and printed["error"] in line
    assert line.startswith("onnxscope: error: node 'relu' (Relu: 1x3x8x8): fault of onnxscope in rewriting/")
    fault = printed["fault"]
    assert (fault["node"], fault["operator"], fault["shapes"]) == ("relu", "Relu", ["1x3x8x8"])
    assert (fault["exception"], fault["message"]) == ("KeyError", "'stumbled'")
    assert (
        fault["place"].startswith("rewriting/linearize.py:") and fault["versions"]["onnx"] == onnx.__version__
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_at_a_model_that_onnxruntime_does_not_run(verb, broken_relu, capsys, tmp_path):
    code, printed, line = ran(verb, saved(tmp_path, network(channels=5)), capsys)
    assert code == 2 and list(printed) == ["error"]
    assert line.startswith("onnxscope: error: node 'relu' (Relu: 1x3x8x8): onnx")


def test_a_fault_on_the_way_back(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(table.TRANSPOSE, "Conv", stumble)
    code, printed, _ = ran(["rewrite"], saved(tmp_path, network()), capsys)
    assert code == 70 and printed["fault"]["operator"] == "Conv"
    monkeypatch.undo()
    onnxscope.rewrite(network()).save(tmp_path / "scope.onnx")
    monkeypatch.setitem(table.TRANSPOSE, "Conv", stumble)
    with pytest.raises(Fault, match="KeyError"):
        opening.opened(tmp_path / "scope.onnx", method="guided")


def test_a_node_that_onnxscope_adds_and_onnx_refuses(monkeypatch):
    def ill_sized(f: Any, n: Any) -> Any:
        return f.b.MatMul(n.x0(), f.b.constant(randn(5, 5)))

    monkeypatch.setitem(table.RULES, "Relu", ("frozen", ill_sized))  # type: ignore[arg-type]
    with pytest.raises(Fault, match=r"fault of onnxscope in graph/inference.py.*Incompatible dimensions"):
        onnxscope.rewrite(network())


def test_a_fault_that_no_output_needs_is_a_note(monkeypatch):
    monkeypatch.setitem(table.RULES, "Abs", ("frozen", stumble))  # type: ignore[arg-type]
    nodes = [node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["z"], name="abs")]
    found = onnxscope.doctor(model(nodes, X, ["y", "z"]))
    assert found.ok
    assert next(s for s in found.steps if s.name == "abs").how == "unsupported"


def test_lifts_stumble_too(capsys, tmp_path):
    code, _, line = ran(
        ["rewrite"], saved(tmp_path, model([node("Cast", ["x"], name="N")], X, ["y"])), capsys
    )
    assert code == 2 and "node 'N' (Cast): onnx's checker refuses the model" in line


def test_tracebacks_of_faults(broken_relu, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(DEBUG, "1")
    assert cli.run(["doctor", saved(tmp_path, network())]) == 70
    assert "in stumble" in capsys.readouterr().err


def test_the_place_is_the_last_one_in_the_package():
    try:
        onnxscope.rewrite(3)  # type: ignore[arg-type]
    except TypeError as error:
        fault = Fault.of(error)
        assert fault.facts["place"].startswith("files/models.py:")
    assert Fault.of(KeyError("nowhere")).facts["place"] == "?"
