"""One dialect for everything behind it: the model is written anew, node by node, in a current opset.

Requires a ModelProto. Ensures an opset of 18 or newer, only ai.onnx operators, fixed sizes, folded constants,
what promises.py lists, and no Constant, Dropout, control flow or function; an Identity stays only where it
names an output.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

import onnx
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption, Fault, Undecided, Unsupported
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Shape, Tensor, is_known, np_or_enum
from onnxscope.normalise.lifts import LIFTS
from onnxscope.normalise.opsets import opsets_to_write
from onnxscope.normalise.promises import check_promises
from onnxscope.normalise.reader import Around, Body, Normaliser
from onnxscope.normalise.source import Items, Value
from onnxscope.normalise.trial import Trial
from onnxscope.runtime import evaluate

IR_VERSION, NEWEST_IR_VERSION = 10, 13  # what is written, and at most: onnxruntime reads no newer one


def normalise(
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    keep: frozenset[str],
    known: Iterable[str] = (),
    opaque: Iterable[str] = (),
    trial: Trial | None = None,
) -> Builder:
    """The model's graph in the normal dialect, in a builder that is ready for the other branches.

    Tensors in `keep`, and the outputs, keep their names. An operator that is not `known` is expanded to the
    standard's definition of it, where there is one. Recurrent layers are written out, unless they are
    declared `opaque` by name or operator. What must be known and depends on values is decided by a `trial`,
    if one is given.
    """

    def around(b: Builder) -> Around:
        functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        if trial is not None:
            trial.begin()
        return Around(b, LIFTS, frozenset(known), frozenset(opaque), functions, trial)

    *others, last = opsets_to_write(model)
    for opset in others:
        with contextlib.suppress(BadModel, Fault, Undecided):
            return written(model, shapes, keep, around, opset)
    return written(model, shapes, keep, around, last)


def written(
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    keep: frozenset[str],
    around: Callable[[Builder], Around],
    opset: int,
) -> Builder:
    """The model in one opset."""
    graph, domains = model.graph, {o.domain: o.version for o in model.opset_import}
    b = Builder(opset, min(max(model.ir_version, IR_VERSION), NEWEST_IR_VERSION), evaluate)
    keep |= {o.name for o in graph.output}
    b.reserve(
        [
            *stored_names(graph),
            *keep,
            *(o for n in graph.node for o in (n.name, *n.output)),
            *(i.name for i in graph.input),
        ]
    )
    b.graph.inputs.extend(graph_inputs(graph, shapes))
    env: dict[str, Value | None] = {t.name: t for t in b.graph.inputs}
    Normaliser(around(b), Body(domains, env, keep)).run(graph)
    b.graph.outputs.extend(graph_output(b, o, env.get(o.name)) for o in graph.output)
    check_promises(b.graph)
    return b


def stored_names(graph: onnx.GraphProto) -> set[str]:
    """The names of stored tensors, which old files list among the inputs."""
    return {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}


def graph_inputs(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> list[gs.Variable]:
    """The model's own inputs, with fixed sizes."""
    stored = stored_names(graph)
    inputs = [info for info in graph.input if info.name not in stored]
    for name in shapes:
        if name not in {info.name for info in inputs}:
            raise BadOption(
                f"the model has no input '{name}'",
                where="--input-shape",
                remedy="choose one of " + ", ".join(f"'{info.name}'" for info in inputs),
            )
    return [graph_input(info, shapes) for info in inputs]


def graph_input(info: onnx.ValueInfoProto, shapes: Mapping[str, Shape]) -> gs.Variable:
    if not info.type.HasField("tensor_type"):
        raise BadModel(
            "sequences, maps and optionals cannot be inputs",
            where=f"input '{info.name}'",
            remedy="export with tensor inputs",
        )
    return gs.Variable(
        info.name, np_or_enum(info.type.tensor_type.elem_type), list(fixed_shape(info, shapes))
    )


def graph_output(b: Builder, info: onnx.ValueInfoProto, value: Value | None) -> Tensor:
    """An output under its own name: an Identity gives it one where it is a constant or another tensor."""
    name = info.name
    if value is None:
        raise BadModel("nothing computes it", where=f"output '{name}'", remedy="export the model again")
    if isinstance(value, Items):
        raise Unsupported(
            "it is a sequence of tensors",
            where=f"output '{name}'",
            remedy="export the model with tensor outputs",
        )
    if info.type.WhichOneof("value") not in (None, "tensor_type"):
        raise BadModel("it is a tensor, and is declared as another thing", where=f"output '{name}'")
    if not is_known(value):
        return value if value.name == name else b.op("Identity", value, names=[name])
    if value.name == name:  # the node's output takes the name, so what folded to the constant gives it up
        value.name = b.unique(f"{name}/value")
    node = gs.Node(
        "Identity",
        b.unique(f"{name}/Identity"),
        {},
        [value],
        [gs.Variable(name, value.dtype, list(value.shape))],
    )
    b.graph.nodes.append(node)
    return node.outputs[0]


def fixed_shape(info: onnx.ValueInfoProto, given: Mapping[str, Shape]) -> Shape:
    """An input's sizes: as given, else the model's, with batch 1 where the leading size is free."""
    dims = info.type.tensor_type.shape.dim
    own = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in dims]
    if info.name in given:
        wanted = given[info.name]
        if info.type.tensor_type.HasField("shape") and (
            len(wanted) != len(own) or any(o and o != w for o, w in zip(own[1:], wanted[1:], strict=True))
        ):
            raise BadOption(
                f"{'x'.join(map(str, wanted))} does not fit the model's {shape_text(info)}",
                where=f"--input-shape {info.name}",
                remedy="give a size only for the free dimensions",
            )
        return wanted
    if own and own[0] == 0:
        own[0] = 1
    if 0 in own or not info.type.tensor_type.HasField("shape"):
        raise BadOption(
            f"its size is free ({shape_text(info)})",
            where=f"input '{info.name}'",
            remedy=f"fix it with --input-shape {info.name}:"
            + "x".join(str(d or "?") for d in own or [1, 3, 224, 224]),
        )
    return tuple(own)


def shape_text(info: onnx.ValueInfoProto) -> str:
    dims = info.type.tensor_type.shape.dim
    if not info.type.tensor_type.HasField("shape"):
        return "of unknown rank"
    return (
        "x".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)
        or "scalar"
    )
