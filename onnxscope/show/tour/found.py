"""The section on what a network finds: boxes, areas of classes, text or landmarks, drawn on the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxscope.ask import tasks
from onnxscope.ask.questions import Reader
from onnxscope.ask.suggested import areas
from onnxscope.show import outlines
from onnxscope.show.colours import shown
from onnxscope.show.page import Row, Section, Table
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent

MOST_BOXES, MOST_AREAS, MOST_LETTERS = 20, 12, 60  # that are listed
Found = Callable[[Guide, Reader], SectionAndFigures]


def boxes(g: Guide, reader: Reader) -> SectionAndFigures:
    """The boxes with their scores on the picture, and as a table."""
    found = reader.boxes[:MOST_BOXES]
    names = [f"{n}: {class_name(reader, b.label)} {b.score:.2f}" for n, b in enumerate(found, 1)]
    drawn = outlines.boxes_on(shown(g.views.image()), [b.edges for b in found], names)
    rows = [
        [f"box:{n}", reader.label(b.label), f"{b.score:.3f}", ", ".join(f"{e:.0f}" for e in b.edges)]
        for n, b in enumerate(found, 1)
    ]
    layout = reader.task.layout.layout if reader.task.layout else None
    many = len(reader.boxes)
    text = paragraphs(f"""
        The outputs are those of a detector{f" of the kind {layout.name}" if layout else ""}. Where several
        boxes of a class overlap, only the one with the highest score is kept: {many} box{"es" * (many > 1)}
        remain{"s" * (many == 1)}.""")
    if layout and layout.boxes == "anchors":
        text.append(
            "The file does not hold the sizes that the network's boxes are relative to, so that a box shows "
            "the place of its anchor and not its size."
        )
    table = Table(["box", "class", "score", "left, top, right, bottom"], rows)
    row = Row([chart("found", drawn, "the boxes on the picture: " + "; ".join(names))])
    facts = [
        {"edges": list(b.edges), "score": b.score, "class": b.label, "name": reader.label(b.label)}
        for b in found
    ]
    return Section("What the network finds: boxes", text, [row, table]), {"boxes": facts}


def class_map(g: Guide, reader: Reader) -> SectionAndFigures:
    """The class of each place in colours, with the shares of their areas."""
    classes, large = reader.classes, areas(reader)
    numbers, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_AREAS]
    named = [(int(numbers[k]), class_name(reader, int(numbers[k]))) for k in order]
    shares = {name: counts[k] / classes.size for k, (_, name) in zip(order, named, strict=True)}
    drawn = outlines.areas_on(shown(g.views.image()), classes, named)
    text = paragraphs(f"""
        The network gives each place of a map of {classes.shape[0]}×{classes.shape[1]} the class with the
        highest score there. {len(numbers)} class{"es" * (len(numbers) > 1)} occur{"s" * (len(numbers) == 1)}
        in this picture.""")
    table = Table(["class", "share of the area"], [[name, percent(share)] for name, share in shares.items()])
    alt = "the areas of the classes: " + "; ".join(f"{n} {percent(s)}" for n, s in shares.items())
    return Section("What the network finds: areas", text, [Row([chart("found", drawn, alt)]), table]), {
        "areas": {name: float(share) for name, share in shares.items()},
        "asked": large,
    }


def text_read(g: Guide, reader: Reader) -> SectionAndFigures:
    """The text, and the steps at which its letters are read."""
    letters = reader.letters[:MOST_LETTERS]
    steps = reader.main.size // reader.main.shape[-1]
    rows = [[f"letter:{n}", reader.label(k), str(step)] for n, (step, k) in enumerate(letters, 1)]
    what = f"reads \u201c{reader.text}\u201d" if letters else "reads no letter"
    text = paragraphs(f"""
        The network {what}. It goes through the picture from left to right in {steps} steps and gives each
        step a letter or a blank; a letter that stays for several steps counts once.""")
    parts: list[Row | Table] = [
        Row([g.picture("found", g.views.image(), "the picture that is read", "the picture")])
    ]
    if rows:
        parts.append(Table(["letter", "read as", "step"], rows))
    return Section("What the network reads", text, parts), {"text": reader.text, "letters": len(letters)}


def points(g: Guide, reader: Reader) -> SectionAndFigures:
    """The landmarks on the picture."""
    places = places_of(g, reader)
    drawn = outlines.points_on(shown(g.views.image()), places)
    kind = "the peak of a heat map" if reader.heat else "given by its coordinates"
    text = paragraphs(f"""
        The network places {len(places)} landmarks. Each is {kind}; the numbers are those of the questions
        landmark:1, landmark:2 and so on.""")
    row = Row([chart("found", drawn, f"{len(places)} numbered landmarks on the picture")])
    return Section("What the network finds: landmarks", text, [row]), {"points": places.tolist()}


def class_name(reader: Reader, k: int) -> str:
    """A class by its label, or by its number where there are no labels."""
    return reader.labels[k] if k < len(reader.labels) else f"class {k}"


def places_of(g: Guide, reader: Reader) -> np.ndarray:
    """[landmarks, 2]: x and y of each landmark in pixels of the image."""
    rows, columns = g.sizes[0]
    values = reader.main.reshape(-1)[reader.landmarks].astype(np.float64)
    if reader.heat:
        height, width = reader.maps.shape[:2]
        y, x = np.divmod(values.argmax(1), width)
        return np.stack([(x + 0.5) * columns / width, (y + 0.5) * rows / height], 1)
    unit = np.quantile(np.abs(values[:, :2]), 0.9) <= 2
    return values[:, :2] * ([columns, rows] if unit else 1)  # type: ignore[no-any-return]


FOUND: dict[str, Found] = {
    tasks.BOXES: boxes,
    tasks.CLASS_MAP: class_map,
    tasks.TEXT: text_read,
    tasks.POINTS: points,
}


def found(g: Guide) -> SectionAndFigures:
    """What the network finds, as its task has it."""
    assert g.reader is not None
    section, facts = FOUND[g.task](g, g.reader)
    return section, dict[str, Any](facts)
