"""Comparing two exports on many images, and what is compared beside the ledger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import forms
import numpy as np
import onnx
import pytest
from networks import MODELS
from onnx import numpy_helper
from support import model, node, randn, run

import onnxscope
from onnxscope.api.rows import Row
from onnxscope.api.totals import Totals, interval
from onnxscope.cli import main as cli
from onnxscope.pairing.shares import Share
from onnxscope.rewriting.options import Options

SCENES = sorted(p for p in (MODELS / "scenes").glob("*_[0-9].png"))[:6]
RESNET, INT8 = MODELS / "scenes_resnet.onnx", MODELS / "scenes_resnet_int8.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures, and a file among them that is none."""
    made = tmp_path_factory.mktemp("pictures")
    for picture in SCENES[:5]:
        shutil.copy(picture, made)
    (made / "damaged.png").write_bytes(b"no picture")
    return made


def test_figures_of_a_folder_are_means_of_those_of_its_images(folder: Path) -> None:
    each = [onnxscope.diff(RESNET, INT8, picture) for picture in SCENES[:5]]
    found = onnxscope.diff(RESNET, INT8, folder)
    assert found.images == 5 and [s["image"] for s in found.skipped] == ["damaged.png"]
    for name in ("value_a", "value_b", "difference", "in_filter"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(d, name) for d in each]), rel=1e-3)
    for k, share in enumerate(found.layers):
        values = [d.layers[k].contribution for d in each]
        assert share.a == each[0].layers[k].a
        assert share.contribution == pytest.approx(np.mean(values), abs=1e-5)
        assert share.spread == pytest.approx(np.std(values), abs=1e-5)
    total = sum(s.contribution for s in found.layers) + found.remainder
    assert total == pytest.approx(found.difference, abs=1e-5)
    assert found.changed is not None and found.divergence is not None
    assert found.divergence.low <= found.divergence.mean <= found.divergence.high


def test_a_run_that_was_killed_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, rows = onnxscope.diff(RESNET, INT8, folder), tmp_path / "rows"
    onnxscope.diff(RESNET, INT8, folder, rows=rows)
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    rows.write_text("".join(lines[:3]) + lines[3][:40], encoding="utf-8")  # the kill came while it wrote
    done: list[str] = []
    row = onnxscope.api.differing.Comparing.row  # type: ignore[attr-defined]

    def counted(self: object, name: str, at: object) -> object:
        done.append(name)
        return row(self, name, at)

    monkeypatch.setattr(onnxscope.api.differing.Comparing, "row", counted)  # type: ignore[attr-defined]
    again = onnxscope.diff(RESNET, INT8, folder, rows=rows)
    assert len(done) == 4  # the first, on which layers are matched, and the three that were missing
    assert rows.read_text(encoding="utf-8").splitlines(keepends=True)[:3] == lines[:3]
    assert again.difference == pytest.approx(whole.difference) and again.images == 5
    np.testing.assert_allclose(
        [s.contribution for s in again.layers], [s.contribution for s in whole.layers], atol=1e-6
    )


def test_rows_of_another_comparison_are_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    onnxscope.diff(RESNET, INT8, SCENES[0], rows=rows)
    with pytest.raises(onnxscope.BadOption, match="holds rows of another comparison"):
        onnxscope.diff(RESNET, INT8, SCENES[0], rows=rows, ask="score:1")


def test_bootstrap_intervals_hold_the_mean() -> None:
    """Of many samples of a known mean, about 95 of 100 intervals hold it."""
    rng = np.random.default_rng(0)
    found = [interval(rng.normal(1.0, 1.0, 60).tolist()) for _ in range(200)]
    inside = np.mean([f is not None and f.low <= 1.0 <= f.high for f in found])
    assert 0.89 <= inside <= 0.99
    assert interval([]) is None and interval([2.0]) == interval([2.0, 2.0])


def perturbed(size: float) -> onnx.ModelProto:
    proto, rng = onnx.load(RESNET), np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 4:
            w = numpy_helper.to_array(tensor)
            changed = (w + size * w.std() * rng.normal(size=w.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    return proto


@pytest.mark.parametrize("ask", ["score:3", "distance"])
def test_what_would_help_is_predicted(ask: str) -> None:
    """Where nothing is rounded, the prediction agrees with B run with each layer put back."""
    found = onnxscope.diff(RESNET, perturbed(0.01), SCENES, ask=ask, check=100)
    pairs = np.array([(e["predicted"], e["measured"]) for e in found.would_help if "measured" in e])
    assert len(pairs) >= 12
    assert np.corrcoef(pairs.T)[0, 1] > (0.98 if ask == "score:3" else 0.8)


def test_putting_back_the_only_changed_layer_restores_a() -> None:
    proto = onnx.load(RESNET)
    tensor = next(t for t in proto.graph.initializer if len(t.dims) == 4 and t.dims[0] == 24)
    tensor.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(tensor), tensor.name))
    found = onnxscope.diff(RESNET, proto, SCENES[0], check=1)
    best = found.would_help[0]
    assert best["measured"] == pytest.approx(-found.difference, rel=1e-3)
    assert best["predicted"] == pytest.approx(-found.difference, rel=1e-3)


def test_the_linear_parts_are_those_of_the_opened_models() -> None:
    """F·x0 of both scopes, each opened for itself."""
    found = onnxscope.diff(RESNET, INT8, SCENES[0], ask="score:2")
    want = []
    for file in (RESNET, INT8):
        x = onnxscope.load(file, preset=found.preset, device="cpu").freeze(SCENES[0])
        want.append(float((x.output - x.residual()).reshape(-1)[2]))
    assert found.in_filter == pytest.approx(want[1] - want[0], abs=2e-4)
    assert found.in_filter + found.in_residual == pytest.approx(found.difference)


def test_the_norm_of_the_difference_is_that_of_the_matrices() -> None:
    first, second, last = randn(6, 5), randn(6, 5, seed=1), randn(5, 4, seed=2)
    nodes = [
        node("MatMul", ["image", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["scores"]),
    ]
    x = randn(1, 6, seed=3)
    pair = [
        model(nodes, {"image": x}, ["scores"], weights={"w": w, "v": last})
        for w in (first, first + 0.1 * second)
    ]
    found = onnxscope.diff(*pair, x, filters=3).linear
    assert found is not None
    matrices = [(w * (x @ w > 0)) @ last for w in (first, first + 0.1 * second)]
    norm = np.linalg.norm(matrices[1] - matrices[0], 2)
    sigma = np.linalg.svd(matrices[0], compute_uv=False)
    assert found.norm == pytest.approx(norm, rel=1e-4) and found.relative == pytest.approx(norm / sigma[0])
    np.testing.assert_allclose(found.sigma_a, sigma[: len(found.sigma_a)], rtol=1e-3)
    v = [np.linalg.svd(m)[0][:, : len(found.sigma_a)] for m in matrices]
    cosine = np.linalg.svd(v[0].T @ v[1], compute_uv=False).min()
    assert found.angle_in == pytest.approx(np.degrees(np.arccos(min(cosine, 1))), abs=0.5)


def test_flips_and_their_price_by_hand() -> None:
    x = randn(1, 12) + 3
    x[0, :3] = [-0.25, 0.125, -2.0]
    own, last = np.full(12, 0.125, np.float32), np.abs(randn(12, 1, seed=1)) + 1
    shift = np.zeros(12, np.float32)
    shift[:2] = [0.5, -0.5]  # the first two cross 0
    nodes = [
        node("Add", ["image", "b"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["scores"]),
    ]
    pair = [model(nodes, {"image": x}, ["scores"], weights={"b": b, "v": last}) for b in (own, own + shift)]
    relu = max(onnxscope.diff(*pair, x, ask="score:0").layers, key=lambda s: s.flips)
    # the first was -0.125 and is 0.375: with A's decision it would stay 0
    # the second was 0.25 and is -0.25: with A's decision it would become -0.25
    assert relu.flips == 2
    assert relu.flip_price == pytest.approx(0.375 * last[0, 0] + 0.25 * last[1, 0], rel=1e-5)


def scaled_inside(levels: float) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network that takes a normalised image, and one that takes levels and normalises them inside."""
    rest = [
        node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        node("Relu", ["h"], ["r"]),
        node("ReduceMean", ["r"], ["scores"], axes=[2, 3], keepdims=0),
    ]
    weights = {"w": randn(4, 3, 3, 3)}
    plain = [onnx.NodeProto.FromString(n.SerializeToString()) for n in rest]
    plain[0].input[0] = "image"
    mean, std = randn(3, 1, 1, seed=4) / 4 + 0.4, np.full((3, 1, 1), 0.25, np.float32)
    inside = [
        node("Div", ["image", "levels"], ["u"]),
        node("Sub", ["u", "mean"], ["c"]),
        node("Div", ["c", "std"], ["x"]),
        *rest,
    ]
    more = {**weights, "levels": np.float32(levels), "mean": mean, "std": std}
    image = {"image": randn(1, 3, 8, 8)}
    return (
        model(plain, image, ["scores"], opset=13, weights=weights),
        model(inside, image, ["scores"], opset=13, weights=more),
    )


@pytest.mark.parametrize("turned", [False, True])
def test_an_image_that_one_side_scales_inside_is_given_unscaled(turned: bool) -> None:
    pair = scaled_inside(255.0)
    found = onnxscope.diff(*(pair[::-1] if turned else pair), randn(1, 3, 8, 8, seed=9))
    assert found.same and found.first_wrong is None, found
    assert len(found.notes) == 1 and "scales the image inside" in found.notes[0]


def test_nodes_that_are_the_same_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = onnxscope.diff(RESNET, INT8, SCENES[0], given={"block0.conv1": "block0.conv2"})
    assert next(s.b for s in found.layers if s.a == "block0.conv1") == "block0.conv2"
    for text, cause in (
        ("block2.conv2=block0.conv1", "compute other sizes"),
        ("nothing=block0.conv1", "A has no node 'nothing'"),
        ("block2.conv2", "must be a node of A and a node of B"),
    ):
        assert cli.run(["diff", str(RESNET), str(INT8), "--image", str(SCENES[0]), "--map", text]) == 2
        assert cause in capsys.readouterr().err


def test_what_the_runtime_itself_changes(capsys: pytest.CaptureFixture[str]) -> None:
    found = onnxscope.runtime_noise(INT8, SCENES)
    assert found.images == len(SCENES) and found.settings[0].largest == 0  # the same again
    assert not any(m.changed for m in found.settings)
    assert found.largest == max(m.relative for m in found.settings) < 0.1
    command = ["diff", str(RESNET), "--self", "--image", str(SCENES[0]), "--json"]
    assert cli.run([*command, "--fail-above", "1e-4"]) == 0
    assert json.loads(capsys.readouterr().out)["compared_with"] == "as written, 1 thread"
    assert cli.run([*command, "--fail-above", "0"]) == 1
    assert cli.run(["diff", str(RESNET), "--image", str(SCENES[0])]) == 2
    assert "needs two models" in capsys.readouterr().err


def test_outputs_as_a_whole_are_compared_by_their_distance() -> None:
    a, b = MODELS / "pixelshuffle_small.onnx", MODELS / "pixelshuffle_small_int8.onnx"
    found = onnxscope.diff(a, b, SCENES[0])
    outputs = [onnxscope.load(f, preset=found.preset, device="cpu").freeze(SCENES[0]).output for f in (a, b)]
    want = np.sqrt(np.square(outputs[1] - outputs[0]).mean())
    assert found.question == "distance" and found.difference == pytest.approx(want, rel=2e-3)
    assert sum(s.contribution for s in found.layers) == pytest.approx(found.difference, rel=1e-4)


def test_networks_that_an_image_decides_are_matched_anew(tmp_path: Path) -> None:
    """A dark picture takes another branch than a bright one."""
    form = forms.made("decides on values")
    proto, rng = onnx.load(form.model), np.random.default_rng(1)
    bright, dark = (np.asarray(rng.random(form.x0.shape) * level, np.float32)[None] for level in (1.0, 0.2))
    tensor = max(proto.graph.initializer, key=lambda t: int(np.prod(t.dims)))
    weights = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((1.05 * weights).astype(np.float32), tensor.name))
    images = [x.reshape(1, *form.x0.shape[-3:]) for x in (bright, dark, bright)]
    found = onnxscope.diff(form.model, proto, images, ask="score:0", check=2)
    values = [run(onnx.load(form.model), {"image": x})["scores"].reshape(-1)[0] for x in images]
    assert found.value_a == pytest.approx(np.mean(values), abs=1e-4)
    assert found.images == 3 and abs(found.remainder) < 1e-4 and "measured" in found.would_help[0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["bytes, channels last", "levels, channels last", "levels"])
def test_a_network_with_its_preprocessing_inside_is_the_same_network(
    kind: str, turned: bool, tmp_path: Path
) -> None:
    proto = onnx.load(RESNET)
    name, nodes, last = proto.graph.input[0].name, list(proto.graph.node), "last" in kind
    steps = [node("Cast", ["pixels"], ["f"], to=onnx.TensorProto.FLOAT)] if "bytes" in kind else []
    steps += [node("Transpose", ["f" if steps else "pixels"], ["t"], perm=[0, 3, 1, 2])] if last else []
    steps += [node("Div", [steps[-1].output[0] if steps else "pixels", "levels"], [name])]
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend([*steps, *nodes])
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(255), "levels"))
    element = onnx.TensorProto.UINT8 if "bytes" in kind else onnx.TensorProto.FLOAT
    shape = [1, 96, 96, 3] if last else [1, 3, 96, 96]
    proto.graph.input.append(onnx.helper.make_tensor_value_info("pixels", element, shape))
    pair = (proto, RESNET) if turned else (RESNET, proto)
    found = onnxscope.diff(*pair, SCENES[0])
    assert found.same and found.first_wrong is None, found.title


@pytest.mark.parametrize("final", ["Softmax", "ArgMax"])
def test_a_final_softmax_or_decision_makes_no_difference(final: str) -> None:
    proto = onnx.load(RESNET)
    proto.graph.node.append(node(final, [proto.graph.output[0].name], ["final"], axis=1))
    element = onnx.TensorProto.FLOAT if final == "Softmax" else onnx.TensorProto.INT64
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("final", element, None))
    for pair in ((RESNET, proto), (proto, RESNET)):
        assert onnxscope.diff(*pair, SCENES[0]).same


def test_the_noise_is_what_optimisations_change() -> None:
    """The runtime has integer kernels for int8, which round otherwise than the graph as it is written."""
    found = [onnxscope.diff(RESNET, b, SCENES, ask="score:3") for b in (INT8, perturbed(0.01))]
    assert found[0].noise > 20 * found[1].noise > 0


def test_what_rounds_the_same_numbers_again_is_put_back_with_their_layer() -> None:
    """Behind the layer its numbers are only reshaped, and rounded to the same steps once more."""
    x, w, v = randn(1, 6), randn(6, 8, seed=1), randn(8, 3, seed=2)
    first = node("MatMul", ["image", "w"], ["h"])
    last = [node("Reshape", ["t", "flat"], ["u"]), node("MatMul", ["u", "v"], ["scores"])]

    def rounded(source: str, name: str) -> list[onnx.NodeProto]:
        by = ["step", "zero"]
        return [
            node("QuantizeLinear", [source, *by], [f"{name} q"]),
            node("DequantizeLinear", [f"{name} q", *by], [name]),
        ]

    square = node("Reshape", ["h", "square"], ["t"])
    again = [*rounded("h", "r"), node("Reshape", ["r", "square"], ["s"]), *rounded("s", "t")]
    weights = {"w": w, "v": v, "square": np.array([1, 2, 4]), "flat": np.array([1, 8])}
    steps = {"step": np.float32(0.2), "zero": np.int8(0)}
    a = model([first, square, *last], {"image": x}, ["scores"], weights=weights)
    b = model([first, *again, *last], {"image": x}, ["scores"], weights={**weights, **steps})
    found = onnxscope.diff(a, b, x, ask="score:1", check=5)
    assert abs(found.difference) > 1e-3
    assert found.would_help[0]["measured"] == pytest.approx(-found.difference, rel=1e-3)


def test_an_activation_that_reads_another_tensor_is_named() -> None:
    """The activations are said to be the same, and are the same operator."""
    x, w, v = randn(1, 6), randn(6, 8, seed=1), randn(8, 3, seed=2)
    weights = {"w": w, "other": w + 0.02 * randn(6, 8, seed=3), "v": v, "u": randn(8, 3, seed=4)}
    pair = [
        model(
            [
                node("MatMul", ["image", "w"], ["h"]),
                node("MatMul", ["image", "other"], ["g"]),
                node("Relu", [read], ["r"], name="activation"),
                node("MatMul", ["r", "v"], ["s"]),
                node("MatMul", ["g", "u"], ["t"]),
                node("Add", ["s", "t"], ["both"]),
                node("MatMul", ["h", "u"], ["rest"]),
                node("Add", ["both", "rest"], ["scores"]),
            ],
            {"image": x},
            ["scores"],
            weights=weights,
        )
        for read in ("h", "g")
    ]
    found = onnxscope.diff(*pair, x, ask="score:1", given={"activation": "activation"})
    assert abs(found.difference) > 1e-3 and abs(found.remainder) < 1e-5
    assert found.first_wrong is not None and found.first_wrong["a"] == "activation"


def test_of_many_images_the_earliest_wrong_layer_counts() -> None:
    def row(image: str, errors: tuple[float, ...]) -> Row:
        wrong = next(f"layer {k}" for k, error in enumerate(errors) if error)
        shares = [Share(f"layer {k}", "b", 0.0, {}, 0, 0.0, 0.0, e) for k, e in enumerate(errors)]
        return Row(image, "score:0", "", 0.0, 0.0, 0.0, False, 0.0, 0.0, {"a": wrong}, None, None, shares)

    totals = Totals()
    for k, errors in enumerate([(0.0, 0.0, 0.1), (0.0, 0.2, 0.1), (0.0, 0.0, 0.3)]):
        totals.add(row(str(k), errors))
    assert totals.facts()["first_wrong"] == {"a": "layer 1"}
    assert [s.error for s in totals.shares()] == [0.0, 0.2, 0.3]


def test_a_tensor_inside_can_be_compared(tmp_path: Path) -> None:
    """Rows of another output are not mixed with its rows."""
    inside, rows = Options(output="block3.relu"), tmp_path / "rows"
    found = onnxscope.diff(RESNET, INT8, SCENES[0], options=inside, ask="mean", filters=1, rows=rows)
    x = onnxscope.load(RESNET, preset=found.preset, device="cpu", options=inside).freeze(SCENES[0])
    assert found.value_a == pytest.approx(float(x.output.mean()), rel=1e-4)
    assert found.linear is not None and found.linear.sigma_a[0] == pytest.approx(x.svd(1).sigma[0], rel=1e-2)
    with pytest.raises(onnxscope.BadOption, match="holds rows of another comparison"):
        onnxscope.diff(RESNET, INT8, SCENES[0], ask="mean", rows=rows)
