"""Attention as one operator, and the rotary embedding of positions."""

from __future__ import annotations

import math

import numpy as np

from onnxscope.graph.tensors import Tensor, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import numbered
from onnxscope.rewriting.rules.reductions import softmax_tangent

# modes of the fourth output: scaled scores, or the weights; the two others are scores with their soft cap
PLAIN, SOFTMAX = 0, 3


def heads(f: Freezer, n: Site, i: int, count: int) -> Pair:
    """Queries, keys or values as [batch, head, token, feature], in float32."""
    x = f.operand(n, i)
    if len(x.shape) == 4:
        return x
    batch, tokens, features = x.shape
    apart = f.call("Reshape", x, [batch, tokens, count, features // count])
    return f.call("Transpose", apart, perm=[0, 2, 1, 3])  # type: ignore[no-any-return]


def with_past(f: Freezer, n: Site, x: Pair, i: int) -> Pair:
    """Keys or values after those of earlier tokens."""
    return f.call("Concat", f.operand(n, i), x, axis=2) if n.has(i) else x


def weights_of(f: Freezer, n: Site) -> Tensor:
    """The base's attention weights, masks included, which the operator returns in one of its modes."""
    attrs = {**n.node.attrs, "qk_matmul_output_mode": SOFTMAX}
    return f.float(f.b.op("Attention", *n.node.inputs, outputs=4, **attrs)[3])


def scores(f: Freezer, n: Site, q: Pair, k: Pair) -> tuple[Pair, Pair]:
    """Q·Kᵀ/√d, and the same under its soft cap."""
    scale = n.attr("scale") or 1 / math.sqrt(q.shape[-1])
    plain = f.call("Mul", f.call("MatMul", q, f.call("Transpose", k, perm=[0, 1, 3, 2])), np.float32(scale))
    cap = n.attr("softcap")
    if not cap:
        return plain, plain
    return plain, f.call("Mul", f.call("Tanh", f.call("Mul", plain, np.float32(1 / cap))), np.float32(cap))


def attention(f: Freezer, n: Site) -> list[Frozen | None]:
    """softmax(scores)·V: the weights are a decision and V is carried (freeze); the product rule (taylor)."""
    q_heads = n.attr("q_num_heads") or n.pair(0).shape[1]
    kv_heads = n.attr("kv_num_heads") or n.pair(1).shape[1]
    q, k, v = heads(f, n, 0, q_heads), heads(f, n, 1, kv_heads), heads(f, n, 2, kv_heads)
    k, v = with_past(f, n, k, 4), with_past(f, n, v, 5)
    batch, _, tokens, features = q.shape
    # queries that share a key stand below each other
    shared = [batch, kv_heads, q_heads // kv_heads * tokens]
    weights, shown = Pair(weights_of(f, n)), None
    if n.taylor or shows_scores(n):
        grouped = f.call("Reshape", q, [*shared, features])
        per_head = [batch, q_heads, tokens, k.shape[2]]
        plain, capped = (f.call("Reshape", s, per_head) for s in scores(f, n, grouped, k))
        shown = plain if n.attr("qk_matmul_output_mode") == PLAIN else capped
        weights = carried_weights(f, n, weights.x0, capped) if n.taylor else weights
    grouped = f.call("Reshape", weights, [*shared, k.shape[2]])
    y = f.call("Reshape", f.call("MatMul", grouped, v), [batch, q_heads, tokens, v.shape[3]])
    if len(n.pair(0).shape) == 3:
        y = f.call("Reshape", f.call("Transpose", y, perm=[0, 2, 1, 3]), list(shape_of(n.y0)))
    f.note("softmax tangent and product rule" if n.taylor else "the attention weights are a decision")
    return [y.x1, k.x1, v.x1, fourth_output(f, n, weights, shown)][: len(n.node.outputs)]


def shows_scores(n: Site) -> bool:
    """Whether the fourth output is there and holds scores."""
    return len(n.node.outputs) > 3 and n.attr("qk_matmul_output_mode") != SOFTMAX


def carried_weights(f: Freezer, n: Site, weights0: Tensor, capped: Pair) -> Pair:
    """The attention weights by the tangent of the softmax."""
    if n.has(3) and n.active(3):  # a mask that depends on the image is part of the scores
        capped = f.call("Add", capped, f.operand(n, 3))
    carried = capped.x1 is not None
    return Pair(weights0, softmax_tangent(f, weights0, capped, 3) if carried else None)


def fourth_output(f: Freezer, n: Site, weights: Pair, shown: Pair | None) -> Frozen | None:
    """The attention weights, or the scores, whose mask is a source."""
    if not shows_scores(n):
        return weights.x1
    if shown is None or shown.x1 is None:
        return None
    return f.anchored(shown, f.float(n.node.outputs[3]))


def rotary_embedding(f: Freezer, n: Site) -> Frozen:
    """cos·x ∓ sin·partner, with coefficients that the operator itself returns.

    It is applied to ones in the first place of every pair and zeros in the second, and the other way round.
    """
    b, shape = f.b, n.pair(0).shape
    x1 = n.only(0)
    size = shape[-1] // int(n.attr("num_heads")) if len(shape) == 3 else shape[-1]
    rotated = int(n.attr("rotary_embedding_dim")) or size
    number = numbered(f, shape)
    place = b.Mod(number, np.int64(size))
    if n.attr("interleaved"):
        step, first = 1, b.Equal(b.Mod(place, np.int64(2)), np.int64(0))
    else:
        step, first = rotated // 2, b.Less(place, np.int64(rotated // 2))
    moves = b.Less(place, np.int64(rotated))
    first = b.Or(first, b.Not(moves))
    ones, twos = (
        b.op("RotaryEmbedding", b.CastLike(m, n.x0()), *n.node.inputs[1:], **n.node.attrs)
        for m in (first, b.Not(first))
    )
    ones, twos = f.float(ones), f.float(twos)
    partner = b.Add(number, b.Where(moves, b.Where(first, np.int64(step), np.int64(-step)), np.int64(0)))
    return f.add(
        f.gain(x1, b.Where(first, ones, twos)), f.gain(f.select(x1, partner), b.Where(first, twos, ones))
    )


ATTENTION: dict[str, Entry] = {
    "Attention": ("frozen", attention),
    "RotaryEmbedding": ("linear", rotary_embedding),
}
