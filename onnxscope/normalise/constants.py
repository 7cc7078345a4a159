"""What is known before any image is seen: constants, sizes, and nodes that only pass a value on."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxscope.errors import BadModel
from onnxscope.files.weights import StoredValues
from onnxscope.graph.builder import FOLD_BYTES
from onnxscope.graph.tensors import Tensor, ints_of, is_known, is_sized, numel, shape_of
from onnxscope.normalise.families import first, ints
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source, dense

KINDS = {
    "value_float": TensorProto.FLOAT,
    "value_floats": TensorProto.FLOAT,
    "value_int": TensorProto.INT64,
    "value_ints": TensorProto.INT64,
    "value_string": TensorProto.STRING,
    "value_strings": TensorProto.STRING,
}


def constant(w: Normaliser, n: Source) -> Tensor:
    """Its tensor stays where it is stored, and takes the output's name."""
    kind = next((k for k in ("value", "sparse_value", *KINDS) if k in n.attrs), None)
    if kind is None:
        raise BadModel("it holds no value", where=n.where, remedy="export the model again")
    value = n.attrs[kind]
    if kind == "sparse_value":
        value = dense(value)
    elif kind != "value":
        many = isinstance(value, list)
        value = helper.make_tensor("", KINDS[kind], [len(value)] if many else [], value if many else [value])
    return w.weight(value, n.outputs[0] or w.b.unique(n.name), nameless=True)


def shape(w: Normaliser, n: Source) -> Tensor | None:
    """Every size is fixed, but those that depend on values. 15: start and end cut out a part."""
    sizes = shape_of(n[0])[slice(n.attrs.get("start", 0), n.attrs.get("end"))]
    return ints(w, sizes) if -1 not in sizes else None


def size(w: Normaliser, n: Source) -> Tensor | None:
    return w.b.constant(np.int64(numel(shape_of(n[0])))) if is_sized(n[0]) else None


def zeros(w: Normaliser, n: Source) -> Any:
    """ConstantOfShape stays an expression where it is large, so that nothing of its size is stored."""
    return w.emit(n, inputs=[ints(w, n.ints(0, "shape"))])


def rows_of_table(w: Normaliser, n: Source) -> Any:
    """Fixed rows of a large stored table become a constant: the table may not fit into memory."""
    table, index = n[0], n[1]
    stored = table._values if is_known(table) else None
    if n.attrs.get("axis", 0) or not isinstance(stored, StoredValues) or not is_known(index):
        return None
    rows, each = stored.shape[0], numel(stored.shape[1:])
    places = ints_of(index)
    small = stored.nbytes <= FOLD_BYTES or len(places) * each * stored.dtype.itemsize > FOLD_BYTES
    packed = stored.nbytes != numel(stored.shape) * stored.dtype.itemsize
    if small or packed or any(not -rows <= k < rows for k in places):
        return None
    found = [stored.part(k % rows * each, each) for k in places]
    return w.b.constant(np.stack(found).reshape(*shape_of(index), *stored.shape[1:]))


CONSTANTS: dict[str, Lift] = {
    "Constant": constant,
    "ConstantOfShape": zeros,
    "Gather": rows_of_table,
    "Identity": first,
    "Shape": shape,
    "Size": size,
}
