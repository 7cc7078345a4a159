"""Put faults into exported networks, one at a time, and judge which layer each tool names first.

python tools/diff/faults.py make FOLDER               # FOLDER/KIND-NETWORK/a.onnx, b.onnx, truth.json, image
python tools/diff/faults.py judge FOLDER [--only TEXT] [--wrong] [--tool onnxscope|qdq_loss_debug|polygraphy]
python tools/diff/faults.py table FOLDER [--by-kind]  # of what was judged

What is judged is kept in FOLDER/results.json, so that each tool can be asked in an environment of its own:
`pip install onnx onnxruntime polygraphy numpy pillow` is enough for Polygraphy.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from diff import answers, verdicts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=["make", "judge", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases whose name holds TEXT")
    parser.add_argument("--tool", default="onnxscope", choices=list(answers.TOOLS))
    parser.add_argument("--command", metavar="WORDS", help="what to call in place of onnxscope")
    parser.add_argument("--wrong", action="store_true", help="not the cases that it has answered rightly")
    parser.add_argument("--by-kind", action="store_true", help="one row for each kind")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.task == "make":
        from diff import cases  # what makes the cases needs more packages than what judges them

        cases.make(given.folder, given.only)
    elif given.task == "judge":
        command = shlex.split(given.command) if given.command else answers.OWN
        verdicts.judge(given.folder, given.tool, given.only, command, right_ones=not given.wrong)
        print("\n" + verdicts.totals(given.folder, given.only))
    else:
        written = verdicts.by_kind if given.by_kind else verdicts.table
        print(written(given.folder, given.only))


if __name__ == "__main__":
    main()
