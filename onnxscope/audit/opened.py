"""A model that is audited, opened once, and what checks see of one picture after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from onnxscope.api.by_image import OpenByImage
from onnxscope.api.differing import Comparing
from onnxscope.api.further import further_inputs
from onnxscope.api.model import Answer, LinearInterpreter, OpenModel
from onnxscope.api.opening import open_model
from onnxscope.api.rows import Row
from onnxscope.api.sizes import sizes_for
from onnxscope.api.two_models import Reading, TwoModels
from onnxscope.ask import presets
from onnxscope.ask.cases import Cases
from onnxscope.ask.interpreter import score_rows
from onnxscope.ask.ledger import Ledger, ledgers
from onnxscope.ask.scores import read_labels
from onnxscope.ask.tasks import SCORES
from onnxscope.ask.trials import Trials
from onnxscope.audit.facts import facts
from onnxscope.errors import BadOption
from onnxscope.files import models, pictures
from onnxscope.files.pixels import channels_last
from onnxscope.files.preprocessing import Preprocess
from onnxscope.rewriting.options import Options
from onnxscope.run import memory
from onnxscope.run.engine import Running

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Given:
    """How a model is opened, as a policy says it."""

    file: str
    labels: str = ""
    preset: str = ""
    layout: str = "auto"
    task: str = ""
    image_input: str | None = None
    output: str | None = None
    input_shape: Mapping[str, Sequence[int]] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    opaque: Sequence[str] = ()

    def options(self) -> Options:
        shapes = {name: tuple(sizes) for name, sizes in self.input_shape.items()}
        return Options(shapes, self.image_input, self.output, opaque=frozenset(self.opaque))


class Audited:
    """A model, opened for the size of the first picture if it leaves its own free."""

    def __init__(self, given: Given, running: Running, seed: int = 0, most: int | None = None) -> None:
        self.given, self.running, self.seed, self._most = given, running, seed, most
        self.file = Path(given.file)
        self.model = models.load(self.file)
        self.labels = read_labels(Path(given.labels) if given.labels else None)
        self.facts = facts(self.model)
        self._opened: OpenModel | None = None
        self.kept: dict[str, Any] = {}  # what measures open once for all pictures
        self._compared: dict[tuple[str, str], Comparing] = {}

    def opened_for(self, picture: Path) -> OpenModel:
        """The model, ready for this picture."""
        if self._opened is None:
            options, preset = (
                self.given.options(),
                presets.given(self.given.preset or None, self.given.layout),
            )
            sizes = sizes_for(self.model, picture, options, preset.preprocess.layout)
            shaped = Options(
                {**sizes.shapes, **options.shapes}, options.image, options.output, opaque=options.opaque
            )
            found = open_model(self.model, shaped, self.running, preset, self.labels, self.given.task)
            if isinstance(found, OpenByImage):
                found.prepare(picture)
            if self._most is not None:  # before any session opens
                memory.check(memory.of_row(found.scope), self._most, f"'{self.file.name}'")
            self._opened = found
        if isinstance(self._opened, OpenByImage):
            self._opened.prepare(picture)
        return self._opened

    def compared_with(self, baseline: str, question: str) -> Comparing:
        """The baseline and this model, opened beside each other."""
        key = baseline, question
        if key not in self._compared:
            reading = Reading(self.given.inputs, self.labels, self.given.preset or None, self.given.options())
            self._compared[key] = Comparing(TwoModels(baseline, self.file, reading), question)
        return self._compared[key]


@dataclass(frozen=True)
class Seen:
    """One picture of a set, as the model takes it. What several checks need is computed once."""

    audited: Audited
    picture: Path
    beside: Path | None = None  # the next picture of the set
    label: str = ""  # the true class

    @cached_property
    def opened(self) -> OpenModel:
        return self.audited.opened_for(self.picture)

    @cached_property
    def image(self) -> np.ndarray:
        return self.opened.read(self.picture)

    @cached_property
    def fed(self) -> Mapping[str, np.ndarray]:
        """The values of all inputs."""
        return self.fed_with(self.image)

    def fed_with(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        engine = self.opened.engine
        shapes = {t.name: tuple(t.shape) for t in engine.inputs}
        further = further_inputs(self.audited.given.inputs, shapes, self.opened.preprocess)
        return {engine.image_input.name: image, **further}

    @cached_property
    def x(self) -> LinearInterpreter:
        """The linear interpreter of the picture."""
        return self.opened.freeze(self.fed)

    @cached_property
    def x_beside(self) -> LinearInterpreter | None:
        """That of the next picture of the set."""
        if self.beside is None:
            return None
        return self.opened.freeze(self.fed_with(self.opened.read(self.beside)))

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return {}

    def asked(self, question: str) -> Answer:
        """The interpreter of a question; without one of that which suits the network."""
        if question not in self._answers:
            self._answers[question] = self.x.ask(*([question] if question else []))
        return self._answers[question]

    def ledger(self, question: str) -> tuple[Ledger, np.ndarray]:
        """The ledger of a question's value, and the row of F; without one of what suits the network."""
        scores = not question and self.opened.task == SCORES
        x = self.x if scores else self.asked(question)
        index = int(x.output.argmax()) if scores else 0
        return replace(ledgers(x, [index])[0], name=x.scores.name(index)), score_rows(x, [index])[0]

    def once(self, name: str, make: Callable[[], Kept]) -> Kept:
        """What is opened once for all pictures that the network is opened for alike."""
        kept, scope = self.audited.kept, self.opened.scope
        if kept.get("scope") is not scope:
            kept.clear()
            kept["scope"] = scope
        if name not in kept:
            kept[name] = make()
        found: Kept = kept[name]
        return found

    @cached_property
    def trials(self) -> Trials:
        """Trials of explanations."""
        return self.once("trials", lambda: Trials(self.opened.explainer))

    @cached_property
    def cases(self) -> Cases:
        """What metrics look at."""
        return self.once("cases", lambda: Cases(self.trials))

    @cached_property
    def scores(self) -> np.ndarray:
        """The network's scores; a network that gives none is refused."""
        return self.trials.network(self.image)

    @cached_property
    def mask(self) -> np.ndarray | None:
        """Where the object is; None if there is no mask, or it covers all or nothing."""
        file = self.picture.with_name(f"{self.picture.stem}.mask.png")
        if not file.exists():
            return None
        size = channels_last(np.empty(self.opened.image_shape), self.opened.preprocess.layout).shape[:2]
        order = Preprocess(layout="nchw", fit=self.opened.preprocess.fit)
        found = np.asarray(pictures.read(file, (1, 1, *size), order)[0, 0] > 0.5)
        return None if found.all() == found.any() else found

    @cached_property
    def _trial(self) -> dict[str, dict[str, float]]:
        return {}

    def trial(self, method: str) -> dict[str, float]:
        """All measures of a method's map of the highest score."""
        if method not in self._trial:
            self._trial[method] = self.trials.measures(method, self.image, self.mask)
        return self._trial[method]

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Row]:
        return {}

    def difference(self, baseline: str, question: str) -> Row:
        """How this model differs from the baseline on the picture."""
        key = baseline, question
        if not baseline:
            raise BadOption("compares with a baseline, and none is named", where="policy", remedy="name one")
        if key not in self._differences:
            comparing = self.audited.compared_with(baseline, question)
            both = comparing.models.at(self.picture, comparing.models.fed(self.picture))
            self._differences[key] = comparing.row(self.picture.name, both)
        return self._differences[key]
