"""The trained networks are what their cards and the guide say, do what they are for on data at hand, and can be trained again."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from networks import MODELS
from onnx import numpy_helper
from PIL import Image, ImageDraw
from support import run

import onnxscope

ROOT = Path(__file__).parents[1]
NAMES = sorted(card.stem for card in MODELS.glob("*.md") if not card.stem.endswith("_variants"))
CLASSIFIERS = ("scenes_vgg", "scenes_vgg_bn", "scenes_resnet")
UPSCALERS = {
    "edsr_small": 1.0,
    "pixelshuffle_small": 0.5,
}  # and by how many dB each beats bicubic at the least
SCENES = sorted(file for file in (MODELS / "scenes").glob("*.png") if not file.stem.endswith(".mask"))
LABELS = (MODELS / "scenes" / "labels.txt").read_text(encoding="utf-8").split()
SIZES = {"edsr_small": 24, "pixelshuffle_small": 24}  # of images, where a network leaves them free
MEGABYTES = 6
TRAIN_EXTRA = ("torch", "skimage", "sklearn")


def pixels(file: Path) -> np.ndarray:
    """[1, 3, height, width] in 0 to 1."""
    return np.asarray(Image.open(file).convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255


def mask(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file.with_suffix(".mask.png")))


def test_all_are_there_and_small_together() -> None:
    assert {*CLASSIFIERS, *UPSCALERS, "scenes_labels"} == set(NAMES)
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < MEGABYTES * 1e6


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_that_of_the_file(name: str) -> None:
    data, card = (MODELS / f"{name}.onnx").read_bytes(), (MODELS / f"{name}.md").read_text(encoding="utf-8")
    assert f"{len(data):,} bytes, sha256 `{hashlib.sha256(data).hexdigest()}`" in card
    assert f"python tools/train.py {name} models" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_networks_has_the_figures_of_the_card(name: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "onnxscope" / "guide").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    row_of_name = rf"^\| \[`{name}`\]\((?:\.\./)*models/{name}\.md\) \|.*\|$"
    (row,) = re.findall(row_of_name, text, re.MULTILINE)
    figures = re.findall(r"[0-9.]+ (?:dB|%)", row)
    card = (MODELS / f"{name}.md").read_text(encoding="utf-8")
    assert figures
    assert all(figure in card for figure in figures)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_names_the_objects(name: str) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    scores = run(model, {"image": np.concatenate([pixels(file) for file in SCENES])})["scores"]
    named = [LABELS[k] for k in scores.argmax(1)]
    right = sum(name == file.stem.split("_")[0] for name, file in zip(named, SCENES, strict=True))
    assert len(SCENES) == 2 * len(LABELS) == 20
    assert right >= 18, dict(zip([f.stem for f in SCENES], named, strict=True))


def test_the_generator_paints_the_objects() -> None:
    """Grey outside of the mask, and in one colour for most of the pixels inside, the same for both objects of a kind."""
    model = onnx.load(MODELS / "scenes_labels.onnx")
    painted = [run(model, {"image": 2 * pixels(file) - 1})["translated"][0] for file in SCENES]
    colours = np.stack([np.median(p[:, mask(file)], axis=1) for p, file in zip(painted, SCENES, strict=True)])
    outside = [np.abs(p[:, ~mask(file)]).mean() for p, file in zip(painted, SCENES, strict=True)]
    assert max(outside) < 0.1
    apart = np.linalg.norm(colours[::2, None] - colours[None, 1::2], axis=-1)
    assert sum(apart[k].argmin() == k for k in range(len(LABELS))) >= 8, apart.round(1)


def drawing(side: int) -> Image.Image:
    """Coloured polygons and lines with smooth edges."""
    random = np.random.default_rng(1)
    canvas = Image.new("RGB", (4 * side, 4 * side), (90, 120, 150))
    brush = ImageDraw.Draw(canvas)
    for _ in range(12):
        corners = [tuple(p) for p in random.integers(4 * side, size=(3, 2)).tolist()]
        brush.polygon(corners, fill=tuple(random.integers(256, size=3).tolist()))
        brush.line(corners, fill=tuple(random.integers(256, size=3).tolist()), width=8)
    return canvas.resize((side, side), Image.Resampling.BOX)


@pytest.mark.parametrize("name", UPSCALERS)
def test_an_upscaler_is_better_than_bicubic(name: str) -> None:
    whole = drawing(128)
    small = whole.resize((64, 64), Image.Resampling.BICUBIC)
    given = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 255
    enlarged = (
        run(onnx.load(MODELS / f"{name}.onnx"), {"image": given})["upscaled"][0].transpose(1, 2, 0) * 255
    )
    wanted = np.asarray(whole, np.float64)
    bicubic = np.asarray(small.resize(whole.size, Image.Resampling.BICUBIC))
    ours, theirs = (
        10 * np.log10(255**2 / np.mean((v - wanted) ** 2)) for v in (enlarged.clip(0, 255), bicubic)
    )
    assert ours >= theirs + UPSCALERS[name], f"{ours:.2f} dB and bicubic {theirs:.2f} dB"


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
@pytest.mark.parametrize("name", NAMES)
def test_a_trained_network_is_proved(name: str, policy: str) -> None:
    shapes = {"image": (1, 3, SIZES[name], SIZES[name])} if name in SIZES else {}
    image = pixels(SCENES[0])[..., : SIZES.get(name, 96), : SIZES.get(name, 96)]
    report = onnxscope.verify(MODELS / f"{name}.onnx", image_values=image, policy=policy, input_shapes=shapes)
    assert report.ok, [c for c in report.checks if not c.ok]


@pytest.mark.skipif(
    not all(importlib.util.find_spec(m) for m in TRAIN_EXTRA),
    reason="pip install '.[train]' brings what training needs",
)
@pytest.mark.parametrize("name", ["edsr_small", "scenes_resnet"])
def test_training_repeats_and_learns(tmp_path: Path, name: str) -> None:
    """Twice a few steps: the same bytes, a card that belongs to them, and the graph unchanged but for its weights."""
    for run_of in ("a", "b"):
        command = [sys.executable, ROOT / "tools" / "train.py", name, tmp_path / run_of, "--quick"]
        subprocess.run(command, check=True, capture_output=True)
    written = [(tmp_path / run_of / f"{name}.onnx").read_bytes() for run_of in ("a", "b")]
    assert written[0] == written[1]
    assert hashlib.sha256(written[0]).hexdigest() in (tmp_path / "a" / f"{name}.md").read_text(
        encoding="utf-8"
    )
    started = networks.edsr(24, 6, size=None) if name == "edsr_small" else networks.resnet(len(LABELS))
    trained = onnx.ModelProto.FromString(written[0])
    assert list(trained.graph.node) == list(started.graph.node)
    for before, after in zip(started.graph.initializer, trained.graph.initializer, strict=True):
        assert before.name == after.name
        moved = not np.array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))
        assert moved == (before.name != "residual_scale"), before.name
