"""Export many architectures through many exporters, rewrite each under both policies, and judge the scopes.

python tools/sweep.py RESULTS --python torch=VENV/bin/python --python paddle=…   # run what RESULTS does not hold yet
python tools/sweep.py RESULTS --page                                             # write the guide's page of coverage

Exporters live in environments of their own: `--python` names an interpreter for an exporter, or for all whose name begins
or ends so. RESULTS holds one line of JSON for each case; the last one of a case counts. Each case runs in processes with
a time and a memory limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import sweep_page
from measuring import Failed, machine, write
from sweep_case import JUDGE, POLICIES, RUNS
from sweep_models import Case, cases
from sweep_server import Server

TOOLS = Path(__file__).parent
PACKAGES = ("onnxscope", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")


class Servers:
    """The processes that export, and the one that rewrites and judges."""

    def __init__(self, pythons: dict[str, str]) -> None:
        self.pythons = pythons
        self.case = Server(sys.executable, TOOLS / "sweep_case.py")
        self.exporters = {p: Server(p, TOOLS / "sweep_exporters.py") for p in pythons.values()}

    def exporter(self, name: str) -> Server:
        found = [p for part, p in self.pythons.items() if name.startswith(part) or name.endswith(part)]
        if not found:
            raise Failed(f"no --python is given for {name}")
        return self.exporters[found[-1]]

    def close(self) -> None:
        for server in (self.case, *self.exporters.values()):
            server.close()


def run(case: Case, folder: Path, servers: Servers) -> dict[str, Any]:
    """The record of one case. The exported file is taken from the folder if it is there."""
    record: dict[str, Any] = {"name": case.name, **asdict(case), "pairs": {}}
    original = folder.resolve() / f"{replace(case, variant='').name}.onnx"
    facts = original.with_suffix(".json")
    try:
        if not facts.exists():
            words = (case.exporter, case.package, case.architecture, case.size, case.opset, case.options)
            write(facts, json.dumps(servers.exporter(case.exporter).ask([*words, str(original)])))
        record |= json.loads(facts.read_text(encoding="utf-8"))
        if not case.variant:
            servers.case.ask([RUNS, str(original)])  # what onnxruntime does not open is no export
        else:
            original = Path(servers.case.ask([case.variant, str(original)]))
    except Failed as failed:
        return record | {"export": str(failed)}
    try:
        record["pairs"] = servers.case.ask([JUDGE, str(original)])
    except Failed as failed:
        record["pairs"] = {p: {"outcome": "failed", "why": str(failed)} for p in POLICIES}
    return record


def recorded(results: Path) -> dict[str, dict[str, Any]]:
    """The last record of each case."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {record["name"]: record for record in map(json.loads, lines)}


def brief(record: dict[str, Any]) -> str:
    if "export" in record:
        return f"not exported: {record['export']}"
    return " | ".join(f"{p}: {v['outcome']} {v.get('why', '')}" for p, v in record["pairs"].items())


def sweep(chosen: Iterable[Case], results: Path, folder: Path, pythons: dict[str, str], keep: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Servers(pythons)) as servers:
        for case in chosen:
            record_of(case, results, folder, servers)
            if not keep:
                for file in folder.glob(f"{case.name}*"):
                    file.unlink()


def record_of(case: Case, results: Path, folder: Path, servers: Servers) -> None:
    """Run a case, and add its record to the file."""
    began = time.monotonic()
    record = run(case, folder, servers) | {"onnxscope": machine(PACKAGES)["versions"]}
    with results.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")
    print(f"{case.name} ({time.monotonic() - began:.0f} s): {brief(record)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="the file of records")
    parser.add_argument(
        "--page", action="store_true", help="write the page from the records, and run nothing"
    )
    parser.add_argument("--python", action="append", default=[], metavar="EXPORTER=FILE")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--again", action="store_true", help="also what the records hold")
    parser.add_argument(
        "--failed", action="store_true", help="also what the records hold, unless it is right"
    )
    parser.add_argument("--keep", action="store_true", help="keep the exported files, for another run")
    parser.add_argument("--folder", type=Path, default=Path("sweep"), help="where files are exported to")
    options = parser.parse_args()
    done = recorded(options.results)
    if options.page:
        sweep_page.write_page([done[c.name] for c in cases() if c.name in done])
        return
    passed = {n for n, r in done.items() if not options.again and not (options.failed and not right(r))}
    chosen = (c for c in cases() if options.only in c.name and c.name not in passed)
    pythons = dict(given.split("=", 1) for given in options.python)
    sweep(chosen, options.results, options.folder, pythons, options.keep)


def right(record: dict[str, Any]) -> bool:
    return "export" not in record and all(v["outcome"] == "right" for v in record["pairs"].values())


if __name__ == "__main__":
    main()
