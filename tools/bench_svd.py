"""What singular value decompositions of F cost: by onnxscope, scipy's PROPACK and the paper's Algorithm 1."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from scipy.sparse.linalg import svds

import onnxscope
from onnxscope.linear.linear_map import Block, Filter, LinearMap, rows
from onnxscope.linear.svd.decompose import Svd

K, TOL, MOST_SECONDS = 8, 1e-4, 120.0
FINE = 1e-6  # the tolerance of the singular values that those of all solvers are compared with
LOOSEST_FIRST = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
SIGMA_ERROR, STEPS = 1e-3, (50, 100, 150, 200, 300, 400)  # for Algorithm 1, which has no residual to stop at


class Counted:
    """A linear map that counts the vectors of each pass."""

    def __init__(self, f: LinearMap) -> None:
        self.f, self.inputs, self.outputs, self.batch = f, f.inputs, f.outputs, f.batch
        self.passes_forward = self.passes_transpose = 0

    def forward(self, block: Block) -> Block:
        self.passes_forward += len(block)
        return self.f.forward(block)

    def transpose(self, block: Block) -> Block:
        self.passes_transpose += len(block)
        return self.f.transpose(block)


def decompositions(interpreter: onnxscope.LinearInterpreter, *, compare: bool) -> dict[str, Any]:
    """The leading triplets by onnxscope and, to compare, by others; σ is compared with that of ARPACK."""
    f = interpreter.map
    found = interpreter.svd(K, tol=TOL, seconds=MOST_SECONDS)
    solvers = {"onnxscope": taken(found) | {"triplets": found.converged}}
    if compare:
        exact = scipys("arpack", f, FINE)[0]
        solvers["onnxscope"]["sigma_error"] = error(found.sigma, exact)
        solvers["PROPACK"] = propack(f, exact)
        solvers["Algorithm 1"] = algorithm_1(interpreter, exact)
    sizes = (math.prod(space.shape) for space in (f.outputs, f.inputs))
    return {"size": " × ".join(f"{size:,}" for size in sizes), "solvers": solvers}


def taken(found: Svd) -> dict[str, Any]:
    return {
        "triplets": len(found.sigma),
        "residual": float(found.residual.max()),
        "passes_forward": found.passes_forward,
        "passes_transpose": found.passes_transpose,
        "seconds": found.seconds,
    }


def error(sigma: np.ndarray, exact: np.ndarray) -> float:
    """The worst relative error of a singular value."""
    return float(np.max(abs(sigma - exact) / exact))


def scipys(solver: str, f: LinearMap, tol: float) -> tuple[np.ndarray, dict[str, Any]]:
    """The singular values by one of scipy's solvers, and what they cost."""
    counted, began = Counted(f), time.perf_counter()
    u, sigma, vt = svds(Filter(counted), k=K, tol=tol, solver=solver, rng=np.random.default_rng(0))
    seconds = time.perf_counter() - began
    ahead = rows(f.forward(f.inputs.of(vt))) - sigma[:, None] * u.T
    back = rows(f.transpose(f.outputs.of(u.T))) - sigma[:, None] * vt
    residual = max(np.linalg.norm(side, axis=1).max() for side in (ahead, back)) / sigma.max()
    return np.sort(sigma)[::-1], {
        "triplets": len(sigma),
        "residual": float(residual),
        "passes_forward": counted.passes_forward,
        "passes_transpose": counted.passes_transpose,
        "seconds": seconds,
    }


def propack(f: LinearMap, exact: np.ndarray) -> dict[str, Any]:
    """PROPACK with the loosest of its tolerances that reaches the residual which onnxscope must reach."""
    for tol in LOOSEST_FIRST:
        sigma, took = scipys("propack", f, tol)
        if took["residual"] <= TOL:
            break
    return took | {"sigma_error": error(sigma, exact), "tolerance": tol}


def algorithm_1(interpreter: onnxscope.LinearInterpreter, exact: np.ndarray) -> dict[str, Any]:
    """Algorithm 1 with the fewest steps that bring all singular values close enough."""
    for steps in STEPS:
        found = interpreter.svd(K, method="power", steps=steps)
        off = error(found.sigma, exact)
        if off <= SIGMA_ERROR:
            break
    return taken(found) | {"sigma_error": off, "steps": steps}
