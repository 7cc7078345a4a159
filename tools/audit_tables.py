"""The generated tables of the page about audits: the keys of a policy, from its schema, and the measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxscope.audit.measures.table import MEASURES, TABLES
from onnxscope.audit.measures.value import MODEL, PICTURE, SET, Measure
from onnxscope.audit.schema import POLICY

KINDS = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "object": "mapping",
}
TITLES = (
    "Proofs",
    "Right answers, and other versions of the model",
    "The linear map",
    "Explanations",
    "The model, what it sees, and its time",
)
OF = {PICTURE: "", MODEL: " (of the file)", SET: " (of the whole set)"}


def keys() -> str:
    """The table of a policy's keys."""
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for name, kind, meaning in rows(POLICY, ""):
        lines.append(f"| `{name}` | {kind} | {escaped(meaning)} |")
    return "\n".join(lines)


def rows(schema: Mapping[str, Any], above: str) -> Iterator[tuple[str, str, str]]:
    """Each key with its place, the kind of its value, and what it means."""
    for key, inside in schema["properties"].items():
        name = f"{above}{key}"
        needed = ", required" if key in schema["required"] else ""
        yield name, kind_of(inside) + needed, inside["description"]
        others = inside.get("additionalProperties")
        if inside.get("properties"):
            yield from rows(inside, f"{name}.")
        elif others and others.get("properties"):
            yield from rows(others, f"{name}.NAME.")


def kind_of(schema: Mapping[str, Any]) -> str:
    """What may stand as the value of a key."""
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {choices(schema['items']) or KINDS[schema['items']['type']] + 's'}"
    few = schema.get("enum", ())
    return (choices(schema) if 0 < len(few) <= len(KINDS) else "") or KINDS[kind]


def choices(schema: Mapping[str, Any]) -> str:
    return ", ".join(f"`{choice}`" for choice in schema.get("enum", ()))


def measures() -> str:
    """The tables of all measures, one for each kind."""
    parts = [f"{len(MEASURES)} measures:"]
    for title, table in zip(TITLES, TABLES, strict=True):
        parts += [f"### {title}", measures_of(table)]
    return "\n\n".join(parts)


def measures_of(table: Mapping[str, Measure]) -> str:
    lines = [
        "| measure | what it is | better | needs | settings | bound if none is given |",
        "|---|---|---|---|---|---|",
    ]
    for name, measure in table.items():
        settings = "; ".join(f"`{key}`: {meaning}" for key, meaning in measure.settings.items())
        cells = (
            f"`{name}`",
            escaped(measure.doc.removesuffix(".") + OF[measure.per]),
            measure.better,
            ", ".join(needs_of(measure)),
            escaped(settings),
            bound_of(measure),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def needs_of(measure: Measure) -> Sequence[str]:
    """What a measure needs of the policy, the network and the pictures; a question may be left out."""
    return sorted(measure.needs - {"question"})


def bound_of(measure: Measure) -> str:
    """The bound that holds where a policy names none."""
    sides = [("at least", measure.least), ("at most", measure.most)]
    text = " and ".join(f"{word} {value:g}" for word, value in sides if value is not None)
    return f"{text}, for every picture" if text and measure.hold == 1 else text


def escaped(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
