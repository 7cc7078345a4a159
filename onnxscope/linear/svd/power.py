"""The paper's Algorithm 1: the power method on FᵀF with momentum and a fixed number of steps.

Each triplet that was found is deflated before the next one is searched for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxscope.linear.linear_map import Block
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, Found, Passes, lengths, rounding

IN_HAND = 5  # vectors held for the triplet that is being searched for: two v, u, Fᵀ·u and the next v


@dataclass(frozen=True)
class Triplet:
    sigma: float
    residual: float  # max(‖F·v − σ·u‖, ‖Fᵀ·u − σ·v‖)
    vectors: tuple[Block, Block]  # u and v


@dataclass(frozen=True)
class Iterate:
    """The triplet being searched for, after a step: the new v, the one before it, and what led to it."""

    v: Block
    previous: Block = None
    u: Block = None  # of the deflated F, not of unit length
    length: float = 0.0  # ‖u‖
    back: Block = None  # Fᵀ·u
    sigma: float = 0.0


class Power:
    """The k triplets that Algorithm 1 finds, good or not."""

    def __init__(self, passes: Passes, k: int, rounds: int, momentum: float, seed: int) -> None:
        self.passes, self.k, self.rounds, self.momentum = passes, k, rounds, momentum
        self.rng = np.random.default_rng(seed)
        self.triplets: tuple[Triplet, ...] = ()
        self.ended = ""

    def steps(self) -> Iterator[Found]:
        for _ in range(self.k):
            inputs = self.passes.spaces[INPUTS]
            now = Iterate(inputs.of(self.rng.standard_normal((1, *inputs.shape))))
            for _ in range(self.rounds):
                now = self.step(now)
                if now.length <= rounding(inputs) * self.largest:
                    self.ended = f"F has rank {len(self.triplets)}"
                    yield self.found()
                    return
                yield self.found(now.sigma)
            self.triplets = (*self.triplets, self.finished(now))
        yield self.found()

    def step(self, now: Iterate) -> Iterate:
        """u = D·v, v_next = Dᵀ·u − m·v_prev, σ² = ⟨v, v_next⟩ with D = F − Σ σ·u·vᵀ over earlier triplets."""
        outputs, inputs = self.passes.spaces
        image, _ = self.passes.of(INPUTS, now.v, 1)
        u = self.deflated(INPUTS, now.v, image)
        back, _ = self.passes.of(OUTPUTS, u, 1)
        following = self.deflated(OUTPUTS, u, back)
        if now.previous is not None and self.momentum:
            following = inputs.subtract(following, np.array([[self.momentum]]), now.previous)
        square, length = inputs.dot(now.v, following)[0, 0], lengths(inputs, following)[0]
        scale = np.array([[1 / length if length else 0.0]])
        return Iterate(
            inputs.combine(scale, following),
            inputs.combine(scale, now.v),
            u,
            lengths(outputs, u)[0] if length else 0.0,
            back,
            math.sqrt(max(square, 0.0)),
        )

    def deflated(self, axis: int, x: Block, image: Block) -> Block:
        """F·x (or Fᵀ·x) without the part that the triplets found so far account for; `image` is the whole."""
        for triplet in self.triplets:
            here, there = triplet.vectors[axis], triplet.vectors[1 - axis]
            image = self.passes.spaces[1 - axis].subtract(
                image, triplet.sigma * self.passes.spaces[axis].dot(x, here), there
            )
        return image

    def finished(self, now: Iterate) -> Triplet:
        """The result of Algorithm 1: σ, the last v, and the u before it at unit length.

        One more pass tells how good they are.
        """
        outputs, inputs = self.passes.spaces
        scale, sigma = np.array([[1 / now.length]]), np.array([[now.sigma]])
        u = outputs.combine(scale, now.u)
        image, _ = self.passes.of(INPUTS, now.v, 1)
        left = lengths(outputs, outputs.subtract(image, sigma, u))[0]
        right = lengths(inputs, inputs.subtract(inputs.combine(scale, now.back), sigma, now.v))[0]
        return Triplet(now.sigma, float(max(left, right)), (u, now.v))

    @property
    def largest(self) -> float:
        return max((triplet.sigma for triplet in self.triplets), default=0.0)

    @property
    def stored(self) -> int:
        return 2 * len(self.triplets) + IN_HAND

    def found(self, current: float | None = None) -> Found:
        """The triplets that had all their steps, and σ of the current one, whose residual is not known."""
        done = sorted(self.triplets, key=lambda triplet: -triplet.sigma)
        last = [] if current is None else [current]
        sigma = np.array([triplet.sigma for triplet in done] + last)
        residual = np.array(
            [triplet.residual / (self.largest or 1.0) for triplet in done] + [math.nan] * len(last)
        )

        def vectors(count: int) -> tuple[Block, Block]:
            u, v = (
                space.join([triplet.vectors[side] for triplet in done[:count]])
                for side, space in enumerate(self.passes.spaces)
            )
            return u, v

        return Found(sigma, residual, vectors, self.ended)
