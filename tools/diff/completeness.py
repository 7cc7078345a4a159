"""Measure what is left of the difference of two exports when the layers' contributions are taken away.

python tools/diff/completeness.py A.onnx B.onnx [PICTURE|FOLDER ...] [--count 100]
python tools/diff/completeness.py --pairs LIST [PICTURE|FOLDER ...] [--count 100]

Of each picture, the remainder is divided by what is allowed: the larger of 1e-5 of A's value and the runtime's noise.
Pictures that are missing are parts of those given, or noise with the spectrum of photographs.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import table

import onnxscope
from diff.given import given, title
from diff.pictures import gathered
from onnxscope.api.rows import Row
from onnxscope.errors import ScopeError

ALLOWED = 1e-5  # of A's value
HEAD = ("pair", "question", "images", "largest", "above 1", "on", "remainder", "noise", "A's value")


def rows_of(a: Path, b: Path, pictures: Sequence[Path], count: int | None) -> list[Row]:
    """What diff finds for each picture."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        onnxscope.diff(a, b, gathered(pictures, count, a, Path(folder)), rows=rows)
        return [Row.read(line) for line in rows.read_text(encoding="utf-8").splitlines()[1:]]


def excess(row: Row) -> float:
    """The remainder, where 1 is allowed."""
    found = abs(row.remainder) / max(ALLOWED * abs(row.value_a), row.noise)
    return math.inf if math.isnan(found) else found


def cells(pair: str, rows: Sequence[Row]) -> list[str]:
    worst = max(rows, key=excess)
    above = sum(excess(row) > 1 for row in rows)
    figures = [f"{x:.3g}" for x in (worst.remainder, worst.noise, worst.value_a)]
    return [pair, worst.question, str(len(rows)), f"{excess(worst):.3g}", str(above), worst.image, *figures]


def main() -> int:
    options, measured, failed = given(__doc__ or ""), list[list[str]](), 0
    for a, b in options.pairs:
        try:
            measured.append(cells(title(a, b), rows_of(a, b, options.pictures, options.count)))
        except ScopeError as error:
            failed += 1
            print(f"{title(a, b)}: {error}", file=sys.stderr)
    if measured:
        print(table(HEAD, measured))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
