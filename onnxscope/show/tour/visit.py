"""The way through the tour: the stops that suit the network, one page, its pictures and its figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxscope.ask.scores import Scores
from onnxscope.cli.asking import Run
from onnxscope.errors import BadOption
from onnxscope.files.models import check_target, write
from onnxscope.show.page import Page, Table, files, html
from onnxscope.show.tour.bases import bases
from onnxscope.show.tour.filters import far_away, single_pixels
from onnxscope.show.tour.guide import LARGER, SAME, SCORES, Guide, paragraphs, percent, times
from onnxscope.show.tour.rivals import by_other_means
from onnxscope.show.tour.scores import by_layer, highest
from onnxscope.show.tour.whole import parts, proofs


@dataclass(frozen=True)
class Visit:
    """What a tour has shown: a page, and its figures for machines."""

    page: Page
    facts: dict[str, Any]
    interrupted: bool

    def write(self, target: Path, sources: Sequence[Path] = ()) -> list[Path]:
        """The page, and in a folder beside it, called like it, its pictures and `tour.json`; over no source."""
        folder = checked_folder(target)
        folder.mkdir(exist_ok=True)
        contents = {folder / name: data for name, data in files(self.page).items()}
        contents |= {
            folder / "tour.json": json.dumps(self.facts, indent=1).encode(),
            target: html(self.page).encode(),
        }
        write({check_target(path, sources): iter([data]) for path, data in contents.items()}, target)
        return [target, folder]


def checked_folder(target: Path) -> Path:
    """The folder beside a page; refused where it cannot be made or written into."""
    folder = target.with_suffix("")
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise BadOption(
            "is no folder that pictures could be written into",
            where=f"'{folder}'",
            remedy="name another page with --out",
        )
    return folder


def visit(
    run: Run, labels: Sequence[str], k: int, seconds: float, command: str, say: Callable[[str], None]
) -> Visit:
    """All stops that suit the network."""
    say("the proofs")
    report = run.prove()
    g = Guide(run, run.x, Scores(run.x.output.reshape(-1), labels), k, seconds, say)
    say("input, output, residual")
    stops = {"parts": parts(g)}
    if g.kind == SCORES:
        say("scores and ledger")
        stops |= {"scores": highest(g), "ledger": by_layer(g)}
        if g.explainable:
            say("votes and other methods")
            stops["rivals"] = by_other_means(g)
    else:
        say("filters")
        stops["pixels"] = single_pixels(g)
    if g.kind == SAME:
        say("filters that reach far")
        stops["afar"] = far_away(g)
    stops["svd"], found = bases(g)
    stops["proofs"] = proofs(report)
    facts = {
        "model": run.model.name,
        "kind": g.kind,
        **run.identity(),
        **run.facts(),
        **{name: stop[1] for name, stop in stops.items()},
    }
    page = Page(
        f"{run.model.name}: a tour",
        summary(g, facts),
        [stop[0] for stop in stops.values()],
        about(facts),
        command,
    )
    return Visit(page, facts, found.stopped == "interrupted")


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
    return paragraphs(f"""
        This network {what}. For one image, {facts["file"]}, its decisions (which Relu is open, which pixel a MaxPool picks) were frozen.
        What remains is exactly linear, y = F·x + r, and this page looks at it: F has {g.x.output.size:,} rows and {g.x.image.size:,}
        columns.

        The residual r has {percent(facts["parts"]["residual"])} of the output's size. {holds}""")


def about(facts: dict[str, Any]) -> Table:
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
        [name.replace("_", " "), text(facts[name])] for name in shown if facts[name] not in (None, "", [], {})
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
