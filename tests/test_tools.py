"""The measuring tools: what they print comes from the figures, what they time has been compared, what is wrong is said."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from support import run

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import bench
import check_gpu
import contenders
import measuring

needs_torch = pytest.mark.skipif(
    not all(importlib.util.find_spec(m) for m in ("torch", "onnx2torch")),
    reason="pip install '.[bench]' onnx2torch brings what the benchmark compares with",
)
SPEED = {
    "milliseconds": {"plain": 100.0, "F": 110.0, "Fᵀ": 120.0, "step": 231.0},
    "ways": {},
    "tried": {},
    "notes": [],
}
TORCH = {
    "milliseconds": {
        **SPEED["milliseconds"],
        "freeze": 104.0,
        "torch jvp": 330.0,
        "torch vjp": 300.0,
        "torch step": 693.0,
    },
    "ways": {"jvp": "torch.func.jvp", "vjp": "torch.func.vjp", "kept vjp": "backward"},
    "tried": {"kept jvp": {"linearize": "RuntimeError: no"}},
    "notes": [],
}


def results(name: str = "resnet50", **changes: Any) -> dict[str, Any]:
    """Made-up results of one network."""
    solver = {"triplets": 8, "residual": 5e-5, "passes_forward": 61, "passes_transpose": 60, "seconds": 12.34}
    network = {
        "speed": {"1": TORCH, "8": {**SPEED, "notes": ["onnx2torch does not convert it (why)"]}},
        "svd": {"size": "10 × 20", "solvers": {"onnxscope": solver}},
        "rewrite": {"seconds": 1.5},
        "peak": {
            "plain": {"opening": 0.1, "megabytes": 50.4},
            "onnxscope": {"opening": 0.25, "megabytes": 80.0},
        },
    }
    return {
        "machine": "a processor, 2 cores",
        "versions": "Python 3",
        "date": "2026-01-01",
        "networks": {name: network},
    } | changes


def cells(text: str, start: str) -> list[list[str]]:
    return [
        [c.strip() for c in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(start)
    ]


def test_the_tables_hold_the_figures_and_their_ratios() -> None:
    text = bench.report(results())
    first, second, svd, cost = cells(text, "| resnet50")
    assert first == [
        "resnet50",
        "1",
        "100",
        "104",
        "110 (1.10×)",
        "120 (1.20×)",
        "330 (3.00×)",
        "300 (2.50×)",
        "231",
        "693 (3.00×)",
        "–",
        "–",
        "–",
    ]
    assert second == [
        "resnet50",
        "8",
        "100",
        "–",
        "110 (1.10×)",
        "120 (1.20×)",
        "–",
        "–",
        "231",
        "–",
        "–",
        "–",
        "–",
    ]
    assert svd == ["resnet50", "10 × 20", "onnxscope", "8", "5.0e-05", "–", "61", "60", "12.3"]
    assert cost == ["resnet50", "1.50", "0.100", "0.250", "–", "50", "80", "–"]
    assert "- resnet50, batch 1: torch has no kept jvp (RuntimeError: no)" in text
    assert "- resnet50, batch 8: onnx2torch does not convert it (why)" in text


def test_results_of_several_runs_become_one_table(tmp_path: Path) -> None:
    for name, date in (("vgg19", "2026-01-02"), ("edsr", "2026-01-01")):
        (tmp_path / name).write_text(json.dumps(results(name, date=date)), encoding="utf-8")
    together = bench.joined([tmp_path / "vgg19", tmp_path / "edsr"])
    assert list(together["networks"]) == ["vgg19", "edsr"]
    assert together["date"] == "2026-01-02"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(results()), "resnet50 is in two of the files"),
        (json.dumps(results("edsr", machine="another")), "another machine"),
        (json.dumps(results("edsr", versions="Python 4")), "other versions"),
        ("{}", "holds no results"),
        ("[", "holds no results"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a").write_text(json.dumps(results()), encoding="utf-8")
    (tmp_path / "b").write_text(content, encoding="utf-8")
    with pytest.raises(measuring.Failed, match=said):
        bench.joined([tmp_path / "a", tmp_path / "b"])


def test_a_part_of_a_page_is_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "costs.md"
    page.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n", encoding="utf-8")
    measuring.write_part("bench", "a \\1 table", page)
    assert (
        page.read_text(encoding="utf-8")
        == "before\n<!-- bench:begin -->\n\na \\1 table\n\n<!-- bench:end -->\nafter\n"
    )


@pytest.mark.parametrize("text", ["nothing\n", "<!-- bench:begin -->\n<!-- bench:end -->\n" * 2])
def test_without_a_place_on_the_page_nothing_is_written(tmp_path: Path, text: str) -> None:
    page = tmp_path / "costs.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"costs\.md has [02] places for 'bench', not one"):
        measuring.write_part("bench", "table", page)
    assert page.read_text(encoding="utf-8") == text


def test_contenders_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the contenders move: the second slows down by the round, and its median is the middle."""
    now, turns = [0.0], list[str]()
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measuring.time, "sleep", lambda seconds: None)

    def contender(name: str, took: Callable[[int], float]) -> Callable[[], None]:
        def run() -> None:
            now[0] += took(turns.count(name))
            turns.append(name)

        return run

    both = {"steady": contender("steady", lambda k: 0.5), "slower": contender("slower", lambda k: float(k))}
    medians = measuring.interleaved(both, 0, least=5)
    assert medians == pytest.approx({"steady": 500, "slower": 3000})
    assert all({*turns[k : k + 2]} == {"steady", "slower"} for k in range(0, len(turns), 2))


def test_a_failing_stage_says_why(tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(
        "import sys\nprint(sys.argv[1:])\nprint('[1, 2]') if sys.argv[2:] else sys.exit('no reason')",
        encoding="utf-8",
    )
    assert measuring.stage(tool, "good", 1) == [1, 2]
    with pytest.raises(measuring.Failed, match=r"^bad: no reason$"):
        measuring.stage(tool, "bad")


@pytest.mark.parametrize("number", [0.0123, 1.0, 9.996, 12.34, 999.6, 1234.5])
def test_figures_keep_three_digits(number: float) -> None:
    assert float(measuring.figure(number)) == pytest.approx(number, rel=5e-3)
    assert len(measuring.figure(number).replace(".", "").lstrip("0")) <= max(4, len(str(int(number))))


@pytest.mark.parametrize("name", ["squeezenet", "resnet50"])
def test_the_prepared_network_is_the_network_before_its_softmax(name: str) -> None:
    original, model = networks.network(name), contenders.prepared(name)
    onnx.checker.check_model(model, full_check=True)
    assert not {"Dropout", "Softmax", "Reshape"} & {n.op_type for n in model.graph.node}
    (image,), (scores,) = ([t.name for t in values] for values in (model.graph.input, model.graph.output))
    original.graph.output.append(onnx.helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, None))
    feeds = {image: contenders.image(name, 0)}
    np.testing.assert_allclose(run(model, feeds)[scores], run(original, feeds)[scores], rtol=1e-5, atol=1e-5)


@needs_torch
@pytest.mark.filterwarnings("ignore")  # torch's tracing warns of its own parts
def test_torch_ways_are_compared_before_they_are_timed() -> None:
    """Of a convolution, whose Jacobian is the convolution without its bias."""
    import torch
    import torch_side

    torch.manual_seed(0)
    net = torch.nn.Conv2d(2, 3, 3, stride=2).requires_grad_(False)
    x0, v, u = torch.rand(1, 2, 7, 7), torch.randn(4, 2, 7, 7), torch.randn(4, 3, 3, 3)
    column = v, torch.nn.functional.conv2d(v, net.weight, stride=2).numpy()
    row = u, torch.nn.functional.conv_transpose2d(u, net.weight, stride=2).numpy()
    for question, ways in torch_side.WAYS.items():
        block, wanted = row if question.endswith("vjp") else column
        with torch.no_grad():
            good, left_out = torch_side.tried(question, net, x0, block, wanted, 1e-3)
            wrong, differing = torch_side.tried(question, net, x0, block, wanted / 1.01, 1e-3)
            none, stopped = torch_side.tried(question, net, x0[:, :1], block, wanted, 1e-3)
        assert {t.way for t in good} == set(ways), left_out
        assert not wrong
        assert list(differing.values()) == ["differs by 1.0e-02"] * len(ways)
        assert not none
        assert all("Error: " in why for why in stopped.values())


def test_without_cuda_the_check_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_gpu, "no_cuda", lambda: "there is no NVIDIA driver")
    monkeypatch.setattr(sys, "argv", ["check_gpu.py"])
    with pytest.raises(SystemExit) as ended:
        check_gpu.main()
    assert ended.value.code == 2
    assert capsys.readouterr().out == "CUDA does not run here: there is no NVIDIA driver\n"


@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_sees_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: bool
) -> None:
    """A rehearsal on the CPU; the wrong device computes with the decisions for another image."""
    model = networks.with_image_shape(networks.edsr(features=4, blocks=2, size=6), (1, 3, 6, 6))
    monkeypatch.setattr(check_gpu, "prepared", lambda name: model)
    monkeypatch.setattr(check_gpu, "image", lambda name, seed: contenders.image(name, seed)[..., :6, :6])
    monkeypatch.setattr(check_gpu, "BATCHES", (1, 2, 99))
    monkeypatch.setattr(
        check_gpu, "interleaved", lambda runs, seconds: {name: (run(), 1.0)[1] for name, run in runs.items()}
    )
    monkeypatch.setattr(sys, "argv", ["check_gpu.py", "edsr", "--device", "cpu"])
    decided = check_gpu.decided_by
    if wrong:
        monkeypatch.setattr(check_gpu, "decided_by", lambda cpu, x0, ours: decided(cpu, 1 - x0, ours))
    with pytest.raises(SystemExit) as ended:
        check_gpu.main()
    text = capsys.readouterr().out
    assert ended.value.code == int(wrong)
    assert ("- **edsr: F·v is off by " in text) == ("- **edsr: Fᵀ·u is off by " in text) == wrong
    assert len(cells(text, "| edsr")) == 2 + 4
    assert "- edsr, float32: 99 probes at once are more than the 16 that it takes" in text
