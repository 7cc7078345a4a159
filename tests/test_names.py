"""Names in models may be anything: no name, and no remark, decides what the program takes a node for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import model, node, randn

import onnxscope
from onnxscope.ask.ledger import ledgers
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.steps import Policy

BRANCHES = ("source", "frozen", "state", "transposed", "const")
ODD = ["a,b", "a=b", "a,b=taylor", '{"default"', "=", ",", "freeze,Relu=taylor"]


def network(names: list[str]) -> onnx.ModelProto:
    """Conv, Relu, Sigmoid and Conv, called by these names."""
    weights = {
        "w": randn(3, 3, 3, 3),
        "b": randn(3, seed=1),
        "w2": randn(2, 3, 4, 4, seed=2),
        "b2": randn(2, seed=3),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], name=names[0]),
        node("Relu", ["c"], ["r"], name=names[1]),
        node("Sigmoid", ["r"], ["s"], name=names[2]),
        node("Conv", ["s", "w2", "b2"], ["y"], name=names[3]),
    ]
    return model(nodes, {"x": randn(1, 3, 4, 4)}, ["y"], weights=weights)


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_model_may_use_the_names_of_the_scopes_branches(branch: str, tmp_path: Path) -> None:
    """The scope of such a model is whole after it was saved, and all its questions are answered rightly."""
    plain, called = (
        network(["k1", "k2", "k3", "k4"]),
        network([f"{branch}/{n}" for n in ("conv", "Add", "1", "output")]),
    )
    saved = onnxscope.rewrite(called).save(tmp_path / "named.scope.onnx")
    image = randn(1, 3, 4, 4, seed=9)
    for opened in (called, saved):
        assert onnxscope.verify(opened, image_values=image).ok
        x, want = (onnxscope.load(m).freeze(image) for m in (opened, plain))
        np.testing.assert_array_equal(x.dense(), want.dense())
        (book,), (other,) = (ledgers(one, [1]) for one in (x, want))
        assert list(book.layers.values()) == list(other.layers.values())
        assert next(iter(book.layers)) == f"{branch}/conv"
    for method in ("discussion", "guided", "lrp-epsilon"):
        (got, want) = (onnxscope.load(m, method=method).freeze(image).row((0, 0, 0)) for m in (saved, plain))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ODD)
def test_a_policy_for_a_node_of_any_name_is_saved_and_read_back(name: str, tmp_path: Path) -> None:
    proto = network(["k1", "k2", name, "k4"])
    scope = onnxscope.rewrite(proto, policy_for={name: "taylor"})
    again = onnxscope.Scope.load(scope.save(tmp_path / "odd.scope.onnx"))
    assert again.policy == scope.policy == Policy("freeze", {name: "taylor"})
    assert [s.policy for s in refrozen(again).steps if s.name == name] == ["taylor"]


def test_a_policy_is_written_plainly_where_names_allow() -> None:
    policy = Policy("taylor", {"Relu": "freeze", "n/1": "taylor"})
    assert str(policy) == "taylor,Relu=freeze,n/1=taylor"
    assert Policy.of_text(str(policy)) == policy


def test_an_opaque_node_stays_opaque_when_a_saved_scope_is_frozen_anew(tmp_path: Path) -> None:
    scope = onnxscope.rewrite(network(["k1", "k2", "k3", "k4"]), opaque=["k3"])
    again = onnxscope.Scope.load(scope.save(tmp_path / "opaque.scope.onnx"))
    assert [s.opaque for s in again.steps if s.name == "k3"] == [True]
    assert [(s.how, s.opaque) for s in refrozen(again, policy="taylor").steps if s.name == "k3"] == [
        ("decision", True)
    ]


@pytest.mark.parametrize(
    ("policy", "special", "judged"),
    [
        ("taylor", {}, True),
        ("taylor", {"Relu": "freeze"}, True),  # the same under both policies
        ("freeze", {"Sigmoid": "taylor"}, True),  # no other node depends on the policy
        ("taylor", {"Sigmoid": "freeze"}, False),  # a gain that is no derivative
        ("freeze", {"Relu": "taylor"}, False),
        ("freeze", {"Conv": "taylor", "Sigmoid": "taylor"}, True),
    ],
)
def test_mixed_policies_keep_their_derivative_check(
    policy: str, special: dict[str, str], judged: bool
) -> None:
    report = onnxscope.verify(network(["k1", "k2", "k3", "k4"]), policy=policy, policy_for=special)
    (check,) = [c for c in report.checks if c.name == "F·v = derivative"]
    assert check.ok
    assert (check.figure is not None) == judged, check.note
    if not judged:
        assert "'k3'" in check.note
