"""Measure what columns, rows and singular triplets cost with onnxscope, torch and plain onnxruntime.

    python tools/bench.py                           # all networks, some fifteen minutes on two quiet cores
    python tools/bench.py edsr_small --json a.json  # one of them, its results kept
    python tools/bench.py --from a.json b.json --guide

The contenders for one network and batch take turns in one process. Memory is measured in other processes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring import NAMES, Failed, figure, machine, ratio, stage, table, write, write_part

STAGES = Path(__file__).with_name("bench_stages.py")
BATCHES = (1, 8)
PACKAGES = ("onnxscope", "onnxruntime-gpu", "onnxruntime", "torch", "onnx2torch", "scipy", "numpy")
# The load of the machine up to which figures are trusted. As torch's threads wait for each other, a single
# one that other programs hold up can make torch ten times slower.
MOST_LOAD = 0.5
NONE = "–"
Results = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time onnxscope, torch and plain onnxruntime.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument(
        "--seconds", type=float, default=20, help="time for the rounds of each network and batch (20)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
    parser.add_argument(
        "--from",
        dest="files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="do not measure, but read results from these files",
    )
    parser.add_argument(
        "--guide", action="store_true", help="write the tables into the guide's page costs.md"
    )
    options = parser.parse_args()
    if wrong := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no network '{wrong[0]}': choose {', '.join(NAMES)}")
    if options.files and (options.names or options.json):
        parser.error("--from does not measure: leave the names and --json out")
    try:
        results = (
            joined(options.files)
            if options.files
            else measured_all(options.names or NAMES, options.seconds, options.json)
        )
    except Failed as failed:
        sys.exit(f"bench: {failed}")
    text = report(results)
    print(text)
    if options.guide:
        write_part("bench", text)


def measured_all(names: Sequence[str], seconds: float, kept: Path | None) -> Results:
    """Measure one network after the other, and write the results to the file after each."""
    if (load := os.getloadavg()[0]) > MOST_LOAD:
        print(
            f"other programs use this machine (load {load:.1f}): the figures will not be reliable",
            file=sys.stderr,
        )
    results: Results = {**machine(PACKAGES), "networks": {}}
    if kept:
        write(kept, as_json(results))  # fails early if the file cannot be written
    for name in names:
        results["networks"][name] = measured(name, seconds)
        if kept:
            write(kept, as_json(results))
    return results


def as_json(results: Results) -> str:
    return json.dumps(results, indent=1, ensure_ascii=False)


def measured(name: str, seconds: float) -> Results:
    """Run all stages for one network."""
    result: Results = {
        "speed": {str(batch): announced(name, "speed", name, batch, seconds) for batch in BATCHES}
    }
    result["svd"] = announced(name, "svd", name)
    most = BATCHES[-1]
    with tempfile.TemporaryDirectory() as folder:
        one, many, scope = (Path(folder) / f"{kind}.onnx" for kind in ("one", "many", "scope"))
        for path, batch in ((one, 1), (many, most)):
            announced(name, "prepare", name, batch, path)
        result["rewrite"] = announced(name, "rewrite", one, scope)
        result["peak"] = {
            side: announced(name, "peak", side, name, path, most)
            for side, path in (("plain", many), ("onnxscope", scope))
        }
        last = result["speed"][str(most)]
        if {"kept jvp", "kept vjp"} <= last["ways"].keys():
            ways = last["ways"]["kept jvp"], last["ways"]["kept vjp"]
            try:
                result["peak"]["torch"] = announced(name, "peak", "torch", name, one, most, *ways)
            except Failed as failed:  # such as a process that the system ended as it took too much memory
                last["notes"].append(f"the memory of torch is not known ({failed})")
    return result


def announced(name: str, *arguments: object) -> Any:
    """Run a stage, and print its arguments before."""
    shown = " ".join(str(a) for a in arguments if a != name and not isinstance(a, Path | float))
    print(f"{name}: {shown} …", file=sys.stderr)
    return stage(STAGES, *arguments)


def joined(files: Sequence[Path]) -> Results:
    """The results of several runs, which must be of one machine and the same versions."""
    results: Results = {}
    for file in files:
        try:
            more = json.loads(file.read_text(encoding="utf-8"))
            where, networks = (more["machine"], more["versions"]), more["networks"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Failed(f"{file.name} holds no results ({type(error).__name__}: {error})") from error
        if results and where != (results["machine"], results["versions"]):
            raise Failed(f"{file.name} comes from another machine or other versions: measure all on one")
        before = results.get("networks", {})
        if twice := sorted(networks.keys() & before.keys()):
            raise Failed(f"{twice[0]} is in two of the files: leave one out")
        results = {**more, "date": max(more["date"], results.get("date", "")), "networks": before | networks}
    return results


def report(results: Results) -> str:
    """The tables, in Markdown."""
    networks = results["networks"]
    return "\n\n".join(
        [
            f"{results['machine']}, {results['date']}; {results['versions']}. All contenders use all cores.",
            (
                "Milliseconds, medians of interleaved runs. × compares F and Fᵀ with onnxruntime's plain "
                "forward of the same batch, and torch with onnxscope at the same task. All probes of a batch "
                "go through the frozen map of one image; `freeze` is what a further image costs. Torch's jvp "
                "and vjp are called with the image for every block; its *kept* ways keep the image's graph."
            ),
            table(SPEED, [row for name, r in networks.items() for row in speed_rows(name, r["speed"])]),
            (
                "The leading singular triplets; a pass is one vector through F or Fᵀ, the residual the worst "
                "of the two-sided ones over σ1."
            ),
            table(SVD, [row for name, r in networks.items() for row in svd_rows(name, r["svd"])]),
            (
                "Seconds to rewrite with the proof, seconds from the file to what is ready to run, and MB "
                f"that this and a batch of {BATCHES[-1]} through F and Fᵀ (plain: through the network) take."
            ),
            table(COST, [cost_row(name, r) for name, r in networks.items()]),
            "\n".join(f"- {note}" for name, r in networks.items() for note in notes(name, r["speed"])),
        ]
    ).strip()


SPEED = (
    "network",
    "batch",
    "plain",
    "freeze",
    "F",
    "Fᵀ",
    "torch jvp",
    "torch vjp",
    "SVD step",
    "torch step",
    "kept jvp",
    "kept vjp",
    "kept step",
)
SVD = ("network", "F", "solver", "triplets", "residual", "σ error", "passes of F", "of Fᵀ", "seconds")
COST = (
    "network",
    "rewrite",
    "open plain",
    "open onnxscope",
    "open torch",
    "MB plain",
    "MB onnxscope",
    "MB torch",
)


def speed_rows(name: str, by_batch: Results) -> Iterator[list[str]]:
    for batch, result in by_batch.items():
        t = result["milliseconds"]

        def cell(key: str, than: str, t: dict[str, float] = t) -> str:
            return ratio(t[key], t[than]) if key in t else NONE

        freeze = figure(t["freeze"]) if "freeze" in t else NONE
        yield [
            name,
            batch,
            figure(t["plain"]),
            freeze,
            cell("F", "plain"),
            cell("Fᵀ", "plain"),
            cell("torch jvp", "F"),
            cell("torch vjp", "Fᵀ"),
            figure(t["step"]),
            cell("torch step", "step"),
            cell("torch kept jvp", "F"),
            cell("torch kept vjp", "Fᵀ"),
            cell("torch kept step", "step"),
        ]


def svd_rows(name: str, result: Results) -> Iterator[list[str]]:
    for solver, r in result["solvers"].items():
        error = f"{r['sigma_error']:.1e}" if "sigma_error" in r else NONE
        yield [
            name,
            result["size"],
            solver,
            str(r["triplets"]),
            f"{r['residual']:.1e}",
            error,
            str(r["passes_forward"]),
            str(r["passes_transpose"]),
            figure(r["seconds"]),
        ]


def cost_row(name: str, result: Results) -> list[str]:
    sides = [result["peak"].get(side) for side in ("plain", "onnxscope", "torch")]
    return [
        name,
        figure(result["rewrite"]["seconds"]),
        *(figure(s["opening"]) if s else NONE for s in sides),
        *(f"{s['megabytes']:.0f}" if s else NONE for s in sides),
    ]


def notes(name: str, by_batch: Results) -> Iterator[str]:
    """Notes on a network's figures: by which ways torch computed its own, and why some are missing."""
    batches_of: dict[str, list[str]] = {}  # the batches that each note is about
    for batch, result in by_batch.items():
        ways = [f"{question} by {way}" for question, way in result["ways"].items()]
        fastest = [f"torch's fastest ways: {', '.join(ways)}"] if ways else []
        missing = [
            f"torch has no {question} ({'; '.join(sorted(set(tried.values())))})"
            for question, tried in result["tried"].items()
            if question not in result["ways"]
        ]
        for note in (*fastest, *missing, *result["notes"]):
            batches_of.setdefault(note, []).append(batch)
    yield from (f"{name}, batch {' and '.join(batches)}: {note}" for note, batches in batches_of.items())


if __name__ == "__main__":
    main()
