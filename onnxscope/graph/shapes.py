"""Output shapes of the operators for which onnx's own inference finds none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_graphsurgeon as gs


def max_unpool(node: gs.Node) -> list[list[int] | None]:
    """The output shape of a MaxUnpool, if its optional third input gives it as a constant."""
    given = len(node.inputs) > 2 and isinstance(node.inputs[2], gs.Constant)
    return [[int(v) for v in node.inputs[2].values] if given else None]


def attention(node: gs.Node) -> list[list[int] | None]:
    """The shapes of the optional outputs of an Attention node that has no past keys and values.

    These are the present keys, the present values and the attention weights.
    """
    inputs: list[Any] = [t.shape for t in node.inputs[:3]]
    if any(s is None for s in inputs) or (len(node.inputs) > 4 and node.inputs[4].name):
        return []
    q, k, v = inputs
    heads = [
        node.attrs.get(key) or s[1]
        for key, s in (("q_num_heads", q), ("kv_num_heads", k), ("kv_num_heads", v))
    ]
    width = [s[3] if len(s) == 4 else s[2] // h for s, h in zip(inputs, heads, strict=True)]
    return [
        None,
        [k[0], heads[1], k[-2], width[1]],
        [v[0], heads[2], v[-2], width[2]],
        [q[0], heads[0], q[-2], k[-2]],
    ]


LEFT_OPEN: dict[str, Callable[[gs.Node], list[list[int] | None]]] = {
    "MaxUnpool": max_unpool,
    "Attention": attention,
}
