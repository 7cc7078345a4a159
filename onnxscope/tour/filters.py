"""The stops at single pixels: what an output pixel looks at, what an input pixel does, and where a network reaches far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from onnxscope.analyses.filters import (
    FAR,
    Place,
    Reach,
    Sampled,
    along_a_line,
    chosen,
    energies,
    moved,
    projective,
    reach,
    receptive,
    sampled,
)
from onnxscope.pixels import channels_last
from onnxscope.report.page import Row, Section, Table
from onnxscope.report.plots import map_of
from onnxscope.tour.guide import Guide, Stop, chart, paragraphs, percent

GRID, LINE = 10, 64  # sampled pixels on a side of the picture, and along its middle line
REACHES = ("Radius: in pixels around its own place, what holds nine tenths of a filter's energy (Σ of squares). Box: of all coefficients "
           "above a thousandth of the largest.")
WEAK = 0.01  # a share from afar below which there is nothing to see
LOCAL = "That is next to nothing: this network builds every pixel from its surroundings."
AFAR = ("A network that only filtered its surroundings would show a narrow diagonal; what lies beside it was copied, or decided, from "
        "elsewhere in the picture.")


def single_pixels(g: Guide) -> Stop:
    """Rows and columns of F at an edge, at a flat place and in between."""
    given, made = g.sizes
    places = chosen(channels_last(g.x.output, g.x.layout))
    sources = {name: moved(place, made, given) for name, place in places.items()}
    rows = receptive(g.x, list(places.values()))
    columns = projective(g.x, list(sources.values()))
    looks = [reach(e, sources[n]) for n, e in zip(places, energies(rows, g.x.layout), strict=True)]
    does = [reach(e, moved(s, given, made)) for s, e in zip(sources.values(), energies(columns, g.x.layout), strict=True)]
    parts: list[Row | Table] = []
    for k, (name, place) in enumerate(places.items()):
        slug, source = name.replace(" ", "-"), sources[name]
        where = g.shown(f"where-{slug}", g.run.output((0, *place)), f"the output, with a frame around the pixel at {place}",
                        "the output")
        parts.append(Row([where, *g.close_up(f"receptive-{slug}", g.run.beside_image(rows[k], ""), "what the output pixel looks at"),
                          *g.close_up(f"projective-{slug}", g.run.beside_output(columns[k], ""), "what the input pixel does")],
                         f"{name[0].upper()}{name[1:]}: output pixel {place}, input pixel {source}"))
    table = [[name, *extent(look), *extent(do)] for name, look, do in zip(places, looks, does, strict=True)]
    head = ["at", "receptive: radius", "box", "projective: radius", "box"]
    parts.append(Table(head, table, REACHES))
    text = paragraphs("""
        A row of F is a receptive filter: the weights with which one output pixel sums up the input. A column is a projective filter: what
        one input pixel adds to the output. All colour channels of the pixel are taken together; grey is zero.

        A fixed filter would look the same everywhere. What changes from an edge to a flat place is what the network adapts to.""")
    facts = {name: {"output_pixel": place, "input_pixel": sources[name], "receptive": asdict(look), "projective": asdict(do)}
             for (name, place), look, do in zip(places.items(), looks, does, strict=True)}
    return Section("Single pixels", text, parts), facts


def extent(r: Reach) -> list[str]:
    return [f"{r.radius:.1f}", f"{r.rows} × {r.columns}"]


def far_away(g: Guide) -> Stop:
    """Off-diagonals of a same-size network: where else a pixel takes from, and the pixels that fill a whole area."""
    size = g.sizes[0]
    taking, giving = (sampled(filters, g.x, size, GRID) for filters in (receptive, projective))
    taker, giver = taking.places[taking.farthest], giving.places[giving.widest]
    row, column = receptive(g.x, [taker])[0], projective(g.x, [giver])[0]
    source = peak(taking.afar)
    takes = Row([
        g.shown("far-taker", g.run.output((0, *taker)), f"the output with a frame around {taker}", "the output"),
        g.of_image("far-filter", row, f"the receptive filter of {taker}", "what this pixel looks at"),
        chart("far-map", map_of(taking.afar, "share of energy", signed=False, mark=source), "map of where pixels take from afar",
              f"where all sampled pixels take from afar, on average; circled: the strongest place {source}", wide=False),
    ], f"Who takes from furthest: output pixel {taker}, {percent(taking.reaches[taking.farthest].far)} of its filter from afar")
    gives = Row([
        g.shown("wide-giver", g.run.image((0, *giver)), f"the input with a frame around {giver}", "the input"),
        g.of_output("wide-filter", column, f"the projective filter of {giver}", "what this pixel does"),
    ], f"Who fills the most: input pixel {giver}, spread over {giving.reaches[giving.widest].pixels:.0f} output pixels")
    line = chart("along-a-line", map_of(along_a_line(g.x, size, LINE), "size of F's part", signed=False, logarithmic=True,
                                        axes_labels=("input column", "output pixel along the middle line")),
                 "F from input columns to the output pixels of the middle line; the diagonal is a pixel's own place",
                 "F along the picture's middle line, on a logarithmic scale. The diagonal is a pixel's own place; bands beside it, and "
                 "upright stripes, are places that many pixels take from.", wide=False)
    return Section("Far from the diagonal", verdict(taking, giving), [takes, gives, Row([line]), table(taking, giving)]), {
        "taking": facts(taking), "giving": facts(giving), "strongest_source": source, "taker": taker, "giver": giver}


def verdict(taking: Sampled, giving: Sampled) -> list[str]:
    far, counts = [r.far for r in taking.reaches], [r.pixels for r in giving.reaches]
    means = LOCAL if max(far) < WEAK else AFAR
    return paragraphs(f"""
        Of {len(far)} output pixels spread over the picture, the middling one takes {percent(float(np.median(far)))} of its filter's energy
        from further away than {FAR:g} of the shorter side, the most far-reaching one {percent(max(far))}. {means}

        A middling input pixel spreads its effect over {np.median(counts):.0f} output pixels (counted by energy), the widest over
        {max(counts):.0f}: where this number is large, one pixel takes part in filling a whole area.""")


def table(taking: Sampled, giving: Sampled) -> Table:
    measures: dict[str, tuple[Callable[[Reach], float], Callable[[float], str]]] = {
        "share from afar": (lambda r: r.far, percent), "radius, pixels": (lambda r: r.radius, "{:.1f}".format),
        "spread over, pixels": (lambda r: r.pixels, "{:.0f}".format)}
    rows = []
    for side, s in (("receptive", taking), ("projective", giving)):
        for name, (get, show) in measures.items():
            values = [get(r) for r in s.reaches]
            rows.append([f"{side}: {name}", *(show(float(v)) for v in (min(values), np.median(values), max(values)))])
    return Table(["", "least", "middling", "most"], rows, f"Over {len(taking.places)} sampled pixels.")


def facts(s: Sampled) -> dict[str, object]:
    return {"places": s.places, "far": [r.far for r in s.reaches], "radius": [r.radius for r in s.reaches],
            "pixels": [r.pixels for r in s.reaches]}


def peak(values: np.ndarray) -> Place:
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return int(y), int(x)
