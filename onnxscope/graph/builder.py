"""The graph in memory: onnx-graphsurgeon tensors and nodes, and the Builder that adds typed nodes to it.

Every stage writes its nodes through a Builder, which knows the element type and the shape of all it has
written, and computes small constant expressions on the spot instead of writing them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, shape_inference
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxscope.errors import BadModel, Unsupported
from onnxscope.graph.shapes import LEFT_OPEN

Tensor: TypeAlias = gs.Variable | gs.Constant
Shape = tuple[int, ...]
Evaluate = Callable[[onnx.ModelProto], list[np.ndarray] | None]

FOLD_BYTES = 64 << 10  # constant expressions up to this size become constants while the model is normalised
SMALL_BYTES = (
    1 << 10
)  # and beside the normalised model, which holds their operands already: weights are stored once
MOST_ELEMENTS, MOST_NODES = (
    1 << 31,
    1 << 18,
)  # of one tensor and of one graph: damaged sizes and bodies in bodies know no end
CHECK = "check the sizes given with --input-shape, or the export"
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def element_type(tensor: Tensor) -> int:
    """The onnx element type of a tensor, 0 where it is unknown."""
    dtype = tensor.export_dtype if isinstance(tensor, gs.Constant) else tensor.dtype
    if dtype is None:
        return 0
    return int(dtype) if isinstance(dtype, int) else int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def is_float(tensor: Tensor) -> bool:
    return element_type(tensor) in FLOATS


def is_sized(tensor: Tensor) -> bool:
    """Whether its sizes are fixed numbers."""
    return tensor.shape is not None and all(isinstance(d, int) for d in tensor.shape)


def is_known(tensor: Tensor) -> bool:
    return isinstance(tensor, gs.Constant)


def shape_of(tensor: Tensor) -> Shape:
    """The fixed shape of a tensor; its leading size is -1 where it counts probes."""
    if tensor.shape is None:
        raise BadModel(
            f"the shape of '{tensor.name}' cannot be inferred",
            where=producer_name(tensor),
            remedy="fix the input sizes with --input-shape NAME:1x3x224x224",
        )
    return tuple(d if isinstance(d, int) else -1 for d in tensor.shape)


def producer_name(tensor: Tensor) -> str:
    return describe(tensor.inputs[0]) if tensor.inputs else f"tensor '{tensor.name}'"


def describe(node: gs.Node) -> str:
    """How errors name a node: name, operator and shapes."""
    shapes = ", ".join(size_text(t.shape) for t in node.inputs if t.name)
    return f"node '{node.name}' ({node.op}: {shapes})"


def size_text(shape: Sequence[int | str | None] | None) -> str:
    if shape is None:
        return "?"
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def values_of(tensor: Tensor) -> np.ndarray:
    """The value of a constant."""
    assert isinstance(tensor, gs.Constant), tensor.name
    values: np.ndarray = tensor.values
    return values


def ints_of(tensor: Tensor) -> list[int]:
    return [int(v) for v in values_of(tensor).reshape(-1)]


def numel(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) if len(shape) else 1


@dataclass(frozen=True)
class Known:
    """What one-node inference needs to know about an input."""

    proto: onnx.TypeProto
    data: onnx.TensorProto | None


class Builder:
    """Adds nodes to a graph: `b.Mul(x, 2.0)` is the product's tensor, `b.op("Split", ...)` has options."""

    def __init__(self, opset: int, ir_version: int, evaluate: Evaluate) -> None:
        """`evaluate` computes small models without inputs: constant expressions are folded by it."""
        self.evaluate = evaluate
        self.graph = gs.Graph(opset=opset, ir_version=ir_version)
        self.graph.import_domains = [helper.make_opsetid("", opset)]
        self.opset = opset
        self.fold_bytes = FOLD_BYTES
        self.numbers: Iterator[int] | None = None
        self.place = "model"  # the name of the node that is being written
        self.fresh: list[gs.Node] = []  # the nodes written since someone last emptied this list
        self._names: set[str] = set()
        self._constants: dict[tuple[str, Shape, bytes], gs.Constant] = {}

    @classmethod
    def holding(cls, graph: gs.Graph, evaluate: Evaluate) -> Builder:
        """A builder for a copy of a graph whose tensors have their types and shapes already."""
        b = cls(graph.opset, graph.ir_version, evaluate)
        b.graph = graph.copy()
        b.reserve([*b.graph.tensors(), *(n.name for n in b.graph.nodes)])
        return b

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if not op[:1].isupper():
            raise AttributeError(op)
        return lambda *inputs, **attrs: self.op(op, *inputs, **attrs)

    def constant(self, values: Any, like: Tensor | None = None) -> gs.Constant:
        """A constant tensor, stored once however often it is asked for; `like` lends its element type."""
        dtype = helper.tensor_dtype_to_np_dtype(element_type(like)) if like is not None else None
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype)).reshape(np.shape(values))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = gs.Constant(self.unique(f"const/{array.dtype}"), array)
        return self._constants[key]

    def unique(self, name: str) -> str:
        """The name itself, or with the first free number behind it."""
        if name in self._names:
            name = next(n for k in itertools.count(2) if (n := f"{name}_{k}") not in self._names)
        self._names.add(name)
        return name

    def reserve(self, names: Iterable[str]) -> None:
        """Keep the model's own names for the model's own tensors."""
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
        """Write one node; its output tensor, or a tuple where there are several."""
        model_for = next((t for t in inputs if isinstance(t, Tensor) and t.name), None)
        args = [self._tensor(t, model_for) for t in inputs]
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
        """Tensors of the model are called as their nodes, those beside it by their branch and a number, which is shorter."""
        if self.numbers is None:
            return [place] if count == 1 else [f"{place}:{k}" for k in range(count)]
        return [self.unique(f"{place.partition('/')[0]}/{next(self.numbers)}") for _ in range(count)]

    def begin_branches(self) -> None:
        """From here on nodes are written beside the model, which holds their operands and readable names already."""
        self.fold_bytes, self.numbers = SMALL_BYTES, itertools.count(1)

    def _tensor(self, value: Any, like: Tensor | None) -> Tensor:
        """Python numbers take the element type of the tensor beside them; lists of int are int64."""
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
        """Infer the outputs' types; where all inputs are small constants, compute the outputs instead."""
        self.infer(node)
        known = all(is_known(t) for t in node.inputs if t.name)
        if (
            not known
            or node.op in NOT_FOLDED
            or any(isinstance(v, onnx.GraphProto) for v in node.attrs.values())
        ):
            return None
        sizes = [t._values.nbytes for t in node.inputs if t.name]
        out_sizes = [
            8 * numel(t.shape) if t.shape is not None and all(isinstance(d, int) for d in t.shape) else 0
            for t in node.outputs
        ]
        if sum(sizes) > self.fold_bytes or sum(out_sizes) > self.fold_bytes:
            return None
        arrays = self.evaluate(one_node_model(node, self.graph.opset, self.graph.ir_version))
        if arrays is None:
            return None
        return [gs.Constant(t.name, np.asarray(a)) for t, a in zip(node.outputs, arrays, strict=True)]

    def infer(self, node: gs.Node) -> None:
        """Fill in the element types and shapes of a node's outputs."""
        schema: Any = onnx.defs.get_schema(node.op, self.opset)  # its stub file lacks half of what it has
        proto = OnnxExporter.export_node(node)
        types, data = {}, {}
        try:
            for t in node.inputs:
                if not t.name:
                    continue
                types[t.name] = helper.make_tensor_type_proto(element_type(t), t.shape)
                if (
                    is_known(t)
                    and numel(t.shape) <= 1024
                    and element_type(t) in (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT)
                ):
                    data[t.name] = onnx.numpy_helper.from_array(values_of(t), t.name)
            found = shape_inference.infer_node_outputs(
                schema,
                proto,
                types,
                data,
                opset_imports=[helper.make_opsetid("", self.opset)],
                ir_version=self.graph.ir_version,
            )
        except Exception as error:  # onnx raises its own InferenceError, or a plain one for a type mismatch
            raise BadModel(
                f"its inputs do not fit the operator ({error})", where=describe(node), remedy=CHECK
            ) from error
        for t in node.outputs:
            if t.name in found and found[t.name].HasField("tensor_type"):
                tensor_type = found[t.name].tensor_type
                t.dtype = np_or_enum(tensor_type.elem_type)
                if tensor_type.HasField("shape"):
                    t.shape = dims(tensor_type)
        if any(t.shape is None for t in node.outputs) and schema.has_function:
            self._infer_body(node, types)
        for t, shape in zip(node.outputs, LEFT_OPEN.get(node.op, lambda _: [])(node), strict=False):
            t.shape = t.shape or shape
        for t in node.outputs:
            check_size(t, node)

    def _infer_body(self, node: gs.Node, types: Mapping[str, onnx.TypeProto]) -> None:
        """Shapes of an operator that the standard defines by a function alone."""
        inputs = [onnx.ValueInfoProto(name=k, type=v) for k, v in types.items()]
        graph = helper.make_graph(
            [OnnxExporter.export_node(node)],
            "one",
            inputs,
            [onnx.ValueInfoProto(name=t.name) for t in node.outputs],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=self.graph.ir_version
        )
        for t, info in zip(node.outputs, shape_inference.infer_shapes(model).graph.output, strict=True):
            if info.type.tensor_type.HasField("shape"):
                t.shape = dims(info.type.tensor_type)


def check_size(output: Tensor, node: gs.Node) -> None:
    """Refuse sizes that no tensor can have."""
    sizes = [d for d in output.shape or () if isinstance(d, int)]
    if any(d < 0 for d in sizes) or math.prod(sizes) > MOST_ELEMENTS:
        raise BadModel(
            f"its output would have the size {size_text(output.shape)}", where=describe(node), remedy=CHECK
        )


def dims(tensor_type: onnx.TypeProto.Tensor) -> list[int | None]:
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor_type.shape.dim]


NOT_FOLDED = {
    "DequantizeLinear",  # onnxruntime knows quantized operators by it: without, it quantizes the weights anew, and differently
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


def np_or_enum(elem: int) -> Any:
    """graphsurgeon speaks numpy types, and enumerations where numpy has none."""
    if elem not in TensorProto.DataType.values():
        raise BadModel(f"there is no element type {elem}", remedy="export the model again")
    return helper.tensor_dtype_to_np_dtype(elem) if elem else None


def one_node_model(node: gs.Node, opset: int, ir_version: int) -> onnx.ModelProto:
    """A model that computes one node whose inputs are all constants."""
    tensors = {t.name: onnx.numpy_helper.from_array(values_of(t), t.name) for t in node.inputs if t.name}
    outputs = [onnx.ValueInfoProto(name=t.name) for t in node.outputs]
    for info, t in zip(outputs, node.outputs, strict=True):
        if element_type(t):
            info.type.tensor_type.elem_type = element_type(t)
    graph = helper.make_graph([OnnxExporter.export_node(node)], "one", [], outputs, list(tensors.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
