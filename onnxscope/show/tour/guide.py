"""What every section of the tour needs: the network, its kind, and how arrays become pictures on the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from onnxscope.ask.asked import Asked
from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import Interpreter
from onnxscope.ask.questions import Reader
from onnxscope.ask.scores import Scores
from onnxscope.ask.suggested import suggested
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, is_picture
from onnxscope.show.charts import LightAndDark, elements
from onnxscope.show.page import PagePicture, Section
from onnxscope.show.panels import Picture
from onnxscope.show.sheets import alone
from onnxscope.show.views import SEEN, Views, close_up

SCORES, LARGER, SAME, OTHER = "scores", "larger image", "same-size image", "other image"
MOST_NAMES = 40  # labels below the bars of a chart
SectionAndFigures = tuple[Section, dict[str, Any]]  # a section of the page, and its figures for tour.json


@dataclass(frozen=True)
class Effort:
    """How many singular triplets are searched for, and how long all of the tour may take, about."""

    k: int = 8
    seconds: float = 60.0
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise BadOption(
                f"the time must be more than 0 seconds, not {self.seconds:g}",
                where="--seconds",
                remedy="give more, such as 60",
            )

    @property
    def left(self) -> float:
        """The seconds that are left; below zero where more have gone."""
        return self.seconds - (time.perf_counter() - self.began)


@dataclass(frozen=True)
class Guide:
    """One network and one image, with all that is needed to show them."""

    x: Interpreter
    views: Views
    explainer: Explainer
    scores: Scores
    effort: Effort = Effort()
    say: Callable[[str], None] = lambda text: None  # is told what is being computed
    reader: Reader | None = None  # understands questions
    questions: Sequence[str] = ()  # that the user asked
    answered: Callable[[Sequence[str]], Guide] | None = None  # a guide to the values that are asked for
    asked: Sequence[Asked] = ()  # what this guide's output answers, and a note on it
    note: str = ""

    @property
    def task(self) -> str:
        """What the network gives, where that is known."""
        return self.reader.task.name if self.reader else ""

    @cached_property
    def answer(self) -> Guide:
        """The guide to the values that are asked for: by the user, or as it suits the task."""
        assert self.reader is not None
        assert self.answered is not None
        return self.answered(self.questions or suggested(self.reader))

    @cached_property
    def pass_seconds(self) -> float:
        """How long the linear branch takes for one image."""
        self.x.project(self.x.image)  # builds what later calls use
        began = time.perf_counter()
        self.x.project(self.x.image)
        return time.perf_counter() - began

    @property
    def kind(self) -> str:
        """What kind of output the network has."""
        image, output = self.sizes
        if not output or output == (1, 1) or not image:
            return SCORES
        if output == image:
            return SAME
        return LARGER if output[0] > image[0] and output[1] > image[1] else OTHER

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of image and output, or () for what is not a picture with the image's axes."""
        image, output = self.x.image, self.x.output
        return tuple(
            channels_last(a, self.x.layout).shape[:2] if is_picture(a.shape) and a.ndim == image.ndim else ()  # type: ignore[return-value]
            for a in (image, output)
        )

    @property
    def explainable(self) -> bool:
        """Whether pixels of the model's own input can vote among several scores."""
        return self.x.output.size > 1 and bool(self.sizes[0]) and self.x.takes_image

    def is_vector(self, array: np.ndarray) -> bool:
        """Whether an array is shown as a vector and not as a picture."""
        return (
            not is_picture(array.shape)
            or array.ndim != self.x.image.ndim
            or array.shape[1:] == (array.size, 1, 1)
        )

    def picture(self, name: str, picture: Picture, alt: str, caption: str = "") -> PagePicture:
        """A picture whose caption is followed by its scale; the caption is its label where none is given."""
        drawing, legend = alone(picture)
        return PagePicture(name, drawing, alt, "; ".join(filter(None, [caption or picture.label, legend])))

    def of_image(self, name: str, array: np.ndarray, alt: str, caption: str = "") -> PagePicture:
        """An array of the image's shape: around grey, or as bars."""
        return self._of(name, array, self.x.image, alt, caption)

    def of_output(self, name: str, array: np.ndarray, alt: str, caption: str = "") -> PagePicture:
        """An array of the output's shape: around grey, or as bars."""
        return self._of(name, array, self.x.output, alt, caption)

    def close_up(self, name: str, picture: Picture, caption: str, seen: float = SEEN) -> list[PagePicture]:
        """A picture and, where a small part holds all values above `seen` times the largest, that part."""
        whole, *part = close_up(picture, seen)
        return [
            self.picture(name, whole, caption, caption),
            *(PagePicture(f"{name}-close", alone(p)[0], f"{caption}, enlarged", p.label) for p in part),
        ]

    def _of(self, name: str, array: np.ndarray, like: np.ndarray, alt: str, caption: str) -> PagePicture:
        if self.is_vector(like):
            return self.vectors(name, {caption: array}, alt)
        view = self.views.like_image if like is self.x.image else self.views.like_output
        return self.picture(name, view(array, name), alt, caption)

    def vectors(self, name: str, series: Mapping[str, np.ndarray], alt: str) -> PagePicture:
        """A chart of vectors, element by element, with the labels of the scores where they are few."""
        length = next(iter(series.values())).size
        names = self.scores.labels if len(self.scores.labels) == length <= MOST_NAMES else ()
        drawn = elements({key: values.reshape(-1).tolist() for key, values in series.items()}, names)
        return chart(name, drawn, alt, next(iter(series)) if len(series) == 1 else "", wide=False)

    def summed(self, array: np.ndarray) -> np.ndarray:
        """[rows, columns]: an array of the image's shape, summed over the channels."""
        return np.asarray(channels_last(array.reshape(self.x.image.shape), self.x.layout).sum(2))


def guide_to(
    x: Any, effort: Effort, questions: Sequence[str] = (), say: Callable[[str], None] = lambda text: None
) -> Guide:
    """The guide to a linear interpreter that understands questions, as `api` has it.

    `say` is told what is being computed.
    """

    def answered(texts: Sequence[str]) -> Guide:
        a = x.ask(*texts)
        return Guide(a, a.views, a.explainer, a.scores, effort, say, asked=a.questions, note=a.note)

    return Guide(x, x.views, x.explainer, x.scores, effort, say, x.reader, questions, answered)


def chart(name: str, drawn: LightAndDark, alt: str, caption: str = "", *, wide: bool = True) -> PagePicture:
    """A chart with its variant for dark pages; a wide one is as wide as the text."""
    return PagePicture(name, drawn[0], alt, caption, dark=drawn[1], chart=wide)


def relative_norm(part: np.ndarray, whole: np.ndarray) -> float:
    """‖part‖/‖whole‖."""
    return float(
        np.linalg.norm(part.astype(np.float64)) / max(float(np.linalg.norm(whole.astype(np.float64))), 1e-300)
    )


def percent(part: float) -> str:
    """A share such as 0.123 as `12.3 %`: three digits, or one below 0.1 %."""
    return f"{100 * part:.3g} %" if 100 * part >= 0.1 else f"{100 * part:.1g} %"


def times(*sizes: Any) -> str:
    """Sizes as `1×3×96×96`."""
    return "×".join(f"{size:,}" for size in sizes)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, which empty lines separate, each on one line."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
