"""Put small faults into the package, one at a time, and list those that no test notices.

    python tools/mutants.py                                # 200 faults, drawn over all modules
    python tools/mutants.py --count 40 --modules 'onnxscope/files/*' --seed 1 --json FILE
    python tools/mutants.py --json FILE --resume           # go on; tries survivors again if tests changed
    python tools/mutants.py --json FILE --resume --seconds 300     # tries survivors with more tests

Each fault is put into a copy of the repository in a temporary folder, and tests that call the function around
it run until one fails. Which tests those are is recorded once, by running each test file; the records stay in
the system's temporary folder and hold until the package or the test file changes.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from measuring import write
from mutant_faults import Fault, faults, readers
from mutant_runs import Place, every
from mutant_tests import Function, Records, Test, within

ROOT = Path(__file__).parents[1]
FIRST, THEN = (
    10.0,
    40.0,
)  # seconds, as recorded, of the tests that run first, and of those that a survivor runs then
Result = dict[str, Any]


class Project:
    """A repository with one package, and its tests in the folder `tests`."""

    def __init__(self, root: Path, package: str) -> None:
        self.root = root
        self.sources = texts((root / package).rglob("*.py"), root)
        self.tests = texts((root / "tests").glob("*.py"), root)
        self.records = Path(tempfile.gettempdir()) / f"mutants-{package}"

    @property
    def test_files(self) -> list[str]:
        return [name for name in self.tests if Path(name).match("test_*.py")]

    def record_of(self, test_file: str) -> Path:
        """Where its record is kept; its name changes with the package, the test file and what tests share."""
        shared = {name: text for name, text in self.tests.items() if name not in self.test_files}
        key = digest({**self.sources, **shared, test_file: self.tests[test_file]})
        return self.records / f"{Path(test_file).stem}-{key}.jsonl"

    def drawn(self, count: int, seed: int, patterns: Sequence[str]) -> list[Fault]:
        """A sample with its share of every module: every n-th of all faults, shuffled within each module."""
        found: list[Fault] = []
        for module, source in self.sources.items():
            if matches(module, patterns):
                of_module = faults(module, source)
                found += random.Random(f"{seed} {module}").sample(of_module, len(of_module))
        step = max(1.0, len(found) / count)
        start = random.Random(seed).random() * step
        return [found[int(start + k * step)] for k in range(min(count, len(found)))]

    def tests_of(self, fault: Fault, records: Records) -> list[Test]:
        """Tests that call its function, or for what stands outside functions those that read it.

        Where there are none, those that call anything in its module, or else in a module that imports it.
        """
        own = {(fault.module, fault.function)}
        called = own if fault.function else readers(self.sources, fault.module, fault.line)
        return records.calling(called) or records.calling(self.functions_near(fault.module, records))

    def functions_near(self, module: str, records: Records) -> set[Function]:
        """What is called of the module, or else of those that import it."""
        all_called = {function for test in records.tests for function in test.functions}
        name = module.removesuffix(".py").replace("/", ".")
        parent, _, last = name.rpartition(".")
        imports = (f"import {name}", f"from {name} import", f"from {parent} import {last}")
        users = {m for m, source in self.sources.items() if any(text in source for text in imports)}
        own = {function for function in all_called if function[0] == module}
        return own or {function for function in all_called if function[0] in users}


def texts(files: Iterable[Path], root: Path) -> dict[str, str]:
    """What is in these files, by their names from the root on."""
    return {f.relative_to(root).as_posix(): f.read_text(encoding="utf-8") for f in sorted(files)}


def digest(of: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


class Results:
    """What is known of each fault, in a JSON file that is written anew with each result.

    A survivor has run tests of so many seconds, besides those that ran first.
    """

    def __init__(self, file: Path, project: Project, resume: bool, seconds: float = THEN) -> None:
        self.file, self.seconds = file, seconds
        self.package, self.tests = digest(project.sources), digest(project.tests)
        saved = json.loads(file.read_text(encoding="utf-8")) if resume and file.exists() else []
        self.known: list[Result] = [result for result in saved if self.holds(result)]

    def holds(self, result: Result) -> bool:
        """Whether it is of this package; a survivor must have survived these tests, and as many of them."""
        same_tests = result["with_tests"] == self.tests and result["with_seconds"] >= self.seconds
        return bool(result["package"] == self.package and (result["outcome"] != "survived" or same_tests))

    def of(self, fault: Fault) -> Result | None:
        return next((known for known in self.known if about(fault).items() <= known.items()), None)

    def add(self, fault: Fault, result: Result) -> None:
        stamps = {"package": self.package, "with_tests": self.tests, "with_seconds": self.seconds}
        self.known.append({**about(fault), **result, **stamps})
        write(self.file, json.dumps(self.known, indent=1, ensure_ascii=False))


def about(fault: Fault) -> Result:
    return {
        "module": fault.module,
        "line": fault.line,
        "at": fault.start,
        "kind": fault.kind,
        "before": " ".join(fault.before.split()),
        "after": " ".join(fault.after.split()),
    }


def run(
    project: Project, drawn: Sequence[Fault], results: Results, jobs: int = 1, tests: Sequence[str] = ("*",)
) -> str:
    """Judge the faults that are not judged yet, and report on all."""
    places = [Place(project.root) for _ in range(jobs)]
    try:
        files = [name for name in project.test_files if matches(Path(name).name, tests)]
        kept = every(places, lambda place, name: place.record(name, project.record_of(name)), files)
        records = Records.read(sorted(kept))
        left = [fault for fault in drawn if results.of(fault) is None]

        def judged(place: Place, number: int) -> tuple[Fault, Result]:
            fault, source = left[number], project.sources[left[number].module]
            place.put(fault, source, 1 + number)
            return fault, judge(place, project.tests_of(fault, records), (FIRST, results.seconds))

        for k, (fault, result) in enumerate(every(places, judged, range(len(left))), 1):
            results.add(fault, result)
            print(
                f"{k} of {len(left)}: {fault.module}:{fault.line} {result['outcome']}, {result['seconds']} s",
                flush=True,
            )
    finally:
        for place in places:
            shutil.rmtree(place.folder, ignore_errors=True)
    return report([known for fault in drawn if (known := results.of(fault))])


def judge(place: Place, tests: Sequence[Test], budgets: Sequence[float]) -> Result:
    """Whether one of the tests notices the fault; after each budget of seconds only a survivor goes on."""
    result: Result = {"outcome": "survived", "by": "", "tests": 0, "of": len(tests), "seconds": 0.0}
    left = list(tests)
    for budget in budgets:
        if left and result["outcome"] == "survived":
            chosen = within(left, budget)
            left = [test for test in left if test not in chosen]
            outcome, by, seconds = place.outcome(chosen)
            result |= {"outcome": outcome, "by": by}
            result["tests"] += len(chosen)
            result["seconds"] = round(result["seconds"] + seconds, 1)
    return result


def report(results: Sequence[Result]) -> str:
    """Which survived and where, and the share that did not."""
    count = Counter(r["outcome"] for r in results)
    survivors = [
        "{module}:{line}  {kind}: {before} → {after}  ({tests} of {of} tests)".format(**r)
        for r in sorted(results, key=lambda r: (r["module"], r["at"]))
        if r["outcome"] == "survived"
    ]
    share = 1 - len(survivors) / max(1, len(results))
    seconds = sum(r["seconds"] for r in results) / max(1, len(results))
    counts = f"{count['killed']} killed, {count['timed out']} timed out, {len(survivors)} survived"
    return "\n".join(
        [*survivors, f"{counts}: {share:.1%} of {len(results)} noticed, {seconds:.1f} seconds each"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="List the small faults in the package that no test notices.")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="how many faults are drawn (200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (0)")
    parser.add_argument(
        "--modules", nargs="+", default=["*"], metavar="GLOB", help="as onnxscope/files/* (all)"
    )
    parser.add_argument(
        "--tests", nargs="+", default=["*"], metavar="GLOB", help="test files that may run (all)"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many are tried at once (2)")
    parser.add_argument(
        "--json", type=Path, default=Path("mutants.json"), metavar="FILE", help="for the results"
    )
    parser.add_argument("--resume", action="store_true", help="keep the results in FILE that still hold")
    parser.add_argument(
        "--seconds", type=float, default=THEN, metavar="N", help=f"of tests that a survivor runs ({THEN:.0f})"
    )
    options = parser.parse_args()
    if options.count < 1 or options.jobs < 1:
        parser.error("--count and --jobs must be at least 1")
    project = Project(ROOT, "onnxscope")
    drawn = project.drawn(options.count, options.seed, options.modules)
    results = Results(options.json, project, options.resume, options.seconds)
    print(run(project, drawn, results, options.jobs, options.tests))


if __name__ == "__main__":
    main()
