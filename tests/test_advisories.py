"""Doctor names installed packages with published faults."""

from __future__ import annotations

import json

import onnx
import pytest
from support import model, node, randn

from onnxscope.api import advisories
from onnxscope.cli import main as cli

SOUND = {
    "onnx": "1.23.2",
    "onnxruntime": "1.28.3",
    "onnxruntime-gpu": "1.31.1",
    "pillow": "13.0.0",
    "protobuf": "5.29.6",
}


def faults(monkeypatch: pytest.MonkeyPatch, **versions: str) -> list[str]:
    held = {**SOUND, **{name.replace("_", "-"): version for name, version in versions.items()}}
    monkeypatch.setattr(advisories, "installed", lambda package: held.get(package, ""))
    return advisories.known_faults()


def test_installed_versions_have_none():
    assert advisories.known_faults() == []


def test_what_is_old_is_named_with_the_version_to_install(monkeypatch):
    assert faults(monkeypatch) == []
    (line,) = faults(monkeypatch, pillow="12.2.0.post1")
    assert line.startswith("pillow 12.2.0.post1 has published faults: CVE-2026-59199")
    assert "CVE-2026-40192" not in line and line.endswith("; install 13.0.0 or newer")
    assert len(faults(monkeypatch, onnx="1.20.1", pillow="11.0.0")) == 2


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ("1.28.2", True),
        ("1.28.3", False),
        ("1.29.5", True),
        ("1.30.0", True),
        ("1.30.1", False),
        ("1.31.0", False),
    ],
)
def test_older_lines_may_be_mended_too(monkeypatch, version, bad):
    assert bool(faults(monkeypatch, onnxruntime_gpu=version)) == bad


def test_doctor_prints_them(monkeypatch, capsys, tmp_path):
    onnx.save(model([node("Relu", ["x"])], {"x": randn(1, 3, 8, 8)}, ["y"]), tmp_path / "m.onnx")
    faults(monkeypatch, protobuf="6.33.4")
    assert cli.run(["doctor", str(tmp_path / "m.onnx")]) == 0
    assert "note: protobuf 6.33.4 has published faults: CVE-2026-0994" in capsys.readouterr().out
    assert cli.run(["doctor", "--json", str(tmp_path / "m.onnx")]) == 0
    assert "CVE-2026-0994" in json.loads(capsys.readouterr().out)["notes"][-1]
