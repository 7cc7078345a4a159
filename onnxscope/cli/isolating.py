"""The option --isolate: a verb runs in a process behind walls, which reaches only its own files."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from onnxscope.errors import BadOption, Crashed
from onnxscope.work.isolated import crash
from onnxscope.work.walls import Limits, die_with_parent, raise_walls

OPTION = "--isolate"
WRITING = ("-o", "--out", "--rows", "--node-data")  # options whose file is written
MEMORY_SHARE = 0.8  # of the machine's memory
SECONDS, FILE_BYTES = 4 * 3600, 64 << 30
CACHES = (".cache/matplotlib", ".config/matplotlib", ".matplotlib")  # below the user's folder


def isolated(arguments: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
    """Run the verb in a process of its own, and tell how that ended."""
    if not hasattr(os, "fork"):
        raise BadOption("this system cannot fork processes", where=OPTION, remedy="leave it out")
    with tempfile.TemporaryDirectory(prefix="onnxscope-") as folder:
        child = os.fork()
        if not child:
            os._exit(behind_walls(arguments, folder, run))
        while True:
            try:
                _, status = os.waitpid(child, 0)
                break
            except KeyboardInterrupt:  # the child is interrupted, too, and says so
                continue
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise Crashed(f"its process {crash(-code)}", where=OPTION, remedy="treat the file as harmful")
    return code


def behind_walls(arguments: Sequence[str], folder: str, run: Callable[[Sequence[str]], int]) -> int:
    """What the child does."""
    die_with_parent()
    tempfile.tempdir = folder
    readable, writable = named(arguments)
    limits = Limits(memory(), SECONDS, FILE_BYTES, readable=readable, writable=writable, own=folder)
    weak = {wall: how for wall, how in raise_walls(limits).items() if "not limited" in how}
    if weak:
        typer.echo(f"onnxscope: {OPTION}: {', '.join(f'{w} {how}' for w, how in weak.items())}", err=True)
    code = run(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def memory() -> int:
    """The most memory that the process may take."""
    return int(MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def named(arguments: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files and folders that the arguments let the verb read, and those that they let it write."""
    readable = {str(Path.home() / cache) for cache in CACHES}
    writable, models = set[str](), set[str]()
    for before, text in zip(("", *arguments), arguments, strict=False):
        option, _, joined = text.partition("=")
        if before in WRITING or (option in WRITING and joined):
            writable.add(str(Path(joined if option in WRITING else text).resolve().parent))
            continue
        for part in {text, *re.split("[=:]", text)[1:]}:
            path = Path(part)
            if part and path.exists():
                target = path.resolve()
                readable |= {str(target), str(path.absolute())}
                if target.is_file() and target.suffix == ".onnx":
                    models |= {str(target.parent), str(path.absolute().parent)}
    return tuple(readable | models), tuple(writable or models)
