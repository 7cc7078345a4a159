"""The functions that open a model or a scope: rewrite, doctor, verify and load. They print nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import onnx

from onnxscope.api.advisories import known_faults
from onnxscope.api.by_image import Deciding, OpenByImage, decided, refuse_free_sizes, resolved
from onnxscope.api.choices import Choices, Given, given_in, options_of
from onnxscope.api.model import OpenModel
from onnxscope.api.sizes import Sizes, sizes_for
from onnxscope.ask import presets
from onnxscope.ask.presets import Preset
from onnxscope.ask.tasks import Output, task_of
from onnxscope.errors import BadModel, BadOption, ScopeError, Undecided
from onnxscope.files import models
from onnxscope.files.models import Model
from onnxscope.files.preprocessing import UNIT, Preprocess
from onnxscope.files.results import Cells, Result
from onnxscope.rewriting.bound import bound
from onnxscope.rewriting.build import Survey, refrozen, survey, transposed
from onnxscope.rewriting.judging import judged
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import COTANGENT, PROBE, Scope, is_scope
from onnxscope.rewriting.steps import Step
from onnxscope.run import memory as estimates
from onnxscope.run.claims import Check, Report
from onnxscope.run.engine import DEFAULT_MEMORY, Running
from onnxscope.run.verify import prove_base, verify_scope

ModelSource = str | Path | bytes | onnx.ModelProto | Model
UNTRIED = presets.undecided("nothing was tried", UNIT)
KEPT_BYTES = 64 << 20  # an opened model keeps its original up to this size, for a tour to compare the two


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
    memory: Mapping[str, int] = field(default_factory=dict)  # bytes, estimated: of a plain run and of a row

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
    picture: str | Path | None = None,
    preset: str | Preprocess | Preset | None = None,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Scope:
    """Rewrite a model into a scope: the model itself, its frozen linear map F, and the transpose of F.

    If parts of the model depend on values, such as the condition of an If, an image decides them: a
    `picture`, which is read by the `preset`, or an array `image`. Free sizes are taken from the picture.
    Unless `prove` is False, it is checked that the rewritten model still computes what the model computes.
    The choices are given by name, or all at once as `options`.
    """
    options = options or options_of(chosen)
    image = given_in(chosen) if picture is None else Path(picture)
    scope, feeds = decided(loaded_original(model), options, presets.given(preset), image)
    if prove:
        prove_base(scope, feeds)
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

    It also tells about how much memory the model will take, and which preprocessing of pictures it wants.
    Some models need a `picture` to tell that by. Free sizes are taken from the picture. Its notes also name
    installed packages that have published faults.
    """
    loaded, options, fitted = loaded_original(model), options or options_of(chosen), Sizes()
    wanted, image = presets.given(preset), None if picture is None else Path(picture)
    if image is not None:
        fitted = sizes_for(loaded, image, options, wanted.preprocess.layout)
        options = replace(options, shapes={**fitted.shapes, **options.shapes})
    found = surveyed(Deciding(loaded, options), wanted, given_in(chosen) if image is None else image)
    problems = (str(found.y1),) if isinstance(found.y1, ScopeError) else ()
    gives = task_of(found.freezer.b, found.x)
    return Diagnosis(
        tuple(found.freezer.steps),
        found.x.name,
        found.y.name,
        gives.name,
        tuple(gives.outputs),
        (*found.notes, *filter(None, [fitted.note]), *known_faults()),
        problems,
        {t.name: tuple(t.shape) for t in found.freezer.b.graph.inputs if t.name not in (PROBE, COTANGENT)},
        resolved(found.base, found.x.name, loaded, wanted, image),
        memory_of(found, loaded, options),
    )


def memory_of(found: Survey, model: Model, options: Options) -> dict[str, int]:
    """The bytes that a plain run and a row of F will take; no row where the output cannot be frozen."""
    plain = estimates.of_plain(found.base).bytes
    if isinstance(found.y1, ScopeError):
        return {"plain": plain}
    with judged(model, options.shapes):
        scope = transposed(found, options, model.sha256, model)  # what was found becomes the scope
    return {"plain": plain, "row": estimates.of_row(scope).bytes}


def surveyed(deciding: Deciding, preset: Preset, image: Given | Path | None) -> Survey:
    """How a model would be frozen, as an image decides where it has to be decided."""
    model, options = deciding.model, deciding.options
    try:
        found = survey(model, options)
        if image is None or not isinstance(found.y1, Undecided):
            return found
    except Undecided:
        if image is None:
            raise
    given = deciding.read(image, preset) if isinstance(image, Path) else image
    return survey(model, options, deciding.feeds(given))


def opened(model: ModelSource | Scope, *, options: Options | None = None, **chosen: Unpack[Choices]) -> Scope:
    """The scope that a model is rewritten into, or a scope that is given, for one size of the image.

    Other options can change the image, the output and the method of a scope that is given. If parts of a
    model depend on values, a picture or an array `image` decides them.
    """
    options = options or options_of(chosen)
    scope = scope_of(model, options, given_in(chosen))
    return bound(scope, options.shapes) if scope.about.free else scope


def scope_of(
    model: ModelSource | Scope,
    options: Options,
    image: Given | Path | None = None,
    preset: Preset = UNTRIED,
) -> Scope:
    """The same, but sizes that the scope leaves free stay so unless the options give them."""
    if isinstance(model, Scope):
        return chosen_anew(model, "scope", options)
    loaded = models.load(model)
    if not is_scope(loaded):
        return decided(loaded, options, preset, image)[0]
    with judged(loaded, {}):
        return chosen_anew(Scope.of(loaded), f"'{loaded.path or 'model'}'", options)


def open_model(
    model: ModelSource | Scope,
    options: Options,
    running: Running,
    preset: Preset,
    labels: Sequence[str] = (),
    task: str = "",
) -> OpenModel:
    """A model or a scope on its device.

    A model waits for its first image where this decides parts of it, or its height and width.
    """
    loaded = model if isinstance(model, Scope) else models.load(model)
    try:
        if isinstance(loaded, Model):
            refuse_free_sizes(loaded, options)
        return OpenModel(opened(loaded, options=options), running, preset, labels, task)
    except Undecided as undecided:
        assert isinstance(loaded, Model)  # scopes are decided
        return OpenByImage(Deciding(loaded, options), undecided, running, preset, labels, task)


def chosen_anew(scope: Scope, where: str, options: Options) -> Scope:
    """A scope, rewritten if the options choose another image, output or method, and for one size if any."""
    if scope.about.free and options != Options():
        scope, options = bound(scope, options.shapes), replace(options, shapes={})
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
    running, options = Running(device, threads, tf32, memory, stateless), options or options_of(chosen)
    found = open_model(model, options, running, presets.given(preset, layout), labels, task)
    if isinstance(found, OpenByImage):
        if (image := given_in(chosen)) is not None:
            found.prepare(image)
    elif found.scope.original is not None and found.scope.original.nbytes > KEPT_BYTES:
        found.scope = replace(found.scope, original=None)
    return found


def verify(
    model: ModelSource | Scope,
    *,
    image_values: Given | None = None,
    seed: int = 0,
    options: Options | None = None,
    **chosen: Unpack[Choices],
) -> Report:
    """Prove a scope, or the scope that a model is rewritten into, with numbers.

    The report has the figure and the bound of each claim. They are measured on the image `image_values`, or
    on random numbers drawn with the seed: of three sizes where the scope leaves height and width free. If
    parts of the model depend on values, this image decides them.
    """
    image = given_in(chosen) if image_values is None else image_values
    return verify_scope(scope_of(model, options or options_of(chosen), image), image=image, seed=seed)


__all__ = ["Check", "Diagnosis", "Report", "Scope", "Step", "doctor", "load", "opened", "rewrite", "verify"]
