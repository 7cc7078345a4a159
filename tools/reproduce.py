"""Draw the figures and tables of two papers anew, with the small networks in models/, and set what they show beside what the papers say.

    pip install '.[train]'
    python tools/reproduce.py                       # all of them: pictures and REPORT.md in the folder `reproduced`
    python tools/reproduce.py figure5 --out FOLDER

The papers: "A Tour of Convolutional Networks Guided by Linear Interpreters" (table3, figure4 to figure7) and "Delving Deep into
Interpreting Neural Nets with Piece-wise Affine Representation" (delving3).
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

What two papers report of large networks, trained on ImageNet and many photographs, looked for in small ones: classifiers of drawn scenes,
a generator that paints their labels, and two super-resolution networks that learned from eight photographs. A claim that does not show
here is not refuted by that, nor is one that does proved.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the papers' figures and tables anew.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (all)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        default=Path("reproduced"),
        help="for pictures and REPORT.md (reproduced)",
    )
    parser.add_argument(
        "--count", type=int, metavar="N", default=100, help="the scenes that averages are taken over (100)"
    )
    options = parser.parse_args()
    if wrong := [target for target in options.targets if target not in TARGETS]:
        parser.error(f"there is no target '{wrong[0]}': choose {', '.join(TARGETS)}")
    if options.count < 1:
        parser.error("--count: at least one scene is needed")
    options.out.mkdir(parents=True, exist_ok=True)
    sections = [HEAD]
    for target in options.targets or TARGETS:
        sections.append(section(target, options.count, options.out))
        print(sections[-1], flush=True)
    save(options.out / "REPORT.md", "\n".join(sections).encode())


def section(target: str, count: int, folder: Path) -> str:
    """A target's part of the report, in Markdown; its pictures are written."""
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
