"""Measures of explanations with known values, and the verb `evaluate` on all kinds of folders."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from PIL import Image
from pyarrow import parquet
from scipy.stats import spearmanr
from support import model, node, randn

from onnxscope.api import opening
from onnxscope.ask import evaluation, sensitivity
from onnxscope.ask.contributions import contributions
from onnxscope.ask.explain import Explainer, enlarged
from onnxscope.ask.ledger import Ledger
from onnxscope.ask.trials import CHANCE, EDGES, MEASURES, VOTES, Trials
from onnxscope.cli import main as cli
from onnxscope.errors import BadOption
from onnxscope.rewriting.scope import Scope

SIDE = 32


def linear(weights: np.ndarray) -> evaluation.Network:
    """Scores that are a matrix times the image."""
    return lambda image: weights @ image.reshape(-1)


def linear_model(weights: np.ndarray, shape: tuple[int, ...]) -> onnx.ModelProto:
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"], name="dense")]
    return model(
        nodes,
        {"x": np.zeros(shape, np.float32)},
        ["y"],
        weights={"w": np.ascontiguousarray(weights.T, np.float32)},
    )


# against the network


def test_places_follow_relevance_and_equals_are_shuffled() -> None:
    np.testing.assert_array_equal(
        evaluation.ranks(np.array([[3.0, 1.0], [2.0, 9.0]])), [[0.25, 0.75], [0.5, 0]]
    )
    flat = evaluation.ranks(np.zeros((10, 10)))
    assert sorted(flat.reshape(-1)) == pytest.approx(np.arange(100) / 100)
    assert 0.3 < flat[:5].mean() < 0.7  # not in the order of reading
    np.testing.assert_array_equal(flat, evaluation.ranks(np.ones((10, 10))))


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 3, 2, 4), "auto"), ((3, 2, 4), "auto"), ((1, 2, 4, 3), "auto"), ((1, 2, 4, 7), "nhwc")],
)
def test_pixels_are_kept_in_every_layout(shape: tuple[int, ...], layout: str) -> None:
    image, pixels = randn(*shape), np.arange(8).reshape(2, 4) % 3 == 0
    kept = evaluation.with_only(image, pixels, 0.0, layout)
    assert kept.shape == shape and kept.dtype == np.float32
    first = 3 in shape and shape.index(3) < len(shape) - 1
    np.testing.assert_array_equal(kept, image * (pixels if first else pixels[..., None]))
    colour = evaluation.mean_colour(image, layout)
    assert colour.size == (7 if layout == "nhwc" else 3)
    whole = evaluation.with_only(image, np.zeros_like(pixels), colour, layout)
    np.testing.assert_allclose(evaluation.mean_colour(whole, layout), colour, rtol=1e-5)


def test_classes_stay_where_their_pixels_do() -> None:
    """Twelve classes, each of which looks at one of twenty pixels."""
    image = np.linspace(1, 2, 20, dtype=np.float32).reshape(1, 1, 4, 5)
    network = linear(np.eye(20)[8:])  # the highest five look at the last pixels
    seen = np.arange(20.0).reshape(4, 5)
    assert evaluation.top_kept(network, image, seen) == 1
    assert evaluation.top_kept(network, image, -seen, top=1) == 0
    assert evaluation.top_kept(network, image, np.where(seen >= 17, seen, -seen)) == pytest.approx(3 / 5)
    assert math.isnan(evaluation.top_kept(linear(np.ones((1, 20))), image, seen))


@pytest.mark.parametrize("pixels", [10, 19, 20, 21])
def test_not_more_than_the_share_of_pixels_is_kept(pixels: int) -> None:
    shown: list[int] = []

    def network(image: np.ndarray) -> np.ndarray:
        shown.append(np.count_nonzero(image))
        return np.arange(4.0)

    evaluation.top_kept(network, np.ones((1, 1, 1, pixels), np.float32), np.arange(pixels)[None] * 1.0)
    assert shown == [pixels, math.ceil(3 * pixels / 10)]


def test_contributions_are_the_best_order_for_a_linear_network() -> None:
    weights, image = randn(2, 6, seed=1), randn(1, 1, 2, 3, seed=2)
    best = (weights[1] * (image - image.mean()).reshape(-1)).reshape(2, 3)
    orders = [np.array(p, float).reshape(2, 3) for p in itertools.permutations(range(6))]
    for test, extreme in ((evaluation.deletion, min), (evaluation.insertion, max)):
        areas = [test(linear(weights), image, order, 1, steps=6).areas[1] for order in orders]
        assert test(linear(weights), image, best, 1, steps=6).areas[1] == pytest.approx(
            extreme(areas), rel=1e-5
        )


def test_curves_go_from_the_image_to_its_mean_colour_and_back() -> None:
    weights, image, relevance = randn(3, 12, seed=3), randn(1, 3, 2, 2, seed=4), randn(2, 2, seed=5)
    ends = [
        linear(weights)(i)[1] for i in (image, np.broadcast_to(evaluation.mean_colour(image), image.shape))
    ]
    deleted, inserted = (
        f(linear(weights), image, relevance, 1) for f in (evaluation.deletion, evaluation.insertion)
    )
    np.testing.assert_allclose(deleted.score[[0, -1]], ends, rtol=1e-5)
    np.testing.assert_allclose(inserted.score[[-1, 0]], ends, rtol=1e-5)
    assert len(deleted.score) == len(inserted.score) == evaluation.STEPS + 1
    assert evaluation.Curve(np.array([0.0, 1, 1]), np.array([2.0, 2, 2])).areas == (0.75, 2)


def test_probabilities() -> None:
    np.testing.assert_allclose(evaluation.probabilities(np.array([1000.0, 1000])), [0.5, 0.5])
    assert evaluation.probabilities(np.array([[2.0]]))[0, 0] == pytest.approx(1 / (1 + math.exp(-2)))


# against masks


def test_masks() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    assert evaluation.pointing(mask * 1.0, mask) == evaluation.mass_inside(mask * 1.0, mask) == 1
    assert evaluation.pointing(~mask * 1.0, mask) == evaluation.mass_inside(~mask * 1.0, mask) == 0
    assert evaluation.pointing(np.zeros((4, 5)), mask) == pytest.approx(0.2)
    assert evaluation.mass_inside(np.where(mask, 1, -9), mask) == 1  # what speaks against a class is left out
    assert math.isnan(evaluation.mass_inside(np.zeros((4, 5)), mask))
    assert evaluation.voting(mask, mask) == (1, 0)
    votes = np.zeros((4, 5), bool)
    votes[:2] = True
    assert evaluation.voting(votes, mask) == (0.5, 0.5)


# against other maps


def test_distances() -> None:
    a, b = randn(3, 50, 50, seed=6), randn(3, 50, 50, seed=7)
    assert evaluation.correlation(a, 3 * a + 1) == pytest.approx(1)
    assert abs(evaluation.correlation(a, b)) < 0.05
    assert evaluation.correlation(a, np.ones_like(a)) == 0
    assert sensitivity.rank_correlation(a, np.exp(a)) == pytest.approx(1)
    mixed = a + b
    assert sensitivity.rank_correlation(a, mixed) == pytest.approx(
        spearmanr(a.reshape(-1), mixed.reshape(-1)).statistic
    )


def test_sensitivity_to_the_class() -> None:
    a = randn(1, 4, 4, seed=8)
    assert evaluation.class_sensitivity(np.stack([a, a, a])) == pytest.approx(0)
    assert evaluation.class_sensitivity(np.stack([a, a, -a])) == pytest.approx(1)
    assert evaluation.class_sensitivity(np.stack([a, np.zeros_like(a)])) == 1
    assert math.isnan(evaluation.class_sensitivity(a[None])) and math.isnan(
        evaluation.class_sensitivity(np.zeros((2, 3, 3)))
    )


def test_recovery_of_the_image() -> None:
    image = randn(1, 3, 9, 9, seed=9)
    assert evaluation.image_recovery(1 - 2 * image, image) == pytest.approx(1)
    assert evaluation.image_recovery(randn(1, 3, 9, 9, seed=10), image) < 0.2


# weights and attacks


def weights_by_layer(scope: Scope) -> dict[str, np.ndarray]:
    return {n.name: t.values for n, t in sensitivity.weighted(scope)}


def test_weights_are_drawn_anew_from_the_top_down() -> None:
    scope = opening.opened(networks.vgg(False, 4, (4, 6), side=16))
    before = weights_by_layer(scope)
    stages = list(sensitivity.randomised(scope))
    assert (
        [name for name, _ in stages]
        == list(before)[::-1]
        == ["scores", "dense", "conv1b", "conv1a", "conv0b", "conv0a"]
    )
    for k, (_, changed) in enumerate(stages, 1):
        after = weights_by_layer(changed)
        assert [not np.array_equal(after[n], before[n]) for n in before] == [False] * (6 - k) + [True] * k
        assert all(after[n].std() == pytest.approx(before[n].std(), rel=0.3) for n in before)
    assert all(np.array_equal(values, before[n]) for n, values in weights_by_layer(scope).items())
    again = list(sensitivity.randomised(scope))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            weights_by_layer(stages[-1][1]).values(), weights_by_layer(again[-1][1]).values(), strict=True
        )
    )


def test_a_network_without_weights_has_none_to_draw() -> None:
    scope = opening.opened(model([node("Relu", ["x"])], {"x": np.zeros((1, 4), np.float32)}, ["y"]))
    with pytest.raises(BadOption, match="no layer with constant weights"):
        next(sensitivity.randomised(scope))


def test_quantized_weights_are_drawn_too() -> None:
    scope = opening.opened(Path(__file__).parents[1] / "models" / "scenes_resnet_int8.onnx")
    assert len(sensitivity.weighted(scope)) == 13 and all(
        w.dtype == np.int8 for w in weights_by_layer(scope).values()
    )
    _, changed = next(sensitivity.randomised(scope))
    assert weights_by_layer(changed)["scores"].dtype == np.int8


@pytest.mark.parametrize(
    ("kind", "middle"), [(np.float32, 0), (np.float16, 0), (np.int8, 0), (np.uint8, 130)]
)
def test_weights_are_drawn_in_their_type(kind: type, middle: float) -> None:
    values = (130 if kind is np.uint8 else 30) + 9 * randn(90, 90)
    drawn = sensitivity.drawn_like(values.astype(kind), np.random.default_rng(0))
    assert drawn.dtype == kind
    assert (drawn.astype(float).mean(), drawn.astype(float).std()) == pytest.approx(
        (middle, 9), abs=0.7
    )  # numbers were cut off


def test_random_weights_leave_little_of_a_gradient() -> None:
    trials = Trials(Explainer(opening.opened(networks.vgg(False, 4, (4, 6), side=16))))
    images = [np.random.default_rng(k).random((1, 3, 16, 16), np.float32) for k in range(3)]
    calls: list[tuple[int, int]] = []
    found = dict(trials.without_weights(["saliency"], images, lambda *at: calls.append(at)))
    assert list(found) == ["scores", "dense", "conv1b", "conv1a", "conv0b", "conv0a"] and calls[-1] == (6, 6)
    assert all(0.6 < d < 1.4 for d in found["conv0a"]["saliency"])


def test_an_attack_on_a_linear_network() -> None:
    """Every value moves against its weight: the score falls by step · Σ|w|; only the image contributes."""
    weights, image = randn(2, 12, seed=11), randn(1, 3, 2, 2, seed=12)
    trials = Trials(Explainer(opening.opened(linear_model(weights, image.shape))))
    score = int((weights @ image.reshape(-1)).argmax())
    found = trials.attack(image, 0.1)
    assert found.scores[0] - found.scores[1] == pytest.approx(0.1 * np.abs(weights[score]).sum(), rel=1e-4)
    assert found.depths == (0, 0)
    assert not trials.attack(image, 100.0).named and trials.attack(image, 0.0).named
    assert trials.attack(image, 0.0).inside["x"] == pytest.approx(1)


def test_depth_is_the_mean_depth_of_contributions() -> None:
    assert sensitivity.depth(Ledger(3, 3, {"a": 0, "b": 0})) == 0
    assert sensitivity.depth(Ledger(-3, 0, {"a": 0, "b": -3})) == 1
    assert sensitivity.depth(Ledger(0, 1, {"a": 0, "b": -1})) == 0.5
    assert sensitivity.depth(Ledger(0, 0, {"a": 0})) == 0


# trials


def small(kinds: int = 4) -> onnx.ModelProto:
    return networks.vgg(False, kinds, (4, 6), side=SIDE)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 3, SIDE, SIDE), np.float32)


def test_hirescam_is_what_a_feature_map_contributes() -> None:
    explainer = Explainer(opening.opened(small()), layer="conv1a.relu")
    x = explainer.opened().freeze(picture())
    (ours,) = contributions(x, 2, ["conv1a.relu"])
    (cam,) = explainer.maps("hirescam", picture(), [2])
    np.testing.assert_allclose(cam, enlarged(ours.values.clip(0), (SIDE, SIDE)), atol=1e-5)


@pytest.mark.parametrize("method", ["discussion", "guided", "grad-cam", VOTES, EDGES, CHANCE])
def test_a_trial_measures_what_applies(method: str) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:16] = True
    measured = Trials(Explainer(opening.opened(small()))).measures(method, picture(), mask)
    assert set(measured) <= set(MEASURES) and all(map(math.isfinite, measured.values()))
    assert ("voting_inside" in measured) == (method == VOTES)
    assert ("class_sensitivity" in measured) == (method != CHANCE)
    if method == CHANCE:
        assert measured["pointing"] == measured["mass_inside"] == 0.25


def test_trials_of_pictures_with_channels_last() -> None:
    proto = small()
    shape = [1, SIDE, SIDE, 3]
    proto.graph.node.insert(0, node("Transpose", ["pixels"], ["image"], perm=[0, 3, 1, 2]))
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("pixels", 1, shape))
    first, last = (Trials(Explainer(opening.opened(p))) for p in (small(), proto))
    for method in ("input-x-gradient", "grad-cam"):
        assert last.measures(method, picture().transpose(0, 2, 3, 1)) == pytest.approx(
            first.measures(method, picture()), abs=1e-3
        )


# the verb

Evaluate = Callable[..., tuple[int, dict[str, Any], list[dict[str, str]]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of which is broken, a mask of one, and a mask of nothing."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    onnx.save(small(), tmp_path / "net.onnx")
    for name, seed in (("a", 1), ("c", 2)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
            pictures / f"{name}.png"
        )
    (pictures / "b.png").write_bytes((pictures / "a.png").read_bytes()[:300])
    mask = np.zeros((2 * SIDE, 2 * SIDE), bool)
    Image.fromarray(mask).save(pictures / "c.mask.png")
    mask[:SIDE] = True
    Image.fromarray(mask).save(pictures / "a.mask.png")
    return pictures


@pytest.fixture
def evaluate(folder: Path, capsys: pytest.CaptureFixture) -> Evaluate:
    def asked(*options: str) -> tuple[int, dict[str, Any], list[dict[str, str]]]:
        table = folder.parent / "out.csv"
        code = cli.run(
            ["evaluate", str(folder.parent / "net.onnx"), str(folder), "-o", str(table), "--json", *options]
        )
        with table.open(newline="", encoding="utf-8") as file:
            return code, json.loads(capsys.readouterr().out), list(csv.DictReader(file))

    return asked


def test_a_folder_is_evaluated(evaluate: Evaluate) -> None:
    code, facts, rows = evaluate("--method", "votes,guided", "--fgsm", "2", "--randomise")
    assert code == 0 and (facts["pictures"], facts["masks"]) == (2, 1)
    assert [s["picture"] for s in facts["skipped"]] == ["b.png"] and "cannot be read" in facts["skipped"][0][
        "why"
    ]
    assert list(rows[0]) == ["picture", "class", "mask_share", "method", *MEASURES]
    assert [(r["picture"], r["method"]) for r in rows] == [
        (p, m) for p in ("a.png", "c.png") for m in (VOTES, "guided", EDGES, CHANCE)
    ]
    assert [r["mask_share"] for r in rows] == ["0.5"] * 4 + [""] * 4
    assert rows[0]["pointing"] and not rows[4]["pointing"] and not rows[1]["voting_inside"]
    insertions = [float(r["insertion"]) for r in rows if r["method"] == "guided"]
    assert facts["methods"]["guided"]["insertion"] == pytest.approx(np.mean(insertions))
    assert facts["methods"][CHANCE]["class_sensitivity"] is None
    assert [stage["layer"] for stage in facts["randomised"]][:2] == ["scores", "dense"]
    assert set(facts["randomised"][0]) == {"layer", "votes", "guided"}
    assert facts["fgsm"]["levels"] == 2 and facts["fgsm"]["score"]["after"] < facts["fgsm"]["score"]["before"]
    assert 0 <= facts["fgsm"]["still_named"] <= 1 and "conv0a.relu" in facts["fgsm"]["inside"]


def test_an_attack_by_levels_of_a_picture(folder: Path, evaluate: Evaluate) -> None:
    """A level is scale/std to the model: the score of a linear network falls by that times Σ|w|, over channels."""
    weights = randn(1, 3 * SIDE * SIDE, seed=11)
    onnx.save(
        linear_model(np.concatenate([weights, -weights]), (1, 3, SIDE, SIDE)), folder.parent / "net.onnx"
    )
    score = evaluate("--method", "saliency", "--fgsm", "2", "--preset", "imagenet")[1]["fgsm"]["score"]
    level = 1 / 255 / np.array([0.229, 0.224, 0.225])
    fall = 2 * level @ np.abs(weights.reshape(3, -1)).sum(1)
    assert score["before"] - score["after"] == pytest.approx(fall, rel=1e-4)


def test_progress_counts_all_pictures(
    folder: Path, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []

    @contextmanager
    def counting(what: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: seen.append((what, done, total))

    monkeypatch.setattr(cli.evaluating, "counting", counting)
    evaluate("--method", "saliency")
    assert seen == [("pictures", 1, 3), ("pictures", 2, 3), ("pictures", 3, 3)]


def test_only_the_first_pictures(evaluate: Evaluate) -> None:
    assert evaluate("--method", "saliency", "--count", "1")[1]["pictures"] == 1


def test_the_table_for_people(folder: Path, capsys: pytest.CaptureFixture) -> None:
    labels = folder / "labels.txt"
    labels.write_text("ant\nbee\ncat\ndog\n", encoding="utf-8")
    arguments = [
        "evaluate",
        str(folder.parent / "net.onnx"),
        str(folder),
        "--method",
        "guided",
        "--labels",
        str(labels),
        "--randomise",
        "--fgsm",
        "1",
    ]
    assert cli.run(arguments) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert "pointing" in lines[0] and "votes inside" not in lines[0]
    assert lines[1].startswith("guided ") and lines[2].startswith("edges ")
    assert lines[3].startswith("chance ") and "–" in lines[3]
    assert "skipped b.png: " in said and "FGSM by 1 of 255 levels" in said and "conv0a" in said
    assert lines[-1].startswith("2 pictures, 1 with masks, 1 skipped; written ")
    assert (folder.parent / "net.evaluate.csv").read_text(encoding="utf-8").count("(") == 6


def test_without_masks_their_columns_are_left_out(folder: Path, capsys: pytest.CaptureFixture) -> None:
    for mask in folder.glob("*.mask.png"):
        mask.unlink()
    assert cli.run(["evaluate", str(folder.parent / "net.onnx"), str(folder), "--method", "guided"]) == 0
    said = capsys.readouterr().out
    assert "pointing" not in said and "2 pictures, 0 with masks" in said


def test_one_score_has_no_others_to_compare_with(folder: Path, evaluate: Evaluate) -> None:
    onnx.save(small(kinds=1), folder.parent / "net.onnx")
    _, facts, _ = evaluate("--method", "guided")
    assert (
        facts["methods"]["guided"]["class_sensitivity"] is None
        and facts["methods"]["guided"]["top_kept"] is None
    )
    assert 0 < facts["methods"]["guided"]["insertion"] < 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda f: [p.unlink() for p in f.iterdir()],
            "holds no pictures; name a folder with files that end in .png, .jpg, .jpeg",
        ),
        (
            lambda f: [(f / f"{n}.png").write_bytes(b"no") for n in "abc"],
            "c.png': is not an image; give a PNG, JPEG or .npy file",
        ),
        (
            lambda f: onnx.save(networks.edsr(4, 1, size=SIDE), f.parent / "net.onnx"),
            "the output must be a vector of scores, and it is an image",
        ),
    ],
)
def test_what_cannot_be_evaluated(
    folder: Path, capsys: pytest.CaptureFixture, change: Callable[[Path], Any], line: str
) -> None:
    change(folder)
    assert cli.run(["evaluate", str(folder.parent / "net.onnx"), str(folder)]) == 2
    said = capsys.readouterr().err.lstrip("\n")
    assert line in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--method", "guided,nosuch"], "there is no method 'nosuch'"),
        (["--method", "grad-cam", "--layer", "nosuch"], "no tensor 'nosuch'"),
        (["--labels", "absent.txt"], "cannot be read as text"),
        (
            ["--image-input", "conv0a"],
            "the image must be an input of the model, and 'conv0a' is a tensor inside it",
        ),
    ],
)
def test_options_that_do_not_fit(
    folder: Path, capsys: pytest.CaptureFixture, options: list[str], line: str
) -> None:
    assert cli.run(["evaluate", str(folder.parent / "net.onnx"), str(folder), *options]) == 2
    said = capsys.readouterr().err.lstrip("\n")
    assert line in said and said.count("\n") == 1 and not list(folder.parent.glob("*.csv"))


def test_a_folder_that_is_none(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.run(["evaluate", str(folder.parent / "net.onnx"), str(folder / "absent")]) == 2
    assert "cannot be read as a folder" in capsys.readouterr().err


def test_parquet(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert (
        cli.run(
            [
                "evaluate",
                str(folder.parent / "net.onnx"),
                str(folder),
                "--method",
                "guided",
                "-o",
                str(folder / "out.parquet"),
            ]
        )
        == 0
    )
    assert (
        parquet.read_table(folder / "out.parquet").column("method").to_pylist()
        == ["guided", EDGES, CHANCE] * 2
    )
