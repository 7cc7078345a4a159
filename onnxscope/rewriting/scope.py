"""The scope: base, frozen and transposed branch in one graph, with what its file holds about them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import shape_inference
from onnx.shape_inference import InferenceError
from onnx_graphsurgeon.ir.tensor import LazyValues

from onnxscope.errors import BadModel
from onnxscope.files.models import Model, load, save, without_weights
from onnxscope.files.weights import StoredValues
from onnxscope.graph.decisions import Decision
from onnxscope.graph.parts import graph_of, needed, part
from onnxscope.graph.tensors import Tensor, dims, np_or_enum
from onnxscope.rewriting.guard import HOLDS
from onnxscope.rewriting.scope_checks import damage_in, damaged, texts
from onnxscope.rewriting.sizes import RECORD, FreeSizes
from onnxscope.rewriting.steps import Policy, Step
from onnxscope.version import VERSION

PROBE, COTANGENT, FROZEN, TRANSPOSED = "scope_probe", "scope_cotangent", "scope_frozen", "scope_transposed"
PROBES, COTANGENTS = "probes", "cotangents"  # the names of the free leading sizes, which are independent
LEDGER = "scope_ledger"
DEFAULTS = asdict(Step("", "", "linear"))  # values of a step's fields that the file leaves out


@dataclass(frozen=True)
class Analysis:
    """What a scope analyses, and how."""

    image: str
    output: str
    policy: Policy
    method: str  # what the transposed branch computes: `gradient` (Fᵀ), or an explanation method
    source_sha256: str
    free: FreeSizes | None = None  # the sizes that are left open until a picture is given
    decided: Sequence[Decision] = ()  # by values of the image that it is specialised on


@dataclass(frozen=True)
class Cotangents:
    """The names of the cotangents that arrive at the source nodes, and at the active tensors of the base."""

    at_sources: Mapping[str, str]
    at_tensors: Mapping[str, str]


@dataclass
class Scope:
    """A rewritten model: base, frozen and transposed branch in one graph."""

    graph: gs.Graph
    about: Analysis
    steps: Sequence[Step]  # the node table: what was done to each active node
    notes: Sequence[str]  # what the user should know
    cotangents: Cotangents
    original: Model | None = field(default=None, repr=False)  # the model as it was before the rewriting

    @property
    def image(self) -> str:
        return self.about.image

    @property
    def output(self) -> str:
        return self.about.output

    @property
    def policy(self) -> Policy:
        return self.about.policy

    @property
    def method(self) -> str:
        return self.about.method

    @property
    def source_sha256(self) -> str:
        return self.about.source_sha256

    @property
    def decided(self) -> Sequence[Decision]:
        """What it is specialised on; nothing where it holds for every image."""
        return self.about.decided

    @property
    def guards(self) -> list[str]:
        """The tensors that tell whether an image decides alike, and what it decides."""
        return [HOLDS, *(d.tensor for d in self.decided)] if self.decided else []

    @property
    def at_sources(self) -> Mapping[str, str]:
        """The name of the cotangent at each source node, by the node's name."""
        return self.cotangents.at_sources

    @property
    def at_tensors(self) -> Mapping[str, str]:
        """The name of the cotangent at each active tensor of the base, by the tensor's name."""
        return self.cotangents.at_tensors

    def metadata(self) -> dict[str, str]:
        """All but the graph, as the file's metadata."""
        return {
            "onnxscope.version": VERSION,
            "onnxscope.source_sha256": self.source_sha256,
            "onnxscope.policy": str(self.policy),
            "onnxscope.image": self.image,
            "onnxscope.output": self.output,
            "onnxscope.method": self.method,
            "onnxscope.sources": compact(dict(self.at_sources)),
            "onnxscope.tensors": compact(dict(self.at_tensors)),
            "onnxscope.notes": compact(list(self.notes)),
            "onnxscope.decisions": compact([asdict(d) for d in self.decided]),
            "onnxscope.nodes": compact([step_dict(step) for step in self.steps]),
            **({RECORD: str(self.about.free)} if self.about.free else {}),
        }

    def save(self, path: str | Path, *, external_bytes: int | None = None) -> Path:
        """Write the scope to a file. Weights that do not fit into a protobuf file go into PATH.data."""
        source = self.original.path if self.original else None
        return save(self.graph, Path(path), self.metadata(), source=source, external_bytes=external_bytes)

    @classmethod
    def load(cls, path: str | Path) -> Scope:
        """Read a scope from its file."""
        return cls.of(load(path))

    @classmethod
    def of(cls, model: Model) -> Scope:
        """The scope that a loaded file holds."""
        about = {
            p.key.removeprefix("onnxscope."): p.value
            for p in model.proto.metadata_props
            if p.key.startswith("onnxscope.")
        }
        if not is_scope(model):
            raise BadModel(
                "is not a scope: it has no metadata of onnxscope",
                where=f"'{model.path}'",
                remedy="write one with 'onnxscope rewrite'",
            )
        if wrong := damage_in(model.proto, (PROBE, COTANGENT)):
            raise damaged(wrong, f"'{model.path}'")
        try:
            free = FreeSizes.of_text(about["free_sizes"]) if "free_sizes" in about else None
            graph = gs.import_onnx(model.proto)
            for t in (*graph.inputs, *graph.outputs):
                t.dtype = np_or_enum(t.dtype) if isinstance(t.dtype, int) else t.dtype
            scope = cls(
                graph if free else with_types(graph),  # free sizes are known once they are bound
                Analysis(
                    about["image"],
                    about["output"],
                    Policy.of_text(about["policy"]),
                    about["method"],
                    about["source_sha256"],
                    free,
                    [Decision(**d) for d in json.loads(about.get("decisions", "[]"))],
                ),
                [Step.of(held) for held in json.loads(about["nodes"])],
                texts(json.loads(about["notes"])),
                Cotangents(texts(json.loads(about["sources"])), texts(json.loads(about["tensors"]))),
            )
            damage = wrong_type(scope) or scope.damage()
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError, InferenceError) as error:
            damage = repr(error)
        if damage:
            raise damaged(damage, f"'{model.path}'")
        return scope

    def damage(self) -> str:
        """Names in the metadata that the graph does not have, and sources that the metadata does not name."""
        nodes = {n.name for n in self.graph.nodes}
        tensors = {t.name for t in self.graph.inputs} | {t.name for n in self.graph.nodes for t in n.outputs}
        missing = {
            self.image,
            self.output,
            *self.at_sources.values(),
            *self.at_tensors,
            *self.at_tensors.values(),
            *self.guards,
        } - tensors
        missing |= {PROBE, COTANGENT} - {t.name for t in self.graph.inputs}
        missing |= {FROZEN, TRANSPOSED} - {t.name for t in self.graph.outputs}
        missing |= set(self.at_sources) - nodes
        missing |= {s for step in self.steps for s in step.sources if s in nodes} - set(self.at_sources)
        if missing or self.about.free:
            return ", ".join(f"no '{n}'" for n in sorted(missing))
        named = {self.image, self.output, *self.at_sources.values(), *self.at_tensors.values()}
        made = [t for n in self.graph.nodes for t in n.outputs if t.name in named]
        return ", ".join(f"the shape of '{t.name}' is not known" for t in made if t.shape is None)

    def base(self) -> gs.Graph:
        """The base alone: the normalised model, whose outputs include the explained tensor.

        It also computes what is decided, though no output needs it.
        """
        own = [t for t in self.graph.outputs if t.name not in (FROZEN, TRANSPOSED, HOLDS)]
        explained = self.tensor(self.output)
        outputs = own if any(t.name == self.output for t in own) else [*own, explained]
        return part(self.graph, outputs, [self.tensor(d.tensor) for d in self.decided])

    def explained(self) -> gs.Graph:
        """The graph of three outputs: the frozen one, the transposed one, and the base's explained tensor."""
        return part(self.graph, [self.tensor(FROZEN), self.tensor(TRANSPOSED), self.tensor(self.output)])

    def tensor(self, name: str) -> Tensor:
        """The tensor of the graph with this name."""
        everywhere = itertools.chain(self.graph.inputs, (t for n in self.graph.nodes for t in n.outputs))
        return next(t for t in everywhere if t.name == name)

    def analysed(self) -> gs.Graph:
        """The part of the base from the image, which becomes an input, to the explained output."""
        output = self.tensor(self.output)
        nodes = needed(self.graph.nodes, [output], known={self.image})
        used = {t.name: t for n in nodes for t in n.inputs}
        inputs = [t for t in used.values() if t.name == self.image or any(t is i for i in self.graph.inputs)]
        return graph_of(self.graph, nodes, inputs, [output])

    def linear(self) -> gs.Graph:
        """The frozen and the transposed branch without sources: `scope_frozen` is F·probe, without r."""
        graph = self.graph.copy()
        for node in graph.nodes:
            if node.name in self.at_sources:
                carried, summed = node.inputs[0], node.outputs[0]
                for consumer in list(summed.outputs):
                    for i, t in enumerate(list(consumer.inputs)):
                        if t.name == summed.name:
                            consumer.inputs[i] = carried
        frozen = [t for t in graph.outputs if t.name in (FROZEN, TRANSPOSED)]
        return part(graph, frozen)


def wrong_type(scope: Scope) -> str:
    """What of the metadata is not text where it should be: a file may hold any JSON."""
    lists = (scope.at_sources, scope.at_tensors, scope.notes)
    wrong = [part for part, kind in zip(lists, (dict, dict, list), strict=True) if not isinstance(part, kind)]
    texts = itertools.chain(
        *(() if wrong else (*lists, scope.at_sources.values(), scope.at_tensors.values())),
        *((s.name, s.op, s.how, s.policy, s.note, *s.sources) for s in scope.steps),
        *((d.node, d.op, d.what, d.tensor) for d in scope.decided),
    )
    wrong += [text for text in texts if not isinstance(text, str)]
    return f"{wrong[0]!r} in its metadata is of a wrong type" if wrong else ""


def with_types(graph: gs.Graph) -> gs.Graph:
    """A graph from a file, with the types and shapes of its inner tensors, which files need not hold."""
    model = onnx.ModelProto.FromString(without_weights(graph)[0])
    found = shape_inference.infer_shapes(model, data_prop=True).graph
    inferred = {v.name: v.type.tensor_type for v in (*found.value_info, *found.output)}
    for constant in (t for t in graph.tensors().values() if isinstance(t, gs.Constant)):
        if isinstance(
            constant._values, LazyValues
        ):  # graphsurgeon's own values cannot be read from external data
            constant._values = StoredValues(constant._values.tensor)
    for t in (t for n in graph.nodes for t in n.outputs if t.shape is None and t.name in inferred):
        t.dtype = np_or_enum(inferred[t.name].elem_type)
        t.shape = dims(inferred[t.name]) if inferred[t.name].HasField("shape") else None
    return graph


def step_dict(step: Step) -> dict[str, Any]:
    """A step as the file holds it: name, operator, treatment, and all values that are not the defaults."""
    fields = asdict(step)
    return {k: v for k, v in fields.items() if k in ("name", "op", "how") or v != DEFAULTS[k]}


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def is_scope(model: Model) -> bool:
    """Whether a loaded file is a scope, and not a model that could be rewritten."""
    return any(p.key == "onnxscope.nodes" for p in model.proto.metadata_props)
