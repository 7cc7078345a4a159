"""The sweep over architectures: its judge sees what is broken on purpose, and its records become a page."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import model, node, randn

import onnxscope

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import sweep
import sweep_page
from sweep_case import rewritten_and_judged
from sweep_judge import central_difference, judge
from sweep_models import Case, cases
from sweep_server import Server
from sweep_signal import NoSignal, difference, direction, drawn, signal

IMAGE = {"x": randn(1, 2, 5, 5)}
CASE = Case("torch-script", "timm", "tiny", "net", "2x5x5", 18, "{}")


def network(*last: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution, a smooth activation, and what follows."""
    nodes = [
        node("Conv", ["x", "kernel", "bias"], ["a"]),
        node("Sigmoid", ["a"], ["s"]),
        node("Mul", ["a", "s"], ["y" if not last else "m"]),
        *last,
    ]
    return model(nodes, IMAGE, ["y"], weights={"kernel": randn(3, 2, 3, 3, seed=1), "bias": randn(3, seed=2)})


def written(folder: Path, policy: str = "freeze") -> tuple[Path, Path]:
    """A model and its scope, as files."""
    original, scope = folder / "net.onnx", folder / "net.scope.onnx"
    onnx.save(network(), original)
    onnxscope.rewrite(original, policy=policy).save(scope)
    return original, scope


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_a_sound_scope_is_right(tmp_path: Path, policy: str) -> None:
    verdict = judge(*written(tmp_path, policy))
    assert verdict["outcome"] == "right" and not verdict["unjudged"]
    assert ("derivative" in verdict["figures"]) == (policy == "taylor")


def damaged(scope: Path, start: str, factor: float) -> None:
    """The scope with what the first node whose name starts so gives multiplied by a factor."""
    proto = onnx.load(scope)
    at = next(k for k, n in enumerate(proto.graph.node) if n.name.startswith(start))
    name = proto.graph.node[at].output[0]
    proto.graph.node[at].output[0] = f"{name}_right"
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    proto.graph.node.insert(at + 1, node("Mul", [f"{name}_right", "factor"], [name]))
    onnx.save(proto, scope)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("transposed/", "transpose is off"),
        ("frozen/", "frozen(x0) = y0 is off"),
        ("source/", "frozen(x0) = y0 is off"),
        ("Conv", "base is off"),
    ],
)
def test_a_scope_broken_on_purpose_is_wrong(tmp_path: Path, start: str, said: str) -> None:
    original, scope = written(tmp_path)
    proto = onnx.load(scope)
    if start == "Conv":
        start = next(n.name for n in proto.graph.node if n.op_type == "Conv")
    damaged(scope, start, 1.02)
    verdict = judge(original, scope)
    assert verdict["outcome"] == "wrong" and said in verdict["why"]


def test_another_slope_than_the_originals_is_wrong(tmp_path: Path) -> None:
    """A scope that is sound, and says that it was written by tangents, though it was not."""
    original, scope = written(tmp_path, "freeze")
    proto = onnx.load(scope)
    next(p for p in proto.metadata_props if p.key == "onnxscope.policy").value = "taylor"
    onnx.save(proto, scope)
    verdict = judge(original, scope)
    assert verdict["outcome"] == "wrong" and verdict["why"].startswith("derivative is off")


def test_the_frameworks_slope_counts_where_there_is_one(tmp_path: Path) -> None:
    original, scope = written(tmp_path, "taylor")
    v, slope = randn(1, 2, 5, 5, seed=3), randn(1, 3, 3, 3, seed=4)
    np.savez(original.with_suffix(".npz"), image=IMAGE["x"], direction=v, slope=slope, unsure=1e-6)
    assert judge(original, scope)["why"].startswith("derivative is off")
    np.savez(original.with_suffix(".npz"), image=IMAGE["x"], direction=v, slope=slope, unsure=0.5)
    assert list(judge(original, scope)["unjudged"]) == ["derivative"]


def test_a_map_of_zeros_is_not_judged(tmp_path: Path) -> None:
    original, scope = tmp_path / "net.onnx", tmp_path / "net.scope.onnx"
    onnx.save(network(), original)
    onnxscope.rewrite(original, opaque=["Conv"]).save(scope)
    verdict = judge(original, scope)
    assert verdict["outcome"] == "not judged" and "F·v = 0" in verdict["unjudged"]["transpose"]


def test_central_differences_know_their_uncertainty() -> None:
    slope, unsure = central_difference(lambda h: np.array([h**3 + 2 * h + 1]), 1e-9)
    assert slope == pytest.approx([2], abs=1e-3) and unsure < 0.01
    assert central_difference(lambda h: np.array([np.sign(h)]), 1e-9)[1] > 0.1


def test_a_refusal_and_a_fault_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.onnx"
    onnx.save(network(node("Det", ["m"])), file)
    verdict = rewritten_and_judged(file, "freeze")
    assert verdict["outcome"] == "refused" and "Det" in verdict["why"]
    monkeypatch.setattr(onnxscope, "rewrite", lambda *args, **options: {}["fault"])
    assert rewritten_and_judged(file, "freeze") == {"outcome": "failed", "why": "KeyError: 'fault'"}


def test_a_sweep_runs_what_is_not_recorded_and_fills_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three models that seem exported already: one right, one refused, one in float16; and one without its exporter."""
    folder, results = tmp_path / "files", tmp_path / "results.jsonl"
    folder.mkdir()
    half, refused, absent = (
        replace(CASE, **c) for c in ({"variant": "float16"}, {"opset": 19}, {"opset": 20})
    )
    for case, proto in ((CASE, network()), (refused, network(node("Det", ["m"])))):
        onnx.save(proto, folder / f"{case.name}.onnx")
        (folder / f"{case.name}.json").write_text(json.dumps({"versions": "torch 9", "signal": 1.0}))
    sweep.sweep((CASE, half, refused, absent), results, folder, {}, keep=True)
    records = sweep.recorded(results)
    assert list(records) == [c.name for c in (CASE, half, refused, absent)]
    assert [sweep.right(r) for r in records.values()] == [True, True, False, False]
    assert (
        f"{absent.name} (0 s): not exported: no --python is given for torch-script" in capsys.readouterr().out
    )
    page = tmp_path / "coverage.md"
    page.write_text("# Page\n\n<!-- sweep:begin -->\n<!-- sweep:end -->\n")
    sweep_page.write_page(list(records.values()), page)
    text = page.read_text()
    assert "1 architectures through 1 exporters: 6 pairs of" in text
    assert "4 are right (66.7 %), 2 refused, 0 not judged, and 0 wrong or failed" in text
    assert "- timm: **tiny** (4 of 6)" in text
    assert f"- {sweep_page.short(refused.name)} (freeze and taylor), refused: " in text


SERVED = """
import sys
sys.path.insert(0, {tools!r})
from sweep_server import serve

def answer(job):
    print("not an answer")
    if job == "ends":
        import os
        os.abort()
    return job if job == "well" else input() if job == "waits" else bytes(1 << 60) if job == "much" else 1 / 0

serve(answer)
"""


def test_a_server_answers_and_says_why_it_does_not(tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(SERVED.format(tools=str(Path(sweep.__file__).parent)))
    with contextlib.closing(Server(sys.executable, tool)) as server:
        assert server.ask("well") == "well"
        for job, said in (("ends", "signal 6"), ("much", "MemoryError"), ("divides", "ZeroDivisionError: ")):
            with pytest.raises(sweep.Failed, match=said):
                server.ask(job)
        with pytest.raises(sweep.Failed, match="it took more"):
            server.ask("waits", 0.01)
        assert server.ask("well") == "well"
        assert server.process is not None
        server.process.kill()  # as another might do
        server.process.wait()
        with pytest.raises(sweep.Failed, match="its process ended"):
            server.ask("well")
        assert server.ask("well") == "well"


def test_the_table_is_as_large_as_it_is_said_to_be() -> None:
    every = list(cases())
    assert len({c.name for c in every}) == len(every)
    assert len({(c.package, c.architecture) for c in every}) >= 200
    assert len({c.exporter for c in every}) >= 5
    assert {c.opset for c in every} >= set(range(11, 24))
    assert {v: len({c.exporter for c in every if c.variant == v}) > 2 for v in ("float16", "QDQ")} == {
        "float16": True,
        "QDQ": True,
    }
    assert all(isinstance(json.loads(c.options), dict) and len(c.size.split("x")) >= 3 for c in every)


def test_constant_weights_are_drawn_anew_and_others_kept() -> None:
    rng = np.random.default_rng(0)
    zeros, ones, damped = (np.full(64, c, np.float32) for c in (0, 1, 1e-5))
    assert 0.05 < drawn(zeros, True, rng).std() < 0.2
    assert drawn(zeros, False, rng).min() >= 0.3 and drawn(damped, False, rng).max() <= 0.7
    assert 0.05 < np.abs(drawn(ones, False, rng) - 1).mean() < 0.2
    kept = randn(4, 4)
    assert drawn(kept, False, rng) is kept and drawn(zeros[:1], True, rng) is not None


def test_an_output_without_signal_is_refused() -> None:
    images = randn(2, 1, 3, 3)
    assert signal(lambda x: x, images) > 0.5
    for flat in (lambda x: 0 * x + 1, lambda x: x / 0):
        with pytest.raises(NoSignal), np.errstate(all="ignore"):
            signal(flat, images)


def test_a_slope_in_float64() -> None:
    x = randn(1, 1, 3, 3).astype(np.float64)
    np.testing.assert_allclose(difference(np.sin)(x), np.cos(x) * direction(x), rtol=1e-6)


def test_reasons_are_short_and_name_no_folders() -> None:
    said = "Load model\nfrom /tmp/a/net.onnx failed at '/block_0/Conv': \x1b[96mno\x1b[0m"
    assert sweep_page.short(said) == "Load model from net.onnx failed at '/block\\_0/Conv': no"
    assert len(sweep_page.short("word " * 100)) <= sweep_page.LONGEST + 1
