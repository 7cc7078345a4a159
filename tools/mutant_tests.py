"""Which tests call which functions, recorded for each test file: a fault runs only tests that reach it.

This module is also the pytest plugin that records, and that runs the chosen tests with a time limit for each.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mutant_calls import Calls, Part

RECORD, ORDER = "MUTANTS_RECORD", "MUTANTS_ORDER"  # environment variables: what the plugin is to do
PROCESSES = "processes"  # beside the record: what processes that tests start have called
TIMED_OUT = 124  # exit code of a test that takes too long
MEMORY = 8 << 30  # bytes of address space: a fault must not take the machine down
Function = tuple[str, int]  # its file, relative to the repository, and its first line


@dataclass(frozen=True)
class Test:
    """A test that passes: its pytest name, the functions that it calls, and the seconds that it takes.

    `shared` has the seconds of what it needs and other tests need as well: its file, fixtures, kept results.
    """

    __test__ = False  # for pytest
    name: str
    functions: frozenset[Function]
    seconds: float
    shared: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def file(self) -> str:
        return self.name.partition("::")[0]

    @property
    def without_case(self) -> str:
        return self.name.partition("[")[0]

    def cost(self, had: Iterable[str] = ()) -> float:
        """Its seconds where these shared parts are there already."""
        return self.seconds + sum(seconds for name, seconds in self.shared.items() if name not in had)


@dataclass(frozen=True)
class Records:
    """All tests that were recorded."""

    tests: tuple[Test, ...]

    @classmethod
    def read(cls, files: Iterable[Path]) -> Records:
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        opening = {line["file"]: line["seconds"] for line in lines if "file" in line}
        least = min(opening.values(), default=0.0)  # of what all test files import
        tests = [
            Test(
                line["test"],
                frozenset((module, at) for module, starts in line["calls"].items() for at in starts),
                line["seconds"],
                {**line["shared"], file: opening[file] - least},
            )
            for line in lines
            if "test" in line
            for file in [line["test"].partition("::")[0]]
        ]
        return cls(tuple(tests))

    def calling(self, functions: set[Function]) -> list[Test]:
        return [test for test in self.tests if not functions.isdisjoint(test.functions)]


def within(tests: Iterable[Test], budget: float) -> list[Test]:
    """Tests that together take at most so many seconds, but at least one.

    The cheapest and most specific come first, and a second case of a parametrized test after the first cases
    of all tests. Tests of one file stand together, so that what they share is set up once.
    """
    seen: Counter[str] = Counter()
    turns = []
    for test in sorted(tests, key=lambda t: t.cost() * len(t.functions)):
        turns.append((seen[test.without_case], test))
        seen[test.without_case] += 1
    had: set[str] = set()
    kept: dict[str, list[Test]] = defaultdict(list)
    for _, test in sorted(turns, key=lambda turn: turn[0]):
        cost = test.cost(had)
        if cost <= budget:
            budget -= cost
            had |= test.shared.keys()
            kept[test.file].append(test)
    return [test for of_file in kept.values() for test in of_file] or [test for _, test in turns[:1]]


def pytest_configure(config: pytest.Config) -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limits[1]))
    if RECORD in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ[RECORD]), Calls(str(config.rootpath))))
    if ORDER in os.environ:
        config.pluginmanager.register(Chosen(json.loads(Path(os.environ[ORDER]).read_text())))


class Recorder:
    """Writes a line for each test that passes as soon as it ends, so that nothing is lost when time is up."""

    def __init__(self, out: Path, calls: Calls) -> None:
        self.out, self.calls = out, calls
        self.processes = out.with_name(PROCESSES)
        self.began, self.passed = time.perf_counter(), True
        self.fixtures: dict[str, tuple[str, Part]] = {}
        functools.cache = calls.cache  # type: ignore[assignment]  # what tests keep counts for each of them

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for file in {item.nodeid.partition("::")[0] for item in session.items}:
            self.write({"file": file, "seconds": time.perf_counter() - self.began})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Iterator[None]:
        self.passed = True
        self.calls.start()
        try:
            with self.calls.part() as part:
                result = yield
                for name in item.fixturenames:
                    if name in self.fixtures:
                        self.calls.use(*self.fixtures[name])
        finally:
            self.calls.stop()
        calls = self.with_processes(self.calls.lines(part))
        if self.passed:
            self.write({"test": item.nodeid, "seconds": part.seconds, "shared": part.shared, "calls": calls})
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        with self.calls.part() as part:
            result = yield
        self.fixtures[fixturedef.argname] = f"{fixturedef.baseid} {fixturedef.argname}", part
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed &= report.passed

    def with_processes(self, lines: dict[str, list[int]]) -> dict[str, list[int]]:
        """These calls, and those of the processes that have ended since the last test."""
        if self.processes.exists():
            for line in self.processes.read_text().splitlines():
                with contextlib.suppress(ValueError):  # a line that a process could not finish
                    for file, starts in json.loads(line).items():
                        lines[file] = sorted({*lines.get(file, []), *starts})
            self.processes.unlink()
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
