"""Rewrite a model into a scope: normalise it, choose image and output, freeze, transpose.

The model itself is not run, unless parts of it depend on values and an image is given that decides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import DECIDE, BadModel, BadOption, Fault, ScopeError, Undecided
from onnxscope.files.models import Model
from onnxscope.graph.builder import Builder
from onnxscope.graph.decisions import Decision, note_of
from onnxscope.graph.ends import LOGITS, find_image, find_output, image_among, named
from onnxscope.graph.parts import needed, part
from onnxscope.graph.tensors import Tensor, is_sized, producer_name, shape_of
from onnxscope.normalise.dialect import graph_inputs, normalise
from onnxscope.normalise.trial import Trial
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.fuse import fold_batch_norms
from onnxscope.rewriting.guard import HOLDS, add_guard
from onnxscope.rewriting.judging import judged, refuse_bad
from onnxscope.rewriting.linearize import Freezer, linearize
from onnxscope.rewriting.options import GRADIENT, Options
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.scope import (
    COTANGENT,
    COTANGENTS,
    FROZEN,
    LEDGER,
    PROBE,
    PROBES,
    TRANSPOSED,
    Analysis,
    Cotangents,
    Scope,
)
from onnxscope.rewriting.steps import Policy, Treatment
from onnxscope.rewriting.way import Way
from onnxscope.rewriting.ways_back import METHODS, Method
from onnxscope.runtime import evaluate

NAMES = {PROBE, COTANGENT, FROZEN, TRANSPOSED, LEDGER, HOLDS}  # of the tensors that a scope adds
Feeds = Mapping[str, np.ndarray]
SUM = "question"  # the output of a scope that explains a sum of elements
NOTHING_CARRIED = (
    "F = 0: a decision stands on every path from the image to the output; "
    "'taylor' carries softmaxes and products"
)


@dataclass
class Survey:
    """A normalised model with its frozen branch, which is a scope without the transposed branch."""

    freezer: Freezer
    x: Tensor  # the image
    y: Tensor  # the output to explain
    probe: gs.Variable
    notes: list[str]  # what the user should know about the choices
    decided: Sequence[Decision] = ()  # by the image that it is specialised on

    @property
    def y1(self) -> Frozen | ScopeError | None:
        """The frozen output: an error if it cannot be frozen, None if no path carries the image to it."""
        return self.freezer.active.get(self.y.name)

    @property
    def base(self) -> gs.Graph:
        """The normalised model, whose outputs include the one to explain."""
        graph = self.freezer.b.graph
        return part(graph, [*graph.outputs, self.y])


def survey(model: Model, options: Options, feeds: Feeds | None = None) -> Survey:
    """Normalise and freeze a model. A node that cannot be frozen raises no error here, but has a step.

    Only a fault of onnxscope on the way to the output is raised.
    `feeds` are the values of all inputs for one image, which decide what depends on values.
    """
    chosen = {name.removesuffix(LOGITS) for name in (options.image, options.output) if name}
    keep = chosen | {o.name for o in model.proto.graph.output}
    trial = Trial(feeds) if feeds is not None else None
    with judged(model, options.shapes):
        b = normalise(model.proto, options.shapes, frozenset(keep), RULES, options.opaque, trial)
        found = frozen_base(b, options, trial.decided if trial is not None else ())
        if isinstance(found.y1, Fault):
            raise found.y1
    for fault in (e for e in found.freezer.active.values() if isinstance(e, Fault)):
        refuse_bad(model, options.shapes, fault)
    return found


def image_input(model: Model, options: Options) -> tuple[list[Tensor], Tensor]:
    """The inputs of a model, and the one that a single array is given to. Nothing else is normalised."""
    inputs = graph_inputs(model.proto.graph, options.shapes)
    named = [t for t in inputs if t.name == options.image] or inputs
    return inputs, named[0] if len(named) == 1 else image_among(inputs)


def fits(model: Model, options: Options) -> None:
    """Raise an error where the model cannot be normalised with these sizes of its inputs."""
    b = normalise(model.proto, options.shapes, frozenset(), RULES, options.opaque)
    find_output(b, find_image(b.graph, options.image), None)


def frozen_base(b: Builder, options: Options, decided: Sequence[Decision] = ()) -> Survey:
    """Freeze the normalised model that a builder holds."""
    method = method_of(options)
    if method.folds:
        fold_batch_norms(
            b, {n for n in (options.image, options.output) if n} | {o.name for o in b.graph.outputs}
        )
    x = find_image(b.graph, options.image)
    y, note = find_output(b, x, options.output)
    check(b, y, options)
    b.reserve(NAMES)
    b.begin_branches()
    probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(x))[1:]])
    f = Freezer(b, RULES, options, moves_masks=not method.at_relus)
    linearize(f, x, probe)
    notes = [note] if note else []
    return Survey(f, x, y, probe, [*notes, note_of(decided)] if decided else notes, decided)


def check(b: Builder, y: Tensor, options: Options) -> None:
    """Refuse what would fail later.

    That is an output without a fixed size, a tensor with a name that the scope uses, and an option with the
    name of a node or operator that the model does not have.
    """
    if not is_sized(y):
        raise Undecided(
            f"the size of '{y.name}' depends on values, not on sizes alone",
            where=producer_name(y),
            remedy=f"choose another tensor with --output, or {DECIDE}",
        )
    nodes = b.graph.nodes
    taken = {t.name for t in b.graph.inputs} | {t.name for n in nodes for t in (*n.inputs, *n.outputs)}
    if clash := sorted(taken & NAMES):
        raise BadModel(
            "a scope uses this name for a tensor of its own",
            where=f"tensor '{clash[0]}'",
            remedy="rename the tensor in the model",
        )
    known = {n.name for n in nodes} | {n.op for n in nodes}
    for name in (*options.opaque, *options.policy.special):
        if name not in known:
            raise BadOption(
                f"the model has no node and no operator '{name}'",
                where="--opaque or --policy-for",
                remedy="see the names with 'onnxscope doctor'",
            )


def build(model: Model, options: Options, feeds: Feeds | None = None) -> Scope:
    """The scope of a model; `feeds` decide what depends on values, see `survey`."""
    found = survey(model, options, feeds)
    found.freezer.b.graph.name = model.proto.graph.name or "scope"
    with judged(model, options.shapes):
        return transposed(found, options, model.sha256, model)


def transposed(found: Survey, options: Options, sha256: str, original: Model | None) -> Scope:
    """Add the transposed branch to a frozen model, which makes it a scope."""
    f, b, y = found.freezer, found.freezer.b, found.y
    y1 = found.y1 if found.y1 is not None else nothing_carried(found)
    if isinstance(y1, ScopeError):
        raise y1
    frozen = b.op("Identity", y1.raw, names=[FROZEN], node_name=b.unique("frozen/output"))
    live = {id(n) for n in needed(b.graph.nodes, [frozen])}
    cotangent = gs.Variable(COTANGENT, np.float32, [COTANGENTS, *raw_shape(shape_of(y))[1:]])
    nodes = [n for n in f.nodes if id(n) in live]
    way = Way(f, nodes, (y1.raw, cotangent), found.probe, found.x, base_values(f))
    result = method_of(options).write(way)
    back = b.op("Identity", result, names=[TRANSPOSED], node_name=b.unique("transposed/output"))
    frozen.shape, back.shape = [PROBES, *cotangent.shape[1:]], [COTANGENTS, *found.probe.shape[1:]]
    added = [frozen, back, *([add_guard(b, found.decided)] if found.decided else [])]
    b.graph.nodes[:] = needed(b.graph.nodes, [*b.graph.outputs, *added, y])
    b.graph.inputs.extend([found.probe, cotangent])
    b.graph.outputs.extend(added)
    method = options.method or GRADIENT
    about = Analysis(found.x.name, y.name, options.policy, method, sha256, decided=found.decided)
    return Scope(b.graph, about, f.steps, [*found.notes, *way.notes], arrived(way), original)


def nothing_carried(found: Survey) -> Frozen:
    """The frozen output if no path carries the image to it: 0·probe + y0, with y0 as its source."""
    f, shape = found.freezer, shape_of(found.x)
    if 0 in shape:
        raise BadOption(
            "the image has no elements, and the output does not depend on it",
            where=f"tensor '{found.x.name}'",
            remedy="choose another tensor with --image-input",
        )
    found.notes.append(NOTHING_CARRIED)
    f.at = Treatment(found.y.name)
    return f.source(f.zeros(Frozen(shape, found.probe), shape_of(found.y)), f.float(found.y))


def base_values(f: Freezer) -> dict[str, Tensor]:
    """The active tensors of the base, by the names of their frozen values."""
    graph = f.b.graph
    tensors = (*graph.inputs, *(t for n in graph.nodes for t in n.outputs))
    found: dict[str, Tensor] = {}
    for t in tensors:
        if isinstance(x1 := f.active.get(t.name), Frozen):
            found.setdefault(x1.raw.name, t)  # of several the first, which is the model's own
    return found


def arrived(way: Way) -> Cotangents:
    """The names of the cotangents that arrive at the source nodes and at the tensors of the base."""
    sources = [n for n in reversed(way.nodes) if n.name in way.freezer.sources]
    at_sources = {n.name: c.name for n in sources if (c := way.cotangents.get(n.outputs[0].name))}
    kept = way.freezer.b.graph.tensors()
    values = [(t.name, way.cotangents.get(raw)) for raw, t in way.tensors.items() if t.name in kept]
    at_tensors = {name: c.name for name, c in values if c is not None}
    return Cotangents(at_sources, at_tensors)


def method_of(options: Options) -> Method:
    """The method that computes the transposed branch."""
    name = options.method or GRADIENT
    if name not in METHODS:
        raise BadOption(
            f"there is no method '{name}'",
            where="--method",
            remedy=f"choose one of {', '.join(METHODS)}",
        )
    return METHODS[name]


def refrozen(
    scope: Scope,
    *,
    image: str | None = None,
    output: str | None = None,
    policy: str | Policy | None = None,
    method: str | None = None,
) -> Scope:
    """The scope of the same model with another image, output, policy or method; what is not given stays.

    It starts from the scope's base, so the model is not read and normalised again.
    """
    options = replace(
        chosen_in(scope),
        image=image or scope.image,
        output=output or scope.output,
        method=method or scope.method,
    )
    if policy:
        options = replace(options, policy=Policy(policy) if isinstance(policy, str) else policy)
    return frozen_anew(scope, Builder.holding(scope.base(), evaluate), options)


class Place(NamedTuple):
    """A tensor of the model, as it is or divided by its length."""

    tensor: str
    unit: bool = False


Weights = Mapping[int, float]  # of elements, by their numbers


def summed(scope: Scope, sums: Sequence[tuple[Mapping[Place, Weights], float]], policy: Policy) -> Scope:
    """The scope of the same model whose output is a vector: sums with these weights and a constant each."""
    b = Builder.holding(scope.base(), evaluate)
    totals = []
    for each, constant in sums:
        terms = [weighted(b, place, weights) for place, weights in each.items()]
        total = b.Sum(*terms) if len(terms) > 1 else terms[0]
        totals.append(b.Add(total, b.constant(np.full((1, 1), constant), like=total)) if constant else total)
    output = b.Concat(*totals, axis=1, names=[b.unique(SUM)])
    return frozen_anew(scope, b, replace(chosen_in(scope), output=output.name, policy=policy))


def weighted(b: Builder, place: Place, weights: Weights) -> Tensor:
    """[1, 1]: the sum of some elements of a tensor, each times its weight."""
    numbers, factors = np.array(list(weights), np.int64), np.array(list(weights.values()))
    x = b.Reshape(named(b, place.tensor), [1, -1])
    chosen = b.Gather(b.LpNormalization(x, axis=1, p=2) if place.unit else x, numbers, axis=1)
    return b.ReduceSum(b.Mul(chosen, b.constant(factors, like=x)), [1], keepdims=1)


def chosen_in(scope: Scope) -> Options:
    """The choices that a scope was made with."""
    opaque = frozenset(step.name for step in scope.steps if step.opaque)
    return Options({}, scope.image, scope.output, scope.policy, opaque, scope.method)


def frozen_anew(scope: Scope, b: Builder, options: Options) -> Scope:
    """The scope of the base that a builder holds, with other choices."""
    found = frozen_base(b, options, scope.decided)
    return transposed(found, options, scope.source_sha256, None)
