"""What explanations should depend on: they should change with the network's weights and under an attack.

The weights are replaced by random ones, layer by layer from the last to the first. An attack changes the
image so that the score of its class falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from scipy.stats import rankdata

from onnxscope.ask.contributions import contributions, passed_by_all
from onnxscope.ask.evaluation import correlation
from onnxscope.ask.interpreter import OpenScope
from onnxscope.ask.ledger import Ledger, ledgers
from onnxscope.errors import BadOption
from onnxscope.graph.parts import needed
from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.scope import Scope

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def randomised(scope: Scope, seed: int = 0) -> Iterator[tuple[str, Scope]]:
    """The layers from the last to the first, each with the network whose weights are random down to it.

    Biases and normalisations keep their values.
    """
    for name, changed in drawn_anew(scope, seed):
        yield name, refrozen(changed)


def wholly_random(scope: Scope, seed: int = 0) -> Scope:
    """The network with random weights in all layers: the last of `randomised`."""
    *_, (_, changed) = drawn_anew(scope, seed)
    return refrozen(changed)


def drawn_anew(scope: Scope, seed: int) -> Iterator[tuple[str, Scope]]:
    """The layers from the last to the first, and the scope, whose base has random weights down to each."""
    random, changed = np.random.default_rng(seed), replace(scope, graph=scope.graph.copy())
    for node, weights in reversed(weighted(changed)):
        weights.values = drawn_like(weights.values, random)
        yield node.name, changed


def drawn_like(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Normal random numbers of the same shape, type and deviation.

    Their mean is 0; for unsigned types, which hold no negative numbers, it is that of the values.
    """
    known = values.astype(np.float64)
    drawn = known.std() * random.standard_normal(values.shape) + (
        known.mean() if values.dtype.kind == "u" else 0
    )
    if values.dtype.kind in "iu":
        drawn = np.rint(drawn).clip(np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    return np.asarray(drawn, values.dtype)


def weighted(scope: Scope) -> list[tuple[gs.Node, gs.Constant]]:
    """The nodes of the base that have constant weights, with these; weights that nodes share come once."""
    found: dict[str, tuple[gs.Node, gs.Constant]] = {}
    for node in needed(scope.graph.nodes, [scope.tensor(scope.output)]):
        if node.op in WEIGHTED:
            constants = [t for t in map(stored, node.inputs[:2]) if isinstance(t, gs.Constant)]
            found |= {t.name: (node, t) for t in constants if t.name not in found}
    if not found:
        raise BadOption(
            "the network has no layer with constant weights", where="--randomise", remedy="leave it out"
        )
    return list(found.values())


def stored(t: Tensor) -> Tensor:
    """The stored integers where a quantized weight is dequantized; any other tensor unchanged."""
    return t.inputs[0].inputs[0] if t.inputs and t.inputs[0].op == "DequantizeLinear" else t


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation: that of the ranks."""
    return correlation(rankdata(a), rankdata(b))


def attacked(image: np.ndarray, gradient: np.ndarray, step: np.ndarray | float) -> np.ndarray:
    """FGSM against a class: image − step · sign(gradient of the class's score)."""
    return np.asarray(image - step * np.sign(gradient), image.dtype)


def depth(book: Ledger) -> float:
    """The mean depth of the ledger's entries, weighted by their sizes.

    The image has depth 0 and the last layer that has a source has depth 1.
    """
    sizes = np.abs([book.input, *book.layers.values()])
    return float(sizes @ np.linspace(0, 1, len(sizes)) / max(sizes.sum(), 1e-300))


@dataclass(frozen=True)
class Effect:
    """What an attack on a class changes: its score, its ledger, and the contributions of each feature map."""

    scores: tuple[float, float]  # before and after the attack
    depths: tuple[float, float]  # of the ledger, likewise
    named: bool  # whether the class still has the highest score
    ledger: float  # the correlation between the ledger's entries before and after
    inside: dict[str, float]  # the same for the contributions at each tensor that every path passes through


def effect(model: OpenScope, image: np.ndarray, changed: np.ndarray, score: int) -> Effect:
    """What changes between the image and the changed image."""
    before, after = (model.freeze(i) for i in (image, changed))
    books = [ledgers(x, [score])[0] for x in (before, after)]
    tensors = passed_by_all(before)
    pairs = zip(*(contributions(x, score, tensors) for x in (before, after)), strict=True)
    return Effect(
        pair([b.score for b in books]),
        pair([depth(b) for b in books]),
        int(after.output.argmax()) == score,
        correlation(*(np.array([b.input, *b.layers.values()]) for b in books)),
        {old.tensor: correlation(old.values, new.values) for old, new in pairs if old.values.size > 1},
    )


def pair(values: Sequence[float]) -> tuple[float, float]:
    """Exactly two values as a tuple."""
    before, after = values
    return before, after
