"""The stops at single pixels: what an output pixel looks at, what an input pixel does, and where a network reaches far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from onnxscope.ask.filters import (
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
from onnxscope.files.pixels import channels_last
from onnxscope.show.charts import map_of, matrix
from onnxscope.show.page import Row, Section, Table
from onnxscope.show.sheets import Picture
from onnxscope.show.tour.guide import Guide, Stop, chart, paragraphs, percent

GRID, LINE = 10, 128  # sampled pixels on a side of the picture, and along its middle line
REACHES = (
    "Radius: in pixels around its own place, what holds nine tenths of a filter's energy (Σ of squares). Box: of all coefficients "
    "above a thousandth of the largest."
)
ALONG = (
    "What the output pixels of the picture's middle line take from each input column. The diagonal is a pixel's own place; bands "
    "beside it, and upright stripes, are places that many pixels take from."
)
WEAK = 0.01  # a share from afar below which there is nothing to see
LOCAL = "That is next to nothing: this network builds every pixel from its surroundings."
AFAR = (
    "A network that only filtered its surroundings would show a narrow diagonal; what lies beside it was copied, or decided, from "
    "elsewhere in the picture."
)


def single_pixels(g: Guide) -> Stop:
    """Rows and columns of F at an edge, at a flat place and in between."""
    given, made = g.sizes
    places = chosen(channels_last(g.x.output, g.x.layout))
    sources = {name: moved(place, made, given) for name, place in places.items()}
    rows = receptive(g.x, list(places.values()))
    columns = projective(g.x, list(sources.values()))
    looks = [reach(e, sources[n]) for n, e in zip(places, energies(rows, g.x.layout), strict=True)]
    does = [
        reach(e, moved(s, given, made))
        for s, e in zip(sources.values(), energies(columns, g.x.layout), strict=True)
    ]
    parts: list[Row | Table] = []
    for k, (name, place) in enumerate(places.items()):
        slug, source = name.replace(" ", "-"), sources[name]
        where = g.shown(
            f"where-{slug}",
            g.views.output((0, *place)),
            f"the output, with a frame around the pixel at {place}",
            "the output",
        )
        parts.append(
            Row(
                [
                    where,
                    *g.close_up(
                        f"receptive-{slug}", g.views.like_image(rows[k], ""), "what the output pixel looks at"
                    ),
                    *g.close_up(
                        f"projective-{slug}", g.views.like_output(columns[k], ""), "what the input pixel does"
                    ),
                ],
                f"{name[0].upper()}{name[1:]}: output pixel {place}, input pixel {source}",
            )
        )
    table = [
        [name, *radius_and_box(look), *radius_and_box(do)]
        for name, look, do in zip(places, looks, does, strict=True)
    ]
    head = ["at", "receptive: radius", "box", "projective: radius", "box"]
    parts.append(Table(head, table, REACHES))
    text = paragraphs("""
        A row of F is a receptive filter: the weights with which one output pixel sums up the input. A column is a projective filter: what
        one input pixel adds to the output. All colour channels of the pixel are taken together; grey is zero.

        A fixed filter would look the same everywhere. What changes from an edge to a flat place is what the network adapts to.""")
    facts = {
        name: {
            "output_pixel": place,
            "input_pixel": sources[name],
            "receptive": asdict(look),
            "projective": asdict(do),
        }
        for (name, place), look, do in zip(places.items(), looks, does, strict=True)
    }
    return Section("Single pixels", text, parts), facts


def radius_and_box(r: Reach) -> list[str]:
    return [f"{r.radius:.1f}", f"{r.rows} × {r.columns}"]


def far_away(g: Guide) -> Stop:
    """Off-diagonals of a same-size network: where else pixels take from, and where else they have a say."""
    size = g.sizes[0]
    taking, giving = (sampled(filters, g.x, size, GRID) for filters in (receptive, projective))
    taker, giver = (s.places[s.farthest] for s in (taking, giving))
    parts: list[Row | Table] = []
    if max(r.far for r in taking.reaches) >= WEAK:
        parts = [
            extreme(
                g,
                "taker",
                taking,
                [
                    g.views.output((0, *taker)),
                    g.views.like_image(receptive(g.x, [taker])[0], "what it looks at"),
                ],
                "takes most from afar: output pixel",
                "where the sampled output pixels take from afar",
            ),
            extreme(
                g,
                "giver",
                giving,
                [
                    g.views.image((0, *giver)),
                    g.views.like_output(projective(g.x, [giver])[0], "what it does"),
                ],
                "does most afar: input pixel",
                "where the sampled input pixels do something afar",
            ),
        ]
    drawn = matrix(
        along_a_line(g.x, size, LINE),
        (size[1], size[1]),
        ("column of the output pixel", "column of the input"),
        "size",
    )
    line = chart(
        "along-a-line",
        drawn,
        "F from the input's columns to the output pixels of the middle line",
        ALONG,
        wide=False,
    )
    return Section(
        "Far from the diagonal", verdict(taking, giving), [*parts, Row([line]), table(taking, giving)]
    ), {"taking": facts(taking), "giving": facts(giving)}


def extreme(g: Guide, name: str, s: Sampled, pictures: Sequence[Picture], said: str, of_map: str) -> Row:
    """The pixel that stands out, its filter, and what all pixels have in common."""
    place, own = s.places[s.farthest], s.reaches[s.farthest]
    title = f"What {said} {place}, {percent(own.far)} of its filter's energy"
    marked, coefficients = (
        g.shown(f"{name}-{what}", picture, f"{title}: {picture.label}")
        for what, picture in zip(("pixel", "filter"), pictures, strict=True)
    )
    common = map_of(s.afar, "share of all energy", signed=False, mark=peak(s.afar))
    return Row(
        [
            marked,
            coefficients,
            chart(f"{name}-map", common, of_map, f"{of_map}; circled: most, {peak(s.afar)}", wide=False),
        ],
        title,
    )


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
        "share from afar": (lambda r: r.far, percent),
        "radius, pixels": (lambda r: r.radius, "{:.1f}".format),
        "spread over, pixels": (lambda r: r.pixels, "{:.0f}".format),
    }
    rows = []
    for side, s in (("receptive", taking), ("projective", giving)):
        for name, (get, show) in measures.items():
            values = [get(r) for r in s.reaches]
            rows.append(
                [f"{side}: {name}", *(show(float(v)) for v in (min(values), np.median(values), max(values)))]
            )
    return Table(["", "least", "middling", "most"], rows, f"Over {len(taking.places)} sampled pixels.")


def facts(s: Sampled) -> dict[str, object]:
    return {
        "places": s.places,
        "reaches": [asdict(r) for r in s.reaches],
        "farthest": s.places[s.farthest],
        "most": peak(s.afar),
    }


def peak(values: np.ndarray) -> Place:
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return int(y), int(x)
