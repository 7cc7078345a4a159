"""One scope for pictures of all sizes: it is the scope of each size, and what prevents one is named."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import free_networks
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from support import POLICIES, close, model, node, randn, run
from test_networks import with_all_values
from test_sizes import any_size, free

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.errors import ScopeError
from onnxscope.rewriting.bound import samples
from onnxscope.rewriting.formulas import fitted

POINTS = list(itertools.product((3, 4), (5, 6)))


@cache
def network(name: str) -> onnx.ModelProto:
    return free_networks.NETWORKS[name][0]()


@cache
def written(name: str, policy: str) -> onnxscope.Scope:
    return onnxscope.rewrite(network(name), free_size=True, policy=policy)


def sizes(step: int) -> list[tuple[int, ...]]:
    """Three shapes: large ones, and one that is smaller than all that the scope was made from."""
    return [(1, 3, step * a, step * b) for a, b in ((-(-24 // step), -(-40 // step)), (5, 4), (7, 8))]


cases = pytest.mark.parametrize(("name", "policy"), list(itertools.product(free_networks.NETWORKS, POLICIES)))


@cases
def test_one_file_is_proved_on_three_sizes(name: str, policy: str, tmp_path: Path) -> None:
    scope, step = written(name, policy), free_networks.NETWORKS[name][1]
    assert scope.about.free is not None and scope.about.free.step == step
    report = onnxscope.verify(scope)
    assert report.ok and report.verdict == "proved", report
    assert len({c.note.partition(";")[0] for c in report.checks}) == 3
    path = scope.save(tmp_path / "free.onnx")
    onnx.checker.check_model(path, full_check=True)


@cases
def test_it_is_the_scope_of_each_size(name: str, policy: str, tmp_path: Path) -> None:
    """F, Fᵀ and r are those of the scope that is rewritten for this size alone."""
    path = written(name, policy).save(tmp_path / "free.onnx")
    for shape in sizes(free_networks.NETWORKS[name][1]):
        image = np.abs(randn(*shape))
        one, other = (
            onnxscope.load(source, input_shapes={"image": shape}, policy=p).freeze(image)
            for source, p in ((path, None), (network(name), policy))
        )
        close(one.output, other.output, 1e-6, "y0")
        v, u = randn(*shape, seed=1), randn(*other.output.shape, seed=2)
        close(one.project(v), other.project(v), 1e-5, "F·v")
        close(one.back_project(u), other.back_project(u), 1e-5, "Fᵀ·u")
        close(one.residual(), other.residual(), 1e-5, "r")


@pytest.mark.parametrize("name", free_networks.NETWORKS)
def test_any_runtime_can_run_the_file_at_any_size(name: str, tmp_path: Path) -> None:
    """The nodes in it compute the sizes: at x1 = x0 its frozen branch gives what the original computes."""
    scope, original = written(name, "freeze"), with_all_values(network(name))
    session = onnxruntime.InferenceSession(scope.save(tmp_path / "free.onnx"))
    for shape in sizes(free_networks.NETWORKS[name][1]):
        image = np.abs(randn(*shape))
        y0 = run(original, {"image": image})[scope.output]
        feeds = {"image": image, "scope_probe": image, "scope_cotangent": np.zeros_like(y0)}
        (found,) = session.run(["scope_frozen"], feeds)
        close(found, y0, 1e-5, "frozen(x0)")


def refusal(proto: onnx.ModelProto, **options: Any) -> str:
    with pytest.raises(ScopeError) as refused:
        onnxscope.rewrite(proto, free_size=True, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_no_formula_gives_is_named() -> None:
    """The columns that a nearest pixel is taken from are a table."""
    placed = {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    resize = node("Resize", ["x", "roi", "scales"], name="table", **placed)
    weights = {"scales": np.float32([1, 1, 1.5, 1.5]), "roi": np.float32([])}
    message = refusal(free(model([resize], {"x": randn(1, 3, 8, 8)}, ["y"], opset=11, weights=weights)))
    assert message.startswith("node 'table/Gather' (Gather): it needs numbers that no simple formula gives")
    assert "leave --free-size out, and fix the size with --input-shape x:1x3x?x?" in message


def test_what_fits_one_size_only_is_named() -> None:
    added = model(
        [node("Add", ["x", "w"], name="place")],
        {"x": randn(1, 3, 8, 8)},
        ["y"],
        weights={"w": randn(1, 3, 8, 8)},
    )
    assert "node 'place' (Add: 1x3x384x640, 1x3x8x8): for 1x3x384x640" in refusal(free(added))


def test_what_changes_its_form_is_named() -> None:
    """Half of the pads of SAME lie before the image: how many there are depends on the size."""
    odd = model(
        [node("Conv", ["x", "w"], name="odd", auto_pad="SAME_UPPER", strides=[5, 5])],
        {"x": randn(1, 3, 8, 8)},
        ["y"],
        weights={"w": randn(4, 3, 5, 5)},
    )
    assert refusal(free(odd)).startswith("node 'odd' (Conv): it is written in another way for other sizes")


def test_what_holds_for_large_pictures_only_is_named() -> None:
    """The first 600 columns are all columns of a smaller picture, for which the examples say nothing."""
    bounds = {name: np.int64([value]) for name, value in (("start", 0), ("end", 600), ("axis", 3))}
    cut = node("Slice", ["x", *bounds], name="cut")
    message = refusal(free(model([cut], {"x": randn(1, 3, 8, 8)}, ["y"], weights=bounds)))
    assert message.startswith("node 'frozen/cut' (Slice): it is written in another way for other sizes")


def test_a_model_of_fixed_size_is_refused() -> None:
    fixed = model([node("Relu", ["x"])], {"x": randn(1, 3, 8, 8)}, ["y"])
    assert "no input is a single image whose height or width the model leaves free" in refusal(fixed)


def test_sizes_are_free_or_given() -> None:
    assert "are given, and are to be free" in refusal(any_size(), input_shapes={"x": (1, 3, 8, 8)})


def test_one_side_may_be_free() -> None:
    pool = node("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    half_free = free(model([pool], {"x": randn(1, 3, 8, 8)}, ["y"]), rows=False)
    scope = onnxscope.rewrite(half_free, free_size=True)
    assert scope.about.free is not None and (scope.about.free.axes, scope.about.free.step) == ((3,), 2)
    assert {one.tensor("x").shape[2] for one in samples(scope)} == {8}
    assert onnxscope.verify(scope).verdict == "proved"


def test_a_size_that_does_not_fit_is_refused() -> None:
    scope = written("u_net", "freeze")
    for shape, message in (
        ((1, 3, 20, 24), "its free sizes are multiples of 8, and 1x3x20x24 has others"),
        ((1, 4, 24, 24), r"give them, and only them, with --input-shape image:1x3x\?x\?"),
    ):
        with pytest.raises(ScopeError, match=message):
            onnxscope.load(scope, input_shapes={"image": shape})
    with pytest.raises(ScopeError, match="its sizes are free"):
        onnxscope.load(scope)


def test_a_size_that_is_too_small_is_refused() -> None:
    """Here the mean is taken over what eight convolutions leave; proofs use larger pictures."""
    nodes = [node("Conv", [f"x{k}" if k else "x", "w"], [f"x{k + 1}"], dilations=[5, 5]) for k in range(8)]
    nodes.append(node("GlobalAveragePool", ["x8"]))
    proto = free(model(nodes, {"x": randn(1, 3, 99, 99)}, ["y"], weights={"w": randn(3, 3, 3, 3) / 5}))
    scope = onnxscope.rewrite(proto, free_size=True)
    assert onnxscope.load(scope, input_shapes={"x": (1, 3, 81, 81)})
    with pytest.raises(
        ScopeError, match="the network cannot take 1x3x80x81, or is another one for it; choose a larger size"
    ):
        onnxscope.load(scope, input_shapes={"x": (1, 3, 80, 81)})


def test_a_size_for_which_the_network_is_another_is_refused() -> None:
    """Up to 300 columns are averaged, which the examples, all of them larger, take as 300."""
    bounds = {name: np.int64([value]) for name, value in (("start", 0), ("end", 300), ("axis", 3))}
    nodes = [node("Slice", ["x", *bounds], ["cut"]), node("GlobalAveragePool", ["cut"])]
    proto = free(model(nodes, {"x": randn(1, 3, 8, 8)}, ["y"], weights=bounds))
    scope = onnxscope.rewrite(proto, free_size=True)
    assert onnxscope.verify(scope).ok
    with pytest.raises(ScopeError, match="the network cannot take 1x3x8x299, or is another one for it"):
        onnxscope.load(scope, input_shapes={"x": (1, 3, 8, 299)})


def test_a_picture_gives_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    onnx.save(network("u_net"), tmp_path / "u.onnx")
    asked = ["rewrite", "--free-size", "u.onnx", "-o", "s.onnx", "--json"]
    places = {name: str(tmp_path / name) for name in ("u.onnx", "s.onnx", "p.png", "out")}

    def answer(*arguments: str) -> Any:
        code = cli.run([places.get(a, a) for a in arguments])
        said = capsys.readouterr()
        assert code == 0, said
        return json.loads(said.out)

    facts = answer(*asked)
    assert facts["free_sizes"] == {"input": "image", "axes": [2, 3], "multiples_of": 8}
    facts = answer("residual", "s.onnx", "--image", "p.png", "-o", "out", "--json")
    assert any("taken as 48x72: the network takes multiples of 8" in note for note in facts["notes"])
    assert np.load(tmp_path / "out.npz")["residual"].shape == (1, 1, 48, 72)
    assert answer("verify", "s.onnx", "--image", "p.png", "--json")["ok"]


@pytest.mark.parametrize(
    ("values", "at", "want"),
    [
        (lambda h, w: [3 * h * w - 2 * h + 7, -1], (9, 11), [3 * 99 - 18 + 7, -1]),
        (lambda h, w: np.float32([1 / (5 * h * w), 1 / w]), (2, 10), [0.01, 0.1]),
        (lambda h, w: np.float32([1 / ((h - 1) * (w + 1))]), (3, 9), [0.05]),
        (lambda h, w: np.float32([1 / (2**24 * h * w)]), (2, 2), [2.0**-26]),
    ],
)
def test_formulas(values: Any, at: tuple[int, int], want: list[float]) -> None:
    found = fitted(POINTS, [np.array(values(*p)) for p in POINTS])
    assert found is not None
    np.testing.assert_allclose(found.in_steps(1, 1).at(at), want)


def test_there_is_no_formula_for_all_numbers() -> None:
    assert fitted(POINTS, [np.float32([h / w]) for h, w in POINTS]) is None
    halves = fitted(POINTS, [np.array([64 * h + 32 * w]) for h, w in POINTS])
    assert halves is not None and [s for s in (1, 2, 4, 8) if halves.is_whole(128, s)] == [4, 8]
