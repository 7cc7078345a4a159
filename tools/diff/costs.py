"""Measure what a comparison of two exports costs: the time of a further image, and the memory of a folder of them.

python tools/diff/costs.py A.onnx B.onnx [--seconds 20] [--memory FOLDER]

Times are medians of interleaved runs, beside plain onnxruntime on A. For the memory, small pictures are written to the
folder, and `onnxscope diff` runs on 50 and on 1,000 of them in processes of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import Failed, figure, ratio, stage, table

STAGES = Path(__file__).with_name("costs_stages.py")
PLAIN = "plain A"
FEW, MANY = 50, 1000


def times(milliseconds: Mapping[str, float]) -> str:
    """The table of times."""
    plain = milliseconds[PLAIN]
    rows = [(name, figure(took), f"{took / plain:.2f}") for name, took in milliseconds.items()]
    return table(("of one further image", "ms", f"× {PLAIN}"), rows)


def memory(a: Path, b: Path, folder: Path) -> str:
    """The table of peak memory."""
    peaks = {}
    for count in (FEW, MANY):
        stage(STAGES, "write", folder / str(count), a, count)
        peaks[count] = stage(STAGES, "peak", a, b, folder / str(count))
    rows = [(f"{count:,}", ratio(peak, peaks[FEW])) for count, peak in peaks.items()]
    return table(("images", "MB"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--seconds", type=float, default=20, help="time for the rounds (20)")
    parser.add_argument("--memory", type=Path, metavar="FOLDER", help="also measure memory; pictures go here")
    options = parser.parse_args()
    try:
        print(times(stage(STAGES, "times", options.a, options.b, options.seconds)), flush=True)
        if options.memory:
            print("\n" + memory(options.a, options.b, options.memory))
    except Failed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
