"""What a network finds, drawn on the picture: boxes, points, and areas of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from onnxscope.errors import printable, shortened
from onnxscope.show.charts import WIDTH, LightAndDark, drawn

COLOURS = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
OTHER = (0.75, 0.75, 0.75)  # of classes that the legend does not name
LONGEST = 28  # letters of a label
Edges = Sequence[float]  # left, top, right, bottom


def colour(k: int) -> tuple[float, float, float]:
    """The colour of the k-th class or box: strong colours first, then their pale ones."""
    return tuple(COLOURS[(2 * k) % 20 + (2 * k) // 20 % 2])


def boxes_on(pixels: np.ndarray, boxes: Sequence[Edges], labels: Sequence[str]) -> LightAndDark:
    """Boxes with their labels above them, the last drawn first."""

    def outlines(axes: Axes) -> None:
        for k, (box, label) in reversed(list(enumerate(zip(boxes, labels, strict=True)))):
            left, top, right, bottom = box
            axes.add_patch(
                Rectangle(
                    (left, top), right - left, bottom - top, fill=False, edgecolor=colour(k), linewidth=2
                )
            )
            height = pixels.shape[0]
            axes.text(
                float(np.clip(left, 0, pixels.shape[1])),
                float(np.clip(top, 0.04 * height, height)),
                shortened(printable(label), LONGEST),
                fontsize=7,
                color="white",
                verticalalignment="bottom",
                bbox={"facecolor": colour(k), "edgecolor": "none", "pad": 1},
                clip_on=True,
            )

    return on_picture(pixels, outlines)


def points_on(pixels: np.ndarray, points: np.ndarray) -> LightAndDark:
    """Numbered points, [points, 2] with x and y."""

    def outlines(axes: Axes) -> None:
        axes.plot(points[:, 0], points[:, 1], "o", markersize=5, color="#ffe600", markeredgecolor="black")
        for k, (x, y) in enumerate(points, 1):
            axes.annotate(str(k), (x, y), (3, 3), textcoords="offset points", fontsize=6, color="white")

    return on_picture(pixels, outlines)


def areas_on(pixels: np.ndarray, classes: np.ndarray, names: Sequence[tuple[int, str]]) -> LightAndDark:
    """The classes of all places in colours over the picture, with a legend of those that have names."""
    colours = np.full((*classes.shape, 3), OTHER)
    for k, (number, _) in enumerate(names):
        colours[classes == number] = colour(k)
    rows = np.arange(pixels.shape[0]) * classes.shape[0] // pixels.shape[0]
    columns = np.arange(pixels.shape[1]) * classes.shape[1] // pixels.shape[1]
    mixed = 0.6 * colours[rows][:, columns] + 0.4 * pixels / 255

    def outlines(axes: Axes) -> None:
        handles = [Patch(color=colour(k), label=name) for k, (_, name) in enumerate(names)]
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False
        )

    return on_picture((255 * mixed).astype(np.uint8), outlines)


def on_picture(pixels: np.ndarray, outlines: Callable[[Axes], None]) -> LightAndDark:
    """A picture as wide as a chart, with what `outlines` draws on it."""

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        axes.imshow(pixels, interpolation="nearest" if max(pixels.shape) < 200 else "antialiased")
        axes.spines[:].set_visible(False)
        axes.set(xticks=[], yticks=[], xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(pixels.shape[0] - 0.5, -0.5))
        outlines(axes)

    tall = float(np.clip(pixels.shape[0] / pixels.shape[1], 0.3, 1.5))
    return drawn(paint, WIDTH * tall + 0.3)
