"""The singular value decomposition of F by its passes: the leading k triplets, how good they are, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.linear.linear_map import LinearMap
from onnxscope.linear.svd.lanczos import Lanczos, Start
from onnxscope.linear.svd.passes import BudgetSpent, Found, Passes, rounding
from onnxscope.linear.svd.power import Power

ROOM, BLOCKS = (
    32,
    10,
)  # what a basis has room for beyond k, in vectors and in blocks; twice of that saves a pass in a hundred
UNCLEAR = (
    10  # residuals between two σ: where they lie closer, a vector may hold more than a tenth of its neighbour
)


@dataclass(frozen=True)
class Triplets:
    """σ, u and v with F·v = σ·u and Fᵀ·u = σ·v, the largest σ first; of v's entries the largest (the first of equals) is positive."""

    sigma: np.ndarray  # (k,)
    u: np.ndarray  # (k, *outputs)
    v: np.ndarray  # (k, *inputs)
    residual: np.ndarray  # (k,), max(‖F·v − σ·u‖, ‖Fᵀ·u − σ·v‖)/σ1


@dataclass(frozen=True)
class Svd(Triplets):
    """What was found, how far it can be trusted, and what it took."""

    converged: int  # how many of the leading triplets meet tol
    asked: int  # k
    stopped: str  # why there are fewer than asked for, or some do not meet tol; empty where all do
    clusters: tuple[
        tuple[int, ...], ...
    ]  # numbers of triplets too close for their single vectors to mean anything: their span does
    passes_forward: int  # vectors, not blocks
    passes_transpose: int
    stored: int  # the most vectors held at once, u and v together
    seconds: float
    method: str
    tol: float


@dataclass(frozen=True)
class Step:
    """How far it is: of the leading k triplets, those there are."""

    passes: int
    converged: int
    sigma: np.ndarray
    residual: np.ndarray


class SvdOptions(TypedDict, total=False):
    """What `svd` takes beside F and k."""

    tol: float
    method: str
    block: int
    basis: int | None
    start: Triplets | np.ndarray | None
    seed: int
    steps: int
    momentum: float
    seconds: float | None
    passes: int | None
    progress: Callable[[Step], None] | None


def svd(
    f: LinearMap,
    k: int,
    *,
    tol: float = 1e-4,
    method: str = "lanczos",
    block: int = 1,
    basis: int | None = None,
    start: Triplets | np.ndarray | None = None,
    seed: int = 0,
    steps: int = 100,
    momentum: float = 0.0,
    seconds: float | None = None,
    passes: int | None = None,
    progress: Callable[[Step], None] | None = None,
) -> Svd:
    """The k leading singular triplets of F.

    `lanczos` goes on until the residuals of all meet `tol`; `block` vectors get their passes at once, and no more than `basis` are kept
    on a side. A σ that F has m times over is sure to be found as often with blocks of m; a smaller block may miss copies of it.
    `start` may be the triplets of an earlier run, which an unfinished run goes on from, or of a similar image; or inputs close to the
    leading v. `power` is the paper's Algorithm 1, `steps` for each triplet, whatever `tol` says.

    Interrupted (Ctrl-C) or out of `passes` (of F and Fᵀ together) or `seconds`, it returns what it has.
    """
    budget = Passes(f, passes, seconds)
    check(budget, k, tol, {"block": block, "steps": steps, "passes": passes})
    solver: Lanczos | Power
    if method == "lanczos":
        refuse(
            momentum != 0,
            "only the power method has one",
            "--momentum",
            "leave it out, or add --method power",
        )
        solver = Lanczos(
            budget,
            k,
            tol,
            block=block,
            basis=room(budget, k, block, basis),
            start=beginning(f, k, start),
            seed=seed,
        )
    elif method == "power":
        refuse(
            block != 1 or basis is not None or start is not None,
            "the power method has no blocks, no basis and no choice of its start",
            "--method power",
            "leave --block, --basis and --start out",
        )
        solver = Power(budget, k, steps, momentum, seed)
    else:
        raise BadOption(f"there is no method '{method}'", where="--method", remedy="choose lanczos or power")
    stopped = ""
    try:
        for found in solver.steps():
            if progress:
                progress(Step(budget.total, found.converged(k, tol), found.sigma[:k], found.residual[:k]))
    except KeyboardInterrupt:
        stopped = "interrupted"
    except BudgetSpent as spent:
        stopped = str(spent)
    found = solver.found()
    result, good = leading(f, found, k), found.converged(k, tol)
    reason = stopped or found.ended or f"after {steps} steps each"  # which is how the power method ends
    return Svd(
        **vars(result),
        converged=good,
        asked=k,
        stopped=reason if good < k else "",
        clusters=clusters(found, len(result.sigma), rounding(f.inputs)),
        passes_forward=budget.forward,
        passes_transpose=budget.transpose,
        stored=solver.stored,
        seconds=budget.elapsed,
        method=method,
        tol=tol,
    )


def refuse(wrong: bool, cause: str, where: str, remedy: str) -> None:
    if wrong:
        raise BadOption(cause, where=where, remedy=remedy)


def check(passes: Passes, k: int, tol: float, counts: Mapping[str, int | None]) -> None:
    outputs, inputs = passes.sizes
    most, floor, kind = min(passes.sizes), max(map(rounding, passes.spaces)), passes.f.inputs.dtype
    refuse(
        not 1 <= k <= most,
        f"{k} triplets: F maps {inputs} numbers to {outputs}, so it has {most} singular values",
        "-k",
        f"ask for 1 to {most}",
    )
    refuse(
        not 0 < tol < 1, f"{tol:g} is no tolerance", "--tol", "give a number between 0 and 1, such as 1e-4"
    )
    refuse(
        tol < floor, f"{tol:g} is finer than {kind} can tell", "--tol", f"ask for {1.05 * floor:.1e} or more"
    )
    for name, number in counts.items():
        refuse(
            number is not None and number < 1, f"{number} is no number of them", f"--{name}", "give 1 or more"
        )
    refuse(
        passes.seconds is not None and not passes.seconds > 0,
        f"{passes.seconds} s is no time",
        "--seconds",
        "give more than 0",
    )


def room(passes: Passes, k: int, block: int, basis: int | None) -> int:
    """How many vectors are kept on a side, beside those that wait for their pass."""
    if basis is None:
        return max(min(k + max(ROOM, BLOCKS * block), min(passes.sizes) + block), k + block + 1)
    refuse(
        basis < k + block + 1,
        f"{basis} vectors are too few for {k} triplets in blocks of {block}",
        "--basis",
        f"give {k + block + 1} or more",
    )
    return basis


def beginning(f: LinearMap, k: int, start: Triplets | np.ndarray | None) -> Start | None:
    """The first k vectors to begin with, at unit length, and what F makes of them if that was found."""
    if start is None:
        return None
    v = np.atleast_1d(start.v if isinstance(start, Triplets) else start)[:k]
    refuse(
        v.shape[1:] != f.inputs.shape,
        f"holds vectors of shape {v.shape[1:]}, but F takes {f.inputs.shape}",
        "--start",
        "take a result for the same model and image size",
    )
    refuse(not np.isfinite(v).all(), "holds numbers that are not finite", "--start", "take another one")
    length = np.linalg.norm(v.reshape(len(v), -1).astype(np.float64), axis=1)
    if not length.any():
        return None
    unit = v[length > 0] / scaled(length[length > 0], v)
    if not isinstance(start, Triplets) or start.u.shape[1:] != f.outputs.shape:
        return Start(unit)
    images = start.u[:k] * scaled(start.sigma[:k], start.u)
    return Start(unit, images[length > 0], float(np.linalg.norm(start.residual[:k]) * start.sigma[0]))


def scaled(factors: np.ndarray, block: np.ndarray) -> np.ndarray:
    """A factor for each vector of a block, to multiply the block by."""
    return factors.reshape(-1, *[1] * (block.ndim - 1)).astype(block.dtype)


def leading(f: LinearMap, found: Found, k: int) -> Triplets:
    """The leading k on the host, with their signs."""
    many = min(k, len(found.sigma))
    if not many:
        u, v = (np.zeros((0, *space.shape), space.dtype) for space in (f.outputs, f.inputs))
        return Triplets(np.zeros(0), u, v, np.zeros(0))
    u, v = (
        space.array(block) for space, block in zip((f.outputs, f.inputs), found.vectors(many), strict=True)
    )
    flat = v.reshape(many, -1)
    sign = np.where(flat[np.arange(many), np.argmax(abs(flat), axis=1)] < 0, -1, 1)
    return Triplets(found.sigma[:many], u * scaled(sign, u), v * scaled(sign, v), found.residual[:many])


def clusters(found: Found, many: int, floor: float) -> tuple[tuple[int, ...], ...]:
    """Runs of triplets that their residuals do not tell apart: a residual ρ turns a vector by up to ρ/gap towards a neighbour.

    The last one alone is a run where it belongs together with the next, which nobody asked for.
    """
    sigma, residual = found.sigma / max(found.sigma[:1], default=1.0), np.maximum(found.residual, floor)
    gaps, doubts = -np.diff(sigma), np.maximum(residual[1:], residual[:-1])
    doubts[many - 1 :] = residual[many - 1 : -1]  # of the one after the last nobody asked for better
    unclear = np.append(gaps[:many] <= UNCLEAR * doubts[:many], False)
    runs = np.split(np.arange(many), np.flatnonzero(~unclear[: many - 1]) + 1)
    return tuple(tuple(run.tolist()) for run in runs if len(run) > 1 or unclear[run].any())
