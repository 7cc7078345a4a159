"""The options about where work over many pictures or blocks is done."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import typer

if TYPE_CHECKING:
    from onnxscope.work.engines import Engine

HERE = "here"
T = TypeVar("T")
WorkerCount = Annotated[
    int, typer.Option("--workers", metavar="N", min=0, help="How many workers; 0 for one on each core.")
]


@dataclass(frozen=True, kw_only=True)
class Spreading:
    """The options of a verb that can be spread over workers."""

    on: Annotated[
        str,
        typer.Option(
            metavar="here|local|ray|dask",
            help="Where the work is done: in this process, in several on this machine, in Ray or in Dask; an "
            "address may follow, as in dask:tcp://host:8786.",
        ),
    ] = HERE
    workers: WorkerCount = 0

    @property
    def here(self) -> bool:
        return self.on == HERE

    def engine(self) -> Engine:
        from onnxscope.work.engines import Engine
        from onnxscope.work.isolated import Isolation

        return Engine(self.on, self.workers, isolation=Isolation(None, ("onnxscope.cli.jobs",)))


def plain(group: Any) -> dict[str, Any]:
    """A group of options as JSON has it."""
    found = {}
    for f in fields(group):
        value = getattr(group, f.name)
        found[f.name] = plain(value) if is_dataclass(value) else text_of(value)
    return found


def text_of(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def filled(kind: type[T], values: dict[str, Any]) -> T:
    """The group of options that `plain` was given."""
    hints = get_type_hints(kind)
    return kind(**{name: option(hints[name], value) for name, value in values.items()})


def option(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        return filled(kind, value)  # type: ignore[arg-type]
    is_path = kind is Path or Path in get_args(kind)
    return Path(value) if is_path and value is not None else value
