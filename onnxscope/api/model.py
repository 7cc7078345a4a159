"""The front door: a model on its device, and one object for an image that every question is put to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from onnxscope.api.answers import Explanation, PixelArray, Singular
from onnxscope.ask import contributions, ledger, votes
from onnxscope.ask.contributions import Contributions
from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import Interpreter, OpenScope, Pixel
from onnxscope.ask.ledger import Ledger
from onnxscope.ask.scores import Scores
from onnxscope.ask.votes import DISCUSSION, Votes
from onnxscope.files import pictures
from onnxscope.files.preprocessing import Preprocess
from onnxscope.linear.svd.decompose import SvdOptions
from onnxscope.rewriting.scope import Scope
from onnxscope.run.engine import FrozenMap, Running
from onnxscope.show import draw
from onnxscope.show.views import Views

if TYPE_CHECKING:
    from onnxscope.show.tour.visit import Visit

Score = int | str | None  # its number or its label; the highest where there is none


class OpenModel(OpenScope):
    """A model, ready for images: no session is built twice, and other ways back start from the same base."""

    def __init__(
        self, scope: Scope, running: Running, preprocess: Preprocess, labels: Sequence[str] = ()
    ) -> None:
        super().__init__(running.engine(scope), preprocess.layout)
        self.scope, self.running, self.preprocess, self.labels = scope, running, preprocess, list(labels)

    def freeze(self, image: np.ndarray | Mapping[str, np.ndarray] | str | Path) -> LinearInterpreter:
        """The linear interpreter of an image: an array in the model's own scale, or a file.

        A mapping names all inputs where the model has several.
        """
        if isinstance(image, (str, Path)):
            image = self.read(Path(image))
        return LinearInterpreter(self.engine.freeze(image), self)

    def read(self, file: Path) -> np.ndarray:
        """A picture file, fitted to the model's input and preprocessed, or an .npy array of the model's own values."""
        return pictures.read(file, self.image_shape, self.preprocess)

    @cached_property
    def explainer(self) -> Explainer:
        """Opens other ways back, each once."""
        return Explainer(self.scope, self.running, layout=self.preprocess.layout)


class LinearInterpreter(Interpreter):
    """F(x0) and r(x0) of one image, y1 = F·x1 + r. Pixels are (channel, y, x), elements of a vector numbers."""

    def __init__(self, frozen: FrozenMap, model: OpenModel) -> None:
        super().__init__(frozen, model.preprocess.layout)
        self.model = model

    @cached_property
    def views(self) -> Views:
        """How arrays are looked at."""
        return Views(self, self.model.preprocess)

    @property
    def explainer(self) -> Explainer:
        """The model's, with its other inputs as they were given."""
        return self.model.explainer.given(self.map.fed)

    @cached_property
    def scores(self) -> Scores:
        """The output as a vector of scores, with their labels."""
        return Scores(self.output.reshape(-1), self.model.labels)

    def residual(self) -> PixelArray:
        """r: what all sources of the network, carried to the output, add up to."""
        return PixelArray.of(super().residual(), lambda a: self.views.like_output(a, "residual"))

    def column(self, pixel: Pixel) -> PixelArray:
        """F·δ: what one input pixel does, shaped as the output."""
        return PixelArray.of(super().column(pixel), lambda a: self.views.like_output(a, f"column of {pixel}"))

    def row(self, pixel: Pixel) -> PixelArray:
        """Fᵀ·δ: what one output pixel, or score, looks at, shaped as the image."""
        return PixelArray.of(super().row(pixel), lambda a: self.views.like_image(a, f"row of {pixel}"))

    def svd(self, k: int, **options: Unpack[SvdOptions]) -> Singular:
        """The k largest singular values with their eigen-inputs v and eigen-outputs u: F·v = σ·u."""
        found = super().svd(k, **options)
        return Singular(**vars(found) | {"draw": lambda: draw.triplets(self.views, found)})

    def ledger(self, score: Score = None) -> Ledger:
        """A score and its parts: the image's, and that of each layer's biases."""
        index = self.scores.index(score)
        (book,) = ledger.ledgers(self, [index])
        name = self.scores.name(index)
        return replace(book, name=name, draw=lambda: draw.ledger(book, name))

    def contributions(self, score: Score = None, tensors: Sequence[str] = ()) -> Contributions:
        """What the pixels of feature maps add to a score, and the bias of the layers behind each."""
        index = self.scores.index(score)
        found = [
            replace(c, draw=lambda c=c: draw.contributions([c]))  # type: ignore[misc]
            for c in contributions.contributions(self, index, tensors)
        ]
        return Contributions(found, self.scores.name(index), draw=lambda: draw.contributions(found))

    def votes(self, among: int = 0, progress: Callable[[int, int], None] | None = None) -> Votes:
        """The score that each pixel votes for, among so many of the highest scores, or among all (0)."""
        chosen = votes.candidates(self, self.scores.highest(among) if among else ())
        discussed = self.model.explainer.opened(DISCUSSION).freeze(self.map.fed)
        found = votes.votes(discussed, chosen, progress)
        names = {s: self.scores.name(s) for s in chosen}
        return replace(found, names=names, draw=lambda: draw.votes(self.views, found, names))

    def explain(
        self, method: str, scores: Score | Sequence[int | str] = None, *, layer: str = ""
    ) -> Explanation:
        """Maps over pixels of one score or of several, by one of the explanation methods."""
        chosen = list(scores) if isinstance(scores, Sequence) and not isinstance(scores, str) else [scores]
        indices = [self.scores.index(s) for s in chosen]
        maps = self.explainer.at(layer).maps(method, self.image, indices)
        names = [self.scores.name(k) for k in indices]
        drawn = lambda: draw.maps(self.views, dict(zip(names, maps, strict=True)), method)  # noqa: E731
        return Explanation(method, names, maps, draw=drawn)

    def tour(self, path: str | Path | None = None, *, k: int = 8, seconds: float = 20.0) -> Visit:
        """Everything worth seeing, as one page; written to `path` if one is given."""
        from onnxscope.show.tour.guide import Effort, Guide  # only now, for the same reason as charts
        from onnxscope.show.tour.visit import visit

        guide = Guide(self, self.views, self.explainer, self.scores, Effort(k, seconds))
        seen = visit(guide, self.model.scope)
        if path is not None:
            seen.write(Path(path))
        return seen
