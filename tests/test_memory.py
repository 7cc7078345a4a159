"""Estimates of memory: near what fresh processes take, and without taking it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.errors import OutOfMemory
from onnxscope.files import models
from onnxscope.run import memory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import measure_memory  # noqa: E402

STATUS = Path("/proc/self/status")
BUNDLED = {"tiny_scores": 32, "scenes_vgg": 96, "edsr_small": 200, "pixelshuffle_small_int8": 128}


@pytest.mark.skipif(
    not (STATUS.exists() and "VmHWM" in STATUS.read_text()),
    reason="this system does not tell a process's peak",
)
@pytest.mark.parametrize("name", BUNDLED)
def test_estimates_are_near_what_is_measured(name: str) -> None:
    for _, verb, peak, estimated, _ in measure_memory.compared(
        ROOT / "models" / f"{name}.onnx", BUNDLED[name]
    ):
        assert 1 / 1.5 <= float(estimated) / float(peak) <= 1.5, f"{verb}: {estimated} MB for {peak} MB"


def sized(side: int, channels: int = 3) -> bytes:
    nodes = [node("Conv", ["x", "w"], ["h"], pads=[1] * 4), node("Relu", ["h"])]
    x = {"x": np.broadcast_to(np.float32(0), (1, channels, side, side))}
    data: bytes = model(nodes, x, ["y"], weights={"w": randn(4, channels, 3, 3)}).SerializeToString()
    return data


def test_a_huge_image_is_only_estimated() -> None:
    """Two values of 4x20000x20000 floats exist at once, 12.8 GB, which no test could allocate."""
    found = onnxscope.doctor(sized(20_000)).memory
    assert found["plain"] > 12.8e9
    assert found["row"] > found["plain"]
    assert onnxscope.doctor(sized(8)).memory["row"] < 0.2e9


def test_parts_of_an_estimate() -> None:
    found = memory.estimate(models.load(sized(100)), {})
    assert found.bytes == sum(found.parts.values())
    assert found.parts["process"] > memory.PROCESS
    assert 4 * 4 * 100 * 100 < found.parts["freezing"] < 40 * 4 * 100 * 100
    assert found.parts["states"] == 4 * 100 * 100  # the Relu's mask, a byte for each element
    assert 432 < found.parts["weights"] / memory.ROW_COPIES < 3 * 432  # and some constants


def test_a_limit_is_refused_in_one_line() -> None:
    found = memory.Estimate(3_000_000_000, {})
    memory.check(found, 3_000_000_000, "'a.onnx'")
    with pytest.raises(
        OutOfMemory, match=r"^'a.onnx': it needs about 3.00 GB of memory, and the limit is 2.00 GB; "
    ):
        memory.check(found, 2_000_000_000, "'a.onnx'")


def test_doctor_tells_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(sized(8))
    assert cli.run(["doctor", str(tmp_path / "m.onnx"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["memory"]) == {"plain", "row"}
    assert cli.run(["doctor", str(tmp_path / "m.onnx")]) == 0
    assert "memory, about: 0.12 GB for a plain run, 0.12 GB for a row of F\n" in capsys.readouterr().out


def test_a_model_that_cannot_be_frozen_has_a_plain_run_only() -> None:
    found = onnxscope.doctor(model([node("Det", ["x"])], {"x": randn(2, 3, 3)}, ["y"]))
    assert not found.ok
    assert set(found.memory) == {"plain"}
