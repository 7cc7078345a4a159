"""What the measuring tools share: processes, interleaved medians, tables, and their place in the guide.

It imports nothing large: a process that measures its peak memory inherits the peak of the one that starts it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

COSTS = Path(__file__).parents[1] / "onnxscope" / "guide" / "costs.md"
# the networks that are measured if none is named
NAMES = ("resnet50", "vgg19", "squeezenet", "edsr", "cyclegan", "edsr_small")
# seconds between runs, as the threads of onnxruntime and torch are busy for up to 30 ms after one
PAUSE = 0.06
TURN = 0.05  # seconds: a shorter run is repeated for this time
THREADS = os.cpu_count() or 1
Cells = Sequence[str]


class Failed(Exception):
    """A measurement that failed, and why."""


def stage(tool: Path, *arguments: object) -> Any:
    """Run a stage of a tool in a process of its own, and return what it prints as JSON."""
    done = subprocess.run([sys.executable, str(tool), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise Failed(f"{arguments[0]}: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_megabytes() -> float:
    """The peak memory of this process so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def milliseconds(run: Callable[[], object]) -> float:
    """The mean time of a run, repeated for one turn."""
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < TURN:
        run()
        count += 1
    return 1e3 * (time.perf_counter() - began) / count


def interleaved(
    contenders: Mapping[str, Callable[[], object]], seconds: float, least: int = 3, most: int = 25
) -> dict[str, float]:
    """Median milliseconds of each, from rounds in which all take a turn in shuffled order.

    So what slows the machine down for a while slows all of them down alike.
    """
    for run in contenders.values():
        run()  # the first run is slower, as it allocates memory
    took: dict[str, list[float]] = {name: [] for name in contenders}
    shuffled, began, rounds = random.Random(0), time.perf_counter(), 0
    while rounds < least or (rounds < most and time.perf_counter() - began < seconds):
        for name in shuffled.sample(list(contenders), len(contenders)):
            time.sleep(PAUSE)
            took[name].append(milliseconds(contenders[name]))
        rounds += 1
    return {name: median(times) for name, times in took.items()}


def machine(packages: Sequence[str], device: str = "") -> dict[str, str]:
    """The machine, the date, and the versions of these packages."""
    return {
        "machine": f"{device or processor()}, {THREADS} cores",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": ", ".join([f"Python {platform.python_version()}", *installed(packages)]),
    }


def installed(packages: Sequence[str]) -> Iterator[str]:
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            yield f"{package} {version(package)}"


def processor() -> str:
    """The processor's name, as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def figure(number: float) -> str:
    """A positive number as text, with three digits."""
    return f"{number:.{max(0, 2 - math.floor(math.log10(number)))}f}" if number > 0 else "0"


def ratio(number: float, than: float) -> str:
    return f"{figure(number)} ({number / than:.2f}×)"


def table(head: Cells, rows: Sequence[Cells]) -> str:
    """A table in Markdown, with aligned columns."""
    lines = [head, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join([written[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *written[1:]])


def write_part(name: str, text: str, page: Path = COSTS) -> None:
    """Put a generated part between its marks on a page of the guide."""
    write(page, with_part(name, text, page.read_text(encoding="utf-8"), page.name))


def with_part(name: str, text: str, before: str, page: str) -> str:
    """The text of the page of this name, with a new text between the marks of a generated part."""
    marks = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.compile(rf"({marks[0]}\n).*?({marks[1]})", re.DOTALL)
    after, found = pattern.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", before)
    if found != 1:
        raise SystemExit(f"{page} has {found} places for '{name}', not one between {' and '.join(marks)}")
    return after


def write(path: Path, text: str) -> None:
    """Write a file as a whole: if this fails, the old one is kept."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise SystemExit(f"{path.name} cannot be written ({error.strerror})") from error
