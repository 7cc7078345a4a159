"""Runs tests in a temporary copy of a repository, to record what they call or whether they notice a fault."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from mutant_faults import Fault
from mutant_tests import ORDER, PROCESSES, RECORD, TIMED_OUT, Test

RECORDING = 600.0  # seconds after which what is left of a test file is not recorded
PATIENCE, GRACE = 10, 10.0  # a test may take so many times its recorded seconds, and so many seconds more
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "reproduced")
OUTCOMES = {0: "survived", 5: "survived", TIMED_OUT: "timed out"}  # by exit code; pytest has 5 for no tests
TOOLS = str(Path(__file__).parent)
ANY_PROCESS = """# Python runs this in the processes that tests start, where the copy is on their path.
import pathlib, sys
if "mutant_tests" not in sys.orig_argv:
    sys.path.append({tools!r})
    from mutant_calls import note_process
    {note}
"""
Item = TypeVar("Item")
Done = TypeVar("Done")


class Place:
    """A temporary folder with a copy of a repository, in which pytest runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Path(tempfile.mkdtemp(prefix="mutant-")).resolve()
        self.copy = self.folder / "copy"

    def renew(self) -> None:
        """A new copy, because tests of the last fault may have written anywhere.

        The files keep their times, so that compiled modules are used again.
        """
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.root, self.copy, ignore=LEFT_OUT)

    def pytest(self, files: Sequence[str], limit: float, *options: str, **doing: str) -> tuple[int, str]:
        """The exit code, or TIMED_OUT, and what was printed."""
        inherited = {
            k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE")
        }
        paths = {
            "PYTHONPATH": os.pathsep.join([str(self.copy), TOOLS]),
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }
        plugins = ("-p", "no:cacheprovider", "-p", "mutant_tests")
        folders = (f"--rootdir={self.copy}", f"--basetemp={self.folder / 'files'}")
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "--tb=no", *plugins, *folders, *options, *files],
            cwd=self.copy,
            env={**inherited, **paths, **doing},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                printed = process.communicate(timeout=limit)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return TIMED_OUT, process.communicate()[0]
        return process.returncode, printed

    def record(self, test_file: str, kept: Path) -> Path:
        """The record of one test file, made now unless it was kept."""
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            self.renew()
            note = f"note_process({str(self.copy)!r}, pathlib.Path({str(self.folder / PROCESSES)!r}))"
            (self.copy / "sitecustomize.py").write_text(ANY_PROCESS.format(tools=TOOLS, note=note))
            part = self.folder / "record"
            part.write_text("")
            self.pytest([test_file], RECORDING, **{RECORD: str(part)})
            shutil.move(part, kept)
        return kept

    def put(self, fault: Fault, source: str, stamp: int) -> None:
        """A copy with this fault in a module of this source. The stamp is another one for each fault."""
        self.renew()
        changed = self.copy / fault.module
        changed.write_text(fault.put_into(source), encoding="utf-8")
        os.utime(changed, (stamp, stamp))  # no compiled module has this time

    def outcome(self, tests: Sequence[Test]) -> tuple[str, str, float]:
        """Whether one of the tests fails, which one, and the seconds that it took."""
        order = self.folder / "order.json"
        order.write_text(json.dumps({t.name: PATIENCE * t.cost() + GRACE for t in tests}))
        files = list(dict.fromkeys(t.file for t in tests))
        began = time.perf_counter()
        limit = 60 + PATIENCE * sum(t.cost() for t in tests)
        code, printed = self.pytest(files, limit, "-x", **{ORDER: str(order)})
        failed = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
        by = failed[0] if failed else f"exit code {code}"
        return OUTCOMES.get(code, "killed"), by, time.perf_counter() - began


def every(
    places: Sequence[Place], task: Callable[[Place, Item], Done], items: Sequence[Item]
) -> Iterator[Done]:
    """What task(place, item) returns for each item, as they come; a place does one at a time."""
    free: SimpleQueue[Place] = SimpleQueue()
    for place in places:
        free.put(place)

    def done(item: Item) -> Done:
        place = free.get()
        try:
            return task(place, item)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(places)) as pool:
        try:
            for future in as_completed([pool.submit(done, item) for item in items]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
