"""ScatterElements and ScatterND: elements of `data`, and of `updates` at the places that indices name.

Both are linear once the base has decided two gains: how much of every element of `data` is kept, and how much
of every update counts. The result is kept·data + Σ counted·update, the sum being over the updates of an
element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import filled, numbered, refusal, with_fixed

# the operators that read where these write
GATHERS = {"ScatterElements": "GatherElements", "ScatterND": "GatherND"}
Gains = tuple[Tensor, Tensor]  # of data and of updates


def options(n: Site) -> dict[str, Any]:
    """The attributes, but for the reduction."""
    return {name: value for name, value in n.node.attrs.items() if name != "reduction"}


def targets_of(f: Freezer, n: Site) -> Tensor:
    """The flat index in data that every update goes to."""
    return f.b.op(GATHERS[n.node.op], numbered(f, n.pair(0).shape), n.x0(1), **options(n))


def scattered(f: Freezer, n: Site, values: Tensor, onto: Tensor, reduction: str) -> Tensor:
    """The operator itself with other data (`onto`) and other updates, which are broadcast to its sizes."""
    onto, values = (f.b.Expand(v, list(n.pair(i).shape)) for v, i in ((onto, 0), (values, 2)))
    return f.b.op(n.node.op, onto, n.x0(1), values, **options(n), reduction=reduction)


def at_targets(f: Freezer, x: Tensor, targets: Tensor) -> Tensor:
    """For every update the element of x that it goes to."""
    return f.b.Gather(f.b.Reshape(x, [-1]), targets)


def as_gain(f: Freezer, condition: Tensor) -> Tensor:
    """1 where the condition holds, 0 elsewhere."""
    return f.b.Where(condition, f.b.constant(np.float32(1)), f.b.constant(np.float32(0)))


def all_of_both(f: Freezer, n: Site, targets: Tensor) -> Gains:
    """For a sum: 1 and 1."""
    return filled(f, 1, n.pair(0).shape), f.b.constant(np.float32(1))


def last_update(f: Freezer, n: Site, targets: Tensor) -> Gains:
    """Data where no update goes; of several updates of one element the last counts."""
    # when the updates' numbers are scattered, the number of the last one stays
    number = numbered(f, n.pair(2).shape)
    last = scattered(f, n, number, f.b.constant(np.int64(-1)), "none")
    untouched = as_gain(f, f.b.Less(last, np.int64(0)))
    return untouched, as_gain(f, f.b.Equal(at_targets(f, last, targets), number))


def extreme_element(f: Freezer, n: Site, targets: Tensor) -> Gains:
    """Whatever equals the base's result: data if it does, else equal shares of all updates that do."""
    b, y0 = f.b, f.float(n.y0)
    kept = as_gain(f, b.Equal(f.float(n.x0(0)), y0))
    equal = b.Equal(f.float(n.x0(2)), at_targets(f, y0, targets))
    wins = as_gain(f, b.And(equal, b.Equal(at_targets(f, kept, targets), 0.0)))
    winners = at_targets(f, scattered(f, n, wins, b.constant(np.float32(0)), "add"), targets)
    return kept, b.Div(wins, b.Max(winners, b.constant(np.float32(1))))


GAINS: dict[str, Callable[[Freezer, Site, Tensor], Gains]] = {
    "none": last_update,
    "add": all_of_both,
    "max": extreme_element,
    "min": extreme_element,
}


def scatter(f: Freezer, n: Site) -> Frozen:
    """Elements of data, and of updates where the base's indices put them; or the sum or largest of both."""
    reduction = n.attr("reduction")
    if reduction == "mul" and not n.active(2):  # the product of an element's updates is its gain
        product = scattered(f, n, f.float(n.x0(2)), f.b.constant(np.float32(1)), "mul")
        return f.gain(n.carried(0), product)
    if reduction not in GAINS:
        raise refusal(n, f"reduction '{reduction}' has no linear rule")
    targets = targets_of(f, n)
    kept, counted = GAINS[reduction](f, n, targets)
    terms, fixed = [], []
    if n.active(0):
        terms.append(f.gain(n.carried(0), kept))
    else:
        fixed.append(f.b.Mul(f.float(n.x0(0)), kept))
    if n.active(2):
        updates = f.expand(f.gain(n.carried(2), counted), n.pair(2).shape)
        terms.append(f.scatter_add(updates, targets, n.pair(0).shape))
    else:
        updates0 = f.b.Mul(f.float(n.x0(2)), counted)
        fixed.append(scattered(f, n, updates0, f.b.constant(np.float32(0)), "add"))
    return with_fixed(f, f.add(*terms), fixed)


SCATTER: dict[str, Entry] = {"ScatterElements": ("linear", scatter), "ScatterND": ("linear", scatter)}
