"""Time, peak memory and size of rewriting the classic networks, each in a process of its own.

    python tools/measure_rewrite.py resnet50 vgg19
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

TESTS = Path(__file__).parents[1] / "tests"


def measure(path: Path) -> None:
    """In the child: rewrite with the proof, save, and print what it took."""
    import onnxscope

    began = time.perf_counter()
    target = onnxscope.rewrite(path).save(path.with_suffix(".scope.onnx"))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size, written = path.stat().st_size, target.stat().st_size
    nodes = len(onnx.load(path).graph.node)
    print(json.dumps({"seconds": seconds, "memory": peak / size, "size": written / size, "per_node": (written - 1.05 * size) / nodes}))


def main(names: list[str]) -> None:
    sys.path.insert(0, str(TESTS))
    from light import NAMES, light_model

    print(f"{'network':<14}{'rewrite s':>10}{'peak memory / model':>21}{'artifact / model':>18}{'bytes per node beyond 1.05':>28}")
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(light_model(name), path)
            done = subprocess.run([sys.executable, __file__, "--one", str(path)], capture_output=True, text=True, check=True)
        m = json.loads(done.stdout)
        print(f"{name:<14}{m['seconds']:>10.2f}{m['memory']:>21.2f}{m['size']:>18.4f}{m['per_node']:>28.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
