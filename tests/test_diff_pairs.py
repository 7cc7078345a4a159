"""The judge of matched layers: what counts as matched, as wrong and as missing; and the truth of one pair of exports."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from diff import judge

PAIRS = Path(__file__).parents[1] / "tools" / "diff" / "pairs.py"
needs_torch = pytest.mark.skipif(
    not all(importlib.util.find_spec(m) for m in ("torch", "onnxscript")),
    reason="pip install '.[train]' brings what the pairs are exported with",
)
TRUTH = {
    "pairs": [[["conv", "norm"], ["conv_q", "scale"]], [["relu"], ["relu_q"]]],
    "also": [[["gate", "times"], ["swish"]]],
    "only_a": ["softmax"],
    "only_b": [],
    "layers": ["first", "second"],
}


def matched(*pairs: tuple[str | None, str | None]) -> judge.Verdict:
    return judge.judged("pair", TRUTH, [{"a": a, "b": b} for a, b in pairs])


def test_any_name_of_a_layer_stands_for_it() -> None:
    for a in ("conv", "norm"):
        for b in ("conv_q", "scale"):
            verdict = matched((a, b), ("relu", "relu_q"), ("times", "swish"))
            assert (verdict.matched, verdict.missing, verdict.wrong) == (2, [], [])


def test_what_is_left_out_is_missing_and_not_wrong() -> None:
    verdict = matched(("conv", "conv_q"), ("relu", None), (None, "relu_q"))
    assert (verdict.matched, verdict.missing, verdict.wrong) == (1, ["second"], [])


@pytest.mark.parametrize(
    "pair",
    [
        ("conv", "relu_q"),
        ("gate", "relu_q"),
        ("softmax", "swish"),
        ("softmax", "elsewhere"),
        ("elsewhere", "scale"),
    ],
)
def test_nodes_of_different_layers_are_wrong(pair: tuple[str, str]) -> None:
    verdict = matched(("conv", "conv_q"), ("relu", "relu_q"), pair)
    assert (verdict.matched, verdict.wrong) == (2, [f"{pair[0]} with {pair[1]}"])


def test_nodes_that_no_layer_has_are_not_judged() -> None:
    assert matched(("conv", "conv_q"), ("relu", "relu_q"), ("shape", "shape_q")).wrong == []


FAKES = {  # a program in place of onnxscope, and what the judge makes of it
    "right": ("pairs = [(a[0], b[-1]) for a, b in truth['pairs']]", 0),
    "none": ("pairs = []", 1),
    "shifted": ("t = truth['pairs']; pairs = [(x[0][0], y[1][0]) for x, y in zip(t, t[::-1])]", 1),
    "broken": ("sys.exit('no such layer')", 1),
}


@pytest.mark.parametrize("kind", FAKES)
def test_the_judge_runs_a_command_on_each_pair(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "truth.json").write_text(json.dumps(TRUTH), encoding="utf-8")
    code, expected = FAKES[kind]
    fake = tmp_path / "fake.py"
    fake.write_text(
        "import json, pathlib, sys\n"
        "assert sys.argv[1] == 'diff' and sys.argv[4] == '--image' and sys.argv[6] == '--json'\n"
        "truth = json.loads((pathlib.Path(sys.argv[2]).parent / 'truth.json').read_text())\n"
        f"{code}\n"
        "print(json.dumps({'layers': [{'a': a, 'b': b} for a, b in pairs]}))\n",
        encoding="utf-8",
    )
    assert judge.judge(tmp_path, "", [sys.executable, str(fake)]) == expected
    printed = capsys.readouterr().out
    figures = {
        "right": "| all 1 | 2 | 2 | 0 | 0 |",
        "none": "| all 1 | 2 | 0 | 0 | 2 |",
        "shifted": "| all 1 | 2 | 0 | 2 | 2 |",
        "broken": "| one (no such layer) | 2 | 0 | 0 | 2 |",
    }
    assert figures[kind] in printed


@needs_torch
def test_pairs_are_made_with_names_that_their_files_have(tmp_path: Path) -> None:
    import onnx

    name = "vgg-ts13-ts13+extended"
    command = [sys.executable, str(PAIRS), "make", str(tmp_path), "--only", name]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    truth = json.loads((tmp_path / name / "truth.json").read_text(encoding="utf-8"))
    assert len(truth["pairs"]) == len(truth["layers"]) == 14  # each Relu is fused with what is before it
    for k, file in enumerate(("a.onnx", "b.onnx")):
        nodes = onnx.load(tmp_path / name / file).graph.node
        names = {n.name or n.output[0] for n in nodes}
        assert all(names.issuperset(pair[k]) for pair in truth["pairs"] + truth["also"])
    assert (tmp_path / name / "image.png").exists()


@needs_torch
def test_a_truth_that_takes_one_layer_for_another_is_refused() -> None:
    from diff.exports import NoTruth, torchscript
    from diff.layers import prepared
    from diff.truth import check

    network = prepared("edsr")
    export = torchscript(network, 17)
    assert check(network, export) < 1e-5
    of = {layers[0]: tensor for tensor, layers in export.layers.items()}
    for one, other in [("body.0.first", "body.1.first"), ("body.2.add", "body.3.add")]:
        swapped = {**export.layers, of[one]: [other], of[other]: [one]}
        with pytest.raises(NoTruth, match="is off"):
            check(network, replace(export, layers=swapped))
