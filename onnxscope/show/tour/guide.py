"""What every stop of the tour needs: the network, what kind it is, and how arrays become pictures on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import Interpreter
from onnxscope.ask.scores import Scores
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, is_picture
from onnxscope.show.charts import Drawn, elements
from onnxscope.show.page import Section, Shown
from onnxscope.show.sheets import Picture, alone
from onnxscope.show.views import SEEN, Views, close_up

SCORES, LARGER, SAME, OTHER = "scores", "larger image", "same-size image", "other image"
MOST_NAMES = 40  # below the bars of a chart
Stop = tuple[Section, dict[str, Any]]  # what is shown, and the figures of it


@dataclass(frozen=True)
class Effort:
    """What the search for singular triplets may take."""

    k: int = 8
    seconds: float = 20.0

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise BadOption(
                f"the time must be more than 0 seconds, not {self.seconds:g}",
                where="--seconds",
                remedy="give more, such as 20",
            )


@dataclass(frozen=True)
class Guide:
    """One network and one image, ready to be shown."""

    x: Interpreter
    views: Views
    explainer: Explainer
    scores: Scores
    effort: Effort = Effort()
    say: Callable[[str], None] = lambda text: None  # told what is under way

    @property
    def kind(self) -> str:
        """What the network makes of an image."""
        given, made = self.sizes
        if not made or made == (1, 1) or not given:
            return SCORES
        if made == given:
            return SAME
        return LARGER if made[0] > given[0] and made[1] > given[1] else OTHER

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of image and output; none of what is no picture, or is given on other axes than the image."""
        image, output = self.x.image, self.x.output
        return tuple(
            channels_last(a, self.x.layout).shape[:2] if is_picture(a.shape) and a.ndim == image.ndim else ()  # type: ignore[return-value]
            for a in (image, output)
        )

    @property
    def explainable(self) -> bool:
        """Whether pixels of the model's own input can vote among several scores."""
        return self.x.output.size > 1 and bool(self.sizes[0]) and self.x.takes_image

    def flat(self, array: np.ndarray) -> bool:
        """Whether an array is shown as a vector."""
        return (
            not is_picture(array.shape)
            or array.ndim != self.x.image.ndim
            or array.shape[1:] == (array.size, 1, 1)
        )

    def shown(self, name: str, picture: Picture, alt: str, caption: str = "") -> Shown:
        """A picture with its scale in the caption, which is its label unless another is given."""
        drawing, legend = alone(picture)
        return Shown(name, drawing, alt, "; ".join(filter(None, [caption or picture.label, legend])))

    def of_image(self, name: str, array: np.ndarray, alt: str, caption: str = "") -> Shown:
        """What has the image's shape, around grey."""
        return self._of(name, array, self.x.image, alt, caption)

    def of_output(self, name: str, array: np.ndarray, alt: str, caption: str = "") -> Shown:
        """What has the output's shape: around grey, or element by element."""
        return self._of(name, array, self.x.output, alt, caption)

    def close_up(self, name: str, picture: Picture, said: str, seen: float = SEEN) -> list[Shown]:
        """A picture of coefficients and, where they take up a small part of it, that part."""
        whole, *part = close_up(picture, seen)
        return [
            self.shown(name, whole, said, said),
            *(Shown(f"{name}-close", alone(p)[0], f"{said}, enlarged", p.label) for p in part),
        ]

    def _of(self, name: str, array: np.ndarray, like: np.ndarray, alt: str, caption: str) -> Shown:
        if self.flat(like):
            return self.vectors(name, {caption: array}, alt)
        beside = self.views.like_image if like is self.x.image else self.views.like_output
        return self.shown(name, beside(array, name), alt, caption)

    def vectors(self, name: str, series: Mapping[str, np.ndarray], alt: str) -> Shown:
        """Vectors side by side, with the labels of the scores where they are few."""
        length = next(iter(series.values())).size
        names = self.scores.labels if len(self.scores.labels) == length <= MOST_NAMES else ()
        drawn = elements({key: values.reshape(-1).tolist() for key, values in series.items()}, names)
        return chart(name, drawn, alt, next(iter(series)) if len(series) == 1 else "", wide=False)

    def summed(self, array: np.ndarray) -> np.ndarray:
        """Over the channels of what has the image's shape: rows × columns."""
        return np.asarray(channels_last(array.reshape(self.x.image.shape), self.x.layout).sum(2))


def chart(name: str, drawn: Drawn, alt: str, caption: str = "", *, wide: bool = True) -> Shown:
    """A chart, for light and for dark pages."""
    return Shown(name, drawn[0], alt, caption, dark=drawn[1], chart=wide)


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """‖part‖/‖whole‖."""
    return float(
        np.linalg.norm(part.astype(np.float64)) / max(float(np.linalg.norm(whole.astype(np.float64))), 1e-300)
    )


def percent(part: float) -> str:
    """`12 %`, with no more digits than it takes."""
    return f"{100 * part:.3g} %" if 100 * part >= 0.1 else f"{100 * part:.1g} %"


def times(*sizes: Any) -> str:
    return "×".join(f"{size:,}" for size in sizes)


def paragraphs(text: str) -> list[str]:
    """Prose as it is written in the code; an empty line ends a paragraph."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
