"""What stands at the head and at the foot of the page."""

from __future__ import annotations

from typing import Any

from onnxscope.show.page import Table
from onnxscope.show.tour.guide import LARGER, SAME, SCORES, Guide, paragraphs, percent, times


def summary(g: Guide, facts: dict[str, Any]) -> list[str]:
    given, made = g.sizes
    image, output = times(*g.x.image.shape), times(*g.x.output.shape)
    kinds = {
        SCORES: f"gives {g.x.output.size:,} number{'s' if g.x.output.size > 1 else ''} for an image of {image}",
        LARGER: f"makes an image of {times(*made)} out of one of {times(*given)} pixels" if made else "",
        SAME: f"makes an image of the same size, {times(*given)} pixels, out of an image" if made else "",
    }
    what = kinds.get(g.kind) or f"makes {output} out of {image}"
    holds = (
        "All of it is proved with numbers, at the end."
        if facts["proofs"]["ok"]
        else "Not all claims hold: see the proofs at the end."
    )
    left_out = " ".join(f"Missing here: {name} ({why})." for name, why in facts["missing"].items())
    residual = ""
    if "parts" in facts:
        residual = f"The residual r has {percent(facts['parts']['residual'])} of the output's size. "
    return paragraphs(f"""
        This network {what}. For one image, {facts["file"]}, its decisions (which Relu is open, which pixel a MaxPool picks) were frozen.
        What remains is exactly linear, y = F·x + r, and this page looks at it: F has {g.x.output.size:,} rows and {g.x.image.size:,}
        columns.

        {residual}{holds}

        {left_out}""")


def table_of(facts: dict[str, Any]) -> Table:
    """At the foot of the page: what it takes to judge and to repeat it."""
    shown = (
        "model",
        "model_sha256",
        "file",
        "file_sha256",
        "image",
        "output",
        "sizes",
        "preprocessing",
        "policy",
        "device",
        "precision",
        "onnxscope",
        "seconds",
        "notes",
    )
    rows = [
        [name.replace("_", " "), text(facts[name])]
        for name in shown
        if facts.get(name) not in (None, "", [], {})
    ]
    return Table(["", ""], rows, "What this page depends on")


def text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(v)}" for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return (
            "×".join(map(str, value))
            if all(isinstance(v, int) for v in value)
            else "; ".join(map(str, value))
        )
    return str(value)
