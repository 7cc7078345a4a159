"""Ledgers, filters and bicubic enlargement, compared with matrices and numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import networks
import numpy as np
import onnx
import pytest
from PIL import Image
from support import POLICIES, model, node, randn

import onnxscope
from onnxscope import LinearInterpreter
from onnxscope.ask.filters import (
    along_a_line,
    at_places,
    energies,
    grid,
    moved,
    places_by_contrast,
    projective,
    reach,
    receptive,
    sampled,
)
from onnxscope.ask.ledger import ledgers
from onnxscope.ask.upscalers import bicubic_matrix, bicubic_svd
from onnxscope.linear.linear_map import ArraySpace

Place = tuple[int, int]


def image(*shape: int, seed: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


# ledgers


def pooled() -> onnx.ModelProto:
    """A convolution, a Sigmoid, a MaxPool and a dense layer."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        node("MaxPool", ["s"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"], name="flat"),
        node("Gemm", ["f", "v", "a"], ["y"], name="dense"),
    ]
    weights = {
        "w": randn(2, 3, 3, 3, seed=1),
        "b": randn(2, seed=2),
        "v": randn(18, 4, seed=3),
        "a": randn(4, seed=4),
    }
    return model(nodes, {"x": np.zeros((1, 3, 8, 8), np.float32)}, ["y"], weights=weights)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "resnet": (lambda: networks.resnet(4, (4, 6), side=32), (1, 3, 32, 32)),
    "vgg": (lambda: networks.vgg(True, 4, (4, 6), side=32), (1, 3, 32, 32)),
    "cyclegan": (lambda: networks.cyclegan(1, 16, 2), (1, 3, 16, 16)),
    "pooled": (pooled, (1, 3, 8, 8)),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_ledger_adds_up_in_the_order_of_computation(name: str, policy: str) -> None:
    make, shape = NETWORKS[name]
    proto = make()
    x = onnxscope.load(proto, policy=policy).freeze(image(*shape))
    chosen_scores = [0, x.output.size - 1]
    for score, book in zip(chosen_scores, ledgers(x, chosen_scores), strict=True):
        entries = [book.input, *book.layers.values()]
        assert book.score == x.output.reshape(-1)[score]
        assert abs(sum(entries) - book.score) <= 1e-5 * max(map(abs, [*entries, book.score]))
        assert book.remainder == pytest.approx(book.score - sum(entries), abs=1e-12)
        np.testing.assert_allclose(
            book.residual, x.residual().reshape(-1)[score], atol=1e-5 * max(map(abs, entries))
        )
        nodes = [n.name for n in proto.graph.node]
        assert [n for n in nodes if n in book.layers] == list(book.layers)


def convolution(weight: np.ndarray, height: int, width: int) -> np.ndarray:
    """The matrix of a convolution with as many zeros around the picture as keep its size."""
    out, into, tall, wide = weight.shape
    matrix = np.zeros((out, height, width, into, height, width))
    for y, x, dy, dx in np.ndindex(height, width, tall, wide):
        at = y + dy - tall // 2, x + dx - wide // 2
        if 0 <= at[0] < height and 0 <= at[1] < width:
            matrix[:, y, x, :, at[0], at[1]] += weight[:, :, dy, dx]
    return matrix.reshape(out * height * width, -1)


def chain(
    layers: Sequence[tuple[str, np.ndarray, np.ndarray]], x: np.ndarray
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Matrices with Relus between them: for every output its row of F, and each bias's contribution."""
    states, masks = [x], []
    for _, matrix, bias in layers:
        before = matrix @ states[-1] + bias
        masks.append(before > 0)
        states.append(before.clip(0))
    after, added = np.eye(len(layers[-1][2])), {}  # what follows a layer, as a matrix
    for (name, matrix, bias), mask in zip(
        reversed(layers), reversed([*masks[:-1], np.ones(len(after), bool)]), strict=True
    ):
        after = after * mask
        added[name] = after @ bias
        after = after @ matrix
    return [(row, {name: values[k] for name, values in added.items()}) for k, row in enumerate(after)]


def dense_chain() -> tuple[onnx.ModelProto, list[tuple[str, np.ndarray, np.ndarray]], np.ndarray]:
    sizes, names = (5, 9, 7, 3), ("first", "second", "third")
    weights = {f"{n}.w": randn(a, b, seed=20 + a) for n, a, b in zip(names, sizes, sizes[1:], strict=False)}
    weights |= {f"{n}.b": randn(b, seed=30 + b) for n, b in zip(names, sizes[1:], strict=True)}
    nodes, value = [], "x"
    for name in names:
        nodes.append(
            node("Gemm", [value, f"{name}.w", f"{name}.b"], ["y" if name == "third" else name], name=name)
        )
        nodes += [node("Relu", [name], [f"{name}.r"], name=f"{name}.relu")] if name != "third" else []
        value = f"{name}.r"
    x = randn(1, 5, seed=40)
    layers = [
        (n, weights[f"{n}.w"].T.astype(np.float64), weights[f"{n}.b"].astype(np.float64)) for n in names
    ]
    return model(nodes, {"x": x}, ["y"], weights=weights), layers, x


def convolution_chain() -> tuple[onnx.ModelProto, list[tuple[str, np.ndarray, np.ndarray]], np.ndarray]:
    weights = {
        "w1": randn(4, 2, 3, 3, seed=50),
        "b1": randn(4, seed=51),
        "w2": randn(3, 4, 3, 3, seed=52),
        "b2": randn(3, seed=53),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], name="early", pads=[1] * 4),
        node("Relu", ["c"], ["r"], name="relu"),
        node("Conv", ["r", "w2", "b2"], ["y"], name="late", pads=[1] * 4),
    ]
    x = randn(1, 2, 5, 4, seed=54)
    layers = [
        (name, convolution(weights[w].astype(np.float64), 5, 4), np.repeat(weights[b].astype(np.float64), 20))
        for name, w, b in (("early", "w1", "b1"), ("late", "w2", "b2"))
    ]
    return model(nodes, {"x": x}, ["y"], weights=weights), layers, x


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("make", [dense_chain, convolution_chain])
def test_every_entry_is_that_of_the_chain_written_out(make: Callable, policy: str) -> None:
    proto, layers, x0 = make()
    x = onnxscope.load(proto, policy=policy).freeze(x0)
    every = range(x.output.size)
    for book, (row, added) in zip(
        ledgers(x, every), chain(layers, x0.reshape(-1).astype(np.float64)), strict=True
    ):
        assert list(book.layers) == [name for name, *_ in layers]
        np.testing.assert_allclose([book.layers[name] for name in added], list(added.values()), atol=2e-5)
        np.testing.assert_allclose(book.input, row @ x0.reshape(-1), atol=2e-5)


def test_a_tangent_contributes_its_offset() -> None:
    """y = W2·h(W1·x + b1) + b2 with h′ and h − h′·z at z = W1·x0 + b1, for the logistic function h."""
    w1, b1, w2, b2, x0 = (
        randn(4, 6, seed=60),
        randn(6, seed=61),
        randn(6, 2, seed=62),
        randn(2, seed=63),
        randn(1, 4, seed=64),
    )
    nodes = [
        node("Gemm", ["x", "w1", "b1"], ["z"], name="first"),
        node("Sigmoid", ["z"], ["h"], name="bent"),
        node("Gemm", ["h", "w2", "b2"], ["y"], name="last"),
    ]
    proto = model(nodes, {"x": x0}, ["y"], weights={"w1": w1, "b1": b1, "w2": w2, "b2": b2})
    z = (x0 @ w1 + b1).astype(np.float64)[0]
    h = 1 / (1 + np.exp(-z))
    slope = h * (1 - h)
    want = {"first": (slope * b1) @ w2, "bent": (h - slope * z) @ w2, "last": b2}
    for k, book in enumerate(ledgers(onnxscope.load(proto, policy="taylor").freeze(x0), [0, 1])):
        assert list(book.layers) == list(want)
        np.testing.assert_allclose(
            list(book.layers.values()), [values[k] for values in want.values()], atol=1e-5
        )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_ledger_without_layers(policy: str) -> None:
    proto = model(
        [node("Gemm", ["x", "w"], name="dense")], {"x": randn(1, 4)}, ["y"], weights={"w": randn(4, 3)}
    )
    (book,) = ledgers(onnxscope.load(proto, policy=policy).freeze(randn(1, 4, seed=70)), [2])
    assert book.layers == {} and book.residual == 0
    assert book.score == pytest.approx(book.input, rel=1e-6)


def test_a_ledger_is_the_same_without_states_and_in_batches() -> None:
    proto, x0 = pooled(), image(1, 3, 8, 8)
    kept = ledgers(onnxscope.load(proto).freeze(x0), [0, 1, 2, 3])
    x = onnxscope.load(proto, stateless=True).freeze(x0)
    x.map.engine.batch = lambda *_: 3
    for one, other in zip(kept, ledgers(x, [0, 1, 2, 3]), strict=True):
        np.testing.assert_allclose(list(other.layers.values()), list(one.layers.values()), atol=1e-5)
        assert other.input == pytest.approx(one.input, abs=1e-5) and list(other.layers) == list(one.layers)


def test_names_that_begin_with_a_slash_or_end_in_a_number_stay_apart() -> None:
    """As torch's exporters write them."""
    names = ["/Conv", "/Conv_1", "/body/Conv_2", "Conv_3"]
    values = ["x", "a", "b", "c", "y"]
    nodes = [
        node("Conv", [values[k], "w", f"b{k}"], [values[k + 1]], name=name) for k, name in enumerate(names)
    ]
    weights = {
        "w": np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1),
        **{f"b{k}": np.full(2, 10.0**k, np.float32) for k in range(4)},
    }
    x0 = image(1, 2, 3, 3)
    (book,) = ledgers(onnxscope.load(model(nodes, {"x": x0}, ["y"], weights=weights)).freeze(x0), [0])
    assert book.layers == pytest.approx({name: 10.0**k for k, name in enumerate(names)})


def test_a_second_source_is_not_taken_for_another_nodes() -> None:
    """The same network with names that end in numbers and with names that do not."""
    found = []
    for names in (("norm", "norm_3"), ("early", "late")):
        nodes = [
            node("InstanceNormalization", ["x", "w", "b"], ["a"], name=names[0]),
            node("InstanceNormalization", ["a", "w", "b"], ["y"], name=names[1]),
        ]
        weights = {"w": np.array([1, 2], np.float32), "b": np.array([3, -1], np.float32)}
        (book,) = ledgers(
            onnxscope.load(model(nodes, {"x": image(1, 2, 4, 4)}, ["y"], weights=weights)).freeze(
                image(1, 2, 4, 4)
            ),
            [5],
        )
        found.append(list(book.layers.values()))
    np.testing.assert_allclose(*found, atol=1e-6)


# filters: where to look


def test_chosen_places() -> None:
    """Flat on the left, then a slope, and in the slope an edge."""
    row = np.concatenate([np.zeros(10), 0.01 * np.arange(14)])
    row[17:] += 1
    places = places_by_contrast(np.repeat(row[None, :, None], 24, 0).repeat(3, 2))
    assert all(4 <= y < 20 and 4 <= x < 20 for y, x in places.values())
    assert abs(places["an edge"][1] - 16.5) <= 2
    assert places["a flat place"][1] <= 6  # so that all that its contrast is averaged over is flat
    assert 7 <= places["in between"][1] <= 14


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (2, 30), (4, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_chosen_places_lie_in_the_smallest_pictures(size: Place, channels: int) -> None:
    for picture in (image(*size, channels), np.zeros((*size, channels))):
        places = places_by_contrast(picture)
        assert list(places) == ["an edge", "in between", "a flat place"]
        assert all(0 <= y < size[0] and 0 <= x < size[1] for y, x in places.values())


def test_a_grid_is_even() -> None:
    assert grid((10, 10), 10) == [(y, x) for y in range(10) for x in range(10)]
    places = np.array(grid((100, 60), 5))
    assert set(places[:, 0]) == {10, 30, 50, 70, 90} and set(places[:, 1]) == {6, 18, 30, 42, 54}
    assert grid((1, 1), 10) == [(0, 0)] and grid((5, 7), 1) == [(2, 3)]
    assert grid((2, 300), 3) == [(y, x) for y in (0, 1) for x in (50, 150, 250)]


def test_moved_places_cover_each_other() -> None:
    assert moved((3, 4), (8, 8), (16, 24)) == (7, 13)
    assert moved((5, 0), (8, 1), (1, 8)) == (0, 4)
    assert moved((7, 7), (8, 8), (3, 100)) == (2, 93)
    for factor in (1, 2, 3):
        for place in np.ndindex(4, 5):
            assert (
                moved(moved(place, (4, 5), (4 * factor, 5 * factor)), (4 * factor, 5 * factor), (4, 5))
                == place
            )


# filters: their reach


def energy(size: Place, **coefficients: float) -> np.ndarray:
    """Of a picture with these squares: `r10c13=2` is 2 at row 10 and column 13."""
    found = np.zeros(size)
    for where, value in coefficients.items():
        found[tuple(map(int, where[1:].split("c")))] = value
    return found


def test_the_radius_holds_nine_tenths() -> None:
    assert reach(energy((21, 21), r10c10=9, r13c14=1), (10, 10)).radius == 0
    assert reach(energy((21, 21), r10c10=8, r13c14=2), (10, 10)).radius == 5
    assert reach(energy((21, 21), r10c10=8, r10c12=1.5, r13c14=0.5), (10, 10)).radius == 2


def test_the_box_holds_all_but_the_smallest() -> None:
    found = reach(energy((21, 30), r10c10=1, r13c14=2e-6, r8c9=1.1e-6, r20c29=0.9e-6), (10, 10))
    assert (found.rows, found.columns) == (6, 6)  # rows 8 to 13, columns 9 to 14


def test_far_is_a_quarter_of_the_shorter_side() -> None:
    """Of 20 × 40 pixels: 5 of them."""
    assert reach(energy((20, 40), r10c10=6, r13c14=3, r10c15=1), (10, 10)).far == 0
    assert reach(energy((20, 40), r10c10=6, r13c14=3, r10c16=1), (10, 10)).far == pytest.approx(0.1)
    assert reach(energy((20, 40), r10c30=6, r0c10=2), (10, 10)).far == 1


def test_spread_counts_pixels() -> None:
    assert reach(energy((9, 9), r4c4=8, r4c5=2), (4, 4)).pixels == pytest.approx(100 / 68)
    assert reach(np.full((5, 7), 3.0), (0, 0)).pixels == pytest.approx(35)
    assert reach(energy((9, 9), r0c8=1e-30), (4, 4)).pixels == pytest.approx(1)


def test_nothing_reaches_nowhere() -> None:
    assert set(astuple(reach(np.zeros((4, 4)), (1, 1)))) == {0}


# filters of networks


def convolved(layout: str) -> LinearInterpreter:
    """Two channels a pixel to three, at half the size, with a Relu."""
    shape = (1, 8, 6, 2) if layout == "nhwc" else (1, 2, 8, 6)
    nodes = [node("Conv", ["n", "w", "b"], ["c"], strides=[2, 2], pads=[1] * 4), node("Relu", ["c"], ["r"])]
    nodes = (
        [
            node("Transpose", ["x"], ["n"], perm=[0, 3, 1, 2]),
            *nodes,
            node("Transpose", ["r"], ["y"], perm=[0, 2, 3, 1]),
        ]
        if layout == "nhwc"
        else [node("Identity", ["x"], ["n"]), *nodes, node("Identity", ["r"], ["y"])]
    )
    proto = model(
        nodes, {"x": image(*shape)}, ["y"], weights={"w": randn(3, 2, 3, 3, seed=80), "b": randn(3, seed=81)}
    )
    return onnxscope.load(proto, layout=layout).freeze(image(*shape))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_filters_are_sums_over_the_channels(layout: str) -> None:
    x = convolved(layout)
    outputs, inputs = [(0, 0), (2, 1), (3, 2)], [(7, 5), (3, 0)]
    for have, (i, j) in zip(receptive(x, outputs), outputs, strict=True):
        np.testing.assert_allclose(have, sum(x.row((c, i, j)) for c in range(3)), atol=1e-6)
        assert have.shape == x.image.shape and have.any()
    for have, (i, j) in zip(projective(x, inputs), inputs, strict=True):
        np.testing.assert_allclose(have, sum(x.column((c, i, j)) for c in range(2)), atol=1e-6)
        assert have.shape == x.output.shape
    axis = 3 if layout == "nhwc" else 1
    np.testing.assert_allclose(
        energies(receptive(x, outputs), layout), (receptive(x, outputs)[:, 0] ** 2).sum(axis), rtol=1e-6
    )


def test_a_place_is_one_in_every_channel() -> None:
    space = ArraySpace((2, 3, 4))
    (block,) = at_places(space, (1, 2, 3, 4), "nchw", [(2, 1)])
    assert block.sum() == 2 and (block[:, 2, 1] == 1).all()
    (block,) = at_places(space, (1, 2, 3, 4), "nhwc", [(1, 2)])
    assert block.sum() == 4 and (block[1, 2] == 1).all()


SIZE = (8, 12)


def exchanged() -> LinearInterpreter:
    """The left half and the right half change places."""
    nodes = [
        node("Split", ["x"], ["left", "right"], axis=3, num_outputs=2),
        node("Concat", ["right", "left"], axis=3),
    ]
    return onnxscope.load(model(nodes, {"x": image(1, 3, *SIZE)}, ["y"])).freeze(image(1, 3, *SIZE))


def unchanged() -> LinearInterpreter:
    proto = model(
        [node("Mul", ["x", "one"])], {"x": image(1, 3, *SIZE)}, ["y"], weights={"one": np.float32(1)}
    )
    return onnxscope.load(proto).freeze(image(1, 3, *SIZE))


@pytest.mark.parametrize("side", [receptive, projective])
def test_all_comes_from_afar(side: Callable) -> None:
    found = sampled(side, exchanged(), SIZE, 4)
    assert found.places == grid(SIZE, 4)
    assert {(r.radius, r.rows, r.columns, r.energy, r.far, r.pixels) for r in found.reaches} == {
        (6, 1, 1, 3, 1, 1)
    }
    want = np.zeros(SIZE)
    for y, x in found.places:
        want[y, (x + 6) % 12] = 1 / 16
    np.testing.assert_allclose(found.afar, want)


@pytest.mark.parametrize("side", [receptive, projective])
def test_nothing_comes_from_afar(side: Callable) -> None:
    found = sampled(side, unchanged(), SIZE, 4)
    assert {(r.radius, r.rows, r.columns, r.energy, r.far, r.pixels) for r in found.reaches} == {
        (0, 1, 1, 3, 0, 1)
    }
    assert found.farthest == 0 and not found.afar.any()


def gathered() -> LinearInterpreter:
    """The last column shows ten times what is in the first, all others nothing."""
    weights = {
        "gain": np.float32(10),
        "to": np.array([0, 0, 0, 11, 0, 0, 0, 0]),
        "one": np.array([1]),
        "zero": np.array([0]),
        "axis": np.array([3]),
    }
    nodes = [
        node("Slice", ["x", "zero", "one", "axis"], ["s"]),
        node("Mul", ["s", "gain"], ["m"]),
        node("Pad", ["m", "to"]),
    ]
    return onnxscope.load(model(nodes, {"x": image(1, 3, *SIZE)}, ["y"], weights=weights)).freeze(
        image(1, 3, *SIZE)
    )


def test_where_there_is_nothing_counts_for_nothing() -> None:
    """Each row of the first column has its part of the energy; the first filter with any is the farthest."""
    found = sampled(receptive, gathered(), SIZE, 12)
    assert [r.energy for r in found.reaches] == 8 * [*11 * [0.0], 300.0]
    want = np.zeros(SIZE)
    want[:, 0] = 1 / 8
    np.testing.assert_allclose(found.afar, want)
    assert found.places[found.farthest] == (0, 11)
    nowhere = sampled(receptive, gathered(), SIZE, 1)
    assert not nowhere.afar.any() and nowhere.reaches[0].pixels == 0


def test_along_the_middle_line() -> None:
    """A row for each output pixel; its three channels together have the size √3."""
    np.testing.assert_allclose(along_a_line(unchanged(), SIZE, 12), 3**0.5 * np.eye(12), rtol=1e-6)
    shift = np.roll(np.eye(12), 6, axis=1)
    np.testing.assert_allclose(along_a_line(exchanged(), SIZE, 100), 3**0.5 * shift, rtol=1e-6)
    np.testing.assert_allclose(along_a_line(exchanged(), SIZE, 5), 3**0.5 * shift[::3], rtol=1e-6)


# bicubic enlargement


@pytest.mark.parametrize(
    ("given", "made"), [((12, 10), (24, 20)), ((12, 10), (36, 40)), ((12, 16), (18, 20))]
)
def test_bicubic_is_what_image_libraries_do(given: Place, made: Place) -> None:
    picture = image(*given)
    want = np.asarray(Image.fromarray(picture).resize(made[::-1], Image.Resampling.BICUBIC))
    have = bicubic_matrix(given[0], made[0]) @ picture @ bicubic_matrix(given[1], made[1]).T
    inner = tuple(
        slice(2 * m // g + 2, m - 2 * m // g - 2) for g, m in zip(given, made, strict=True)
    )  # libraries differ at edges
    np.testing.assert_allclose(have[inner], want[inner], atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 5), (2, 4), (9, 9), (9, 13), (10, 4)])
def test_bicubic_keeps_what_is_constant(inputs: int, outputs: int) -> None:
    matrix = bicubic_matrix(inputs, outputs)
    assert matrix.shape == (outputs, inputs)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)


def test_bicubic_moves_with_whole_pixels() -> None:
    np.testing.assert_array_equal(bicubic_matrix(7, 7), np.eye(7))
    matrix = bicubic_matrix(12, 36)
    for shift in (1, 2):
        np.testing.assert_allclose(
            np.roll(matrix, (3 * shift, shift), (0, 1))[15:24], matrix[15:24], atol=1e-12
        )
    slope = bicubic_matrix(12, 24) @ np.arange(12.0)
    np.testing.assert_allclose(
        slope[4:-4], ((np.arange(24) + 0.5) / 2 - 0.5)[4:-4], atol=1e-12
    )  # straight lines stay straight


@pytest.mark.parametrize("k", [1, 8, 500])
def test_bicubic_svd_is_that_of_the_whole_matrix(k: int) -> None:
    given, made = (4, 5), (8, 11)
    whole = np.kron(bicubic_matrix(given[0], made[0]), bicubic_matrix(given[1], made[1]))
    sigma, u, v = bicubic_svd(given, made, k)
    count = min(k, 20)
    assert (sigma.shape, u.shape, v.shape) == ((count,), (count, *made), (count, *given))
    np.testing.assert_allclose(sigma, np.linalg.svd(whole, compute_uv=False)[:count], atol=1e-12)
    flat_u, flat_v = u.reshape(count, -1), v.reshape(count, -1)
    np.testing.assert_allclose(flat_v @ whole.T, sigma[:, None] * flat_u, atol=1e-12)
    np.testing.assert_allclose(flat_u @ whole, sigma[:, None] * flat_v, atol=1e-12)
    for vectors in (flat_u, flat_v):
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-12)
