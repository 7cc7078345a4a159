"""The verb that shows everything: tour."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from onnxscope.cli.options import FELL_SHORT, INTERRUPTED, Labels, joined
from onnxscope.cli.printing import print_facts, working
from onnxscope.cli.probing import run

if TYPE_CHECKING:
    from onnxscope.cli.asking import Run


@joined(run)
def tour(
    r: Run,
    labels: Labels = None,
    k: Annotated[int, typer.Option("-k", metavar="K", min=1, help="How many singular triplets.")] = 8,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="What these may take; it goes on with those it has.")
    ] = 20.0,
) -> None:
    """Everything worth seeing of a model and an image on one page, OUT.html, with its pictures and figures in the folder OUT.

    \b
    Example:
      onnxscope tour upscaler.onnx --image cat.png -o cat.html
    """
    from onnxscope.ask.scores import read_labels
    from onnxscope.show.tour.visit import checked_folder, visit

    target, names = r.target(".html"), read_labels(labels)
    checked_folder(target)
    command = shlex.join(["onnxscope", *sys.argv[1:]])
    with working(f"opening {r.model.name}") as status:
        seen = visit(r, names, k, seconds, command, lambda text: status.update(f"{r.model.name}: {text}"))
        written = seen.write(target, r.sources)
    proved = seen.facts["proofs"]["ok"]
    print_facts(
        {"written": [str(path) for path in written], **seen.facts},
        [
            ("written", ", ".join(map(str, written))),
            ("proofs", "all hold" if proved else "not all hold"),
            ("seconds", f"{seen.facts['seconds']:.1f}"),
        ],
        r.as_json,
    )
    if seen.interrupted or not proved:
        raise typer.Exit(INTERRUPTED if seen.interrupted else FELL_SHORT)
