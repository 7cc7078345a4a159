"""The section that answers questions: which pixels and which biases make the values that are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxscope.ask.interpreter import score_rows
from onnxscope.ask.ledger import ledgers
from onnxscope.files import pictures as pictures_of_files
from onnxscope.show import outlines
from onnxscope.show.colours import coloured, laid_over, shown
from onnxscope.show.page import PagePicture, Row, Section, Table
from onnxscope.show.tour.found import class_name
from onnxscope.show.tour.guide import Guide, SectionAndFigures, chart, paragraphs, percent
from onnxscope.show.tour.scores import bias_share

METHOD = "lrp-composite"  # whose maps are laid over the picture


def answers(g: Guide) -> SectionAndFigures:
    """Each question with its value, the contributions of the image and of the biases, and where they are."""
    a = g.answer
    every = range(len(a.asked))
    books, rows = ledgers(a.x, every), score_rows(a.x, every)
    table = Table(
        ["question", "value", "image", "biases", "share of biases"],
        [
            [q.text, *(f"{v:.4g}" for v in (b.score, b.input, b.residual)), percent(bias_share(b))]
            for q, b in zip(a.asked, books, strict=True)
        ],
        "Image: ⟨row of F, x0⟩. Biases: what all layers add. Share: |biases| / (|biases| + |image|).",
    )
    maps = a.explainer.maps(METHOD, a.x.image, every) if g.sizes[0] and a.x.takes_image else None
    parts: list[Row | Table] = [table]
    for k, q in enumerate(a.asked):
        over = None if maps is None else maps[k]
        parts.append(
            Row(pictures(g, k, rows[k] * a.x.image, over), f"{q.text}: {q.words}, {books[k].score:.4g}")
        )
    text = paragraphs(f"""
        What is asked for is a number that the network gives: one row of F multiplied by the image, plus what
        the biases add. The picture of row × image shows what each pixel adds to it; neighbouring pixels often
        have opposite signs, and only their sum counts. On the right the map of the method {METHOD} lies over
        the picture: red supports the value, blue lowers it.

        {a.note[:1].upper()}{a.note[1:]}{"." if a.note else ""}""")
    facts = [
        {"question": q.text, "asked": q.words, "value": b.score, "image": b.input, "biases": b.residual}
        for q, b in zip(a.asked, books, strict=True)
    ]
    return Section("Answers", text, parts), {"answers": facts, "note": a.note}


def pictures(g: Guide, k: int, added: np.ndarray, over: np.ndarray | None) -> list[PagePicture]:
    """The place that a question is about, what each pixel adds, and a map laid over the picture."""
    name = g.answer.asked[k].text
    first = [place_of(g, k, name)]
    if name.startswith("same:") and g.sizes[0]:
        first.append(other_image(g, k, name.removeprefix("same:")))
    if not g.sizes[0]:
        return [*first, g.of_image(f"added-{k + 1}", added, f"what each element adds to {name}")]
    total = g.summed(added)
    caption = f"row × image: what each pixel adds, {total.sum():+.3g} in all"
    found = [*first, g.picture(f"added-{k + 1}", coloured(total, caption), f"what each pixel adds to {name}")]
    if over is not None:
        drawn = laid_over(g.views.image(), over, f"{METHOD}, laid over the picture")
        found.append(g.picture(f"over-{k + 1}", drawn, f"what {METHOD} shows for {name}"))
    return found


def other_image(g: Guide, k: int, file: str) -> PagePicture:
    """The image that the network's image is compared with."""
    values = pictures_of_files.read(Path(file), g.x.image.shape, g.views.preprocess)
    return g.picture(f"other-{k + 1}", g.views.natural(values, Path(file).name), "the image to compare with")


def place_of(g: Guide, k: int, name: str) -> PagePicture:
    """The image, with the box that a question is about."""
    number = name.partition(":")[2].partition("/")[0]
    if not name.startswith("box:") or not number.isdecimal() or g.reader is None:
        return g.picture(f"asked-{k + 1}", g.views.image(), "the image", "the image")
    box = g.reader.boxes[int(number) - 1]
    drawn = outlines.boxes_on(shown(g.views.image()), [box.edges], [class_name(g.reader, box.label)])
    return chart(f"asked-{k + 1}", drawn, f"box {number}", f"box {number}", wide=False)
