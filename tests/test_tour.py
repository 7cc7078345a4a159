"""The tour: what its page, its folder and its figures hold for every kind of network, and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from browser import Browser, browser
from PIL import Image
from support import model, node, randn, run

import onnxscope
from onnxscope.api import opening
from onnxscope.cli import main as cli
from onnxscope.files import pictures
from onnxscope.linear.svd.lanczos import Lanczos
from onnxscope.run.claims import Check, Report
from onnxscope.run.verify import verify_scope
from onnxscope.show import views
from onnxscope.show.tour import bases
from onnxscope.show.tour import visit as visiting
from onnxscope.show.tour.guide import Effort, Guide
from onnxscope.show.tour.scores import largest
from onnxscope.show.tour.visit import visit
from onnxscope.show.tour.whole import proofs

MODELS = networks.MODELS
LABELS = ["cat", "dog & <fish>", "$bird$", "tree"]
SCORES = ["parts", "scores", "ledger", "rivals", "svd", "proofs"]
NO_RIVALS = [stop for stop in SCORES if stop != "rivals"]  # where there is one score, or no picture
PICTURES = ["parts", "pixels", "svd", "proofs"]
SAME = ["parts", "pixels", "afar", "svd", "proofs"]
AREAS = ["ledger", "rivals", "proofs"]  # and what tests/test_tour_tasks.py tests
TITLES = {
    "parts": "Input and output",
    "scores": "The highest scores",
    "ledger": "The ledger: contributions by layer",
    "rivals": "Pixel votes and other explanation methods",
    "pixels": "Filters of single pixels",
    "afar": "Filters that reach far",
    "svd": "Singular values and vectors",
    "proofs": "Proofs",
}


def conv(
    image: tuple[int, ...], weight: tuple[int, ...], bias: float = 1, **attributes: Any
) -> onnx.ModelProto:
    """A convolution and a Relu."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1] * 4, **attributes),
        node("Relu", ["c"], name="relu"),
    ]
    return model(
        nodes,
        {"x": randn(*image)},
        ["y"],
        weights={"w": randn(*weight, seed=7), "b": np.full(weight[0], bias, np.float32)},
    )


def channels_last() -> onnx.ModelProto:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w", "b"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Transpose", ["r"], perm=[0, 2, 3, 1]),
    ]
    return model(
        nodes,
        {"x": randn(1, 14, 12, 3)},
        ["y"],
        weights={"w": randn(3, 3, 3, 3, seed=7), "b": randn(3, seed=8)},
    )


def dense(outputs: int) -> onnx.ModelProto:
    nodes = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], name="dense")]
    return model(
        nodes,
        {"x": randn(1, 3, 6, 6)},
        ["y"],
        weights={"w": randn(108, outputs, seed=7), "b": randn(outputs, seed=8)},
    )


def pooled(outputs: int) -> onnx.ModelProto:
    """Scores that keep the axes of a picture, one row and one column."""
    nodes = [node("Conv", ["x", "w", "b"], ["c"], name="conv"), node("GlobalAveragePool", ["c"])]
    weights = {"w": randn(outputs, 3, 3, 3, seed=7), "b": randn(outputs, seed=8)}
    return model(nodes, {"x": randn(1, 3, 8, 8)}, ["y"], weights=weights)


def of_vectors() -> onnx.ModelProto:
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v"], name="last"),
    ]
    return model(
        nodes,
        {"x": randn(1, 20)},
        ["y"],
        weights={"w": randn(20, 8, seed=7), "b": randn(8, seed=8), "v": randn(8, 5, seed=9)},
    )


def constant() -> onnx.ModelProto:
    """What does not depend on the image, and is no picture in its units either."""
    nodes = [node("Mul", ["x", "zero"], ["m"]), node("Add", ["m", "two"])]
    return model(
        nodes,
        {"x": randn(1, 3, 8, 8)},
        ["y"],
        weights={"zero": np.float32(0), "two": np.full((1, 3, 1, 1), 2, np.float32)},
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, the size of its picture or array, and the kind and the sections that its tour must have."""

    make: Callable[[], onnx.ModelProto]
    size: tuple[int, ...]
    kind: str
    stops: list[str]
    mode: str = "RGB"


CASES = {
    "scores": Case(lambda: networks.resnet(4, (4, 6), side=32), (32, 32), "scores", SCORES),
    "larger": Case(
        lambda: networks.edsr(features=4, blocks=1, size=None), (12, 10), "larger image", PICTURES
    ),
    "same": Case(lambda: networks.cyclegan(1, 16, 2), (16, 16), "same-size image", SAME),
    "half": Case(
        lambda: conv((1, 3, 16, 16), (3, 3, 3, 3), strides=[2, 2]), (16, 16), "other image", PICTURES
    ),
    "wider": Case(
        lambda: model([node("Concat", ["x", "x"], axis=3)], {"x": randn(1, 3, 6, 6)}, ["y"]),
        (6, 6),
        "other image",
        PICTURES,
    ),
    "channels": Case(lambda: conv((1, 3, 10, 10), (7, 3, 3, 3)), (10, 10), "same-size image", AREAS),
    "grey": Case(lambda: conv((1, 1, 14, 12), (1, 1, 3, 3)), (14, 12), "same-size image", SAME, "L"),
    "nhwc": Case(channels_last, (14, 12), "same-size image", SAME),
    "one place": Case(lambda: pooled(5), (8, 8), "scores", SCORES),
    "many": Case(lambda: dense(300), (6, 6), "scores", SCORES),
    "one": Case(lambda: dense(1), (6, 6), "scores", NO_RIVALS),
    "vector": Case(of_vectors, (1, 20), "scores", NO_RIVALS, ".npy"),
    "constant": Case(constant, (8, 8), "same-size image", SAME),
    "closed": Case(
        lambda: conv((1, 3, 8, 8), (3, 3, 3, 3), bias=-1000), (8, 8), "same-size image", SAME
    ),  # no Relu is open
    "pixel": Case(
        lambda: networks.with_image_shape(networks.edsr(4, 1, 2, None), (1, 3, 1, 1)),
        (1, 1),
        "larger image",
        PICTURES,
    ),
    "row": Case(lambda: conv((1, 3, 1, 8), (3, 3, 3, 3)), (1, 8), "same-size image", SAME),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks with their pictures."""
    folder = tmp_path_factory.mktemp("tours")
    for name, case in CASES.items():
        onnx.save(case.make(), folder / f"{name}.onnx")
        save_picture(given(folder, name), case.size, case.mode)
    return folder


def save_picture(path: Path, size: tuple[int, ...], mode: str) -> None:
    rng = np.random.default_rng(3)
    if mode == ".npy":
        np.save(path, rng.random(size, np.float32))
    else:
        Image.fromarray(rng.integers(0, 256, (*size, *([3] if mode == "RGB" else [])), np.uint8)).save(path)


def given(folder: Path, name: str) -> Path:
    return folder / (f"{name}.npy" if CASES[name].mode == ".npy" else f"{name}.png")


def go(folder: Path, name: str, out: Path, *options: str) -> int:
    return cli.run(
        ["tour", str(folder / f"{name}.onnx"), "--image", str(given(folder, name)), "-o", str(out), *options]
    )


@functools.cache
def toured(folder: Path, name: str) -> tuple[int, Path]:
    """The exit code, and the page without its suffix."""
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    out = folder / f"{name}.of"
    return go(folder, name, out, "-k", "3", *(["--labels", str(labels)] if name == "scores" else [])), out


def figures(out: Path) -> dict[str, Any]:
    """What the folder's JSON holds, which is strict JSON."""
    return json.loads(
        (out / "tour.json").read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON")
    )


def answer(folder: Path, name: str) -> onnxscope.LinearInterpreter:
    """The same by the Python API."""
    proto = onnx.load(folder / f"{name}.onnx")
    tensor = proto.graph.input[0]
    shape = tuple(d.dim_value for d in tensor.type.tensor_type.shape.dim)
    shape = (1, 3, *CASES[name].size) if 0 in shape[1:] else (1, *shape[1:])
    return onnxscope.load(proto, input_shapes={tensor.name: shape}).freeze(
        pictures.read(given(folder, name), shape)
    )


class Page(HTMLParser):
    """Titles of the sections, all texts, and how many pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.titles, self.pictures, self.texts, self.inside = [], 0, [], ""
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.pictures += tag == "img"

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.texts.append(data)
        if self.inside == "h2" and data.strip():
            self.titles.append(data.strip())


def page_of(out: Path) -> Page:
    return Page(out.with_name(out.name + ".html"))


# what it shows


@pytest.mark.parametrize("name", CASES)
def test_every_kind_has_its_sections_and_files(name: str, folder: Path) -> None:
    code, out = toured(folder, name)
    facts, page = figures(out), page_of(out)
    assert code == 0
    assert facts["kind"] == CASES[name].kind and facts["model"] == f"{name}.onnx"
    assert [stop for stop in TITLES if stop in facts] == CASES[name].stops
    assert [title for title in page.titles if title in TITLES.values()] == [
        TITLES[stop] for stop in CASES[name].stops
    ]
    pictures = sorted(path.name for path in out.iterdir() if path.suffix == ".png")
    assert len([picture for picture in pictures if not picture.endswith(".dark.png")]) == page.pictures
    assert sorted(path.name for path in out.iterdir()) == sorted([*pictures, "tour.json"])
    for picture in pictures:
        with Image.open(out / picture) as opened:
            opened.load()


WHOLE = [name for name, case in CASES.items() if "svd" in case.stops]


@pytest.mark.parametrize("name", WHOLE)
def test_the_two_parts_are_what_residual_says(name: str, folder: Path, tmp_path: Path) -> None:
    _, out = toured(folder, name)
    assert (
        cli.run(
            [
                "residual",
                str(folder / f"{name}.onnx"),
                "--image",
                str(given(folder, name)),
                "-o",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    saved = np.load(tmp_path / "r.npz")
    whole = np.linalg.norm(saved["output"]) or 1.0
    sizes = {
        part: np.linalg.norm(values.astype(np.float64)) / whole
        for part, values in (
            ("residual", saved["residual"]),
            ("carried", saved["output"] - saved["residual"]),
        )
    }
    assert figures(out)["parts"] == pytest.approx(sizes, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", WHOLE)
def test_singular_values_are_those_of_the_matrix(name: str, folder: Path) -> None:
    _, out = toured(folder, name)
    found, matrix = figures(out)["svd"], answer(folder, name).dense()
    sigma = np.linalg.svd(matrix, compute_uv=False)
    sigma = sigma[sigma > 1e-5 * max(sigma[0], 1e-30)][:3]
    assert found["converged"] == len(found["sigma"]) == len(sigma)
    np.testing.assert_allclose(found["sigma"], sigma, rtol=1e-3)
    assert found["asked"] == min(3, *matrix.shape)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "scores"])
def test_the_ledger_is_that_of_the_highest_score(name: str, folder: Path) -> None:
    _, out = toured(folder, name)
    facts, x = figures(out), answer(folder, name)
    proto = onnx.load(folder / f"{name}.onnx")
    scores = run(proto, {proto.graph.input[0].name: x.image})[proto.graph.output[0].name].reshape(-1)
    ledger, top = facts["ledger"], facts["scores"]["top"]
    assert top == np.argsort(-scores)[:5].tolist() and ledger["score"] == top[0]
    np.testing.assert_allclose(facts["scores"]["values"], scores[top], rtol=1e-5)
    entries = [ledger["input"], *ledger["layers"].values()]
    assert abs(sum(entries) - scores.max()) <= 1e-5 * max(map(abs, [*entries, scores.max()]))
    assert ledger["input"] == pytest.approx(np.vdot(x.dense()[top[0]], x.image), rel=1e-4)
    residual, image = x.residual().reshape(-1)[top], x.dense()[top] @ x.image.reshape(-1)
    np.testing.assert_allclose(
        facts["scores"]["residual_share"], abs(residual) / (abs(residual) + abs(image)), rtol=1e-3
    )


@pytest.mark.parametrize("name, drawn", [("scores", True), ("vector", False)])
def test_a_picture_shows_what_its_pixels_add_to_a_score(name: str, drawn: bool, folder: Path) -> None:
    _, out = toured(folder, name)
    assert (out / "paid-1.png").exists() == drawn


@pytest.mark.parametrize("name, drawn", [("larger", True), ("pixel", False), ("same", False)])
def test_an_enlargement_is_set_beside_the_bicubic_one(name: str, drawn: bool, folder: Path) -> None:
    """Of a single pixel it has no pairs but the constant one."""
    _, out = toured(folder, name)
    assert (out / "bicubic-v-2.png").exists() == drawn
    assert ("The same for bicubic enlargement" in page_of(out).text) == drawn


def test_of_many_layers_the_smallest_are_taken_together() -> None:
    layers = {f"layer {k}": (-1.0) ** k * (k + 1) for k in range(50)} | {"nothing": 0.0}
    shown = largest(layers)
    assert list(shown) == [*(f"layer {k}" for k in range(11, 50)), "11 other layers"]
    assert sum(shown.values()) == sum(layers.values()) and shown["layer 49"] == -50
    assert largest({"a": 1.0, "b": 0.0, "c": -2.0}) == {"a": 1.0, "c": -2.0}


def test_the_proofs_have_a_column_of_notes_if_there_are_any() -> None:
    checks = Check("this", 1e-7, 1e-5, 1e-8, True), Check("that", None, None, None, True, "not possible")
    noted, plain = (proofs(Report(some))[0].parts[0] for some in (checks, checks[:1]))
    assert noted.head[-1] == "note" and [row[-1] for row in noted.rows] == ["", "not possible"]
    assert plain.head == noted.head[:-1] and plain.rows == [noted.rows[0][:-1]]


@pytest.mark.parametrize("name", [name for name in WHOLE if CASES[name].kind != "scores"])
def test_single_pixels_have_their_filters(name: str, folder: Path) -> None:
    _, out = toured(folder, name)
    facts, x = figures(out), answer(folder, name)
    assert list(facts["pixels"]) == ["an edge", "in between", "a flat place"]
    for place in facts["pixels"].values():
        for side, ask, array, where in (
            ("receptive", x.row, x.output, "output_pixel"),
            ("projective", x.column, x.image, "input_pixel"),
        ):
            channels = range(array.size // int(np.prod(pictures.channels_last(array, x.layout).shape[:2])))
            coefficients = sum(ask((c, *place[where])).astype(np.float64) for c in channels)
            seen = (
                pictures.channels_last(coefficients, x.layout).any(2)
                if coefficients.any()
                else np.zeros((1, 1), bool)
            )
            rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
            assert place[side]["rows"] <= (np.ptp(rows) + 1 if len(rows) else 0)
            assert place[side]["columns"] <= (np.ptp(columns) + 1 if len(columns) else 0)
            assert (place[side]["pixels"] == 0) == (not seen.any())


def test_what_all_comes_from_afar_is_said_to(tmp_path: Path) -> None:
    """A network that exchanges the picture's halves, and one that leaves it as it is."""
    halves = [
        node("Split", ["x"], ["left", "right"], axis=3, num_outputs=2),
        node("Concat", ["right", "left"], axis=3),
    ]
    for name, nodes, far in (("halves", halves, 1.0), ("unchanged", [node("Add", ["x", "zero"])], 0.0)):
        proto = model(
            nodes,
            {"x": randn(1, 3, 8, 12)},
            ["y"],
            weights={"zero": np.zeros(1, np.float32)} if far == 0 else {},
        )
        onnx.save(proto, tmp_path / f"{name}.onnx")
        save_picture(tmp_path / "p.png", (8, 12), "RGB")
        out = tmp_path / name
        assert (
            cli.run(
                [
                    "tour",
                    str(tmp_path / f"{name}.onnx"),
                    "--image",
                    str(tmp_path / "p.png"),
                    "-k",
                    "1",
                    "-o",
                    str(out),
                ]
            )
            == 0
        )
        reaches = figures(out)["afar"]["taking"]["reaches"]
        assert {r["far"] for r in reaches} == {far} and {r["radius"] for r in reaches} == {6 * far}
        assert ("next to nothing" in page_of(out).text) == (far == 0)


def test_labels_name_the_scores(folder: Path) -> None:
    _, out = toured(folder, "scores")
    text = page_of(out).text
    assert all(f"{label} ({k})" in text for k, label in enumerate(LABELS))
    assert "score 0" not in page_of(toured(folder, "many")[1]).text


def test_every_claim_and_its_figure_is_there(folder: Path) -> None:
    _, out = toured(folder, "scores")
    proofs, text = figures(out)["proofs"], page_of(out).text
    assert proofs["ok"] and {"base equals original", "frozen(x0) = y0", "the ledger is complete"} <= set(
        proofs["checks"]
    )
    for claim, check in proofs["checks"].items():
        assert claim in text and f"{check['figure']:.1e}" in text and check["figure"] <= check["bound"]
    assert "All claims behind this page were tested and hold" in text


def guide(folder: Path, name: str, preset: str = "unit", **settings: Any) -> Guide:
    x = onnxscope.load(
        folder / f"{name}.onnx", preset=preset, device="cpu", labels=settings.pop("labels", ())
    )
    x = x.freeze(given(folder, name))
    return Guide(x, x.views, x.model.explainer, x.scores, **settings)


def test_visit_gives_the_page_and_says_where_it_is(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    g = guide(folder, "scores", labels=LABELS, effort=Effort(2, 20.0), say=said.append)
    seen = visit(g, g.x.model.scope, command="the command")
    assert [section.title for section in seen.page.sections] == [TITLES[stop] for stop in SCORES]
    assert not seen.interrupted and seen.page.command == "the command" and seen.facts["proofs"]["ok"]
    assert said[0] == "the proofs" and "scores and ledger" in said
    assert not list(tmp_path.iterdir())
    assert seen.write(tmp_path / "seen.html") == [tmp_path / "seen.html", tmp_path / "seen"]
    assert figures(tmp_path / "seen") == json.loads(json.dumps(seen.facts))


def test_what_was_proved_is_what_is_asked(folder: Path) -> None:
    x = guide(folder, "same").x
    assert verify_scope(x.model.scope, image=x.image).ok and x.map.engine is x.model.engine
    np.testing.assert_allclose(x.output, answer(folder, "same").output, atol=1e-6)


def test_pictures_are_shown_in_the_images_units(folder: Path) -> None:
    """−1…1 of a Tanh as 0…1 for signed images; an output with other channels than the image around grey."""
    v = guide(folder, "same", "signed").views
    shown = v.output((0, 1, 2))
    assert shown.natural and shown.mark == (0, 1, 2) and shown.label == "output"
    np.testing.assert_allclose(shown.values, (v.x.output[0].transpose(1, 2, 0) + 1) / 2, atol=1e-6)
    with Image.open(given(folder, "same")) as picture:
        np.testing.assert_allclose(v.image().values, np.asarray(picture) / 255, atol=1e-6)
    grey = guide(folder, "channels").views.output()
    assert not grey.natural and grey.scale == pytest.approx(grey.values.max())


def test_values_of_other_units_are_shown_between_their_extremes() -> None:
    inside = np.linspace(0, 1, 90).reshape(3, 10, 3)
    shown = views.displayed(inside, "output")
    assert shown.natural and shown.label == "output" and shown.values is inside
    few = inside.copy()
    few.flat[:9] = 2.0  # a tenth
    assert views.displayed(few, "output").values is few
    many = 4 * inside - 1
    shown = views.displayed(many, "output")
    np.testing.assert_allclose(shown.values, inside, atol=1e-12)
    assert shown.label == "output (black = -1, white = 3 times the image's white)"
    assert not views.displayed(np.full((2, 2, 3), 5.0), "output").values.any()


# what it is asked


def test_json_for_machines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert go(folder, "half", tmp_path / "a.b.html", "-k", "1", "--json") == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert not said.err and facts.pop("written") == [str(tmp_path / "a.b.html"), str(tmp_path / "a.b")]
    assert facts == figures(tmp_path / "a.b")


def test_it_is_written_next_to_the_model_unless_told_otherwise(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes((folder / "half.onnx").read_bytes())
    assert cli.run(["tour", str(tmp_path / "net.onnx"), "--image", str(folder / "half.png"), "-k", "1"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.tour", "net.tour.html"]


def test_more_triplets_than_there_are(tmp_path: Path) -> None:
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("MatMul", ["f", "narrow"], ["n"]),
        node("MatMul", ["n", "wide"]),
    ]
    proto = model(
        nodes,
        {"x": randn(1, 3, 6, 6)},
        ["y"],
        weights={"narrow": randn(108, 2, seed=7), "wide": randn(2, 5, seed=8)},
    )
    onnx.save(proto, tmp_path / "net.onnx")
    save_picture(tmp_path / "p.png", (6, 6), "RGB")
    out = tmp_path / "out"
    assert (
        cli.run(
            [
                "tour",
                str(tmp_path / "net.onnx"),
                "--image",
                str(tmp_path / "p.png"),
                "-k",
                "50",
                "-o",
                str(out),
            ]
        )
        == 0
    )
    assert (figures(out)["svd"]["asked"], figures(out)["svd"]["converged"]) == (5, 2)
    assert (
        "Of 5 triplets that were asked for, 2 converged; the search ended (F has rank 2)" in page_of(out).text
    )


@pytest.mark.parametrize("name", ["scores", "larger"])
def test_out_of_time_it_goes_on_with_what_it_has(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "LEAST_SECONDS", 1e-9)
    monkeypatch.setattr(visiting, "PASSES", {})  # sections that cannot end early take what they need
    assert go(folder, name, tmp_path / "out", "-k", "4", "--seconds", "1e-9") == 0
    assert figures(tmp_path / "out")["svd"]["converged"] < 4
    assert re.search(
        "Of 4 triplets that were asked for, [0-3] converged; the search ended", page_of(tmp_path / "out").text
    )


def test_interrupted_it_writes_what_it_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter(range(6))

    def interrupted(self: Lanczos, step: Callable[[Lanczos], None] = Lanczos.step) -> None:
        if next(turns, None) is None:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Lanczos, "step", interrupted)
    assert go(folder, "larger", tmp_path / "out", "-k", "8") == 130
    assert "the search ended (interrupted)" in page_of(tmp_path / "out").text
    assert figures(tmp_path / "out")["proofs"]["ok"]


def test_what_is_not_proved_is_said(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    report = opening.Report(
        (
            opening.Check("frozen(x0) = y0", float("inf"), 1e-5, 0.0, False),
            opening.Check("F is linear", 1e-3, 1e-5, 0.0, False),
        )
    )
    monkeypatch.setattr(visiting, "verify_scope", lambda scope, **_: report)
    assert go(folder, "scores", tmp_path / "out", "-k", "1") == 1
    assert "not all hold" in capsys.readouterr().out
    proofs, text = figures(tmp_path / "out")["proofs"], page_of(tmp_path / "out").text
    assert not proofs["ok"] and [check["figure"] for check in proofs["checks"].values()] == [None, 1e-3]
    assert (
        "Not all claims hold" in text
        and "does not hold" in text
        and "All claims behind this page were tested and hold" not in text
    )


def test_between_inner_tensors(folder: Path, tmp_path: Path) -> None:
    """From feature maps to the picture, and from the picture to feature maps."""
    for options, kind, shapes in (
        (["--image-input", "head"], "larger image", ((1, 4, 12, 10), (1, 3, 24, 20))),
        (["--output", "block0"], "same-size image", ((1, 3, 12, 10), (1, 4, 12, 10))),
    ):
        out = tmp_path / kind.split()[0]
        assert go(folder, "larger", out, "-k", "1", *options) == 0
        facts = figures(out)
        assert facts["kind"] == kind and facts["proofs"]["ok"]
        assert {"--image-input": facts["image"], "--output": facts["output"]}[options[0]] == options[1]
        proto = onnx.load(folder / "larger.onnx")
        x = onnxscope.load(
            proto, input_shapes={"image": (1, 3, 12, 10)}, image=facts["image"], output=facts["output"]
        ).freeze(pictures.read(folder / "larger.png", (1, 3, 12, 10)))
        assert (x.image.shape, x.output.shape) == shapes
        assert facts["svd"]["sigma"] == pytest.approx(
            [np.linalg.svd(x.dense(), compute_uv=False)[0]], rel=1e-3
        )


def test_of_a_scope(folder: Path, tmp_path: Path) -> None:
    """A scope gives what its model gives, but cannot be compared with it."""
    scope, out = tmp_path / "s.onnx", tmp_path / "out"
    assert cli.run(["rewrite", str(folder / "scores.onnx"), "-o", str(scope)]) == 0
    assert (
        cli.run(["tour", str(scope), "--image", str(folder / "scores.png"), "-k", "3", "-o", str(out)]) == 0
    )
    of_scope, of_model = figures(out), figures(toured(folder, "scores")[1])
    assert of_scope["ledger"] == of_model["ledger"] and of_scope["parts"] == of_model["parts"]
    assert (
        of_scope["proofs"]["checks"]["base equals original"]["figure"] is None
        and "not judged" in page_of(out).text
    )


# what it refuses


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "scores",
            ["--labels", "three.txt"],
            "--labels: the file must hold one label for each of the 4 scores, and it holds 3",
        ),
        (
            "larger",
            ["--labels", "three.txt"],
            "--labels: the file must hold one label for each of the 1440 scores, and it holds 3",
        ),
        ("scores", ["--labels", "empty.txt"], "--labels 'empty.txt': the file holds no labels"),
        ("scores", ["--labels", "binary.txt"], "--labels 'binary.txt': the file cannot be read as text"),
        ("scores", ["--labels", "absent.txt"], "--labels 'absent.txt': the file cannot be read as text"),
        ("scores", ["--image", "absent.png"], "cannot be read"),
        ("scores", ["--image", "three.txt"], "is not an image"),
        ("vector", ["--image", "p.png"], "a picture does not fit"),
        ("scores", ["-o", "no/where"], "there is no folder"),
        ("scores", ["-o", "folder.html"], "is a folder"),
        ("half", ["-o", "three.txt.html", "-k", "1"], "it is not a folder that can be written into"),
        ("half", ["-o", "taken.html", "-k", "1"], "is a folder"),
        ("scores", ["-k", "0"], "-k"),
        ("scores", ["--seconds", "0"], "--seconds"),
        ("scores", ["--seconds", "nan"], "--seconds"),
        ("scores", ["--output", "nothing"], "nothing"),
        ("scores", ["--preset", "vgg"], "there is no preset 'vgg'"),
    ],
)
def test_bad_input_is_one_line(
    name: str,
    options: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("three.txt").write_text("a\nb\nc\n")
    Path("empty.txt").write_text("")
    Path("binary.txt").write_bytes(b"\xff\xfe\x80")
    Path("folder.html").mkdir()
    Path("taken/tour.json").mkdir(parents=True)
    save_picture(Path("p.png"), (4, 4), "RGB")
    before = sorted(Path().rglob("*"))
    assert go(folder, name, Path("out"), *options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_nothing_that_it_is_made_from_is_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Even where the image lies in the tour's folder and is called like one of its pictures."""
    picture = tmp_path / "seen" / "input.png"
    picture.parent.mkdir()
    picture.write_bytes((folder / "half.png").read_bytes())
    arguments = [
        "tour",
        str(folder / "half.onnx"),
        "--image",
        str(picture),
        "-k",
        "1",
        "-o",
        str(tmp_path / "seen.html"),
    ]
    assert cli.run(arguments) == 2
    assert "input.png'" in capsys.readouterr().err
    assert picture.read_bytes() == (folder / "half.png").read_bytes() and sorted(tmp_path.rglob("*")) == [
        picture.parent,
        picture,
    ]


# in a browser


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser(1280) as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["scores", "larger", "same"])
def test_a_browser_shows_all_of_it(window: Browser, name: str, width: int, folder: Path) -> None:
    window.emulate(width)
    window.open(toured(folder, name)[1].with_suffix(".of.html"))
    assert window.complaints() == [] and window.broken_images() == []
    assert window.overflow() <= 0


# the project's own models

VARIANT = re.compile(r".*_(torch|int8|fp16)")
FOUND = sorted(path.stem for path in MODELS.glob("*.onnx"))
FIRST_VARIANTS = {found[1]: name for name in reversed(FOUND) if (found := VARIANT.fullmatch(name))}
BUNDLED = [name for name in FOUND if not VARIANT.fullmatch(name)] + sorted(FIRST_VARIANTS.values())
TASKS = {"edsr": PICTURES, "pixelshuffle": PICTURES, "scenes_labels": SAME}  # of the others: scores


@pytest.mark.parametrize("name", BUNDLED)
def test_every_model_of_the_project_has_a_tour(name: str, tmp_path: Path) -> None:
    sizes = [
        d.dim_value for d in onnx.load(MODELS / f"{name}.onnx").graph.input[0].type.tensor_type.shape.dim
    ]
    save_picture(tmp_path / "p.png", (sizes[2] or 16, sizes[3] or 16), "RGB")
    preset = ["--preset", "signed"] if "labels" in name else []
    out = tmp_path / "out"
    arguments = [
        "tour",
        str(MODELS / f"{name}.onnx"),
        "--image",
        str(tmp_path / "p.png"),
        *preset,
        "-k",
        "2",
        "--seconds",
        "120",
    ]
    assert cli.run([*arguments, "-o", str(out)]) == 0
    facts = figures(out)
    stops = next((stops for task, stops in TASKS.items() if name.startswith(task)), SCORES)
    assert [stop for stop in TITLES if stop in facts] == stops and facts["proofs"]["ok"]
    with Image.open(io.BytesIO((out / "input.png").read_bytes())) as shown:
        assert shown.mode == "RGB"


def test_the_share_that_a_wave_covers() -> None:
    y, x = (np.arange(64)[:, None] + 0.5) / 64, (np.arange(64) + 0.5) / 64
    energy = (np.cos(4 * np.pi * y) * np.cos(6 * np.pi * x)) ** 2
    assert abs(energy.sum() ** 2 / (energy**2).sum() / energy.size - bases.WAVE) < 1e-9
