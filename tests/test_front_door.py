"""`import onnxscope` is enough: every question to one object, answers that print, draw and save themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from PIL import Image
from support import model, node, randn

import onnxscope
from onnxscope.files import models
from onnxscope.rewriting import build

LABELS = [f"kind {k}" for k in range(6)]
ASK: dict[str, Callable[[Any], Any]] = {
    "row": lambda x: x.row(2),
    "column": lambda x: x.column((1, 3, 4)),
    "residual": lambda x: x.residual(),
    "svd": lambda x: x.svd(3),
    "ledger": lambda x: x.ledger(2),
    "contributions": lambda x: x.contributions("kind 2"),
    "votes": lambda x: x.votes(),
    "grad-cam": lambda x: x.explain("grad-cam", [2, "kind 1"]),
    "saliency": lambda x: x.explain("saliency"),
}


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).random(shape).astype(np.float32)


@pytest.fixture(scope="module")
def x() -> onnxscope.LinearInterpreter:
    proto = networks.vgg(False, len(LABELS), (4, 6), side=16)
    return onnxscope.load(proto, labels=LABELS).freeze(image(1, 3, 16, 16))


@pytest.mark.parametrize("name", ASK)
def test_every_answer_prints_draws_and_saves_itself(
    name: str, x: onnxscope.LinearInterpreter, tmp_path: Path
) -> None:
    answer = ASK[name](x)
    assert repr(answer) and "\x1b" not in repr(answer)
    assert "<img src=" in answer._repr_html_()
    json.dumps(answer.to_dict(), allow_nan=False)
    png = answer.plot()._repr_png_()
    assert Image.open(io.BytesIO(png)).size[0] > 50
    saved = answer.save(tmp_path / "answer.png")
    assert saved.read_bytes() == png
    with pytest.raises(onnxscope.BadOption, match=r"\.png"):
        answer.save(tmp_path / "answer.gif")


@pytest.mark.parametrize("name", ["svd", "ledger", "contributions", "votes", "grad-cam"])
def test_results_become_json(name: str, x: onnxscope.LinearInterpreter, tmp_path: Path) -> None:
    answer = ASK[name](x)
    assert json.loads(answer.save(tmp_path / "a.json").read_text()) == json.loads(
        json.dumps(answer.to_dict())
    )


def test_labels_and_numbers_name_the_same_score(x: onnxscope.LinearInterpreter) -> None:
    for score in (2, "2", "kind 2"):
        assert x.ledger(score).name == "kind 2 (2)"
    highest = int(x.output.argmax())
    assert x.ledger().score == pytest.approx(float(x.output.ravel()[highest]))
    assert "kind 2 (2)" in repr(x.ledger(2)) and "remainder" in repr(x.ledger(2))
    np.testing.assert_array_equal(
        np.asarray(x.explain("saliency", 2)), x.explain("saliency", ["kind 2"]).maps
    )
    with pytest.raises(onnxscope.BadOption, match="no score 'kind 9'"):
        x.ledger("kind 9")


def test_objects_print_what_they_are(x: onnxscope.LinearInterpreter) -> None:
    assert repr(x) == "LinearInterpreter(F: (1, 3, 16, 16) → (1, 6))"
    assert repr(x.model) == "OpenModel(image 'image' (1, 3, 16, 16), output 'scores')"
    assert repr(x.svd(2)).splitlines()[0] == "2 of 2 singular triplets, 2 converged"
    np.testing.assert_array_equal(x.row("kind 2"), x.row(2))


def test_rows_stay_arrays(x: onnxscope.LinearInterpreter) -> None:
    """What is computed from an answer, or cut out of it, is an ordinary array."""
    row = x.row(2)
    np.testing.assert_array_equal(row[0], x.rows([2])[0])
    assert type(row * 2) is np.ndarray and type(row + row) is np.ndarray
    assert isinstance(row.sum(), np.floating)
    with pytest.raises(onnxscope.BadOption, match="plot the whole answer"):
        row[0].plot()


def test_the_public_names_are_shown_and_no_modules() -> None:
    names = dir(onnxscope)
    assert {"load", "rewrite", "doctor", "verify", "read_image", "find_labels", "Ledger"} <= set(names)
    assert not [name for name in names if type(getattr(onnxscope, name)).__name__ == "module"]


def test_a_picture_file_is_an_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    proto = networks.vgg(False, 4, (4, 6), side=16)
    read = onnxscope.read_image(tmp_path / "p.png", "imagenet")
    assert read.shape == (1, 3, 16, 16)
    by_file = onnxscope.load(proto, preset="imagenet").freeze(tmp_path / "p.png")
    np.testing.assert_array_equal(by_file.image, read)
    np.testing.assert_array_equal(by_file.output, onnxscope.load(proto).freeze(read).output)
    assert onnxscope.read_image(tmp_path / "p.png", shape=(1, 3, 8, 4)).shape == (1, 3, 8, 4)


@pytest.mark.parametrize(
    ("metadata", "files", "found"),
    [
        ({"names": "{0: 'cat', 1: 'dog'}"}, {}, ["cat", "dog"]),
        ({"names": '{"1": "dog", "0": "cat"}'}, {}, ["cat", "dog"]),
        ({"classes": '["cat", "dog"]'}, {}, ["cat", "dog"]),
        ({"labels": "cat,dog"}, {}, ["cat", "dog"]),
        ({}, {"net.labels.txt": "cat\ndog", "labels.txt": "no"}, ["cat", "dog"]),
        ({}, {"labels.txt": "cat\ndog"}, ["cat", "dog"]),
        ({"names": "{3: 'cat'}"}, {"net.txt": "cat\ndog"}, ["cat", "dog"]),
    ],
)
def test_labels_are_found(
    metadata: dict[str, str], files: dict[str, str], found: list[str], tmp_path: Path
) -> None:
    proto = model([node("Relu", ["x"])], {"x": randn(1, 2)}, ["y"])
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, tmp_path / "net.onnx")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert onnxscope.find_labels(tmp_path / "net.onnx") == found


def test_labels_that_are_nowhere(tmp_path: Path) -> None:
    onnx.save(model([node("Relu", ["x"])], {"x": randn(1, 2)}, ["y"]), tmp_path / "net.onnx")
    with pytest.raises(onnxscope.BadOption, match=r"put them, one on each line, into 'net\.labels\.txt'"):
        onnxscope.find_labels(tmp_path / "net.onnx")


def test_reports_and_diagnoses_print_as_tables() -> None:
    proto = networks.vgg(False, 4, (4, 6), side=16)
    report, found = onnxscope.verify(proto), onnxscope.doctor(proto)
    assert repr(report).startswith("proved") and "frozen(x0) = y0" in repr(report)
    assert report.to_dict()["ok"] and "<table>" in report._repr_html_()
    assert "can be rewritten" in repr(found) and "MaxPool" in repr(found)


def test_a_source_is_read_and_normalised_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is asked: other ways back, other policies and the tour start from the same base."""
    calls = {"normalise": 0, "read": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(build, "normalise", counted("normalise", build.normalise))
    monkeypatch.setattr(models, "read_file", counted("read", models.read_file))
    onnx.save(networks.vgg(False, 4, (4, 6), side=16), tmp_path / "net.onnx")
    x = onnxscope.load(tmp_path / "net.onnx").freeze(image(1, 3, 16, 16))
    for ask in (x.row, x.ledger, x.contributions):
        ask(1)
    x.votes()
    for method in ("grad-cam", "guided", "lrp-composite", "fullgrad", "integrated-gradients"):
        x.explain(method, [0, 1])
    x.tour(tmp_path / "page.html", k=1)
    assert calls == {"normalise": 1, "read": 1}


def test_a_tour_of_arrays_with_no_file_anywhere(
    x: onnxscope.LinearInterpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = x.tour(k=2)
    assert not list(tmp_path.iterdir()) and not seen.missing
    assert seen.facts["proofs"]["ok"] and seen.facts["kind"] == "scores"
    assert seen.facts["proofs"]["checks"]["base equals original"]["figure"] is not None
    assert "kind" in repr(seen) or "section" in repr(seen)
    assert seen._repr_html_().startswith("<!DOCTYPE html>")
    assert x.tour("page.html", k=1).page and (tmp_path / "page" / "tour.json").exists()


def saturated() -> onnx.ModelProto:
    """A network whose Relu is closed everywhere: the scores are its biases."""
    weights = {"w": -np.ones((3, 48), np.float32), "b": np.float32([1, 2, 3]), "v": randn(3, 3)}
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "w"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "b"], ["y"]),
    ]
    return model(nodes, {"x": randn(1, 3, 4, 4)}, ["y"], weights=weights)


def test_a_part_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = onnxscope.load(saturated()).freeze(1 + image(1, 3, 4, 4))
    assert not np.any(x.dense())
    seen = x.tour(tmp_path / "page.html", k=2)
    figures = json.loads((tmp_path / "page" / "tour.json").read_text())
    assert {"scores", "ledger", "parts", "proofs"} <= set(figures) and figures["missing"] == seen.missing
    from onnxscope.show.tour import visit

    def failing(g: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(visit, "bases", failing)
    seen = x.tour(tmp_path / "other.html", k=2)
    assert seen.missing == {"singular triplets": "internal error: ZeroDivisionError: by nothing"}
    page = (tmp_path / "other.html").read_text()
    assert "Missing here: singular triplets" in page and "by nothing" in page and "The ledger" in page
