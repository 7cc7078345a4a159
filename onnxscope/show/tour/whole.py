"""Two sections: the proofs, and the output with its two parts, F·x0 and r."""

from __future__ import annotations

import numpy as np

from onnxscope.run.claims import Report
from onnxscope.show.page import Row, Section, Table
from onnxscope.show.tour.guide import Guide, SectionAndFigures, paragraphs, percent, relative_norm

CANCELLING = 1.5  # the two parts are said to cancel where their norms add up to more than this share of y0's


def proofs(report: Report) -> SectionAndFigures:
    """Every claim that was tested, with its error and its bound."""
    rows = [
        [
            c.name,
            f"{c.figure:.1e}" if c.figure is not None else "–",
            f"{c.bound:.1e}" if c.bound is not None else "–",
            ("holds" if c.figure is not None else "not judged") if c.ok else "does not hold",
            c.note,
        ]
        for c in report.checks
    ]
    if not any(row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    head = ["claim", "error", "bound", "result", "note"][: len(rows[0])]
    text = paragraphs("""
        The rewritten graph holds the network, a copy of it whose decisions are frozen at this image, and the
        transpose of that copy. Before anything else on this page was computed, the following claims about
        them were tested on the image and on random numbers. Each error is the largest difference that was
        found, relative to the values that were compared; it must not exceed the bound.""")
    facts = {
        c.name: {
            "figure": c.figure if np.isfinite(c.figure or 0) else None,
            "bound": c.bound,
            "ok": c.ok,
            "note": c.note,
        }
        for c in report.checks
    }
    return Section("Proofs", text, [Table(head, rows)]), {"ok": report.ok, "checks": facts}


def input_and_output(g: Guide) -> SectionAndFigures:
    """The image, the output y0, and the two parts whose sum it is."""
    residual = g.x.residual()
    carried = g.x.output - residual
    of_residual, of_carried = relative_norm(residual, g.x.output), relative_norm(carried, g.x.output)
    cancel = " They partly cancel each other." if of_residual + of_carried > CANCELLING else ""
    text = paragraphs(f"""
        With all decisions frozen, the output is exactly y0 = F·x0 + r. The first part, F·x0, depends on the
        values of the pixels. The second part, the residual r, is what the biases of all layers add; they pass
        through the same frozen decisions.

        Here the norm of the residual is {percent(of_residual)} of the output's, and that of F·x0
        {percent(of_carried)}.{cancel}""")
    image = g.picture("input", g.views.image(), "the image that the network was given", "input x0")
    if g.is_vector(g.x.output):
        series = {"output y0": g.x.output, "F·x0": carried, "residual r": residual}
        row = Row([image, g.vectors("output", series, "the output and its two parts, element by element")])
    else:
        whole, part = g.views.natural(g.x.output, "output y0 = F·x0 + r"), g.views.natural(carried, "F·x0")
        row = Row(
            [
                image,
                g.picture("output", whole, "the network's output for this image"),
                g.of_output("residual", residual, "what the biases add to the output", "residual r"),
                g.picture("carried", part, "the part of the output that depends on the pixels' values"),
            ]
        )
    return Section("Input and output", text, [row]), {"residual": of_residual, "carried": of_carried}
