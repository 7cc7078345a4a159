"""What explanations should depend on: the network's weights, drawn anew from the top down, and an image changed against its class."""

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
from onnxscope.graph.tensors import Tensor
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.scope import Scope, needed

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def randomised(scope: Scope, seed: int = 0) -> Iterator[tuple[str, Scope]]:
    """The network after each layer from the last one to the first, whose weights too are drawn anew now; biases and normalisations stay."""
    random, changed = np.random.default_rng(seed), replace(scope, graph=scope.graph.copy())
    for node, weights in reversed(weighted(changed)):
        weights.values = drawn_like(weights.values, random)
        yield node.name, refrozen(changed)


def drawn_like(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Normal numbers with the same deviation and type, around 0 or, where none is negative by its type, around the same mean."""
    known = values.astype(np.float64)
    drawn = known.std() * random.standard_normal(values.shape) + (
        known.mean() if values.dtype.kind == "u" else 0
    )
    if values.dtype.kind in "iu":
        drawn = np.rint(drawn).clip(np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)
    return np.asarray(drawn, values.dtype)


def weighted(scope: Scope) -> list[tuple[gs.Node, gs.Constant]]:
    """The nodes of the base with constant weights, each weight once."""
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
    """What a quantized weight is made of; anything else itself."""
    return t.inputs[0].inputs[0] if t.inputs and t.inputs[0].op == "DequantizeLinear" else t


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks."""
    return correlation(rankdata(a), rankdata(b))


def attacked(image: np.ndarray, gradient: np.ndarray, step: np.ndarray | float) -> np.ndarray:
    """FGSM against a class: every value goes one step against the sign of the class's gradient."""
    return np.asarray(image - step * np.sign(gradient), image.dtype)


def depth(book: Ledger) -> float:
    """Where a score was paid, by the sizes of the payments: 0 for the image itself, 1 for the last layer that adds anything."""
    paid = np.abs([book.input, *book.layers.values()])
    return float(paid @ np.linspace(0, 1, len(paid)) / max(paid.sum(), 1e-300))


@dataclass(frozen=True)
class Effect:
    """What an attack on one class does: to its score and place, to who pays for it, and to what each feature map's pixels add to it."""

    scores: tuple[float, float]  # before and after, and so below
    depths: tuple[float, float]
    named: bool  # whether it stays the highest
    ledger: float  # correlation of the image's and the layers' payments before and after
    inside: dict[str, float]  # the same for the contributions at each tensor that every path passes


def effect(model: OpenScope, image: np.ndarray, changed: np.ndarray, score: int) -> Effect:
    """Of changing the image."""
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
    before, after = values
    return before, after
