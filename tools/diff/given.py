"""What the measuring tools are given: pairs of models, and pictures."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Given:
    """Pairs of models, files and folders of pictures, how many pictures are wanted, and the question."""

    pairs: Sequence[tuple[Path, Path]]
    pictures: Sequence[Path]
    count: int | None
    ask: str


def given(description: str) -> Given:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="A, B, and pictures or folders")
    parser.add_argument("--pairs", type=Path, metavar="LIST", help="a file with A and B on each line")
    parser.add_argument("--ask", default="distance", help="the question, where a tool takes one")
    parser.add_argument("--count", type=int, metavar="N", help="so many pictures; those missing are made")
    options = parser.parse_args()
    if options.count is not None and options.count < 1:
        parser.error("--count must be at least 1")
    if options.pairs:
        return Given(listed(options.pairs), options.files, options.count, options.ask)
    if len(options.files) < 2:
        parser.error("name A and B, or --pairs LIST")
    a, b, *pictures = options.files
    return Given([(a, b)], pictures, options.count, options.ask)


def listed(file: Path) -> list[tuple[Path, Path]]:
    """The pairs in a file, whose names are relative to its folder."""
    lines = [shlex.split(line) for line in file.read_text(encoding="utf-8").splitlines()]
    if any(len(line) not in (0, 2) for line in lines):
        raise SystemExit(f"{file}: each line must hold two names")
    return [(file.parent / line[0], file.parent / line[1]) for line in lines if line]


def title(a: Path, b: Path) -> str:
    """How a pair is called: what the names of both begin with is said once."""
    return f"{a.stem} / {b.stem.removeprefix(a.stem) or b.stem}"
