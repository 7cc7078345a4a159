"""Damage models at random, run the command line on each, and report whatever is not an answer or a clear refusal.

    python tools/fuzz.py --count 100000 --jobs 2            # cases 0, 1, 2, …: each number is a seed
    python tools/fuzz.py --only 4711 --keep FOLDER          # one case again; its model and command are kept
    python tools/fuzz.py --count 1000 --verbs rewrite,tour

A case is a model of fuzz_seeds.py with a few mutations, and one verb. The verbs run in child processes of
limited memory, file size and time, each of which takes many cases. A finding is an exit code other than 0, 1
and 2, a traceback, an error that is not one line, a file beside the named ones or after a refusal, a case of
more than 30 seconds, and the death of the process. Findings of the same kind and place are counted together.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from fuzz_child import Child, Finding, Limits, build_seeds  # noqa: E402

VERBS = {"rewrite": 8, "doctor": 4, "verify": 3, "row": 3, "ledger": 1, "votes": 1, "diff": 1, "residual": 1}
SHOWN = 3  # seeds of each kind of finding


class Fuzzing:
    """The children and what they have found."""

    def __init__(self, children: Sequence[Child], cases: Sequence[int]) -> None:
        self.children, self.cases = children, cases
        self.findings: dict[str, list[Finding]] = {}
        self.began = time.monotonic()

    def run(self) -> None:
        """Give every child its share of the cases; a child that died continues behind its last case."""
        for k, child in enumerate(self.children):
            child.start(self.cases[k :: len(self.children)])
        said = time.monotonic()
        while any(child.is_busy for child in self.children):
            time.sleep(0.05)
            for child in self.children:
                self.take(child.watched())
            if time.monotonic() - said > 60:
                said = time.monotonic()
                print(self.progress(), file=sys.stderr, flush=True)

    def take(self, found: Sequence[Finding]) -> None:
        for finding in found:
            kind = self.findings.setdefault(finding.kind, [])
            kind.append(finding)
            if len(kind) == 1:
                print(f"seed {finding.seed}: {finding.kind}: {finding.text}", flush=True)

    def codes(self) -> Counter[int]:
        return sum((child.codes() for child in self.children), Counter())

    def progress(self) -> str:
        done, seconds = sum(self.codes().values()), time.monotonic() - self.began
        codes = ", ".join(f"{count} × {code}" for code, count in sorted(self.codes().items()))
        kinds = len(self.findings)
        return f"{done} cases in {seconds:.0f} s ({done / seconds:.1f}/s): {codes}; {kinds} kinds of findings"

    def report(self) -> str:
        lines = [self.progress()]
        for kind, found in sorted(self.findings.items(), key=lambda item: -len(item[1])):
            seeds = ", ".join(str(f.seed) for f in found[:SHOWN])
            lines.append(f"{len(found):6}  {kind}  (seeds {seeds})")
        return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0, help="the first case")
    parser.add_argument("--only", type=int, help="this case alone; prints its command and what was said")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many child processes")
    parser.add_argument("--verbs", default="", help="instead of all, separated by commas")
    parser.add_argument("--keep", type=Path, help="a folder for the models of findings")
    parser.add_argument("--memory", type=int, default=4096, help="megabytes of addresses beyond the start's")
    parser.add_argument("--json", type=Path, help="a file for all findings")
    return parser.parse_args()


def main() -> int:
    given = options()
    weights = dict.fromkeys(given.verbs.split(","), 1) if given.verbs else VERBS
    seeds = build_seeds()
    limits = Limits(memory=given.memory << 20)
    jobs = 1 if given.only is not None else given.jobs
    cases = [given.only] if given.only is not None else range(given.seed, given.seed + given.count)
    children = [Child(seeds, weights, limits, given.keep) for _ in range(jobs)]
    fuzzing = Fuzzing(children, cases)
    try:
        fuzzing.run()
    finally:
        for child in children:
            child.end()
    if given.only is not None:
        print(shlex.join(children[0].command(given.only)))
    if given.json:
        found = [f._asdict() for kind in fuzzing.findings.values() for f in kind]
        given.json.write_text(json.dumps(found, indent=1))
    print(fuzzing.report())
    return 1 if fuzzing.findings else 0


if __name__ == "__main__":
    sys.exit(main())
