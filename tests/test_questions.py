"""Questions in words: what they mean, the value that the network gives, and rows that are slopes of this value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from support import model, node, randn
from tasked import CONV, TANH, X, classifier, detector, embedder, reader, segmenter

import onnxscope
from onnxscope.api.model import LinearInterpreter
from onnxscope.ask import tasks
from onnxscope.ask.questions import Reader
from onnxscope.cli import main as cli
from onnxscope.errors import BadOption, ScopeError
from onnxscope.graph.ends import End
from onnxscope.runtime import Session


def opened(proto: onnx.ModelProto, **options: Any) -> LinearInterpreter:
    return onnxscope.load(proto, **options).freeze(X)


def slope(proto: onnx.ModelProto, value: Any, step: float = 0.02) -> np.ndarray:
    """The difference quotients of a function of the outputs at some pixels."""
    session, found = Session(proto.SerializeToString()), []
    for k in PIXELS:
        e = np.zeros(X.size, np.float32)
        e[k] = step
        up, down = (value(session.run({"x": X + s * e.reshape(X.shape)})["y"]) for s in (1, -1))
        found.append((up - down) / (2 * step))
    return np.array(found)


PLACES = [
    (4, 7),
    (3, 8),
    (4, 4),
    (4, 12),
    (4, 20),
    (4, 28),
    (4, 36),
    (4, 44),
    (12, 4),
    (12, 12),
    (12, 20),
    (12, 28),
    (12, 36),
    (12, 44),
]
PIXELS = [(k % 3) * 16 * 48 + y * 48 + x for k, (y, x) in enumerate(PLACES)]
LETTER = 1
QUESTIONS: dict[str, tuple[Any, str, Any]] = {
    "contrast": (classifier, "score:3-score:1", lambda y: np.log(y[0, 3]) - np.log(y[0, 1])),
    "class at a pixel": (
        segmenter,
        "class:2@4,7-class:1@4,7",
        lambda y: np.log(y[0, 2, 4, 7] / y[0, 1, 4, 7]),
    ),
    "same": (embedder, "same:{other}", lambda y: y[0] @ OTHER / np.linalg.norm(OTHER)),
    "edge": (detector, "box:1/left", lambda y: y[0, 0, BOX] - y[0, 2, BOX] / 2),
    "mean": (embedder, "mean", lambda y: y.mean()),
}
OTHER = Session(embedder().SerializeToString()).run({"x": -X[:, :, ::-1].copy()})["y"][0]
SCORES = Session(detector().SerializeToString()).run({"x": X})["y"][0, 4:]
BOX = int(SCORES.max(0).argmax())


@pytest.mark.parametrize("case", QUESTIONS)
def test_a_row_is_the_slope_of_the_value_that_is_asked_for(case: str, tmp_path: Path) -> None:
    make, question, value = QUESTIONS[case]
    np.save(tmp_path / "other.npy", -X[:, :, ::-1])
    proto = make()
    answer = opened(proto, policy="taylor").ask(question.format(other=tmp_path / "other.npy"))
    expected = slope(proto, value)
    got = np.asarray(answer.row(0)).reshape(-1)[PIXELS]
    np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max() + 1e-5)
    assert np.abs(expected).max() > 1e-4


@pytest.mark.parametrize("case", QUESTIONS)
def test_the_value_is_what_the_network_gives(case: str, tmp_path: Path) -> None:
    make, question, value = QUESTIONS[case]
    np.save(tmp_path / "other.npy", -X[:, :, ::-1])
    proto = make()
    answer = opened(proto).ask(question.format(other=tmp_path / "other.npy"))
    y = Session(proto.SerializeToString()).run({"x": X})["y"]
    assert answer.value == pytest.approx(float(value(y)), rel=1e-4, abs=1e-5)


def test_a_letter_is_a_score_at_its_step() -> None:
    x = opened(reader())
    assert x.model.task == "text"
    step, k = x.reader.letters[LETTER - 1]
    answer = x.ask(f"letter:{LETTER}")
    np.testing.assert_allclose(answer.row(0), x.row(step * 12 + k), atol=1e-6)
    assert answer.value == pytest.approx(x.output[0, step, k], rel=1e-5)


@pytest.mark.parametrize("blank", [0, 5])
def test_a_letter_counts_once_until_a_blank_or_another_follows(blank: int) -> None:
    """The blank is the first class or the last one."""
    labels = list("abcde")
    labels.insert(blank, "-")
    scores = np.float32([[letter == label for label in labels] for letter in "--aa-abbd---"])
    text = tasks.Task(
        tasks.TEXT, [tasks.Output("y", scores.shape, tasks.TEXT, "y")], End("y", gs.Variable("y"))
    )
    x = Reader(text, {"y": scores[None]}, None, labels)
    assert x.text == "aabd"
    assert [step for step, _ in x.letters] == [2, 5, 6, 8]


def test_a_position_behind_a_softmax_is_asked_under_taylor() -> None:
    answer = opened(detector()).ask("box:1/right")
    assert "taylor" in answer.note
    assert np.abs(answer.row(0)).max() > 1e-4


def test_the_class_of_a_box_is_its_logit() -> None:
    answer = opened(detector()).ask("box:1")
    assert 1 / (1 + np.exp(-answer.value)) == pytest.approx(SCORES.max(), rel=1e-4)
    assert np.abs(answer.row(0)).max() > 1e-4


BY_ITSELF = [
    (classifier, "score:"),
    (segmenter, "class:"),
    (reader, "letter:1"),
    (embedder, "length"),
    (detector, "box:1"),
]


@pytest.mark.parametrize(("make", "question"), BY_ITSELF)
def test_without_a_question_the_one_that_suits_the_task_is_asked(make: Any, question: str) -> None:
    answer = opened(make()).ask()
    assert answer.asked.text.startswith(question)
    assert np.isfinite(answer.value)


def test_a_mask_as_a_whole_is_the_mean_over_its_area() -> None:
    x = opened(segmenter())
    k = int(np.bincount(x.reader.classes.reshape(-1)).argmax())
    logits = np.asarray(x.output[0, k])
    assert x.ask(f"class:{k}").value == pytest.approx(logits[x.reader.classes == k].mean(), rel=1e-4)


@pytest.mark.parametrize("place", [(0, 0), (0, 47), (15, 0), (15, 47)])
def test_a_class_can_be_asked_for_at_every_corner(place: tuple[int, int]) -> None:
    x = opened(segmenter())
    assert x.ask(f"class:2@{place[0]},{place[1]}").value == pytest.approx(x.output[0, 2, *place], rel=1e-5)


def test_labels_name_classes() -> None:
    x = opened(classifier(), labels=["cat", "dog", "t-shirt", "house", "car"])
    assert x.ask("class:t-shirt").value == pytest.approx(x.output[0, 2], rel=1e-5)
    assert x.ask("class:dog-class:t-shirt").value == pytest.approx(x.output[0, 1] - x.output[0, 2], rel=1e-4)


def test_an_answer_takes_all_questions_of_an_interpreter() -> None:
    answer = opened(classifier()).ask("score:3-score:1")
    book = answer.ledger()
    assert sum(book.entries.values()) == pytest.approx(answer.value, rel=1e-4)
    assert answer.explain("saliency").maps.shape == (1, 16, 48)


REFUSED = [
    (classifier, "box:1", "gives scores"),
    (classifier, "class:dog", "no labels: give them with --labels"),
    (classifier, "score:9", "below 5"),
    (classifier, "nonsense", "no question"),
    (segmenter, "class:1@99,99", "no pixel '99,99'"),
    (segmenter, "class:1@16,0", "no pixel '16,0'"),
    (segmenter, "class:1@0,48", "no pixel '0,48'"),
    (detector, "box:99", "there are box:1"),
    (detector, "box:1/colour", "ask for class"),
    (detector, "letter:1", "gives boxes"),
    (reader, "letter:99", "were read"),
    (embedder, "same:nowhere.png", "nowhere.png"),
    (embedder, "mean-same:nowhere.png", "nowhere.png"),
]


@pytest.mark.parametrize(("make", "question", "line"), REFUSED)
def test_what_cannot_be_asked_is_refused_in_one_line(make: Any, question: str, line: str) -> None:
    with pytest.raises(ScopeError) as refusal:
        opened(make()).ask(question)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_task_can_be_named() -> None:
    assert opened(classifier(), task="numbers").ask("score:2").value == pytest.approx(
        opened(classifier()).output[0, 2]
    )
    with pytest.raises(BadOption, match="no task 'dreams'; choose one of scores"):
        opened(classifier(), task="dreams").ask("score:2")


MORE = {"svd": ["-k", "1"], "compare": ["--method", "saliency"]}


@pytest.mark.parametrize("verb", ["row", "ledger", "compare", "residual", "svd"])
def test_verbs_take_questions(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(classifier(), tmp_path / "c.onnx")
    np.save(tmp_path / "x.npy", X)
    arguments = [
        verb,
        tmp_path / "c.onnx",
        "--image",
        tmp_path / "x.npy",
        "--ask",
        "score:3-score:1",
        "--json",
    ]
    code = cli.run([*map(str, arguments), "-o", str(tmp_path / "out"), *MORE.get(verb, [])])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert found["question"] == "score:3-score:1"
    assert found["task"] == "scores"
    assert found["value"] == pytest.approx(opened(classifier()).ask("score:3-score:1").value, rel=1e-4)


# further inputs


def detecting() -> onnx.ModelProto:
    """As PaddleDetection exports them: what is computed depends on the size and the scale of the picture."""
    nodes = [
        node("Flatten", ["t"], ["f"]),
        node("MatMul", ["f", "v"], ["s"]),
        node("ReduceSum", ["im_shape"], ["sum"], keepdims=0),
        node("Mul", ["s", "sum"], ["m"]),
        node("ReduceMax", ["scale_factor"], ["factor"], keepdims=0),
        node("Mul", ["m", "factor"]),
    ]
    feeds = {"x": X, "im_shape": np.float32([[16, 48]]), "scale_factor": np.ones((1, 2), np.float32)}
    weights = {"w": randn(4, 3, 3, 3) / 4, "v": randn(4 * 16 * 48, 5, seed=1) / 1000}
    return model([CONV, TANH, *nodes], feeds, ["y"], weights=weights)


@pytest.mark.parametrize(
    ("given", "times"),
    [((), 64), (("im_shape=1",), 2), (("im_shape=3,4", "scale_factor=2"), 14)],
)
def test_further_inputs(
    given: tuple[str, ...], times: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The size of the picture and a scale of ones are taken where nothing else is given."""
    onnx.save(detecting(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", X)
    options = [word for text in given for word in ("--input", text)]
    arguments = [str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy"), "--json"]
    assert cli.run(["ledger", *arguments, *options, "-o", str(tmp_path / "out")]) == 0
    value = json.loads(capsys.readouterr().out)["score"]
    feeds = {"x": X, "im_shape": np.float32([[1, 0]]), "scale_factor": np.float32([[1, 1]])}
    once = Session(detecting().SerializeToString()).run(feeds)["y"]
    assert value == pytest.approx(times * float(once.max()), rel=1e-4)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ("size=3", "the inputs are x, im_shape, scale_factor"),
        ("im_shape=1,2,3", "3 numbers do not fill the shape 1x2"),
        ("im_shape=nowhere.npy", "nowhere.npy"),
    ],
)
def test_further_inputs_that_do_not_fit(
    given: str, cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(detecting(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", X)
    arguments = [str(tmp_path / "net.onnx"), "--image", str(tmp_path / "x.npy"), "--input", given]
    assert cli.run(["ledger", *arguments]) == 2
    assert cause in capsys.readouterr().err
