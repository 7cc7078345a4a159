"""Charts of a comparison: the ledger as stacked bars, and the network as a strip coloured by price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from onnxscope.errors import printable
from onnxscope.pairing.shares import Share
from onnxscope.show.charts import PAGES, SIGNED, LightAndDark, drawn
from onnxscope.show.difference.seen import by_size, name_of
from onnxscope.show.panels import magnitude

COLOURS = {  # of the kinds, from the palette of Okabe and Ito
    "weights": "#0072B2",
    "rounding": "#E69F00",
    "saturation": "#D55E00",
    "bias": "#56B4E9",
    "definition": "#CC79A7",
    "missing": "#009E73",
    "added": "#F0E442",
    "curvature": "#8C6BB1",
    "noise": "#999999",
}
MOST_BARS, LABELLED = 20, 5  # layers that have a bar, and those that have a label above the strip
LONGEST = 30  # letters of a name
FOR_NUMBERS, EDGE = 0.28, 0.04  # of the bars' range: room for numbers, and where there are none
VISIBLE = 0.004  # of the longest bar: shorter pieces are not in the legend
PLOT_WIDTH = 7.2  # inches, of a chart that stands alone
STRIP, LINE = 0.35, 0.18  # inches: the heights of the strip and of a label above it


def ledger(layers: Sequence[Share], label: str) -> LightAndDark:
    """A bar for each of the largest layers, stacked by kind."""
    rows = largest(layers)

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        paint_ledger(figure, axes, rows, label, ink)

    return drawn(paint, ledger_height(rows))


def strip(layers: Sequence[Share], label: str) -> LightAndDark:
    """A narrow column for each layer, from the image to the output, coloured by its contribution."""

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        paint_strip(figure, axes, layers, label, ink)

    return drawn(paint, strip_height(layers))


def both(layers: Sequence[Share], label: str) -> bytes:
    """The ledger above the strip, as a PNG file."""
    rows = largest(layers)
    heights = ledger_height(rows), strip_height(layers)

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        axes.remove()
        upper, lower = figure.subplots(2, 1, height_ratios=heights)
        paint_ledger(figure, upper, rows, label, ink)
        paint_strip(figure, lower, layers, label, ink)

    return drawn(paint, sum(heights), PLOT_WIDTH)[0]


def largest(layers: Sequence[Share]) -> list[Share]:
    """The layers with the largest contributions; those of more than MOST_BARS are added up."""
    ranked = by_size(layers)
    if len(ranked) <= MOST_BARS:
        return ranked
    kept, rest = ranked[: MOST_BARS - 1], ranked[MOST_BARS - 1 :]
    name = f"{len(rest)} other layers"
    total = sum(s.contribution for s in rest)
    return [*kept, Share(name, name, total, totals(rest), 0, 0.0, 0.0, 0.0)]


def totals(layers: Sequence[Share]) -> dict[str, float]:
    """What each kind adds to the difference, in the order of the legend."""
    found = {kind: sum(s.kinds.get(kind, 0.0) for s in layers) for kind in COLOURS}
    return {kind: value for kind, value in found.items() if any(s.kinds.get(kind) for s in layers)}


# the ledger


def ledger_height(rows: Sequence[Share]) -> float:
    return 1.25 + 0.24 * max(len(rows), 1)


def paint_ledger(figure: Figure, axes: Axes, rows: Sequence[Share], label: str, ink: str) -> None:
    """The pieces of each bar; its sum as a number, and as a mark where pieces have both signs."""
    ends = [sides(row.kinds) for row in rows]
    shown = VISIBLE * max((max(high, -low) for low, high in ends), default=0.0)
    for k, (row, (low, high)) in enumerate(zip(rows, ends, strict=True)):
        stack(axes, k, row.kinds)
        total, spread = row.contribution, row.spread
        if spread:
            axes.plot([total - spread, total + spread], [k, k], "-|", color=ink, linewidth=1, markersize=5)
        if spread or min(high, -low) > shown:
            axes.plot(total, k, "D", color=ink, markersize=3.5, label="sum")
        side = 1 if total >= 0 else -1
        axes.annotate(
            f"{total:+.2g}",
            (extent(row)[total >= 0], k),
            (5 * side, 0),
            textcoords="offset points",
            ha="left" if total >= 0 else "right",
            va="center",
            fontsize=8,
            color=ink,
        )
    axes.set_yticks(range(len(rows)), [tail(name_of(row)) for row in rows], fontsize=8)
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.axvline(0, color=ink, linewidth=0.8)
    axes.margins(y=0.01)
    axes.set_xlim(limits(rows))
    axes.invert_yaxis()
    axes.grid(axis="x")
    legend(figure, axes, rows, shown)


def stack(axes: Axes, place: int, kinds: Mapping[str, float]) -> None:
    """Pieces above zero to the right of it, and the others to the left."""
    low = high = 0.0
    for kind in [k for k in COLOURS if kinds.get(k)]:
        value = kinds[kind]
        axes.barh(place, value, 0.7, left=high if value > 0 else low, color=COLOURS[kind])
        low, high = low + min(value, 0.0), high + max(value, 0.0)


def sides(kinds: Mapping[str, float]) -> tuple[float, float]:
    """Where a stacked bar begins and ends."""
    return sum(v for v in kinds.values() if v < 0), sum(v for v in kinds.values() if v > 0)


def extent(row: Share) -> tuple[float, float]:
    """Where all that is drawn for a layer begins and ends."""
    low, high = sides(row.kinds)
    return min(low, row.contribution - row.spread), max(high, row.contribution + row.spread)


def limits(rows: Sequence[Share]) -> tuple[float, float]:
    """The range of the axis, with room for numbers on the sides that have some."""
    low, high = min(extent(row)[0] for row in rows), max(extent(row)[1] for row in rows)
    left, right = any(row.contribution < 0 for row in rows), any(row.contribution >= 0 for row in rows)
    room = (high - low) or 1.0
    return low - room * (FOR_NUMBERS if left else EDGE), high + room * (FOR_NUMBERS if right else EDGE)


def legend(figure: Figure, axes: Axes, rows: Sequence[Share], shown: float) -> None:
    """The kinds that can be seen, and the mark of sums where there is one, above the bars."""
    seen = [k for k in COLOURS if any(abs(row.kinds.get(k, 0.0)) > shown for row in rows)]
    marks = [line for line in axes.get_lines() if line.get_label() == "sum"][:1]
    handles = [*(Patch(color=COLOURS[kind], label=kind) for kind in seen), *marks]
    figure.legend(handles=handles, ncols=4, loc="outside upper center", frameon=False, fontsize=8)


# the strip


def strip_height(layers: Sequence[Share]) -> float:
    return 1.1 + STRIP + LINE * len(labelled(layers))


def labelled(layers: Sequence[Share]) -> list[int]:
    """The places of the layers with the largest contributions, in the network's order."""
    places = sorted(range(len(layers)), key=lambda k: -abs(layers[k].contribution))
    return sorted(k for k in places[:LABELLED] if layers[k].contribution)


def paint_strip(figure: Figure, axes: Axes, layers: Sequence[Share], label: str, ink: str) -> None:
    """The columns, with labels above them, each on a line of its own."""
    values, count = np.array([[s.contribution for s in layers]]), len(layers)
    scale, places = magnitude(values) or 1.0, lines(labelled(layers), count)
    edges = (-0.5, count - 0.5, 0.0, 1.0)
    shown = axes.imshow(
        values, cmap=SIGNED, vmin=-scale, vmax=scale, aspect="auto", interpolation="nearest", extent=edges
    )
    axes.plot([*edges[:2], *edges[1::-1], edges[0]], [0, 0, 1, 1, 0], color=ink, linewidth=0.8, clip_on=False)
    for place, line in places.items():
        height = 1 + (line + 0.6) * LINE / STRIP
        axes.plot([place, place], [1, height], color=ink, linewidth=0.7)
        axes.text(
            place,
            height,
            f"{tail(name_of(layers[place]))}  {layers[place].contribution:+.2g}",
            ha="left" if place < count / 2 else "right",
            va="center",
            fontsize=8,
            bbox={"facecolor": PAGES["light"][0], "edgecolor": "none", "pad": 1},
        )
    axes.set(xlim=edges[:2], ylim=(0, 1 + (len(places) + 0.2) * LINE / STRIP), yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xticks([0, count - 1], ["first layer", "last layer"], fontsize=8)
    axes.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axes, orientation="horizontal", shrink=0.7, aspect=40)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def lines(places: Sequence[int], count: int) -> dict[int, int]:
    """The line of each label: those further from the middle are higher, so that no line crosses a label."""
    return {place: line for line, place in enumerate(sorted(places, key=lambda k: abs(k - (count - 1) / 2)))}


def tail(name: str) -> str:
    """The end of a name, by which layers can be told apart."""
    text = printable(name)
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"
