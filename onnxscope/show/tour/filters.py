"""The sections on filters: of single pixels, and how far they reach where the output has the image's size."""

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
    energies,
    moved,
    places_by_contrast,
    projective,
    reach,
    receptive,
    sampled,
)
from onnxscope.files.pixels import channels_last
from onnxscope.show.charts import map_of, matrix
from onnxscope.show.page import PagePicture, Row, Section, Table
from onnxscope.show.panels import Picture
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent

LEAST_GRID = 3
GRID, LINE = 10, 128  # how many pixels are sampled along a side of the picture, and along its middle line
SINGLE_TEXT = paragraphs("""
    A row of F is a receptive filter: the weights with which one output pixel sums up the input. A column of F
    is a projective filter: what one input pixel adds to the output. All colour channels of the pixel are
    taken together, and grey is zero.

    A filter that does not adapt would look the same at every pixel. What changes from an edge to a flat place
    shows how the network adapts to the image.""")
REACHES = (
    "Radius: the distance in pixels from the filter's own pixel within which nine tenths of its energy lie "
    "(the sum of squares). Box: the rows and columns with coefficients above a thousandth of the largest."
)
ALONG = (
    "Each row of this chart is an output pixel of the picture's middle line; the colours show what it takes "
    "from each column of the input. The diagonal is the pixel's own place. Vertical stripes, and bands away "
    "from the diagonal, are places that many pixels take from."
)
WEAK = 0.01  # a share of the energy from far away that is too small to be shown
LOCAL = "That is next to nothing: this network computes every pixel from its surroundings."
AFAR = (
    "A network that only filters the surroundings of each pixel has a narrow diagonal in the chart below; "
    "what lies away from the diagonal comes from another place in the picture."
)


def single_pixels(g: Guide) -> SectionAndFigures:
    """Rows and columns of F at an edge, at a flat place and in between."""
    image_size, output_size = g.sizes
    places = places_by_contrast(channels_last(g.x.output, g.x.layout))
    sources = {name: moved(place, output_size, image_size) for name, place in places.items()}
    rows = receptive(g.x, list(places.values()))
    columns = projective(g.x, list(sources.values()))
    of_rows = [reach(e, sources[n]) for n, e in zip(places, energies(rows, g.x.layout), strict=True)]
    of_columns = [
        reach(e, moved(source, image_size, output_size))
        for source, e in zip(sources.values(), energies(columns, g.x.layout), strict=True)
    ]
    parts: list[Row | Table] = [
        Row(
            filters_at(g, name, place, rows[k], columns[k]),
            f"{name[0].upper()}{name[1:]}: output pixel {place}, input pixel {sources[name]}",
        )
        for k, (name, place) in enumerate(places.items())
    ]
    head = ["place", "receptive filter: radius", "box", "projective filter: radius", "box"]
    table = [
        [name, *radius_and_box(of_row), *radius_and_box(of_column)]
        for name, of_row, of_column in zip(places, of_rows, of_columns, strict=True)
    ]
    facts = {
        name: {
            "output_pixel": place,
            "input_pixel": sources[name],
            "receptive": asdict(of_row),
            "projective": asdict(of_column),
        }
        for (name, place), of_row, of_column in zip(places.items(), of_rows, of_columns, strict=True)
    }
    return Section("Filters of single pixels", SINGLE_TEXT, [*parts, Table(head, table, REACHES)]), facts


def filters_at(g: Guide, name: str, place: Place, row: np.ndarray, column: np.ndarray) -> list[PagePicture]:
    """The output with a frame around the pixel, then its receptive and its projective filter."""
    slug = name.replace(" ", "-")
    alt = f"the output, with a frame around the pixel at {place}"
    return [
        g.picture(f"where-{slug}", g.views.output((0, *place)), alt, "the output"),
        *g.close_up(
            f"receptive-{slug}", g.views.like_image(row, ""), "receptive filter: weights of the input"
        ),
        *g.close_up(
            f"projective-{slug}", g.views.like_output(column, ""), "projective filter: effect on the output"
        ),
    ]


def radius_and_box(r: Reach) -> list[str]:
    return [f"{r.radius:.1f}", f"{r.rows} × {r.columns}"]


def far_away(g: Guide) -> SectionAndFigures:
    """Which other places in the picture pixels take from, and which they have an effect on."""
    size, title = g.sizes[0], "Filters that reach far"
    side, line = affordable(g)
    if side < LEAST_GRID:
        return Section(
            title, [f"There was no time left for {title[0].lower()}{title[1:]}: --seconds gives more."]
        ), {}
    taking, giving = (sampled(filters, g.x, size, side) for filters in (receptive, projective))
    text, parts = verdict(taking, giving), list[Row | Table]()
    if max(r.far for r in taking.reaches) >= WEAK:
        parts += [farthest_taker(g, taking), farthest_giver(g, giving)]
    drawn = matrix(
        along_a_line(g.x, size, line),
        (size[1], size[1]),
        ("column of the output pixel", "column of the input"),
        "norm of the coefficients",
    )
    alt = "the norm of what output pixels of the middle line take from each column of the input"
    parts += [Row([chart("along-a-line", drawn, alt, ALONG, wide=False)]), table_of(taking, giving)]
    facts = {"taking": figures_of(taking), "giving": figures_of(giving)}
    return Section(title, text, parts), facts


def affordable(g: Guide) -> tuple[int, int]:
    """How many pixels to sample along a side of the picture, and along its middle line.

    They take at most a half of the time that is left.
    """
    places = g.effort.left / 2 / g.pass_seconds / channels_last(g.x.output, g.x.layout).shape[2]
    line = min(LINE, max(0, int(places / 3)))
    return min(GRID, int(max(0.0, (places - line) / 2) ** 0.5)), line


def farthest_taker(g: Guide, s: Sampled) -> Row:
    """The output pixel that takes most from far away, and where all sampled pixels take from."""
    place = s.places[s.farthest]
    pictures = [
        g.views.output((0, *place)),
        g.views.like_image(receptive(g.x, [place])[0], "its receptive filter"),
    ]
    title = f"The output pixel that takes most energy from far away, {place}"
    return farthest(g, "taker", s, pictures, (title, "what the sampled output pixels take from far away"))


def farthest_giver(g: Guide, s: Sampled) -> Row:
    """The input pixel that has most effect far away, and where all sampled pixels have theirs."""
    place = s.places[s.farthest]
    pictures = [
        g.views.image((0, *place)),
        g.views.like_output(projective(g.x, [place])[0], "its projective filter"),
    ]
    title = f"The input pixel with most energy far away, {place}"
    return farthest(g, "giver", s, pictures, (title, "the effect of the sampled input pixels far away"))


def farthest(g: Guide, name: str, s: Sampled, pictures: Sequence[Picture], texts: tuple[str, str]) -> Row:
    """The pixel whose filter has most energy far away, that filter, and a map over all sampled pixels.

    `texts` are the row's title and what the map shows.
    """
    title, of_map = f"{texts[0]}: {percent(s.reaches[s.farthest].far)} of its filter's energy", texts[1]
    marked, coefficients = (
        g.picture(f"{name}-{what}", picture, f"{title}: {picture.label}")
        for what, picture in zip(("pixel", "filter"), pictures, strict=True)
    )
    common = map_of(s.afar, "share of all energy", signed=False, mark=peak(s.afar))
    caption = f"{of_map}; circled: the maximum, at {peak(s.afar)}"
    return Row([marked, coefficients, chart(f"{name}-map", common, of_map, caption, wide=False)], title)


def verdict(taking: Sampled, giving: Sampled) -> list[str]:
    """The figures of the section in words."""
    far, counts = [r.far for r in taking.reaches], [r.pixels for r in giving.reaches]
    meaning = LOCAL if max(far) < WEAK else AFAR
    return paragraphs(f"""
        {len(far)} output pixels were sampled, spread evenly over the picture. Far away means further than
        {FAR:g} of the picture's shorter side. The median filter has {percent(float(np.median(far)))} of its
        energy far away; the largest share is {percent(max(far))}. {meaning}

        An input pixel spreads its effect over {np.median(counts):.0f} output pixels in the median, and over
        {max(counts):.0f} at most (counted by energy). Where this number is large, one pixel helps to fill a
        whole area.""")


def table_of(taking: Sampled, giving: Sampled) -> Table:
    """The least, the median and the largest value of each measure."""
    measures: dict[str, tuple[Callable[[Reach], float], Callable[[float], str]]] = {
        "energy far away": (lambda r: r.far, percent),
        "radius in pixels": (lambda r: r.radius, "{:.1f}".format),
        "pixels it spreads over": (lambda r: r.pixels, "{:.0f}".format),
    }
    rows = []
    for side, s in (("receptive", taking), ("projective", giving)):
        for name, (get, show) in measures.items():
            values = [get(r) for r in s.reaches]
            rows.append(
                [f"{side}: {name}", *(show(float(v)) for v in (min(values), np.median(values), max(values)))]
            )
    return Table(["", "least", "median", "largest"], rows, f"Filters of {len(taking.places)} sampled pixels.")


def figures_of(s: Sampled) -> dict[str, object]:
    """The figures of sampled filters for tour.json."""
    return {
        "places": s.places,
        "reaches": [asdict(r) for r in s.reaches],
        "farthest": s.places[s.farthest],
        "most": peak(s.afar),
    }


def peak(values: np.ndarray) -> Place:
    """Row and column of the largest value."""
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return int(y), int(x)
