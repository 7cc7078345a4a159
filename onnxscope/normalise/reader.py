"""A model is interpreted node by node, and what each node means is written in the normal dialect.

Names, scopes, functions and errors are handled here. What an operator's older or foreign form means is
written by its lift: a function of the Normaliser and the node that returns the outputs, or None to keep the
node.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import helper

from onnxscope.errors import DECIDE, MISFITS, BadModel, ScopeError, Undecided, Unsupported
from onnxscope.files.weights import StoredValues
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import element_type, is_known
from onnxscope.normalise.source import STANDARD, Items, Source, Value, attribute, dense, ordered, reads
from onnxscope.normalise.trial import Trial

Key = tuple[str, str, str]  # domain, name and overload of a function
Lift = Callable[["Normaliser", Source], Any]


@dataclass(frozen=True)
class Around:
    """What holds for the whole model, whichever body is being written."""

    b: Builder
    lifts: Mapping[str, Lift]
    known: frozenset[str]  # operators that are never expanded to the standard's function body
    opaque: frozenset[str]  # nodes and operators that are declared constant decisions, and stay as they are
    functions: Mapping[Key, onnx.FunctionProto]
    trial: Trial | None = None  # decides what must be known and depends on values
    node_names: set[str] = field(default_factory=set, init=False)
    rounds: list[str] = field(default_factory=list, init=False)  # of Loop and Scan, by the names of these
    weights: dict[int, tuple[onnx.TensorProto, gs.Constant]] = field(default_factory=dict, init=False)


@dataclass(frozen=True)
class Body:
    """What holds inside one graph, or inside one function's body."""

    domains: Mapping[str, int]
    env: MutableMapping[str, Value | None]  # the values of all names that the body knows
    keep: frozenset[str] = frozenset()  # tensors whose names must survive
    name: str = ""  # the node whose body it is
    caller: Mapping[str, Any] = field(default_factory=dict)  # what a function's attribute references mean
    calls: tuple[Key, ...] = ()  # the functions whose bodies it lies in


class Normaliser:
    """Writes the nodes of one graph, or of one function's body, in the normal dialect."""

    def __init__(self, around: Around, at: Body) -> None:
        self.around, self.at = around, at
        self.start = 0  # how many nodes were written when the present node began

    @property
    def b(self) -> Builder:
        return self.around.b

    @property
    def opset(self) -> int:
        return self.at.domains.get("", self.at.domains.get("ai.onnx", 1))

    def run(self, body: onnx.GraphProto | onnx.FunctionProto) -> None:
        """Write every node; `env` then maps all the body's names to tensors."""
        outputs = [o if isinstance(o, str) else o.name for o in body.output]
        if isinstance(body, onnx.GraphProto):
            for tensor in body.initializer:
                self.at.env[tensor.name] = self.weight(tensor, tensor.name)
            for sparse in body.sparse_initializer:
                self.at.env[sparse.values.name] = self.weight(dense(sparse), sparse.values.name)
        read = {*outputs, *self.at.keep, *(i for node in body.node for i in reads(node))}
        for proto in ordered(body.node, self.at.env):
            n = self.source(proto, read)
            for out, value in zip(proto.output, self.node(n), strict=False):
                if out and value is not None:
                    self.at.env[out] = self.named(out, value)
            if missing := next((o for o in n.outputs if o and o not in self.at.env), None):
                raise Unsupported(
                    f"its output '{missing}' has no form in the normal dialect",
                    where=n.where,
                    remedy="remove what reads it",
                )

    def source(self, proto: onnx.NodeProto, read: set[str]) -> Source:
        """The node with its inputs looked up, under a name of its own."""
        name = proto.name or next((o for o in proto.output if o), proto.op_type)
        name = f"{self.at.name}/{name}" if self.at.name else name
        if name in self.around.node_names:
            name = self.b.unique(name)
        self.around.node_names.add(name)
        self.b.reserve([name])
        attrs = {a.name: attribute(a) for a in proto.attribute if not a.ref_attr_name}
        attrs |= {
            a.name: self.at.caller[a.ref_attr_name]
            for a in proto.attribute
            if a.ref_attr_name in self.at.caller
        }
        opset = self.opset if proto.domain in STANDARD else self.at.domains.get(proto.domain, 1)
        inputs = [self.at.env[i] if i else None for i in proto.input]
        outputs = [o if o in read else "" for o in proto.output]
        return Source(proto.op_type, proto.domain, name, opset, inputs, outputs, attrs, proto.overload)

    def node(self, n: Source) -> list[Value | None]:
        """Write what one node means, with what an image decides."""
        self.b.place, self.start = n.name, len(self.b.graph.nodes)
        trial = self.around.trial
        try:
            if trial is None:
                return self.meaning(n)
            trial.decide_inputs(self.b, n)
            return trial.decide_results(self.b, n, self.meaning(n))
        except ScopeError as error:
            if isinstance(error, BadModel) and n.has_free_size:
                raise Undecided(error.cause, where=error.where or n.where, remedy=DECIDE) from error
            if error.where:
                raise
            raise type(error)(error.cause, where=n.where, remedy=error.remedy) from error
        except (
            *MISFITS,
            AttributeError,
            onnx.defs.SchemaError,
        ) as error:  # an attribute that is missing, or of another kind
            if n.has_free_size:
                raise Undecided(
                    f"its attributes do not fit the operator ({error!r})", where=n.where, remedy=DECIDE
                ) from error
            raise n.fault(error) from error

    def meaning(self, n: Source) -> list[Value | None]:
        """Lift one node, or call its function, or write it as it stands."""
        if (n.domain, n.op, n.overload) in self.around.functions:
            return self.call(n, self.around.functions[n.domain, n.op, n.overload])
        if n.opset < 6:
            n.attrs.pop("consumed_inputs", None)
        lift = self.around.lifts.get(n.key)
        result = lift(self, n) if lift is not None else None
        if result is not None:
            return list(result) if isinstance(result, list) else [result]
        self.check(n, lifted=lift is not None)
        body = self.body(n)
        return self.call(n, body) if body is not None else self.emit(n)

    def check(self, n: Source, *, lifted: bool) -> None:
        """Refuse what the standard does not define."""
        if n.domain not in STANDARD:
            raise Unsupported(
                f"its operator belongs to the domain '{n.domain}', which is not the standard's",
                where=n.where,
                remedy="export the model with standard ai.onnx operators",
            )
        if not onnx.defs.has(n.op, self.b.opset) or not (lifted or onnx.defs.has(n.op, n.opset)):
            raise BadModel(
                f"opset {n.opset} has no operator '{n.op}'",
                where=n.where,
                remedy="export the model again, or with another opset",
            )
        if any(isinstance(v, onnx.GraphProto) for v in n.attrs.values()):
            raise Unsupported(
                "its body cannot be written out",
                where=n.where,
                remedy="export the model without control flow",
            )

    def emit(
        self, n: Source, op: str = "", inputs: Sequence[Any] | None = None, **attrs: Any
    ) -> list[Value | None]:
        """Write the node as it stands, with its own attributes or these (None removes one)."""
        schema = onnx.defs.get_schema(op or n.op, self.b.opset)
        outputs = list(n.outputs)
        if outputs and schema.max_output < 1 << 20:  # not a variadic output, where each place counts
            while len(outputs) > max(schema.min_output, 1) and not outputs[-1]:
                outputs.pop()
        results = self.b.op(
            op or n.op,
            *(n.tensors if inputs is None else inputs),
            outputs=len(outputs),
            names=[self.tensor_name(o, n) for o in outputs],
            node_name=n.name,
            **{**n.attrs, **attrs},
        )
        return list(results) if isinstance(results, tuple) else [results]

    def tensor_name(self, output: str, n: Source) -> str:
        """Only the model's own graph keeps its own names; bodies are written once for every call."""
        if output and not self.at.name:
            return output
        return self.b.unique(f"{self.at.name}/{output}" if output else f"{n.name}:unused")

    def named(self, name: str, value: Value) -> Value:
        """A result that this node computed takes the model's name for it, and names that must survive do."""
        if self.at.name or isinstance(value, Items) or value.name == name or is_known(value):
            return value
        fresh = value.inputs and any(value.inputs[0] is made for made in self.b.graph.nodes[self.start :])
        if fresh and value.name not in self.at.env:
            value.name = name
        elif name in self.at.keep:
            return self.b.op("Identity", value, names=[name])
        return value

    def inside(
        self,
        n: Source,
        body: onnx.GraphProto | onnx.FunctionProto,
        name: str,
        given: Mapping[str, Value | None],
        **changes: Any,
    ) -> list[Value | None]:
        """The outputs of a node's body, written out in place; None for one that the body leaves out."""
        env = ChainMap(dict(given), self.at.env)
        inner = replace(self.at, name=name, env=env, keep=frozenset(), **changes)
        Normaliser(self.around, inner).run(body)
        self.b.place = n.name
        return [inner.env.get(o if isinstance(o, str) else o.name) for o in body.output]

    def call(self, n: Source, function: onnx.FunctionProto) -> list[Value | None]:
        """A function's body, with its own opsets and the caller's attributes."""
        key = (function.domain, function.name, function.overload)
        if key in self.at.calls:
            raise BadModel("the function calls itself", where=n.where, remedy="export the model again")
        given: dict[str, Value | None] = dict.fromkeys(function.input)
        given.update(zip(function.input, n.inputs, strict=False))
        caller = {**{a.name: attribute(a) for a in function.attribute_proto}, **n.attrs}
        domains = {o.domain: o.version for o in function.opset_import}
        return self.inside(
            n,
            function,
            n.name,
            given,
            caller=caller,
            domains={**self.at.domains, **domains},
            calls=(*self.at.calls, key),
        )

    def body(self, n: Source, *, known_too: bool = False) -> onnx.FunctionProto | None:
        """The standard's definition of an operator by simpler ones, where no rule knows the operator."""
        if (n.op in self.around.known and not known_too) or all(
            is_known(x) for x in n.tensors if x is not None
        ):
            return None
        schema: Any = onnx.defs.get_schema(n.op, self.b.opset)  # its stub file lacks half of what it has
        data: bytes | None = None
        if schema.has_function:
            data = schema.get_function_with_opset_version(
                max(v for v in schema.function_opset_versions if v <= self.b.opset)
            )
        elif schema.has_context_dependent_function:
            version = max(v for v in schema.context_dependent_function_opset_versions if v <= self.b.opset)
            names = [f"x{i}" if x is not None else "" for i, x in enumerate(n.tensors)]
            node = helper.make_node(
                n.op, names, [o or f"unused{k}" for k, o in enumerate(n.outputs)], **n.attrs
            )
            types = [
                helper.make_tensor_type_proto(element_type(x), x.shape) if x is not None else onnx.TypeProto()
                for x in n.tensors
            ]
            data = schema.get_context_dependent_function_with_opset_version(
                version, node.SerializeToString(), [t.SerializeToString() for t in types]
            )
        if not data:
            return None
        n.attrs = {
            **{k: attribute(a.default_value) for k, a in schema.attributes.items() if a.default_value.name},
            **n.attrs,
        }
        function: onnx.FunctionProto = onnx.FunctionProto.FromString(data)
        return function

    def op(self, n: Source, op: str, *inputs: Any, **attrs: Any) -> Any:
        """Write another node in this one's place and under its name."""
        return self.b.op(op, *inputs, names=[self.b.unique(f"{n.name}/{op}")], node_name=n.name, **attrs)

    def weight(self, tensor: onnx.TensorProto, name: str, *, nameless: bool = False) -> gs.Constant:
        """A stored tensor as a constant, which shares its protobuf; it is copied only to get another name."""
        if id(tensor) in self.around.weights:
            return self.around.weights[id(tensor)][1]
        stored = tensor
        if name in self.at.keep:
            name = self.b.unique(f"{name}/value")
        elif self.at.name:
            name = self.b.unique(name)
        if tensor.name != name and not nameless:
            stored = onnx.TensorProto()
            stored.CopyFrom(tensor)
            stored.name = name
        constant = gs.Constant(name, StoredValues(stored))
        self.around.weights[id(tensor)] = tensor, constant
        return constant
