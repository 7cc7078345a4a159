"""A figure or a table of a paper, repeated with one of our own networks, as a section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnxscope
from onnxscope import OpenModel

MODELS = Path(__file__).parents[1] / "models"


class Absent(Exception):
    """A model that is needed is not in models/."""


@cache
def opened(name: str, *size: int) -> OpenModel:
    """One of our models, opened. If its image size is free, the height and width are given."""
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        raise Absent(f"{path.parent.name}/{path.name}")
    return onnxscope.load(path, input_shapes={"image": (1, 3, *size)} if size else {})


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, how it is tested on our networks, what is found, and which cases agree."""

    paper: str
    asked: str  # the test
    found: str
    agrees: Sequence[bool]

    @property
    def verdict(self) -> str:
        if all(self.agrees):
            return "as in the paper"
        return f"in {sum(self.agrees)} of {len(self.agrees)} cases" if any(self.agrees) else "not reproduced"


@dataclass(frozen=True)
class Finding:
    """A section of the report."""

    title: str
    text: str
    claims: Sequence[Claim]
    pictures: Mapping[str, bytes]  # PNG files by name
    rows: Sequence[Sequence[str]] = ()  # of a table, its head first

    def markdown(self, command: str) -> str:
        judged = [
            ["the paper says", "asked here", "found", "verdict"],
            *([c.paper, c.asked, c.found, c.verdict] for c in self.claims),
        ]
        pictures = "\n\n".join(f"![{self.title}]({name})" for name in self.pictures)
        parts = (
            f"## {self.title}",
            f"`{command}`",
            " ".join(self.text.split()),
            table(self.rows),
            table(judged),
            pictures,
        )
        return "\n\n".join(filter(None, parts)) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]) if lines else ""


def each(values: Mapping[str, float], form: str = ".2f") -> str:
    """`name 1.00, other 2.00`."""
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())
