"""The verb that compares two exports of one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxscope.cli.groups import command
from onnxscope.cli.options import FELL_SHORT, AsJson, FurtherInputs, ImageFile, Labels, Pictures
from onnxscope.cli.printing import print_json, print_table, printing, working
from onnxscope.errors import printable

Reference = Annotated[Path, typer.Argument(metavar="A", help="The export to compare with, an .onnx file.")]
Other = Annotated[Path, typer.Argument(metavar="B", help="Another export of the same network.")]
OneQuestion = Annotated[
    str, typer.Option("--ask", metavar="QUESTION", help="What to compare. [default: what suits the network]")
]


FailAbove = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=0,
        help="Exit with code 1 if the value differs by more than this in either direction.",
    ),
]


@command
def diff(
    a: Reference,
    b: Other,
    *,
    image: ImageFile,
    ask: OneQuestion = "",
    reading: Pictures,
    inputs: FurtherInputs = None,
    labels: Labels = None,
    fail_above: FailAbove = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether two exports of a network are the same, and which layers make their outputs differ.

    Layers are paired by what they compute, not by their names.

    \b
    Example:
      onnxscope diff model.onnx model_int8.onnx --image cat.png
    """
    from onnxscope.api import differing
    from onnxscope.ask.scores import read_labels

    with working(f"comparing {a.name} with {b.name}"):
        found = differing.diff(
            a,
            b,
            image,
            further=inputs or (),
            ask=ask,
            preset=reading.chosen(),
            labels=read_labels(labels),
        )
    with printing():
        if as_json:
            print_json(found.to_dict())
        else:
            print_table(*found.cells())
            typer.echo(printable(found.title))
    if fail_above is not None and abs(found.difference) > fail_above:
        raise typer.Exit(FELL_SHORT)
