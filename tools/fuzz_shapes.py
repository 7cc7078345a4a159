"""How the fuzzer damages the shapes and types that a model declares; see fuzz_graphs.py."""

from __future__ import annotations

from typing import Any

import onnx
from fuzz_graphs import TYPES, Random, graphs, whole
from onnx import GraphProto, ModelProto, TensorProto


def infos(model: ModelProto) -> list[Any]:
    return [
        i for g in graphs(model) if isinstance(g, GraphProto) for i in (*g.input, *g.output, *g.value_info)
    ]


def change_size(r: Random, model: ModelProto) -> None:
    dim = r.choice([d for i in infos(model) for d in i.type.tensor_type.shape.dim])
    if r.random() < 0.3:
        dim.dim_param = r.choice(("N", "", "height", "scope"))
    else:
        dim.dim_value = whole(r)


def change_rank(r: Random, model: ModelProto) -> None:
    shape = r.choice(infos(model)).type.tensor_type.shape
    if shape.dim and r.random() < 0.5:
        del shape.dim[r.randrange(len(shape.dim))]
    else:
        shape.dim.add().dim_value = whole(r)


def drop_shape(r: Random, model: ModelProto) -> None:
    r.choice(infos(model)).type.tensor_type.ClearField("shape")


def change_type(r: Random, model: ModelProto) -> None:
    r.choice(infos(model)).type.tensor_type.elem_type = r.choice((*TYPES, 99))


def change_kind(r: Random, model: ModelProto) -> None:
    """A sequence, an optional or a map where a tensor was."""
    kind = r.choice(infos(model)).type
    held = onnx.TypeProto()
    held.CopyFrom(kind)
    which = r.choice(("sequence_type", "optional_type", "map_type", "nothing"))
    kind.Clear()
    if which == "map_type":
        kind.map_type.key_type = TensorProto.INT64
        kind.map_type.value_type.CopyFrom(held)
    elif which != "nothing":
        getattr(kind, which).elem_type.CopyFrom(held)
