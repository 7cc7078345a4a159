"""Check that onnxscope computes on CUDA what it computes on the CPU, and measure how fast.

    python tools/check_gpu.py                          # all networks
    python tools/check_gpu.py squeezenet --device cpu  # a rehearsal without a GPU

The exit code is 2 if CUDA does not run, and 1 if a check fails.

Two devices round differently, and sometimes that leads to another decision: a Relu at 1e-9 is open or not. So
F and Fᵀ are judged with the decisions of the CPU, which the device is given. Separate columns show how far
the results are away with the device's own decisions.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from contenders import difference, image, in_batches, opened, plain, prepared, probes
from measuring import NAMES, THREADS, figure, interleaved, machine, ratio, table, write_part

from onnxscope import LinearInterpreter, OpenModel, ScopeError
from onnxscope.linear.svd.decompose import svd
from onnxscope.run.engine import FrozenMap
from onnxscope.runtime import Device, no_cuda

BATCHES = (1, 8, 32)
MEMORY = 8 << 30  # bytes, enough for 32 probes at once
K, TOL, MOST_SECONDS = 8, 1e-4, 60.0
PACKAGES = ("onnxscope", "onnxruntime-gpu", "onnxruntime", "numpy")
# The columns, and the largest differences that rounding in float32 explains. A column that another decision
# may change has no bound.
CHECKS = {
    "y0": 1e-4,
    "F·v": 1e-4,
    "Fᵀ·u": 1e-4,
    "σ": 1e-4,
    "F·x0 + r = y0": 1e-4,
    "⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩": 1e-5,
    "F·v, own": None,
    "Fᵀ·u, own": None,
    "r": None,
}


@dataclass
class Report:
    """What is printed at the end."""

    checks: list[list[str]] = field(default_factory=list)
    times: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def text(self, where: dict[str, str]) -> str:
        bounds = ", ".join(f"{name} {bound:g}" for name, bound in CHECKS.items() if bound)
        return "\n\n".join(
            part
            for part in (
                f"{where['machine']}, {where['date']}; {where['versions']}.",
                (
                    "Relative differences from the CPU; 'own' and r with the device's own decisions. "
                    f"Bounds in float32: {bounds}."
                ),
                table(
                    ["network", "precision", *CHECKS, "triplets", "passes", "svd s", "left to the CPU"],
                    self.checks,
                ),
                (
                    "Milliseconds, medians of interleaved runs on blocks that stay on the device; "
                    "× compares with plain onnxruntime there."
                ),
                table(["network", "precision", "batch", "plain", "freeze", "F", "Fᵀ"], self.times),
                "\n".join(f"- {note}" for note in self.notes),
                "\n".join(f"- **{problem}**" for problem in self.problems) or "All within their bounds.",
            )
            if part
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and time onnxscope on CUDA.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu only to rehearse (cuda)"
    )
    parser.add_argument(
        "--seconds", type=float, default=4, help="time for the rounds of each network and batch (4)"
    )
    parser.add_argument(
        "--guide", action="store_true", help="write the tables into the guide's page costs.md"
    )
    options = parser.parse_args()
    if wrong := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no network '{wrong[0]}': choose {', '.join(NAMES)}")
    if options.guide and options.device == "cpu":
        parser.error("a rehearsal is not for the guide: leave --guide out")
    if options.device == "cuda" and (reason := no_cuda()):
        print(f"CUDA does not run here: {reason}")
        sys.exit(2)
    report = Report()
    for name in options.names or NAMES:
        print(f"{name} …", file=sys.stderr)
        try:
            check(name, Device(options.device, threads=THREADS), options.seconds, report)
        except ScopeError as error:
            report.problems.append(f"{name}: {error}")
    text = report.text(machine(PACKAGES, gpu() if options.device == "cuda" else ""))
    print(text)
    if options.guide:
        write_part("gpu", text)
    sys.exit(1 if report.problems else 0)


def gpu() -> str:
    """The GPU's name and its driver's version."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return "a GPU"
    asked = subprocess.run(
        [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    first = next(iter(asked.stdout.splitlines()), "a GPU")
    return first.replace(", ", ", driver ")


def check(name: str, on: Device, seconds: float, report: Report) -> None:
    """Run all checks of one network, and measure its times."""
    model = prepared(name)
    x0 = image(name, 0)
    cpu = opened(model, Device("cpu", threads=THREADS))
    wanted = cpu.freeze(x0)
    found = svd(wanted.map, K, tol=TOL, seconds=MOST_SECONDS)
    by_precision = {
        "float32": opened(model, on, memory=MEMORY),
        "TF32": opened(model, replace(on, tf32=True), memory=MEMORY),
    }
    for precision, ours in by_precision.items():
        figures, cost = compared(ours, wanted, decided_by(cpu, x0, ours), found.sigma[: found.converged])
        left = ours.engine.about()["left_to_cpu"]
        report.checks.append(
            [name, precision, *(f"{figures[column]:.1e}" for column in CHECKS), *cost, str(left or "nothing")]
        )
        if precision == "float32":
            report.problems += [
                f"{name}: {column} is off by {figures[column]:.1e}, the bound is {bound:g}"
                for column, bound in CHECKS.items()
                if bound and not figures[column] <= bound
            ]
    for batch in BATCHES:
        report.times += time_all(name, model, x0, batch, by_precision, seconds, report.notes)
    report.notes += [
        f"{name}, {precision}: {note}"
        for precision, ours in by_precision.items()
        for note in ours.engine.notes
    ]


def decided_by(cpu: OpenModel, x0: np.ndarray, ours: OpenModel) -> FrozenMap:
    """F on the device with the states that the CPU computed."""
    engine, there = cpu.engine, ours.engine
    feeds = engine.feeds({engine.image_input.name: x0})
    arrays = {**feeds, **engine.session(engine.programs.freeze).run(feeds)}
    device = there.session(there.programs.freeze)
    states = {name: device.value(arrays[name]) for name in there.programs.states}
    given = {name: device.value(array) for name, array in feeds.items()}
    return FrozenMap(there, states, given, arrays[there.scope.image], arrays[there.scope.output])


def compared(
    ours: OpenModel, wanted: LinearInterpreter, f: FrozenMap, sigma: np.ndarray
) -> tuple[dict[str, float], list[str]]:
    """The figure of each check, and what the singular values cost."""
    own, cpu = ours.freeze(wanted.image), wanted.map
    v, u = probes(cpu, 2)
    column, row = cpu.forward(v), cpu.transpose(u)
    found = svd(f, K, tol=TOL, seconds=MOST_SECONDS)
    both = min(len(sigma), found.converged)
    off = abs(found.sigma[:both] - sigma[:both]) / sigma[:1]
    figures = {
        "y0": difference(own.output, wanted.output),
        "F·v": difference(f.forward(v), column),
        "Fᵀ·u": difference(f.transpose(u), row),
        "σ": float(off.max()) if both else math.nan,
        "F·x0 + r = y0": difference(own.project(own.image) + own.residual(), own.output),
        "⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩": own.dot_test().figure,
        "F·v, own": difference(own.map.forward(v), column),
        "Fᵀ·u, own": difference(own.map.transpose(u), row),
        "r": difference(own.residual(), wanted.residual()),
    }
    return figures, [str(both), f"{found.passes_forward} + {found.passes_transpose}", figure(found.seconds)]


def time_all(
    name: str,
    model: onnx.ModelProto,
    x0: np.ndarray,
    batch: int,
    by_precision: Mapping[str, OpenModel],
    seconds: float,
    notes: list[str],
) -> Iterator[list[str]]:
    """A row of times for each precision. A run returns when the device has finished it."""
    contenders: dict[str, Callable[[], object]] = {}
    for precision, ours in by_precision.items():
        f = ours.freeze(x0).map
        if f.batch < batch:
            notes.append(
                f"{name}, {precision}: {batch} probes at once are more than the {f.batch} that it takes"
            )
            continue
        contenders |= competing(precision, model, ours, f, batch)
    took = interleaved(contenders, seconds)
    for precision in by_precision:
        if f"{precision} plain" in took:
            floor, freeze = took[f"{precision} plain"], took.get(f"{precision} freeze")
            yield [
                name,
                precision,
                str(batch),
                figure(floor),
                figure(freeze) if freeze else "–",
                *(ratio(took[f"{precision} {side}"], floor) for side in ("F", "Fᵀ")),
            ]


def competing(
    precision: str, model: onnx.ModelProto, ours: OpenModel, f: FrozenMap, batch: int
) -> dict[str, Callable[[], object]]:
    v, u = (space.of(block) for space, block in zip((f.inputs, f.outputs), probes(f, batch), strict=True))
    runs: dict[str, Callable[[], object]] = {
        f"{precision} plain": plain(
            in_batches(model, batch).SerializeToString(), f.x0, batch, ours.engine.on
        ),
        f"{precision} F": lambda: f.forward(v),
        f"{precision} Fᵀ": lambda: f.transpose(u),
    }
    if batch == 1:
        runs[f"{precision} freeze"] = lambda: ours.freeze(f.x0)
    return runs


if __name__ == "__main__":
    main()
