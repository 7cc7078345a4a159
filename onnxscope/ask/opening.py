"""What embedding tools call: rewrite, doctor, verify and load, with typed results and no output of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import onnx

from onnxscope import runtime
from onnxscope.ask.interpreter import LinearInterpreter, OpenModel
from onnxscope.errors import BadModel, BadOption, ScopeError
from onnxscope.files import models
from onnxscope.files.models import Model
from onnxscope.rewriting import options as rewriting_options
from onnxscope.rewriting.build import build, refrozen, survey
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.scope import Scope, is_scope
from onnxscope.rewriting.steps import Policy, Step
from onnxscope.run.engine import DEFAULT_MEMORY, Engine
from onnxscope.run.verify import Check, Report, prove_base, verify_scope

ModelSource = str | Path | bytes | onnx.ModelProto | Model


class Options(TypedDict, total=False):
    """What can be chosen about a rewrite; the command line has the same options."""

    input_shapes: Mapping[str, Sequence[int]]  # sizes that the model leaves free
    image: str | None  # the tensor that is the image; the only image-like input otherwise
    output: str | None  # the tensor to explain; the first output before a softmax otherwise
    policy: str | None  # freeze (the default) or taylor
    policy_for: Mapping[str, str]  # another policy for a node or an operator
    opaque: Iterable[str]  # nodes or operators that are taken as constant decisions
    method: str  # the way back: gradient (Fᵀ, the default), or that of an explanation method


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


def choice(options: Options) -> rewriting_options.Options:
    shapes = {k: tuple(v) for k, v in options.get("input_shapes", {}).items()}
    policy = Policy(options.get("policy") or "freeze", options.get("policy_for", {}))
    return rewriting_options.Options(
        shapes,
        options.get("image"),
        options.get("output"),
        policy,
        frozenset(options.get("opaque", ())),
        options.get("method") or GRADIENT,
    )


def loaded_original(model: ModelSource) -> Model:
    loaded = models.load(model)
    if is_scope(loaded):
        raise BadModel(
            "is a scope already", where=f"'{loaded.path or 'model'}'", remedy="name the original model"
        )
    return loaded


def rewrite(model: ModelSource, *, prove: bool = True, **options: Unpack[Options]) -> Scope:
    """Rewrite a model into a scope, and prove that its base still computes what the model computes."""
    scope = build(loaded_original(model), choice(options))
    if prove:
        prove_base(scope)
    return scope


def doctor(model: ModelSource, **options: Unpack[Options]) -> Diagnosis:
    """Say how every node would be treated, without writing anything."""
    found = survey(loaded_original(model), choice(options))
    problems = (str(found.y1),) if isinstance(found.y1, ScopeError) else ()
    return Diagnosis(tuple(found.freezer.steps), found.x.name, found.y.name, tuple(found.notes), problems)


def opened(model: ModelSource | Scope, **options: Unpack[Options]) -> Scope:
    """A scope, or the one that a model would become. Of a scope too, image, output and method can be chosen anew."""
    if isinstance(model, Scope):
        return chosen_anew(model, "scope", options)
    loaded = models.load(model)
    return (
        chosen_anew(Scope.of(loaded), f"'{loaded.path or 'model'}'", options)
        if is_scope(loaded)
        else build(loaded, choice(options))
    )


def chosen_anew(scope: Scope, where: str, options: Options) -> Scope:
    given = {name for name, value in options.items() if value}
    if given - {"image", "output", "method"}:
        raise BadOption(
            "is a scope, in which sizes and policies are settled",
            where=where,
            remedy="leave these options out, or rewrite the original model with them",
        )
    return (
        refrozen(
            scope, image=options.get("image"), output=options.get("output"), method=options.get("method")
        )
        if given
        else scope
    )


def load(
    model: ModelSource | Scope,
    *,
    layout: str = "auto",
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    memory: int = DEFAULT_MEMORY,
    stateless: bool = False,
    **options: Unpack[Options],
) -> OpenModel:
    """A model or a scope, opened to be frozen for images.

    `device` is auto, cpu or cuda; `tf32` lets CUDA round the operands of products. `memory` bounds, in bytes, what the states
    and a batch of probes take; `stateless` keeps no states but runs the base beside every batch. `layout` says where pictures
    have their channels: auto, nchw or nhwc.
    """
    scope = replace(opened(model, **options), original=None)  # whose weights the graph holds now
    on = runtime.device(device, threads=threads, tf32=tf32)
    return OpenModel(Engine(scope, on, memory=memory, stateless=stateless), layout)


def verify(
    model: ModelSource | Scope,
    *,
    image_values: np.ndarray | None = None,
    seed: int = 0,
    **options: Unpack[Options],
) -> Report:
    """All proofs of a scope, of a saved scope, or of the scope that a model would become."""
    return verify_scope(opened(model, **options), image=image_values, seed=seed)


__all__ = [
    "Check",
    "Diagnosis",
    "LinearInterpreter",
    "OpenModel",
    "Options",
    "Report",
    "Scope",
    "Step",
    "doctor",
    "load",
    "opened",
    "rewrite",
    "verify",
]
