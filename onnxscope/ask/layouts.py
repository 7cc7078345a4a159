"""How detectors lay out their outputs: one entry for each known layout, and how an entry is recognised.

The axes of an output are written in order, without the batch: N counts the anchors of all levels together, n,
h and w those of one level, A those at one place, and 1 is an axis of one. F are the numbers of an anchor, and
AF are A and F in one axis. What F holds is named by columns: `box` (4 numbers) or `offset` and `size` (2
each), `object`, `score` and `label` (1 each), `class` (one for each class), `points` (pairs, any number of
them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]  # of outputs, without the batch
CENTRE = "centre"  # x and y of the centre, width, height
CORNERS = "corners"  # left, top, right, bottom
EITHER = "either"  # one of the two, which the numbers show
GRID = "grid"  # offsets from the place of the anchor and logarithms of width and height, in strides
CELLS = "cells"  # offsets from the corner of the place's cell, and width and height, in strides
SIDES = "sides"  # distances from the place to the left, top, right and bottom, in strides
PLACE = "place"  # offsets of the centre from the place, and width and height, in pixels
ANCHORS = "anchors"  # relative to boxes that the file does not hold: only the place is known
STRIDES = (4, 8, 16, 32, 64, 128)
UNEQUAL = ((2, 6), (3, 2, 2, 3))  # anchors at a place on each level: of BlazeFace, and of UltraFace
WIDTHS = {"box": 4, "offset": 2, "size": 2, "object": 1, "score": 1, "label": 1}


@dataclass(frozen=True)
class Part:
    """One output of a layout, or one output for each level."""

    axes: str
    columns: str
    levels: bool = False
    named: str = ""  # what the outputs' names must match, where shapes alone do not tell

    def fits(self, name: str, shape: Shape, anchors: int) -> bool:
        """Whether an output can be this part, or one of its levels."""
        tokens = self.axes.split()
        if len(shape) != len(tokens) or not re.search(self.named, name, re.IGNORECASE):
            return False
        sizes = dict(zip(tokens, shape, strict=True))
        count = sizes["F"] if "F" in sizes else sizes["AF"] / anchors
        if count > sizes.get("N", count):
            return False
        return sizes.get("1", 1) == 1 and ("A" not in sizes or sizes["A"] == anchors) and self.takes(count)

    def takes(self, count: float) -> bool:
        """Whether the columns can be so many numbers."""
        names = self.columns.split()
        rest = count - sum(WIDTHS.get(name, 0) for name in names)
        if "points" in names:
            return rest >= 2 and rest % 2 == 0
        return rest >= 1 and rest == int(rest) if "class" in names else rest == 0

    def rows(self, values: np.ndarray, anchors: int) -> np.ndarray:
        """[anchors, numbers]: an output, or the places of its elements, with a row for each anchor."""
        tokens = self.axes.split()
        if "AF" in tokens:
            k = tokens.index("AF")
            values = values.reshape(*values.shape[:k], anchors, -1, *values.shape[k + 1 :])
            tokens[k : k + 1] = ["A", "F"]
        order = [tokens.index(t) for t in ("N", "n", "h", "w", "A", "1", "F") if t in tokens]
        return values.transpose(order).reshape(-1, values.shape[tokens.index("F")])

    def columns_of(self, count: int) -> dict[str, slice]:
        """Where each column begins and ends among so many numbers."""
        names, found, at = self.columns.split(), {}, 0
        rest = count - sum(WIDTHS.get(name, 0) for name in names)
        for name in names:
            width = WIDTHS.get(name, rest)
            found[name], at = slice(at, at + width), at + width
        return found


@dataclass(frozen=True)
class Layout:
    """The outputs of one kind of detector."""

    name: str
    parts: tuple[Part, ...]
    boxes: str  # how a box is written
    anchors: int = 0  # at each place of strides 8, 16, 32, …; 0 where any number is possible


def part(axes: str, columns: str, named: str = "") -> Part:
    """A part with an output on each level."""
    return Part(axes, columns, levels=True, named=named)


LAYOUTS = (
    Layout("YOLO with objectness", (Part("N F", "box object class"),), CENTRE, 3),
    Layout("YOLOX", (Part("N F", "box object class"),), GRID, 1),
    Layout("YOLO without anchors", (Part("F N", "box class"),), CENTRE, 1),
    Layout("YOLO without anchors, transposed", (Part("N F", "box class"),), CENTRE, 1),
    Layout("YOLO heads", (part("AF h w", "box object class"),), ANCHORS, 3),
    Layout("YOLO heads, anchors apart", (part("A h w F", "box object class"),), ANCHORS, 3),
    Layout("YOLO heads, anchors behind", (part("h w A F", "box object class"),), ANCHORS, 3),
    Layout(
        "YuNet",
        (
            part("n F", "class", "cls"),
            part("n F", "object", "obj"),
            part("n F", "box", "box|loc"),
            part("n F", "points", "kps|landm"),
        ),
        GRID,
    ),
    Layout("SCRFD", (part("n F", "score"), part("n F", "box"), part("n F", "points")), SIDES),
    Layout("SCRFD without points", (part("n F", "score"), part("n F", "box")), SIDES),
    Layout("BlazeFace by level", (part("n F", "score"), part("n F", "box points")), PLACE),
    Layout("BlazeFace", (Part("N F", "score"), Part("N F", "box points")), PLACE),
    Layout("FCOS", (part("F h w", "object"), part("F h w", "box"), part("F h w", "class")), SIDES),
    Layout(
        "centre heat maps",
        (
            Part("F h w", "size", named="wh|size|dim"),
            Part("F h w", "offset", named="reg|off"),
            Part("F h w", "class"),
        ),
        CELLS,
        1,
    ),
    Layout("RetinaNet", (part("AF h w", "box"), part("AF h w", "class")), ANCHORS, 9),
    Layout("YOLOv4", (Part("N 1 F", "box"), Part("N F", "class")), EITHER),
    Layout("boxes and classes, transposed", (Part("N F", "box"), Part("F N", "class")), EITHER),
    Layout("boxes and classes", (Part("N F", "box"), Part("N F", "class")), EITHER),
    Layout("boxes after suppression", (Part("N F", "box score label"),), CORNERS),
)


@dataclass(frozen=True)
class Matched:
    """A layout, the outputs of each of its parts, and the places of the anchors."""

    layout: Layout
    outputs: tuple[tuple[str, ...], ...]  # for each part: its outputs, the largest level first
    places: np.ndarray = field(repr=False)  # [anchors, 3]: x, y and the stride, in pixels; stride 0: unknown


def recognised(outputs: Shapes, size: tuple[int, int]) -> Matched | None:
    """The first layout that the outputs of a network fit, for an image of these rows and columns.

    One that explains all outputs goes before one that leaves some out.
    """
    found = [m for m in (matched(layout, outputs, size) for layout in LAYOUTS) if m is not None]
    return next((m for m in found if sum(map(len, m.outputs)) == len(outputs)), next(iter(found), None))


def matched(layout: Layout, outputs: Shapes, size: tuple[int, int]) -> Matched | None:
    """How outputs fit a layout; None where they do not."""
    for chosen in assignments(layout, outputs):
        shapes = [[outputs[name] for name in names] for names in chosen]
        counts = [anchors_of(p, s, layout.anchors) for p, s in zip(layout.parts, shapes, strict=True)]
        if any(count != counts[0] for count in counts) or min(counts[0]) < 1:
            continue
        places = places_of(counts[0], size, layout)
        if places is not None:
            return Matched(layout, chosen, places)
    return None


def assignments(layout: Layout, outputs: Shapes) -> Iterator[tuple[tuple[str, ...], ...]]:
    """The ways to give each part its outputs: one, or as many on every part where there are levels."""
    free, given = list(outputs), []
    for p in layout.parts:
        fitting = [o for o in free if p.fits(o, outputs[o], layout.anchors or 1)]
        taken = (
            tuple(sorted(fitting, key=lambda o: -int(np.prod(outputs[o]))))
            if p.levels
            else tuple(fitting[:1])
        )
        if not taken or (p.levels and not alike(p, [outputs[o] for o in taken])):
            return
        given.append(taken)
        free = [o for o in free if o not in taken]
    if len({len(names) for names in given}) == 1 and not (layout.parts[0].levels and free):
        yield tuple(given)


def alike(p: Part, shapes: Sequence[Shape]) -> bool:
    """Whether there are several levels, with as many numbers for each anchor."""
    k = next(i for i, token in enumerate(p.axes.split()) if token in ("F", "AF"))
    return len(shapes) > 1 and len({shape[k] for shape in shapes}) == 1


def anchors_of(part: Part, shapes: Sequence[Shape], anchors: int) -> list[int]:
    """How many anchors each output of a part has."""
    tokens = part.axes.split()
    per_place = anchors if "AF" in tokens else 1
    return [
        per_place * int(np.prod([s for s, t in zip(shape, tokens, strict=True) if t not in ("F", "AF")]))
        for shape in shapes
    ]


def places_of(counts: Sequence[int], size: tuple[int, int], layout: Layout) -> np.ndarray | None:
    """[anchors, 3]: the centre of each anchor's place and its stride; None where the counts do not fit.

    Where any number of anchors is possible and no pyramid has so many, strides are 0.
    """
    for strides in pyramids(len(counts) if len(counts) > 1 else None):
        cells = [-(-size[0] // s) * -(-size[1] // s) for s in strides]
        wanted = [list(counts)] if len(counts) > 1 else [None]
        for per_place in densities(cells, counts, layout.anchors):
            if wanted[0] in (None, [c * a for c, a in zip(cells, per_place, strict=True)]):
                return np.concatenate([grid(size, s, a) for s, a in zip(strides, per_place, strict=True)])
    return None if layout.anchors or layout.boxes in (GRID, SIDES) else np.zeros((sum(counts), 3))


def pyramids(levels: int | None) -> Iterator[tuple[int, ...]]:
    """Strides of levels that follow each other, the usual ones first."""
    for first, last in (
        (1, 3),
        (1, 4),
        (2, 3),
        (0, 3),
        (0, 2),
        (1, 5),
        (1, 2),
        (1, 1),
        (2, 2),
        (0, 0),
        (3, 5),
    ):
        if levels in (None, last - first + 1):
            yield STRIDES[first : last + 1]


def densities(cells: Sequence[int], counts: Sequence[int], anchors: int) -> Iterator[list[int]]:
    """How many anchors each level may have at a place, so that there are as many as counted."""
    total = sum(counts)
    for each in (anchors,) if anchors else range(1, 10):
        if each * sum(cells) == total:
            yield [each] * len(cells)
    for known in UNEQUAL:
        if not anchors and len(known) == len(cells) and np.dot(known, cells) == total:
            yield list(known)


def grid(size: tuple[int, int], stride: int, each: int) -> np.ndarray:
    """[rows·columns·each, 3]: the centres of a level's cells, row by row, and the stride."""
    y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
    cells = np.stack([(x + 0.5) * stride, (y + 0.5) * stride, np.full(x.shape, stride)], -1).reshape(-1, 3)
    return cells.repeat(each, axis=0)
