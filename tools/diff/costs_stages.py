"""The stages of tools/diff/costs.py. Each runs in a process of its own, and prints what it measured as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from measuring import interleaved, peak_megabytes

from diff.pictures import gathered, image_size, noise
from onnxscope.api.differing import Comparing
from onnxscope.api.two_models import Reading, TwoModels
from onnxscope.cli.main import main as onnxscope
from onnxscope.runtime import Session

SEED = 0


def times(a: str, b: str, seconds: str) -> dict[str, float]:
    """Median milliseconds of one further image once it is read, of its parts, and of plain onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        (image,) = gathered([], 1, Path(a), Path(folder))
        return interleaved(contenders(a, b, image), float(seconds))


def contenders(a: str, b: str, image: Path) -> dict[str, Callable[[], object]]:
    models = TwoModels(a, b, Reading())
    comparing, fed = Comparing(models), models.fed(image)
    at = models.at(image, fed)
    comparing.row("first", at)
    pair, policy = models.pair, models.options.policy
    asked, sums = comparing.asked(models.reader(at), at)
    sessions = [Session(Path(file)) for file in (a, b)]
    feeds = [fed, models.fed_b(image, fed)]
    return {
        "plain A": lambda: sessions[0].run({n: feeds[0][n] for n in sessions[0].inputs}),
        "plain B": lambda: sessions[1].run({n: feeds[1][n] for n in sessions[1].inputs}),
        "whole row": lambda: comparing.row("further", models.at(image, fed)),
        "A": lambda: pair.sides[0].run(at.a.fed),
        "B": lambda: pair.sides[1].run(at.b.fed),
        "ledger": lambda: pair.pays(at, sums, asked.constant),
        "linear parts": lambda: pair.in_filter(at, sums, policy),
    }


def write(folder: str, a: str, count: str) -> int:
    """Write noise of the size of A's image; how many pictures."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    height, width = image_size(Path(a))
    random = np.random.default_rng(SEED)
    for number in range(int(count)):
        Image.fromarray(noise(height, width, random)).save(Path(folder) / f"{number:04}.png")
    return int(count)


def peak(a: str, b: str, folder: str) -> float:
    """The peak memory of a comparison on the pictures in a folder, in MB."""
    try:
        onnxscope(["diff", a, b, "--image", folder])
    except SystemExit as end:
        if end.code:
            raise
    return peak_megabytes()


STAGES: dict[str, Callable[..., Any]] = {"times": times, "write": write, "peak": peak}

if __name__ == "__main__":
    print(json.dumps(STAGES[sys.argv[1]](*sys.argv[2:])))
