"""Control flow is written out as it runs, by constants or by the decisions of one image.

Sequences live only while that happens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxscope.errors import DECIDE, Undecided, Unsupported
from onnxscope.graph.tensors import Tensor, is_known, shape_of
from onnxscope.normalise.families import first, ints
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Items, Source, Value, known_number, origin

ITERATIONS = 1024  # of one Loop or Scan
ROUNDS = 1 << 14  # of all of them: bodies in bodies multiply


def if_(w: Normaliser, n: Source) -> list[Value | None]:
    """The branch that a constant condition takes."""
    if not is_known(n[0]):
        raise Undecided(
            f"its condition depends on {origin(n[0])}, so which branch runs cannot be fixed",
            where=n.where,
            remedy=DECIDE,
        )
    return w.inside(n, n.attrs["then_branch" if known_number(n[0]) else "else_branch"], n.name, {})


def loop(w: Normaliser, n: Source) -> list[Value | None]:
    """Unrolled: the count and every condition have to be constant, or decided by an image."""
    body, values, asked = n.attrs["body"], list(n.inputs[2:]), list[Tensor]()
    count = n.ints(0, "number of rounds")[0] if n.input(0) is not None else ITERATIONS + 1
    conditional, goes_on, k = n.input(1) is not None, n.input(1), 0
    stacked: list[list[Tensor]] = [[] for _ in n.outputs[len(values) :]]
    while k < count and not (conditional and ends(w, n, goes_on, asked)):
        if k == ITERATIONS or (count > ITERATIONS and not conditional):
            raise Unsupported(
                f"it runs more than {ITERATIONS} times",
                where=n.where,
                remedy="export the model without the Loop",
            )
        count_round(w, n)
        given = dict(
            zip(
                (i.name for i in body.input),
                [w.b.constant(np.int64(k)), w.b.constant(np.bool_(True)), *values],
                strict=False,
            )
        )
        goes_on, *results = w.inside(n, body, f"{n.name}/{k}", given)
        values = results[: len(values)]
        for rows, row in zip(stacked, results[len(values) :], strict=True):
            rows.append(w.b.Unsqueeze(row, [0]))
        k += 1
    if asked and w.around.trial is not None:
        conditions = [w.b.Reshape(condition, [1]) for condition in asked]
        w.around.trial.decide(w.b, n, "conditions", w.b.Concat(*conditions, axis=0))
    return [*values, *(joined(w, n, rows, 0) for rows in stacked)]


def count_round(w: Normaliser, n: Source) -> None:
    """Count one round of a Loop or Scan; refuses a model in which they run too often."""
    w.around.rounds.append(n.name)
    if len(w.around.rounds) > ROUNDS:
        raise Unsupported(
            f"the bodies of the model run more than {ROUNDS:,} times in all",
            where=n.where,
            remedy="export the model without loops in loops",
        )


def ends(w: Normaliser, n: Source, goes_on: Any, asked: list[Tensor]) -> bool:
    """Whether a condition of a Loop is false; one that an image decides is added to `asked`."""
    if goes_on is None or is_known(goes_on):
        return known_number(goes_on) is False
    if w.around.trial is None:
        raise Undecided(
            f"its condition depends on {origin(goes_on)}, so how often it runs cannot be fixed",
            where=n.where,
            remedy=DECIDE,
        )
    asked.append(goes_on)
    return not w.around.trial.value(w.b, goes_on).any()


def scan(w: Normaliser, n: Source) -> list[Value | None]:
    """Unrolled along the scanned axes, whose sizes are fixed."""
    if n.opset < 9:
        raise Unsupported(
            "the Scan of opset 8 has a batch of sequences",
            where=n.where,
            remedy="export with opset 9 or newer",
        )
    body, a, scanned = n.attrs["body"], n.attrs, int(n.attrs["num_scan_inputs"])
    states: list[Any] = n.tensors[:-scanned]
    sequences = [n[i] for i in range(len(states), len(n.inputs))]
    results = len(n.outputs) - len(states)
    axes_in, axes_out = a.get("scan_input_axes", [0] * scanned), a.get("scan_output_axes", [0] * results)
    back_in, back_out = (
        a.get("scan_input_directions", [0] * scanned),
        a.get("scan_output_directions", [0] * results),
    )
    length = shape_of(sequences[0])[axes_in[0]]
    if length > ITERATIONS:
        raise Unsupported(
            f"it runs more than {ITERATIONS} times", where=n.where, remedy="export the model without the Scan"
        )
    stacked: list[list[Tensor]] = [[] for _ in range(results)]
    for k in range(length):
        count_round(w, n)
        rows = [
            w.b.Gather(x, np.int64(length - 1 - k if back else k), axis=axis)
            for x, axis, back in zip(sequences, axes_in, back_in, strict=True)
        ]
        found: list[Any] = w.inside(
            n, body, f"{n.name}/{k}", dict(zip((i.name for i in body.input), [*states, *rows], strict=True))
        )
        states = found[: len(states)]
        for rows_out, row, axis in zip(stacked, found[len(states) :], axes_out, strict=True):
            rows_out.append(w.b.Unsqueeze(row, [axis]))
    for rows_out, back in zip(stacked, back_out, strict=True):
        if back:
            rows_out.reverse()
    return [
        *states,
        *(joined(w, n, rows_out, axis) for rows_out, axis in zip(stacked, axes_out, strict=True)),
    ]


def joined(w: Normaliser, n: Source, rows: list[Tensor], axis: int) -> Tensor:
    if not rows:
        raise Unsupported(
            "it never runs, so the shape of what it stacks is unknown",
            where=n.where,
            remedy="export the model without it",
        )
    return w.b.Concat(*rows, axis=axis) if len(rows) > 1 else rows[0]


def items(n: Source) -> Items:
    found = n.value(0)
    if not isinstance(found, Items):
        raise Unsupported(
            "its sequence is not made in the model",
            where=n.where,
            remedy="export the model without sequences",
        )
    return found


def place(n: Source, i: int, sequence: Items, beyond: int = 0) -> int:
    """A position, which may count from the end; the end itself where it is left out."""
    at = n.ints(i, "position")[0] if n.input(i) is not None else len(sequence) - 1 + beyond
    at += len(sequence) if at < 0 else 0
    if not 0 <= at < len(sequence) + beyond:
        raise Unsupported(
            f"position {at} lies outside its sequence of {len(sequence)}",
            where=n.where,
            remedy="export the model again",
        )
    return at


def construct(w: Normaliser, n: Source) -> Items:
    return Items(n[i] for i in range(len(n.inputs)))


def empty(w: Normaliser, n: Source) -> Items:
    return Items()


def at(w: Normaliser, n: Source) -> Tensor:
    return items(n)[place(n, 1, items(n))]


def insert(w: Normaliser, n: Source) -> Items:
    """Input 1 at position 2."""
    where = place(n, 2, items(n), beyond=1)
    return Items((*items(n)[:where], n[1], *items(n)[where:]))


def erase(w: Normaliser, n: Source) -> Items:
    where = place(n, 1, items(n))
    return Items((*items(n)[:where], *items(n)[where + 1 :]))


def length(w: Normaliser, n: Source) -> Tensor:
    return w.b.constant(np.int64(len(items(n))))


def split_to_sequence(w: Normaliser, n: Source) -> Items:
    """In pieces of one size or of these sizes; else in slices of 1, without the axis if keepdims is 0."""
    axis, b = int(n.attrs.get("axis", 0)), w.b
    total = shape_of(n[0])[axis]
    sizes = [1] * total
    if n.input(1) is not None:
        sizes = n.ints(1, "sizes")
        if not shape_of(n[1]):
            sizes = [min(sizes[0], total - k) for k in range(0, total, sizes[0])]
    parts = b.op("Split", n[0], ints(w, sizes), outputs=len(sizes), axis=axis) if len(sizes) > 1 else n[0]
    parts = parts if isinstance(parts, tuple) else (parts,)
    drop = n.input(1) is None and not n.attrs.get("keepdims", 1)
    return Items(b.Squeeze(p, [axis]) if drop else p for p in parts)


def concat_from_sequence(w: Normaliser, n: Source) -> Any:
    axis, parts = int(n.attrs["axis"]), list(items(n))
    if n.attrs.get("new_axis", 0):
        parts = [w.b.Unsqueeze(p, [axis]) for p in parts]
    return w.op(n, "Concat", *parts, axis=axis) if len(parts) > 1 else joined(w, n, parts, axis)


CONTROL: dict[str, Lift] = {
    "ConcatFromSequence": concat_from_sequence,
    "If": if_,
    "Loop": loop,
    "Optional": first,
    "OptionalGetElement": first,
    "Scan": scan,
    "SequenceAt": at,
    "SequenceConstruct": construct,
    "SequenceEmpty": empty,
    "SequenceErase": erase,
    "SequenceInsert": insert,
    "SequenceLength": length,
    "SplitToSequence": split_to_sequence,
}
