"""Block Golub–Kahan–Lanczos with full reorthogonalisation and thick restarts.

This file decides which vectors get the next pass, and when the search is over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from onnxscope.linear.svd.bidiagonal import Side, State, advanced, expecting, preferring, restarted
from onnxscope.linear.svd.orthonormal import Bundle, orthonormal
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, Found, Passes, lengths, rounding

KEPT = 0.3  # a restart keeps this share of the room beyond k: from 0.1 to 0.6 the passes hardly change
OFTEN = 1 << 11  # a T with more entries is not decomposed after every pass, because that takes time as well
STILL = 30  # times tol: vectors to start with get a pass each only if F has moved no further since


@dataclass(frozen=True)
class Start:
    """Unit vectors to begin with, the leading ones first, and their images under F if these are known."""

    v: np.ndarray
    images: np.ndarray | None = None
    doubt: float = 0.0  # how far an image may be off


@dataclass(frozen=True)
class Search:
    """What to search for, and with how many vectors."""

    k: int  # leading triplets
    tol: float  # for their residuals, relative to σ1
    block: int  # the most vectors in a pass
    basis: int  # the most vectors in the basis of a side
    seed: int
    start: Start | None = None


class Lanczos:
    """A search for the leading k triplets of F."""

    def __init__(self, passes: Passes, search: Search) -> None:
        self.passes, self.start = passes, search.start
        self.k, self.tol, self.block, self.basis = search.k, search.tol, search.block, search.basis
        self.rng = np.random.default_rng(search.seed)
        # random vectors reveal the most on the side with fewer numbers
        self.smaller = INPUTS if passes.sizes[INPUTS] <= passes.sizes[OUTPUTS] else OUTPUTS
        self.state = State((Side(passes.f.outputs), Side(passes.f.inputs)))
        self.stored = 0  # the most vectors held at once
        self.fresh = False  # whether the bases have been closed ever since random vectors got a pass
        self.settled: np.ndarray | None = None  # the leading σ when the bases were last closed
        self.patience = 0  # copies of these σ are searched for until so many passes
        self.whole = False  # whether F does nothing that T does not hold

    def steps(self) -> Iterator[Found]:
        """Pass by pass, until the leading k are good enough or nothing else is left to find."""
        self.open()
        for turn in count():
            closed = self.state.loose <= self.limit
            self.fresh &= closed
            if closed or turn * self.block % (1 + self.state.projected.size // OFTEN) < self.block:
                yield self.found()
                if self.complete() if closed else self.converged():
                    return
            if closed and (self.state.rank >= self.k or self.state.loose <= self.state.zero):
                if self.start is None:
                    self.settled, self.patience = self.state.ritz.sigma[: self.k], 2 * self.passes.total
                self.probe()
            else:
                self.step()

    def found(self) -> Found:
        """The triplets after the last whole step."""
        state, ended = self.state, ""
        sigma = state.ritz.sigma[: state.rank]
        largest = float(sigma.max(initial=0.0)) or 1.0
        if self.whole and state.rank < self.k:
            ended = f"F has rank {state.rank}" + (
                f" to {state.zero / largest:.0e}" if state.zero > self.tol * largest else ""
            )
        elif state.zero > self.tol * largest:
            ended = f"F and Fᵀ agree to {state.zero / largest:.0e} only"
        residual = np.maximum(state.ritz.residual[: state.rank], state.noise) / largest
        return Found(sigma, residual, state.triplets, ended)

    @property
    def limit(self) -> float:
        """The bases count as closed if F leads out of them by no more than this.

        A σ above tol shows about this much of itself in the image of a random vector.
        """
        return max(
            self.tol * self.state.largest / math.sqrt(self.passes.sizes[self.smaller]), self.state.zero
        )

    def converged(self) -> bool:
        """Whether the leading k need no other pass.

        Copies of them are searched for with as many passes as they took themselves.
        """
        ritz = self.state.ritz
        good = self.state.rank >= self.k and bool((ritz.residual[: self.k] <= self.tol * ritz.sigma[0]).all())
        return good and self.passes.total >= self.patience

    def complete(self) -> bool:
        """Whether nothing else can be found, now that the bases are closed.

        What follows from one vector shows a σ once, however often F has it. So random vectors are tried until
        they change nothing.
        """
        state, top = self.state, self.state.ritz.sigma[: self.k]
        full = any(side.count == size for side, size in zip(state.sides, self.passes.sizes, strict=True))
        sure = full or self.fresh
        self.whole = sure and state.loose <= state.zero
        return self.whole or (
            state.rank >= self.k and (sure or self.start is not None or self.unchanged(top))
        )

    def unchanged(self, top: np.ndarray) -> bool:
        """Whether the leading σ are the same as when the bases were last closed."""
        before = self.settled
        return (
            before is not None
            and len(before) == len(top)
            and bool((abs(top - before) <= self.tol * self.state.largest).all())
        )

    def open(self) -> None:
        """The first pass: of random vectors, or of sums of the vectors to start with.

        If the images of the sums are as expected, the vectors to start with get a pass each, and an
        unfinished run continues. Otherwise they would cost more passes than they save.
        """
        sums = self.sums()
        if sums is None:
            self.probe()
            return
        self.state = expecting(self.state, INPUTS, sums)
        self.advance(INPUTS, sums.count)
        others = self.others(sums)
        if others:
            self.state = expecting(self.state, INPUTS, others)
            for axis in (INPUTS, OUTPUTS):
                while waiting := len(self.state.sides[axis].coupling):
                    self.advance(axis, min(self.block, waiting))

    def sums(self) -> Bundle | None:
        """As many weighted sums of the vectors to start with as a block holds.

        In the first sum the last vectors weigh the most, because they take the longest to find.
        """
        if self.start is None:
            return None
        given, space = self.start.v, self.passes.f.inputs
        rising = np.arange(1, len(given) + 1)
        weights = np.vstack([rising, self.rng.standard_normal((min(self.block, len(given)) - 1, len(given)))])
        drawn = self.rng.standard_normal((max(self.block - len(given), 0), *space.shape))
        drawn = drawn / math.sqrt(self.passes.sizes[INPUTS])
        block = space.of(np.concatenate([np.tensordot(weights, given, 1), drawn]))
        return orthonormal(space, Bundle(block, len(weights) + len(drawn)), [], math.sqrt(rounding(space)))[0]

    def others(self, sums: Bundle) -> Bundle | None:
        """The rest of the vectors to start with, if the images of their sums are still as expected."""
        start, inputs, outputs = self.start, self.passes.f.inputs, self.passes.f.outputs
        found = self.state.sides[OUTPUTS]
        if start is None or start.images is None or found.waiting is None:
            return None
        given = inputs.of(start.v)
        expected = outputs.combine(inputs.dot(sums.block, given), outputs.of(start.images))
        moved = lengths(outputs, outputs.subtract(expected, found.coupling.T, found.waiting.block)).max()
        if moved > max(start.doubt, STILL * self.tol * self.state.largest):
            return None
        return orthonormal(inputs, Bundle(given, len(start.v)), [sums], math.sqrt(rounding(inputs)))[0]

    def probe(self) -> None:
        """Random vectors get the next pass."""
        axis, space = self.smaller, self.passes.spaces[self.smaller]
        side, size = self.state.sides[axis], self.passes.sizes[axis]
        drawn = Bundle(space.of(self.rng.standard_normal((self.block, *space.shape))), self.block)
        every = [*side.basis, *([side.waiting] if side.waiting else [])]
        new, *_ = orthonormal(space, drawn, every, rounding(space) * math.sqrt(size))
        if new is None:  # all other vectors wait already; or, by a rare chance, these lay within the basis
            self.step() if any(s.waiting for s in self.state.sides) else self.probe()
            return
        self.make_room(axis, new.count)
        self.state = expecting(self.state, axis, new)
        self.fresh = True
        self.advance(axis, new.count)

    def step(self) -> None:
        """The waiting vectors that matter most get the next pass."""
        axes = [axis for axis in (OUTPUTS, INPUTS) if self.state.sides[axis].waiting]
        axis = axes[0]
        if len(axes) > 1:
            axis = max(axes, key=lambda axis: float(np.linalg.norm(self.weights(axis))))
        waiting = len(self.state.sides[axis].coupling)
        self.make_room(axis, min(waiting, self.block))
        if waiting > self.block:
            self.state = preferring(self.state, axis, self.weights(axis))
        self.advance(axis, min(waiting, self.block))

    def weights(self, axis: int) -> np.ndarray:
        """The residuals of the triplets that are not good enough yet, along a side's waiting vectors.

        If all are good enough, it is whatever leads to the waiting vectors.
        """
        ritz = self.state.ritz
        poor = ritz.residual[: self.k] > self.tol * self.state.largest
        return ritz.left[axis][:, : self.k][:, poor] if poor.any() else self.state.sides[axis].coupling

    def make_room(self, axis: int, width: int) -> None:
        """Restart if the basis of a side would outgrow its bound."""
        if self.state.sides[axis].count + width > self.basis:
            keep = min(self.k + int(KEPT * (self.basis - self.k)), self.basis - self.block)
            self.stored = max(self.stored, self.state.vectors + keep)
            self.state = restarted(self.state, keep)

    def advance(self, axis: int, width: int) -> None:
        self.state = advanced(self.state, axis, width, self.passes.of)
        self.stored = max(self.stored, self.state.vectors)
