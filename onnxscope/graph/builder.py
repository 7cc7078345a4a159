"""The Builder: it adds typed nodes to an onnx-graphsurgeon graph.

Every stage writes its nodes through a Builder, which knows the element type and the shape of all that it has
written, and computes small constant expressions at once instead of writing them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxscope.errors import Unsupported, shape_text
from onnxscope.graph.inference import infer_outputs
from onnxscope.graph.tensors import (
    Shape,
    Tensor,
    describe,
    element_type,
    is_known,
    is_sized,
    numel,
    values_of,
)

Evaluate = Callable[[onnx.ModelProto], list[np.ndarray] | None]

FOLD_BYTES = 64 << 10  # while the model is normalised, constant expressions up to this size are computed
# In the branches only those up to this size are: their operands are stored with the model already, and a
# folded copy would store weights twice.
SMALL_BYTES = 1 << 10
# A node may make so many bytes out of smaller constants, or as many times the bytes of those: a runtime would
# compute it as soon as the model is opened.
MOST_MADE, AS_MUCH = 1 << 30, 64
MOST_NODES = (
    1 << 18
)  # of one graph: functions that call functions in a damaged model can multiply without end
NOT_FOLDED = {
    # onnxruntime recognises a quantized layer by the DequantizeLinear of its weights; without it, it would
    # quantize the weights again, and differently.
    "DequantizeLinear",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "If",
    "Loop",
    "Scan",
}


class Builder:
    """Adds nodes to a graph: `b.Mul(x, 2.0)` writes a Mul node and returns its output tensor."""

    def __init__(self, opset: int, ir_version: int, evaluate: Evaluate) -> None:
        """`evaluate` computes small models without inputs. It is used to fold constant expressions."""
        self.evaluate = evaluate
        self.graph = gs.Graph(opset=opset, ir_version=ir_version)
        self.graph.import_domains = [helper.make_opsetid("", opset)]
        self.opset = opset
        self.fold_bytes = FOLD_BYTES
        self.numbers: Iterator[int] | None = None  # for the names of tensors, once branches have begun
        self.place = "model"  # a prefix for the names of nodes: where the node that is being written belongs
        self.fresh: list[gs.Node] = []  # the nodes written since this list was last emptied
        self._names: set[str] = set()
        self._constants: dict[tuple[str, Shape, bytes], gs.Constant] = {}

    @classmethod
    def holding(cls, graph: gs.Graph, evaluate: Evaluate) -> Builder:
        """A builder that adds to a copy of a graph, whose tensors have their types and shapes already."""
        b = cls(graph.opset, graph.ir_version, evaluate)
        b.graph = graph.copy()
        b.reserve([*b.graph.tensors(), *(n.name for n in b.graph.nodes)])
        return b

    def __getattr__(self, op: str) -> Callable[..., Any]:
        """`b.Relu(x)` is `b.op("Relu", x)`."""
        if not op[:1].isupper():
            raise AttributeError(op)
        return lambda *inputs, **attrs: self.op(op, *inputs, **attrs)

    def constant(self, values: Any, like: Tensor | None = None) -> gs.Constant:
        """A constant tensor with the element type of `like`. Equal constants are stored once."""
        dtype = helper.tensor_dtype_to_np_dtype(element_type(like)) if like is not None else None
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = gs.Constant(self.unique(f"const/{array.dtype}"), array)
        return self._constants[key]

    def unique(self, name: str) -> str:
        """The name itself if it is free, or else the name followed by the first free number."""
        if name in self._names:
            name = next(n for k in itertools.count(2) if (n := f"{name}_{k}") not in self._names)
        self._names.add(name)
        return name

    def reserve(self, names: Iterable[str]) -> None:
        """Mark names as taken, such as those of the model's own tensors."""
        self._names.update(names)

    def op(
        self,
        op: str,
        *inputs: Any,
        outputs: int = 1,
        names: Sequence[str] | None = None,
        node_name: str = "",
        **attrs: Any,
    ) -> Any:
        """Write one node and return its output tensor, or a tuple of them if there are several."""
        first = next((t for t in inputs if isinstance(t, Tensor) and t.name), None)
        args = [self._tensor(t, first) for t in inputs]
        while args and not args[-1].name:
            args.pop()
        place = node_name or self.unique(f"{self.place}/{op}")
        attrs = {k: v for k, v in attrs.items() if v is not None}
        out_names = list(names) if names else self._tensor_names(place, outputs)
        node = gs.Node(op, place, attrs, args, [gs.Variable(n) for n in out_names])
        results = self._fold(node) or list(node.outputs)
        if results[0] is node.outputs[0]:
            if len(self.graph.nodes) == MOST_NODES:
                raise Unsupported(
                    f"more than {MOST_NODES:,} nodes would be written",
                    where=describe(node),
                    remedy="export a smaller model",
                )
            self.graph.nodes.append(node)
            self.fresh.append(node)
        else:
            node.inputs.clear()
        return results[0] if len(results) == 1 else tuple(results)

    def _tensor_names(self, place: str, count: int) -> list[str]:
        """Names for a node's outputs: in the model the node's own name, in the branches a short number."""
        if self.numbers is None:
            return [place] if count == 1 else [f"{place}:{k}" for k in range(count)]
        return [self.unique(f"{place.partition('/')[0]}/{next(self.numbers)}") for _ in range(count)]

    def begin_branches(self) -> None:
        """From now on nodes belong to the frozen or the transposed branch, not to the model."""
        self.fold_bytes, self.numbers = SMALL_BYTES, itertools.count(1)

    def _tensor(self, value: Any, like: Tensor | None) -> Tensor:
        """A node's operand as a tensor. Numbers take the element type of `like`, lists of int are int64."""
        if value is None:
            return gs.Variable.empty()
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (bool, np.ndarray, np.generic)):
            return self.constant(value)
        if isinstance(value, (int, float)):
            return self.constant(value, like)
        return self.constant(np.asarray(value, dtype=np.int64))

    def _fold(self, node: gs.Node) -> list[gs.Constant] | None:
        """Infer the outputs' types; if all inputs are small constants, compute and return the outputs."""
        infer_outputs(node, self.opset, self.graph.ir_version, added=self.numbers is not None)
        known = all(is_known(t) for t in node.inputs if t.name)
        has_body = any(isinstance(v, onnx.GraphProto) for v in node.attrs.values())
        if not known or has_body or node.op in NOT_FOLDED:
            return None
        in_bytes = sum(t._values.nbytes for t in node.inputs if t.name)
        out_bytes = sum(8 * numel(t.shape) for t in node.outputs if is_sized(t))
        if out_bytes > max(MOST_MADE, AS_MUCH * in_bytes):
            raise Unsupported(
                f"it makes a constant of {shape_text(node.outputs[0].shape)} elements out of almost nothing",
                where=describe(node),
                remedy="export a smaller model",
            )
        if max(in_bytes, out_bytes) > self.fold_bytes:
            return None
        arrays = self.evaluate(one_node_model(node, self.graph.opset, self.graph.ir_version))
        if arrays is None:
            return None
        return [gs.Constant(t.name, np.asarray(a)) for t, a in zip(node.outputs, arrays, strict=True)]


def one_node_model(node: gs.Node, opset: int, ir_version: int) -> onnx.ModelProto:
    """A model without inputs that computes one node from constants."""
    tensors = {t.name: onnx.numpy_helper.from_array(values_of(t), t.name) for t in node.inputs if t.name}
    outputs = [onnx.ValueInfoProto(name=t.name) for t in node.outputs]
    for info, t in zip(outputs, node.outputs, strict=True):
        if element_type(t):
            info.type.tensor_type.elem_type = element_type(t)
    graph = helper.make_graph([OnnxExporter.export_node(node)], "one", [], outputs, list(tensors.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
