"""Charts and maps by matplotlib, each drawn for light and for dark pages. Numbers in, PNG out.

The colours are perceptually even and can be told apart by colour-blind readers: cividis for sizes, vik with
its nearly white middle at zero for signed values, and the palette of Okabe and Ito for lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, is_color_like, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from onnxscope.errors import printable, shortened
from onnxscope.show.colours import vik
from onnxscope.show.panels import magnitude
from onnxscope.show.sheets import png_of

SIGNED, SIZES = ListedColormap(vik()), mpl.colormaps["cividis"]
LINES, MARKERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), "osD^"
ABOVE, BELOW = "#B0512B", "#2A7AA8"  # positive and negative bars, in the colours of vik's two sides
PAGES = {  # background, text, grid
    "light": ("#ffffff", "#222222", "#dddddd"),
    "dark": ("#16181c", "#e6e6e6", "#3a3d44"),
}
WIDTH, DPI = 4.8, 180  # inches, small enough that text can be read on a phone; dots per inch
MOST_BARS = 100  # longer vectors are drawn as a line
LONGEST, LONGEST_BELOW = 80, 24  # letters of a name to the left of a bar, and of one below a bar
DECADES = 4  # of a logarithmic scale
LightAndDark = tuple[bytes, bytes]  # PNG files for a light and for a dark page
Paint = Callable[[Figure, Axes, str], None]  # the last argument is the colour of text


def drawn(paint: Paint, height: float, width: float = WIDTH) -> LightAndDark:
    """What `paint` draws on a pair of axes. The dark variant has the same layout and other colours."""
    light, dark = PAGES.values()
    background, ink, grid = light
    colours: Any = {
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
        ),
        **dict.fromkeys(("axes.facecolor", "figure.facecolor"), background),
        "grid.color": grid,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "text.parse_math": False,
    }
    with mpl.rc_context(colours):
        figure = Figure((width, height), DPI, layout="constrained")
        paint(figure, figure.add_subplot(), ink)
        canvas = FigureCanvasAgg(figure)
        pages = [rendered(canvas)]
        figure.set_layout_engine("none")
        recolour(figure, dict(zip(map(to_rgba, light), map(to_rgba, dark), strict=True)))
        pages.append(rendered(canvas))
    return pages[0], pages[1]


def rendered(canvas: FigureCanvasAgg) -> bytes:
    """The figure as a PNG file without transparency."""
    canvas.draw()  # type: ignore[no-untyped-call]
    return png_of(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]


def recolour(figure: Figure, colours: Mapping[Any, Any]) -> None:
    """Replaces colours in all parts of the figure, each by the one that `colours` maps it to."""
    found = figure.findobj()
    behind = [t.get_bbox_patch() for t in found if isinstance(t, Text)]  # boxes, which it does not find
    for artist in (*found, *filter(None, behind)):
        for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, change = (getattr(artist, f"{do}_{part}", None) for do in ("get", "set"))
            if get is None or change is None:
                continue
            now = get()
            if is_color_like(now) and (new := colours.get(to_rgba(now))):
                change(new)


def lines(series: Mapping[str, Sequence[float]], x_label: str, y_label: str) -> LightAndDark:
    """Each series as a line over 1, 2, 3, …; the vertical axis starts at zero."""

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        for (name, values), colour, marker in zip(series.items(), LINES, MARKERS, strict=False):
            axes.plot(
                np.arange(1, len(values) + 1), values, marker=marker, markersize=4, color=colour, label=name
            )
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        if len(series) > 1:
            axes.legend(frameon=False)

    return drawn(paint, 3.2)


def bars(names: Sequence[str], values: Sequence[float], x_label: str) -> LightAndDark:
    """A horizontal bar for each name, the first on top, with its value; positive ones point to the right."""

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        drawn_bars = axes.barh(range(len(names)), values, color=[ABOVE if v >= 0 else BELOW for v in values])
        axes.bar_label(drawn_bars, [f"{v:+.3g}" for v in values], padding=3, fontsize=8, color=ink)
        axes.set_yticks(
            range(len(names)), [shortened(printable(name), LONGEST) for name in names], fontsize=8
        )
        axes.set_xlabel(x_label)
        axes.axvline(0, color=ink, linewidth=0.8)
        axes.margins(x=0.14, y=0.01)
        axes.invert_yaxis()
        axes.grid(axis="x")

    return drawn(paint, 0.9 + 0.21 * len(names))


def elements(series: Mapping[str, Sequence[float]], names: Sequence[str] = ()) -> LightAndDark:
    """Vectors of the same length, as a bar for each element and vector, or as lines where they are long."""
    count = len(next(iter(series.values())))

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        bar_width = 0.8 / len(series)
        for k, ((name, values), colour) in enumerate(zip(series.items(), LINES, strict=False)):
            if count > MOST_BARS:
                axes.plot(values, label=name, color=colour, linewidth=0.8)
            else:
                axes.bar(
                    np.arange(count) + (k - (len(series) - 1) / 2) * bar_width,
                    values,
                    bar_width,
                    label=name,
                    color=colour,
                )
        axes.axhline(0, color=ink, linewidth=0.8)
        if names:
            below = [shortened(printable(name), LONGEST_BELOW) for name in names]
            axes.set_xticks(range(count), below, rotation=45, ha="right", fontsize=8)
        else:
            axes.set_xlabel("element")
        axes.grid(axis="y")
        if len(series) > 1:
            axes.legend(
                frameon=False,
                ncols=2 if len(series) > 3 else len(series),
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
            )

    return drawn(paint, 3.4)


def map_of(
    values: np.ndarray, label: str, *, signed: bool, mark: Sequence[int] | None = None
) -> LightAndDark:
    """One number for each pixel as a colour, with a colour bar; `mark` (y, x) gets a circle."""
    largest = magnitude(values) or 1.0
    colours = ScalarMappable(Normalize(-largest if signed else 0, largest), SIGNED if signed else SIZES)
    pixels = colours.to_rgba(values, bytes=True)  # at once for both variants, and before any enlargement

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        axes.imshow(pixels, interpolation="nearest")
        axes.spines[:].set_visible(False)
        axes.set(xticks=[], yticks=[])
        for (y, x), (colour, width) in itertools.product(
            [mark] if mark else [], (("black", 3), ("#ffe600", 1.5))
        ):
            axes.plot(
                x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=width
            )
        figure.colorbar(colours, ax=axes, label=label, shrink=0.9)

    tall = np.clip(values.shape[0] / values.shape[1], 0.4, 1.4)
    return drawn(paint, 3.6 * float(tall))


def matrix(values: np.ndarray, size: tuple[float, float], names: tuple[str, str], label: str) -> LightAndDark:
    """The entries of a matrix, none of them negative, on a logarithmic scale.

    `size` and `names` are the lengths and the labels of its two axes, rows first.
    """
    largest = magnitude(values) or 1.0

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        shown = axes.imshow(
            values,
            interpolation="nearest",
            cmap=SIZES,
            norm=LogNorm(largest / 10**DECADES, largest, clip=True),
            extent=(0, size[1], size[0], 0),
        )
        axes.set(ylabel=names[0], xlabel=names[1])
        figure.colorbar(shown, ax=axes, label=label, shrink=0.9, format=lambda size, _: f"{size:.0e}")

    return drawn(paint, 3.6)
