"""One dialect for everything behind it: the model is written anew, node by node, in a current opset.

Requires a checked ModelProto. Ensures: opset 18 or the model's own if newer, only ai.onnx operators, every size
fixed, constants folded, no Constant, Dropout, Identity, If, Loop or function left where they fold away, explicit pads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

from onnxscope.errors import BadModel, BadOption, ScopeError
from onnxscope.graph import Builder, Shape, Tensor, is_known, np_or_enum, values_of
from onnxscope.lifts import LIFTS, Lift

OPSET, NEWEST_OPSET = 18, 26
IR_VERSION = 10
STANDARD = ("", "ai.onnx")


@dataclass
class Source:
    """A node of the model as it was exported, with its inputs already in the normal dialect."""

    proto: onnx.NodeProto
    inputs: list[Tensor | None]
    opset: int
    name: str
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.proto.op_type

    def input(self, i: int) -> Tensor | None:
        return self.inputs[i] if i < len(self.inputs) else None

    def __getitem__(self, i: int) -> Tensor:
        x = self.input(i)
        if x is None:
            raise BadModel(f"input {i} is missing", where=f"node '{self.name}' ({self.op})", remedy="export the model again")
        return x


@dataclass
class Normaliser:
    """Writes nodes of any opset in the normal dialect."""

    b: Builder
    opset: int
    domains: Mapping[str, int]
    keep: frozenset[str] = frozenset()  # tensors whose names must survive
    lifts: Mapping[str, Lift] = field(default_factory=lambda: LIFTS)

    def run(self, graph: onnx.GraphProto, env: dict[str, Tensor]) -> None:
        """Write every node; `env` maps the graph's names to tensors."""
        for tensor in graph.initializer:
            env[tensor.name] = constant_of(tensor)
        for sparse in graph.sparse_initializer:
            env[sparse.values.name] = gs.Constant(sparse.values.name, gs.ir.tensor.SparseValues(sparse).load())
        for k, proto in enumerate(graph.node):
            name = proto.name or next((o for o in proto.output if o), f"{proto.op_type}_{k}")
            inputs = [env[i] if i else None for i in proto.input]
            attrs = {a.name: attribute(a) for a in proto.attribute}
            source = Source(proto, inputs, self.domains.get(proto.domain, self.opset), self.b.unique(name), attrs)
            self.b.place = source.name
            results = self.node(source, env)
            for out, value in zip(proto.output, results, strict=False):
                if out:
                    env[out] = self.named(out, value)

    def named(self, name: str, value: Tensor) -> Tensor:
        """Results that the outside knows by name keep it."""
        if name in self.keep and value.name != name:
            if value.inputs and value.inputs[0] in self.b.fresh and value.name not in self.keep:
                value.name = name
            else:
                value = self.b.op("Identity", value, names=[name])
        return value

    def node(self, n: Source, env: dict[str, Tensor]) -> list[Tensor]:
        key = n.op if n.proto.domain in STANDARD else f"{n.proto.domain}.{n.op}"
        self.b.fresh.clear()
        try:
            if key in self.lifts:
                results = self.lifts[key](self, n)
                if results is not None:
                    return list(results) if isinstance(results, (list, tuple)) else [results]
            if n.proto.domain not in STANDARD:
                raise BadModel(f"operator domain '{n.proto.domain}' is not the standard's", where=f"node '{n.name}' ({n.op})",
                               remedy="export the model with standard ai.onnx operators")
            return self.emit(n)
        except ScopeError as error:
            if not error.where:
                error.where = f"node '{n.name}' ({n.op})"
            raise

    def emit(self, n: Source, op: str = "", inputs: list[Tensor | None] | None = None, **attrs: Any) -> list[Tensor]:
        """Write the node as it stands, with its own attributes or these."""
        merged = {k: v for k, v in {**n.attrs, **attrs}.items() if v is not None}
        results = self.b.op(op or n.op, *(n.inputs if inputs is None else inputs), outputs=len(n.proto.output),
                            names=[o or self.b.unique(f"{n.name}:unused") for o in n.proto.output], node_name=n.name, **merged)
        return list(results) if isinstance(results, tuple) else [results]


def constant_of(tensor: onnx.TensorProto) -> gs.Constant:
    return gs.Constant(tensor.name, gs.ir.tensor.LazyValues(tensor))


def attribute(a: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(a)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def fixed_shape(info: onnx.ValueInfoProto, given: Mapping[str, Shape]) -> Shape:
    """An input's sizes: as given, else as the model says, with batch 1 where the leading size is free."""
    dims = info.type.tensor_type.shape.dim
    own = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in dims]
    if info.name in given:
        wanted = given[info.name]
        if info.type.tensor_type.HasField("shape") and (
            len(wanted) != len(own) or any(o and o != w for o, w in zip(own[1:], wanted[1:], strict=True))):
            raise BadOption(f"{'x'.join(map(str, wanted))} does not fit the model's {shape_text(info)}",
                            where=f"--input-shape {info.name}", remedy="give a size only for the free dimensions")
        return wanted
    if own and own[0] == 0:
        own[0] = 1
    if 0 in own or not info.type.tensor_type.HasField("shape"):
        raise BadOption(f"its size is free ({shape_text(info)})", where=f"input '{info.name}'",
                        remedy=f"fix it with --input-shape {info.name}:" + "x".join(str(d or "?") for d in own or [1, 3, 224, 224]))
    return tuple(own)


def shape_text(info: onnx.ValueInfoProto) -> str:
    return "x".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in info.type.tensor_type.shape.dim) or "scalar"


def normalise(model: onnx.ModelProto, shapes: Mapping[str, Shape], keep: frozenset[str]) -> Builder:
    """The model's graph in the normal dialect, in a builder that is ready for the other branches."""
    domains = {o.domain: o.version for o in model.opset_import}
    opset = domains.get("", domains.get("ai.onnx", 1))
    if opset > NEWEST_OPSET:
        raise BadModel(f"opset {opset} is newer than {NEWEST_OPSET}, the newest that onnxruntime runs", remedy="export with an older opset")
    b = Builder(max(opset, OPSET), max(model.ir_version, IR_VERSION))
    initial = {t.name for t in model.graph.initializer}
    b.reserve([*initial, *keep, *(o for n in model.graph.node for o in n.output), *(i.name for i in model.graph.input)])
    env: dict[str, Tensor] = {}
    for info in model.graph.input:
        if info.name in initial:
            continue
        if not info.type.HasField("tensor_type"):
            raise BadModel("sequences, maps and optionals cannot be inputs", where=f"input '{info.name}'", remedy="export with tensor inputs")
        env[info.name] = gs.Variable(info.name, np_or_enum(info.type.tensor_type.elem_type), list(fixed_shape(info, shapes)))
        b.graph.inputs.append(env[info.name])
    Normaliser(b, opset, domains, keep).run(model.graph, env)
    for info in model.graph.output:
        if info.name not in env:
            raise BadModel("nothing computes it", where=f"output '{info.name}'", remedy="export the model again")
        value = env[info.name]
        if is_known(value) or value.name != info.name:
            value = b.op("Identity", value, names=[info.name]) if not is_known(value) else keep_constant(b, value, info.name)
        b.graph.outputs.append(value)
    return b


def keep_constant(b: Builder, value: Tensor, name: str) -> Tensor:
    """An output that folded to a constant stays an output of a node."""
    node = gs.Node("Identity", b.unique(f"{name}/Identity"), {}, [value], [gs.Variable(name, value.dtype, list(value.shape))])
    b.graph.nodes.append(node)
    return node.outputs[0]


_ = (np, TensorProto, values_of)
