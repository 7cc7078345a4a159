"""A model becomes a scope: normalise, choose image and output, freeze, transpose. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption, ScopeError, Unsupported
from onnxscope.files.models import Model, load, to_bytes
from onnxscope.graph.builder import Builder, Shape, Tensor, is_float, is_sized, producer_name, shape_of
from onnxscope.normalise.dialect import normalise
from onnxscope.rewriting.frozen import Frozen, raw_shape
from onnxscope.rewriting.fuse import fold_batch_norms
from onnxscope.rewriting.linearize import OPAQUE, Freezer, Policy, linearize
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.scope import (
    COTANGENT,
    COTANGENTS,
    FROZEN,
    GRADIENT,
    LEDGER,
    PROBE,
    PROBES,
    TRANSPOSED,
    Scope,
    needed,
)
from onnxscope.rewriting.way import Way
from onnxscope.rewriting.ways_back import METHODS, Method

SCORES = {"Softmax", "LogSoftmax"}
PASSED_BY = {
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Cast",
    "QuantizeLinear",
    "DequantizeLinear",
}


def find_image(graph: gs.Graph, name: str | None) -> Tensor:
    """The tensor that the analysis takes as the image."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs} | {t.name: t for t in graph.inputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(
                f"the model has no tensor '{name}'",
                where="--image-input",
                remedy=f"choose one of {listed(t.name for t in graph.inputs)}",
            )
        if not is_float(tensors[name]):
            raise BadOption(
                f"tensor '{name}' holds no floating-point numbers",
                where="--image-input",
                remedy=f"choose a floating-point tensor behind it{suggestion(graph)}",
            )
        return tensors[name]
    floats = [t for t in graph.inputs if is_float(t)]
    if not floats:
        raise BadModel(
            "no input holds floating-point numbers",
            remedy=f"name the first floating-point tensor with --image-input{suggestion(graph)}",
        )
    images = [t for t in floats if len(t.shape) >= 3] or floats
    if len(images) > 1:
        raise BadOption(
            f"several inputs could be the image: {listed(t.name for t in images)}",
            where="--image-input",
            remedy=f"choose one, such as --image-input {images[0].name}",
        )
    return images[0]


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)


def suggestion(graph: gs.Graph) -> str:
    first = next((t.name for n in graph.nodes for t in n.outputs if is_float(t)), None)
    return f", such as --image-input {first}" if first else ""


def find_output(graph: gs.Graph, name: str | None) -> tuple[Tensor, str]:
    """The tensor that is explained, and what to say about the choice: the first output, before a final softmax."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(
                f"the model has no tensor '{name}'",
                where="--output",
                remedy=f"choose one of {listed(t.name for t in graph.outputs)}",
            )
        return tensors[name], ""
    first = next((t for t in graph.outputs if is_float(t)), None)
    if first is None:
        last = next((t.name for n in reversed(graph.nodes) for t in n.outputs if is_float(t)), "")
        raise BadModel(
            "no output holds floating-point numbers",
            remedy="name a floating-point tensor with --output"
            + (f", such as --output {last}" if last else ""),
        )
    x = first
    while x.inputs:
        node = x.inputs[0]
        vector = sum(d != 1 for d in shape_of(node.outputs[0])) <= 1
        if node.op in SCORES or (node.op == "Sigmoid" and vector):
            scores = node.inputs[0]
            if not scores.inputs:
                break
            return (
                scores,
                f"'{scores.name}', before the final {node.op}, stands for the output '{first.name}'",
            )
        if node.op not in PASSED_BY:
            break
        x = node.inputs[0]
    return first, ""


@dataclass(frozen=True)
class Choice:
    """What is to be analysed, and how."""

    shapes: Mapping[str, Shape] = field(default_factory=dict)  # sizes that the model leaves free
    image: str | None = None
    output: str | None = None
    policy: Policy = field(default_factory=Policy)
    opaque: frozenset[str] = frozenset()  # nodes or operators that are constant decisions
    method: str = GRADIENT  # the way back


@dataclass
class Survey:
    """A frozen base: what `build` writes its transposes beside, and what the doctor reads."""

    b: Builder
    freezer: Freezer
    x: Tensor
    y: Tensor
    y1: Frozen | ScopeError | None
    probe: gs.Variable
    notes: list[str]


def survey(model: Model, choice: Choice) -> Survey:
    """Normalise and freeze; what cannot be frozen is in the freezer's steps, not raised."""
    keep = {n for n in (choice.image, choice.output) if n} | {o.name for o in model.proto.graph.output}
    b = normalise(model.proto, choice.shapes, frozenset(keep), RULES)
    if method_of(choice).folds:
        fold_batch_norms(b, keep)
    x, (y, note) = find_image(b.graph, choice.image), find_output(b.graph, choice.output)
    if not is_sized(y):
        raise Unsupported(
            f"the size of '{y.name}' depends on values, not on sizes alone",
            where=producer_name(y),
            remedy="choose another tensor with --output",
        )
    taken = {t.name for t in b.graph.inputs} | {
        t.name for n in b.graph.nodes for t in (*n.inputs, *n.outputs)
    }
    if clash := sorted(taken & {PROBE, COTANGENT, FROZEN, TRANSPOSED, LEDGER}):
        raise BadModel(
            "the name belongs to the scope that would be written",
            where=f"tensor '{clash[0]}'",
            remedy="rename it in the model",
        )
    b.reserve([PROBE, COTANGENT, FROZEN, TRANSPOSED, LEDGER])
    b.beside()
    known = {n.name for n in b.graph.nodes} | {n.op for n in b.graph.nodes}
    for name in (*choice.opaque, *choice.policy.special):
        if name not in known:
            raise BadOption(
                f"the model has no node and no operator '{name}'",
                where="--opaque or --policy-for",
                remedy="see the names with 'onnxscope doctor'",
            )
    probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(x))[1:]])
    f = linearize(b, x, RULES, choice.policy, choice.opaque, probe, not method_of(choice).at_relus)
    return Survey(b, f, x, y, f.active.get(y.name), probe, [note] if note else [])


def build(model: Model, choice: Choice) -> Scope:
    """Normalise, freeze and transpose; nothing is run."""
    found = survey(model, choice)
    b, f, y, y1, notes = found.b, found.freezer, found.y, found.y1, found.notes
    if isinstance(y1, ScopeError):
        raise y1
    if y1 is None:
        if 0 in shape_of(found.x):
            raise BadOption(
                "the image has no elements, and the output does not depend on it",
                where=f"tensor '{found.x.name}'",
                remedy="choose another with --image-input",
            )
        notes.append(
            "F = 0: a decision stands on every path from the image to the output; 'taylor' carries softmaxes and products"
        )
        f.node, f.op = y.name, ""
        y1 = f.source(f.zeros(Frozen(shape_of(found.x), found.probe), shape_of(y)), f.float(y))
    frozen = b.op("Identity", y1.raw, names=[FROZEN], node_name=b.unique("frozen/output"))
    live = {id(n) for n in needed(b.graph.nodes, [frozen])}
    cotangent = gs.Variable(COTANGENT, np.float32, [COTANGENTS, *raw_shape(shape_of(y))[1:]])
    way = Way(
        b,
        f,
        [n for n in f.nodes if id(n) in live],
        (y1.raw, cotangent),
        found.probe,
        found.x,
        beside(b.graph, f),
    )
    transposed = b.op(
        "Identity", method_of(choice).write(way), names=[TRANSPOSED], node_name=b.unique("transposed/output")
    )
    frozen.shape, transposed.shape = [PROBES, *cotangent.shape[1:]], [COTANGENTS, *found.probe.shape[1:]]
    outputs = [*b.graph.outputs, frozen, transposed]
    b.graph.nodes[:] = needed(b.graph.nodes, [*outputs, y])
    b.graph.inputs.extend([found.probe, cotangent])
    b.graph.outputs.extend([frozen, transposed])
    b.graph.name = model.proto.graph.name or "scope"
    notes += way.notes
    met = {
        n.name: c.name
        for n in reversed(way.nodes)
        if n.name.startswith("source/") and (c := way.cotangents.get(n.outputs[0].name))
    }
    at = {t.name: c.name for raw, t in way.tensors.items() if (c := way.cotangents.get(raw))}
    return Scope(
        b.graph,
        found.x.name,
        y.name,
        str(choice.policy),
        model.sha256,
        f.steps,
        notes,
        met,
        at,
        choice.method,
        model,
    )


def beside(graph: gs.Graph, f: Freezer) -> dict[str, Tensor]:
    """The tensors of the base by the names of the frozen values beside them."""
    tensors = (*graph.inputs, *(t for n in graph.nodes for t in n.outputs))
    return {x1.raw.name: t for t in tensors if isinstance(x1 := f.active.get(t.name), Frozen)}


def method_of(choice: Choice) -> Method:
    if choice.method not in METHODS:
        raise BadOption(
            f"there is no method '{choice.method}'",
            where="--method",
            remedy=f"choose one of {', '.join(METHODS)}",
        )
    return METHODS[choice.method]


def refrozen(
    scope: Scope,
    *,
    image: str | None = None,
    output: str | None = None,
    policy: str | None = None,
    method: str | None = None,
) -> Scope:
    """The same model between other tensors, by another policy or with another way back; what is not given stays."""
    opaque = frozenset(step.name for step in scope.steps if step.note == OPAQUE)
    policies = Policy.of_text(policy or scope.policy)
    choice = Choice(
        {}, image or scope.image, output or scope.output, policies, opaque, method or scope.method
    )
    return replace(
        build(load(to_bytes(scope.base())), choice), source_sha256=scope.source_sha256, original=None
    )
