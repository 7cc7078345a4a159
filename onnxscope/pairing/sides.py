"""One of the two networks that are compared: its graph in the normal dialect, and its values for an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.files.models import Model
from onnxscope.graph.builder import Builder
from onnxscope.graph.decisions import Decision
from onnxscope.graph.ends import find_image, named
from onnxscope.graph.parts import needed, part
from onnxscope.graph.tensors import Shape, Tensor, is_known, shape_of
from onnxscope.normalise.dialect import normalise
from onnxscope.normalise.trial import Trial
from onnxscope.rewriting.judging import judged
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.rules.quantize_dequantize import same_values
from onnxscope.rewriting.rules.table import RULES
from onnxscope.run.single_runs import session

# where operators that write integers have the scale and the zero point of these
SCALES = {"QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7)}
# which give integers on that they are given
CHOOSING = {
    "MaxPool",
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Gather",
    "Identity",
}
Arrays = Mapping[str, np.ndarray]


@dataclass
class Side:
    """A normalised network between its image and the tensors that are explained."""

    b: Builder
    x: Tensor
    ends: Sequence[Tensor]  # the tensors that are explained
    names: frozenset[str]  # of the nodes in the file
    decided: Sequence[Decision] = ()  # by the image

    @cached_property
    def nodes(self) -> list[gs.Node]:
        """The nodes that carry the image to the explained tensors, in their order."""
        active, found = {self.x.name}, []
        for node in needed(self.b.graph.nodes, self.ends, [self.x.name]):
            if any(t.name in active for t in node.inputs):
                active.update(t.name for t in node.outputs if t.name)
                found.append(node)
        return found

    @cached_property
    def active(self) -> dict[str, Tensor]:
        """The tensors that depend on the image, by name, in the order in which they are computed."""
        outputs = (t for n in self.nodes for t in n.outputs if t.name)
        return {self.x.name: self.x, **{t.name: t for t in outputs}}

    @cached_property
    def producers(self) -> dict[str, gs.Node]:
        return {t.name: n for n in self.nodes for t in n.outputs if t.name}

    @cached_property
    def consumers(self) -> dict[str, list[gs.Node]]:
        found: dict[str, list[gs.Node]] = {name: [] for name in self.active}
        for node in self.nodes:
            for name in dict.fromkeys(t.name for t in node.inputs if t.name in found):
                found[name].append(node)
        return found

    @property
    def image_shape(self) -> Shape:
        return shape_of(self.x)

    def ending_at(self, names: Sequence[str]) -> Side:
        """The same network, explained at these tensors."""
        return replace(self, ends=[named(self.b, name) for name in names])

    def shape_of(self, name: str) -> Shape:
        """The shape of a tensor."""
        return shape_of(named(self.b, name))

    def carried(self, node: gs.Node) -> list[Tensor]:
        """The inputs of a node that depend on the image."""
        return [t for t in node.inputs if t.name in self.active]

    def name_of(self, node: gs.Node) -> str:
        """The node of the file that a node of the normal dialect comes from."""
        name = str(node.name)
        while name not in self.names and ("/" in name.strip("/") or "_" in name):
            name = name[: max(name.rfind("/"), name.rfind("_"))]
        return name if name in self.names else str(node.name)

    def result_of(self, name: str) -> Tensor | None:
        """What a node of the file computes."""
        mine = [n for n in self.nodes if self.name_of(n) == name]
        return mine[-1].outputs[0] if mine else None

    def values(self, feeds: Arrays, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The named values for one image, or all that the nodes read or compute and that are not constant."""
        read = {t.name: t for n in self.nodes for t in (*n.inputs, *n.outputs) if t.name and not is_known(t)}
        wanted = [t for name, t in read.items() if name not in feeds and (not names or name in names)]
        with session(part(self.b.graph, wanted), optimise=False) as running:
            found = running.run({name: v for name, v in feeds.items() if name in running.inputs})
        return {**feeds, **found}


def decode(b: Builder) -> None:
    """Give quantized integers one form as numbers, which all readers share: integer → number → integer.

    What chooses among integers is written on the numbers, which is the same.
    """
    nodes = list(b.graph.nodes)
    b.graph.nodes.clear()
    for node in nodes:
        if any(node is written for written in b.graph.nodes):
            continue
        quantized = next(iter(node.inputs[0].inputs), None) if node.inputs else None
        b.place = node.name
        if node.op in CHOOSING and quantized is not None and quantized.op == "QuantizeLinear":
            number, *by = quantized.inputs
            chosen = b.op(node.op, number, *node.inputs[1:], node_name=node.name, **node.attrs)
            same = b.op("QuantizeLinear", chosen, *by)
            replace_everywhere(node.outputs[0], same)
            share_number(b, same.inputs[0])
        else:
            b.graph.nodes.append(node)
            share_number(b, node)


def share_number(b: Builder, node: gs.Node) -> None:
    """Let all that reads the integers of a node read one number, or what is quantized from it again."""
    scale, zero = SCALES.get(node.op, (0, 0))
    integers = node.outputs[0]
    if not scale or not integers.outputs:
        return
    by = node.inputs[scale : zero + 1]
    decoding = [r for r in integers.outputs if r.op == "DequantizeLinear"]
    others = [r for r in integers.outputs if r.op != "DequantizeLinear"]
    same = [r for r in decoding if alike(r.inputs[1:], by)]
    same.sort(key=lambda r: not any(r.outputs[0] is o for o in b.graph.outputs))
    if same:
        b.graph.nodes.append(same[0])
        for reader in same[1:]:
            replace_everywhere(reader.outputs[0], same[0].outputs[0])
    if others:
        axis = {k: v for k, v in node.attrs.items() if k in ("axis", "block_size")}
        number = same[0].outputs[0] if same else b.op("DequantizeLinear", integers, *by, **axis)
        again = b.op("QuantizeLinear", number, *by, **axis)
        for reader in others:
            reader.inputs = [again if t is integers else t for t in reader.inputs]


def alike(these: Sequence[Tensor], those: Sequence[Tensor]) -> bool:
    return len(these) == len(those) and all(map(same_values, these, those))


def replace_everywhere(old: Tensor, new: Tensor) -> None:
    """Let all that reads a tensor read another; an output of the model keeps its own."""
    for reader in list(old.outputs) if old is not new else ():
        reader.inputs = [new if t is old else t for t in reader.inputs]


def side(model: Model, options: Options, feeds: Arrays) -> Side:
    """A model in the normal dialect, whose explained tensors are yet to be chosen.

    The values of its inputs decide what depends on values.
    """
    keep = {o.name for o in model.proto.graph.output}
    trial = Trial(feeds)
    with judged(model, options.shapes):
        b = normalise(model.proto, options.shapes, frozenset(keep), RULES, options.opaque, trial)
    decode(b)
    names = {n.name or next((o for o in n.output if o), n.op_type) for n in model.proto.graph.node}
    return Side(b, find_image(b.graph, options.image), [], frozenset(names), trial.decided)
