"""Clips and volumes: the pictures of a folder are one input."""

from __future__ import annotations

import json
from pathlib import Path

import forms
import numpy as np
import onnx
import pytest
from PIL import Image

from onnxscope.cli import main as cli
from onnxscope.errors import BadOption
from onnxscope.files import clips, pictures

LAYOUTS = {
    "channels first": (1, 3, 4, 8, 8),
    "frames first": (1, 4, 3, 8, 8),
    "channels last": (1, 4, 8, 8, 3),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six frames, and a text that is none."""
    (tmp_path / "frames").mkdir()
    rng = np.random.default_rng(3)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "frames" / f"{k}.png")
    (tmp_path / "frames" / "notes.txt").write_text("no picture")
    return tmp_path / "frames"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_are_spread_evenly_over_the_folder(layout: str, folder: Path) -> None:
    clip = clips.read(folder, LAYOUTS[layout])
    assert clip.shape == LAYOUTS[layout]
    frames = np.moveaxis(clip[0], 1 if layout == "channels first" else 0, 0)
    one = (1, 8, 8, 3) if layout == "channels last" else (1, 3, 8, 8)
    for frame, name in zip(frames, ("0", "1", "3", "4"), strict=True):
        np.testing.assert_array_equal(frame, pictures.read(folder / f"{name}.png", one)[0])


@pytest.mark.parametrize(
    ("shape", "cause"), [((1, 3, 8, 8), "is a clip"), ((1, 3, 9, 8, 8), "holds 6 pictures.* takes 9")]
)
def test_a_folder_that_does_not_fit_is_refused(shape: tuple[int, ...], cause: str, folder: Path) -> None:
    with pytest.raises(BadOption, match=cause):
        clips.read(folder, shape)


@pytest.mark.parametrize("verb", ["row", "ledger", "contributions", "tour"])
def test_verbs_take_a_folder_for_a_clip(
    verb: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(forms.plain((1, 3, 4, 8, 8)), tmp_path / "net.onnx")
    np.save(tmp_path / "clip.npy", clips.read(folder, (1, 3, 4, 8, 8)))
    found = []
    for image in (folder, tmp_path / "clip.npy"):
        options = ["--image", str(image), "-o", str(tmp_path / "out"), "--json"]
        options += ["--pixel", "2"] if verb == "row" else ["-k", "1"] if verb == "tour" else []
        assert cli.run([verb, str(tmp_path / "net.onnx"), *options]) == 0
        found.append(json.loads(capsys.readouterr().out))
    if verb == "ledger":
        assert found[0]["score"] == pytest.approx(found[1]["score"], rel=1e-5)
    assert found[0]["task"] == found[1]["task"]
