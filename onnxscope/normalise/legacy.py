"""Experimental operators that left the standard before opset 10 but still run, and Caffe2's fillers."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxscope.graph.tensors import Tensor, shape_of
from onnxscope.normalise.families import in_float, ints, refuse
from onnxscope.normalise.movement import with_steps
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source


def crop(w: Normaliser, n: Source) -> Any:
    """border is left, top, right, bottom; a scale (height, width) counts from the left top corner instead."""
    left, top, right, bottom = n.attrs["border"]
    height, width = shape_of(n[0])[2:]
    ends = (
        [top + n.attrs["scale"][0], left + n.attrs["scale"][1]]
        if n.attrs.get("scale")
        else [height - bottom, width - right]
    )
    return w.op(n, "Slice", n[0], ints(w, [top, left]), ints(w, ends), ints(w, [2, 3]), ints(w, [1, 1]))


def image_scaler(w: Normaliser, n: Source) -> Any:
    """scale·x + bias[channel]"""
    bias = np.asarray(n.attrs.get("bias", [0.0]), dtype=np.float32).reshape(-1, 1, 1)
    return w.op(
        n, "Add", w.b.Mul(n[0], float(n.attrs.get("scale", 1.0))), in_float(w, w.b.constant(bias), n[0])
    )


def affine(w: Normaliser, n: Source) -> Any:
    """α·x + β"""
    return w.op(n, "Add", w.b.Mul(n[0], float(n.attrs.get("alpha", 1.0))), float(n.attrs.get("beta", 0.0)))


def scale(w: Normaliser, n: Source) -> Any:
    """scale·x"""
    return w.op(n, "Mul", n[0], float(n.attrs.get("scale", 1.0)))


def scaled_tanh(w: Normaliser, n: Source) -> Any:
    """α·tanh(β·x)"""
    return w.b.Mul(w.op(n, "Tanh", w.b.Mul(n[0], float(n.attrs["beta"]))), float(n.attrs["alpha"]))


def parametric_softplus(w: Normaliser, n: Source) -> Any:
    """α·log(1 + exp(β·x))"""
    return w.b.Mul(w.op(n, "Softplus", w.b.Mul(n[0], float(n.attrs["beta"]))), float(n.attrs["alpha"]))


def simplified_layer_normalization(w: Normaliser, n: Source) -> Any:
    """scale·x/√(mean x² + ε) over the axes from `axis` on."""
    b, rank = w.b, len(shape_of(n[0]))
    x = in_float(w, n[0])
    axes = list(range(int(n.attrs.get("axis", -1)) % rank, rank))
    rms = b.Sqrt(b.Add(b.ReduceMean(b.Mul(x, x), axes), float(n.attrs.get("epsilon", 1e-5))))
    return b.Mul(in_float(w, w.op(n, "Div", x, rms), n[1]), n[1])


def filled(w: Normaliser, n: Source) -> tuple[list[int], bool]:
    """The shape of Caffe2's fillers: an attribute, or an input's size or value, with more axes behind it."""
    if not n.inputs:
        return list(n.attrs.get("shape", [])), True
    own = n.ints(0, "shape") if n.attrs.get("input_as_shape") else list(shape_of(n[0]))
    return [*own, *n.attrs.get("extra_shape", [])], False


def constant_fill(w: Normaliser, n: Source) -> Tensor:
    """One value everywhere."""
    to = helper.tensor_dtype_to_np_dtype(n.attrs.get("dtype", TensorProto.FLOAT))
    return w.op(
        n, "Expand", w.b.constant(np.asarray(n.attrs.get("value", 0.0), dtype=to)), ints(w, filled(w, n)[0])
    )


def given_tensor_fill(w: Normaliser, n: Source) -> Tensor:
    """Its values, in its shape."""
    shape = filled(w, n)[0]
    return w.b.constant(np.asarray(n.attrs["values"], dtype=np.float32).reshape(shape))


LEGACY: dict[str, Lift] = {
    "ATen": refuse("it calls PyTorch's own ATen operators", "export with operator_export_type=ONNX"),
    "Affine": affine,
    "ConstantFill": constant_fill,
    "Crop": crop,
    "DynamicSlice": with_steps,
    "GivenTensorFill": given_tensor_fill,
    "ImageScaler": image_scaler,
    "ParametricSoftplus": parametric_softplus,
    "Scale": scale,
    "ScaledTanh": scaled_tanh,
    "SimplifiedLayerNormalization": simplified_layer_normalization,
}
