"""What embedding tools call: rewrite, doctor and verify, with typed results and no output of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxscope.errors import BadModel, ScopeError
from onnxscope.linearize import Policy, Step
from onnxscope.model_io import load
from onnxscope.scope import Scope, build, is_scope, survey
from onnxscope.verify import Check, Report, prove_base, verify_scope

ModelSource = str | Path | bytes | onnx.ModelProto


@dataclass(frozen=True)
class Diagnosis:
    """What a rewrite would do, node by node, and what stops it."""

    steps: tuple[Step, ...]
    image: str
    output: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def rewrite(model: ModelSource, *, input_shapes: Mapping[str, Sequence[int]] | None = None, image: str | None = None,
            output: str | None = None, policy: str = "freeze", policy_for: Mapping[str, str] | None = None,
            opaque: Iterable[str] = (), prove: bool = True) -> Scope:
    """Rewrite a model into a scope, and prove that its base still computes what the model computes."""
    shapes = {k: tuple(v) for k, v in (input_shapes or {}).items()}
    loaded = load(model)
    if is_scope(loaded):
        raise BadModel("is a scope already", where=f"'{loaded.path or 'model'}'", remedy="rewrite the original model")
    scope = build(loaded, shapes=shapes, image=image, output=output, policy=Policy(policy, policy_for or {}), opaque=frozenset(opaque))
    if prove:
        prove_base(scope)
    return scope


def doctor(model: ModelSource, *, input_shapes: Mapping[str, Sequence[int]] | None = None, image: str | None = None,
           output: str | None = None, policy: str = "freeze", policy_for: Mapping[str, str] | None = None,
           opaque: Iterable[str] = ()) -> Diagnosis:
    """Say how every node would be treated, without writing anything."""
    shapes = {k: tuple(v) for k, v in (input_shapes or {}).items()}
    found = survey(load(model), shapes=shapes, image=image, output=output, policy=Policy(policy, policy_for or {}), opaque=frozenset(opaque))
    problems = (str(found.y1),) if isinstance(found.y1, ScopeError) else ()
    return Diagnosis(tuple(found.freezer.steps), found.x.name, found.y.name, tuple(found.notes), problems)


def opened(model: ModelSource, **options: Any) -> Scope:
    """A saved scope, or the scope that a model would become."""
    loaded = load(model)
    return Scope.of(loaded) if is_scope(loaded) else rewrite(model, **options, prove=False)


def verify(model: ModelSource | Scope, *, image_values: np.ndarray | None = None, seed: int = 0,
           input_shapes: Mapping[str, Sequence[int]] | None = None, image: str | None = None, output: str | None = None,
           policy: str = "freeze", policy_for: Mapping[str, str] | None = None, opaque: Iterable[str] = ()) -> Report:
    """All proofs of a scope, of a saved scope, or of the scope that a model would become."""
    scope = model if isinstance(model, Scope) else opened(
        model, input_shapes=input_shapes, image=image, output=output, policy=policy, policy_for=policy_for, opaque=opaque)
    return verify_scope(scope, image=image_values, seed=seed)


__all__ = ["Check", "Diagnosis", "Report", "Scope", "Step", "doctor", "rewrite", "verify"]
