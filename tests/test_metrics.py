"""The metrics of explanations on cases that can be computed by hand, and on the edges of their definitions."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import networks
import numpy as np
import onnx
import pytest
from support import model, node, randn

from onnxscope.api import opening
from onnxscope.ask.cases import Cases
from onnxscope.ask.explain import Explainer
from onnxscope.ask.metrics import case as shared
from onnxscope.ask.metrics import robustness
from onnxscope.ask.metrics.case import Case
from onnxscope.ask.metrics.table import ALL, METRICS, NAMED_ONLY, chosen, measured
from onnxscope.ask.trials import CHANCE, EDGES, VOTES, Trials, edges
from onnxscope.errors import BadOption

CATEGORIES = ("faithfulness", "robustness", "localisation", "complexity", "randomisation", "axiomatic")
ROWS, COLUMNS = 4, 6  # so that a step replaces one pixel


def linear(weights: np.ndarray, image: np.ndarray, attribution: np.ndarray) -> Case:
    """A network whose second score is Σ weights·image, and whose first is its opposite."""

    def network(images: np.ndarray) -> np.ndarray:
        score = (images * weights).sum((1, 2, 3))
        return np.stack([-score, score], 1)

    return Case(network=network, image=image, attribution=attribution, score=1)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and an image whose smallest value is 0."""
    image = np.random.default_rng(seed).random((1, ROWS, COLUMNS))
    image[0, 1, 2] = 0
    return randn(1, ROWS, COLUMNS, seed=seed).astype(float), image


def of_map(attribution: np.ndarray, mask: np.ndarray | None = None) -> Case:
    """A case whose network gives the sum of the image."""
    image = np.ones((1, *attribution.shape[-2:]))
    return replace(linear(image, image, attribution), mask=mask)


def test_every_category_has_metrics_and_each_says_what_it_computes() -> None:
    assert len(METRICS) >= 22
    counts = {c: sum(m.category == c for m in METRICS.values()) for c in CATEGORIES}
    assert min(counts.values()) >= 2 and sum(counts.values()) == len(METRICS)
    for name, metric in METRICS.items():
        assert name == name.lower() and metric.better in ("higher", "lower", "neither")
        assert metric.doc.endswith(".") and len(metric.doc) < 110, name
        assert set(metric.needs) <= {"mask", "explain", "explain_random", "explain_shifted"}
        assert metric.function.__name__ == name.replace("-", "_")
        assert re.sub("[^a-z]", "", metric.quantus.lower()) == name.replace("-", "")


def test_what_a_case_lacks_makes_a_metric_not_applicable() -> None:
    case = of_map(np.arange(24.0).reshape(ROWS, COLUMNS))
    for name, metric in METRICS.items():
        assert math.isnan(measured(name, case)) or not metric.needs
    for mask in (np.zeros((ROWS, COLUMNS), bool), np.ones((ROWS, COLUMNS), bool)):
        assert math.isnan(measured("auc", replace(case, mask=mask)))


def test_names_of_metrics() -> None:
    assert chosen([]) == [] and chosen(["auc", "mprt", "auc"]) == ["auc", "mprt"]
    assert chosen([ALL]) == [name for name in METRICS if name not in NAMED_ONLY]
    assert set(chosen([ALL, *NAMED_ONLY])) == set(METRICS)
    with pytest.raises(BadOption, match="there is no metric 'nosuch'"):
        chosen(["auc", "nosuch"])


# faithfulness


@pytest.mark.parametrize("name", ["faithfulness-correlation", "faithfulness-estimate"])
@pytest.mark.parametrize("sign", [1, -1])
def test_contributions_of_a_linear_network_are_its_falls(name: str, sign: int) -> None:
    weights, image = drawn()
    assert measured(name, linear(weights, image, sign * weights * image)) == pytest.approx(sign)
    assert abs(measured(name, linear(weights, image, randn(ROWS, COLUMNS, seed=7)))) < 0.8
    assert math.isnan(measured(name, linear(weights, image, np.ones((ROWS, COLUMNS)))))


def test_pixels_are_flipped_in_the_order_of_the_map() -> None:
    weights, image = drawn()
    parts = (weights * image).reshape(-1)
    falling = parts.sum() - np.cumsum(np.sort(parts)[::-1])
    expected = float((falling[1:] + falling[:-1]).sum() / 2)
    assert measured("pixel-flipping", linear(weights, image, weights * image)) == pytest.approx(expected)
    assert measured("pixel-flipping", linear(weights, image, -weights * image)) > expected
    assert measured("pixel-flipping", linear(weights, image, 7 * weights[0] * image[0])) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_monotone_importance(sign: int) -> None:
    """Weights that grow by four: what a pixel changes grows with them, whatever is put in its place."""
    sizes = 4.0 ** np.arange(24).reshape(1, ROWS, COLUMNS)
    image = np.full((1, ROWS, COLUMNS), 0.5)
    ranks = np.arange(1.0, 25).reshape(ROWS, COLUMNS)
    case = linear(sizes, image, ranks if sign == 1 else ranks[::-1, ::-1])
    assert measured("monotonicity-correlation", case) == pytest.approx(sign)
    assert measured(
        "monotonicity-correlation", replace(case, attribution=-case.attribution)
    ) == pytest.approx(sign)


def two_squares() -> Case:
    """Two squares of 8 × 8 pixels that add 63 and 128 to the score."""
    image = np.ones((1, 8, 16))
    image[0, 0, 0] = 0
    weights = np.repeat([1.0, 2.0], 8) * np.ones((1, 8, 16))
    return linear(weights, image, weights * image)


def test_squares_are_replaced_in_the_order_of_their_sums() -> None:
    case = two_squares()
    other = replace(case, attribution=-case.attribution)
    assert measured("region-perturbation", case) == (128 + 191) / 2
    assert measured("region-perturbation", other) == (63 + 191) / 2
    assert measured("selectivity", case) == (63 + 0) / 2
    assert measured("selectivity", other) == (128 + 0) / 2


def test_infidelity_is_0_for_the_weights_of_a_linear_network() -> None:
    case = two_squares()
    assert measured("infidelity", replace(case, attribution=np.repeat([1.0, 2.0], 8) * np.ones((8, 16)))) == 0
    nothing = replace(case, attribution=np.zeros((8, 16)))
    assert measured("infidelity", nothing) == (63**2 + 191**2) / 2


def test_squares_that_do_not_fit_are_smaller_at_both_edges() -> None:
    found = shared.patches(of_map(np.ones((10, 17))))
    assert [len(s) for s in found] == [5 * 5, 5 * 8, 5 * 4] * 2
    assert sorted(np.concatenate(found)) == list(range(170))
    assert set(found[0]) == {y * 17 + x for y in range(5) for x in range(5)}


def test_steps_replace_whole_pixels() -> None:
    case = replace(of_map(np.ones((10, 10))), image=np.ones((3, 10, 10)))
    assert [len(g) for g in shared.in_steps(case, np.arange(300))] == [15] * 20
    assert len(shared.in_steps(of_map(np.ones((2, 3))), np.arange(6))) == 6


def test_equal_values_come_in_a_random_order_that_is_fixed() -> None:
    flat = shared.order(np.ones(50))
    assert sorted(flat) == list(range(50)) and list(flat) != list(range(50))
    np.testing.assert_array_equal(flat, shared.order(np.zeros(50)))
    np.testing.assert_array_equal(shared.order(np.array([1.0, 3, 2])), [1, 2, 0])


# robustness


def echo(value: float = 0.5) -> Case:
    """A map that is the image, of a network whose scores are the image."""
    image = np.full((1, ROWS, COLUMNS), value)
    return Case(
        network=lambda images: images.reshape(len(images), -1),
        image=image,
        attribution=image,
        score=0,
        explain=lambda image, _: image,
    )


ROBUST = [name for name, metric in METRICS.items() if metric.category == "robustness"]


@pytest.mark.parametrize("name", ROBUST)
def test_a_map_that_ignores_the_image_is_robust(name: str) -> None:
    case = echo()
    assert measured(name, replace(case, explain=lambda *_: case.attribution)) == 0


def test_robustness_of_a_map_that_is_the_image() -> None:
    case = echo()
    assert measured("relative-input-stability", case) == pytest.approx(1)
    assert measured("relative-output-stability", case) == pytest.approx(2)  # ‖Δ / 0.5‖ / ‖Δ‖
    random, size = np.random.RandomState(42), np.linalg.norm(case.image)
    lengths = [np.linalg.norm(random.uniform(-0.2, 0.2, 24)) / size for _ in range(10)]
    assert measured("max-sensitivity", case) == pytest.approx(max(lengths))
    assert measured("avg-sensitivity", case) == pytest.approx(np.mean(lengths))


def test_the_lipschitz_estimate_is_the_steepest_change_of_the_scaled_map() -> None:
    case = echo()

    def explain(image: np.ndarray, _: int) -> np.ndarray:
        return np.concatenate([np.full((1, ROWS, 1), 100.0), image[:, :, 1:]], 2)

    random, found = np.random.RandomState(42), []
    for _ in range(10):
        noise = random.normal(0, 0.1, (ROWS, COLUMNS))
        found.append(np.linalg.norm(noise[:, 1:]) / 100 / np.linalg.norm(noise))
    steep = replace(case, attribution=explain(case.image, 0), explain=explain)
    assert measured("local-lipschitz-estimate", steep) == pytest.approx(max(found), rel=1e-6)


def test_a_moved_image_is_filled_with_its_smallest_value() -> None:
    image = np.arange(1.0, 7).reshape(1, 1, 6)
    assert robustness.moved(image, 2).tolist() == [[[1, 1, 1, 2, 3, 4]]]
    assert robustness.moved(image, -2).tolist() == [[[3, 4, 5, 6, 1, 1]]]
    assert robustness.moved(image, 0).tolist() == image.tolist()
    assert robustness.moved(image, 6).tolist() == [[[1] * 6]]


def test_continuity_looks_at_images_from_one_side_to_the_other() -> None:
    shown: list[np.ndarray] = []
    case = echo()
    image = np.arange(1.0, 41).reshape(1, 1, 40)

    def explain(moved: np.ndarray, _: int) -> np.ndarray:
        shown.append(moved)
        return np.ones((1, 1, 40)) if len(shown) < 5 else np.zeros((1, 1, 40))

    ones = replace(case, image=image, attribution=np.ones((1, 40)), explain=explain)
    found = measured("continuity", ones)
    assert len(shown) == 28 and [np.count_nonzero(i != 1) for i in shown[:3]] == [2, 4, 6]
    farthest = [40 / np.linalg.norm(image - i) for i in shown[4:] if (i != image).any()]
    assert found == pytest.approx(max(farthest)) or found > 1e9  # the image itself divides by almost 0


# localisation

MASK = np.zeros((4, 5), bool)
MASK[1:3, 2:4] = True
LOCAL = [name for name, metric in METRICS.items() if metric.category == "localisation"]


@pytest.mark.parametrize("name", LOCAL)
def test_a_map_of_the_mask_is_perfect_and_its_opposite_is_not(name: str) -> None:
    assert measured(name, of_map(MASK * 1.0, MASK)) == pytest.approx(1)
    assert measured(name, of_map(~MASK * 1.0, MASK)) == 0


def test_localisation_by_hand() -> None:
    mask = np.array([[True, False, False, True]])
    case = of_map(np.array([[3.0, 1, -2, 0]]), mask)
    assert measured("auc", case) == pytest.approx((2 + 1) / 4)
    assert measured("auc", of_map(np.zeros((1, 4)), mask)) == 0.5
    assert measured("attribution-localisation", case) == pytest.approx(3 / 6)
    assert measured("relevance-mass-accuracy", case) == pytest.approx(3 / 2)
    assert measured("relevance-rank-accuracy", case) == pytest.approx(1 / 2)
    assert measured("pointing-game", of_map(np.array([[3.0, 3, 3, 0]]), mask)) == pytest.approx(1 / 3)
    tenths = of_map(np.arange(20.0).reshape(4, 5), np.arange(20).reshape(4, 5) == 18)
    assert measured("top-k-intersection", tenths) == 1 / 2
    channels = replace(case, attribution=np.stack([case.attribution, 0 * case.attribution]))
    assert all(measured(name, channels) == measured(name, case) for name in LOCAL)


# complexity


def test_complexity_of_one_value_and_of_equal_ones() -> None:
    one, equal = np.zeros((4, 5)), np.full((4, 5), -3.0)
    one[1, 2] = -7
    assert measured("complexity", of_map(one)) == pytest.approx(0, abs=1e-9)
    assert measured("complexity", of_map(equal)) == pytest.approx(math.log(20))
    assert (
        measured("effective-complexity", of_map(one)),
        measured("effective-complexity", of_map(equal)),
    ) == (1, 20)
    assert measured("sparseness", of_map(one)) == pytest.approx(1 - 1 / 20, rel=1e-4)
    assert measured("sparseness", of_map(equal)) == pytest.approx(0)
    assert math.isnan(measured("complexity", of_map(np.zeros((4, 5)))))
    small = np.where(one, 1, 1e-6)
    assert measured("effective-complexity", of_map(small)) == 1


# randomisation


def test_random_weights_are_compared_by_the_order_of_sizes() -> None:
    case = of_map(np.arange(1.0, 21).reshape(4, 5))
    same = replace(case, explain_random=lambda *_: -np.exp(case.attribution))
    assert measured("mprt", same) == pytest.approx(1)
    turned = replace(case, explain_random=lambda *_: 1 / case.attribution)
    assert measured("mprt", turned) == pytest.approx(-1)
    assert math.isnan(measured("mprt", replace(case, explain_random=lambda *_: np.ones((4, 5)))))


def test_a_rise_of_the_entropy_of_a_histogram() -> None:
    halves = np.repeat([0.0, 1.0], 50).reshape(10, 10)
    case = replace(of_map(halves), explain_random=lambda *_: np.arange(100.0).reshape(10, 10))
    assert measured("efficient-mprt", case) == pytest.approx(math.log(100) / math.log(2) - 1)
    assert math.isnan(measured("efficient-mprt", replace(case, attribution=np.ones((10, 10)))))


def test_another_score_is_explained() -> None:
    case = of_map(np.arange(20.0).reshape(4, 5))
    opposite = replace(case, explain=lambda _, score: case.attribution * (1 if score == 1 else -1))
    assert measured("random-logit", opposite) == pytest.approx(-1)
    assert measured("random-logit", replace(case, explain=lambda *_: case.attribution)) == pytest.approx(1)
    single = replace(opposite, network=lambda images: images.sum((1, 2, 3))[:, None], score=0)
    assert math.isnan(measured("random-logit", single))


# axioms


def test_completeness_holds_to_the_last_bit() -> None:
    image = np.arange(24.0).reshape(1, ROWS, COLUMNS)
    case = linear(np.full_like(image, 2), image, 2 * image)
    assert measured("completeness", case) == 1
    assert measured("completeness", replace(case, attribution=2 * image + 1e-9)) == 0


def test_features_that_do_nothing_should_have_no_attribution() -> None:
    weights, image = np.ones((1, ROWS, COLUMNS)), np.ones((1, ROWS, COLUMNS))
    weights[0, :2], image[0, 3, 3] = 0, 0  # 12 features without weight, and one that is the smallest value
    case = linear(weights, image, weights)
    assert measured("non-sensitivity", case) == 1
    assert measured("non-sensitivity", replace(case, attribution=np.ones((ROWS, COLUMNS)))) == 13
    assert measured("non-sensitivity", replace(case, attribution=1 - weights)) == 23


def test_a_shift_that_the_network_undoes_should_not_change_the_map() -> None:
    case = of_map(np.arange(20.0).reshape(4, 5))
    undone = replace(case, explain_shifted=lambda image, _: case.attribution + 0.00005 * (image[0] == 0))
    assert measured("input-invariance", undone) == 1
    assert measured("input-invariance", replace(case, explain_shifted=lambda *_: case.attribution + 1)) == 0


# cases of a network


SIDE = 16


def cases_of(proto: onnx.ModelProto) -> Cases:
    return Cases(Trials(Explainer(opening.opened(proto))))


def picture() -> np.ndarray:
    return np.random.default_rng(1).random((1, 3, SIDE, SIDE), np.float32)


def small() -> onnx.ModelProto:
    return networks.vgg(False, 4, (4, 6), side=SIDE)


def channels_last() -> onnx.ModelProto:
    proto = small()
    proto.graph.node.insert(0, node("Transpose", ["pixels"], ["image"], perm=[0, 3, 1, 2]))
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("pixels", 1, [1, SIDE, SIDE, 3]))
    return proto


@pytest.mark.parametrize("method", ["saliency", VOTES, EDGES])
def test_metrics_do_not_depend_on_the_layout(method: str) -> None:
    mask = np.tri(SIDE) > 0
    names = chosen([ALL])
    first = cases_of(small()).measured(names, method, picture(), mask)
    last = cases_of(channels_last()).measured(names, method, picture().transpose(0, 2, 3, 1), mask)
    assert list(first) == names
    assert first == pytest.approx(last, rel=1e-3, abs=1e-3, nan_ok=True)
    if method == "saliency":
        assert all(map(math.isfinite, first.values())), first


def test_a_constant_map_has_no_correlation_and_chooses_pixels_by_chance() -> None:
    mask = np.tri(SIDE) > 0
    found = cases_of(small()).measured(
        ["faithfulness-correlation", "pointing-game", "auc"], CHANCE, picture(), mask
    )
    assert math.isnan(found["faithfulness-correlation"])
    assert found["pointing-game"] == pytest.approx(mask.mean()) and found["auc"] == 0.5


def of_batch(batch: str) -> onnx.ModelProto:
    """A network that treats each image by itself, or that adds the mean of all images, or that takes one image."""
    nodes = {
        "free": [node("Flatten", ["image"], ["f"])],
        "mixed": [
            node("ReduceMean", ["image", "first"], ["mean"]),
            node("Add", ["image", "mean"], ["sum"]),
            node("Flatten", ["sum"], ["f"]),
        ],
        "one": [node("Reshape", ["image", "shape"], ["f"])],
    }
    weights = {"w": randn(12, 3), "first": np.array([0]), "shape": np.array([1, 12])}
    used = {i for n in nodes[batch] for i in n.input} | {"w"}
    return model(
        [*nodes[batch], node("MatMul", ["f", "w"])],
        {"image": np.zeros((1, 3, 2, 2), np.float32)},
        ["y"],
        weights={name: values for name, values in weights.items() if name in used},
    )


@pytest.mark.parametrize(("batch", "single_runs"), [("free", 0), ("mixed", 3), ("one", 3)])
def test_images_run_together_where_each_is_treated_by_itself(batch: str, single_runs: int) -> None:
    trials = Trials(Explainer(opening.opened(of_batch(batch))))
    alone, runs = trials.network, []
    trials.network = lambda image: runs.append(1) or alone(image)  # type: ignore[method-assign,func-returns-value]
    images = randn(3, 3, 2, 2, seed=5)
    case = Cases(trials).case(CHANCE, images[:1])
    case.network(images)
    runs.clear()
    found = case.network(images)
    assert len(runs) == single_runs
    np.testing.assert_allclose(
        found, np.stack([alone(image[None]) for image in images]), rtol=1e-5, atol=1e-5
    )


def test_a_network_without_weights_has_no_random_ones() -> None:
    proto = model(
        [node("ReduceMean", ["image", "axes"], keepdims=0)],
        {"image": np.zeros((1, 3, 8, 8), np.float32)},
        ["y"],
        weights={"axes": np.array([2, 3])},
    )
    case = cases_of(proto).case(CHANCE, randn(1, 3, 8, 8))
    assert case.explain_random is None and math.isnan(measured("mprt", case))


def test_the_shifted_network_undoes_the_shift() -> None:
    case = cases_of(small()).case("input-x-gradient", picture())
    assert case.explain_shifted is not None and case.explain is not None
    gradient = cases_of(small()).case("saliency", picture())
    assert gradient.explain_shifted is not None
    shifted = gradient.explain_shifted(gradient.image - np.float32(1), gradient.score)
    np.testing.assert_allclose(shifted, gradient.attribution, rtol=1e-3, atol=1e-5)
    other = case.explain_shifted(case.image - np.float32(1), case.score)
    assert not np.allclose(other, case.attribution, rtol=0.1)


# edges


def test_edges_lie_where_the_picture_changes() -> None:
    picture = np.zeros((6, 8, 3))
    picture[:, 4:, 1] = 0.5
    found = edges(picture)
    assert found.shape == (6, 8)
    np.testing.assert_array_equal(np.flatnonzero(found.any(0)), [3, 4])
    np.testing.assert_allclose(found[:, 3:5], 4 * 0.5)
    np.testing.assert_allclose(edges(picture.transpose(1, 0, 2)), found.T)
    assert not edges(np.ones((5, 5, 3))).any()
    np.testing.assert_allclose(edges(np.repeat(picture[..., 1:2], 4, 2)), 2 * found)
