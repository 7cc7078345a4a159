"""Whether the rewritten model is the model: the proofs of `verify`, and whether ledgers are complete."""

from __future__ import annotations

import numpy as np

from onnxscope.audit.measures.value import LOWER, Asked, Measure, Value, value
from onnxscope.audit.opened import Seen
from onnxscope.run.claims import FIGURE, NOISE, NOT_JUDGED
from onnxscope.run.verify import noise_floor, verify_scope


def proofs(seen: Seen, asked: Asked) -> list[Value]:
    scope = seen.opened.scope
    report = verify_scope(scope, image=dict(seen.x.map.fed), seed=seen.audited.seed)
    return [
        Value(
            None if c.outcome == NOT_JUDGED or not c.bound or c.figure is None else c.figure / c.bound,
            part=c.name,
            note=c.note
            or (f"{c.figure:.2g} of at most {c.bound:.2g}" if c.figure is not None and c.bound else ""),
        )
        for c in report.checks
    ]


def completeness(seen: Seen, asked: Asked) -> list[Value]:
    book, row = seen.ledger(asked.question)
    sizes = np.abs([book.score, *book.layers.values()])  # ⟨row, x0⟩ is as exact as the sizes of both allow
    scale = max(float(sizes.max()), float(np.linalg.norm(row) * np.linalg.norm(seen.x.image)), 1e-30)
    figure, bound = abs(book.remainder) / scale, FIGURE
    if figure > bound:  # in types that are coarser than float32 rounding leaves more
        bound = max(bound, NOISE * noise_floor(seen.opened.scope, seen.x.map.fed))
    about = f"{book.name or 'the value'} is {book.score:.4g}, the remainder {book.remainder:.2g}"
    return value(figure / bound, note=about)


PROOFS = {
    "proofs": Measure(
        "Each proof of `verify` for the picture, as its figure divided by its bound: above 1 it falls short.",
        proofs,
        LOWER,
        hold=1.0,
        most=1.0,
    ),
    "ledger-completeness": Measure(
        "|value − the image's part − all layers' parts| of a ledger, divided by what rounding may leave.",
        completeness,
        LOWER,
        needs=frozenset({"question"}),
        hold=1.0,
        most=1.0,
    ),
}
