"""The command line: one verb per stage, a thin layer on the Python API."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from onnxscope.errors import BadOption, NotProved, ScopeError

if TYPE_CHECKING:
    from onnxscope.api import Diagnosis, Report
    from onnxscope.scope import Scope

GOOD, FELL_SHORT, BAD_INPUT = 0, 1, 2
INTERRUPTED = 130  # what typer makes of Ctrl-C
CLOCK_TICK = 20_000_000  # by so many nanoseconds a file may look older than it is
PIPED_WIDTH = 160  # of tables that do not go to a terminal

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="See into any exported CNN: the linear map it is for one image, and that map's transpose, as plain ONNX.",
    epilog="Exit codes: 0 good, 1 a check fell short, 2 bad input.")

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.")]
ModelOrScope = Annotated[Path, typer.Argument(metavar="MODEL|SCOPE", help="The .onnx file, rewritten or not.")]
OutFile = Annotated[Path | None, typer.Option("--out", "-o", metavar="OUT", help="Where to write. [default: MODEL.scope.onnx]")]
InputShape = Annotated[list[str] | None, typer.Option(metavar="NAME:1x3x224x224", help="Fix an input's free sizes. Repeatable.")]
ImageInput = Annotated[str | None, typer.Option(metavar="NAME", help="The tensor that is the image. [default: the only image-like input]")]
Output = Annotated[str | None, typer.Option(metavar="NAME", help="The tensor to explain. [default: the first output, before a softmax]")]
DefaultPolicy = Annotated[str, typer.Option(metavar="freeze|taylor", help="How non-linear nodes are frozen: their gain, or their tangent.")]
PolicyFor = Annotated[list[str] | None, typer.Option(metavar="NODE|OP=POLICY", help="Another policy for one node or operator. Repeatable.")]
Opaque = Annotated[list[str] | None, typer.Option(metavar="NODE|OP", help="Take a node or operator as a constant decision. Repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ImageFile = Annotated[Path | None, typer.Option(metavar="FILE", help="PNG, JPEG or .npy to prove it on. [default: random numbers]")]
Seed = Annotated[int, typer.Option(help="Of the random numbers.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; whatever the user can cause ends in one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for terminals that lack a letter
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    try:
        code = int(app(arguments, prog_name="onnxscope", standalone_mode=False) or GOOD)
    except NotProved as error:
        return complain(str(error), FELL_SHORT)
    except ScopeError as error:
        return complain(str(error), BAD_INPUT)
    except TyperException as error:
        return complain(f"{error.format_message().rstrip('.')}; see 'onnxscope --help'", BAD_INPUT)
    return complain("interrupted", code) if code == INTERRUPTED else code


def complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    sys.stderr.write(f"onnxscope: error: {line}\n")
    return code


@app.callback(invoke_without_command=False)
def version_option(version: Annotated[bool, typer.Option("--version", is_eager=True, callback=lambda asked: show_version(asked),
                                                         help="Show the version and exit.")] = False) -> None:
    """The options before the verb."""


def show_version(asked: bool) -> None:
    if asked:
        from onnxscope.scope import VERSION

        typer.echo(f"onnxscope {VERSION}")
        raise typer.Exit


@app.command()
def rewrite(model: ModelFile, out: OutFile = None, input_shape: InputShape = None, image_input: ImageInput = None, output: Output = None,
            policy: DefaultPolicy = "freeze", policy_for: PolicyFor = None, opaque: Opaque = None, as_json: AsJson = False) -> None:
    """Rewrite MODEL into a scope: the original, its frozen linear map and the transpose in one file.

    \b
    Example:
      onnxscope rewrite resnet50.onnx --input-shape input:1x3x224x224
    """
    from onnxscope import api, model_io

    began = time.time_ns()
    target = out or model.parent / f"{model.stem}.scope.onnx"
    model_io.check_target(target, [model])
    with working(f"rewriting {model.name}"):
        scope = api.rewrite(model, **options(input_shape, image_input, output, policy, policy_for, opaque))
        scope.save(target)
    facts = about(scope, target, began)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def about(scope: Scope, target: Path, began: int) -> dict[str, Any]:
    """What a rewrite did."""
    files = [p.stat() for p in (target, Path(f"{target}.data")) if p.exists()]
    return {
        "written": str(target), "bytes": sum(f.st_size for f in files if f.st_ctime_ns >= began - CLOCK_TICK),
        "source_bytes": scope.original.nbytes if scope.original else 0, "seconds": round((time.time_ns() - began) / 1e9, 3),
        "image": scope.image, "output": scope.output, "policy": scope.policy, "source_sha256": scope.source_sha256,
        "nodes": dict(sorted(Counter(step.how for step in scope.steps).items())), "notes": list(scope.notes),
    }


def print_facts(facts: dict[str, Any]) -> None:
    ratio = facts["bytes"] / max(facts["source_bytes"], 1)
    lines = [
        ("image", facts["image"]),
        ("output", facts["output"]),
        ("policy", facts["policy"]),
        ("active nodes", ", ".join(f"{count} {how}" for how, count in facts["nodes"].items()) or "none"),
        *(("note", note) for note in facts["notes"]),
        ("written", f"{facts['written']}, {facts['bytes']:,} bytes, {ratio:.2f} times the source, in {facts['seconds']:.1f} s"),
    ]
    for label, text in lines:
        typer.echo(f"{label:<13}{text}")


@app.command()
def doctor(model: ModelFile, input_shape: InputShape = None, image_input: ImageInput = None, output: Output = None,
           policy: DefaultPolicy = "freeze", policy_for: PolicyFor = None, opaque: Opaque = None, as_json: AsJson = False) -> None:
    """Say node by node how MODEL would be rewritten, and what stops it; nothing is written.

    \b
    Example:
      onnxscope doctor reader.onnx --opaque LSTM
    """
    from onnxscope import api

    found = api.doctor(model, **options(input_shape, image_input, output, policy, policy_for, opaque))
    if as_json:
        print_json({**asdict(found), "ok": found.ok})
    else:
        print_diagnosis(found)
    raise typer.Exit(GOOD if found.ok else FELL_SHORT)


def print_diagnosis(found: Diagnosis) -> None:
    print_table(("node", "operator", "how", "policy", "note"), ((s.name, s.op, s.how, s.policy, s.note) for s in found.steps))
    typer.echo(f"image '{found.image}', output '{found.output}'")
    for note in found.notes:
        typer.echo(f"note: {note}")
    for problem in found.problems:
        typer.echo(f"problem: {problem}")
    typer.echo("it can be rewritten" if found.ok else "it cannot be rewritten like this")


@app.command()
def verify(model: ModelOrScope, image: ImageFile = None, seed: Seed = 0, input_shape: InputShape = None, image_input: ImageInput = None,
           output: Output = None, policy: DefaultPolicy = "freeze", policy_for: PolicyFor = None, opaque: Opaque = None,
           as_json: AsJson = False) -> None:
    """Prove a scope with numbers, or the scope that MODEL would become: each claim with its figure, bound and noise floor.

    \b
    Example:
      onnxscope verify resnet50.onnx --image cat.png --policy taylor
    """
    from onnxscope import api

    chosen = options(input_shape, image_input, output, policy, policy_for, opaque)
    with working(f"proving {model.name}"):
        if image is None:
            report = api.verify(model, seed=seed, **chosen)
        else:
            from onnxscope import images

            scope = api.opened(model, **chosen)
            report = api.verify(scope, image_values=images.read(image, image_shape(scope)), seed=seed)
    if as_json:
        print_json({"ok": report.ok, "checks": [asdict(c) for c in report.checks]})
    else:
        print_report(report)
    raise typer.Exit(GOOD if report.ok else FELL_SHORT)


def image_shape(scope: Scope) -> tuple[int, ...]:
    for t in scope.graph.inputs:
        if t.name == scope.image:
            return tuple(t.shape)
    raise BadOption(f"the image '{scope.image}' is computed inside the network and cannot be given", where="--image",
                    remedy="leave --image out")


def print_report(report: Report) -> None:
    rows = ((c.name, number(c.figure), number(c.bound), number(c.floor), "ok" if c.ok else "FELL SHORT", c.note) for c in report.checks)
    print_table(("check", "figure", "bound", "noise floor", "", "note"), rows)
    typer.echo("proved" if report.ok else "not proved")


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def options(input_shape: list[str] | None, image_input: str | None, output: str | None, policy: str, policy_for: list[str] | None,
            opaque: list[str] | None) -> dict[str, Any]:
    """The options of all verbs as the API takes them."""
    return {
        "input_shapes": dict(named_shape(text) for text in input_shape or ()), "image": image_input, "output": output,
        "policy": policy, "policy_for": dict(named_policy(text) for text in policy_for or ()), "opaque": opaque or (),
    }


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`input:0:1x3x224x224` is the input `input:0`."""
    name, _, sizes = text.rpartition(":")
    shape = tuple(int(size) if size.isdecimal() else 0 for size in sizes.split("x"))
    if not name or 0 in shape:
        raise BadOption("not a name and sizes", where=f"--input-shape {text}", remedy="write it as NAME:1x3x224x224")
    return name, shape


def named_policy(text: str) -> tuple[str, str]:
    name, _, policy = text.rpartition("=")
    if not name:
        raise BadOption("not a name and a policy", where=f"--policy-for {text}", remedy="write it as NODE=freeze or OP=taylor")
    return name, policy


def working(text: str) -> Any:
    """Says on a terminal that something is under way."""
    return Console(stderr=True).status(text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
