"""The paper's Algorithm 1: the power method on FᵀF with momentum, a fixed number of steps, and deflation for the next triplet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxscope.linear.linear_map import Block
from onnxscope.linear.svd.passes import INPUTS, OUTPUTS, Found, Passes, lengths, rounding

IN_HAND = 5  # vectors held for the triplet in the making: two v, u, Fᵀ·u and the next v


@dataclass(frozen=True)
class Triplet:
    sigma: float
    residual: float  # max(‖F·v − σ·u‖, ‖Fᵀ·u − σ·v‖)
    vectors: tuple[Block, Block]  # u and v


@dataclass(frozen=True)
class Iterate:
    """A triplet in the making: after each step the new v, the one before it, and what led from that to the new one."""

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
        """u = F·v, v_next = Fᵀ·u − m·v_prev, σ² = ⟨v, v_next⟩, where F stands for F − Σ σ·u·vᵀ over the triplets found."""
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
        """The image of x without what the triplets found make of x."""
        for triplet in self.triplets:
            here, there = triplet.vectors[axis], triplet.vectors[1 - axis]
            image = self.passes.spaces[1 - axis].subtract(
                image, triplet.sigma * self.passes.spaces[axis].dot(x, here), there
            )
        return image

    def finished(self, now: Iterate) -> Triplet:
        """What Algorithm 1 hands out: σ, the last v, and the u before it at unit length. A pass more tells how good they are."""
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

    def found(self, making: float | None = None) -> Found:
        """The triplets that had all their steps, and the σ of the one in the making, of which nobody knows how good it is."""
        done = sorted(self.triplets, key=lambda triplet: -triplet.sigma)
        last = [] if making is None else [making]
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
