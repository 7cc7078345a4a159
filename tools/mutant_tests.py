"""Which tests call which functions, recorded for each test file: a fault runs only tests that reach it.

This module is also the pytest plugin that records, and that runs the chosen tests with a time limit for each.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

RECORD, ORDER = "MUTANTS_RECORD", "MUTANTS_ORDER"  # environment variables: what the plugin is to do
TIMED_OUT = 124  # exit code of a test that takes too long
MEMORY = 8 << 30  # bytes of address space: a fault must not take the machine down
Function = tuple[str, int]  # its file, relative to the repository, and its first line


@dataclass(frozen=True)
class Test:
    """A test that passes: its pytest name, the seconds it takes, and the functions that it calls."""

    __test__ = False  # for pytest
    name: str
    seconds: float
    functions: frozenset[Function]

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]

    @property
    def without_case(self) -> str:
        return self.name.partition("[")[0]


@dataclass(frozen=True)
class Records:
    """All tests that were recorded.

    `opening` has the seconds that pytest takes to collect each test file, less those for the quickest one.
    """

    tests: tuple[Test, ...]
    opening: Mapping[str, float]

    @classmethod
    def read(cls, files: Iterable[Path]) -> Records:
        tests, opening = [], {}
        for line in (json.loads(line) for file in files for line in file.read_text().splitlines()):
            if "test" in line:
                called = frozenset((module, at) for module, lines in line["calls"].items() for at in lines)
                tests.append(Test(line["test"], line["seconds"], called))
            else:
                opening[line["file"]] = line["seconds"]
        least = min(opening.values(), default=0.0)
        return cls(tuple(tests), {file: seconds - least for file, seconds in opening.items()})

    def calling(self, functions: set[Function]) -> list[Test]:
        return [test for test in self.tests if not functions.isdisjoint(test.functions)]

    def within(self, tests: Iterable[Test], budget: float) -> list[Test]:
        """Tests that together take at most so many seconds, but at least one.

        The cheapest and most specific come first, and a second case of a parametrized test after the first
        cases of all tests. Tests of one file stand together, so that what they share is set up once.
        """
        seen: Counter[str] = Counter()
        kept: dict[str, list[Test]] = defaultdict(list)
        turns = []
        for test in sorted(tests, key=lambda t: t.seconds * len(t.functions)):
            turns.append((seen[test.without_case], test))
            seen[test.without_case] += 1
        for _, test in sorted(turns, key=lambda turn: turn[0]):
            cost = test.seconds + (0.0 if test.file in kept else self.opening.get(test.file, 0.0))
            if cost <= budget:
                kept[test.file].append(test)
                budget -= cost
        return [t for of_file in kept.values() for t in of_file] or [turn[1] for turn in turns[:1]]


def pytest_configure(config: pytest.Config) -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limits[1]))
    if RECORD in os.environ:
        config.pluginmanager.register(Recorder(config.rootpath, Path(os.environ[RECORD])))
    if ORDER in os.environ:
        config.pluginmanager.register(Chosen(json.loads(Path(os.environ[ORDER]).read_text())))


class Recorder:
    """Writes a line for each test that passes as soon as it ends, so that nothing is lost when time is up."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out, self.began = f"{root}{os.sep}", out, time.perf_counter()
        self.passed = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for file in {item.nodeid.partition("::")[0] for item in session.items}:
            self.write({"file": file, "seconds": time.perf_counter() - self.began})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        called: set[CodeType] = set()

        def note(frame: Any, event: str, value: Any) -> None:
            called.add(frame.f_code)  # and None is returned, so that lines are not traced

        began, self.passed = time.perf_counter(), True
        threading.settrace(note)
        sys.settrace(note)
        try:
            result = yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
        if self.passed:
            seconds = round(time.perf_counter() - began, 4)
            self.write({"test": item.nodeid, "seconds": seconds, "calls": self.by_module(called)})
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed &= report.passed

    def by_module(self, called: set[CodeType]) -> dict[str, list[int]]:
        lines: dict[str, list[int]] = defaultdict(list)
        for code in called:
            module = code.co_filename.removeprefix(self.root)
            if module != code.co_filename and not module.startswith("tests"):
                lines[module].append(code.co_firstlineno)
        return lines

    def write(self, line: dict[str, Any]) -> None:
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Chosen:
    """Runs only the chosen tests, in their order; ends the process when one takes longer than its limit."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits, self.places = limits, {name: k for k, name in enumerate(limits)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.places), key=lambda item: self.places[item.nodeid]
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        timer = threading.Timer(self.limits[item.nodeid], os._exit, [TIMED_OUT])
        timer.daemon = True
        timer.start()
        try:
            return (yield)
        finally:
            timer.cancel()
