"""The singular value decomposition of F by passes through F and Fᵀ alone.

It returns the leading k triplets, how good they are, and what they cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.linear.linear_map import LinearMap
from onnxscope.linear.svd.lanczos import Lanczos, Search, Start
from onnxscope.linear.svd.passes import BudgetSpent, Found, Passes, rounding
from onnxscope.linear.svd.power import Power

# A basis has room for this many vectors beyond k, or for this many blocks if they hold more. Twice as much
# saves one pass in a hundred.
ROOM, BLOCKS = 32, 10
# Triplets whose σ differ by at most this many residuals count as one cluster, because a vector may hold more
# than a tenth of its neighbour there.
UNCLEAR = 10


@dataclass(frozen=True)
class Triplets:
    """σ, u and v with F·v = σ·u and Fᵀ·u = σ·v, the largest σ first.

    The entry of v with the largest absolute value (the first of equals) is positive.
    """

    sigma: np.ndarray  # (k,)
    u: np.ndarray  # (k, *outputs)
    v: np.ndarray  # (k, *inputs)
    residual: np.ndarray  # (k,), max(‖F·v − σ·u‖, ‖Fᵀ·u − σ·v‖)/σ1


@dataclass(frozen=True)
class Svd(Triplets):
    """The triplets that were found, how far they can be trusted, and what they took."""

    converged: int  # how many of the leading triplets have residuals within tol
    asked: int  # k
    stopped: str  # why fewer than k converged; empty where all did
    # the numbers of triplets that are too close for single vectors to mean anything: only their span does
    clusters: tuple[tuple[int, ...], ...]
    passes_forward: int  # vectors, not blocks
    passes_transpose: int
    stored: int  # the most vectors held at once, u and v together
    seconds: float
    method: str
    tol: float


@dataclass(frozen=True)
class Progress:
    """How far the search is: the passes so far, and the leading triplets, which may be fewer than k."""

    passes: int
    converged: int
    sigma: np.ndarray
    residual: np.ndarray


class SvdOptions(TypedDict, total=False):
    """The options of `svd`; `Settings` holds their defaults and describes them."""

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
    progress: Callable[[Progress], None] | None


@dataclass(frozen=True)
class Settings:
    """What `svd` takes besides F and k.

    `start` may hold the triplets of an earlier run, to continue it, or those of a similar image, or inputs
    close to the leading v.
    """

    tol: float = 1e-4  # for the residuals
    method: str = "lanczos"  # or power, the paper's Algorithm 1
    block: int = 1  # how many vectors pass through F at once
    basis: int | None = None  # the most vectors kept on a side, besides those that wait for their pass
    start: Triplets | np.ndarray | None = None
    seed: int = 0  # of the random vectors
    steps: int = 100  # of the power method, for each triplet
    momentum: float = 0.0  # of the power method
    seconds: float | None = None  # the budget
    passes: int | None = None  # the budget, of F and Fᵀ together
    progress: Callable[[Progress], None] | None = None  # is called while the search runs


def svd(f: LinearMap, k: int, **options: Unpack[SvdOptions]) -> Svd:
    """The k leading singular triplets of F.

    The method `lanczos` runs until the residuals of all k are within `tol`. If F has a σ m times, blocks of
    m vectors are sure to find all m copies; smaller blocks may miss some. The method `power` takes `steps`
    steps for each triplet, whatever `tol` is.

    Interrupted with Ctrl-C, or out of `passes` or `seconds`, it returns the triplets that it has.
    """
    settings = Settings(**options)
    budget = Passes(f, settings.passes, settings.seconds)
    check_settings(budget, k, settings)
    solver = solver_for(budget, k, settings)
    stopped = searched(solver, budget, k, settings)
    found = solver.found()
    result, converged = leading(f, found, k), found.converged(k, settings.tol)
    # the power method ends with its steps
    reason = stopped or found.ended or f"after {settings.steps} steps each"
    return Svd(
        **vars(result),
        converged=converged,
        asked=k,
        stopped=reason if converged < k else "",
        clusters=clusters(found, len(result.sigma), rounding(f.inputs)),
        passes_forward=budget.forward,
        passes_transpose=budget.transpose,
        stored=solver.stored,
        seconds=budget.elapsed,
        method=settings.method,
        tol=settings.tol,
    )


def solver_for(budget: Passes, k: int, settings: Settings) -> Lanczos | Power:
    """The solver that a method names; refuses options that it does not have."""
    block, basis, start = settings.block, settings.basis, settings.start
    if settings.method == "lanczos":
        refuse(
            settings.momentum != 0,
            "only the power method has a momentum",
            "--momentum",
            "leave it out, or add --method power",
        )
        size = basis_size(budget, k, block, basis)
        search = Search(k, settings.tol, block, size, settings.seed, beginning(budget.f, k, start))
        return Lanczos(budget, search)
    if settings.method == "power":
        refuse(
            block != 1 or basis is not None or start is not None,
            "the power method has no blocks, no basis and no choice of its start",
            "--method power",
            "leave --block, --basis and --start out",
        )
        return Power(budget, k, settings.steps, settings.momentum, settings.seed)
    raise BadOption(
        f"there is no method '{settings.method}'", where="--method", remedy="choose lanczos or power"
    )


def searched(solver: Lanczos | Power, budget: Passes, k: int, settings: Settings) -> str:
    """Search to the end; why it stopped before, or an empty text."""
    try:
        for found in solver.steps():
            if settings.progress:
                converged = found.converged(k, settings.tol)
                settings.progress(Progress(budget.total, converged, found.sigma[:k], found.residual[:k]))
    except KeyboardInterrupt:
        return "interrupted"
    except BudgetSpent as spent:
        return str(spent)
    return ""


def refuse(wrong: bool, cause: str, where: str, remedy: str) -> None:
    """Raise a BadOption if something is wrong."""
    if wrong:
        raise BadOption(cause, where=where, remedy=remedy)


def check_settings(budget: Passes, k: int, settings: Settings) -> None:
    """Refuse numbers that are out of range."""
    outputs, inputs = budget.sizes
    most, floor, tol = min(budget.sizes), max(map(rounding, budget.spaces)), settings.tol
    refuse(
        not 1 <= k <= most,
        f"{k} triplets: F maps {inputs} numbers to {outputs}, so it has {most} singular values",
        "-k",
        f"ask for 1 to {most}",
    )
    refuse(not 0 < tol < 1, f"must be between 0 and 1, not {tol:g}", "--tol", "try 1e-4")
    refuse(
        tol < floor,
        f"{tol:g} is smaller than the rounding of {budget.f.inputs.dtype}",
        "--tol",
        f"give {1.05 * floor:.1e} or more",
    )
    counts = {"block": settings.block, "steps": settings.steps, "passes": settings.passes}
    for name, number in counts.items():
        refuse(
            number is not None and number < 1,
            f"must be at least 1, not {number}",
            f"--{name}",
            "give a positive number",
        )
    refuse(
        settings.seconds is not None and not settings.seconds > 0,
        f"must be more than 0, not {settings.seconds}",
        "--seconds",
        "give a positive number",
    )


def basis_size(budget: Passes, k: int, block: int, basis: int | None) -> int:
    """The most vectors kept on a side, besides those that wait for their pass."""
    if basis is None:
        return max(min(k + max(ROOM, BLOCKS * block), min(budget.sizes) + block), k + block + 1)
    refuse(
        basis < k + block + 1,
        f"{basis} vectors are too few for {k} triplets in blocks of {block}",
        "--basis",
        f"give {k + block + 1} or more",
    )
    return basis


def beginning(f: LinearMap, k: int, start: Triplets | np.ndarray | None) -> Start | None:
    """The first k vectors to begin with, at unit length, and their images if these are known."""
    if start is None:
        return None
    v = np.atleast_1d(start.v if isinstance(start, Triplets) else start)[:k]
    refuse(
        v.shape[1:] != f.inputs.shape,
        f"holds vectors of shape {v.shape[1:]}, but F takes {f.inputs.shape}",
        "--start",
        "give a result for the same model and image size",
    )
    refuse(not np.isfinite(v).all(), "holds numbers that are not finite", "--start", "give another one")
    length = np.linalg.norm(v.reshape(len(v), -1).astype(np.float64), axis=1)
    if not length.any():
        return None
    unit = v[length > 0] / as_factors(length[length > 0], v)
    if not isinstance(start, Triplets) or start.u.shape[1:] != f.outputs.shape:
        return Start(unit)
    images = start.u[:k] * as_factors(start.sigma[:k], start.u)
    return Start(unit, images[length > 0], float(np.linalg.norm(start.residual[:k]) * start.sigma[0]))


def as_factors(factors: np.ndarray, block: np.ndarray) -> np.ndarray:
    """A factor for each vector of a block, to multiply the block by."""
    return factors.reshape(-1, *[1] * (block.ndim - 1)).astype(block.dtype)


def leading(f: LinearMap, found: Found, k: int) -> Triplets:
    """The leading k triplets on the host, with their signs settled."""
    many = min(k, len(found.sigma))
    if not many:
        u, v = (np.zeros((0, *space.shape), space.dtype) for space in (f.outputs, f.inputs))
        return Triplets(np.zeros(0), u, v, np.zeros(0))
    u, v = (
        space.array(block) for space, block in zip((f.outputs, f.inputs), found.vectors(many), strict=True)
    )
    flat = v.reshape(many, -1)
    sign = np.where(flat[np.arange(many), np.argmax(abs(flat), axis=1)] < 0, -1, 1)
    return Triplets(
        found.sigma[:many], u * as_factors(sign, u), v * as_factors(sign, v), found.residual[:many]
    )


def clusters(found: Found, many: int, floor: float) -> tuple[tuple[int, ...], ...]:
    """Runs of triplets whose residuals are too large to tell them apart.

    A residual ρ turns a vector by up to ρ/gap towards a neighbour. The last triplet alone is a run if it
    cannot be told apart from the next one, which is not among the leading k.
    """
    sigma, residual = found.sigma / max(found.sigma[:1], default=1.0), np.maximum(found.residual, floor)
    gaps, doubts = -np.diff(sigma), np.maximum(residual[1:], residual[:-1])
    doubts[many - 1 :] = residual[many - 1 : -1]  # the triplet after the last need not have converged
    unclear = np.append(gaps[:many] <= UNCLEAR * doubts[:many], False)
    runs = np.split(np.arange(many), np.flatnonzero(~unclear[: many - 1]) + 1)
    return tuple(tuple(run.tolist()) for run in runs if len(run) > 1 or unclear[run].any())
