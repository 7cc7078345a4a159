"""Two sections on scores: the highest ones with their rows of F, and the ledger of the highest by layer."""

from __future__ import annotations

import numpy as np

from onnxscope.ask.interpreter import score_rows
from onnxscope.ask.ledger import Ledger, ledgers
from onnxscope.show.charts import bars, map_of
from onnxscope.show.page import PagePicture, Row, Section, Table
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent

TOP, EXPLAINED = 5, 2  # how many scores are in the table, and how many have pictures
MOST_LAYERS = 40  # bars in the chart of the ledger; the smallest of more are added up


def highest(g: Guide) -> SectionAndFigures:
    """The highest scores, with the contributions of the image and of the biases to each."""
    top = g.scores.highest(TOP)
    books = ledgers(g.x, top)
    table = Table(
        ["score", "value", "image", "biases", "share of biases", "remainder"],
        [
            [
                g.scores.name(k),
                *(f"{v:.4g}" for v in (b.score, b.input, b.residual)),
                percent(bias_share(b)),
                f"{b.remainder:.1e}",
            ]
            for k, b in zip(top, books, strict=True)
        ],
        "Image: ⟨row of F, x0⟩. Biases: what all layers add. Share: |biases| / (|biases| + |image|). "
        "Remainder: value − image − biases, which is due to rounding.",
    )
    rows = score_rows(g.x, top[:EXPLAINED])
    parts: list[Row | Table] = [table]
    for place, (score, row) in enumerate(zip(top, rows, strict=False), 1):
        parts.append(Row(explained(g, place, score, row), f"{place}. {g.scores.name(score)}"))
    text = paragraphs("""
        A score is one row of F multiplied by the image, plus what the biases add. The row holds the weight of
        every pixel for this score. Multiplied by the image, pixel by pixel, it shows what each pixel adds to
        the score.

        Such a map is not a heat map: the values of neighbouring pixels often have opposite signs, and only
        their sum counts.""")
    facts = {"top": top, "values": [b.score for b in books], "residual_share": [bias_share(b) for b in books]}
    return Section("The highest scores", text, parts), facts


def explained(g: Guide, place: int, score: int, row: np.ndarray) -> list[PagePicture]:
    """The image, the row of F for one score, and their product."""
    name = g.scores.name(score)
    shown = [
        g.picture(f"image-{place}", g.views.image(), "the image", "the image"),
        g.of_image(f"row-{place}", row, f"the row of F for {name}", "its row of F"),
    ]
    if not g.is_vector(g.x.image):
        added = g.summed(row * g.x.image)
        drawn = map_of(added, "added to the score", signed=True)
        caption = f"row × image: what each pixel adds, {added.sum():+.3g} in all"
        shown.append(chart(f"paid-{place}", drawn, f"what each pixel adds to {name}", caption, wide=False))
    return shown


def bias_share(b: Ledger) -> float:
    """|biases| / (|biases| + |image|)."""
    return abs(b.residual) / max(abs(b.residual) + abs(b.input), 1e-300)


def by_layer(g: Guide, score: int | None = None) -> SectionAndFigures:
    """The ledger of a score, or of the highest, as a chart."""
    score = g.scores.index(None) if score is None else score
    what = f"the answer to {g.asked[score].text}" if g.asked else f"the highest score, {g.scores.name(score)}"
    (book,) = ledgers(g.x, [score])
    entries = {"the image": book.input, **largest(book.layers)}
    text = paragraphs(f"""
        The ledger splits {what} = {book.score:.4g} into contributions:
        that of the image, through all of F, and those of the biases of each layer, through all layers after
        it. They add up to the score, except for {book.remainder:.1e} due to rounding.""")
    alt = "; ".join(f"{name} {value:+.3g}" for name, value in entries.items())
    shown = chart("ledger", bars(list(entries), list(entries.values()), "contribution to the score"), alt)
    return Section("The ledger: contributions by layer", text, [Row([shown])]), {
        "score": score,
        "value": book.score,
        "input": book.input,
        "layers": book.layers,
        "remainder": book.remainder,
    }


def largest(layers: dict[str, float]) -> dict[str, float]:
    """The contributions that are not 0, in order. The smallest of more than MOST_LAYERS are added up."""
    nonzero = {name: value for name, value in layers.items() if value}
    if len(nonzero) <= MOST_LAYERS:
        return nonzero
    kept = set(sorted(nonzero, key=lambda name: -abs(nonzero[name]))[: MOST_LAYERS - 1])
    rest = sum(value for name, value in nonzero.items() if name not in kept)
    return {
        **{name: value for name, value in nonzero.items() if name in kept},
        f"{len(nonzero) - len(kept)} other layers": rest,
    }
