"""Which functions are called, and for how long, also where results are used again, of caches and fixtures."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

Lines = dict[str, list[int]]  # the first lines of functions, by file


@dataclass
class Part:
    """What was called in a part of a run, its own seconds, and those of the parts whose results it used."""

    codes: set[CodeType] = field(default_factory=set)
    seconds: float = 0.0
    shared: dict[str, float] = field(default_factory=dict)
    inner: float = 0.0  # seconds of the parts within it


class Calls:
    """Notes the calls of functions whose files lie in a folder."""

    def __init__(self, root: str) -> None:
        self.root = f"{root}{os.sep}"
        self.current = Part()

    def note(self, frame: Any, event: str, value: Any) -> None:
        self.current.codes.add(frame.f_code)  # and None is returned, so that lines are not traced

    def start(self) -> None:
        threading.settrace(self.note)
        sys.settrace(self.note)

    def stop(self) -> None:
        sys.settrace(None)
        threading.settrace(None)

    @contextmanager
    def part(self) -> Iterator[Part]:
        """What is called in this block, in a part of its own."""
        outer, part = self.current, Part()
        self.current, began = part, time.perf_counter()
        try:
            yield part
        finally:
            took = time.perf_counter() - began
            self.current, part.seconds = outer, took - part.inner
            outer.inner += took

    def use(self, name: str, part: Part) -> None:
        """The current part needs the result of this one, whether it was computed now or earlier."""
        self.current.codes |= part.codes
        self.current.shared |= {**part.shared, name: part.seconds}

    def cache(self, function: Callable[..., Any], /) -> Callable[..., Any]:
        """functools.cache, but what is found there counts as called."""
        kept: dict[Any, tuple[Any, Part]] = {}

        @functools.wraps(function)
        def cached(*given: Any, **named: Any) -> Any:
            key = given, tuple(named.items())
            if key not in kept:
                with self.part() as part:
                    kept[key] = function(*given, **named), part
            result, part = kept[key]
            self.use(f"{function.__module__}.{function.__qualname__}{key}", part)
            return result

        vars(cached)["cache_clear"] = kept.clear
        return cached

    def lines(self, part: Part) -> Lines:
        lines: Lines = defaultdict(list)
        for code in part.codes:
            file = code.co_filename.removeprefix(self.root)
            if file != code.co_filename and code.co_name != "<module>" and not file.startswith("tests"):
                lines[file].append(code.co_firstlineno)
        return lines


def note_process(root: str, out: Path) -> None:
    """Append what this process calls to a file when it ends."""
    calls = Calls(root)

    def write() -> None:
        calls.stop()
        with contextlib.suppress(OSError), out.open("a") as file:
            file.write(json.dumps(calls.lines(calls.current)) + "\n")

    atexit.register(write)
    calls.start()
