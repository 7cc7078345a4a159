"""The command line: one verb per stage, a thin layer on the Python API."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from onnxscope.errors import BadOption, NotProved, ScopeError, one_line, printable

if TYPE_CHECKING:
    from onnxscope.api import Check, Diagnosis, Report
    from onnxscope.scope import Scope

GOOD, FELL_SHORT, BAD_INPUT, FAULT = 0, 1, 2, 70
INTERRUPTED = 130  # what typer makes of Ctrl-C
DEBUG = "ONNXSCOPE_DEBUG"  # an environment variable
REPORT = f"please report it with the model (set {DEBUG}=1 for the traceback)"
CLOCK_TICK = 20_000_000  # by so many nanoseconds a file may look older than it is
PIPED_WIDTH = 160  # of tables that do not go to a terminal
NOT_JUDGED = "not judged"
SIZE = re.compile("[0-9]{1,9}")

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="See into any exported CNN: the linear map it is for one image, and that map's transpose, as plain ONNX.",
    epilog="Exit codes: 0 good, 1 a check fell short, 2 bad input, 70 a fault of onnxscope, 130 interrupted. Errors are one line "
           "on stderr; with --json also {\"error\": …} on stdout.")

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
Seed = Annotated[int, typer.Option(min=0, help="Of the random numbers.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; whatever the user can cause ends in one line on stderr."""
    if sys.stdout is None or sys.stderr is None:  # closed by the shell
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that lack a letter
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    try:
        with printing():
            code = int(app(arguments, prog_name="onnxscope", standalone_mode=False) or GOOD)
    except NotProved as error:
        return complain(str(error), FELL_SHORT, arguments)
    except ScopeError as error:
        return complain(str(error), BAD_INPUT, arguments)
    except TyperException as error:
        return complain(f"{error.format_message().rstrip('.')}; see 'onnxscope --help'", BAD_INPUT, arguments)
    except MemoryError:
        return complain("there is not enough memory; give smaller sizes with --input-shape, or use a larger machine", BAD_INPUT, arguments)
    except RecursionError:
        return complain("the model's functions or bodies are nested too deeply; export it without them", BAD_INPUT, arguments)
    except Exception as error:  # nothing of the above, so no one's fault but ours
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return complain(f"internal error: {type(error).__name__}: {error}; {REPORT}", FAULT, arguments)
    return complain("interrupted", code, arguments) if code == INTERRUPTED else code


def complain(text: str, code: int, arguments: Sequence[str] | None) -> int:
    """One line for people, and an object for machines that asked for one."""
    line = one_line(text)
    with printing():
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            typer.echo(json.dumps({"error": line}))
    typer.echo(f"onnxscope: error: {line}", err=True)
    return code


@contextmanager
def printing() -> Iterator[None]:
    """Printing to someone who may have read enough: the exit code stays what it is."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BadOption(f"cannot be written ({error.strerror})", where="standard output", remedy="make room there") from error


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
    if str(out) == "-":
        raise BadOption("a scope cannot go to standard output", where="-o -", remedy="name a file")
    model_io.check_target(target, [model])
    with working(f"rewriting {model.name}"):
        scope = api.rewrite(model, **options(input_shape, image_input, output, policy, policy_for, opaque))
        scope.save(target)
    facts = about(scope, target, began)
    with printing():
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
        typer.echo(f"{label:<13}{printable(text)}")


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
    with printing():
        if as_json:
            print_json({**asdict(found), "ok": found.ok})
        else:
            print_diagnosis(found)
    raise typer.Exit(GOOD if found.ok else FELL_SHORT)


def print_diagnosis(found: Diagnosis) -> None:
    print_table(("node", "operator", "how", "policy", "note"), ((s.name, s.op, s.how, s.policy, s.note) for s in found.steps))
    typer.echo(printable(f"image '{found.image}', output '{found.output}'"))
    for note in found.notes:
        typer.echo(f"note: {printable(note)}")
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
        scope = api.opened(model, **chosen)
        if scope.original is None and chosen != options(None, None, None, "freeze", None, None):
            raise BadOption("is a scope, in which image, output, sizes and policies are settled", where=f"'{model}'",
                            remedy="leave these options out, or rewrite the original model with them")
        values = None
        if image is not None:
            from onnxscope import images

            values = images.read(image, image_shape(scope))
        report = api.verify(scope, image_values=values, seed=seed)
    with printing():
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
    rows = [(c.name, number(c.figure), number(c.bound), number(c.floor), outcome(c), c.note) for c in report.checks]
    print_table(("check", "figure", "bound", "noise floor", "", "note"), rows)
    left = sum(outcome(c) == NOT_JUDGED for c in report.checks)
    typer.echo(("proved" if report.ok else "not proved") + (f"; {left} not judged" if left else ""))


def outcome(check: Check) -> str:
    if not check.ok:
        return "FELL SHORT"
    return NOT_JUDGED if check.figure is None else "ok"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def options(input_shape: list[str] | None, image_input: str | None, output: str | None, policy: str, policy_for: list[str] | None,
            opaque: list[str] | None) -> dict[str, Any]:
    """The options of all verbs as the API takes them."""
    return {
        "input_shapes": dict(once("--input-shape", map(named_shape, input_shape or ()))), "image": image_input, "output": output,
        "policy": policy, "policy_for": dict(once("--policy-for", map(named_policy, policy_for or ()))), "opaque": opaque or (),
    }


def once(option: str, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    names = set()
    for name, value in pairs:
        if name in names:
            raise BadOption(f"'{name}' is named twice", where=option, remedy="leave one out")
        names.add(name)
        yield name, value


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`input:0:1x3x224x224` is the input `input:0`."""
    name, _, sizes = text.rpartition(":")
    shape = tuple(int(size) if SIZE.fullmatch(size) else 0 for size in sizes.split("x"))
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
        table.add_row(*map(printable, row))
    text, terminal = io.StringIO(), sys.stdout.isatty()  # rich itself would end the process where a pipe is closed
    Console(file=text, highlight=False, markup=False, force_terminal=terminal, width=None if terminal else PIPED_WIDTH).print(table)
    typer.echo(text.getvalue(), nl=False)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
