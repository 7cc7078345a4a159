"""Models and scopes opened: rewrite, doctor, verify and load, with typed results and no output of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import onnx

from onnxscope.api.model import OpenModel
from onnxscope.errors import BadModel, BadOption, ScopeError
from onnxscope.files import models
from onnxscope.files.models import Model
from onnxscope.files.preprocessing import UNIT, Preprocess, preprocessing
from onnxscope.files.results import Cells, Result
from onnxscope.rewriting.build import build, refrozen, survey
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import Scope, is_scope
from onnxscope.rewriting.steps import FREEZE, Policy, Step
from onnxscope.run.engine import DEFAULT_MEMORY, Running
from onnxscope.run.verify import Check, Report, prove_base, verify_scope

ModelSource = str | Path | bytes | onnx.ModelProto | Model
KEPT_BYTES = (
    64 << 20
)  # an opened model keeps its original up to this size, so that a tour can compare the two


class Choices(TypedDict, total=False):
    """What can be chosen about a rewrite; the command line has the same options."""

    input_shapes: Mapping[str, Sequence[int]]  # sizes that the model leaves free
    image: str | None  # the tensor that is the image; the only image-like input otherwise
    output: str | None  # the tensor to explain; the first output before a softmax otherwise
    policy: str | None  # freeze (the default) or taylor
    policy_for: Mapping[str, str]  # another policy for a node or an operator
    opaque: Iterable[str]  # nodes or operators that are taken as constant decisions
    method: (
        str | None
    )  # what the transposed branch computes: gradient (Fᵀ, the default) or an explanation method


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """What a rewrite would do, node by node, and what stops it."""

    steps: tuple[Step, ...]
    image: str
    output: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stops the rewrite."""
        return not self.problems

    @property
    def title(self) -> str:
        verdict = "can be rewritten" if self.ok else f"cannot be rewritten: {'; '.join(self.problems)}"
        return f"image '{self.image}', output '{self.output}': {verdict}"

    def cells(self) -> Cells:
        return ("node", "operator", "how", "policy", "note"), [
            (s.name, s.op, s.how, s.policy, s.note) for s in self.steps
        ]


def options_of(chosen: Choices) -> Options:
    """The options of a rewrite as one value."""
    return Options(
        {name: tuple(shape) for name, shape in (chosen.get("input_shapes") or {}).items()},
        chosen.get("image"),
        chosen.get("output"),
        Policy(chosen.get("policy") or FREEZE, chosen.get("policy_for") or {}),
        frozenset(chosen.get("opaque") or ()),
        chosen.get("method") or None,
    )


def loaded_original(model: ModelSource | Scope) -> Model:
    if isinstance(model, Scope):
        raise BadModel("is a scope already", where="model", remedy="name the original model")
    loaded = models.load(model)
    if is_scope(loaded):
        raise BadModel(
            "is a scope already", where=f"'{loaded.path or 'model'}'", remedy="name the original model"
        )
    return loaded


def rewrite(
    model: ModelSource | Scope,
    *,
    prove: bool = True,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Scope:
    """Rewrite a model into a scope, and prove that its base still computes what the model computes."""
    scope = build(loaded_original(model), options or options_of(chosen))
    if prove:
        prove_base(scope)
    return scope


def doctor(
    model: ModelSource | Scope, *, options: Options | None = None, **chosen: Unpack[Choices]
) -> Diagnosis:
    """Say how every node would be treated, without writing anything."""
    found = survey(loaded_original(model), options or options_of(chosen))
    problems = (str(found.y1),) if isinstance(found.y1, ScopeError) else ()
    return Diagnosis(tuple(found.freezer.steps), found.x.name, found.y.name, tuple(found.notes), problems)


def opened(model: ModelSource | Scope, *, options: Options | None = None, **chosen: Unpack[Choices]) -> Scope:
    """A scope, or the one that a model would become. Of a scope too, image, output and method can be chosen anew."""
    options = options or options_of(chosen)
    if isinstance(model, Scope):
        return chosen_anew(model, "scope", options)
    loaded = models.load(model)
    if is_scope(loaded):
        return chosen_anew(Scope.of(loaded), f"'{loaded.path or 'model'}'", options)
    return build(loaded, options)


def chosen_anew(scope: Scope, where: str, options: Options) -> Scope:
    """The same scope, or one between other tensors or with another way back."""
    if replace(options, image=None, output=None, method=None) != Options():
        raise BadOption(
            "is a scope, in which sizes and policies are settled",
            where=where,
            remedy="leave these options out, or rewrite the original model with them",
        )
    if options == Options():
        return scope
    return refrozen(scope, image=options.image, output=options.output, method=options.method)


def load(
    model: ModelSource | Scope,
    *,
    preset: str | Preprocess | None = None,
    labels: Sequence[str] = (),
    layout: str | None = None,
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    memory: int = DEFAULT_MEMORY,
    stateless: bool = False,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> OpenModel:
    """A model or a scope, opened to be frozen for images.

    `preset` is the preprocessing of pictures: imagenet, unit (the default), signed, caffe, raw, or a Preprocess; `layout`
    says where pictures have their channels: auto, nchw or nhwc. `labels` are the names of the scores. `device` is auto,
    cpu or cuda; `tf32` lets CUDA round the operands of products. `memory` bounds, in bytes, what the states and a batch of
    probes take; `stateless` keeps no states but runs the base with every batch.
    """
    scope = opened(model, options=options, **chosen)
    if scope.original is not None and scope.original.nbytes > KEPT_BYTES:
        scope = replace(scope, original=None)
    preprocess = preset if isinstance(preset, Preprocess) else preprocessing(preset) if preset else UNIT
    if layout is not None:
        preprocess = replace(preprocess, layout=layout)
    return OpenModel(scope, Running(device, threads, tf32, memory, stateless), preprocess, labels)


def verify(
    model: ModelSource | Scope,
    *,
    image_values: np.ndarray | None = None,
    seed: int = 0,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Report:
    """All proofs of a scope, of a saved scope, or of the scope that a model would become."""
    return verify_scope(opened(model, options=options, **chosen), image=image_values, seed=seed)


__all__ = ["Check", "Diagnosis", "Report", "Scope", "Step", "doctor", "load", "opened", "rewrite", "verify"]
