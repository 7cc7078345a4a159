"""What a comparison of two exports found, on one image or on many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxscope.api.difference_page import Origin
from onnxscope.api.linear_difference import LinearDifference
from onnxscope.ask.presets import Preset
from onnxscope.ask.tasks import SCORES
from onnxscope.files.models import check_target
from onnxscope.files.results import Cells, Result, save_bytes, short
from onnxscope.files.tables import TABLES, write_table
from onnxscope.pairing.shares import Share
from onnxscope.show.difference.exports import node_data, table

HEAD = ("A", "B", "contribution", "kinds", "flips", "error")


@dataclass(frozen=True)
class Interval:
    """A mean over the images, and the bootstrap interval that holds it in 95 of 100 cases."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, repr=False)
class Difference(Result):
    """What makes the outputs of two exports of one network differ, layer by layer.

    Where there are many images, figures are means over them.
    """

    same: bool  # whether all outputs agree within the noise
    images: int
    question: str
    asked: str
    task: str
    value_a: float
    value_b: float
    difference: float  # B − A
    noise: float  # of the difference: what the runtime itself changes
    changed: Interval | None  # the share of classes that are other ones
    divergence: Interval | None  # Kullback–Leibler, from A's probabilities to B's
    in_filter: float  # the part of the difference that F makes, and that of r
    in_residual: float
    layers: tuple[Share, ...]
    remainder: float  # of the difference, which no layer accounts for
    first_wrong: Mapping[str, Any] | None
    matched: tuple[str, ...]  # nodes of A
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    would_help: tuple[Mapping[str, Any], ...]
    skipped: tuple[Mapping[str, str], ...]  # pictures that cannot be read, and why
    notes: tuple[str, ...]
    preset: Preset
    linear: LinearDifference | None = None  # how F of both differs, on the first image, if it was asked for
    origin: Origin | None = field(default=None, kw_only=True, compare=False)  # what a page also shows

    @property
    def title(self) -> str:
        return f"{self.verdict} {self.cause}".strip()

    @property
    def verdict(self) -> str:
        """Whether the two are the same, in a sentence."""
        head = "The same within noise" if self.same else "Different"
        if not self.same and self.first_wrong is None:
            head = "The same layers, which round otherwise"
        mean = f", on average over {self.images} images," if self.images > 1 else ""
        values = f"{self.asked}{mean} is {self.value_a:.6g} in A and {self.value_b:.6g} in B"
        if self.question == "distance":
            values = f"{self.asked}{mean} is {self.difference:.3g}"
        return f"{head}: {self.decisions}{values}."

    @property
    def decisions(self) -> str:
        """How many classes are other ones, as the beginning of a sentence."""
        if self.changed is None or self.images == 1:
            return ""
        if self.task == SCORES:
            count = round(self.changed.mean * self.images)
            return f"B changes the class of {count} of {self.images} images; "
        return f"B changes the class of {100 * self.changed.mean:.3g} % of the pixels; "

    @property
    def cause(self) -> str:
        """Which layer the difference comes from, in a sentence; '' where both are the same."""
        largest = max(self.layers, key=lambda s: abs(s.contribution), default=None)
        if self.same or largest is None or not self.difference:
            return ""
        if abs(self.difference) <= self.noise:
            return f"This is within the value's own noise, {self.noise:.2g}."
        kind = max(largest.kinds, key=lambda k: abs(largest.kinds[k]), default="")
        cut = f", whose range cuts off {100 * largest.cut:.2g} % of the values" if largest.cut else ""
        share = 100 * largest.contribution / self.difference
        return f"{share:.0f} % of the difference comes from {largest.a or largest.b} ({kind}){cut}."

    def cells(self) -> Cells:
        rows = sorted(self.layers, key=lambda s: -abs(s.contribution))
        return HEAD, [
            (s.a or "–", s.b or "–", with_spread(s), kinds(s), short(s.flips), short(s.error)) for s in rows
        ]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "preset": self.preset.to_dict()}

    def html(self, command: str = "") -> str:
        """The comparison as a page; `command` is what makes it again."""
        from onnxscope.show.difference.page import difference_page  # only now: it imports matplotlib
        from onnxscope.show.difference.seen import Seen

        seen = Seen(self.to_dict(), self.layers, (self.verdict, self.cause))
        if self.origin is not None:
            about, example = self.origin.about, self.origin.example()
            seen = replace(seen, names=self.origin.names, about=about, example=example)
        return difference_page(seen, command)

    def page(self, path: str | Path, command: str = "") -> Path:
        """Write the comparison as FILE.html, a page that needs no other file."""
        return save_bytes(Path(path), self.html(command).encode(), ".html")

    def node_data(self, path: str | Path) -> Path:
        """Write what each node of A adds as FILE.json, which Model Explorer reads as node data."""
        text = node_data(self.layers, f"contribution to {self.asked}, B − A")
        return save_bytes(Path(path), text.encode(), ".json")

    def save(self, path: str | Path) -> Path:
        """Write a page (.html), a picture (.png), all values (.json) or the layers (.csv, .parquet)."""
        path = Path(path)
        if path.suffix.lower() in TABLES:
            write_table(check_target(path), table(self.layers))
            return path
        return self.page(path) if path.suffix.lower() == ".html" else super().save(path)


def with_spread(share: Share) -> str:
    return short(share.contribution) + (f" ± {share.spread:.2g}" if share.spread else "")


def kinds(share: Share) -> str:
    return ", ".join(f"{kind} {value:.2g}" for kind, value in share.kinds.items())
