"""How the command line prints: tables, JSON, and progress."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.status import Status
from rich.table import Table

from onnxscope.errors import BadOption, printable

PIPED_WIDTH = 160  # columns of text in a table that is not printed to a terminal


@contextmanager
def printing() -> Iterator[None]:
    """Print to a reader that may stop reading, such as `head`; the exit code is the same then."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BadOption(
            f"cannot be written ({error.strerror})", where="standard output", remedy="make room there"
        ) from error


def working(text: str) -> Status:
    """Show a text on the terminal while work is in progress."""
    return Console(stderr=True).status(text)


@contextmanager
def watching(text: str) -> Iterator[None]:
    """The same, where nothing is counted."""
    with working(text):
        yield None


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on the terminal. It is moved by calling the given function with done and total."""
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with these headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    # rich writes into a text first: if it printed itself, it would end the process where a pipe is closed
    text, terminal = io.StringIO(), sys.stdout.isatty()
    width = None if terminal else PIPED_WIDTH
    Console(file=text, highlight=False, markup=False, force_terminal=terminal, width=width).print(table)
    typer.echo(text.getvalue(), nl=False)


def print_facts(facts: Mapping[str, Any], lines: Iterable[tuple[str, str]], as_json: bool) -> None:
    """Print what a verb did: the facts as JSON, or lines of text with their labels."""
    with printing():
        if as_json:
            print_json(facts)
        else:
            labelled = list(lines)
            width = max(len(label) for label, _ in labelled) + 2
            for label, text in labelled:
                typer.echo(f"{label:<{width}}{printable(text)}")


def print_json(value: Any) -> None:
    typer.echo(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """The value with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
