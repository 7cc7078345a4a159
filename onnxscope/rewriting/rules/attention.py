"""Attention in one operator, and the rotary embedding of positions."""

from __future__ import annotations

import math

import numpy as np

from onnxscope.graph.builder import Tensor, shape_of
from onnxscope.rewriting.frozen import Frozen, Pair
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.movement import numbered

MASKED, SOFTMAX = 2, 3  # modes of the fourth output, beside 0: scaled scores, and 1: with their soft cap


def heads(f: Freezer, n: Site, i: int, count: int) -> Pair:
    """Queries, keys or values as [batch, head, token, feature], in float32."""
    x = Pair(f.float(n.x0(i)), n.pair(i).x1)
    if len(x.shape) == 4:
        return x
    batch, tokens, features = x.shape
    return f.call(
        "Transpose", f.call("Reshape", x, [batch, tokens, count, features // count]), perm=[0, 2, 1, 3]
    )  # type: ignore[no-any-return]


def with_past(f: Freezer, n: Site, x: Pair, i: int) -> Pair:
    """Keys or values behind those of earlier tokens."""
    return f.call("Concat", Pair(f.float(n.x0(i)), n.pair(i).x1), x, axis=2) if n.has(i) else x


def weights_of(f: Freezer, n: Site) -> Tensor:
    """The base's attention weights, which the operator itself tells, masks and all."""
    return f.float(
        f.b.op("Attention", *n.node.inputs, outputs=4, **{**n.node.attrs, "qk_matmul_output_mode": SOFTMAX})[
            3
        ]
    )


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
    q_heads, kv_heads = (
        n.attr("q_num_heads") or n.pair(0).shape[1],
        n.attr("kv_num_heads") or n.pair(1).shape[1],
    )
    q, k, v = heads(f, n, 0, q_heads), heads(f, n, 1, kv_heads), heads(f, n, 2, kv_heads)
    k, v = with_past(f, n, k, 4), with_past(f, n, v, 5)
    batch, _, tokens, features = q.shape
    shared = [
        batch,
        kv_heads,
        q_heads // kv_heads * tokens,
    ]  # the queries that share a key stand below each other
    per_head, mode = [batch, q_heads, tokens, k.shape[2]], int(n.attr("qk_matmul_output_mode"))
    asked = len(n.node.outputs) > 3
    weights, shown = Pair(weights_of(f, n)), None
    if n.taylor or (asked and mode != SOFTMAX):
        plain, capped = (
            f.call("Reshape", s, per_head) for s in scores(f, n, f.call("Reshape", q, [*shared, features]), k)
        )
        shown = (plain, capped, capped)[min(mode, MASKED)]
        if n.has(3) and n.active(3):
            capped = f.call("Add", capped, Pair(f.float(n.x0(3)), n.pair(3).x1))
        if n.taylor and capped.x1 is not None:
            weights = Pair(weights.x0, softmax_tangent(f, weights.x0, capped))
    if mode == SOFTMAX:
        shown = weights
    elif shown is not None and shown.x1 is not None and asked:
        shown = Pair(shown.x0, f.source(shown.x1, f.b.Sub(f.float(n.node.outputs[3]), shown.x0)))  # the mask
    grouped = f.call("Reshape", weights, [*shared, k.shape[2]])
    y = f.call("Reshape", f.call("MatMul", grouped, v), [batch, q_heads, tokens, v.shape[3]])
    if len(n.pair(0).shape) == 3:
        y = f.call("Reshape", f.call("Transpose", y, perm=[0, 2, 1, 3]), list(shape_of(n.y0)))
    f.note("softmax tangent and product rule" if n.taylor else "the attention weights are a decision")
    return [y.x1, k.x1, v.x1, shown.x1 if shown is not None else None][: len(n.node.outputs)]


def softmax_tangent(f: Freezer, p0: Tensor, s: Pair) -> Frozen:
    """p0·(s1 − Σ p0·s1) and its source; a mask is in p0 already."""
    assert s.x1 is not None
    inner = f.gain(s.x1, p0)
    y = f.add(inner, f.negate(f.gain(f.sum(inner, [-1]), p0)))
    slope = f.b.Mul(p0, f.b.Sub(s.x0, f.b.ReduceSum(f.b.Mul(p0, s.x0), [-1])))
    return f.source(y, f.b.Sub(p0, slope))


def rotary_embedding(f: Freezer, n: Site) -> Frozen:
    """cos·x ∓ sin·partner: the operator, fed with the first and with the second of every pair, tells the coefficients."""
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
