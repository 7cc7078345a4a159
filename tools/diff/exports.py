"""Exports of a network, each node's layer known, and how that knowledge survives a rewriting of the file."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch

from diff.layers import Network

Feed = Callable[[np.ndarray], np.ndarray]  # pictures from 0 to 1, channels first, as the file takes them
CARRIERS = {"QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "Identity", "Reshape"}
IN_RANGE = ("Relu", "Clip")  # are left out where the range of a quantized value does their work
QUANTIZED = "_quantized"
MARKS = re.compile(  # what rewritings put behind a tensor's name
    r"(_QuantizeLinear_Output|_QuantizeLinear_Input|_DequantizeLinear_Output|_quantized|_pre_q|_q_to_dq|_nchw\d*|_nhwc"
    r"|_f16|_insert_cast_\w+|_cast_to_\w+|_cast\d*|_token_\d+)$"
)
MOST_IN_ONE = 12  # layers in one node: more means that the walk went astray


class NoTruth(Exception):
    """Which layers belong together is not known for a pair."""


@dataclass(frozen=True)
class Export:
    """A file, and by the name of each node's first output the layers that the node computes."""

    model: onnx.ModelProto
    layers: dict[str, list[str]]
    feed: Feed
    loose: bool = False  # values are only near those of the network


def torchscript(network: Network, opset: int, preserve: bool = False) -> Export:
    """An export by torch's older exporter; `preserve` keeps the BatchNormalizations."""
    made = io.BytesIO()
    mode = torch.onnx.TrainingMode.PRESERVE if preserve else torch.onnx.TrainingMode.EVAL
    with quiet():
        torch.onnx.export(
            network.module,
            (example(network),),
            made,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            training=mode,
            do_constant_folding=not preserve,
        )
    model = onnx.load_from_string(made.getvalue())
    return tagged(model, network, lambda node: scopes(node.name))


def dynamo(network: Network, opset: int) -> Export:
    """An export by torch's newer exporter."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            network.module,
            (example(network),),
            dynamo=True,
            opset_version=opset,
            input_names=["image"],
            verbose=False,
        )
        assert program is not None
        file = Path(folder) / "model.onnx"
        program.save(file, external_data=False)
        model = onnx.load(file)
    return tagged(model, network, said)


def example(network: Network) -> torch.Tensor:
    return torch.from_numpy(network.batch[:1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing printed by exporters, which warn about much that does not matter here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def scopes(name: str) -> list[str]:
    """The module that a node's name tells: `/body/body.0/conv/Conv` is of `body.0.conv`."""
    path = ""
    for part in name.strip("/").split("/")[:-1]:
        path = part if not path or part.startswith(f"{path}.") or part == path else f"{path}.{part}"
        if path.count(".") and (again := inner(path)):
            path = again
    return [path]


def inner(path: str) -> str:
    """`a.body.body.0` as `a.body.0`: a Sequential repeats its own name."""
    return re.sub(r"(?:^|(?<=\.))(\w+(?:\.\d+)*)\.\1(\.\d+)$", r"\1\2", path)


def said(node: onnx.NodeProto) -> list[str]:
    """The modules that a node's metadata tell, behind which stands a name of the exporter's own."""
    held = {p.key: p.value for p in node.metadata_props}
    return list(reversed(ast.literal_eval(held.get("pkg.torch.onnx.name_scopes", "[]"))[:-1]))


def tagged(
    model: onnx.ModelProto, network: Network, modules: Callable[[onnx.NodeProto], list[str]]
) -> Export:
    """An export whose nodes say which module they are of."""
    layers: dict[str, list[str]] = {}
    for k, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{k}"
        found = (network.layer_of(path) for path in modules(node))
        if node.op_type not in ("Constant", "Identity") and (layer := next(filter(None, found), None)):
            layers[node.output[0]] = [layer]
    if missing := network.layers.keys() - {layer for found in layers.values() for layer in found}:
        raise NoTruth(f"no node is known for {', '.join(sorted(missing))}")
    return Export(plain(model), layers, network.given)


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without anything that tells where a node comes from."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    return model


def rewritten(before: Export, model: onnx.ModelProto, **changes: object) -> Export:
    """The export after a rewriting that keeps the tensors' names up to MARKS: a node has the layers it stands for."""
    makers = {name: node for node in before.model.graph.node for name in node.output}
    same = aliases(before.model, model)
    fixed = {i.name for i in (*before.model.graph.initializer, *before.model.graph.input)}
    within = {name: node for node in model.graph.node for name in node.output}
    layers: dict[str, list[str]] = {}
    for node in model.graph.node:
        made = same[node.output[0]]
        given = fixed | read(node, within, same, makers)
        if made not in makers or node.op_type == "Constant" or (node.op_type in CARRIERS and made in given):
            continue
        inside = cone(made, given, makers)
        found = dict.fromkeys(t for n in reversed(inside) for t in before.layers.get(n.output[0], []))
        if len(found) > MOST_IN_ONE:
            raise NoTruth(f"'{node.name}' would stand for {len(found)} layers")
        if node.op_type in CARRIERS and any(n.op_type in IN_RANGE for n in inside):
            found = dict.fromkeys(maker_layers(node, within, layers)) | found
        if found:
            layers[node.output[0]] = list(found)
    return replace(before, model=plain(model), layers=layers, **changes)  # type: ignore[arg-type]


def read(
    node: onnx.NodeProto, within: Mapping[str, onnx.NodeProto], same: Mapping[str, str], known: Container[str]
) -> set[str]:
    """The tensors of the file before that a node reads, also through nodes that are new."""
    found: set[str] = set()
    for name in node.input:
        if same[name] in known or name not in within:
            found.add(same[name])
        else:
            found |= read(within[name], within, same, known)
    return found


def maker_layers(
    node: onnx.NodeProto, within: Mapping[str, onnx.NodeProto], layers: Mapping[str, list[str]]
) -> list[str]:
    """The layers of the node whose value is carried here."""
    while node.op_type in CARRIERS and node.output[0] not in layers and node.input[0] in within:
        node = within[node.input[0]]
    return layers.get(node.output[0], [])


def aliases(before: onnx.ModelProto, model: onnx.ModelProto) -> dict[str, str]:
    """For each tensor the one of the file before that it holds in another form, or itself."""
    makers = {name: node for node in before.graph.node for name in node.output}
    known = {*makers, *(i.name for i in before.graph.input)}
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    same = {name: unmarked(name, known) for name in names}
    for node in model.graph.node:
        given, made = node.input[0] if node.input else "", node.output[0]
        if node.op_type in ("Cast", "Reshape") and same[made] not in known:
            same[made] = same[given]
        elif node.op_type in ("Cast", "Reshape") and same[given] not in known:
            same[given] = unmoved(same[made], makers)
        elif node.op_type == "DequantizeLinear" and same[made] in known:
            same[given] = same[made]
    for node in before.graph.node:
        if node.op_type in IN_RANGE and node.output[0] not in same.values():
            same |= {n: node.output[0] for n in same if same[n] == node.input[0] and n.endswith(QUANTIZED)}
    return same


def unmarked(name: str, known: Container[str]) -> str:
    """The name without what rewritings put behind it."""
    while name not in known and (found := MARKS.search(name)):
        name = name[: found.start()]
    return name


def unmoved(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The tensor before it was given other shapes."""
    while name in makers and makers[name].op_type == "Reshape":
        name = makers[name].input[0]
    return name


def cone(name: str, given: set[str], makers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes between given tensors and this one, the last one first."""
    found: dict[str, onnx.NodeProto] = {}
    waiting = [name]
    while waiting:
        now = waiting.pop()
        if now not in makers or makers[now].output[0] in found or (now in given and now != name):
            continue
        node = makers[now]
        found[node.output[0]] = node
        waiting += node.input
    return list(found.values())
