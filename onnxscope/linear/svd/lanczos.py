"""Block Golub–Kahan–Lanczos with full reorthogonalisation and thick restarts: which vectors get the next pass, and when it is done."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from onnxscope.linear.svd.bidiagonal import Side, State, advanced, expecting, preferring, restarted
from onnxscope.linear.svd.panels import Panel, orthonormal
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, Found, Passes, lengths, rounding

KEPT = 0.3  # of the room beyond k, what a restart keeps: from 0.1 to 0.6 the passes hardly change
OFTEN = (
    1 << 11
)  # entries of a T that is looked at after every pass; larger ones less often, for that takes time as well
STILL = 30  # times tol: how far F may have moved since the vectors to start with were found, for all of them to be worth a pass


@dataclass(frozen=True)
class Start:
    """Unit vectors to begin with, the leading ones first, and what F makes of them if that is known."""

    v: np.ndarray
    images: np.ndarray | None = None
    doubt: float = 0.0  # how far an image may be off


class Lanczos:
    """A search for the leading k triplets of F."""

    def __init__(
        self, passes: Passes, k: int, tol: float, *, block: int, basis: int, start: Start | None, seed: int
    ) -> None:
        self.passes, self.k, self.tol, self.block, self.basis, self.start = (
            passes,
            k,
            tol,
            block,
            basis,
            start,
        )
        self.rng = np.random.default_rng(seed)
        self.smaller = (
            INPUTS if passes.sizes[INPUTS] <= passes.sizes[OUTPUTS] else OUTPUTS
        )  # where random vectors tell the most
        self.state = State((Side(passes.f.outputs), Side(passes.f.inputs)))
        self.stored = 0  # the most vectors held at once
        self.fresh = False  # random vectors got the last pass, or have led nowhere since
        self.settled: np.ndarray | None = None  # the leading σ when F led nowhere before
        self.patience = 0  # until so many passes, copies of them are searched for
        self.whole = False  # F does nothing but what T says

    def steps(self) -> Iterator[Found]:
        """Pass by pass, until the leading k are as good as asked for or nothing else is left to find."""
        self.open()
        for turn in count():
            quiet = self.state.loose <= self.limit
            self.fresh &= quiet
            if quiet or turn * self.block % (1 + self.state.projected.size // OFTEN) < self.block:
                yield self.found()
                if self.complete() if quiet else self.converged():
                    return
            if quiet and (self.state.rank >= self.k or self.state.loose <= self.state.zero):
                if self.start is None:
                    self.settled, self.patience = self.state.ritz.sigma[: self.k], 2 * self.passes.total
                self.probe()
            else:
                self.step()

    def found(self) -> Found:
        """The triplets of the last whole step."""
        state, ended = self.state, ""
        sigma = state.ritz.sigma[: state.rank]
        largest = float(sigma.max(initial=0.0)) or 1.0
        if self.whole and state.rank < self.k:
            ended = f"F has rank {state.rank}" + (
                f" to {state.zero / largest:.0e}" if state.zero > self.tol * largest else ""
            )
        elif state.zero > self.tol * largest:
            ended = f"F and Fᵀ agree to {state.zero / largest:.0e} only"
        return Found(
            sigma, np.maximum(state.ritz.residual[: state.rank], state.noise) / largest, state.triplets, ended
        )

    @property
    def limit(self) -> float:
        """Below this, F leads nowhere: a σ above tol shows about so much of itself in a random vector's image."""
        return max(
            self.tol * self.state.largest / math.sqrt(self.passes.sizes[self.smaller]), self.state.zero
        )

    def converged(self) -> bool:
        """Whether the leading k need no other pass; copies of them are searched for as long as the search took for themselves."""
        ritz = self.state.ritz
        good = self.state.rank >= self.k and bool((ritz.residual[: self.k] <= self.tol * ritz.sigma[0]).all())
        return good and self.passes.total >= self.patience

    def complete(self) -> bool:
        """Whether nothing else can be there, when F leads nowhere.

        What follows from one vector shows a σ once, however often F has it; so random vectors follow, until they change nothing.
        """
        state, top = self.state, self.state.ritz.sigma[: self.k]
        full = any(side.count == size for side, size in zip(state.sides, self.passes.sizes, strict=True))
        sure = full or self.fresh
        self.whole = sure and state.loose <= state.zero
        return self.whole or (
            state.rank >= self.k and (sure or self.start is not None or self.unchanged(top))
        )

    def unchanged(self, top: np.ndarray) -> bool:
        """Whether the leading σ are what they were when F led nowhere before."""
        before = self.settled
        return (
            before is not None
            and len(before) == len(top)
            and bool((abs(top - before) <= self.tol * self.state.largest).all())
        )

    def open(self) -> None:
        """The first pass: of random vectors, or of sums of the ones given.

        Where F makes of the sums what it made of them before, the vectors given get a pass each, and an unfinished run goes on. Where it
        does not, or that is not known, they would cost more passes than they save.
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

    def sums(self) -> Panel | None:
        """As many sums of the vectors given as go into a block. In the first, the last vectors weigh most: they take longest."""
        if self.start is None:
            return None
        given, space = self.start.v, self.passes.f.inputs
        weights = np.vstack(
            [
                np.arange(1, len(given) + 1),
                self.rng.standard_normal((min(self.block, len(given)) - 1, len(given))),
            ]
        )
        drawn = self.rng.standard_normal((max(self.block - len(given), 0), *space.shape)) / math.sqrt(
            self.passes.sizes[INPUTS]
        )
        block = space.of(np.concatenate([np.tensordot(weights, given, 1), drawn]))
        return orthonormal(space, Panel(block, len(weights) + len(drawn)), [], math.sqrt(rounding(space)))[0]

    def others(self, sums: Panel) -> Panel | None:
        """What the vectors given hold beside the sums, if F's images of the sums are still what was known of them."""
        start, inputs, outputs = self.start, self.passes.f.inputs, self.passes.f.outputs
        found = self.state.sides[OUTPUTS]
        if start is None or start.images is None or found.waiting is None:
            return None
        given = inputs.of(start.v)
        supposed = outputs.combine(inputs.dot(sums.block, given), outputs.of(start.images))
        moved = lengths(outputs, outputs.subtract(supposed, found.coupling.T, found.waiting.block)).max()
        if moved > max(start.doubt, STILL * self.tol * self.state.largest):
            return None
        return orthonormal(inputs, Panel(given, len(start.v)), [sums], math.sqrt(rounding(inputs)))[0]

    def probe(self) -> None:
        """Random vectors get the next pass."""
        axis, space = self.smaller, self.passes.spaces[self.smaller]
        side, size = self.state.sides[axis], self.passes.sizes[axis]
        drawn = Panel(space.of(self.rng.standard_normal((self.block, *space.shape))), self.block)
        beside = [*side.panels, *([side.waiting] if side.waiting else [])]
        new, *_ = orthonormal(space, drawn, beside, rounding(space) * math.sqrt(size))
        if (
            new is None
        ):  # all that there is waits already; or, where nothing waits, they lay in the basis by a rare chance
            self.step() if any(s.waiting for s in self.state.sides) else self.probe()
            return
        self.make_room(axis, new.count)
        self.state = expecting(self.state, axis, new)
        self.fresh = True
        self.advance(axis, new.count)

    def step(self) -> None:
        """The waiting vectors that matter most get the next pass."""
        axes = [axis for axis in (OUTPUTS, INPUTS) if self.state.sides[axis].waiting]
        axis = (
            axes[0]
            if len(axes) == 1
            else max(axes, key=lambda axis: float(np.linalg.norm(self.weights(axis))))
        )
        waiting = len(self.state.sides[axis].coupling)
        self.make_room(axis, min(waiting, self.block))
        if waiting > self.block:
            self.state = preferring(self.state, axis, self.weights(axis))
        self.advance(axis, min(waiting, self.block))

    def weights(self, axis: int) -> np.ndarray:
        """What the triplets that are not good enough yet leave in a side's waiting vectors; if they all are, what any leave."""
        ritz = self.state.ritz
        poor = ritz.residual[: self.k] > self.tol * self.state.largest
        return ritz.left[axis][:, : self.k][:, poor] if poor.any() else self.state.sides[axis].coupling

    def make_room(self, axis: int, width: int) -> None:
        """Restart where a basis would outgrow its bound."""
        if self.state.sides[axis].count + width > self.basis:
            keep = min(self.k + int(KEPT * (self.basis - self.k)), self.basis - self.block)
            self.stored = max(self.stored, self.state.vectors + keep)
            self.state = restarted(self.state, keep)

    def advance(self, axis: int, width: int) -> None:
        self.state = advanced(self.state, axis, width, self.passes.of)
        self.stored = max(self.stored, self.state.vectors)
