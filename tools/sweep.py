"""Export many architectures through many exporters, rewrite each under both policies, and judge the scopes.

python tools/sweep.py RESULTS --python torch=VENV/bin/python --python paddle=…   # run what RESULTS does not hold yet
python tools/sweep.py RESULTS --page                                             # write the guide's page of coverage

Exporters live in environments of their own: `--python` names an interpreter for an exporter, or for all whose name begins
or ends so. RESULTS holds one line of JSON for each case; the last one of a case counts. Each case runs in processes with
a time and a memory limit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sweep_page
from measuring import Failed, machine, write
from sweep_models import Case, cases

TOOLS = Path(__file__).parent
PACKAGES = ("onnxscope", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")
POLICIES = ("freeze", "taylor")
SECONDS, BYTES = 420, 16 << 30  # of a process
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}


def limited(command: Sequence[object], seconds: float = SECONDS) -> Any:
    """What a command prints last, as JSON; it must end in time and within the memory."""
    words = [str(c) for c in command]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **QUIET},
        start_new_session=True,
        preexec_fn=limit_memory,
    ) as process:
        try:
            printed, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f"it took more than {seconds:g} s") from None
    if process.returncode:
        raise Failed(reason(said) or f"it ended with code {process.returncode}")
    return json.loads(printed.splitlines()[-1])


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def reason(said: str) -> str:
    """The line of an error output that says most: the last one that is not indented and no hint."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    errors = [line for line in lines if "Error" in line or line.startswith("NoSignal")]
    return (errors or lines or [""])[-1][:300]


def run(case: Case, folder: Path, pythons: dict[str, str]) -> dict[str, Any]:
    """The record of one case. The exported file is taken from the folder if it is there."""
    record: dict[str, Any] = {"name": case.name, **asdict(case), "pairs": {}}
    plain = Case(**{**asdict(case), "variant": ""})
    original = folder / f"{plain.name}.onnx"
    facts = original.with_suffix(".json")
    try:
        if not facts.exists():
            words = (case.exporter, case.package, case.architecture, case.size, case.opset, case.options)
            command = (interpreter(case.exporter, pythons), TOOLS / "sweep_exporters.py", *words, original)
            write(facts, json.dumps(limited(command)))
        record |= json.loads(facts.read_text(encoding="utf-8"))
        if case.variant:
            original = Path(limited((sys.executable, TOOLS / "sweep_case.py", case.variant, original)))
    except Failed as failed:
        return record | {"export": str(failed)}
    try:
        record["pairs"] = limited((sys.executable, TOOLS / "sweep_case.py", "judge", original))
    except Failed as failed:
        record["pairs"] = {p: {"outcome": "failed", "why": str(failed)} for p in POLICIES}
    return record


def interpreter(exporter: str, pythons: dict[str, str]) -> str:
    found = [p for part, p in pythons.items() if exporter.startswith(part) or exporter.endswith(part)]
    if not found:
        raise Failed(f"no --python is given for {exporter}")
    return found[-1]


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
    for case in chosen:
        began = time.monotonic()
        record = run(case, folder, pythons) | {"onnxscope": machine(PACKAGES)["versions"]}
        with results.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(record) + "\n")
        print(f"{case.name} ({time.monotonic() - began:.0f} s): {brief(record)}", flush=True)
        if not keep:
            for file in folder.glob(f"{case.name}*"):
                file.unlink()


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
