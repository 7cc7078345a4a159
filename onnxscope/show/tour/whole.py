"""The first stops: the proofs, and the image in its two parts, F·x0 and r."""

from __future__ import annotations

import numpy as np

from onnxscope.run.verify import Report
from onnxscope.show.page import Row, Section, Table
from onnxscope.show.tour.guide import Guide, Stop, paragraphs, percent, share

CANCELLING = 1.5  # the sum of both shares from which they are said to


def proofs(report: Report) -> Stop:
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
    head = ["claim", "off by", "bound", "", "note"][: len(rows[0])]
    text = paragraphs("""
        The graph was rewritten: beside the network runs a copy of it whose decisions are frozen at this image, and its transpose. Before
        anything was read from them, these claims were put to the test, on the image or on random numbers; a figure is the largest
        difference found, relative to the values compared.""")
    facts = {
        c.name: {
            "figure": c.figure if np.isfinite(c.figure or 0) else None,
            "bound": c.bound,
            "ok": c.ok,
            "note": c.note,
        }
        for c in report.checks
    }
    return Section("The proofs", text, [Table(head, rows)]), {"ok": report.ok, "checks": facts}


def parts(g: Guide) -> Stop:
    """Input, output, and what the output is made of."""
    residual = g.x.residual()
    carried = g.x.output - residual
    of_residual, of_carried = share(residual, g.x.output), share(carried, g.x.output)
    cancel = " They partly cancel." if of_residual + of_carried > CANCELLING else ""
    text = paragraphs(f"""
        With every decision frozen the network is y = F·x + r exactly. F·x0 is what it makes of the image's own values; the residual r is
        what its biases alone add, carried through the same decisions.

        Here the residual has {percent(of_residual)} of the output's size, and F·x0 {percent(of_carried)}.{cancel}""")
    given = g.shown("input", g.views.image(), "the image that the network was given", "input x0")
    if g.flat(g.x.output):
        said = "the output beside its two parts, element by element"
        rows = [
            Row(
                [
                    given,
                    g.vectors(
                        "output", {"output y0": g.x.output, "F·x0": carried, "residual r": residual}, said
                    ),
                ]
            )
        ]
    else:
        made = g.views.natural(g.x.output, "output y0 = F·x0 + r"), g.views.natural(carried, "F·x0")
        rows = [
            Row(
                [
                    given,
                    g.shown("output", made[0], "what the network makes of the image"),
                    g.of_output(
                        "residual", residual, "what the biases alone add to the output", "residual r"
                    ),
                    g.shown("carried", made[1], "what the network makes of the image's own values"),
                ]
            )
        ]
    return Section("What goes in, what comes out", text, rows), {
        "residual": of_residual,
        "carried": of_carried,
    }
