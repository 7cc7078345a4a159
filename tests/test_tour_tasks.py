"""Tours of networks that find something: what they draw, which questions they answer, and within which time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tasked
from PIL import Image

import onnxscope
from onnxscope.cli import main as cli
from onnxscope.show import colours, outlines
from onnxscope.show.panels import Picture
from onnxscope.show.tour import filters, rivals, visit
from onnxscope.show.tour.guide import Effort, guide_to

Make = Callable[[], onnx.ModelProto]
TASKS: dict[str, tuple[Make, str, list[str]]] = {  # the task, and the first questions
    "detector": (tasked.detector, "boxes", ["box:1", "box:2", "box:3"]),
    "centres": (tasked.centres, "boxes", ["box:1"]),
    "segmenter": (tasked.segmenter, "class map", []),
    "reader": (tasked.reader, "text", ["letter:1", "letter:2"]),
    "landmarks": (tasked.landmarks, "points", ["landmark:1", "landmark:3", "landmark:5"]),
    "embedder": (tasked.embedder, "embedding", ["length"]),
    "depth": (tasked.depth, "map", ["mean"]),
}


def toured(folder: Path, make: Make, *options: str) -> tuple[int, dict[str, Any], str]:
    onnx.save(make(), folder / "net.onnx")
    np.save(folder / "x.npy", tasked.X)
    files = [str(folder / "net.onnx"), "--image", str(folder / "x.npy"), "-o", str(folder / "page.html")]
    code = cli.run(["tour", *files, "-k", "2", *options])
    facts = json.loads((folder / "page" / "tour.json").read_text()) if code == 0 else {}
    return code, facts, (folder / "page.html").read_text() if code == 0 else ""


@pytest.mark.parametrize("name", TASKS)
def test_a_tour_answers_the_questions_that_suit_the_task(name: str, tmp_path: Path) -> None:
    make, task, questions = TASKS[name]
    code, facts, page = toured(tmp_path, make)
    assert code == 0
    assert facts["task"] == task
    answers = facts["answers"]["answers"]
    asked = [a["question"] for a in answers]
    assert asked[: len(questions)] == questions
    assert all(a["question"] in page for a in answers)
    x = onnxscope.load(make()).freeze(tasked.X)
    for a in answers:
        alone = x.ask(a["question"])
        assert a["value"] == pytest.approx(alone.value, rel=1e-4)
        assert a["image"] == pytest.approx(float(np.vdot(alone.row(0), tasked.X)), rel=1e-3, abs=1e-4)
        assert a["image"] + a["biases"] == pytest.approx(a["value"], abs=1e-4 * max(1, abs(a["biases"])))
    assert ("svd" in facts) == (task in ("embedding", "map"))


def test_boxes_are_those_of_the_questions(tmp_path: Path) -> None:
    _, facts, _ = toured(tmp_path, tasked.detector)
    x = onnxscope.load(tasked.detector()).freeze(tasked.X)
    assert [tuple(b["edges"]) for b in facts["found"]["boxes"]] == [b.edges for b in x.reader.boxes]


def test_areas_add_up(tmp_path: Path) -> None:
    _, facts, _ = toured(tmp_path, tasked.segmenter)
    areas = facts["found"]["areas"]
    assert sum(areas.values()) == pytest.approx(1)
    asked = [a["question"] for a in facts["answers"]["answers"]]
    assert asked == [f"class:{name.split()[1]}" for name in list(areas)[: len(asked)]]


def test_the_text_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join("-abcdefghijk"))
    _, facts, page = toured(tmp_path, tasked.reader, "--labels", str(tmp_path / "names.txt"))
    text = onnxscope.load(tasked.reader(), labels=list("-abcdefghijk")).freeze(tasked.X).reader.text
    assert facts["found"]["text"] == text
    assert f"reads \u201c{text}\u201d" in page


def test_peaks_lie_where_the_heat_is(tmp_path: Path) -> None:
    _, facts, _ = toured(tmp_path, tasked.landmarks)
    heat = onnxscope.load(tasked.landmarks()).freeze(tasked.X).output[0]
    for (x, y), values in zip(facts["found"]["points"], heat, strict=True):
        assert values[int(y) // 4, int(x) // 4] == values.max()


def test_several_questions_of_the_users_own(tmp_path: Path) -> None:
    code, facts, _ = toured(tmp_path, tasked.classifier, "--ask", "score:3-score:1", "--ask", "class:2")
    assert code == 0
    assert [a["question"] for a in facts["answers"]["answers"]] == ["score:3-score:1", "class:2"]
    assert "svd" not in facts and "scores" not in facts
    x = onnxscope.load(tasked.classifier()).freeze(tasked.X)
    wanted = [x.output[0, 3] - x.output[0, 1], x.output[0, 2]]
    np.testing.assert_allclose([a["value"] for a in facts["answers"]["answers"]], wanted, rtol=1e-4)


def test_other_verbs_answer_one_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toured(tmp_path, tasked.classifier)
    capsys.readouterr()
    files = [str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy")]
    assert cli.run(["ledger", *files, "--ask", "class:1", "--ask", "class:2"]) == 2
    assert "answers one question at a time" in capsys.readouterr().err


def test_a_question_that_cannot_be_answered_leaves_the_rest(tmp_path: Path) -> None:
    onnx.save(tasked.classifier(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", tasked.X)
    files = [str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy"), "-o", str(tmp_path / "p.html")]
    assert cli.run(["tour", *files, "--ask", "box:1"]) == 1
    missing = json.loads((tmp_path / "p" / "tour.json").read_text())["missing"]
    assert "does not fit a network that gives scores" in missing["the answers"]


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
def test_a_cosine_is_made_of_contributions(policy: str, tmp_path: Path) -> None:
    """Under freeze the embedding's length is a decision, so that the parts add up to the cosine."""
    np.save(tmp_path / "other.npy", tasked.X[..., ::-1])
    x = onnxscope.load(tasked.embedder(), policy=policy).freeze(tasked.X)
    answer = x.ask(f"same:{tmp_path / 'other.npy'}", "length")
    book = answer.ledger(0)
    assert -1 <= answer.value < 0.999
    assert book.input + book.residual == pytest.approx(answer.value, abs=1e-5)
    assert answer.values[1] == pytest.approx(1, rel=1e-5)


def test_two_images_are_shown_with_what_makes_them_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", tasked.X[..., ::-1])
    code, facts, page = toured(tmp_path, tasked.embedder, "--ask", f"same:{tmp_path / 'other.npy'}")
    (found,) = facts["answers"]["answers"]
    assert code == 0
    assert -1 <= found["value"] < 0.999
    assert (tmp_path / "page" / "other-1.png").exists()
    assert "other.npy" in page


# time


def test_where_time_is_short_less_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "PASSES", {})
    began = time.perf_counter()
    code, facts, page = toured(tmp_path, tasked.detector, "--seconds", "0.001")
    assert code == 0
    assert 0 < facts["seconds"] < time.perf_counter() - began
    assert facts["rivals"]["methods"] == [] and set(facts["rivals"]["no_time_for"]) <= set(rivals.METHODS)
    assert "There was no time left for" in page
    assert facts["proofs"]["ok"]


def test_without_time_for_the_proofs_the_page_is_not_proved(tmp_path: Path) -> None:
    onnx.save(tasked.depth(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", tasked.X)
    files = [str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy"), "-o", str(tmp_path / "p.html")]
    assert cli.run(["tour", *files, "--seconds", "0.001"]) == 1
    facts = json.loads((tmp_path / "p" / "tour.json").read_text())
    assert facts["no_time_for"] == ["proofs", "ledger", "pixels"]
    assert re.fullmatch(r"there was no time left; --seconds \d+ gives enough", facts["missing"]["the proofs"])
    assert not facts["proofs"]["ok"] and "parts" in facts
    assert "Not all claims hold" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize("left, side, line", [(1e6, 10, 128), (300, 3, 40), (2, 0, 0), (-1, 0, 0)])
def test_the_grid_of_filters_follows_the_time(left: float, side: int, line: int) -> None:
    x = onnxscope.load(tasked.depth()).freeze(tasked.X)
    g = guide_to(x, Effort(2, 60.0))
    object.__setattr__(g, "effort", Left(left))
    g.__dict__["pass_seconds"] = 1.0
    found = filters.affordable(g)
    assert found[1] == min(line, 128) if left > 1e5 or left < 10 else found[1] <= left / 6
    assert (found[0] >= 3) == (side >= 3)
    assert 2 * found[0] ** 2 + found[1] <= max(0, left) / 2


class Left:
    def __init__(self, left: float) -> None:
        self.left = left


# pictures


def test_a_box_is_drawn_where_it_is() -> None:
    (light, dark) = outlines.boxes_on(np.zeros((40, 80, 3), np.uint8), [(20, 10, 60, 30)], ["dog"])
    for png in (light, dark):
        found = np.asarray(opened(png))
        blue = (abs(found - 255 * np.array(outlines.colour(0))) < 6).all(2)
        rows, columns = np.nonzero(blue)
        width = found.shape[1]
        assert columns.min() / width == pytest.approx(20 / 80, abs=0.03)
        assert columns.max() / width == pytest.approx(60 / 80, abs=0.03)
        assert (rows.max() - rows.min()) / (columns.max() - columns.min()) == pytest.approx(0.5, abs=0.25)


def test_the_whole_picture_is_drawn() -> None:
    """Up to its borders: what is on the left is as large as what is on the right, and top as bottom."""
    left, right, top, bottom = sides = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [90, 90, 90]])
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 0], pixels[:, -1], pixels[0, 1:-1], pixels[-1, 1:-1] = left, right, top, bottom
    found = opened(outlines.on_picture(pixels, lambda axes: None)[0])
    areas = [(abs(found - side) < 3).all(2).sum() for side in sides]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)
    assert areas[2] == pytest.approx(areas[3], rel=0.05)


def test_neighbouring_colours_differ() -> None:
    used = [outlines.colour(k) for k in range(20)]
    assert len(set(used)) == 20


def test_large_values_show_over_the_picture_and_small_ones_leave_it() -> None:
    picture = np.full((60, 60, 3), 0.2)
    picture[:, 30:] = 0.6
    values = np.zeros((60, 60))
    values[10:20, 10:20], values[40:50, 40:50] = 1, -1
    over = colours.laid_over(Picture(picture, natural=True), values, "map").values
    red, blue, dark, light = over[15, 15], over[45, 45], over[45, 15], over[15, 45]
    assert red[0] > red[2] + 0.2 and blue[2] > blue[0] + 0.2
    for place, level in ((dark, 0.2), (light, 0.6)):
        np.testing.assert_allclose(1 - place, (1 - level) * (1 - colours.PALE), atol=0.5 / 255)


def test_an_average_keeps_the_mean_and_spreads_a_point() -> None:
    values = np.zeros((9, 9))
    values[4, 4] = 9
    found = colours.averaged(values, 3)
    assert found.sum() == pytest.approx(9)
    assert (found[3:6, 3:6] == 1).all()


def opened(png: bytes) -> np.ndarray:
    import io

    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)
