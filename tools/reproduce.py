"""Repeat the figures and tables of two papers with the small networks in models/, and compare the results.

    pip install '.[train]'
    python tools/reproduce.py                       # all of them, into the folder `reproduced`
    python tools/reproduce.py figure5 --out FOLDER

It writes pictures and REPORT.md. The papers are "A Tour of Convolutional Networks Guided by Linear
Interpreters" (table3, figure4 to figure7) and "Delving Deep into Interpreting Neural Nets with Piece-wise
Affine Representation" (delving3).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from figures_images import figure5, figure6, figure7
from figures_scores import delving3, figure4, table3
from findings import Absent, Finding

from onnxscope.files.models import write

TARGETS: dict[str, Callable[[int], Finding]] = {
    "table3": table3,
    "figure4": figure4,
    "figure5": lambda count: figure5(),
    "figure6": lambda count: figure6(),
    "figure7": lambda count: figure7(),
    "delving3": delving3,
}
HEAD = """# Reproduced

Two papers make claims about large networks, which were trained on ImageNet and many photographs. Here these
claims are tested on small networks: classifiers of drawn scenes, a generator that paints the labels of such
scenes, and two super-resolution networks that learned from eight photographs. A claim that does not hold for
these is not refuted by that, and one that does hold is not proved.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Repeat the papers' figures and tables.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (all)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        default=Path("reproduced"),
        help="where pictures and REPORT.md are written (reproduced)",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        default=100,
        help="the number of scenes that means are taken over (100)",
    )
    options = parser.parse_args()
    if wrong := [target for target in options.targets if target not in TARGETS]:
        parser.error(f"there is no target '{wrong[0]}': choose {', '.join(TARGETS)}")
    if options.count < 1:
        parser.error("--count: the number of scenes must be at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    sections = [HEAD]
    for target in options.targets or TARGETS:
        sections.append(section(target, options.count, options.out))
        print(sections[-1], flush=True)
    save(options.out / "REPORT.md", "\n".join(sections).encode())


def section(target: str, count: int, folder: Path) -> str:
    """Write a target's pictures, and return its section of the report in Markdown."""
    try:
        finding = TARGETS[target](count)
    except Absent as absent:
        return f"## {target}\n\nLeft out: {absent} is not there.\n"
    for name, picture in finding.pictures.items():
        save(folder / name, picture)
    return finding.markdown(f"python tools/reproduce.py {target} --count {count}")


def save(path: Path, data: bytes) -> None:
    write({path: iter([data])}, path)


if __name__ == "__main__":
    main()
