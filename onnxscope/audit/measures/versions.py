"""How the model differs from a baseline, through `diff`, and whether it is right where the truth is known."""

from __future__ import annotations

from onnxscope.api.rows import Row
from onnxscope.audit.measures.value import HIGHER, LOWER, Asked, Measure, Value, none, value
from onnxscope.audit.opened import Seen

OTHER = frozenset({"baseline", "question"})


def accuracy(seen: Seen, asked: Asked) -> list[Value]:
    if not seen.label:
        return none("the picture has no label")
    best, names = int(seen.scores.argmax()), seen.audited.labels
    said = names[best] if best < len(names) else str(best)
    return value(float(seen.label in (said, str(best))), note=f"{seen.label} is seen as {said}")


def flips(seen: Seen, asked: Asked) -> list[Value]:
    row = seen.difference(asked.baseline, asked.question)
    return (
        none("the network takes no decision") if row.changed is None else value(row.changed, layer=cause(row))
    )


def divergence(seen: Seen, asked: Asked) -> list[Value]:
    row = seen.difference(asked.baseline, asked.question)
    return (
        none("there are no probabilities")
        if row.divergence is None
        else value(row.divergence, layer=cause(row))
    )


def difference(seen: Seen, asked: Asked) -> list[Value]:
    row = seen.difference(asked.baseline, asked.question)
    return value(abs(row.value_b - row.value_a), layer=cause(row), note=row.asked)


def wrong_layer(seen: Seen, asked: Asked) -> list[Value]:
    row = seen.difference(asked.baseline, asked.question)
    kind = str(row.first_wrong["kind"]) if row.first_wrong else ""
    return value(float(row.first_wrong is not None), layer=cause(row) if kind else "", note=kind)


def cause(row: Row) -> str:
    """The first layer that computes something else, or else the one that adds most to the difference."""
    if row.first_wrong:
        return str(row.first_wrong.get("b") or row.first_wrong.get("a") or "")
    largest = max(row.shares, key=lambda s: abs(s.contribution), default=None)
    return "" if largest is None else str(largest.b or largest.a or "")


VERSIONS = {
    "accuracy": Measure(
        "1 where the highest score is that of the true class, else 0.",
        accuracy,
        HIGHER,
        needs=frozenset({"labels", "scores"}),
    ),
    "flips": Measure("The share of decisions that differ from the baseline's.", flips, LOWER, needs=OTHER),
    "divergence": Measure(
        "Kullback–Leibler divergence of the probabilities from the baseline's.",
        divergence,
        LOWER,
        needs=OTHER,
    ),
    "difference": Measure(
        "|value − the baseline's value|, for the value that is asked for.", difference, LOWER, needs=OTHER
    ),
    "wrong-layer": Measure(
        "1 where a layer computes something else than the baseline's, beyond rounding, else 0.",
        wrong_layer,
        LOWER,
        needs=OTHER,
        hold=1.0,
        most=0.0,
    ),
}
