"""The scope: base, frozen and transposed branch in one graph, its artifact and the programs cut from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption, ScopeError
from onnxscope.frozen import Frozen, raw_shape
from onnxscope.graph import Shape, Tensor, is_float, shape_of
from onnxscope.linearize import Freezer, Policy, Step, linearize
from onnxscope.model_io import Model, save
from onnxscope.normalise import normalise
from onnxscope.rules import RULES, TRANSPOSE
from onnxscope.transpose import transpose

PROBE, COTANGENT, FROZEN, TRANSPOSED = "scope_probe", "scope_cotangent", "scope_frozen", "scope_transposed"
PROBES = "probes"  # the name of the free leading size
LINEAR = "scope_linear"
VERSION = "0.1.0"
SCORES = {"Softmax", "LogSoftmax"}
SHAPES_ONLY = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}


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
    original: Model | None = field(default=None, repr=False)

    def metadata(self) -> dict[str, str]:
        return {
            "onnxscope.version": VERSION,
            "onnxscope.source_sha256": self.source_sha256,
            "onnxscope.policy": self.policy,
            "onnxscope.image": self.image,
            "onnxscope.output": self.output,
            "onnxscope.notes": json.dumps(list(self.notes)),
            "onnxscope.nodes": json.dumps([{k: v for k, v in asdict(s).items() if v} for s in self.steps], separators=(",", ":")),
        }

    def save(self, path: str | Path, *, external_bytes: int | None = None) -> Path:
        """Write the artifact, beside and then renamed; weights beyond protobuf's limit go into a file beside it."""
        return save(self.graph, Path(path), self.metadata(), external_bytes=external_bytes)

    def outputs(self, *names: str) -> gs.Graph:
        """The part of the scope that computes these outputs and nothing else."""
        return part(self.graph, [t for t in self.graph.outputs if t.name in names])


def part(graph: gs.Graph, outputs: Sequence[Tensor]) -> gs.Graph:
    """A graph that shares the nodes and tensors which these outputs need."""
    nodes = needed(graph.nodes, outputs)
    used = {t.name for n in nodes for t in n.inputs} | {t.name for t in outputs}
    return gs.Graph(nodes, [i for i in graph.inputs if i.name in used], list(outputs), name=graph.name, opset=graph.opset,
                    import_domains=graph.import_domains, ir_version=graph.ir_version)


def needed(nodes: Sequence[gs.Node], outputs: Iterable[Tensor]) -> list[gs.Node]:
    """The nodes that these outputs depend on, in their order."""
    wanted = {t.name for t in outputs}
    keep = []
    for node in reversed(nodes):
        if any(t.name in wanted for t in node.outputs):
            wanted.update(t.name for t in node.inputs)
            keep.append(node)
    return keep[::-1]


def find_image(graph: gs.Graph, name: str | None) -> Tensor:
    """The tensor that the analysis takes as the image."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs} | {t.name: t for t in graph.inputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(f"the model has no tensor '{name}'", where="--image-input",
                            remedy=f"choose one of {listed(t.name for t in graph.inputs)}")
        if not is_float(tensors[name]):
            raise BadOption(f"tensor '{name}' holds no floating-point numbers", where="--image-input",
                            remedy=f"choose a floating-point tensor behind it{suggestion(graph)}")
        return tensors[name]
    floats = [t for t in graph.inputs if is_float(t)]
    if not floats:
        raise BadModel("no input holds floating-point numbers",
                       remedy=f"name the first floating-point tensor with --image-input{suggestion(graph)}")
    images = [t for t in floats if len(t.shape) >= 3] or floats
    if len(images) > 1:
        raise BadOption(f"several inputs could be the image: {listed(t.name for t in images)}", where="--image-input",
                        remedy=f"choose one, such as --image-input {images[0].name}")
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
            raise BadOption(f"the model has no tensor '{name}'", where="--output",
                            remedy=f"choose one of {listed(t.name for t in graph.outputs)}")
        return tensors[name], ""
    first = next((t for t in graph.outputs if is_float(t)), None)
    if first is None:
        raise BadModel("no output holds floating-point numbers", remedy="name a floating-point tensor with --output")
    x = first
    while x.inputs:
        node = x.inputs[0]
        vector = sum(d != 1 for d in shape_of(node.outputs[0])) <= 1
        if node.op in SCORES or (node.op == "Sigmoid" and vector):
            scores = node.inputs[0]
            return scores, f"'{scores.name}', before the final {node.op}, stands for the output '{first.name}'"
        if node.op not in SHAPES_ONLY:
            break
        x = node.inputs[0]
    return first, ""


def build(model: Model, *, shapes: Mapping[str, Shape], image: str | None, output: str | None, policy: Policy, opaque: frozenset[str]) -> tuple[Scope, Freezer]:
    """Normalise, freeze and transpose; nothing is run."""
    keep = {n for n in (image, output) if n} | {o.name for o in model.proto.graph.output}
    b = normalise(model.proto, shapes, frozenset(keep))
    x, (y, note) = find_image(b.graph, image), find_output(b.graph, output)
    b.reserve([PROBE, COTANGENT, FROZEN, TRANSPOSED])
    known = {n.name for n in b.graph.nodes} | {n.op for n in b.graph.nodes}
    for name in (*opaque, *policy.special):
        if name not in known:
            raise BadOption(f"the model has no node and no operator '{name}'", where="--opaque or --policy-for",
                            remedy="see the names with 'onnxscope doctor'")
    probe = gs.Variable(PROBE, np.float32, [PROBES, *raw_shape(shape_of(x))[1:]])
    cotangent = gs.Variable(COTANGENT, np.float32, [PROBES, *raw_shape(shape_of(y))[1:]])
    f = linearize(b, x, y, RULES, policy, opaque, probe)
    notes = [note] if note else []
    y1 = f.active.get(y.name)
    if isinstance(y1, ScopeError):
        raise y1
    if y1 is None:
        notes.append("F = 0: a decision stands on every path from the image to the output")
        f.node, f.op = y.name, ""
        y1 = f.source(f.zeros(Frozen(shape_of(x), probe), shape_of(y)), f.float(y))
    frozen = f.b.op("Identity", y1.raw, names=[FROZEN], node_name=f.b.unique("frozen/output"))
    carried = needed(b.graph.nodes, [frozen])
    live = {id(n) for n in carried}
    ct = transpose(b, [n for n in f.nodes if id(n) in live], f.values, (y1.raw, cotangent), probe, TRANSPOSE)
    transposed = b.op("Identity", ct, names=[TRANSPOSED], node_name=b.unique("transposed/input"))
    for t, like in ((frozen, cotangent), (transposed, probe)):
        t.shape = list(like.shape)
    outputs = [*b.graph.outputs, frozen, transposed]
    b.graph.nodes[:] = needed(b.graph.nodes, outputs)
    b.graph.inputs.extend([probe, cotangent])
    b.graph.outputs.extend([frozen, transposed])
    text = ",".join([policy.default, *(f"{k}={v}" for k, v in policy.special.items())])
    b.graph.name = model.proto.graph.name or "scope"
    return Scope(b.graph, x.name, y.name, text, model.sha256, f.steps, notes, model), f
