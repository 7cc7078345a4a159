"""The solver on NumPy matrices, judged by numpy.linalg.svd, by scipy's solvers and by the true residuals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxscope.errors import BadModel, BadOption
from onnxscope.linear.linear_map import ArraySpace
from onnxscope.linear.svd import orthonormal as bases
from onnxscope.linear.svd.decompose import Progress, Settings, Svd, SvdOptions, Triplets, svd

CROWD = (4.249, 4.241, 4.158, 4.089, 4.039, 3.988, 3.982, 3.937)  # as a small upscaling network has them
NOISE = {
    np.float64: 1e-13,
    np.float32: 3e-6,
}  # of a residual, relative to σ1, by the precision that it was reckoned in


class Matrix:
    """A matrix as a linear map that counts its passes and can act at one of them."""

    batch = 8

    def __init__(
        self,
        a: np.ndarray,
        inputs: tuple[int, ...] = (),
        outputs: tuple[int, ...] = (),
        at: tuple[int, Callable[[], None]] | None = None,
    ) -> None:
        self.a, self.at, self.passes, self.calls = a, at, [0, 0], 0
        self.inputs = ArraySpace(inputs or (a.shape[1],), a.dtype)
        self.outputs = ArraySpace(outputs or (a.shape[0],), a.dtype)

    def forward(self, block: np.ndarray) -> np.ndarray:
        return self.applied(block, self.a.T, 0).reshape(-1, *self.outputs.shape)

    def transpose(self, block: np.ndarray) -> np.ndarray:
        return self.applied(block, self.a, 1).reshape(-1, *self.inputs.shape)

    def applied(self, block: np.ndarray, a: np.ndarray, which: int) -> np.ndarray:
        assert block.dtype == self.a.dtype
        self.calls += 1
        if self.at and self.calls == self.at[0]:
            self.at[1]()
        self.passes[which] += len(block)
        return block.reshape(len(block), -1) @ a


def orthonormal(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def with_sigma(sigma: Any, rows: int, columns: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    """A matrix with these singular values and random vectors."""
    sigma = np.asarray(sigma, float)
    return (
        (orthonormal(rows, len(sigma), seed) * sigma) @ orthonormal(columns, len(sigma), seed + 1).T
    ).astype(dtype)


@cache
def crowded(dtype: type = np.float64, rows: int = 600, columns: int = 400, seed: int = 0) -> np.ndarray:
    return with_sigma(
        [*CROWD, *3.9 * np.exp(-0.005 * np.arange(min(rows, columns) - 8))], rows, columns, dtype, seed
    )


def residuals(a: np.ndarray, sigma: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """max(‖F·v − σ·u‖, ‖Fᵀ·u − σ·v‖)/σ1, whatever anyone claims."""
    a, u, v = (
        a.astype(float),
        u.reshape(-1, a.shape[0]).astype(float),
        v.reshape(-1, a.shape[1]).astype(float),
    )
    each = [
        np.linalg.norm(v @ a.T - sigma[:, None] * u, axis=1),
        np.linalg.norm(u @ a - sigma[:, None] * v, axis=1),
    ]
    return np.max(each, axis=0) / max(sigma, default=1.0)


def solved(a: np.ndarray, k: int, **options: Any) -> Svd:
    """The result, after what has to hold of any: passes, residuals, counts, signs and orthogonality."""
    f = Matrix(a)
    found = svd(f, k, **options)
    noise = NOISE[a.dtype.type]
    assert f.passes == [found.passes_forward, found.passes_transpose]
    assert len(found.sigma) == len(found.u) == len(found.v) == len(found.residual) <= k == found.asked
    assert (found.u.shape[1:], found.v.shape[1:]) == (f.outputs.shape, f.inputs.shape)
    assert found.u.dtype == found.v.dtype == a.dtype
    assert np.all(np.diff(found.sigma) <= 0)
    np.testing.assert_allclose(found.residual, residuals(a, found.sigma, found.u, found.v), atol=noise)
    assert found.converged == int(np.cumprod(found.residual <= found.tol).sum())
    assert bool(found.stopped) == (found.converged < k)
    if found.method == "lanczos":
        for vectors in (found.u, found.v):
            np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=10 * noise)
    if len(found.v):
        assert np.all(np.take_along_axis(found.v, np.argmax(abs(found.v), axis=1)[:, None], 1) > 0)
    return found


def total(found: Svd) -> int:
    return found.passes_forward + found.passes_transpose


# right


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [1, 4, 8])
@pytest.mark.parametrize("shape", [(600, 400), (300, 500)])
def test_the_leading_triplets_of_a_crowded_spectrum(shape: tuple[int, int], block: int, dtype: type) -> None:
    a = crowded(dtype, *shape)
    found = solved(a, 8, block=block)
    assert found.converged == 8
    np.testing.assert_allclose(found.sigma, CROWD, rtol=1e-6)
    u, _, vt = np.linalg.svd(a.astype(float), full_matrices=False)
    assert np.all(abs(np.sum(found.v * vt[:8], axis=1)) > 0.999)
    assert np.all(abs(np.sum(found.u * u.T[:8], axis=1)) > 0.999)


def propack(a: np.ndarray, k: int, tol: float, seed: int) -> tuple[int, float, np.ndarray]:
    """Its passes, its worst true residual, its σ."""
    f = Matrix(a)
    operator = scipy.sparse.linalg.LinearOperator(
        a.shape,
        dtype=a.dtype,
        matvec=lambda x: f.forward(x.reshape(1, -1))[0],
        rmatvec=lambda x: f.transpose(x.reshape(1, -1))[0],
    )
    u, sigma, vt = scipy.sparse.linalg.svds(
        operator, k=k, tol=tol, solver="propack", rng=np.random.default_rng(seed)
    )
    order = np.argsort(-sigma)
    return sum(f.passes), residuals(a, sigma[order], u.T[order], vt[order]).max(), sigma[order]


def test_no_more_passes_than_propack_needs_for_the_same_residual() -> None:
    """PROPACK at the loosest of its tolerances that yields the residual; at tol 1e-4 itself it takes a fifth more."""
    ours, theirs, at_tol = 0, 0, 0
    for seed in range(3):
        a = crowded(seed=seed)
        found = solved(a, 8, tol=1e-4, seed=seed)
        runs = [propack(a, 8, tol, seed) for tol in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4)]
        ours += total(found)
        theirs += min(passes for passes, residual, _ in runs if residual <= 1e-4)
        at_tol += runs[-1][0]
        np.testing.assert_allclose(found.sigma, runs[-1][2], rtol=1e-6)
    assert ours <= theirs < at_tol


def golub_kahan(a: np.ndarray, k: int, tol: float, seed: int) -> int:
    """The passes of the textbook's algorithm from the same start, with its residuals taken from the matrix after each."""
    v, u = [np.random.default_rng(seed).standard_normal(a.shape[1])], []
    v[0] /= np.linalg.norm(v[0])
    for passes in range(1, 1000):
        new, basis, last = (u, np.array(u), a @ v[-1]) if passes % 2 else (v, np.array(v), a.T @ u[-1])
        for _ in range(2 if len(basis) else 0):
            last = last - basis.T @ (basis @ last)
        p, sigma, qt = (
            np.linalg.svd(np.array(u) @ a @ np.array(v).T, full_matrices=False)
            if u
            else (None, np.zeros(0), None)
        )
        if (
            len(sigma) >= k
            and residuals(a, sigma[:k], (p.T @ np.array(u))[:k], (qt @ np.array(v))[:k]).max() <= tol
        ):
            return passes - 1  # the last one is not in it yet
        new.append(last / np.linalg.norm(last))
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
def test_no_pass_is_wasted(seed: int) -> None:
    """But for two in a hundred that a bounded basis costs."""
    a = crowded(seed=seed)
    least = golub_kahan(a, 8, 1e-4, seed)
    assert least <= total(solved(a, 8, seed=seed)) <= 1.02 * least


def test_arpack_agrees() -> None:
    a = crowded()
    sigma = scipy.sparse.linalg.svds(
        a, k=8, solver="arpack", return_singular_vectors=False, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(solved(a, 8, tol=1e-8).sigma, np.sort(sigma)[::-1], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_64_triplets_in_a_bounded_basis(dtype: type) -> None:
    a = crowded(dtype)
    found = solved(a, 64, basis=80)
    assert found.converged == 64
    np.testing.assert_allclose(found.sigma, np.linalg.svd(a, compute_uv=False)[:64], rtol=1e-5)
    assert total(found) > 4 * 80  # so there were restarts
    assert found.stored <= 3 * 80  # both bases, and a smaller one that a restart makes of one of them
    assert total(found) < 1.1 * total(solved(a, 64, basis=400))


@settings(max_examples=120, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    rank=st.integers(0, 12),
    k=st.integers(1, 12),
    block=st.integers(1, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    dtype=st.sampled_from([np.float64, np.float32]),
    seed=st.integers(0, 99),
)
def test_small_matrices_of_any_shape_and_rank(
    rows: int, columns: int, rank: int, k: int, block: int, scale: float, dtype: type, seed: int
) -> None:
    rank, k = min(rank, rows, columns), min(k, rows, columns)
    sigma = scale * np.sort(np.random.default_rng(seed).uniform(0.5, 2.0, rank))[::-1]
    a = with_sigma(sigma, rows, columns, dtype, seed)
    found = solved(a, k, tol={np.float64: 1e-10, np.float32: 1e-5}[dtype], block=block, seed=seed)
    assert found.converged == len(found.sigma) == min(k, rank)
    assert found.stopped == ("" if k <= rank else f"F has rank {rank}")
    np.testing.assert_allclose(found.sigma, sigma[:k], rtol=10 * NOISE[dtype])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (30, 30), (40, 20), (20, 40)])
def test_all_singular_values(shape: tuple[int, int]) -> None:
    a = np.random.default_rng(1).standard_normal(shape)
    found = solved(a, min(shape))
    np.testing.assert_allclose(found.sigma, np.linalg.svd(a, compute_uv=False), rtol=1e-10)
    assert max(found.passes_forward, found.passes_transpose) == min(shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize(
    "sigma", [[5.0] * 3 + [4.0] * 2 + [3.0] * 2 + [1.0] * 33, [5.0] * 3 + [4.0, 3.0]], ids=["few", "low rank"]
)
def test_copies_are_found_where_the_search_leads_nowhere(sigma: list[float], block: int, dtype: type) -> None:
    found = solved(with_sigma(sigma, 60, 40, dtype), 5, block=block)
    np.testing.assert_allclose(found.sigma, sorted(sigma)[::-1][:5], rtol=1e-5)
    assert found.converged == 5
    assert found.clusters[0] == (0, 1, 2)


def test_blocks_find_as_many_copies_in_any_spectrum() -> None:
    """Three channels that are treated alike: every σ three times."""
    each = with_sigma(np.linspace(5, 0.1, 60), 70, 60)
    found = solved(np.kron(np.eye(3), each), 7, block=3)
    np.testing.assert_allclose(found.sigma, np.repeat(np.linspace(5, 0.1, 60)[:3], 3)[:7], rtol=1e-6)
    assert found.clusters == ((0, 1, 2), (3, 4, 5), (6,))  # the last has copies that nobody asked for


def test_the_search_for_copies_ends_in_a_basis_too_small_for_it() -> None:
    a = with_sigma(np.repeat([3, 2, 1, 0.5], 12), 60, 50, np.float32, seed=2)
    for basis in (3, 6):
        found = solved(a, 1, basis=basis, tol=1e-3, passes=1000)
        assert found.sigma == pytest.approx([3])
        assert total(found) < 100


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_the_rank_is_told(rank: int) -> None:
    found = solved(with_sigma(np.linspace(3, 1, rank), 200, 150, np.float32), 10)
    assert (len(found.sigma), found.converged, found.stopped) == (rank, rank, f"F has rank {rank}")
    assert total(found) <= 2 * rank + 3


def test_triplets_that_cannot_be_told_apart_form_a_cluster() -> None:
    a = with_sigma([3, 2.0002, 2.0001, 2, 1.5, *np.linspace(1.4, 0.1, 95)], 150, 100)
    assert solved(a, 5, tol=1e-3).clusters == ((1, 2, 3),)
    assert solved(a, 5, tol=1e-9).clusters == ()
    assert solved(a, 3, tol=1e-3, seed=1).clusters == ((1, 2),)


# started, stopped and gone on


@pytest.fixture(scope="module")
def earlier() -> Svd:
    return solved(crowded(), 8)


@pytest.mark.parametrize(
    ("moved", "saved"), [(0.0, 0.8), (1e-5, 0.8), (1e-3, 0.4), (1e-2, 0.15), (3e-2, 0.1)]
)
@pytest.mark.parametrize("known", ["triplets", "inputs"])
def test_a_warm_start_saves_passes(known: str, moved: float, saved: float, earlier: Svd) -> None:
    """`saved` of them with the triplets; inputs alone, whose images are not known, save less where F has hardly moved."""
    change = np.random.default_rng(2).standard_normal((600, 400))
    a = crowded() + change * (moved * CROWD[0] / np.linalg.norm(change, 2))
    found = solved(
        a, 8, start=earlier if known == "triplets" else earlier.v * np.geomspace(1e6, 1, 8)[:, None]
    )
    assert found.converged == 8
    np.testing.assert_allclose(found.sigma, np.linalg.svd(a, compute_uv=False)[:8], rtol=1e-6)
    assert total(found) <= (1 - (saved if known == "triplets" else min(saved, 0.3))) * total(solved(a, 8))


@pytest.mark.parametrize("passes", [40, 41, 60, 61, 80, 100])
def test_an_unfinished_run_is_gone_on_with(passes: int, earlier: Svd) -> None:
    """For little more than an unbroken run would have taken: 16 passes look at the 8 triplets again, and the other vectors are lost."""
    begun = solved(crowded(), 8, passes=passes)
    assert (total(begun), begun.stopped) == (passes, "out of passes")
    found = solved(crowded(), 8, start=begun)
    assert found.converged == 8
    assert total(found) <= total(earlier) - passes + 28
    np.testing.assert_allclose(found.sigma, CROWD, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 3, 8, 12])
def test_a_poor_start_misleads_nobody(block: int, earlier: Svd) -> None:
    u, sigma, vt = np.linalg.svd(with_sigma([*CROWD, 1, 1, 0], 60, 40))
    starts = [np.zeros((2, 40)), vt[-3:], np.vstack([vt[:1], vt[-1:]]), np.repeat(vt[:1], 3, axis=0)]
    for start in (*starts, Triplets(sigma[:4], u.T[:4], vt[4:8], np.zeros(4))):
        found = solved(with_sigma([*CROWD, 1, 1, 0], 60, 40), 8, start=start, block=block, tol=1e-8)
        np.testing.assert_allclose(found.sigma, CROWD, rtol=1e-10)


def test_interrupted_it_returns_what_it_has() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    f = Matrix(crowded(), at=(70, interrupt))
    found = svd(f, 8)
    assert found.stopped == "interrupted"
    assert total(found) == sum(f.passes) == 69
    assert 0 < found.converged < len(found.sigma) == 8
    np.testing.assert_allclose(found.residual, residuals(f.a, found.sigma, found.u, found.v), atol=1e-13)
    early = svd(Matrix(crowded(), at=(1, interrupt)), 8)
    assert (early.stopped, early.sigma.shape, early.u.shape, early.v.shape) == (
        "interrupted",
        (0,),
        (0, 600),
        (0, 400),
    )


def test_interrupted_between_two_passes_it_returns_what_it_has() -> None:
    def interrupt(step: Progress) -> None:
        if step.passes == 20:
            raise KeyboardInterrupt

    found = solved(crowded(), 8, progress=interrupt)
    assert (found.stopped, total(found)) == ("interrupted", 20)


@pytest.mark.parametrize("block", [1, 8])
@pytest.mark.parametrize("method", ["lanczos", "power"])
def test_budgets_are_kept(method: str, block: int) -> None:
    options = {"block": block} if method == "lanczos" else {"steps": 5}
    found = solved(crowded(), 8, method=method, passes=30, **options)
    assert 30 - block < total(found) <= 30
    assert found.stopped == "out of passes"
    found = solved(crowded(), 8, method=method, seconds=1e-9, **options)
    assert (total(found), found.stopped, len(found.sigma)) == (0, "out of seconds", 0)


def test_progress_is_told_after_every_pass() -> None:
    steps: list[Progress] = []
    found = solved(crowded(), 8, progress=steps.append)
    assert [step.passes for step in steps] == list(range(1, total(found) + 1))
    assert steps[-1].converged == 8
    np.testing.assert_array_equal(steps[-1].sigma, found.sigma)
    np.testing.assert_array_equal(steps[-1].residual, found.residual)
    assert all(len(step.sigma) == len(step.residual) <= 8 for step in steps)


def test_small_singular_values_are_none_of_the_noise() -> None:
    sigma = np.exp(-0.3 * np.arange(41))
    for shape in ((60, 50), (45, 41)):
        found = solved(with_sigma(sigma, *shape), min(shape), tol=4e-3)
        np.testing.assert_allclose(found.sigma, sigma, rtol=1e-6)
        assert found.stopped in ("", "F has rank 41")


def test_short_directions_of_a_block_are_as_orthogonal_as_long_ones() -> None:
    """Nor do rows within the basis up to rounding spoil others of that length, with which they come to be mixed."""
    space, rng = ArraySpace((48,), np.dtype(np.float32)), np.random.default_rng(3)
    basis = np.ascontiguousarray(orthonormal(48, 15, 0).T, np.float32)
    for _ in range(100):
        inside, outside = rng.choice([0, 1e-6, 1], 3), 10.0 ** rng.uniform(-7, -5, 3)
        x = (
            inside[:, None] * (rng.standard_normal((3, 15)) @ basis)
            + outside[:, None] * rng.standard_normal((3, 48)) / 7
        )
        new, removed, remainder = bases.orthonormal(
            space, bases.Bundle(space.of(x), 3), [bases.Bundle(basis, 15)], 1e-6
        )
        found = new.block if new else np.zeros((0, 48))
        np.testing.assert_allclose(found @ basis.T, 0, atol=1e-5)
        np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-5)
        np.testing.assert_allclose(removed @ basis + remainder @ found, x, atol=5e-6)


def test_pictures_keep_their_shape() -> None:
    a = crowded()
    flat, found = solved(a, 3), svd(Matrix(a, inputs=(4, 10, 10), outputs=(6, 10, 10)), 3)
    np.testing.assert_array_equal(found.v, flat.v.reshape(3, 4, 10, 10))
    np.testing.assert_array_equal(found.u, flat.u.reshape(3, 6, 10, 10))


# the blocks are the space's


class Hidden:
    """A block that only its space can look into, counted while it lives."""

    alive = most = 0

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        Hidden.alive += len(array)
        Hidden.most = max(Hidden.most, Hidden.alive)

    def __del__(self) -> None:
        Hidden.alive -= len(self._array)


class HiddenSpace(ArraySpace):
    def of(self, array: np.ndarray) -> Any:
        return Hidden(super().of(array))

    def array(self, block: Any) -> np.ndarray:
        return block._array

    def dot(self, a: Any, b: Any) -> np.ndarray:
        return super().dot(a._array, b._array)

    def combine(self, coefficients: np.ndarray, a: Any) -> Any:
        return Hidden(super().combine(coefficients, a._array))

    def subtract(self, b: Any, coefficients: np.ndarray, a: Any) -> Any:
        return Hidden(b._array - super().combine(coefficients, a._array))

    def join(self, blocks: Any) -> Any:
        return Hidden(super().join([block._array for block in blocks]))


class HiddenMatrix(Matrix):
    def __init__(self, a: np.ndarray) -> None:
        super().__init__(a)
        self.inputs, self.outputs = (
            HiddenSpace(self.inputs.shape, a.dtype),
            HiddenSpace(self.outputs.shape, a.dtype),
        )

    def forward(self, block: Any) -> Any:
        return Hidden(super().forward(block._array))

    def transpose(self, block: Any) -> Any:
        return Hidden(super().transpose(block._array))


@pytest.mark.parametrize(
    ("k", "options"), [(8, {"basis": 20}), (8, {"block": 4}), (40, {"basis": 60}), (2, {"method": "power"})]
)
def test_only_the_space_touches_blocks_and_no_more_live_than_said(k: int, options: dict[str, Any]) -> None:
    a = crowded(np.float32)
    Hidden.alive = Hidden.most = 0
    found = svd(HiddenMatrix(a), k, **options)
    making = 16 + 3 * options.get(
        "block", 1
    )  # a panel that grows, and what a step makes before the last is let go
    assert Hidden.most <= found.stored + making + 2 * k  # the result's own u and v
    assert Hidden.alive == 0
    np.testing.assert_array_equal(found.sigma, solved(a, k, **options).sigma)


def test_a_transpose_that_is_none_shows() -> None:
    f = Matrix(crowded())
    f.transpose = lambda u: u @ (f.a + 1e-3)  # type: ignore[method-assign]
    found = svd(f, 8)
    assert found.converged == 0
    assert found.stopped.startswith("F and Fᵀ agree to")
    assert np.all(found.residual > 1e-3)


# Algorithm 1


def algorithm_1(a: np.ndarray, v: np.ndarray, m: float, steps: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Lines 1 to 10, on a matrix."""
    v_prev, v_curr = np.zeros_like(v), v
    for _ in range(steps):
        u = a @ v_curr
        v_next = a.T @ u - m * v_prev
        sigma_squared = v_curr @ v_next
        v_prev, v_curr = v_curr / np.linalg.norm(v_next), v_next / np.linalg.norm(v_next)
    return math.sqrt(sigma_squared), u / np.linalg.norm(u), v_curr


@pytest.mark.parametrize("momentum", [0.0, 2.0])
def test_power_is_algorithm_1_with_deflation(momentum: float) -> None:
    a, rng = with_sigma(np.linspace(4, 1, 30), 50, 30), np.random.default_rng(7)
    found = solved(a, 3, method="power", steps=20, momentum=momentum, seed=7)
    rest, triplets = a.copy(), []
    for _ in range(3):
        sigma, u, v = algorithm_1(rest, rng.standard_normal(30), momentum, 20)
        triplets.append((sigma, u, v))
        rest = rest - sigma * np.outer(u, v)
    for i, (sigma, u, v) in enumerate(sorted(triplets, key=lambda triplet: -triplet[0])):
        assert found.sigma[i] == pytest.approx(sigma, rel=1e-9)
        sign = np.sign(found.v[i] @ v)
        np.testing.assert_allclose(found.v[i], sign * v, atol=1e-9)
        np.testing.assert_allclose(found.u[i], sign * u, atol=1e-9)
    assert (found.passes_forward, found.passes_transpose) == (3 * 21, 3 * 20)
    assert found.stopped == "after 20 steps each"


def test_power_comes_to_the_same_in_many_more_passes() -> None:
    a = with_sigma([5, 4, 3, *np.linspace(2, 0.1, 47)], 60, 50, np.float32)
    slow, fast = solved(a, 3, method="power", steps=60), solved(a, 3)
    np.testing.assert_allclose(slow.sigma, fast.sigma, rtol=1e-5)
    assert slow.converged == 3
    assert total(slow) > 5 * total(fast)


def test_power_tells_the_rank() -> None:
    found = solved(with_sigma([3, 1], 6, 5), 4, method="power", steps=60)
    np.testing.assert_allclose(found.sigma, [3, 1])
    assert found.stopped == "F has rank 2"
    assert solved(np.zeros((6, 5)), 2, method="power").stopped == "F has rank 0"


# refusals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "-k: 0 triplets: F maps 5 numbers to 6, so it has 5 singular values; ask for 1 to 5"),
        ({"k": 6}, "-k: 6 triplets"),
        ({"tol": 0.0}, "--tol: must be between 0 and 1, not 0"),
        ({"tol": 1e-7}, "--tol: 1e-07 is smaller than the rounding of float32; give 1.3e-06 or more"),
        ({"block": 0}, "--block: must be at least 1, not 0"),
        ({"passes": 0}, "--passes: must be at least 1, not 0"),
        ({"steps": 0}, "--steps: must be at least 1, not 0"),
        ({"seconds": -1.0}, "--seconds: must be more than 0, not -1.0"),
        ({"seconds": math.nan}, "--seconds: must be more than 0, not nan"),
        ({"basis": 3}, "--basis: 3 vectors are too few for 2 triplets in blocks of 1; give 4 or more"),
        ({"method": "jacobi"}, "--method: there is no method 'jacobi'; choose lanczos or power"),
        ({"momentum": 1.0}, "--momentum: only the power method has a momentum"),
        ({"method": "power", "block": 2}, "--method power: the power method has no blocks"),
        ({"start": np.ones((2, 6))}, "--start: holds vectors of shape (6,), but F takes (5,)"),
        ({"start": np.float64(1)}, "--start: holds vectors of shape (), but F takes (5,)"),
        ({"start": np.full((2, 5), np.nan)}, "--start: holds numbers that are not finite"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], said: str) -> None:
    f = Matrix(np.ones((6, 5), np.float32))
    with pytest.raises(BadOption) as error:
        svd(f, **{"k": 2, **options})
    assert str(error.value).startswith(said)
    assert f.passes == [0, 0]


@pytest.mark.parametrize("method", ["lanczos", "power"])
@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (np.nan, "holds values that are not finite"),
        (np.inf, "holds values that are not finite"),
        (1e25, "too large to be squared"),
        (1e-25, "so small that its square is lost in float32"),
    ],
)
def test_numbers_that_cannot_be_reckoned_with_are_named(factor: float, said: str, method: str) -> None:
    a = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    f = Matrix(a)
    f.forward = lambda x: (x @ a.T) * np.float32(factor)  # type: ignore[method-assign]
    f.transpose = lambda u: (u @ a) * np.float32(factor)  # type: ignore[method-assign]
    with pytest.raises(BadModel, match=said):
        svd(f, 2, method=method)


def test_the_options_are_those_of_the_function() -> None:
    assert [field.name for field in fields(Settings)] == list(SvdOptions.__annotations__)
