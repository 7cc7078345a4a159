"""What an audit costs beside the passes that it makes: isolation, the machinery of the audit, and each engine.

python tools/audit_costs.py [--model MODEL] [--pictures FOLDER] [--count 40] [--engines local,ray,dask]

All figures come from one run, so that only their ratios count: the same measures are made in one process without an
audit, in an isolated process, by one worker, by two, and on each engine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onnxscope.audit.answers import JOB
from onnxscope.files.folders import pictures_in
from onnxscope.work.engines import Engine, spread
from onnxscope.work.isolated import HOSTS, Isolated, Isolation
from onnxscope.work.jobs import Work
from onnxscope.work.walls import Limits

MODELS = Path(__file__).parents[1] / "models"
CHECKS = {
    "0": {"measure": "ledger-completeness"},
    "1": {"measure": "noise-gain"},
    "2": {"measure": "insertion", "method": "grad-cam"},
}
EMPTY = {"method": "", "than": "", "question": "", "settings": {}, "baseline": ""}


def seconds(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def items(pictures: Sequence[Path]) -> list[dict[str, Any]]:
    checks = json.dumps({k: {**EMPTY, **c} for k, c in CHECKS.items()})
    return [
        {"number": k, "picture": str(p), "beside": "", "label": "", "checks": checks}
        for k, p in enumerate(pictures)
    ]


def batch(item: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.array([value]) for key, value in item.items()}


def isolation_costs(work: Work, isolation: Isolation, asked: list[dict[str, Any]]) -> dict[str, float]:
    """What a process with walls adds: to opening a model, and to each picture."""
    HOSTS.give(HOSTS.take(isolation.modules))  # it has imported all: it serves every model of an audit
    work.opened()(batch(asked[0]))
    opening = median(seconds(lambda: Isolated(work, isolation).close()) for _ in range(5))
    own = median(seconds(work.opened) for _ in range(5))
    here, there = work.opened(), Isolated(work, isolation)
    ours, theirs = [], []
    for item in [asked[0], *asked]:
        ours.append(seconds(lambda i=item: here(batch(i))))  # type: ignore[misc]
        theirs.append(seconds(lambda i=item: there(batch(i))))  # type: ignore[misc]
    there.close()
    added = sum(theirs[1:]) / sum(ours[1:]) - 1
    return {"added to opening, ms": 1000 * (opening - own), "added to a picture, %": 100 * added}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / "scenes_vgg_bn.onnx")
    parser.add_argument("--pictures", type=Path, default=MODELS / "scenes")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--engines", default="local")
    given = parser.parse_args()
    found = pictures_in(given.pictures)
    asked = items([found[k % len(found)] for k in range(given.count)])
    settings = {
        "model": {"file": str(given.model.absolute())},
        "running": {"device": "cpu", "threads": 1},
        "first": asked[0]["picture"],
        "seed": 0,
        "memory": None,
    }
    work = Work(JOB, settings)
    folders = (str(given.model.absolute().parent), str(given.pictures.absolute()))
    isolation = Isolation(Limits(readable=folders), (JOB.partition(":")[0],))
    print(json.dumps({"isolation": isolation_costs(work, isolation, asked)}))
    job = work.opened()
    alone = seconds(lambda: [job(batch(item)) for item in asked])
    for on in given.engines.split(","):
        for workers in (1, 2):
            engine = Engine(on, workers, 1, isolation)
            list(spread(work, asked[:workers], engine))  # the engine has started
            whole = seconds(lambda e=engine: list(spread(work, asked, e)))  # type: ignore[misc]
            facts = {"engine": on, "workers": workers, "times one process": round(whole / alone, 3)}
            print(
                json.dumps(
                    {
                        **facts,
                        "overhead a picture, ms": round(1000 * (workers * whole - alone) / len(asked), 2),
                    }
                )
            )


if __name__ == "__main__":
    main()
