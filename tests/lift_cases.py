"""What the lifts are tested with: one node in an old or foreign form each, and a formula where onnxruntime cannot run it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxscope.runtime import Session

STEPS = 1  # a quantized operator taken apart may round a tie to the other side


class C(np.ndarray):
    """An input that is stored in the model."""


def c(values: Any, dtype: Any = None) -> np.ndarray:
    return np.array(values, dtype=dtype).view(C)


def ints(*values: int) -> np.ndarray:
    return c(values, np.int64)


def rand(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed + sum(shape)).standard_normal(shape)).astype(dtype)


def bytes_(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    low, high = (0, 255) if dtype == np.uint8 else (-127, 127)
    return np.random.default_rng(seed + sum(shape)).integers(low, high, shape).astype(dtype)


X = rand(2, 3, 4, 5)


@dataclass
class Case:
    op: str
    opset: int
    inputs: Sequence[np.ndarray | None]
    attrs: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    domain: str = ""
    formula: Callable[..., Any] | None = None  # what onnxruntime cannot run
    exact: bool = False
    steps: int = 0
    label: str = ""

    def __str__(self) -> str:
        return f"{self.op}-{self.opset}{'-' + self.label if self.label else ''}"

    def model(self) -> onnx.ModelProto:
        names = [f"x{k}" if x is not None else "" for k, x in enumerate(self.inputs)]
        node = helper.make_node(
            self.op,
            names,
            [f"y{k}" for k in range(self.outputs)],
            name="the node",
            domain=self.domain,
            **self.attrs,
        )
        return model(
            [node],
            {n: x for n, x in zip(names, self.inputs, strict=True) if x is not None},
            list(node.output),
            self.opset,
        )

    def feeds(self) -> dict[str, np.ndarray]:
        return {f"x{k}": x for k, x in enumerate(self.inputs) if x is not None and not isinstance(x, C)}


def model(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, np.ndarray],
    outputs: Sequence[str],
    opset: int,
    functions: Sequence[onnx.FunctionProto] = (),
    listed: bool = False,
) -> onnx.ModelProto:
    """A model around these nodes; tensors of class C are initializers, the others inputs."""
    kind = {
        n: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in tensors.items()
    }
    inputs = [kind[n] for n, x in tensors.items() if listed or not isinstance(x, C)]
    initial = [numpy_helper.from_array(np.asarray(x), n) for n, x in tensors.items() if isinstance(x, C)]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name=o) for o in outputs], initial)
    domains = {n.domain for n in nodes} | {f.domain for f in functions}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in sorted(domains) if d)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=3 if opset < 9 and listed else 10, functions=functions
    )


def old(
    op: str,
    opset: int,
    *inputs: np.ndarray | None,
    outputs: int = 1,
    domain: str = "",
    formula: Any = None,
    exact: bool = False,
    steps: int = 0,
    label: str = "",
    **attrs: Any,
) -> Case:
    return Case(op, opset, inputs, attrs, outputs, domain, formula, exact, steps, label)


def ms(op: str, *inputs: np.ndarray | None, model_opset: int = 13, **more: Any) -> Case:
    """One of onnxruntime's own operators, in a model of this opset."""
    own = {k: more.pop(k) for k in ("opset",) if k in more}
    case = old(op, model_opset, *inputs, domain="com.microsoft", **more)
    case.attrs |= own
    return case


def outputs_of(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return Session(proto.SerializeToString(), optimise=False).run(feeds)


def mvn(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)


def column(v: np.ndarray) -> np.ndarray:
    return np.asarray(v).reshape(-1, 1, 1)


def dilate(x: np.ndarray, by: int) -> np.ndarray:
    return x.repeat(by, 2).repeat(by, 3)


def norm(
    x: np.ndarray, s: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray, eps: float = 1e-5
) -> np.ndarray:
    return ((x - m) / np.sqrt(v + eps) * s + b).astype(x.dtype)


def group_norm(x: np.ndarray, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    rows = x.reshape(x.shape[0], len(s), -1).astype(float)
    rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
    return (rows * np.asarray(s)[:, None] + np.asarray(b)[:, None]).reshape(x.shape).astype(x.dtype)


V3, W3, M3, S3 = (c(rand(3, seed=k)) for k in range(4))
P3 = c(np.abs(S3) + 0.5)
POSITIVE = np.abs(X) + 0.1

OLD_ELEMENTWISE = [
    old(op, opset, a, b, broadcast=1, axis=1, formula=lambda a, b, f=f: f(a, column(b)), label="axis")
    for opset in (1, 6)
    for op, a, b, f in (
        ("Add", X, V3, np.add),
        ("Sub", X, V3, np.subtract),
        ("Mul", X, V3, np.multiply),
        ("Div", X, P3, np.divide),
        ("Pow", POSITIVE, V3, np.power),
        ("Greater", X, V3, np.greater),
        ("Less", X, V3, np.less),
        ("And", X > 0, c(V3 > 0), np.logical_and),
        ("Or", X > 0, c(V3 > 0), np.logical_or),
        ("Xor", X > 0, c(V3 > 0), np.logical_xor),
        ("Equal", (X * 2).astype(np.int32), c([0, 1, -1], np.int32), np.equal),
    )
] + [
    old("Add", 6, X, c(rand(5)), broadcast=1, formula=np.add, label="suffix"),
    old(
        "Mul",
        6,
        X,
        c(rand(3, 4)),
        broadcast=1,
        axis=1,
        formula=lambda a, b: a * np.asarray(b)[:, :, None],
        label="middle",
    ),
    old("Add", 6, X, X, formula=np.add, label="same"),
    old("Add", 1, X, c(np.float32(2)), broadcast=1, consumed_inputs=[0, 0], formula=np.add, label="scalar"),
    old("PRelu", 1, X, V3, consumed_inputs=[0, 0], formula=lambda x, s: np.where(x < 0, x * column(s), x)),
    old("PRelu", 6, X, c([0.3], np.float32), formula=lambda x, s: np.where(x < 0, x * s, x), label="shared"),
    old("PRelu", 7, X, c(rand(3, 1, 1))),
    old("PRelu", 7, X, c(rand(5)), label="columns"),
    old("Gemm", 6, rand(2, 3), c(rand(3, 4)), c(rand(4)), broadcast=1, formula=lambda a, b, c_: a @ b + c_),
    old(
        "Gemm",
        1,
        rand(2, 3),
        c(rand(4, 3)),
        c(rand(4)),
        broadcast=1,
        transB=1,
        alpha=2.0,
        formula=lambda a, b, c_: 2 * (a @ b.T) + c_,
    ),
    old("Gemm", 9, rand(2, 3), c(rand(3, 4)), c(rand(1)), beta=0.5),
    old("Relu", 1, X, consumed_inputs=[0], formula=lambda x: np.maximum(x, 0), exact=True),
    old(
        "Elu", 1, X, consumed_inputs=[0], formula=lambda x: np.where(x < 0, np.expm1(x), x).astype(np.float32)
    ),
    old(
        "LeakyRelu",
        1,
        X,
        consumed_inputs=[0],
        alpha=0.1,
        formula=lambda x: np.where(x < 0, np.float32(0.1) * x, x),
    ),
    old(
        "Selu", 1, X, formula=lambda x: (1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x))).astype(np.float32)
    ),
    old("Sum", 1, X, X, X, consumed_inputs=[0, 0, 0], formula=lambda *x: sum(x)),
    old("Sum", 6, X, X),
    old("Mean", 6, X, X),
    old("Max", 6, X, -X),
    old("Min", 6, X, -X),
    old("Max", 8, X, V3.reshape(3, 1, 1)),
    old("Clip", 1, X, min=-0.3, formula=lambda x: np.maximum(x, np.float32(-0.3)), exact=True),
    *(
        old("Clip", v, X, **a, exact=True, label="".join(a))
        for v in (6, 10)
        for a in ({}, {"min": -0.3}, {"max": 0.2}, {"min": -0.3, "max": 0.2})
    ),
    old("Clip", 11, X, None, c(np.float32(0.3)), exact=True, label="max"),
    old("Clip", 12, X, exact=True, label="neither"),
    old(
        "Clip",
        6,
        rand(2, 3, dtype=np.float16),
        min=0.0,
        formula=lambda x: np.maximum(x, np.float16(0)),
        exact=True,
        label="half",
    ),
]

MOVES = [
    old("Squeeze", 1, rand(1, 3, 1, 2), axes=[0, 2]),
    old("Squeeze", 11, rand(1, 3, 1, 2), axes=[-2]),
    old("Squeeze", 11, rand(1, 3, 1, 2), label="all"),
    old("Squeeze", 13, rand(1, 3, 1, 2), ints(-2)),
    old("Squeeze", 13, rand(1, 3, 1, 2), label="all"),
    old("Unsqueeze", 1, X, axes=[0, 2]),
    old("Unsqueeze", 11, X, axes=[-1]),
    old("Unsqueeze", 13, X, ints(-1, 0)),
    old("Reshape", 1, X, shape=[2, -1]),
    old("Reshape", 5, X, ints(0, -1)),
    old("Flatten", 1, X, axis=2),
    old("Flatten", 9, X),
    old("Flatten", 11, X, axis=-3),
    old("Flatten", 13, X, axis=0),
    old("Transpose", 1, X),
    old("Concat", 4, X, X, axis=2),
    old("Concat", 1, X, X, formula=lambda a, b: np.concatenate([a, b], 1)),
    old("Slice", 1, X, starts=[1, -3], ends=[2, 1000], axes=[0, 3]),
    old("Slice", 9, X, starts=[0, 1], ends=[1, 3]),
    old("Slice", 10, X, ints(3), ints(-1000), ints(3), ints(-2)),
    old(
        "Pad",
        1,
        X,
        paddings=[0, 0, 1, 0, 0, 0, 0, 2],
        value=1.5,
        formula=lambda x: np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=1.5),
    ),
    *(
        old("Pad", v, X, pads=[0, 0, 1, 0, 0, 0, 1, 2], mode=m, label=m)
        for v in (2,)
        for m in ("constant", "reflect", "edge")
    ),
    old("Pad", 2, X, pads=[0, 0, -1, 0, 0, 0, 0, 2], value=-1.5, label="value"),
    old("Pad", 11, X, ints(0, 0, 1, 0, 0, 0, 1, 2), c(np.float32(3))),
    old("Pad", 13, X, ints(0, 0, 1, 0, 0, 0, 1, 2), mode="reflect"),
    old("Pad", 18, X, ints(1, 2, 3, 0), None, ints(-1, 2), label="axes"),
    old("Pad", 19, X, ints(1, 1, 1, 0), None, ints(3, 2), mode="wrap"),
    old("Split", 1, X, axis=1, outputs=2, split=[1, 2], formula=lambda x: np.split(x, [1], 1)),
    old("Split", 2, X, axis=2, outputs=2),
    old("Split", 2, X, axis=3, outputs=2, split=[1, 4], label="sizes"),
    old("Split", 11, X, axis=-2, outputs=4),
    old("Split", 13, X, ints(1, 4), axis=3, outputs=2),
    old("Split", 13, X, axis=1, outputs=3, label="even"),
    old("Split", 13, X, axis=0, outputs=2),
    old("Split", 18, X, axis=3, outputs=2, num_outputs=2, label="uneven"),
    old("Tile", 1, X, c(np.int64(2)), c(np.int64(1)), formula=lambda x, *_: np.tile(x, (1, 2, 1, 1))),
    old("Tile", 6, X, ints(1, 2, 1, 3)),
    old("TopK", 1, X, k=2, outputs=2),
    old("TopK", 10, X, ints(2), outputs=2, axis=1),
    old("TopK", 11, X, ints(2), outputs=2, largest=0),
    old("Cast", 1, X, to="INT32", formula=lambda x: x.astype(np.int32)),
    old("Cast", 6, X, to=TensorProto.DOUBLE),
    old("Cast", 9, X, to=1, label="same"),
    old("CastLike", 15, X, ints(1)),
    old("CastLike", 15, X, c(np.float32(1)), label="same"),
    old("Scatter", 9, X, c([[[[0, 1]]]], np.int64), c([[[[7.0, 8.0]]]], np.float32), axis=3),
    old("ScatterElements", 11, X, c([[[[0, 1]]]], np.int64), c([[[[7.0, 8.0]]]], np.float32), axis=3),
    old("ArgMax", 1, X, axis=1, keepdims=0),
    old("ArgMin", 12, X, axis=1, select_last_index=1),
    old("Gather", 1, X, ints(0, 2), axis=1),
    old("Dropout", 7, X),
    old("Dropout", 10, X, outputs=2),
    old("Dropout", 12, X, outputs=2, label="plain"),
    old("Dropout", 13, X, c(np.float32(0.5)), c(np.bool_(False)), outputs=2),
    old("Dropout", 6, X, is_test=1, formula=lambda x: x),
    old("Dropout", 6, X, outputs=2, is_test=1, formula=lambda x: (x, np.zeros_like(x)), label="mask"),
    old("Identity", 1, X),
    old("Shape", 13, X),
    old("Shape", 15, X, start=1, end=-1),
    old("Shape", 15, X, start=-2, label="tail"),
    old("Size", 1, X),
    old("ConstantOfShape", 9, ints(2, 3)),
    old("EyeLike", 9, rand(3, 4)),
    old("OneHot", 9, ints(0, 2), c(np.int64(3)), c([0.0, 1.0], np.float32)),
]
for case in MOVES:
    case.exact = True

OLD_REDUCTIONS = [
    *(
        old(op, v, POSITIVE, axes=[1, -1] if v > 10 else [1, 3], keepdims=v % 2)
        for op in (
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceSumSquare",
        )
        for v in ((1, 12) if op == "ReduceSum" else (1, 12, 13))
    ),
    old("ReduceMean", 11, X, label="all"),
    old("ReduceSum", 13, X, ints(-1)),
    old("ReduceSum", 13, X, label="all"),
    old("ReduceSum", 13, X, ints(), noop_with_empty_axes=1, label="noop"),
    old("ReduceMean", 18, X, ints(-1), keepdims=0),
    *(
        old(op, v, X, **a, label=str(a.get("axis", "")))
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for v in (1, 11, 13)
        for a in ({}, {"axis": 0}, {"axis": 2}, {"axis": 3})
    ),
    old("Softmax", 11, rand(1, 7, 1, 1), label="vector"),
    old("Softmax", 11, X, axis=-2, label="negative"),
    old("MeanVarianceNormalization", 1, X, formula=lambda x: mvn(x, (0, 2, 3)), label="formula"),
    old("MeanVarianceNormalization", 1, rand(1, 3, 4, 5) + 1),
    old("MeanVarianceNormalization", 1, rand(1, 3, 4, 5) + 1, across_channels=1, label="across"),
    old("MeanVarianceNormalization", 1, rand(1, 3, 4, 5) + 1, normalize_variance=0, label="mean"),
    old(
        "MeanVarianceNormalization",
        1,
        rand(1, 3, 4, 5) + 1,
        across_channels=1,
        normalize_variance=0,
        label="across-mean",
    ),
    old("MeanVarianceNormalization", 9, X),
    old("MeanVarianceNormalization", 13, X, axes=[2, 3]),
    old(
        "InstanceNormalization",
        1,
        X,
        V3,
        W3,
        consumed_inputs=[0, 0, 0],
        formula=lambda x, s, b: norm(
            x, column(s), column(b), x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
        ),
    ),
    old("InstanceNormalization", 6, X, V3, W3, epsilon=0.1),
    old("LpNormalization", 1, X),
    old("LRN", 1, X, size=3),
    old("LayerNormalization", 11, X, c(rand(5)), c(rand(5, seed=1)), axis=-1),
    old("SimplifiedLayerNormalization", 11, X, c(rand(5)), axis=-1, epsilon=1e-3),
    *(
        old("BatchNormalization", v, X, V3, W3, M3, P3, epsilon=1e-3, **a, label=str(v), formula=f)
        for f in (lambda x, s, b, m, v: norm(x, *map(column, (s, b, m, v)), 1e-3),)
        for v, a in ((1, {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}), (6, {"is_test": 1}), (1, {}))
    ),
    *(old("BatchNormalization", v, X, V3, W3, M3, P3, momentum=0.8) for v in (7, 9, 14, 15)),
    old("BatchNormalization", 7, X, *(c(np.abs(rand(3, 4, 5, seed=k)) + 0.1) for k in range(4)), spatial=0),
    old("GroupNormalization", 18, rand(2, 6, 4, 5), c(rand(2)), c(rand(2, seed=1)), num_groups=2),
    old(
        "GroupNormalization",
        18,
        rand(2, 6, 4, 5, dtype=np.float16),
        c(rand(2), np.float16),
        c(rand(2, seed=1), np.float16),
        num_groups=2,
        label="half",
        formula=group_norm,
    ),
    old("GroupNormalization", 21, rand(2, 6, 4, 5), c(rand(6)), c(rand(6, seed=1)), num_groups=2),
]

RESIZES = [
    old(
        "Upsample",
        1,
        X,
        height_scale=2.0,
        width_scale=2.0,
        mode="nearest",
        formula=lambda x: dilate(x, 2),
        exact=True,
    ),
    *(
        old("Upsample", 7, X, scales=[1.0, 1.0, *s], mode=m, label=f"{m}-{s}")
        for m in ("nearest", "linear")
        for s in ((2.0, 2.0), (2.0, 1.0), (1.5, 2.6))
    ),
    *(
        old(op, v, X, c([1, 1, *s], np.float32), mode=m, label=f"{m}-{s}")
        for op, v in (("Upsample", 9), ("Resize", 10))
        for m in ("nearest", "linear")
        for s in ((2, 3), (1.5, 2.6), (0.5, 0.4), (2, 0.6))
        if op == "Resize" or min(s) >= 1
    ),
    *(
        old(
            "Resize",
            v,
            X,
            c([], np.float32),
            c([1, 1, *s], np.float32),
            coordinate_transformation_mode=t,
            mode=m,
            label=f"{t}-{m}-{s}",
        )
        for v in (11, 13)
        for t in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for m in ("nearest", "linear", "cubic")
        for s in ((2, 3), (0.5, 0.6))
    ),
    old(
        "Resize", 11, X, c([], np.float32), c([], np.float32), ints(2, 3, 7, 9), mode="linear", label="sizes"
    ),
    old("Resize", 13, X, None, None, ints(2, 3, 7, 9), mode="linear", label="sizes"),
    *(
        old(
            "Resize",
            11,
            X,
            c([], np.float32),
            c([1, 1, *s], np.float32),
            coordinate_transformation_mode="tf_half_pixel_for_nn",
            nearest_mode=m,
            label=f"tf-{m}-{s}",
        )
        for m in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for s in ((2, 3), (2.5, 1.6), (0.5, 0.6))
    ),
    old(
        "Resize",
        11,
        X,
        c([], np.float32),
        c([], np.float32),
        ints(2, 3, 7, 3),
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        label="tf-sizes",
    ),
    old(
        "Resize", 18, X, None, c([2, 1.5], np.float32), axes=[2, 3], antialias=1, mode="linear", label="axes"
    ),
    old(
        "RoiAlign",
        10,
        X,
        c([[0, 0, 3, 3], [1, 1, 3, 2]], np.float32),
        ints(0, 1),
        output_height=2,
        output_width=2,
    ),
    old(
        "RoiAlign",
        16,
        X,
        c([[0, 0, 3, 3], [1, 1, 3, 2]], np.float32),
        ints(0, 1),
        output_height=2,
        output_width=2,
    ),
    old("DeformConv", 19, X, c(rand(2, 3, 2, 2)), rand(2, 8, 3, 4)),
    old("GridSample", 16, X, rand(2, 3, 3, 2), mode="bilinear"),
    old("GridSample", 20, X, rand(2, 3, 3, 2), mode="cubic"),
]

LEGACY = [
    old("Crop", 1, X, border=[1, 0, 2, 1]),
    old("Crop", 1, X, border=[1, 1, 0, 0], scale=[2, 3], label="scale"),
    old("ImageScaler", 1, X, scale=2.0, bias=[1.0, 2.0, 3.0]),
    old("ImageScaler", 1, X, scale=2.0, formula=lambda x: 2 * x, label="no bias"),
    old("Affine", 1, X, alpha=2.0, beta=-1.0),
    old("Scale", 1, X, scale=3.0),
    old("ScaledTanh", 1, X, alpha=2.0, beta=0.5),
    old("ParametricSoftplus", 1, X, alpha=2.0, beta=0.5),
    old("ThresholdedRelu", 1, X, alpha=0.5),
    old("DynamicSlice", 1, X, ints(1), ints(3), ints(2)),
    old("ConstantFill", 1, shape=[2, 3], value=4.0, formula=lambda: np.full((2, 3), np.float32(4))),
    old(
        "ConstantFill",
        1,
        ints(2),
        input_as_shape=1,
        extra_shape=[3],
        dtype=6,
        value=4.0,
        formula=lambda *_: np.full((2, 3), np.int32(4)),
        label="input",
    ),
    old(
        "GivenTensorFill",
        1,
        shape=[2, 2],
        values=[1.0, 2.0, 3.0, 4.0],
        formula=lambda: np.float32([[1, 2], [3, 4]]),
    ),
    old("GlobalLpPool", 1, X, p=2.0, formula=lambda x: np.sqrt((x * x).sum((2, 3), keepdims=True))),
    old("LpPool", 1, X, p=1.0, kernel_shape=[4, 5], formula=lambda x: np.abs(x).sum((2, 3), keepdims=True)),
    old("GlobalLpPool", 2, X, p=3),
    old("LpPool", 2, X, p=3, kernel_shape=[2, 2]),
]

SIZES = ((5, 6), (7, 9))
GRID = list(itertools.product((1, 2, 3), (1, 2)))  # strides, dilations


def spread(attrs: dict[str, Any]) -> Callable[..., Any]:
    """A dilated Conv as a Conv whose kernel has zeros between its pixels, which onnxruntime runs under every auto_pad."""

    def formula(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        wide = np.zeros(
            (*w.shape[:2], *((k - 1) * d + 1 for k, d in zip(w.shape[2:], attrs["dilations"], strict=True))),
            w.dtype,
        )
        wide[:, :, :: attrs["dilations"][0], :: attrs["dilations"][1]] = w
        proto = old("Conv", 11, x, c(wide), strides=attrs["strides"], auto_pad=attrs["auto_pad"]).model()
        return outputs_of(proto, {"x0": x})["y0"]

    return formula


def windowed() -> list[Case]:
    """All windows, over odd and even sizes, strides, dilations and every kind of padding."""
    cases = []
    for size, (stride, dilation), auto in itertools.product(
        SIZES, GRID, ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    ):
        x, w = rand(1, 2, *size), c(rand(3, 2, 3, 2))
        u, v = bytes_(1, 2, *size), c(bytes_(3, 2, 3, 2))
        unread = dilation > 1 and auto.startswith(
            "SAME"
        )  # onnxruntime refuses it for Conv, and counts MaxPool's pads without the dilation
        free = {"pads": [1, 0, 2, 1]} if auto == "NOTSET" else {}
        common = {
            "strides": [stride, 1 + stride % 2],
            "dilations": [dilation, dilation],
            "auto_pad": auto,
            **free,
            "label": f"{auto}-{size}-s{stride}d{dilation}",
        }
        if not unread:
            cases += [
                old("ConvInteger", 10, u, v, c(np.uint8(3)), **common),
                old("MaxPool", 12, x, kernel_shape=[3, 2], outputs=2, **common),
            ]
        cases.append(old("Conv", 11, x, w, formula=spread(common) if unread else None, **common))
        pool = {**common, "pads": [1, 0, 1, 1]} if free else common
        for ceil in (0, 1):
            more = {
                **pool,
                "label": f"{common['label']}-ceil{ceil}",
                "ceil_mode": ceil,
                "kernel_shape": [3, 2],
            }
            if not unread:
                cases.append(old("MaxPool", 12, x, **more))
            del more["dilations"]
            if dilation == 1:
                cases += [
                    old(
                        "AveragePool",
                        11,
                        x,
                        count_include_pad=k,
                        **{**more, "label": f"{more['label']}-count{k}"},
                    )
                    for k in (0, 1)
                ]
        if dilation == 1:
            cases.append(
                old(
                    "LpPool",
                    11,
                    x,
                    kernel_shape=[3, 2],
                    **{k: v for k, v in pool.items() if k != "dilations"},
                )
            )
    return cases


def transposed() -> list[Case]:
    cases = []
    for size, stride, auto, extra in itertools.product(
        SIZES, (1, 2, 3), ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"), (0, 1)
    ):
        x, w = rand(1, 2, *size), c(rand(2, 3, 3, 4))
        attrs: dict[str, Any] = {"strides": [stride, stride], "auto_pad": auto}
        if extra and stride > 1:
            attrs["output_padding"] = [1, 0]
        if auto == "NOTSET":
            attrs["pads"] = [1, 0, 0, 2]
        label = f"{auto}-{size}-s{stride}-{extra}"
        cases.append(old("ConvTranspose", 11, x, w, **attrs, label=label))
        if auto != "VALID":
            shape = [s * stride + 1 for s in size]
            attrs.pop("pads", None)
            attrs.pop("output_padding", None)
            cases.append(
                old(
                    "ConvTranspose",
                    1 if extra else 11,
                    x,
                    w,
                    **attrs,
                    output_shape=shape,
                    label=f"{label}-shape",
                )
            )
    return cases


STEP, STEP2 = c(np.float32(0.05)), c(np.float32(0.02))
U, U1, Z = bytes_(1, 3, 6, 7), bytes_(1, 3, 6, 7, seed=1), c(np.uint8(110))
HALF = c(np.uint8(128))
WQ, SWQ, ZWQ = (
    c(bytes_(4, 3, 3, 3, dtype=np.int8)),
    c(np.abs(rand(4)) * 0.01 + 0.001),
    c([0, 3, -2, 0], np.int8),
)
LONG = c(np.random.default_rng(0).integers(-500, 500, 4).astype(np.int32))


def recurrent(op: str, gates: int, opset: int) -> Case:
    x, w, r = rand(4, 2, 3), c(rand(1, gates * 5, 3)), c(rand(1, gates * 5, 5))

    def formula(*inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(outputs_of(old(op, 7, x, w, r, outputs=2, hidden_size=5).model(), {"x0": x}).values())

    return old(op, opset, x, w, r, outputs=2, hidden_size=5, output_sequence=1, formula=formula)


RECURRENT = [recurrent("LSTM", 4, 1), recurrent("GRU", 3, 3), recurrent("RNN", 1, 1)]

QUANTIZED = [
    old("QuantizeLinear", 10, X, STEP, Z),
    old("DequantizeLinear", 10, U, STEP, Z),
    old("DequantizeLinear", 13, WQ, SWQ, ZWQ, axis=0),
    old("DynamicQuantizeLinear", 11, X, outputs=3),
    old("MatMulInteger", 10, bytes_(3, 4), c(bytes_(4, 5)), Z),
    *(
        old(
            "QLinearConv",
            10,
            U,
            STEP,
            Z,
            WQ,
            s,
            z,
            STEP2,
            HALF,
            *b,
            auto_pad=a,
            steps=STEPS,
            label=f"{a}-{len(b)}-{s.ndim}",
        )
        for a in ("NOTSET", "SAME_UPPER")
        for b in ((), (LONG,))
        for s, z in ((SWQ, ZWQ), (c([0.01], np.float32), c([0], np.int8)))
    ),
    old(
        "QLinearConv",
        10,
        U,
        STEP,
        Z,
        c(bytes_(4, 3, 3, 3)),
        STEP2,
        Z,
        STEP,
        HALF,
        strides=[2, 2],
        steps=STEPS,
        label="uint8",
    ),
    old("QLinearMatMul", 10, bytes_(3, 4), STEP, Z, c(bytes_(4, 5)), STEP2, Z, STEP, HALF, steps=STEPS),
    old(
        "QLinearMatMul",
        10,
        bytes_(2, 3, 4),
        STEP,
        Z,
        c(bytes_(4, 5, dtype=np.int8)),
        c(np.abs(rand(5)) * 0.01),
        c(np.zeros(5), np.int8),
        STEP2,
        HALF,
        steps=STEPS,
        label="channels",
    ),
    ms("QuantizeLinear", X, STEP, Z),
    ms("DequantizeLinear", U, STEP, Z),
    ms("DequantizeLinear", WQ, SWQ, ZWQ, axis=0, label="axis"),
    ms("QLinearAdd", U, STEP, Z, U1, STEP2, HALF, STEP, HALF, steps=STEPS),
    ms("QLinearMul", U, STEP, Z, U1, STEP2, HALF, STEP, HALF, steps=STEPS),
    ms("QLinearConcat", STEP, HALF, U, STEP, Z, U1, STEP2, HALF, axis=1, steps=STEPS),
    ms("QLinearWhere", c(rand(*U.shape) > 0), U, STEP, Z, U1, STEP2, HALF, STEP, HALF, steps=STEPS),
    ms(
        "DynamicQuantizeMatMul",
        rand(2, 3, 4),
        c(bytes_(4, 5, dtype=np.int8)),
        c(np.full(5, 0.02, np.float32)),
        c(np.zeros(5, np.int8)),
        c(rand(5)),
    ),
    ms(
        "MatMulIntegerToFloat",
        bytes_(2, 3, 4),
        c(bytes_(4, 5)),
        c(np.float32([0.05])),
        c(np.float32([0.02])),
        c(np.uint8([120])),
        c(np.uint8([128])),
        c(rand(5)),
    ),
    ms("QLinearSigmoid", U, STEP, Z, c(np.float32(1 / 256)), c(np.uint8(0)), steps=STEPS),
    ms("QLinearLeakyRelu", U, STEP, Z, STEP, HALF, alpha=0.1, steps=STEPS),
    ms("QLinearLeakyRelu", U, STEP, Z, c(np.float32(0.005)), HALF, label="alpha left out", steps=STEPS),
    *(
        ms(
            "QLinearAveragePool",
            bytes_(1, 6, 7, 3) if last else U,
            STEP,
            Z,
            STEP2,
            HALF,
            kernel_shape=[3, 2],
            channels_last=last,
            steps=STEPS,
            label=str(last),
        )
        for last in (0, 1)
    ),
    *(
        ms(
            "QLinearGlobalAveragePool",
            bytes_(1, 6, 7, 3) if last else U,
            STEP,
            Z,
            STEP2,
            HALF,
            channels_last=last,
            steps=STEPS,
            label=str(last),
        )
        for last in (0, 1)
    ),
    *(
        ms(
            "QLinearSoftmax",
            bytes_(2, 3, 5),
            STEP,
            Z,
            c(np.float32(1 / 256)),
            c(np.uint8(0)),
            steps=STEPS,
            label=f"{o}-{a}",
            axis=a,
            opset=o,
        )
        for o, a in ((13, -1), (12, 1))
    ),
    ms(
        "QGemm",
        bytes_(3, 4),
        STEP,
        Z,
        c(bytes_(4, 5, dtype=np.int8)),
        STEP2,
        c(np.int8(1)),
        c(LONG.repeat(2)[:5], np.int32),
        STEP,
        HALF,
        steps=STEPS,
    ),
    ms(
        "QGemm",
        bytes_(3, 4),
        STEP,
        Z,
        c(bytes_(5, 4, dtype=np.int8)),
        STEP2,
        c(np.int8(0)),
        transB=1,
        alpha=0.5,
        label="float",
    ),
    ms(
        "QLinearConv",
        bytes_(1, 6, 7, 3),
        STEP,
        Z,
        WQ,
        SWQ,
        ZWQ,
        STEP2,
        HALF,
        LONG,
        channels_last=1,
        steps=STEPS,
    ),
]

CONTRIB = [
    *(
        ms(
            "FusedConv",
            X,
            c(rand(4, 3, 3, 3)),
            c(rand(4)),
            activation=a,
            **({"activation_params": p} if p else {}),
            label=a,
        )
        for a, p in (
            ("Relu", ()),
            ("Sigmoid", ()),
            ("Tanh", ()),
            ("LeakyRelu", (0.2,)),
            ("Clip", (-0.5, 0.5)),
            ("HardSigmoid", (0.3, 0.4)),
        )
    ),
    ms(
        "FusedConv",
        X,
        c(rand(4, 3, 3, 3)),
        c(rand(4)),
        rand(2, 4, 4, 5),
        activation="Relu",
        pads=[1, 1, 1, 1],
        label="sum",
    ),
    ms("FusedGemm", rand(2, 3), c(rand(3, 4)), c(rand(4)), activation="LeakyRelu", activation_alpha=0.3),
    ms("FusedMatMul", rand(2, 3, 4), c(rand(2, 3, 5)), transA=1, alpha=0.5),
    ms("FusedMatMul", rand(2, 3), c(rand(5, 3)), transB=1, label="B"),
    ms("Gelu", X),
    ms("Gelu", X, model_opset=20, label="20"),
    ms("BiasGelu", X, c(rand(5))),
    ms("FastGelu", X),
    ms("FastGelu", X, c(rand(5)), model_opset=20, label="bias"),
    ms("QuickGelu", X, alpha=1.3),
    ms(
        "SkipLayerNormalization",
        rand(2, 3, 8),
        rand(2, 3, 8, seed=1),
        c(rand(8)),
        c(rand(8, seed=1)),
        c(rand(8, seed=2)),
    ),
    ms("NhwcMaxPool", bytes_(1, 6, 7, 3), kernel_shape=[3, 2], auto_pad="SAME_UPPER", exact=True),
]

CASES = [
    k
    for k in (
        *OLD_ELEMENTWISE,
        *MOVES,
        *OLD_REDUCTIONS,
        *RESIZES,
        *LEGACY,
        *RECURRENT,
        *windowed(),
        *transposed(),
        *QUANTIZED,
        *CONTRIB,
    )
    if k
]
