"""Train one of the models in models/ on data that come with Python packages, and write it with its card.

    pip install '.[train]'
    python tools/train.py edsr_small models

The network is an ONNX graph that the tests build. Torch computes this graph, and the trained weights are
written back into it.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import time
from pathlib import Path

import onnx
import torch
from recipes import QUICK_STEPS, RECIPES, SEED

THREADS = 1  # so that sums have a fixed order, and a run can be repeated exactly on the same processor


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model and write it with its card.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("folder", type=Path, help="where NAME.onnx and NAME.md are written")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STEPS} steps only, to see that everything runs"
    )
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    began = time.perf_counter()
    trained = RECIPES[options.name](options.quick)
    seconds = time.perf_counter() - began
    onnx.checker.check_model(trained.model, full_check=True)
    data = trained.model.SerializeToString(deterministic=True)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    card = [
        f"# {options.name}",
        "",
        trained.card,
        "",
        f"Made by `python tools/train.py {options.name} {options.folder.name}{' --quick' * options.quick}`:",
        f"{trained.steps} steps, seed {SEED}, {seconds / 60:.1f} minutes on {THREADS} core, {versions}.",
        "On another kind of processor the last bits differ.",
        "",
        f"{len(data):,} bytes, sha256 `{hashlib.sha256(data).hexdigest()}`.",
        "",
    ]
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / f"{options.name}.onnx").write_bytes(data)
    (options.folder / f"{options.name}.md").write_text("\n".join(card), encoding="utf-8")
    print("\n".join(card))


if __name__ == "__main__":
    main()
