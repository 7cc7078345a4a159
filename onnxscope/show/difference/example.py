"""The section that shows an image, and what A and B give for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxscope.ask import tasks
from onnxscope.ask.scores import Scores
from onnxscope.files.pictures import colours_last, unrounded_pixels
from onnxscope.files.pixels import channels_last
from onnxscope.show.charts import elements
from onnxscope.show.colours import FULL, shown
from onnxscope.show.difference.seen import Example, Seen
from onnxscope.show.outlines import areas_on
from onnxscope.show.page import PagePicture, Row, Section, Table
from onnxscope.show.panels import Picture, magnitude
from onnxscope.show.sheets import alone
from onnxscope.show.tour.guide import chart
from onnxscope.show.views import as_displayed, displayed, has_colours, settled_for, where_voted

HIGHEST, MOST_AREAS = 5, 10  # scores of each network, and classes of places, that are shown
Parts = list[Row | Table]


def example(seen: Seen) -> Section | None:
    """The image with the outputs of both networks; None where neither can be shown."""
    if seen.example is None:
        return None
    found = seen.example
    makers = {tasks.SCORES: scores, tasks.CLASS_MAP: areas, tasks.PICTURE: pictures, tasks.MAP: pictures}
    maker = makers.get(found.task)
    parts = maker(found) if maker else [Row([image(found)])] if takes_picture(found) else []
    if not parts:
        return None
    title = f"The image that differs most: {found.name}" if seen.many else "What both networks give"
    return Section(title, [], parts)


def takes_picture(found: Example) -> bool:
    """Whether the image can be shown in natural colours."""
    return settled_for(found.image.shape, found.preprocess) is not None


def as_picture(found: Example) -> Picture:
    """The image in natural colours, as the networks see it."""
    settled = settled_for(found.image.shape, found.preprocess)
    return as_displayed(found.image, "", found.preprocess, settled)


def image(found: Example) -> PagePicture:
    return page_picture("image", as_picture(found), f"the image, {found.name}")


def page_picture(name: str, picture: Picture, caption: str) -> PagePicture:
    """A picture whose caption is followed by its scale."""
    png, legend = alone(picture)
    return PagePicture(name, png, caption, "; ".join(filter(None, [caption, legend])))


# scores


def scores(found: Example) -> Parts:
    """The highest scores of both, side by side."""
    a, b = (np.asarray(x, np.float64).reshape(-1) for x in found.outputs)
    named = Scores(a, found.labels if len(found.labels) == a.size else ())
    places = list(dict.fromkeys([*named.highest(HIGHEST), *Scores(b).highest(HIGHEST)]))
    names = [named.name(k) if named.labels else f"score {k}" for k in places]
    series = {"A": a[places].tolist(), "B": b[places].tolist()}
    alt = "; ".join(
        f"{name}: {a[k]:.4g} in A, {b[k]:.4g} in B" for name, k in zip(names, places, strict=True)
    )
    drawn = chart("scores", elements(series, names), alt, "the highest scores of A and of B", wide=False)
    rows = [
        [name, f"{a[k]:.4g}", f"{b[k]:.4g}", f"{b[k] - a[k]:+.2g}"]
        for name, k in zip(names, places, strict=True)
    ]
    first = [image(found)] if takes_picture(found) else []
    return [Row([*first, drawn]), Table(["score", "A", "B", "B − A"], rows)]


# pictures and maps


def pictures(found: Example) -> Parts:
    """The image, the output of A, that of B, and their difference."""
    a, b, difference, factor = side_by_side(found)
    many = f", amplified {factor:,} times" if factor > 1 else ""
    drawn = [
        page_picture("output-a", a, f"the output of A {a.label}".strip()),
        page_picture("output-b", b, f"the output of B {b.label}".strip()),
        page_picture("difference", difference, f"B − A{many}: grey where both are the same"),
    ]
    first = [image(found)] if takes_picture(found) else []
    return [Row([*first, *drawn])]


def side_by_side(found: Example) -> tuple[Picture, Picture, Picture, int]:
    """Both outputs on one scale, their difference, and by how much it is amplified."""
    a, b = found.outputs
    settled = settled_for(found.image.shape, found.preprocess)
    if settled is not None and has_colours(a.shape, found.preprocess, settled):
        values = np.stack([unrounded_pixels(x, settled) / 255 for x in (a, b)])
        both = displayed(values, "")
        ours, theirs = (replace(both, values=v) for v in both.values)
        change = theirs.values - ours.values
        factor = round_factor(0.5 / (typical(change) or math.inf))
        return ours, theirs, Picture(0.5 + factor * change, natural=True), factor
    scale = magnitude(a, b) or 1.0
    a, b = (colours_last(np.asarray(x, np.float64), settled or found.preprocess) for x in (a, b))
    factor = round_factor(scale / (typical(b - a) or math.inf))
    return Picture(a, scale=scale), Picture(b, scale=scale), Picture(b - a, scale=scale / factor), factor


def typical(values: np.ndarray) -> float:
    """A size that nearly all values stay below."""
    return float(np.quantile(np.abs(values), FULL)) or magnitude(values)


def round_factor(most: float) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, … up to this number; 1 below it."""
    if most < 1:
        return 1
    power = int(10 ** math.floor(math.log10(most)))
    return max(k * power for k in (1, 2, 5) if k * power <= most)


# maps of classes


def areas(found: Example) -> Parts:
    """The classes of all places in A and in B, and the places where they differ."""
    if not takes_picture(found):
        return []
    pixels = shown(as_picture(found))
    a, b = (channels_last(x, found.preprocess.layout).argmax(2) for x in found.outputs)
    numbers, counts = np.unique(np.stack([a, b]), return_counts=True)
    named = [(int(numbers[k]), class_name(found.labels, int(numbers[k]))) for k in np.argsort(-counts)]
    drawn = [
        chart(
            f"areas-{name.lower()}",
            areas_on(pixels, classes, named[:MOST_AREAS]),
            f"classes in {name}",
            f"the classes of {name}",
            wide=False,
        )
        for name, classes in (("A", a), ("B", b))
    ]
    rows, columns = (np.arange(n) * m // n for n, m in zip(pixels.shape, a.shape, strict=False))
    other = (a != b)[rows][:, columns]
    caption = f"where B has another class than A: {100 * (a != b).mean():.2g} % of the places"
    changed = page_picture("changed", where_voted(Picture(pixels, natural=True), other, ""), caption)
    return [Row([image(found), changed]), Row(drawn)]


def class_name(labels: Sequence[str], k: int) -> str:
    return labels[k] if k < len(labels) else f"class {k}"
