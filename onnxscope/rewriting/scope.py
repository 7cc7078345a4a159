"""The scope: base, frozen and transposed branch in one graph, its artifact and the programs cut from it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import shape_inference

from onnxscope.errors import BadModel
from onnxscope.files.models import Model, load, save, without_weights
from onnxscope.graph.builder import Tensor, dims, np_or_enum
from onnxscope.rewriting.linearize import Step
from onnxscope.version import VERSION

PROBE, COTANGENT, FROZEN, TRANSPOSED = "scope_probe", "scope_cotangent", "scope_frozen", "scope_transposed"
PROBES, COTANGENTS = "probes", "cotangents"  # the names of the free leading sizes, which may differ
LEDGER = "scope_ledger"
GRADIENT = "gradient"  # the way back that is Fᵀ
DEFAULTS = {
    "policy": "",
    "note": "",
    "tangent": True,
    "sources": (),
}  # of a step, which the artifact leaves out


@dataclass
class Scope:
    """A rewritten model."""

    graph: gs.Graph
    image: str
    output: str
    policy: str
    source_sha256: str
    steps: Sequence[Step] = ()
    notes: Sequence[str] = ()
    at_sources: Mapping[str, str] = field(default_factory=dict)  # source node → the cotangent that meets it
    at_tensors: Mapping[str, str] = field(
        default_factory=dict
    )  # tensor of the base → the cotangent that meets it
    method: str = GRADIENT  # the way back, Fᵀ unless another was chosen
    original: Model | None = field(default=None, repr=False)

    def metadata(self) -> dict[str, str]:
        return {
            "onnxscope.version": VERSION,
            "onnxscope.source_sha256": self.source_sha256,
            "onnxscope.policy": self.policy,
            "onnxscope.image": self.image,
            "onnxscope.output": self.output,
            "onnxscope.method": self.method,
            "onnxscope.sources": compact(dict(self.at_sources)),
            "onnxscope.tensors": compact(dict(self.at_tensors)),
            "onnxscope.notes": compact(list(self.notes)),
            "onnxscope.nodes": compact(
                [{k: v for k, v in asdict(s).items() if v != DEFAULTS.get(k)} for s in self.steps]
            ),
        }

    def save(self, path: str | Path, *, external_bytes: int | None = None) -> Path:
        """Write the artifact, beside and then renamed; weights beyond protobuf's limit go into a file beside it."""
        source = self.original.path if self.original else None
        return save(self.graph, Path(path), self.metadata(), source=source, external_bytes=external_bytes)

    @classmethod
    def load(cls, path: str | Path) -> Scope:
        """A scope from its artifact."""
        return cls.of(load(path))

    @classmethod
    def of(cls, model: Model) -> Scope:
        about = {
            p.key.removeprefix("onnxscope."): p.value
            for p in model.proto.metadata_props
            if p.key.startswith("onnxscope.")
        }
        if not is_scope(model):
            raise BadModel(
                "not a scope: it carries no onnxscope metadata",
                where=f"'{model.path}'",
                remedy="write one with 'onnxscope rewrite'",
            )
        try:
            steps = [
                Step(**{**s, "sources": tuple(s.get("sources", ()))}) for s in json.loads(about["nodes"])
            ]
            scope = cls(
                typed(gs.import_onnx(model.proto)),
                about["image"],
                about["output"],
                about["policy"],
                about["source_sha256"],
                steps,
                json.loads(about["notes"]),
                json.loads(about["sources"]),
                json.loads(about["tensors"]),
                about["method"],
            )
            damage = scope.damage()
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            damage = repr(error)
        if damage:
            raise BadModel(
                f"the scope is damaged ({damage})",
                where=f"'{model.path}'",
                remedy="write it again with 'onnxscope rewrite'",
            )
        return scope

    def damage(self) -> str:
        """What the metadata names and the graph lacks, or the other way round."""
        nodes = {n.name for n in self.graph.nodes}
        tensors = {t.name for t in self.graph.inputs} | {t.name for n in self.graph.nodes for t in n.outputs}
        missing = {
            self.image,
            self.output,
            *self.at_sources.values(),
            *self.at_tensors,
            *self.at_tensors.values(),
        } - tensors
        missing |= {PROBE, COTANGENT} - {t.name for t in self.graph.inputs}
        missing |= {FROZEN, TRANSPOSED} - {t.name for t in self.graph.outputs}
        missing |= set(self.at_sources) ^ {n for n in nodes if n.startswith("source/")}
        return ", ".join(f"no '{n}'" for n in sorted(missing))

    def base(self) -> gs.Graph:
        """The original branch alone: the model's own outputs and the explained one."""
        own = [t for t in self.graph.outputs if t.name not in (FROZEN, TRANSPOSED)]
        explained = self.tensor(self.output)
        return part(self.graph, own if any(t.name == self.output for t in own) else [*own, explained])

    def explained(self) -> gs.Graph:
        """The frozen and the transposed output, and the explained one of the base beside them."""
        return part(self.graph, [self.tensor(FROZEN), self.tensor(TRANSPOSED), self.tensor(self.output)])

    def tensor(self, name: str) -> Tensor:
        """Any tensor of the graph."""
        everywhere = itertools.chain(self.graph.inputs, (t for n in self.graph.nodes for t in n.outputs))
        return next(t for t in everywhere if t.name == name)

    def analysed(self) -> gs.Graph:
        """The analysed part of the base alone: from the image tensor, now an input, to the explained output."""
        output = self.tensor(self.output)
        nodes = needed(self.graph.nodes, [output], known={self.image})
        used = {t.name: t for n in nodes for t in n.inputs}
        inputs = [t for t in used.values() if t.name == self.image or any(t is i for i in self.graph.inputs)]
        return graph_of(self.graph, nodes, inputs, [output])

    def linear(self) -> gs.Graph:
        """The scope without its sources, so that `scope_frozen` is F·probe exactly."""
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


def typed(graph: gs.Graph) -> gs.Graph:
    """A graph from a file, with the element types and shapes that no file needs to say."""
    model = onnx.ModelProto.FromString(without_weights(graph)[0])
    inferred = {
        v.name: v.type.tensor_type
        for v in shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    }
    for t in (t for n in graph.nodes for t in n.outputs if t.name in inferred):
        t.dtype = np_or_enum(inferred[t.name].elem_type)
        t.shape = dims(inferred[t.name]) if inferred[t.name].HasField("shape") else None
    return graph


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def is_scope(model: Model) -> bool:
    return any(p.key == "onnxscope.nodes" for p in model.proto.metadata_props)


def part(graph: gs.Graph, outputs: Sequence[Tensor]) -> gs.Graph:
    """A graph that shares the nodes and tensors which these outputs need."""
    nodes = needed(graph.nodes, outputs)
    used = {t.name for n in nodes for t in n.inputs} | {t.name for t in outputs}
    return graph_of(graph, nodes, [i for i in graph.inputs if i.name in used], outputs)


def graph_of(
    like: gs.Graph, nodes: Sequence[gs.Node], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> gs.Graph:
    return gs.Graph(
        list(nodes),
        list(inputs),
        list(outputs),
        name=like.name,
        opset=like.opset,
        import_domains=like.import_domains,
        ir_version=like.ir_version,
    )


def needed(nodes: Sequence[gs.Node], outputs: Iterable[Tensor], known: Iterable[str] = ()) -> list[gs.Node]:
    """The nodes that these outputs depend on, in their order, where some tensors are known already."""
    wanted = {t.name for t in outputs}
    keep = []
    for node in reversed(nodes):
        if any(t.name in wanted for t in node.outputs):
            wanted.update(t.name for t in node.inputs)
            wanted.difference_update(known)
            keep.append(node)
    return keep[::-1]
