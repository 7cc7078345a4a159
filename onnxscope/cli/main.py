"""The command line's entry: all verbs, and errors as one line on stderr."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from onnxscope.cli import auditing, diffing, evaluating, explaining, guide, probing, rewriting, touring
from onnxscope.cli.isolating import OPTION, isolated
from onnxscope.cli.options import BAD_INPUT, FAULT, FELL_SHORT, GOOD, INTERRUPTED
from onnxscope.cli.printing import printing
from onnxscope.errors import DEBUG, Fault, NotProved, ScopeError, one_line

VERBS = (
    rewriting.rewrite,
    rewriting.doctor,
    rewriting.verify,
    probing.residual,
    probing.column,
    probing.row,
    probing.project,
    probing.svd,
    probing.filter_,
    touring.tour,
    explaining.ledger,
    explaining.contributions,
    explaining.votes,
    explaining.compare,
    diffing.diff,
    evaluating.evaluate,
    auditing.audit,
    guide.guide,
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="See into any exported CNN: the linear map it is for one image, and that map's transpose, "
    "as plain ONNX.",
    epilog="Exit codes: 0 good, 1 a check fell short, 2 bad input, 70 a fault of onnxscope, 130 interrupted. "
    'Errors are one line on stderr; with --json also {"error": …} on stdout.',
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; whatever the user can cause ends in one line on stderr."""
    if sys.stdout is None or sys.stderr is None:  # closed by the shell
        sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals that lack a letter
    if arguments is None:  # in a process of its own: collections need not look at what has been imported
        gc.freeze()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if OPTION in given:
            return isolated([a for a in given if a != OPTION], run)
        with printing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what libraries warn of is not for users
            code = int(app(given, prog_name="onnxscope", standalone_mode=False) or GOOD)
    except NotProved as error:
        return complain(str(error), FELL_SHORT, arguments)
    except Fault as fault:
        return confess(fault, arguments)
    except ScopeError as error:
        return complain(str(error), BAD_INPUT, arguments)
    except TyperException as error:
        return complain(f"{error.format_message().rstrip('.')}; see 'onnxscope --help'", BAD_INPUT, arguments)
    except MemoryError:
        return complain(
            "there is not enough memory; give smaller sizes with --input-shape, or use a larger machine",
            BAD_INPUT,
            arguments,
        )
    except RecursionError:
        return complain(
            "the model's functions or bodies are nested too deeply; export it without them",
            BAD_INPUT,
            arguments,
        )
    except Exception as error:  # nothing of the above, so no one's fault but ours
        return confess(Fault.of(error), arguments)
    return complain("interrupted", code, arguments) if code == INTERRUPTED else code


def confess(fault: Fault, arguments: Sequence[str] | None) -> int:
    """Complain of a fault of onnxscope: machines get what a report of it needs beside the model."""
    if os.environ.get(DEBUG):
        traceback.print_exc()
    return complain(str(fault), FAULT, arguments, {**fault.facts, "versions": versions()})


def versions() -> dict[str, str]:
    """Of Python, of this package and of what it builds on."""
    found = {"python": platform.python_version()}
    for name in ("onnxscope", "onnx", "onnxruntime", "onnxruntime-gpu", "onnx-graphsurgeon", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def complain(
    text: str, code: int, arguments: Sequence[str] | None, fault: Mapping[str, Any] | None = None
) -> int:
    """One line for people, and an object for machines that asked for one."""
    line = one_line(text)
    with printing():
        if "--json" in (sys.argv[1:] if arguments is None else arguments):
            typer.echo(json.dumps({"error": line, **({"fault": fault} if fault else {})}))
    typer.echo(f"onnxscope: error: {line}", err=True)
    return code


@app.callback(invoke_without_command=False)
def version_option(
    isolate: Annotated[  # `run` looks for it, wherever it stands
        bool,
        typer.Option(
            OPTION,
            help="Run the verb in a process with limits, which reaches no network and no other files. It can "
            "stand anywhere.",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda asked: show_version(asked),
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """The options before the verb."""


def show_version(asked: bool) -> None:
    if asked:
        from onnxscope.version import VERSION

        typer.echo(f"onnxscope {VERSION}")
        raise typer.Exit


for verb in VERBS:
    app.command(verb.__name__.rstrip("_"))(verb)
