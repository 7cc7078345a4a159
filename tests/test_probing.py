"""The verbs that ask F something: what they write and show, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from PIL import Image
from support import randn

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.cli import options
from onnxscope.files import pictures, preprocessing

VERBS = {
    "residual": [],
    "column": ["--pixel", "0,1,2"],
    "row": ["--pixel", "2,0,5"],
    "project": [],
    "svd": ["-k", "2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small upscaler with free sizes, a photograph, and the classifier of the project."""
    folder = tmp_path_factory.mktemp("probing")
    onnx.save(networks.edsr(features=4, blocks=1, size=None), folder / "up.onnx")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)).save(folder / "photo.png")
    return folder


def ask(folder: Path, verb: str, *options: str) -> int:
    return cli.run([verb, str(folder / "up.onnx"), "--image", str(folder / "photo.png"), *options])


@pytest.fixture
def answer(folder: Path) -> onnxscope.LinearInterpreter:
    """The same by the Python API."""
    image = pictures.read(folder / "photo.png", (1, 3, 8, 6))
    return onnxscope.load(folder / "up.onnx", input_shapes={"image": image.shape}).freeze(image)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_writes_arrays_and_a_picture_and_prints_json(
    verb: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert ask(folder, verb, *VERBS[verb], "-o", str(tmp_path / "a.b"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["written"] == [str(tmp_path / f"a.b.{kind}") for kind in ("npz", "png")]
    assert (facts["device"], facts["precision"]) == ("cpu", "float32")
    saved = np.load(tmp_path / "a.b.npz", allow_pickle=False)
    about = json.loads(str(saved["about"]))
    assert about["verb"] == verb
    assert about["sizes"] == {"image": [1, 3, 8, 6]}
    assert preprocessing.Preprocess.from_dict(about["preprocessing"]).layout == "nchw"
    assert len(about["model_sha256"]) == len(about["file_sha256"]) == 64
    with Image.open(tmp_path / "a.b.png") as picture:
        assert picture.mode == "RGB"


def test_the_arrays_are_what_the_api_gives(
    folder: Path, tmp_path: Path, answer: onnxscope.LinearInterpreter
) -> None:
    want = {
        "residual": answer.residual(),
        "column": answer.columns([(0, 1, 2)]),
        "row": answer.rows([(2, 0, 5)]),
        "project": answer.project(answer.image),
    }
    names = {"residual": "residual", "column": "columns", "row": "rows", "project": "projection"}
    for verb, value in want.items():
        assert ask(folder, verb, *VERBS[verb], "-o", str(tmp_path / "a")) == 0
        saved = np.load(tmp_path / "a.npz")
        np.testing.assert_array_equal(saved[names[verb]], value)
        np.testing.assert_array_equal(saved["image"], answer.image)
        np.testing.assert_array_equal(saved["output"], answer.output)


def test_the_residual_says_its_share_of_the_output(
    folder: Path, tmp_path: Path, answer: onnxscope.LinearInterpreter, capsys: pytest.CaptureFixture
) -> None:
    assert ask(folder, "residual", "-o", str(tmp_path / "r"), "--json") == 0
    share = np.linalg.norm(answer.residual()) / np.linalg.norm(answer.output)
    assert json.loads(capsys.readouterr().out)["share"] == pytest.approx(float(share), rel=1e-4)


def test_an_output_is_carried_back(folder: Path, tmp_path: Path, answer: onnxscope.LinearInterpreter) -> None:
    u = randn(*answer.output.shape)
    np.save(tmp_path / "u.npy", u)
    assert (
        ask(folder, "project", "--back", "--probe", str(tmp_path / "u.npy"), "-o", str(tmp_path / "a.npz"))
        == 0
    )
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["projection"], answer.back_project(u))


def test_svd_says_all_that_it_took(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, answer: onnxscope.LinearInterpreter
) -> None:
    assert ask(folder, "svd", "-k", "3", "-o", str(tmp_path / "a"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"sigma", "residual", "passes_forward", "passes_transpose", "seconds", "device"} <= set(facts)
    np.testing.assert_allclose(facts["sigma"], np.linalg.svd(answer.dense(), compute_uv=False)[:3], rtol=1e-4)
    again = [str(tmp_path / "b"), "--start", str(tmp_path / "a.npz")]
    assert ask(folder, "svd", "-k", "3", "-o", *again, "--json") == 0
    assert json.loads(capsys.readouterr().out)["passes_forward"] <= facts["passes_forward"]


def test_svd_out_of_budget_writes_what_it_has_and_falls_short(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert ask(folder, "svd", "-k", "8", "--passes", "24", "-o", str(tmp_path / "a"), "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["converged"] < 8
    assert facts["stopped"]
    assert len(np.load(tmp_path / "a.npz")["sigma"]) == len(facts["sigma"]) > 0


def test_svd_that_finds_nothing_says_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert ask(folder, "svd", "--passes", "1", "-o", str(tmp_path / "a"), "--json") == 1
    assert json.loads(capsys.readouterr().out)["stopped"] == "out of passes"
    assert np.load(tmp_path / "a.npz")["v"].shape == (0, 3, 8, 6)


def test_svd_interrupted_writes_what_it_has(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = iter(range(30))

    def interrupted(
        self: object, block: np.ndarray, shape: tuple[int, ...], call=onnxscope.run.engine.Pass.__call__
    ) -> np.ndarray:
        if next(passes, None) is None:
            raise KeyboardInterrupt
        return call(self, block, shape)

    monkeypatch.setattr(onnxscope.run.engine.Pass, "__call__", interrupted)
    assert ask(folder, "svd", "-k", "8", "-o", str(tmp_path / "a")) == 130
    said = capsys.readouterr()
    assert "onnxscope: error: interrupted" in said.err
    assert len(np.load(tmp_path / "a.npz")["sigma"]) > 0


@pytest.mark.parametrize(("side", "suffix"), [("columns", ".npy"), ("rows", ".npy"), ("rows", ".zarr")])
def test_all_of_f(
    side: str, suffix: str, folder: Path, tmp_path: Path, answer: onnxscope.LinearInterpreter
) -> None:
    if suffix == ".zarr":
        pytest.importorskip("zarr", reason="zarr is not installed")
    assert ask(folder, "filter", "--side", side, "-o", str(tmp_path / f"f{suffix}")) == 0
    if suffix == ".npy":
        f = np.load(tmp_path / "f.npy")
        dense = answer.dense().T if side == "columns" else answer.dense()
        np.testing.assert_allclose(f.reshape(dense.shape), dense, atol=1e-5)
    else:
        import zarr

        np.testing.assert_array_equal(zarr.open(tmp_path / "f.zarr")[1, 2, 3], answer.row((1, 2, 3))[0])


def test_a_saved_scope_answers_too(folder: Path, tmp_path: Path, answer: onnxscope.LinearInterpreter) -> None:
    answer.map.engine.scope.save(tmp_path / "up.scope.onnx")
    assert cli.run(["residual", str(tmp_path / "up.scope.onnx"), "--image", str(folder / "photo.png")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "up.scope.residual.npz")["residual"], answer.residual())


def test_presets_reach_the_image(folder: Path, tmp_path: Path) -> None:
    assert ask(folder, "residual", "--preset", "raw", "-o", str(tmp_path / "a")) == 0
    pixels = np.asarray(Image.open(folder / "photo.png"), np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["image"][0], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["column", "--pixel", "3,0,0"], "pixel 3,0,0 lies outside of 3x8x6 (channel, y, x)"),
        (["row", "--pixel", "0,16,0"], "pixel 0,16,0 lies outside of 3x16x12"),
        (["column", "--pixel", "a"], "'a' does not name a pixel"),
        (["svd", "-k", "145"], "-k"),
        (["svd", "--tol", "1e-9"], "--tol"),
        (["residual", "--device", "npu"], "there is no device 'npu'"),
        (["residual", "--memory", "much"], "must be a number of bytes with a unit, not 'much'"),
        (["column", "--pixel", "0,0,0", "--memory", "1kB"], "the budget is"),
        (["residual", "--preset", "vgg"], "there is no preset 'vgg'"),
        (["residual", "--image", "none.png"], "cannot be read"),
        (["svd", "--start", "none.npz"], "is not a result of 'onnxscope svd'"),
        (["svd", "-o", "no/where"], "no/where.npz"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(folder, *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_result_overwrites_what_it_is_made_from(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = (folder / "photo.png").read_bytes()
    assert ask(folder, "residual", "-o", str(folder / "photo")) == 2
    assert "photo.png'" in capsys.readouterr().err
    assert (folder / "photo.png").read_bytes() == before
    assert not (folder / "photo.npz").exists()


def test_nan_in_an_array_file_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 3, 8, 6), np.nan))
    assert ask(folder, "residual", "--image", str(tmp_path / "x.npy")) == 2
    assert "holds NaN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"), [("2GB", 2_000_000_000), ("1.5 GiB", 3 << 29), ("500", 500), ("64k", 64_000)]
)
def test_sizes_of_memory(text: str, count: int) -> None:
    assert options.parse_bytes(text) == count


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        ([], ""),
        ([1, 2.5, "a"], "1, 2.5, a"),
        ([(1, 2.5), (3,)], "1, 2.5 | 3"),
    ],
)
def test_how_facts_are_shown(value: Any, shown: str) -> None:
    assert cli.probing.text(value) == shown


def test_the_help_names_every_preset(capsys: pytest.CaptureFixture) -> None:
    assert cli.run(["residual", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(preset in said for preset in preprocessing.PRESETS)
