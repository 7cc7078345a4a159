"""The verb that compares two exports of one network."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.groups import command
from onnxscope.cli.options import (
    FELL_SHORT,
    AsJson,
    FurtherInputs,
    ImageInput,
    InputShape,
    Labels,
    Output,
    Pictures,
    named_shape,
    once,
)
from onnxscope.cli.printing import counting, print_json, print_table, printing, watching, working
from onnxscope.cli.spreading import Spreading, plain
from onnxscope.errors import BadOption, printable
from onnxscope.files.results import shortened_rows

if TYPE_CHECKING:
    from onnxscope.api.difference import Difference
    from onnxscope.api.rows import Row
    from onnxscope.api.runtime_noise import RuntimeNoise
    from onnxscope.files.results import Result

SUFFIXES = (".html", ".png", ".csv", ".parquet", ".json")
Reference = Annotated[Path, typer.Argument(metavar="A", help="The export to compare with, an .onnx file.")]
Other = Annotated[Path | None, typer.Argument(metavar="[B]", help="Another export of the same network.")]
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
Filters = Annotated[
    int,
    typer.Option(
        metavar="K",
        min=0,
        help="Also compare F of both, by K singular triplets, on the first picture.",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODE=NODE", help="A node of A and the node of B that computes the same. Repeatable."
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Write a page (.html), a chart (.png), the layers as a table (.csv, .parquet) or all values "
        "(.json). Repeatable.",
    ),
]
NodeData = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json", help="Write what each node of A adds, as node data for Model Explorer."
    ),
]
ToItself = Annotated[
    bool,
    typer.Option("--self", help="Compare A with itself under onnxruntime's settings; B is left out."),
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
class Sizes:
    """The options about the inputs."""

    input_shape: InputShape = None
    image_input: ImageInput = None
    output: Output = None
    inputs: FurtherInputs = None

    def chosen(self) -> dict[str, Any]:
        """The arguments of `onnxscope.diff`."""
        from onnxscope.rewriting.options import Options

        shapes = dict(once("--input-shape", map(named_shape, self.input_shape or ())))
        return {"further": self.inputs or (), "options": Options(shapes, self.image_input, self.output)}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The options about what is compared, and what is kept of it."""

    ask: OneQuestion = ""
    labels: Labels = None
    map: Map = None
    rows: RowsFile = None
    check: Check = 0
    filters: Filters = 0

    def chosen(self) -> dict[str, Any]:
        """The arguments of `onnxscope.diff`."""
        from onnxscope.ask.scores import read_labels

        return {
            "ask": self.ask,
            "labels": read_labels(self.labels),
            "given": dict(once("--map", map(named_nodes, self.map or ()))),
            "rows": self.rows,
            "check": self.check,
            "filters": self.filters,
        }


@dataclass(frozen=True, kw_only=True)
class Written:
    """The options about files that are written."""

    out: Files = None
    node_data: NodeData = None

    def check(self) -> None:
        """Refuse what cannot be written, before anything is computed."""
        from onnxscope.files.models import check_target

        for file in self.every:
            check_target(file)
        for file in self.out or ():
            if file.suffix.lower() not in SUFFIXES:
                cause, remedy = f"the file's name must end in {', '.join(SUFFIXES)}", "rename it"
                raise BadOption(cause, where=f"--out '{file}'", remedy=remedy)

    @property
    def every(self) -> list[Path]:
        return [*(self.out or ()), *filter(None, [self.node_data])]

    def write(self, found: Difference) -> None:
        for file in self.out or ():
            if file.suffix.lower() == ".html":
                found.page(file, shlex.join(["onnxscope", *sys.argv[1:]]))
            else:
                found.save(file)
        if self.node_data is not None:
            found.node_data(self.node_data)


@command
def diff(
    a: Reference,
    b: Other = None,
    *,
    image: ImageOrFolder,
    to_itself: ToItself = False,
    comparison: Comparison,
    reading: Pictures,
    sizes: Sizes,
    written: Written,
    spreading: Spreading,
    fail_above: FailAbove = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether two exports of a network are the same, and which layers make their outputs differ.

    Layers are paired by what they compute, not by their names. With --self, A is compared with itself.

    \b
    Example:
      onnxscope diff model.onnx model_int8.onnx --image cat.png
    """
    if (b is None) != to_itself:
        remedy = "name two models, or one with --self"
        raise BadOption("a comparison needs two models", where="diff", remedy=remedy)
    written.check()
    reading_of = {"preset": reading.chosen(), **sizes.chosen()}
    if b is None:
        noise = noise_of(a, image, reading_of)
        show(noise, {}, as_json)
        measured = noise.largest
    else:
        others = None
        if not spreading.here:
            options = {"comparison": plain(comparison), "reading": plain(reading), "sizes": plain(sizes)}
            others = rows_elsewhere([a, b], options, spreading)
        found = compared(a, b, image, {**comparison.chosen(), **reading_of, "others": others})
        written.write(found)
        show(found, {"written": list(map(str, written.every))}, as_json)
        measured = abs(found.difference)
    if fail_above is not None and measured > fail_above:
        raise typer.Exit(FELL_SHORT)


def rows_elsewhere(
    models: Sequence[Path], options: dict[str, Any], spreading: Spreading
) -> Callable[[Mapping[str, Path]], Iterator[Row]]:
    """The rows of pictures, computed by workers. What they cannot read is left to this process to tell."""

    def rows(pictures: Mapping[str, Path]) -> Iterator[Row]:
        from onnxscope.api.rows import Row
        from onnxscope.cli.elsewhere import answers
        from onnxscope.files.folders import first_readable

        if not pictures:
            return
        first = str(first_readable(list(pictures.values())).absolute())
        settings = {"models": [str(m.absolute()) for m in models], "first": first, "options": options}
        for _, found in answers("Differing", settings, pictures, spreading):
            if found:
                yield Row.read(json.dumps(found))

    return rows


def compared(a: Path, b: Path, image: Path, arguments: dict[str, Any]) -> Difference:
    from onnxscope.api.differing import diff as compare

    shown = counting("pictures") if image.is_dir() else watching(f"comparing {a.name} with {b.name}")
    with shown as progress:
        return compare(a, b, image, progress=progress, **arguments)


def noise_of(model: Path, image: Path, arguments: dict[str, Any]) -> RuntimeNoise:
    from onnxscope.api.runtime_noise import runtime_noise

    with working(f"comparing {model.name} with itself"):
        return runtime_noise(model, image, **arguments)


def show(found: Result, facts: dict[str, Any], as_json: bool) -> None:
    with printing():
        if as_json:
            print_json({**found.to_dict(), **facts})
            return
        print_table(*shortened_rows(found.cells()))
        typer.echo(printable(found.title))
        for file in facts.get("written", ()):
            typer.echo(printable(f"written to {file}"))


def named_nodes(text: str) -> tuple[str, str]:
    """The names of two nodes: `conv1=Conv_7` is ("conv1", "Conv_7")."""
    ours, _, theirs = text.partition("=")
    if not ours or not theirs:
        cause, remedy = "must be a node of A and a node of B", "write it as NODE=NODE"
        raise BadOption(cause, where=f"--map {text}", remedy=remedy)
    return ours, theirs
