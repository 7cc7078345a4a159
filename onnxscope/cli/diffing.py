"""The verb that compares two exports of one network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from onnxscope.cli.groups import command
from onnxscope.cli.options import FELL_SHORT, AsJson, FurtherInputs, Labels, Pictures
from onnxscope.cli.printing import counting, print_json, print_table, printing, watching
from onnxscope.errors import printable

Reference = Annotated[Path, typer.Argument(metavar="A", help="The export to compare with, an .onnx file.")]
Other = Annotated[Path, typer.Argument(metavar="B", help="Another export of the same network.")]
OneQuestion = Annotated[
    str, typer.Option("--ask", metavar="QUESTION", help="What to compare. [default: what suits the network]")
]
ImageOrFolder = Annotated[
    Path,
    typer.Option(
        metavar="FILE|FOLDER",
        help="A picture (PNG, JPEG, …), an .npy file with the model's own values, or a folder of pictures.",
    ),
]
RowsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Keep what is found for each picture as a line of JSON; a run that was killed goes on there.",
    ),
]
Check = Annotated[
    int,
    typer.Option(
        metavar="K", min=0, help="Also run B with each of the K layers that would help most as A has it."
    ),
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        min=0,
        help="Exit with code 1 if the value differs by more than this in either direction.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The options about what is compared, and what is kept of it."""

    ask: OneQuestion = ""
    labels: Labels = None
    rows: RowsFile = None
    check: Check = 0
    fail_above: FailAbove = None


@command
def diff(
    a: Reference,
    b: Other,
    *,
    image: ImageOrFolder,
    comparison: Comparison,
    reading: Pictures,
    inputs: FurtherInputs = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether two exports of a network are the same, and which layers make their outputs differ.

    Layers are paired by what they compute, not by their names.

    \b
    Example:
      onnxscope diff model.onnx model_int8.onnx --image cat.png
    """
    from onnxscope.api.differing import diff as compare
    from onnxscope.ask.scores import read_labels

    about = {k: v for k, v in vars(comparison).items() if k not in ("labels", "fail_above")}
    shown = counting("pictures") if image.is_dir() else watching(f"comparing {a.name} with {b.name}")
    with shown as progress:
        found = compare(
            a,
            b,
            image,
            further=inputs or (),
            preset=reading.chosen(),
            labels=read_labels(comparison.labels),
            progress=progress,
            **about,
        )
    with printing():
        if as_json:
            print_json(found.to_dict())
        else:
            print_table(*found.cells())
            typer.echo(printable(found.title))
    if comparison.fail_above is not None and abs(found.difference) > comparison.fail_above:
        raise typer.Exit(FELL_SHORT)
