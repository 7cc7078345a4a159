"""The verb tour, which makes a page about a model and an image."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from onnxscope.cli.asking import question
from onnxscope.cli.options import FELL_SHORT, INTERRUPTED
from onnxscope.cli.printing import print_facts, working

if TYPE_CHECKING:
    from onnxscope.cli.question import Question


@question
def tour(
    q: Question,
    k: Annotated[int, typer.Option("-k", metavar="K", min=1, help="How many singular triplets.")] = 8,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S", help="How long the tour may take, about: less is shown where time is short."
        ),
    ] = 60.0,
) -> None:
    """Make a page with everything worth seeing about a model and an image.

    It shows what the network gives, such as boxes on the picture, and answers the questions that suit it, or
    those of --ask. The page is OUT.html, and its pictures and figures are in the folder OUT. A part that
    fails is left out; the page tells why, and the exit code is 1.

    \b
    Example:
      onnxscope tour upscaler.onnx --image cat.png -o cat.html
    """
    from onnxscope.show.tour.guide import Effort, guide_to
    from onnxscope.show.tour.visit import checked_folder, visit

    target = q.target(".html")
    checked_folder(target)
    effort = Effort(k, seconds)
    command = shlex.join(["onnxscope", *sys.argv[1:]])
    with working(f"opening {q.model.name}") as status:

        def show(text: str) -> None:
            status.update(f"{q.model.name}: {text}")

        guide = guide_to(q.x, effort, q.asked.ask or (), show)
        seen = visit(guide, q.x.model.scope, {**q.identity(), "preset": q.opened.preset.to_dict()}, command)
        written = seen.write(target, q.sources)
    proved = seen.facts["proofs"]["ok"]
    lines = [("written", ", ".join(map(str, written))), ("preset", q.opened.preset.line)]
    lines += [("note", note) for note in q.facts()["notes"]]
    lines += [("proofs", "all hold" if proved else "not all hold")]
    lines += [("missing", f"{name}: {why}") for name, why in seen.missing.items()]
    lines += [("no time for", ", ".join(seen.facts["no_time_for"]))] if seen.facts["no_time_for"] else []
    lines += [("seconds", f"{seen.facts['seconds']:.1f}")]
    print_facts({"written": [str(path) for path in written], **seen.facts}, lines, q.as_json)
    if seen.interrupted or seen.missing or not proved:
        raise typer.Exit(INTERRUPTED if seen.interrupted else FELL_SHORT)
