"""Make pairs of exports of the same network with the truth about which layers belong together, and judge a matcher by it.

python tools/diff/pairs.py make FOLDER [--only TEXT]    # writes FOLDER/NAME/a.onnx, b.onnx, truth.json and image.png
python tools/diff/pairs.py judge FOLDER [--only TEXT]   # runs onnxscope diff on each and prints the table

truth.json holds `pairs`, for each layer the names that may stand for it in A and those in B; `also`, pairs that may be
matched but need not be; `only_a` and `only_b`, nodes that have no partner. A node without a name is called by its first
output. Nothing else may be matched with a node that is named there. `make` needs torch; a pair is written if what each node
computes has been compared with what torch gives for that layer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from diff import judge

ONNXSCOPE = [sys.executable, "-c", "from onnxscope.cli.main import main; main()"]


def make(folder: Path, only: str) -> int:
    """Write the pairs; how many could not be made."""
    from PIL import Image

    from diff.exports import NoTruth  # these need torch, which judging does not
    from diff.layers import prepared
    from diff.plan import exported, pairs
    from diff.truth import check, groups

    network = lru_cache(1)(prepared)
    failed = 0
    for family, *sides in pairs():
        name = "-".join([family, *sides])
        if only not in name:
            continue
        try:
            a, b = (exported(network(family), side) for side in sides)
            errors = [check(network(family), export) for export in (a, b)]
            truth = groups(network(family), a, b)
        except NoTruth as problem:
            failed += 1
            print(f"{name}: not made, {problem}", flush=True)
            continue
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for file, export in (("a.onnx", a), ("b.onnx", b)):
            (target / file).write_bytes(export.model.SerializeToString(deterministic=True))
        Image.fromarray(network(family).image.transpose(1, 2, 0)).save(target / "image.png")
        (target / "truth.json").write_text(
            json.dumps({"family": family, "a": sides[0], "b": sides[1], **truth}, indent=1), encoding="utf-8"
        )
        print(f"{name}: {len(truth['pairs'])} layers, within {errors[0]:.0e} and {errors[1]:.0e}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("make", "judge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="only pairs whose name contains this")
    parser.add_argument(
        "--command",
        nargs="+",
        default=ONNXSCOPE,
        help="in place of onnxscope",
    )
    options = parser.parse_args()
    if options.task == "make":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        return 1 if make(options.folder, options.only) else 0
    return judge.judge(options.folder, options.only, options.command)


if __name__ == "__main__":
    sys.exit(main())
