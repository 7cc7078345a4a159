"""Whether an image decides as the one that a scope is specialised on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxscope.errors import OtherDecision
from onnxscope.graph.decisions import shown
from onnxscope.graph.parts import part
from onnxscope.rewriting.guard import HOLDS
from onnxscope.rewriting.scope import Scope
from onnxscope.run.single_runs import session

Arrays = Mapping[str, np.ndarray]


def refuse_other_image(scope: Scope, feeds: Arrays) -> None:
    """Refuse values of a model's inputs that decide otherwise than the scope."""
    if scope.decided:
        computed = [t for t in map(scope.tensor, scope.guards) if t.inputs]
        with session(part(scope.graph, computed)) as guards:
            refuse_other_decision(scope, {**feeds, **guards.run(feeds)})


def refuse_other_decision(scope: Scope, values: Arrays) -> None:
    """Refuse what an image decides otherwise than the scope; `values` are those of the scope's guards."""
    for alike, decision in zip(values[HOLDS] if scope.decided else (), scope.decided, strict=True):
        if not alike:
            other = shown(values[decision.tensor])
            raise OtherDecision(
                f"its {decision.what} would be {other} for this image, and the scope is specialised on "
                f"{shown(decision.value)}",
                where=decision.where,
                remedy="rewrite the original model for this image, with --image FILE",
            )
