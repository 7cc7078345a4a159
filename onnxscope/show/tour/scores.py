"""The stops of a network that gives scores: the highest ones, what each pixel adds to them, and the ledger by layer."""

from __future__ import annotations

import numpy as np

from onnxscope.ask.interpreter import impulses
from onnxscope.ask.ledger import Ledger, ledgers
from onnxscope.show.charts import bars, map_of
from onnxscope.show.page import Row, Section, Shown, Table
from onnxscope.show.tour.guide import Guide, Stop, chart, paragraphs, percent

TOP, EXPLAINED = 5, 2  # scores in the table, and with pictures
MOST_LAYERS = 40  # that a chart holds; the smallest of more are taken together


def highest(g: Guide) -> Stop:
    """The highest scores, and what the image and the biases paid for each."""
    top = g.scores.highest(TOP)
    books = ledgers(g.x, top)
    table = Table(
        ["score", "value", "⟨row of F, x0⟩", "biases", "biases' share", "remainder"],
        [
            [
                g.scores.name(k),
                *(f"{v:.4g}" for v in (b.score, b.input, b.residual)),
                percent(bias_share(b)),
                f"{b.remainder:.1e}",
            ]
            for k, b in zip(top, books, strict=True)
        ],
        "Share: |biases| / (|biases| + |image|). Remainder: what rounding leaves unaccounted for.",
    )
    rows = np.asarray(g.x.map.transpose(impulses(g.x.map.outputs, top[:EXPLAINED]))).reshape(
        -1, *g.x.image.shape
    )
    parts: list[Row | Table] = [table]
    for place, (score, row) in enumerate(zip(top, rows, strict=False), 1):
        parts.append(Row(explained(g, place, score, row), f"{place}. {g.scores.name(score)}"))
    text = paragraphs("""
        A score is one row of F times the image, plus what the biases add. The row is the template by which this score looks at this image;
        multiplied with the image, pixel by pixel, it tells what each pixel adds to the score.

        Such maps are no heat maps: neighbouring pixels argue against each other, and their sum is what counts.""")
    facts = {"top": top, "values": [b.score for b in books], "residual_share": [bias_share(b) for b in books]}
    return Section("The scores", text, parts), facts


def explained(g: Guide, place: int, score: int, row: np.ndarray) -> list[Shown]:
    shown = [g.of_image(f"row-{place}", row, f"the row of F for {g.scores.name(score)}", "its row of F")]
    if not g.flat(g.x.image):
        paid = g.summed(row * g.x.image)
        drawn = map_of(paid, "added to the score", signed=True)
        shown.append(
            chart(
                f"paid-{place}",
                drawn,
                f"what each pixel adds to {g.scores.name(score)}",
                f"row × image: {paid.sum():+.3g} in all",
                wide=False,
            )
        )
    return [g.shown(f"image-{place}", g.views.image(), "the image", "the image"), *shown]


def bias_share(b: Ledger) -> float:
    return abs(b.residual) / max(abs(b.residual) + abs(b.input), 1e-300)


def by_layer(g: Guide) -> Stop:
    """The ledger of the highest score."""
    score = g.scores.index(None)
    (book,) = ledgers(g.x, [score])
    entries = {"the image": book.input, **gathered(book.layers)}
    text = paragraphs(f"""
        Which layer paid for the highest score, {g.scores.name(score)} = {book.score:.4g}: the image through all of F, and every layer's
        biases through what follows them. The sum is the score to rounding: {book.remainder:.1e} is left.""")
    alt = "; ".join(f"{name} {value:+.3g}" for name, value in entries.items())
    shown = chart("ledger", bars(list(entries), list(entries.values()), "contribution to the score"), alt)
    return Section("The ledger", text, [Row([shown])]), {
        "score": score,
        "value": book.score,
        "input": book.input,
        "layers": book.layers,
        "remainder": book.remainder,
    }


def gathered(layers: dict[str, float]) -> dict[str, float]:
    """The layers in their order; of too many the smallest as one entry."""
    paid = {name: value for name, value in layers.items() if value}
    if len(paid) <= MOST_LAYERS:
        return paid
    kept = set(sorted(paid, key=lambda name: -abs(paid[name]))[: MOST_LAYERS - 1])
    rest = sum(value for name, value in paid.items() if name not in kept)
    return {
        **{name: value for name, value in paid.items() if name in kept},
        f"{len(paid) - len(kept)} other layers": rest,
    }
