"""The standard's own cases as material: one model per case with a single image input, and what became of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from onnxscope.errors import ScopeError
from onnxscope.files.models import load
from onnxscope.rewriting.build import build
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import COTANGENT, FROZEN, PROBE, TRANSPOSED, Scope
from onnxscope.rewriting.steps import Policy
from onnxscope.run.single_runs import session
from onnxscope.run.verify import as_probe, verify_scope

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
SMALL = 256  # elements of image and output up to which F is written out entry by entry
SLOPE = 2e-2  # a central difference in float32 at step 1e-2, relative to the largest slope


@dataclass(frozen=True)
class Outcome:
    status: Literal["passed", "refused", "failed"]
    detail: str = ""


@dataclass(frozen=True)
class Material:
    """A model whose only input is the image, and an image."""

    model: onnx.ModelProto
    image: np.ndarray
    name: str = ""


def element(info: onnx.ValueInfoProto) -> int:
    return info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else 0


def is_float_case(model: onnx.ModelProto) -> bool:
    initial = {t.name for t in model.graph.initializer}
    given = any(element(i) in FLOATS and i.name not in initial for i in model.graph.input)
    return given and any(element(o) in FLOATS for o in model.graph.output)


@functools.cache
def node_cases() -> dict[str, Any]:
    """Float in, float out, not the expanded form of another case."""
    from onnx.backend.test.case.node import collect_testcases

    return {
        c.name: c for c in collect_testcases(None) if "_expanded" not in c.name and is_float_case(c.model)
    }


@functools.cache
def converted_cases() -> dict[str, Path]:
    """The models that came out of PyTorch, with their data."""
    kinds = ("pytorch-converted", "pytorch-operator")
    found = {c.name: Path(c.model_dir) for kind in kinds for c in load_model_tests(kind=kind)}
    return {name: folder for name, folder in found.items() if is_float_case(onnx.load(folder / "model.onnx"))}


def operators(name: str) -> set[str]:
    """The operators of a case."""
    model = (
        node_cases()[name].model
        if name in node_cases()
        else onnx.load(converted_cases()[name] / "model.onnx")
    )
    return {n.op_type for n in model.graph.node}


def stored(file: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.load_tensor(file))


def material(name: str) -> Material:
    if name in node_cases():
        case = node_cases()[name]
        return baked(case.model, case.data_sets[0][0])
    folder = converted_cases()[name]
    data = sorted(folder.glob("test_data_set_0/input_*.pb"))
    return baked(onnx.load(folder / "model.onnx"), [stored(f) for f in data])


def baked(model: onnx.ModelProto, inputs: list[Any]) -> Material:
    """The first floating-point input stays, the others become initializers."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    initial = {t.name for t in model.graph.initializer}
    given = [i for i in model.graph.input if i.name not in initial]
    assert len(given) >= len(inputs)
    image = next(k for k, i in enumerate(given) if element(i) in FLOATS)
    values = (
        numpy_helper.to_array(inputs[image])
        if isinstance(inputs[image], onnx.TensorProto)
        else np.asarray(inputs[image])
    )
    for k, info in enumerate(given):
        if k == image:
            shape = info.type.tensor_type.shape
            del shape.dim[:]
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=d) for d in values.shape)
            continue
        if isinstance(inputs[k], onnx.TensorProto):
            model.graph.initializer.append(inputs[k])
            model.graph.initializer[-1].name = info.name
        elif isinstance(inputs[k], (np.ndarray, np.generic)):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(inputs[k]), info.name))
    added = {t.name for t in model.graph.initializer} - initial
    kept = [i for i in model.graph.input if i.name not in added]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():  # some files hold what memory happened to hold
        return Material(
            model,
            np.random.default_rng(0).standard_normal(values.shape).astype(values.dtype),
            given[image].name,
        )
    return Material(model, values, given[image].name)


def outcome(name: str, policy: str) -> Outcome:
    m = material(name)
    shapes = {} if m.image.size else {m.name: m.image.shape}  # a size of 0 is otherwise taken for a free one
    try:
        scope = build(load(m.model), Options(shapes, policy=Policy(policy)))
    except ScopeError as error:
        line = str(error)
        return (
            Outcome("failed", f"refused in {line.count(chr(10)) + 1} lines")
            if "\n" in line
            else Outcome("refused", line)
        )
    try:
        with np.errstate(all="ignore"):
            return proved(scope, m)
    except ScopeError as error:  # onnxruntime has no kernel for an operator or a type
        return Outcome("refused", str(error))


def proved(scope: Scope, m: Material) -> Outcome:
    with session(scope.analysed()) as analysed:
        if not np.isfinite(analysed.run({scope.image: m.image})[scope.output].astype(np.float64)).all():
            return Outcome("passed", "the case computes no finite numbers")
    report = verify_scope(scope, image=m.image)
    for check in report.checks:
        if not check.ok:
            return Outcome("failed", f"{check.name}: {check.figure:.2e} > {check.bound:.2e} ({check.note})")
    return entries(scope, m)


def entries(scope: Scope, m: Material) -> Outcome:
    """F and Fᵀ written out: equal to each other, and where theory says so to differences of the original."""
    x0 = m.image
    with session(scope.analysed()) as function:
        y0 = function.run({scope.image: x0})[scope.output]

        def f(x: np.ndarray) -> np.ndarray:
            return (
                function.run({scope.image: x.reshape(x0.shape).astype(x0.dtype)})[scope.output]
                .astype(np.float64)
                .ravel()
            )

        if x0.size > SMALL or y0.size > SMALL or not x0.size or not y0.size:
            return Outcome("passed", "too large to write out")
        with session(scope.linear()) as linear:
            probes = np.eye(x0.size, dtype=np.float32).reshape(-1, *as_probe(x0).shape[1:])
            cotangents = np.eye(y0.size, dtype=np.float32).reshape(-1, *as_probe(y0).shape[1:])
            out = linear.run({scope.image: x0, PROBE: probes, COTANGENT: cotangents})
        columns, rows = out[FROZEN].reshape(x0.size, y0.size), out[TRANSPOSED].reshape(y0.size, x0.size)
        scale = max(np.abs(columns).max(), 1e-30)
        if np.abs(columns - rows.T).max() > 1e-5 * scale:
            return Outcome(
                "failed", f"F and its transpose differ by {np.abs(columns - rows.T).max() / scale:.1e}"
            )
        linear_only = all(s.how == "linear" for s in scope.steps)
        if (
            x0.dtype != np.float32
            or not (linear_only or scope.policy.default == "taylor")
            or not all(s.tangent for s in scope.steps)
        ):
            return Outcome("passed")
        flat = x0.ravel().astype(np.float64)
        step = 1.0 if linear_only else 1e-2
        wrong = [k for k in range(min(x0.size, 48)) if not matches(f, flat, k, step, columns[k], scale)]
        return (
            Outcome("failed", f"column {wrong[0]} is not the original's slope")
            if wrong
            else Outcome("passed")
        )


def matches(f: Any, flat: np.ndarray, k: int, step: float, column: np.ndarray, scale: float) -> bool:
    """Whether column k is a difference quotient of f: exactly for linear operators, else to the difference's error.

    A kink within the step is seen in the one-sided quotients: there the column need only equal one of them. Quotients that
    grow as the step shrinks belong to a jump, where there is no slope.
    """
    e = np.zeros_like(flat)
    central: list[np.ndarray] = []
    for h in (step, step / 8):
        e[k] = h
        up, middle, down = f(flat + e), f(flat), f(flat - e)
        quotients = [(up - down) / (2 * h), (up - middle) / h, (middle - down) / h]
        central.append(quotients[0])
        rounding = float(np.finfo(np.float32).eps) * np.abs(middle[np.isfinite(middle)]).max(initial=0) / h
        bound = SLOPE * max(scale, 1e-6) + rounding
        if any(np.abs(q - column)[np.isfinite(q)].max(initial=0) <= bound for q in quotients):
            return True
    return bool(np.abs(central[1]).max() > 4 * np.abs(central[0]).max())
