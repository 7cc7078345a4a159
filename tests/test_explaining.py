"""Contributions, votes, the usual methods and their verbs, against NumPy and against what they promise."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from PIL import Image
from support import close, model, node, randn, run

import onnxscope
from onnxscope.api.opening import opened
from onnxscope.ask import explain
from onnxscope.ask.contributions import contributions, passed_by_all
from onnxscope.ask.explain import EXPLANATIONS, Explainer, enlarged
from onnxscope.ask.ledger import ledgers
from onnxscope.ask.votes import discussions, votes
from onnxscope.cli import main as cli
from onnxscope.errors import BadOption

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
KINDS = 4


def classifier(side: int = 16) -> onnx.ModelProto:
    return networks.vgg(True, KINDS, (4, 6), side)


def dense(biased: bool = True) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """A picture of 4×4 pixels, two layers with a Relu between them; and its weights."""
    weights = [randn(8, 48), randn(8, seed=1), randn(3, 8, seed=2), randn(3, seed=3)]
    names = ["w", "b", "v", "c"] if biased else ["w", None, "v", None]
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "w", *names[1:2]] if biased else ["f", "w"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "c"] if biased else ["r", "v"], ["y"], transB=1),
    ]
    kept = {n: w for n, w in zip(names, weights, strict=True) if n}
    return model(nodes, {"x": randn(1, 3, 4, 4)}, ["y"], weights=kept), weights


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).random(shape).astype(np.float32)


# contributions


def test_contributions_of_a_dense_network() -> None:
    proto, (w, b, v, c) = dense()
    x0 = image(1, 3, 4, 4)
    h = w @ x0.ravel() + b
    found = {k.tensor: k for k in contributions(onnxscope.load(proto).freeze(x0), 1)}
    np.testing.assert_allclose(
        found["x"].values, ((v[1] * (h > 0)) @ w * x0.ravel()).reshape(3, 4, 4).sum(0), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(found["h"].values, v[1] * (h > 0) * h, rtol=1e-4, atol=1e-5)
    assert found["r"].bias == pytest.approx(c[1], abs=1e-5)
    assert found["x"].bias == pytest.approx(c[1] + (v[1] * (h > 0)) @ b, rel=1e-4)


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_what_remains_behind_a_tensor_is_the_residual_of_that_part(policy: str) -> None:
    proto, x0 = networks.resnet(KINDS, (4, 6), 32), image(1, 3, 32, 32)
    x = onnxscope.load(proto, policy=policy).freeze(x0)
    found = contributions(x, 2)
    assert found[0].tensor == "image" and "block1" in [c.tensor for c in found]
    for c in found[:-1:3]:
        part = onnxscope.load(proto, policy=policy, image=c.tensor).freeze(x0)
        assert c.bias == pytest.approx(float(part.residual().ravel()[2]), abs=1e-4), c.tensor


def test_tensors_that_every_path_passes() -> None:
    """A sum of two branches: what is in one of them is passed by the other."""
    nodes = [
        node("Neg", ["x"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Abs", ["a"], ["c"]),
        node("Add", ["b", "c"], ["d"]),
        node("Flatten", ["d"], ["y"]),
    ]
    x = onnxscope.load(model(nodes, {"x": randn(1, 2, 3, 3)}, ["y"])).freeze(randn(1, 2, 3, 3))
    assert passed_by_all(x) == ["x", "a", "d", "y"]


# votes


def test_votes_are_for_the_score_that_a_pixel_adds_most_to() -> None:
    proto, (w, b, v, c) = dense()
    x0 = image(1, 3, 4, 4)
    x = onnxscope.load(proto, method="discussion").freeze(x0)
    back = v * ((w @ x0.ravel() + b) > 0)  # of the scores, to the hidden layer
    want = np.stack(
        [
            (back[k] @ w * x0.ravel() + (back[k] * b) @ w + c[k] * back[k] @ w).reshape(3, 4, 4).sum(0)
            for k in range(3)
        ]
    )
    np.testing.assert_allclose(discussions(x, [0, 1, 2]), want, rtol=1e-4, atol=1e-4)
    found = votes(x)
    assert (found.winner == want.argmax(0)).all()
    np.testing.assert_allclose(found.strength, want.max(0), rtol=1e-4, atol=1e-4)
    assert sum(found.tally().values()) == 16 and list(found.tally().values()) == sorted(
        found.tally().values(), reverse=True
    )


def test_votes_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = onnxscope.load(classifier(), method="discussion").freeze(image(1, 3, 16, 16))
    whole, said = votes(x), list[tuple[int, int]]()
    monkeypatch.setattr("onnxscope.ask.votes.BLOCK", 3)
    parts = votes(x, progress=lambda done, total: said.append((done, total)))
    assert (whole.winner == parts.winner).all() and said == [(3, KINDS), (KINDS, KINDS)]
    assert set(np.unique(votes(x, [1, 3]).winner)) <= {1, 3}


def test_votes_need_discussions_and_a_choice() -> None:
    x0 = image(1, 3, 16, 16)
    with pytest.raises(BadOption, match="method='discussion'"):
        votes(onnxscope.load(classifier()).freeze(x0))
    with pytest.raises(BadOption, match="one score only"):
        votes(onnxscope.load(classifier(), method="discussion").freeze(x0), [2])


# the usual methods


def test_without_biases_integrated_gradients_are_image_times_gradient() -> None:
    """Such a network is linear on the way from black."""
    proto, _ = dense(biased=False)
    e, x0 = Explainer(opened(proto)), image(1, 3, 4, 4)
    found = e.attributions("integrated-gradients", x0, [0, 2])
    np.testing.assert_allclose(found, e.attributions("input-x-gradient", x0, [0, 2]), rtol=1e-3, atol=1e-4)
    scores = run(proto, {"x": x0})["y"].ravel()
    np.testing.assert_allclose(found.reshape(2, -1).sum(1), scores[[0, 2]], rtol=1e-4)


def test_integrated_gradients_add_up_to_the_change_of_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "STEPS", 400)
    proto, _ = dense()
    x0 = image(1, 3, 4, 4)
    found = Explainer(opened(proto)).attributions("integrated-gradients", x0, [1])
    change = run(proto, {"x": x0})["y"].ravel()[1] - run(proto, {"x": 0 * x0})["y"].ravel()[1]
    assert found.sum() == pytest.approx(change, rel=1e-2)


def test_smoothgrad_of_a_linear_network_is_its_gradient() -> None:
    weights = randn(3, 48)
    proto = model(
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"], transB=1)],
        {"x": randn(1, 3, 4, 4)},
        ["y"],
        weights={"w": weights},
    )
    found = Explainer(opened(proto)).attributions("smoothgrad", image(1, 3, 4, 4), [2])
    np.testing.assert_allclose(found.ravel(), weights[2], rtol=1e-4)
    assert (
        Explainer(opened(proto)).maps("saliency", image(1, 3, 4, 4), [2])[0]
        == np.abs(weights[2].reshape(3, 4, 4)).max(0)
    ).all()


def test_class_activation_maps_by_hand() -> None:
    """Conv, Relu, mean, dense: the gradients at the feature map are the dense weights by its pixels."""
    w, v = randn(5, 3, 3, 3), randn(2, 5, seed=1)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "v"], ["y"], transB=1),
    ]
    proto, x0 = model(nodes, {"x": randn(1, 3, 6, 6)}, ["y"], weights={"w": w, "v": v}), image(1, 3, 6, 6)
    e = Explainer(opened(proto))
    assert e.layer == "r"
    values = run(
        onnx.utils.Extractor(onnx.shape_inference.infer_shapes(proto)).extract_model(["x"], ["r"]), {"x": x0}
    )["r"][0]
    want = (v[1][:, None, None] / 36 * values).sum(0).clip(0)
    for method in ("grad-cam", "hirescam"):
        np.testing.assert_allclose(e.maps(method, x0, [1])[0], want, rtol=1e-4, atol=1e-6)


def test_full_gradients_are_the_ledger_spread_over_pixels() -> None:
    """With ψ as the plain sum over pixels, image and biases make the score."""
    e, x0 = Explainer(opened(classifier())), image(1, 3, 16, 16)
    x = e.opened().freeze(x0)
    own = float((e.attributions("input-x-gradient", x0, [1]) * 1.0).sum())
    cotangent = np.zeros((1, *x.map.outputs.shape), np.float32)
    cotangent.reshape(-1)[1] = 1
    met = x.map.contributions(cotangent, list(x.map.engine.scope.at_sources))
    assert own + sum(float(m.sum()) for m in met.values()) == pytest.approx(
        float(x.output.ravel()[1]), rel=1e-4
    )
    assert (e.maps("fullgrad", x0, [1]) >= 0).all()


def test_enlarging_is_what_pillow_does() -> None:
    small = randn(5, 7)
    want = np.asarray(Image.fromarray(small).resize((28, 15), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(enlarged(small, (15, 28)), want, atol=1e-5)


@pytest.mark.parametrize("method", EXPLANATIONS)
def test_every_method_gives_a_map_for_each_score(method: str) -> None:
    e, x0 = Explainer(opened(classifier())), image(1, 3, 16, 16)
    both = e.maps(method, x0, [0, 3])
    assert both.shape == (2, 16, 16) and np.isfinite(both).all() and both.any()
    np.testing.assert_allclose(e.maps(method, x0, [3])[0], both[1], rtol=1e-3, atol=1e-5 * np.abs(both).max())


# in torch

needs_torch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="pip install '.[train]' brings the torch to compare with"
)


@pytest.fixture(scope="module", params=["scenes_vgg", "scenes_vgg_bn", "scenes_resnet"])
def trained(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, np.ndarray, dict[str, object]]:
    """A bundled classifier, a scene, and torch's values and gradients of its highest score, in float64."""
    import torch
    from torch_graph import OPERATORS

    proto = onnx.load(networks.MODELS / f"{request.param}.onnx")
    x0 = (
        np.asarray(Image.open(networks.MODELS / "scenes" / "snail_0.png"), np.float32).transpose(2, 0, 1)[
            None
        ]
        / 255
    )
    values = {
        t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()).double()
        for t in proto.graph.initializer
    }
    values["image"] = torch.from_numpy(x0).double().requires_grad_()
    for n in proto.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
        if n.op_type == "BatchNormalization":
            scale, shift, mean, var = (values[i].reshape(-1, 1, 1) for i in n.input[1:])
            gain = scale / (var + attributes["epsilon"]) ** 0.5
            values[n.output[0]] = values[n.input[0]] * gain + (shift - mean * gain)
        else:
            values[n.output[0]] = OPERATORS[n.op_type](*(values[i] for i in n.input), **attributes)
        values[n.output[0]].retain_grad()
    score = int(values["scores"].argmax())
    values["scores"][0, score].backward()
    return proto, x0, {"values": values, "score": score}


def gradient(found: dict[str, object], name: str) -> np.ndarray:
    return found["values"][name].grad.numpy()


@needs_torch
def test_class_activation_maps_are_torchs(
    trained: tuple[onnx.ModelProto, np.ndarray, dict[str, object]],
) -> None:
    proto, x0, found = trained
    e = Explainer(opened(proto))
    values, slopes = found["values"][e.layer].detach().numpy()[0], gradient(found, e.layer)[0]
    for method, weights in (("grad-cam", slopes.mean((1, 2), keepdims=True)), ("hirescam", slopes)):
        small = (weights * values).sum(0).clip(0).astype(np.float32)
        want = np.asarray(Image.fromarray(small).resize((96, 96), Image.Resampling.BILINEAR))
        close(e.maps(method, x0, [found["score"]])[0], want, 1e-4, method)


@needs_torch
def test_full_gradients_are_torchs(trained: tuple[onnx.ModelProto, np.ndarray, dict[str, object]]) -> None:
    """A bias is what a Conv or a BatchNormalization adds; its contributions sum up to the ledger's entry."""
    proto, x0, found = trained
    values, score = found["values"], found["score"]
    biases = {}
    for n in proto.graph.node:
        if n.op_type in ("Conv", "Gemm"):
            biases[n.name] = values[n.input[2]].numpy()
        if n.op_type == "BatchNormalization":
            scale, shift, mean, var = (values[i].numpy() for i in n.input[1:])
            biases[n.name] = shift - mean * scale / np.sqrt(var + 1e-5)
    added = {
        name: gradient(found, name)[0] * (b.reshape(-1, 1, 1) if gradient(found, name).ndim == 4 else b)
        for name, b in biases.items()
    }
    (book,) = ledgers(onnxscope.load(proto).freeze(x0), [score])
    for name, want in added.items():
        assert book.layers[name] == pytest.approx(
            want.sum(), abs=1e-4 * max(abs(book.score), np.abs(want).sum())
        ), name

    def psi(channels: np.ndarray) -> np.ndarray:
        spread = []
        for c in np.abs(channels):
            c = (c - c.min()) / max(np.ptp(c), 1e-12)
            spread.append(
                np.asarray(Image.fromarray(c.astype(np.float32)).resize((96, 96), Image.Resampling.BILINEAR))
            )
        return np.sum(spread, axis=0)

    want = psi(x0[0] * gradient(found, "image")[0]) + sum(psi(p) for p in added.values() if p.ndim == 3)
    close(Explainer(opened(proto)).maps("fullgrad", x0, [score])[0], want, 1e-4, "fullgrad")


# the verbs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explaining")
    onnx.save(classifier(), path / "net.onnx")
    onnx.save(networks.edsr(4, 1, size=8), path / "larger.onnx")
    proto, _ = dense()
    onnx.save(
        model(
            list(proto.graph.node),
            {"x": randn(1, 3, 4, 4)},
            ["y"],
            weights={
                t.name: onnx.numpy_helper.to_array(t)[:1] if t.name in "vc" else onnx.numpy_helper.to_array(t)
                for t in proto.graph.initializer
            },
        ),
        path / "one.onnx",
    )
    (path / "labels.txt").write_text("ant\nbee\ncat\ndog\n", encoding="utf-8")
    Image.fromarray((255 * image(16, 16, 3)).astype(np.uint8)).save(path / "x.png")
    return path


def answered(capsys: pytest.CaptureFixture[str], folder: Path, verb: str, *options: str) -> dict[str, object]:
    code = cli.run(
        [
            verb,
            str(folder / "net.onnx"),
            "--image",
            str(folder / "x.png"),
            "--labels",
            str(folder / "labels.txt"),
            "--json",
            "-o",
            str(folder / f"{verb}.out"),
            *options,
        ]
    )
    out, err = capsys.readouterr()
    assert code == 0, err
    return dict(json.loads(out))


def test_ledger(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = answered(capsys, folder, "ledger", "--score", "cat")
    assert found["name"] == "cat (2)"
    assert found["input"] + sum(layer["contribution"] for layer in found["layers"]) + found[
        "remainder"
    ] == pytest.approx(found["score"])
    assert abs(found["remainder"]) < 1e-4
    Image.open(found["written"][0]).load()
    assert (
        cli.run(
            ["ledger", str(folder / "net.onnx"), "--image", str(folder / "x.png"), "-o", str(folder / "l")]
        )
        == 0
    )
    assert "the image" in capsys.readouterr().out


def test_a_folder_of_pictures(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """The mean shares of its pictures; one that cannot be read is told."""
    for k in range(3):
        Image.fromarray((255 * np.random.default_rng(k).random((16, 16, 3))).astype(np.uint8)).save(
            tmp_path / f"{k}.png"
        )
    (tmp_path / "1.png").write_bytes(b"no picture")
    code = cli.run(
        [
            "ledger",
            str(folder / "net.onnx"),
            "--image",
            str(tmp_path),
            "--score",
            "2",
            "--json",
            "-o",
            str(folder / "all"),
        ]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found["pictures"] == 2 and [s["picture"] for s in found["skipped"]] == ["1.png"]
    net = onnxscope.load(folder / "net.onnx")
    given = [
        np.asarray(Image.open(tmp_path / f"{k}.png"), np.float32).transpose(2, 0, 1)[None] / 255
        for k in (0, 2)
    ]
    shares = [book.input / book.score for x0 in given for book in ledgers(net.freeze(x0), [2])]
    assert found["shares"][0]["name"] == "the image"
    assert found["shares"][0]["share"] == pytest.approx(np.mean(shares), rel=1e-3)
    assert found["shares"][0]["spread"] == pytest.approx(np.std(shares), rel=1e-3)
    code = cli.run(
        [
            "contributions",
            str(folder / "net.onnx"),
            "--image",
            str(tmp_path),
            "--score",
            "2",
            "--json",
            "-o",
            str(folder / "all"),
        ]
    )
    behind = {share["name"]: share for share in json.loads(capsys.readouterr().out)["shares"]}
    assert code == 0 and behind["image"]["share"] == pytest.approx(1 - np.mean(shares), rel=1e-3)
    (tmp_path / "empty").mkdir()
    assert (
        cli.run(
            [
                "ledger",
                str(folder / "net.onnx"),
                "--image",
                str(tmp_path / "empty"),
                "-o",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    assert "holds no pictures" in capsys.readouterr().err


def test_contributions(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = answered(capsys, folder, "contributions", "--score", "1")
    assert found["tensors"][0]["tensor"] == "image" and found["tensors"][-1]["bias"] == pytest.approx(
        0, abs=1e-5
    )
    assert all(t["pixels"] + t["bias"] == pytest.approx(found["value"]) for t in found["tensors"])
    one = answered(capsys, folder, "contributions", "--tensor", "pool0")
    assert [t["tensor"] for t in one["tensors"]] == ["pool0"]


def test_vote(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = answered(capsys, folder, "votes")
    assert sum(found["votes"].values()) == 256 and set(found["votes"]) <= {
        "ant (0)",
        "bee (1)",
        "cat (2)",
        "dog (3)",
    }
    assert len(answered(capsys, folder, "votes", "--among", "2")["votes"]) <= 2


def test_comparison(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = answered(capsys, folder, "compare", "--method", "saliency, grad-cam")
    assert found["methods"] == ["saliency", "grad-cam"]
    saved = np.load(found["written"][0])
    assert saved["saliency"].shape == saved["grad-cam"].shape == (16, 16)


@pytest.mark.parametrize(
    ("verb", "name", "options", "said"),
    [
        ("ledger", "net", ["--score", "4"], "there is no score '4'"),
        ("compare", "net", ["--score", "eel"], "there is no score 'eel'"),
        ("compare", "net", ["--method", "magic"], "there is no method 'magic'"),
        ("votes", "larger", [], "its output must be scores, and is an image"),
        ("votes", "one", [], "one score only"),
        ("contributions", "net", ["--tensor", "nowhere"], "there is no tensor 'nowhere'"),
        ("compare", "net", ["--method", "grad-cam", "--layer", "nowhere"], "no tensor 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, verb: str, name: str, options: list[str], said: str
) -> None:
    code = cli.run(
        [
            verb,
            str(folder / f"{name}.onnx"),
            "--image",
            str(folder / "x.png"),
            "-o",
            str(folder / "bad"),
            *options,
        ]
    )
    error = capsys.readouterr().err
    assert code == 2 and said in error and error.count("\n") == 1, error
    assert not list(folder.glob("bad*"))


def test_a_long_tally_of_votes_is_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"])]
    weights = {"w": randn(3 * 12 * 12, 30, seed=3)}
    onnx.save(model(nodes, {"x": randn(1, 3, 12, 12)}, ["y"], weights=weights), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", randn(1, 3, 12, 12, seed=4))
    arguments = ["votes", str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy")]
    assert cli.run([*arguments, "--json"]) == 0
    every = json.loads(capsys.readouterr().out)["votes"]
    assert cli.run(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    first = next(k for k, line in enumerate(printed) if line.startswith("votes"))
    shown = [line.removeprefix("votes").strip() for line in printed[first : first + 11]]
    assert shown == [*(f"{name}: {n}" for name, n in list(every.items())[:10]), f"… {len(every) - 10} more"]
    assert len(printed) == first + 11
