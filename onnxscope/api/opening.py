"""The functions that open a model or a scope: rewrite, doctor, verify and load. They print nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxscope.api.model import OpenModel
from onnxscope.api.sizes import Sizes, sizes_for
from onnxscope.ask import presets
from onnxscope.ask.presets import Preset
from onnxscope.ask.tasks import Output, task_of
from onnxscope.errors import BadModel, BadOption, ScopeError
from onnxscope.files import models
from onnxscope.files.models import Model
from onnxscope.files.pictures import is_array
from onnxscope.files.preprocessing import UNIT, Preprocess
from onnxscope.files.results import Cells, Result
from onnxscope.rewriting.any_size import build_for_all_sizes
from onnxscope.rewriting.bound import bound
from onnxscope.rewriting.build import build, refrozen, survey
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import COTANGENT, PROBE, Scope, is_scope, part
from onnxscope.rewriting.steps import FREEZE, Policy, Step
from onnxscope.run.claims import Check, Report
from onnxscope.run.engine import DEFAULT_MEMORY, Running
from onnxscope.run.verify import prove_base, verify_scope

ModelSource = str | Path | bytes | onnx.ModelProto | Model
UNTRIED = presets.undecided("nothing was tried", UNIT)
KEPT_BYTES = 64 << 20  # an opened model keeps its original up to this size, for a tour to compare the two


class Choices(TypedDict, total=False):
    """The choices about a rewrite. The command line has them as options."""

    input_shapes: Mapping[str, Sequence[int]]  # of inputs whose sizes the model leaves free
    image: str | None  # the tensor that is the image; by default the only image-like input
    output: str | None  # the tensor to explain; by default the first output, before its final activation
    policy: str | None  # how non-linear nodes are frozen: freeze (the default) or taylor
    policy_for: Mapping[str, str]  # another policy for a node or an operator, by its name
    opaque: Iterable[str]  # nodes or operators that are taken as constant decisions
    method: str | None  # of the transposed branch: gradient (Fᵀ, the default) or an explanation method
    free_size: bool  # leave height and width of the image free, as the model does: for rewrite and verify


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """What a rewrite would do with each node, and the problems that prevent the rewrite."""

    steps: tuple[Step, ...]
    image: str
    output: str
    task: str
    outputs: tuple[Output, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of the inputs
    preset: Preset = UNTRIED

    @property
    def ok(self) -> bool:
        """Whether nothing stops the rewrite."""
        return not self.problems

    @property
    def title(self) -> str:
        verdict = "can be rewritten" if self.ok else f"cannot be rewritten: {'; '.join(self.problems)}"
        return f"image '{self.image}', output '{self.output}': {verdict}"

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "preset": self.preset.to_dict()}

    def cells(self) -> Cells:
        return ("node", "operator", "how", "policy", "note"), [
            (s.name, s.op, s.how, s.policy, s.note) for s in self.steps
        ]


def options_of(chosen: Choices) -> Options:
    """The choices as the one value that the rewriting takes."""
    return Options(
        {name: tuple(shape) for name, shape in (chosen.get("input_shapes") or {}).items()},
        chosen.get("image"),
        chosen.get("output"),
        Policy(chosen.get("policy") or FREEZE, chosen.get("policy_for") or {}),
        frozenset(chosen.get("opaque") or ()),
        chosen.get("method") or None,
        chosen.get("free_size", False),
    )


def loaded_original(model: ModelSource | Scope) -> Model:
    """A loaded model, which must not be a scope."""
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
    """Rewrite a model into a scope: the model itself, its frozen linear map F, and the transpose of F.

    Unless `prove` is False, it is checked that the rewritten model still computes what the model computes.
    The choices are given by name, or all at once as `options`.
    """
    scope = built(loaded_original(model), options or options_of(chosen))
    if prove:
        prove_base(scope)
    return scope


def doctor(
    model: ModelSource | Scope,
    *,
    picture: str | Path | None = None,
    preset: str | Preprocess | Preset | None = None,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Diagnosis:
    """Tell how a rewrite would treat each node of a model, and what prevents it. Nothing is written.

    It also tells which preprocessing of pictures the model wants; some models need a `picture` to tell it by.
    Free sizes are taken from the picture.
    """
    loaded, options, fitted = loaded_original(model), options or options_of(chosen), Sizes()
    if picture is not None:
        fitted = sizes_for(loaded, Path(picture), options, presets.given(preset).preprocess.layout)
    found = survey(loaded, replace(options, shapes={**fitted.shapes, **options.shapes}))
    problems = (str(found.y1),) if isinstance(found.y1, ScopeError) else ()
    own = part(found.freezer.b.graph, [*found.freezer.b.graph.outputs, found.y])
    gives = task_of(found.freezer.b, found.x)
    return Diagnosis(
        tuple(found.freezer.steps),
        found.x.name,
        found.y.name,
        gives.name,
        tuple(gives.outputs),
        (*found.notes, *filter(None, [fitted.note])),
        problems,
        {t.name: tuple(t.shape) for t in found.freezer.b.graph.inputs if t.name not in (PROBE, COTANGENT)},
        resolved(own, found.x.name, loaded, preset, picture),
    )


def resolved(
    graph: gs.Graph,
    image: str,
    original: Model | None,
    preset: str | Preprocess | Preset | None,
    picture: str | Path | None,
) -> Preset:
    """The preset that is given, or the one that is found with a picture, or without one in the file."""
    chosen = presets.given(preset)
    pixels = presets.picture_input(graph, image)
    file = Path(picture) if picture is not None and not is_array(Path(picture)) else None
    if chosen.name != presets.AUTO:
        return chosen
    if pixels is None:
        return presets.undecided("the image is computed from several inputs", chosen.preprocess)
    network = presets.Network(graph, pixels, presets.metadata_of(original), chosen.preprocess)
    return presets.for_picture(network, file)


def built(model: Model, options: Options) -> Scope:
    """The scope that a model is rewritten into."""
    return build_for_all_sizes(model, options) if options.free_size else build(model, options)


def opened(model: ModelSource | Scope, *, options: Options | None = None, **chosen: Unpack[Choices]) -> Scope:
    """The scope that a model is rewritten into, or a scope that is given, for one size of the image.

    Other options can change the image, the output and the method of a scope that is given.
    """
    options = options or options_of(chosen)
    scope = scope_of(model, options)
    return bound(scope, options.shapes) if scope.about.free else scope


def scope_of(model: ModelSource | Scope, options: Options) -> Scope:
    """The same, but sizes that the scope leaves free stay so unless the options give them."""
    if isinstance(model, Scope):
        scope, where = model, "scope"
    else:
        loaded = models.load(model)
        if not is_scope(loaded):
            return built(loaded, options)
        scope, where = Scope.of(loaded), f"'{loaded.path or 'model'}'"
    if scope.about.free and options != Options():
        scope, options = bound(scope, options.shapes), replace(options, shapes={})
    return chosen_anew(scope, where, options)


def chosen_anew(scope: Scope, where: str, options: Options) -> Scope:
    """A scope, rewritten if the options choose another image, output or method."""
    if replace(options, image=None, output=None, method=None) != Options():
        raise BadOption(
            "is a scope, whose sizes and policies cannot be changed",
            where=where,
            remedy="leave these options out, or rewrite the original model with them",
        )
    if options == Options():
        return scope
    return refrozen(scope, image=options.image, output=options.output, method=options.method)


def load(
    model: ModelSource | Scope,
    *,
    preset: str | Preprocess | Preset | None = None,
    labels: Sequence[str] = (),
    layout: str | None = None,
    device: str = "auto",
    threads: int = 0,
    tf32: bool = False,
    memory: int = DEFAULT_MEMORY,
    stateless: bool = False,
    task: str = "",
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> OpenModel:
    """Open a model or a scope, ready to be frozen for images.

    `preset` is the preprocessing of pictures: imagenet, unit, signed, caffe, raw, centred, a Preprocess, or
    auto (the default), which is found when the first picture is read. `layout` is the order of a picture's
    axes in the model: auto, nchw or nhwc. `labels` are the names of the scores. `device` is auto, cpu or
    cuda, `threads` the number of the CPU's threads (0: one on each core), and `tf32` lets CUDA round the
    operands of products. `memory` is the most bytes that the states and a batch of probes may take; with
    `stateless` no states are kept, and the model runs again with every batch. `task` is what the
    network gives, such as boxes, where it is not recognised. The choices about the rewrite are given by name,
    or all at once as `options`.
    """
    scope = opened(model, options=options, **chosen)
    running = Running(device, threads, tf32, memory, stateless)
    found = OpenModel(scope, running, presets.given(preset, layout), labels, task)
    if scope.original is not None and scope.original.nbytes > KEPT_BYTES:
        found.scope = replace(scope, original=None)
    return found


def verify(
    model: ModelSource | Scope,
    *,
    image_values: np.ndarray | None = None,
    seed: int = 0,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Report:
    """Prove a scope, or the scope that a model is rewritten into, with numbers.

    The report has the figure and the bound of each claim. They are measured on the image `image_values`, or
    on random numbers drawn with the seed: of three sizes where the scope leaves height and width free.
    """
    return verify_scope(scope_of(model, options or options_of(chosen)), image=image_values, seed=seed)


__all__ = ["Check", "Diagnosis", "Report", "Scope", "Step", "doctor", "load", "opened", "rewrite", "verify"]
