"""Compare the estimates of memory with what fresh processes take.

    python tools/measure_memory.py models/*.onnx --side 96        # a table: measured, estimated, their ratio

Free heights and widths are given as the side. The measured peak is VmHWM of a child process, which Linux has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from measuring import table

ROOT = Path(__file__).parents[1]
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
verb, path, shapes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
import onnxscope
from onnxscope import runtime
if verb == "plain":
    session = runtime.Session(Path(path))
    kinds = {"float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64, "uint8": np.uint8}
    session.run({n: np.ones(shapes[n], kinds[k[7:-1]]) for n, k in session.inputs.items()})
else:
    x = onnxscope.load(path, input_shapes=shapes, device="cpu")
    x.freeze(np.random.default_rng(0).random(shapes[x.engine.image_input.name]).astype(np.float32)).row(0)
status = Path("/proc/self/status").read_text()
print(1024 * int(status.partition("VmHWM:")[2].split()[0]))
"""


def measured(verb: str, path: Path, shapes: dict[str, list[int]]) -> int:
    """The peak of the resident memory of a fresh process, in bytes."""
    command = [sys.executable, "-c", CHILD, verb, str(path), json.dumps(shapes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stdout)


def shapes_of(path: Path, side: int) -> dict[str, list[int]]:
    """The shapes of a model's inputs: 1 for a free leading size, and the side for others."""
    from onnxscope.files.models import load
    from onnxscope.rewriting.sizes import input_sizes

    sizes = input_sizes(load(path)).items()
    return {name: [d or (side if k else 1) for k, d in enumerate(shape)] for name, shape in sizes}


def compared(path: Path, side: int) -> list[tuple[str, str, str, str, str]]:
    """Of a plain run and of a row: what was measured, what was estimated, and how many times that is."""
    import onnxscope

    shapes, found = shapes_of(path, side), []
    for verb, estimated in onnxscope.doctor(path, input_shapes=shapes).memory.items():
        peak = measured(verb, path, shapes)
        figures = (f"{peak / 1e6:.0f}", f"{estimated / 1e6:.0f}", f"{estimated / peak:.2f}")
        found.append((path.stem, verb, *figures))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--side", type=int, default=96)
    given = parser.parse_args()
    rows = [row for path in given.models for row in compared(path, given.side)]
    print(table(("model", "run", "measured, MB", "estimated, MB", "ratio"), rows))


if __name__ == "__main__":
    main()
