"""The summary at the head of the page, and the table at its foot."""

from __future__ import annotations

from typing import Any

from onnxscope.ask import tasks
from onnxscope.ask.presets import line_of
from onnxscope.show.page import Table
from onnxscope.show.tour.guide import LARGER, SAME, SCORES, Guide, paragraphs, percent, times

ABOUT = {  # the facts that the foot of the page states, and what it calls them
    "model": "model",
    "model_sha256": "SHA-256 of the model",
    "file": "image file",
    "file_sha256": "SHA-256 of the file",
    "image": "image tensor",
    "output": "output tensor",
    "sizes": "sizes of the inputs",
    "preprocessing": "preprocessing",
    "policy": "policy",
    "device": "device",
    "precision": "precision",
    "onnxscope": "version of onnxscope",
    "seconds": "seconds",
    "notes": "notes",
}


def summary(g: Guide, facts: dict[str, Any]) -> list[str]:
    """What the network does, what the page shows of it, and whether all of it is proved."""
    what = what_it_does(g)
    holds = (
        "All claims behind this page were tested and hold: see the proofs at the end."
        if facts["proofs"]["ok"]
        else "Not all claims hold: see the proofs at the end."
    )
    left_out = " ".join(f"Missing here: {name} ({why})." for name, why in facts["missing"].items())
    if late := [name for name in facts["no_time_for"] if name != "proofs"]:
        left_out += f" There was no time left for {', '.join(late)}: --seconds gives more."
    preset = f"Preprocessing of pictures: {line_of(facts['preset'])}." if "preset" in facts else ""
    answered = "; ".join(
        f"{a['question']} ({a['asked']}) is {a['value']:.4g}"
        for a in facts.get("answers", {}).get("answers", [])
    )
    answered = f"Asked here: {answered}." if answered else ""
    residual = ""
    if "parts" in facts:
        residual = f"For this image the norm of r is {percent(facts['parts']['residual'])} of the output's. "
    return paragraphs(f"""
        This network {what}. Its decisions (such as which Relu is open, or which pixel a MaxPool picks) were
        frozen for one image, {facts["file"]}. What remains is exactly an affine map, y = F·x + r: a matrix F
        with {g.x.output.size:,} rows and {g.x.image.size:,} columns, and a residual r that comes from the
        biases. This page shows both.

        {preset}

        {answered}

        {residual}{holds}

        {left_out}""")


def what_it_does(g: Guide) -> str:
    """What the network does, as its task or the size of its output has it."""
    given, made = g.sizes
    image, output = times(*g.x.image.shape), times(*g.x.output.shape)
    number = f"{g.x.output.size:,} number{'s' if g.x.output.size > 1 else ''}"
    kinds = {
        SCORES: f"computes {number} from an image of shape {image}",
        LARGER: f"computes an image of {times(*made)} pixels from one of {times(*given)}" if made else "",
        SAME: f"computes an image of the same size, {times(*given)} pixels, from an image" if made else "",
    }
    by_task = {
        tasks.BOXES: f"finds boxes in an image of shape {image}",
        tasks.CLASS_MAP: f"gives each place of an image of shape {image} a class",
        tasks.TEXT: f"reads the text in an image of shape {image}",
        tasks.POINTS: f"places landmarks on an image of shape {image}",
        tasks.EMBEDDING: f"describes an image of shape {image} by {number}, its embedding",
    }
    other = f"computes an output of shape {output} from an image of shape {image}"
    return by_task.get(g.task) or kinds.get(g.kind) or other


def table_of(facts: dict[str, Any]) -> Table:
    """The table at the foot of the page: all that the results depend on."""
    rows = [
        [label, as_text(facts[name])]
        for name, label in ABOUT.items()
        if facts.get(name) not in (None, "", [], {})
    ]
    return Table(["", ""], rows, "What the results on this page depend on")


def as_text(value: Any) -> str:
    """A value of tour.json as a cell of a table."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {as_text(v)}" for key, v in value.items())
    if isinstance(value, (list, tuple)):
        return (
            "×".join(map(str, value))
            if all(isinstance(v, int) for v in value)
            else "; ".join(map(str, value))
        )
    return str(value)
