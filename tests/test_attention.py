"""Attention and rotary embedding: the standard's cases, with the image in each input and in all of them."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx.reference import ReferenceEvaluator
from support import POLICIES, case_model, check, model, node, randn, runs, standard_cases

from onnxscope.graph import shapes

HALF = 5e-3  # what float16 leaves of a number, some roundings later
CASES = [
    c for c in standard_cases("Attention") if "bf16" not in c.name and "window" not in c.name
]  # onnxruntime has no kernels for these
OUTPUTS = {
    "present_key": "K",
    "present_value": "V",
    "qk_matmul_output": "Q",
}  # which input each of the others is read in


def prepared(case, image):
    """The case with finite random numbers for its image, or None where onnxruntime refuses it."""
    proto, feeds = case_model(case, image, newest=24)
    feeds[image] = np.random.default_rng(0).standard_normal(feeds[image].shape).astype(feeds[image].dtype)
    return (proto, feeds) if runs(proto, feeds) else None


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name[5:])
def test_standard_cases(case):
    tolerance = HALF if "16" in case.name or "precision" in case.name else 1e-5
    step = 0 if tolerance == HALF else 0.2 if "scaled" in case.name else 0.02
    outputs = [o.name for o in case.model.graph.output]
    if prepared(case, "V") is None:
        pytest.skip("onnxruntime refuses it")
    proto, feeds = prepared(case, "V")
    check(proto, feeds, image="V", output="Y", linear=tolerance < HALF, tolerance=tolerance)
    for image in "QK":
        proto, feeds = prepared(case, image)
        check(proto, feeds, "taylor", image=image, output="Y", step=step, tolerance=tolerance)
    for output in outputs[1:]:
        proto, feeds = prepared(case, OUTPUTS[output])
        if (
            "nan" not in case.name
            and "fullymasked" not in case.name
            and not ("bias" in case.name and "causal" in case.name)
        ):
            check(
                proto, feeds, "taylor", image=OUTPUTS[output], output=output, step=step, tolerance=tolerance
            )


@pytest.mark.parametrize(
    ("sizes", "heads"),
    [
        ([(2, 6, 3, 4), (2, 3, 5, 4), (2, 3, 5, 7)], {}),
        ([(2, 3, 24), (2, 5, 12), (2, 5, 21)], {"q_num_heads": 6, "kv_num_heads": 3}),
    ],
)
def test_output_sizes_are_those_of_the_standards_reference(sizes, heads):
    feeds = {name: randn(*size) for name, size in zip("qkv", sizes, strict=True)}
    outputs = ["y", "key", "value", "weights"]
    proto = model([node("Attention", "qkv", outputs, **heads)], feeds, outputs, opset=23)
    want = [list(value.shape) for value in ReferenceEvaluator(proto).run(None, feeds)]
    (read,) = gs.import_onnx(proto).nodes
    assert shapes.attention(read) == [None, *want[1:]]


def self_attention(heads, **attrs):
    """An image of tokens that makes its own queries, keys and values."""
    x = randn(1, 4, 6)
    nodes = [node("MatMul", ["x", f"w{i}"], [i]) for i in "qkv"]
    nodes.append(node("Attention", [*"qkv"], q_num_heads=heads, kv_num_heads=2, **attrs))
    weights = {f"w{i}": randn(6, 2 * (heads if i == "q" else 2), seed=k) for k, i in enumerate("qkv")}
    return model(nodes, {"x": x}, ["y"], opset=23, weights=weights), {"x": x}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "heads,attrs", [(2, {}), (4, {"is_causal": 1}), (2, {"softcap": 1.5, "scale": 0.7})], ids=str
)
def test_self_attention(heads, attrs, policy):
    proto, feeds = self_attention(heads, **attrs)
    d = check(proto, feeds, policy, step=0.01 if policy == "taylor" else 0)
    assert policy == "taylor" or np.abs(d.residual).max() < 1e-6, "frozen attention has no source"


@pytest.mark.parametrize("case", standard_cases("RotaryEmbedding"), ids=lambda c: c.name[5:])
def test_rotary_embedding(case):
    proto, feeds = case_model(case, case.model.graph.input[0].name)
    check(
        proto,
        feeds,
        image=case.model.graph.input[0].name,
        output=case.model.graph.output[0].name,
        linear=True,
    )
