"""Real networks: ten as their authors exported them, where they are at hand, and nine classics with seeded random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import light
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import onnxscope
from onnxscope.files.pixels import flat_index, pixel_at
from onnxscope.rewriting.scope import COTANGENT, FROZEN, PROBE, TRANSPOSED
from onnxscope.rewriting.steps import POLICIES
from onnxscope.run.single_runs import session

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "models"
SHAPES = (
    {m["name"]: m["run_in"] for m in json.loads((SHARED / "index.json").read_text())}
    if SHARED.is_dir()
    else {}
)
NAMES = (
    "mnist_cntk_op8",
    "cifar10_winml_op10",
    "superres_espcn_d2s_op15",
    "style_fast_op12",
    "style_smalleff48_op18",
    "det_ultraface_slim320_simp_op9",
    "det_blazeface_front_op12",
    "seg_selfie_landscape_op9",
    "ppocr_mobile_v2_cls_op14",
    "lowlight_sci_op11",
)
ROOM = 1.05, 2048  # an artifact's bytes: per byte of the source, and per node of it


def shared(name: str) -> tuple[Path, dict[str, list[int]]]:
    path = SHARED / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} lies in a folder beside the project that is not at hand")
    return path, SHAPES[path.name]


@pytest.fixture(scope="module")
def light_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("light") / f"{request.param}.onnx"
    onnx.save(light.light_model(request.param), path)
    return path


def prove(path: Path, shapes: dict[str, list[int]], policy: str, folder: Path) -> None:
    """The artifact keeps its contract, and every proof holds."""
    scope = onnxscope.rewrite(path, input_shapes=shapes, policy=policy)
    written = scope.save(folder / "model.scope.onnx")
    onnx.checker.check_model(str(written), full_check=True)
    saved = onnx.load(written)
    assert {n.domain for n in saved.graph.node} == {""}
    assert {o.domain for o in saved.opset_import} == {""}
    source = onnx.load(path)
    assert written.stat().st_size <= ROOM[0] * path.stat().st_size + ROOM[1] * len(source.graph.node)
    own = {i.name for i in source.graph.input} - {t.name for t in source.graph.initializer}
    assert {i.name for i in saved.graph.input} == {*own, PROBE, COTANGENT}
    assert [o.name for o in saved.graph.output] == [
        *(o.name for o in source.graph.output),
        FROZEN,
        TRANSPOSED,
    ]
    del saved, source
    report = onnxscope.verify(scope)
    assert report.ok, [c for c in report.checks if not c.ok]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_published_models(name: str, policy: str, tmp_path: Path) -> None:
    prove(*shared(name), policy, tmp_path)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("light_path", light.NAMES, indirect=True)
def test_classic_networks(light_path: Path, policy: str, tmp_path: Path) -> None:
    prove(light_path, {}, policy, tmp_path)


def test_a_saved_scope_is_proved_as_the_model_is(tmp_path: Path) -> None:
    written = onnxscope.rewrite(ROOT / "models" / "tiny_scores.onnx").save(tmp_path / "s.onnx")
    report = onnxscope.verify(written)
    assert report.ok
    assert [c.name for c in report.checks if c.figure is None] == ["base equals original"]


PLAIN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
with numpy.load(sys.argv[2]) as feeds:
    outputs = session.run(None, dict(feeds))
numpy.savez(sys.argv[3], *outputs)
assert not any(m.split(".")[0] in ("onnx", "onnxscope") for m in sys.modules)
"""


@pytest.mark.parametrize("name", ["mnist_cntk_op8", "tiny_scores"])
def test_an_artifact_needs_nothing_of_onnxscope(name: str, tmp_path: Path) -> None:
    """Plain onnxruntime in a process of its own and the standard's reference compute from it what onnxscope does."""
    path, shapes = (ROOT / "models" / "tiny_scores.onnx", {}) if name == "tiny_scores" else shared(name)
    scope = onnxscope.rewrite(path, input_shapes=shapes)
    written = str(scope.save(tmp_path / "s.onnx"))
    rng = np.random.default_rng(0)
    sizes = {t.name: [d if isinstance(d, int) else 3 for d in t.shape] for t in scope.graph.inputs}
    feeds = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    np.savez(tmp_path / "feeds.npz", **feeds)
    subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, written, str(tmp_path / "feeds.npz"), str(tmp_path / "out.npz")],
        check=True,
    )
    names = [o.name for o in onnx.load(written).graph.output]
    with np.load(tmp_path / "out.npz") as plain, session(scope.graph) as ours:
        expected = {
            "plain onnxruntime": list(plain.values()),
            "reference": ReferenceEvaluator(written).run(names, feeds),
        }
        want = ours.run(feeds, names)
    for which, got in expected.items():
        for k, output in enumerate(names):
            assert np.abs(got[k] - want[output]).max() <= 1e-5 * np.abs(want[output]).max(), (
                f"{output} in {which}"
            )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_residual_columns_and_rows_agree(name: str, policy: str) -> None:
    """One entry of F is the same in its column and in its row; F·x0 + r is the network's output."""
    path, shapes = shared(name)
    opened = onnxscope.load(path, input_shapes=shapes, policy=policy)
    rng = np.random.default_rng(0)
    x = opened.freeze(rng.random(opened.engine.image_input.shape, np.float32))
    carried = x.project(x.image)
    scale = max(np.abs(carried).max(), np.abs(x.residual()).max(), np.abs(x.output).max())
    assert np.abs(carried + x.residual() - x.output).max() <= 1e-5 * scale
    places = [pixel_at(x.image.shape, int(k), x.layout) for k in rng.choice(x.image.size, 3, replace=False)]
    columns = x.columns(places)
    answers = np.abs(columns).reshape(3, -1).sum(axis=0).argsort()[-2:]
    looked = x.rows([pixel_at(x.output.shape, int(k), x.layout) for k in answers])
    of_columns = columns.reshape(3, -1)[:, answers]
    of_rows = looked.reshape(2, -1)[:, [flat_index(x.image.shape, place, x.layout) for place in places]]
    assert np.abs(of_columns - of_rows.T).max() <= 1e-5 * max(np.abs(columns).max(), np.abs(looked).max())
    assert np.abs(of_columns).max() > 0
    assert x.dot_test().ok
