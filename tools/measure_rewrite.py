"""Measure the time, the peak memory and the size of rewriting the classic networks.

    python tools/measure_rewrite.py resnet50 vgg19

Each network is made in one process and rewritten in another: a process inherits the peak of the one that
starts it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))


def make(path: Path) -> None:
    import onnx
    from light import light_model

    onnx.save(light_model(path.stem), path)


def measure(path: Path) -> None:
    """Rewrite a model with the proof, save the scope, and print what this cost."""
    import onnxscope

    began = time.perf_counter()
    target = onnxscope.rewrite(path).save(path.with_suffix(".scope.onnx"))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size, written = path.stat().st_size, target.stat().st_size
    print(
        json.dumps(
            {"seconds": seconds, "memory": peak / size, "megabytes": peak / 1e6, "size": written / size}
        )
    )


def in_a_process(stage: str, path: Path) -> str:
    return subprocess.run(
        [sys.executable, __file__, stage, str(path)], capture_output=True, text=True, check=True
    ).stdout


def main(names: list[str]) -> None:
    from light import NAMES

    print(f"{'network':<14}{'rewrite s':>10}{'peak MB':>10}{'peak / model':>14}{'artifact / model':>18}")
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            in_a_process("--make", path)
            m = json.loads(in_a_process("--measure", path))
        print(f"{name:<14}{m['seconds']:>10.2f}{m['megabytes']:>10.0f}{m['memory']:>14.2f}{m['size']:>18.4f}")


if __name__ == "__main__":
    stages = {"--make": make, "--measure": measure}
    if sys.argv[1:2] and sys.argv[1] in stages:
        stages[sys.argv[1]](Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
