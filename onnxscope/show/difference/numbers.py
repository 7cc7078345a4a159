"""The section of a comparison's main figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxscope.ask import tasks
from onnxscope.show.difference.seen import DISTANCE, Seen
from onnxscope.show.page import Section, Table
from onnxscope.show.tour.guide import paragraphs, percent

F_AND_R = (
    "F and r are the two parts of what a network computes for an image x0, y = F·x0 + r: F holds the weights "
    "that the image meets, and r what the biases add. Their parts of the difference often cancel."
)


def numbers(seen: Seen) -> Section:
    """Same or not, the difference beside its noise, other decisions, and the parts of F and of r."""
    text = paragraphs("""
        The two are the same if all outputs agree within noise, which is what the runtime's own optimisations
        change.""")
    rows = [*values(seen), *decisions(seen), *parts(seen)]
    brackets = " In brackets: where the mean lies in 95 of 100 cases (bootstrap)." if seen.many else ""
    return Section("In numbers", text, [Table(["", ""], rows, F_AND_R + brackets)])


def values(seen: Seen) -> list[list[str]]:
    """The value in A and in B, and the difference beside its noise."""
    facts = seen.facts
    rows = [["the same within noise", "yes" if facts["same"] else "no"]]
    if facts["question"] == DISTANCE:
        rows.append([facts["asked"], f"{facts['difference']:.4g}"])
    else:
        rows.append([f"{seen.value} in A", f"{facts['value_a']:.6g}"])
        rows.append([f"{seen.value} in B", f"{facts['value_b']:.6g}"])
        rows.append(["difference, B − A", f"{facts['difference']:+.4g}"])
    times = abs(facts["difference"]) / facts["noise"] if facts["noise"] else 0.0
    return [*rows, ["noise", f"{facts['noise']:.2g}"], ["difference / noise", f"{times:.3g}"]]


def decisions(seen: Seen) -> list[list[str]]:
    """The classes that are other ones, and how far the probabilities are from each other."""
    changed, divergence = seen.facts["changed"], seen.facts["divergence"]
    rows = []
    if changed is not None:
        one = not seen.many and seen.facts["task"] == tasks.SCORES
        rows.append(["the highest score" if one else "classes that change", classes(seen, changed)])
    if divergence is not None:
        between = f" ({divergence['low']:.2g} to {divergence['high']:.2g})" if seen.many else ""
        rows.append(["Kullback–Leibler divergence, A to B", f"{divergence['mean']:.2g}{between}"])
    return rows


def classes(seen: Seen, changed: Mapping[str, float]) -> str:
    """The share of other classes, with its interval where there are many images."""
    if seen.many:
        return f"{percent(changed['mean'])} ({percent(changed['low'])} to {percent(changed['high'])})"
    if seen.facts["task"] == tasks.CLASS_MAP:
        return f"{percent(changed['mean'])} of the places"
    return "another one in B" if changed["mean"] else "the same one"


def parts(seen: Seen) -> list[list[str]]:
    """What F, r and rounding make of the difference, and the first layer that differs."""
    facts: Mapping[str, Any] = seen.facts
    rows = [
        ["part of the difference made by F", f"{facts['in_filter']:+.3g}"],
        ["part made by r", f"{facts['in_residual']:+.3g}"],
        ["part that no layer accounts for", f"{facts['remainder']:+.1e}"],
    ]
    if first := facts["first_wrong"]:
        rows.append(["first layer that differs", f"{first['a'] or first['b']} ({first['kind']})"])
    return rows
