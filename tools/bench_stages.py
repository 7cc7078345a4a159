"""The stages of tools/bench.py. Each runs in a process of its own, and prints what it measured as JSON.

python tools/bench_stages.py speed resnet50 8 20
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from bench_svd import decompositions
from contenders import (
    agreement,
    difference,
    first_agreeing,
    image,
    in_batches,
    opened,
    plain,
    prepared,
    probes,
)
from measuring import THREADS, interleaved, peak_megabytes

import onnxscope
from onnxscope.linear.linear_map import LinearMap, rows
from onnxscope.runtime import Device

ON = Device("cpu", threads=THREADS)
COMPARED = "edsr_small"  # the network whose singular values are also computed by other solvers
TANGENTS = {"cyclegan"}  # networks whose F under `freeze` is not the derivative, which torch computes


def prepare(name: str, batch: str, path: str) -> None:
    onnx.save(in_batches(prepared(name), int(batch)), path)


def speed(name: str, batch: str, seconds: str) -> dict[str, Any]:
    """Median times of plain onnxruntime, onnxscope and torch, once both compute the same F·v and Fᵀ·u."""
    model, count = prepared(name), int(batch)
    notes: list[str] = []
    ours = opened(model, ON)
    judged = opened(model, ON, policy="taylor") if name in TANGENTS else ours
    side, net = in_torch(model, notes)
    seed, off, agree = 0, dict[str, float](), agreement(name)
    if side and net:
        seed, off = first_agreeing(
            lambda seed: disagreement(judged.freeze(image(name, seed)), side, net, count), agree
        )
        if max(off.values()) > agree:
            raise SystemExit(f"torch and onnxscope disagree on every image: {off}")
    x0 = image(name, seed)
    f = ours.freeze(x0).map
    v, u = probes(f, count)
    floor = plain(in_batches(model, count).SerializeToString(), x0, count, ON)
    contenders: dict[str, Callable[[], object]] = {
        "plain": floor,
        "F": lambda: f.forward(v),
        "Fᵀ": lambda: f.transpose(u),
        "step": lambda: svd_step(f, v),
    }
    if count == 1:
        contenders["freeze"] = lambda: ours.freeze(x0)
    about: dict[str, Any] = {"image": seed, "agreement": off, "notes": notes, "ways": {}, "tried": {}}
    if side and net:
        g = judged.freeze(x0).map
        theirs = side.entered(net, x0, (v, u), (g.forward(v), g.transpose(u)), agree)
        contenders |= theirs.contenders
        about |= {"ways": theirs.ways, "tried": theirs.tried}
        if name in TANGENTS:
            notes.append(
                "torch's derivative is checked against the policy taylor; timed is freeze, whose F·v differs "
                f"by {difference(f.forward(v), g.forward(v)):.2g}"
            )
    return about | {"milliseconds": interleaved(contenders, float(seconds))}


def in_torch(model: onnx.ModelProto, notes: list[str]) -> tuple[ModuleType | None, Any]:
    """The module `torch_side` and the network in torch; None and a note if one of them is not to be had."""
    try:
        import torch_side
    except ImportError as error:
        notes.append(f"torch's side is not installed ({error})")
        return None, None
    torch_side.settle()
    try:
        return torch_side, torch_side.converted(model)
    except Exception as error:  # onnx2torch can raise any exception
        notes.append(f"onnx2torch does not convert it ({torch_side.reason(error)})")
        return torch_side, None


def disagreement(
    interpreter: onnxscope.LinearInterpreter, side: ModuleType, net: Any, batch: int
) -> dict[str, float]:
    f = interpreter.map
    v, u = probes(f, batch)
    column, row = side.plainly(net, interpreter.image, v, u)
    return {"F": difference(f.forward(v), column), "Fᵀ": difference(f.transpose(u), row)}


def svd_step(f: LinearMap, v: np.ndarray) -> np.ndarray:
    """One step of Algorithm 1 for each vector of a block."""
    back = f.transpose(f.forward(v))
    return np.asarray(back / np.linalg.norm(rows(back), axis=1).reshape(-1, *[1] * (v.ndim - 1)))


def rewrite(path: str, target: str) -> dict[str, float]:
    """The seconds to rewrite a model with the proof, and to save the scope."""
    began = time.perf_counter()
    onnxscope.rewrite(path).save(target)
    return {"seconds": time.perf_counter() - began}


def peak(side: str, name: str, path: str, batch: str, *ways: str) -> dict[str, float]:
    """The seconds until the model in a file can run, and the memory that this and one block both ways take.

    The memory of the imports is not counted.
    """
    if side == "torch":
        import torch_side

        torch_side.settle()
    imports, began = peak_megabytes(), time.perf_counter()
    run = PEAKS[side](path, image(name, 0), int(batch), *ways)
    opening = time.perf_counter() - began
    run()
    run()
    return {"opening": opening, "megabytes": peak_megabytes() - imports}


def peak_plain(path: str, x0: np.ndarray, batch: int) -> Callable[[], object]:
    return plain(Path(path), x0, batch, ON)


def peak_onnxscope(path: str, x0: np.ndarray, batch: int) -> Callable[[], object]:
    ours = onnxscope.load(path, device="cpu", threads=THREADS)
    programs = ours.engine.programs
    for program in (programs.freeze, programs.linear, programs.transpose):
        ours.engine.session(program)

    def run() -> None:
        f = ours.freeze(x0).map
        svd_step(f, probes(f, batch)[0])

    return run


def peak_torch(path: str, x0: np.ndarray, batch: int, column: str, row: str) -> Callable[[], object]:
    """The same by torch, in the ways that were the fastest."""
    import torch
    import torch_side

    net, image = torch_side.converted(onnx.load(path)), torch.from_numpy(x0)

    def run() -> None:
        forward, back = (torch_side.named(way)(net, image, batch) for way in (column, row))
        torch_side.svd_step(forward, back, torch_side.repeated(image, batch))

    return run


def svd(name: str) -> dict[str, Any]:
    return decompositions(opened(prepared(name), ON).freeze(image(name, 0)), compare=name == COMPARED)


PEAKS: dict[str, Callable[..., Callable[[], object]]] = {
    "plain": peak_plain,
    "onnxscope": peak_onnxscope,
    "torch": peak_torch,
}
STAGES: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "speed": speed,
    "rewrite": rewrite,
    "peak": peak,
    "svd": svd,
}

if __name__ == "__main__":
    print(json.dumps(STAGES[sys.argv[1]](*sys.argv[2:])))
