"""Every question in Python put to every form of file, and to models in memory.

Each is answered, or refused for a reason that holds there. `REFUSED` names all refusals; what it leaves out
must work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forms import FORMS, SCORES, Form, made, reasons
from support import close

import onnxscope
from onnxscope.errors import ScopeError

ROUNDED = 1e-2  # of the largest value: what half precision and int8 may be off by between two sessions
EXACT = 1e-3  # of the largest value: what one rounding to half precision may be off by
METHODS = ["saliency", "lrp-composite"]
NO_FOLDER = r"is in the file 'net.onnx.data', and a model in memory has no folder; give the path of the model"
REFUSED = [  # questions, forms, and what the message says
    (
        "rewrite, doctor",
        "own scope, large scope, free scope, a Scope",
        r"is a scope already; name the original model$",
    ),
    ("votes, explain", "batch of 4", r"4x3x12x12.*--input-shape image:1x3x12x12$"),
    ("votes, explain", "clip", r"1x3x4x8x8.* no picture"),
    ("all", "bytes without their data, a ModelProto without its data", NO_FOLDER),
]

IN_MEMORY: dict[str, tuple[str, Callable[[Form], Any]]] = {  # the form that is read, and how
    "bytes": ("one file", lambda form: form.model.read_bytes()),
    "a ModelProto": ("external data", lambda form: onnx.load(form.model)),
    "a Scope": ("external data", lambda form: onnxscope.rewrite(form.model)),
    "bytes without their data": ("external data", lambda form: form.model.read_bytes()),
    "a ModelProto without its data": (
        "external data",
        lambda form: onnx.load(form.model, load_external_data=False),
    ),
}


@dataclass(frozen=True)
class Asked:
    """A model in Python, and its image."""

    source: Any
    form: Form

    def frozen(self, **options: Any) -> onnxscope.LinearInterpreter:
        """For the image alone where it is all that the model takes, else for all inputs by name."""
        given = self.form.feeds if len(self.form.feeds) > 1 else self.form.x0
        return onnxscope.load(self.source, **self.form.choice, **options).freeze(given)

    @cached_property
    def x(self) -> onnxscope.LinearInterpreter:
        return self.frozen()

    @property
    def places(self) -> list[Any]:
        """A pixel of the image and an element of the output, as Python names them."""
        found = [tuple(map(int, text.split(","))) for text in (self.form.pixel, self.form.score)]
        return [place if len(place) > 1 else place[0] for place in found]

    @property
    def highest(self) -> int:
        return int(self.form.scores.argmax())


@cache
def asked(kind: str) -> Asked:
    """One for all questions, so that the model is opened once."""
    form, read = IN_MEMORY.get(kind, (kind, lambda form: form.model))
    return Asked(read(made(form)), made(form))


def sound(found: onnxscope.Diagnosis | onnxscope.Report) -> None:
    assert found.ok, found


def saves(q: Asked, out: Path) -> None:
    path = onnxscope.rewrite(q.source, **q.form.choice).save(out / "net.scope.onnx")
    assert onnxscope.Scope.load(path).steps


def both_ways(q: Asked, out: Path) -> None:
    """F has the same element at a place whether its row or its column is asked for."""
    pixel, score = q.places
    row, column = q.x.row(score), q.x.column(pixel)
    x = onnxscope.ask.interpreter.flat_index
    at, to = (x(like.shape, place, q.x.layout) for like, place in ((row, pixel), (column, score)))
    assert row.shape == q.x.image.shape and column.shape == q.x.output.shape
    assert abs(row.flat[at] - column.flat[to]) <= EXACT * np.abs(column).max() and column.any()


def adds_up(q: Asked, out: Path) -> None:
    close(q.x.project(q.x.image) + q.x.residual(), q.x.output.astype(np.float32), EXACT, "F·x0 + r")
    close(q.x.output.astype(np.float32), q.form.scores, ROUNDED, "y0")


def transposes(q: Asked, out: Path) -> None:
    u = np.arange(q.x.output.size, dtype=np.float32).reshape(q.x.output.shape)
    forward, back = (
        np.vdot(q.x.project(q.x.image), u),
        np.vdot(q.x.image.astype(np.float32), q.x.back_project(u)),
    )
    assert forward == pytest.approx(back, rel=EXACT, abs=EXACT)


def singular(q: Asked, out: Path) -> None:
    found = q.x.svd(1)
    close(q.x.project(found.v[0]).reshape(found.u[0].shape), found.sigma[0] * found.u[0], EXACT, "F·v = σ·u")


def extracts(q: Asked, out: Path) -> None:
    rows = np.load(q.x.extract(out / "rows.npy", side="rows"))
    close(rows.reshape(q.x.output.size, -1), q.x.dense(), EXACT, "rows")


def books(q: Asked, out: Path) -> None:
    book = q.x.ledger(q.highest)
    assert (
        "remainder" in repr(book)
        and book.plot().png
        and book.layers
        and book.score == pytest.approx(float(q.form.scores.max()), rel=ROUNDED)
    )
    assert abs(book.remainder) < EXACT


def parts(q: Asked, out: Path) -> None:
    found = q.x.contributions(q.highest)
    assert len(found) > 2 and found[0].tensor == q.x.map.engine.scope.image
    assert found[0].total == pytest.approx(q.x.ledger(q.highest).input, rel=EXACT, abs=EXACT)


def votes_of(q: Asked, out: Path) -> None:
    found = q.x.votes()
    assert {*found.tally()} <= {*range(SCORES)} and found.winner.ndim == 2


def explains(q: Asked, out: Path) -> None:
    for method in METHODS:
        (found,) = q.x.explain(method, q.highest).maps
        assert found.ndim == 2 and found.any()


def tours(q: Asked, out: Path) -> None:
    seen = q.x.tour(out / "page.html", k=1)
    assert seen.facts["proofs"]["ok"] and (out / "page" / "tour.json").exists()
    assert not {"ledger", "scores"} - {*seen.facts} and {*seen.missing} <= {"votes and other methods"}


QUESTIONS: dict[str, Callable[[Asked, Path], None]] = {
    "rewrite": saves,
    "doctor": lambda q, out: sound(onnxscope.doctor(q.source, **q.form.choice)),
    "verify": lambda q, out: sound(onnxscope.verify(q.source, **q.form.choice)),
    "row and column": both_ways,
    "residual and project": adds_up,
    "back_project": transposes,
    "svd": singular,
    "extract": extracts,
    "ledger": books,
    "contributions": parts,
    "votes": votes_of,
    "explain": explains,
    "tour": tours,
}
REASONS = reasons(REFUSED, QUESTIONS, [*FORMS, *IN_MEMORY])


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An empty folder whose files are gone afterwards, for some are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", [*FORMS, *IN_MEMORY])
def test_question(kind: str, question: str, out: Path) -> None:
    reason = REASONS.get((question, kind))
    if reason is None:
        QUESTIONS[question](asked(kind), out)
    else:
        with pytest.raises(ScopeError, match=reason) as refused:
            QUESTIONS[question](asked(kind), out)
        assert "\n" not in str(refused.value)
