"""What tests share: small models, their frozen and transposed matrices entry by entry, and references that share no code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from onnxscope import runtime
from onnxscope.files import models
from onnxscope.rewriting import build, scope
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.steps import Policy

Arrays = Mapping[str, np.ndarray]
POLICIES = ("freeze", "taylor")


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Arrays,
    outputs: Sequence[str],
    *,
    opset: int = 18,
    weights: Mapping[str, Any] | None = None,
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model of these nodes; inputs are described by arrays, output types are inferred unless given."""
    infos = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in inputs.items()
    ]
    outs = [
        helper.make_tensor_value_info(o, (types or {}).get(o, onnx.TensorProto.FLOAT), None) for o in outputs
    ]
    constants = [
        v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v), k)
        for k, v in (weights or {}).items()
    ]
    for name, tensor in zip(weights or {}, constants, strict=True):
        tensor.name = name
    graph = helper.make_graph(list(nodes), "test", infos, outs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), **attrs)


def randn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@cache
def collected() -> tuple[Any, ...]:
    """All of the standard's cases: onnx collects them once in a process, whatever operator is asked for later."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def standard_cases(op: str) -> list[Any]:
    """The standard's own cases of one operator, without those that it writes as functions."""
    cases = (
        c for c in collected() if c.model is not None and any(n.op_type == op for n in c.model.graph.node)
    )
    return sorted((c for c in cases if "_expanded" not in c.name), key=lambda c: c.name)


def case_model(case: Any, image: str, newest: int = 23) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A standard case with every input but the image stored in the model, in an opset that onnxruntime has kernels for."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    feeds = dict(zip((i.name for i in proto.graph.input), case.data_sets[0][0], strict=True))
    for info in list(proto.graph.input):
        if info.name != image:
            value = feeds[info.name]
            stored = proto.graph.initializer.add()
            stored.CopyFrom(
                value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))
            )
            stored.name = info.name
            proto.graph.input.remove(info)
    proto.ir_version = min(proto.ir_version, 10)
    proto.opset_import[0].version = min(proto.opset_import[0].version, newest)
    return proto, {image: np.asarray(feeds[image])}


@dataclass(frozen=True)
class Dense:
    """A rewritten model at one image, as matrices."""

    scope: scope.Scope
    base: dict[str, np.ndarray]
    frozen_at_x0: np.ndarray
    residual: np.ndarray
    forward: np.ndarray  # F, one row per output element
    backward: np.ndarray  # Fᵀ, one row per input element


def materialise(
    proto: onnx.ModelProto,
    feeds: Arrays,
    policy: str = "freeze",
    image: str | None = None,
    output: str | None = None,
) -> Dense:
    """F and Fᵀ by probing with every unit vector."""
    sc = build.build(models.load(proto), Options(image=image, output=output, policy=Policy(policy)))
    data = models.to_bytes(sc.graph)
    onnx.checker.check_model(onnx.ModelProto.FromString(data), full_check=True)
    sizes = {t.name: tuple(t.shape[1:]) for t in sc.graph.inputs[-2:]}
    x0 = np.asarray(feeds[sc.image], np.float32)
    n, m = (int(np.prod(sizes[k])) for k in (scope.PROBE, scope.COTANGENT))
    probes = np.concatenate([x0.reshape(1, n), np.zeros((1, n), np.float32)]).reshape(-1, *sizes[scope.PROBE])
    units = {
        k: np.eye(c, dtype=np.float32).reshape(-1, *sizes[k])
        for k, c in ((scope.PROBE, n), (scope.COTANGENT, m))
    }
    base = runtime.Session(data).run({**feeds, **units, scope.PROBE: probes})
    y = base.pop(scope.FROZEN).reshape(2, m).astype(np.float64)
    back = base.pop(scope.TRANSPOSED).reshape(m, n).astype(np.float64)
    linear = runtime.Session(models.to_bytes(sc.linear())).run({**feeds, **units})
    return Dense(sc, base, y[0], y[1], linear[scope.FROZEN].reshape(n, m).astype(np.float64).T, back.T)


def runs(proto: onnx.ModelProto, feeds: Arrays) -> bool:
    """Whether onnxruntime has kernels for this model."""
    try:
        run(proto, feeds)
    except Exception:  # onnxruntime raises many kinds
        return False
    return True


def run(proto: onnx.ModelProto, feeds: Arrays) -> dict[str, np.ndarray]:
    return runtime.Session(proto.SerializeToString()).run(feeds)


def columns(proto: onnx.ModelProto, feeds: Arrays, image: str, output: str, step: float = 0.0) -> np.ndarray:
    """The original model's columns: f(x0 + e) − f(x0) where it is linear, else a fourth-order central difference."""
    session = runtime.Session(proto.SerializeToString())
    x0 = np.asarray(feeds[image], np.float32)

    def at(k: int, h: float) -> np.ndarray:
        x = x0.copy().reshape(-1)
        x[k] += np.float32(h)
        return session.run({**feeds, image: x.reshape(x0.shape)})[output].astype(np.float64).reshape(-1)

    h = step
    if not h:
        y0 = session.run(feeds)[output].astype(np.float64).reshape(-1)
        return np.stack([at(k, 1.0) - y0 for k in range(x0.size)], 1)
    return np.stack(
        [(8 * (at(k, h) - at(k, -h)) - (at(k, 2 * h) - at(k, -2 * h))) / (12 * h) for k in range(x0.size)], 1
    )


def close(have: np.ndarray, want: np.ndarray, tolerance: float, what: str) -> None:
    """Equal to this share of the largest entry."""
    assert have.shape == want.shape, f"{what}: {have.shape} for {want.shape}"
    have, want = have.astype(np.float64), want.astype(np.float64)
    assert np.isfinite(have).all(), f"{what}: not finite"
    scale = max(float(np.abs(want).max(initial=0.0)), 1e-3)
    worst = float(np.abs(have - want).max(initial=0.0)) / scale
    assert worst <= tolerance, f"{what}: off by {worst:.2e} of the largest entry"


def check(
    proto: onnx.ModelProto,
    feeds: Arrays,
    policy: str = "freeze",
    *,
    image: str = "x",
    output: str = "y",
    linear: bool = False,
    step: float = 0.0,
    tolerance: float = 1e-5,
) -> Dense:
    """The base is unchanged, frozen(x0) = y0, F and Fᵀ are one matrix, and F is the reference's where one is asked for."""
    d = materialise(proto, feeds, policy, image, output)
    y0 = run(proto, feeds)
    for name, value in y0.items():
        close(
            d.base[name],
            value,
            0.0 if value.dtype.kind in "iub" else max(1e-6, np.finfo(value.dtype).eps),
            f"base output {name}",
        )
    at_x0 = d.base[output] if output in d.base else y0[output]
    close(d.frozen_at_x0, at_x0.reshape(-1), tolerance, "frozen(x0)")
    close(d.backward.T, d.forward, tolerance, "transpose")
    if linear or step:
        want = columns(proto, feeds, image, output, step)
        close(d.forward, want, 2e-3 if step else max(tolerance, 2e-5), "F against the original")
    return d
