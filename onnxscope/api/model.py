"""The objects that users work with: an opened model, and its linear interpreter for one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.api.answers import Explanation, PixelArray, Singular
from onnxscope.ask import contributions, ledger, presets, votes
from onnxscope.ask.asked import NO_PATH, TRIVIAL, Asked
from onnxscope.ask.contributions import Contributions
from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import Interpreter, OpenScope, Pixel, score_rows
from onnxscope.ask.ledger import Ledger
from onnxscope.ask.presets import Preset
from onnxscope.ask.questions import Reader
from onnxscope.ask.scores import Scores
from onnxscope.ask.suggested import suggested
from onnxscope.ask.tasks import WITH_LABELS, Task, outputs_to_read, picture_size
from onnxscope.ask.votes import DISCUSSION, Votes
from onnxscope.files import clips, pictures
from onnxscope.files.preprocessing import Preprocess
from onnxscope.linear.svd.decompose import SvdOptions
from onnxscope.rewriting.build import summed
from onnxscope.rewriting.scope import Scope
from onnxscope.rewriting.steps import FREEZE, TAYLOR, Policy
from onnxscope.run.decided import refuse_other_image
from onnxscope.run.engine import FrozenMap, Running
from onnxscope.run.single_runs import session
from onnxscope.show import draw
from onnxscope.show.views import Views

if TYPE_CHECKING:
    from onnxscope.show.tour.visit import Visit

Arrays = Mapping[str, np.ndarray]
Score = int | str | None  # a score's number or its label; None for the highest score


class OpenModel(OpenScope):
    """What `load` returns: a model that is ready to be frozen for images.

    Sessions are built when they are first needed, and are used for all images. Explanation methods start from
    the same base, so that the model is read and normalised once.
    """

    def __init__(
        self, scope: Scope, running: Running, preset: Preset, labels: Sequence[str] = (), task: str = ""
    ) -> None:
        super().__init__(running.engine(scope), preset.preprocess.layout)
        self.scope, self.running, self.labels, self._task = scope, running, list(labels), task
        self._preset, self._metadata = preset, presets.metadata_of(scope.original)

    def __repr__(self) -> str:
        return f"OpenModel(image '{self.scope.image}' {self.image_shape}, output '{self.scope.output}')"

    @property
    def preset(self) -> Preset:
        """The preprocessing of pictures, and why it was taken. `auto` waits for the first picture."""
        waits = self._preset.name == presets.AUTO
        return replace(self._preset, name=presets.UNDECIDED) if waits else self._preset

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of pictures."""
        return self.preset.preprocess

    def freeze(self, image: np.ndarray | Arrays | str | Path) -> LinearInterpreter:
        """The linear interpreter of an image.

        The image is a file, which is preprocessed, or an array of the model's own values. If the model has
        several inputs, give a mapping from their names to arrays.
        """
        given = self.read(Path(image)) if isinstance(image, (str, Path)) else image
        return LinearInterpreter(self.engine.freeze(given), self)

    def read(self, file: Path) -> np.ndarray:
        """A file as the model's image.

        A picture is brought to the size of the model's input and preprocessed. An .npy file must hold an
        array of the model's own values.
        """
        if self._preset.name == presets.AUTO and not pictures.is_array(file):
            base, pixels = self.scope.base(), self.engine.image_input
            network = presets.Network(base, pixels, self._metadata, self.preprocess)
            self._preset = presets.for_picture(network, file)
        return clips.read(file, self.image_shape, self.preprocess)

    @cached_property
    def explainer(self) -> Explainer:
        """Opens the model with other explanation methods, each of them once."""
        return Explainer(self.scope, self.running, layout=self.preprocess.layout)

    @cached_property
    def _read(self) -> tuple[Task, gs.Graph]:
        return outputs_to_read(self.scope, self.preprocess.layout, self._task)

    @property
    def task(self) -> str:
        """What the network gives, such as scores, boxes or a class map."""
        return self._read[0].name

    @property
    def explained(self) -> dict[str, str]:
        """The tensor that explains each output, by the output's name."""
        return {o.name: o.explained for o in self._read[0].outputs if o.explained}

    def outputs(self, feeds: Arrays) -> dict[str, np.ndarray]:
        """What explains each output, by the output's name, for these values of all inputs."""
        with session(self._read[1]) as running:
            found = running.run({name: feeds[name] for name in running.inputs})
        return {name: found[tensor] for name, tensor in self.explained.items()}

    def reader(self, feeds: Arrays, image: Sequence[int], outputs: Arrays) -> Reader:
        """Understands questions about an image of this shape, for which the network gives these outputs."""

        def embedded(file: str) -> np.ndarray:
            fed = {**feeds, self.engine.image_input.name: self.read(Path(file))}
            refuse_other_image(self.scope, fed)
            return self.outputs(fed)[task.main.output if task.main else ""]

        task, layout = self._read[0], self.preprocess.layout
        size = picture_size(tuple(image), layout)
        return Reader(task, outputs, size and size[1:], self.labels, embedded, layout)


class LinearInterpreter(Interpreter):
    """F(x0) and r(x0) of one image x0: the affine map y1 = F·x1 + r that the model is for it.

    A pixel is named by (channel, y, x), and an element of a vector, such as a score, by its number.
    """

    def __init__(self, frozen: FrozenMap, model: OpenModel) -> None:
        super().__init__(frozen, model.preprocess.layout)
        self.model = model

    def __repr__(self) -> str:
        return f"LinearInterpreter(F: {self.image.shape} → {self.output.shape})"

    @cached_property
    def reader(self) -> Reader:
        """Understands questions about this image."""
        fed = self.map.fed
        return self.model.reader(fed, self.image.shape, self.model.outputs(fed))

    def ask(self, *questions: str) -> Answer:
        """The interpreter of what questions ask for, such as box:1/left: F has a row for each question.

        Without a question it is that which suits the network's task.
        """
        asked = [self.reader.understood(q) for q in questions or suggested(self.reader)[:1]]
        policy, note = self.model.scope.policy, ""
        if policy == Policy(FREEZE) and any(a.coordinate for a in asked):
            policy, note = Policy(TAYLOR), TRIVIAL
        found = self.answering(asked, policy, note)
        if policy == Policy(FREEZE) and not all(map(np.any, score_rows(found, range(len(asked))))):
            found = self.answering(asked, Policy(TAYLOR), NO_PATH)
        return found

    def answering(self, asked: Sequence[Asked], policy: Policy, note: str = "") -> Answer:
        scope = summed(self.model.scope, [(a.sums, a.constant) for a in asked], policy)
        model = OpenModel(scope, self.model.running, self.model.preset, [a.text for a in asked])
        return Answer(model.engine.freeze(self.map.fed), model, asked, self.reader.task.name, note)

    @cached_property
    def views(self) -> Views:
        """Draws arrays in the shape of the image or of the output."""
        return Views(self, self.model.preprocess)

    @property
    def explainer(self) -> Explainer:
        """The model's, with its other inputs as they were given."""
        return self.model.explainer.given(self.map.fed)

    @cached_property
    def scores(self) -> Scores:
        """The output as a vector of scores, with their labels.

        Labels of boxes, of areas and of letters are for questions.
        """
        labels = self.model.labels
        others = len(labels) != self.output.size and self.model.task in WITH_LABELS
        return Scores(self.output.reshape(-1), () if others else labels)

    def residual(self) -> PixelArray:
        """r, the part of the output that does not come from the image: all sources, carried to the output."""
        return PixelArray.of(super().residual(), lambda a: self.views.like_output(a, "residual"))

    def column(self, pixel: Pixel) -> PixelArray:
        """The column of F for one pixel of the image: how it changes the output, in the output's shape."""
        return PixelArray.of(super().column(pixel), lambda a: self.views.like_output(a, f"column of {pixel}"))

    def row(self, pixel: Pixel | str) -> PixelArray:
        """The row of F for one pixel of the output, or one score: how each pixel of the image changes it."""
        pixel = self.scores.index(pixel) if isinstance(pixel, str) else pixel
        return PixelArray.of(super().row(pixel), lambda a: self.views.like_image(a, f"row of {pixel}"))

    def svd(self, k: int, **options: Unpack[SvdOptions]) -> Singular:
        """The k largest singular values σ of F with their eigen-inputs v and eigen-outputs u: F·v = σ·u."""
        found = super().svd(k, **options)
        return Singular(**vars(found) | {"draw": lambda: draw.triplets(self.views, found)})

    def ledger(self, score: Score = None) -> Ledger:
        """A score and its parts: the contribution of the image, and that of each layer's biases."""
        index = self.scores.index(score)
        (book,) = ledger.ledgers(self, [index])
        name = self.scores.name(index)
        return replace(book, name=name, draw=lambda: draw.ledger(book, name))

    def contributions(self, score: Score = None, tensors: Sequence[str] = ()) -> Contributions:
        """What the pixels of feature maps contribute to a score, and what the biases after each map add.

        The feature maps are these tensors of the model, or all that every path from the image passes.
        """
        index = self.scores.index(score)
        found = [
            replace(c, draw=lambda c=c: draw.contributions([c]))  # type: ignore[misc]
            for c in contributions.contributions(self, index, tensors)
        ]
        return Contributions(found, self.scores.name(index), draw=lambda: draw.contributions(found))

    def votes(self, among: int = 0, progress: Callable[[int, int], None] | None = None) -> Votes:
        """The score that each pixel votes for: the one that it contributes most to.

        `among` is the number of the highest scores that pixels can vote for, 0 for all. `progress` is called
        with the numbers of scores that are done and of all.
        """
        chosen = votes.candidates(self, self.scores.highest(among) if among else ())
        discussed = self.model.explainer.opened(DISCUSSION).freeze(self.map.fed)
        found = votes.votes(discussed, chosen, progress)
        names = {s: self.scores.name(s) for s in chosen}
        return replace(found, names=names, draw=lambda: draw.votes(self.views, found, names))

    def explain(
        self, method: str, scores: Score | Sequence[int | str] = None, *, layer: str = ""
    ) -> Explanation:
        """Explain one score or several by an explanation method: a map over the image's pixels for each.

        `layer` names the feature map that Grad-CAM and its relatives use. Unless it is given, the last is.
        """
        chosen = list(scores) if isinstance(scores, Sequence) and not isinstance(scores, str) else [scores]
        indices = [self.scores.index(s) for s in chosen]
        maps = self.explainer.at(layer).maps(method, self.image, indices)
        names = [self.scores.name(k) for k in indices]
        drawn = lambda: draw.maps(self.views, dict(zip(names, maps, strict=True)), method)  # noqa: E731
        return Explanation(method, names, maps, draw=drawn)

    def tour(
        self,
        path: str | Path | None = None,
        *,
        ask: Sequence[str] = (),
        k: int = 8,
        seconds: float = 60.0,
    ) -> Visit:
        """One page with everything worth seeing about the model and the image.

        It answers the questions `ask`, or those that suit what the network gives, and shows `k` singular
        triplets. It takes about as many seconds as are given. If a path is given, the page is written there.
        """
        from onnxscope.show.tour.guide import Effort, guide_to  # only now: charts take half a second
        from onnxscope.show.tour.visit import visit

        about = {"preset": self.model.preset.to_dict()}
        seen = visit(guide_to(self, Effort(k, seconds), ask), self.model.scope, about)
        if path is not None:
            seen.write(Path(path))
        return seen


class Answer(LinearInterpreter):
    """The linear interpreter of the values that questions ask for: F has a row for each of them."""

    def __init__(
        self, frozen: FrozenMap, model: OpenModel, questions: Sequence[Asked], task: str, note: str = ""
    ) -> None:
        super().__init__(frozen, model)
        self.questions, self.task, self.note = list(questions), task, note

    def __repr__(self) -> str:
        values = zip(self.questions, self.values, strict=True)
        return f"Answer({'; '.join(f'{a.text}: {a.words} = {v:.4g}' for a, v in values)})"

    @cached_property
    def scores(self) -> Scores:
        """The values, named by their questions."""
        return Scores(self.output.reshape(-1), self.model.labels, numbered=False)

    @property
    def asked(self) -> Asked:
        """The first question, as it was understood."""
        return self.questions[0]

    @property
    def value(self) -> float:
        """The value that the network gives, for the first question."""
        return self.values[0]

    @property
    def values(self) -> list[float]:
        """The value that the network gives, for each question."""
        return self.output.reshape(-1).tolist()

    def about_question(self) -> dict[str, object]:
        """The first question, what it means, and the value, as JSON has them."""
        return {
            "question": self.asked.text,
            "asked": self.asked.words,
            "value": self.value,
            "task": self.task,
            "question_note": self.note,
        }
