"""The engine: F and Fᵀ against dense references that share no code with it, and how it keeps states, sessions and memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from support import model, node, randn

import onnxscope
from onnxscope import runtime
from onnxscope.linear.linear_map import ArraySpace, rows
from onnxscope.run import batch_size
from onnxscope.run import engine as engines
from onnxscope.run.device_space import ValueSpace

MODELS = Path(__file__).parents[1] / "models"
STEP = 1e-6  # of the differences: far below any kink's distance, far above the rounding of float64


def strided() -> onnx.ModelProto:
    """What small super-resolution and classification networks lack: a stride both ways, reflection, a slope below zero, an average."""
    weights = {
        "down": randn(6, 2, 3, 3, seed=1) / 3,
        "bias": randn(6, seed=2),
        "up": randn(6, 3, 4, 4, seed=3) / 4,
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "mean": randn(3, seed=4),
        "var": np.abs(randn(3, seed=5)) + 0.5,
        "scale": randn(3, seed=6),
        "shift": randn(3, seed=7),
    }
    nodes = [
        node("Pad", ["image", "pads"], ["p"], mode="reflect"),
        node("Conv", ["p", "down", "bias"], ["c"], strides=[2, 2]),
        node("LeakyRelu", ["c"], ["l"], alpha=0.2),
        node("ConvTranspose", ["l", "up"], ["t"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["t", "scale", "shift", "mean", "var"], ["n"]),
        node("MaxPool", ["n"], ["m"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        node("AveragePool", ["m"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    return model(nodes, {"image": randn(1, 2, 8, 8)}, ["y"], weights=weights)


SMALL: Mapping[str, onnx.ModelProto] = {
    "scores": networks.with_image_shape(onnx.load(MODELS / "tiny_scores.onnx"), (1, 3, 8, 8)),
    "edsr": networks.with_image_shape(networks.edsr(features=4, blocks=2, size=6), (1, 3, 6, 6)),
    "strided": strided(),
}


def image_of(proto: onnx.ModelProto, seed: int = 0) -> np.ndarray:
    weights = {t.name for t in proto.graph.initializer}
    shape = next(i for i in proto.graph.input if i.name not in weights).type.tensor_type.shape
    return np.random.default_rng(seed).random([d.dim_value for d in shape.dim], np.float32)


def in_double(proto: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The same model in float64, for differences of one of its tensors."""
    double = onnx.ModelProto()
    double.CopyFrom(proto)
    for t in double.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for v in double.graph.input:
        v.type.tensor_type.elem_type = TensorProto.DOUBLE
    del double.graph.value_info[:]
    del double.graph.output[:]
    double.graph.output.append(onnx.ValueInfoProto(name=output))
    return double


def jacobian(proto: onnx.ModelProto, output: str, image: np.ndarray) -> np.ndarray:
    """The derivative of the original, entry by entry: central differences of the standard's reference in float64."""
    evaluator = ReferenceEvaluator(in_double(proto, output))
    (name,) = evaluator.input_names
    columns = []
    for k in range(image.size):
        there = [image.astype(np.float64) for _ in range(2)]
        for x, step in zip(there, (STEP, -STEP), strict=True):
            x.reshape(-1)[k] += step
        up, down = (evaluator.run(None, {name: x})[0].reshape(-1) for x in there)
        columns.append((up - down) / (2 * STEP))
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module", params=SMALL)
def case(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, np.ndarray]:
    proto = SMALL[request.param]
    return proto, image_of(proto)


@pytest.mark.parametrize("stateless", [False, True])
def test_both_passes_are_the_derivative_entry_by_entry(
    case: tuple[onnx.ModelProto, np.ndarray], stateless: bool
) -> None:
    """Piecewise linear networks: F is the derivative."""
    proto, image = case
    opened = onnxscope.load(proto, stateless=stateless)
    x = opened.freeze(image)
    want = jacobian(proto, opened.engine.scope.output, image)
    columns = rows(x.map.forward(np.eye(image.size, dtype=np.float32).reshape(-1, *x.map.inputs.shape))).T
    rows_ = rows(x.map.transpose(np.eye(x.output.size, dtype=np.float32).reshape(-1, *x.map.outputs.shape)))
    scale = np.abs(want).max()
    np.testing.assert_allclose(columns, want, atol=1e-5 * scale)
    np.testing.assert_allclose(rows_, want, atol=1e-5 * scale)
    np.testing.assert_allclose(x.dense(), want, atol=1e-5 * scale)
    affine = want @ image.reshape(-1) + x.residual().reshape(-1)
    np.testing.assert_allclose(affine, x.output.reshape(-1), atol=2e-5 * np.abs(x.output).max())


def test_a_saved_scope_runs_as_the_model_does(
    case: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path
) -> None:
    proto, image = case
    fresh = onnxscope.load(proto).freeze(image)
    saved = onnxscope.load(onnxscope.rewrite(proto).save(tmp_path / "a.scope.onnx")).freeze(image)
    probes = randn(3, *fresh.map.inputs.shape)
    np.testing.assert_array_equal(saved.map.forward(probes), fresh.map.forward(probes))
    np.testing.assert_array_equal(saved.residual(), fresh.residual())


@pytest.mark.parametrize("name", SMALL)
def test_states_are_masks_and_short_indices(name: str) -> None:
    programs = onnxscope.load(SMALL[name]).engine.programs
    inputs = programs.linear.graph.inputs + programs.transpose.graph.inputs
    assert {np.dtype(t.dtype) for t in inputs if t.name in programs.states} <= {
        np.dtype(bool),
        np.dtype(np.int32),
    }


def test_what_an_interpreter_gives_outlives_it() -> None:
    """onnxruntime's arrays are views of memory that they do not keep, so they are copied."""
    given = randn(1, 3, 32, 32)
    x = onnxscope.load(MODELS / "tiny_scores.onnx", device="cpu").freeze(given.copy())
    kept = [x.image, *x.map.fed.values()]
    del x
    for _ in range(20):
        assert np.isfinite(np.full((1, 3, 32, 32), np.nan)).sum() == 0  # takes what was given back
        assert all(np.array_equal(array, given) for array in kept)


def test_the_cpu_computes_in_float32_whatever_is_allowed_on_cuda() -> None:
    opened = onnxscope.load(MODELS / "tiny_scores.onnx", device="cpu", tf32=True)
    assert opened.running.engine(opened.scope).on.precision == "float32"
    assert opened.running.tf32
    assert not onnxscope.load(MODELS / "tiny_scores.onnx").running.tf32
    assert runtime.Device("cuda", tf32=True).precision != "float32"
    assert runtime.Device("cuda").precision == "float32"


def test_what_is_written_has_an_ir_version_that_old_runtimes_read() -> None:
    """Old models are raised to 10, and newer ones keep theirs."""
    for written, found in ((3, 10), (10, 10), (11, 11)):
        proto = model([node("Relu", ["x"])], {"x": randn(1, 4)}, ["y"])
        proto.ir_version = written
        assert onnxscope.rewrite(proto, prove=False).graph.ir_version == found


def test_a_second_image_builds_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = SMALL["edsr"]
    opened = onnxscope.load(proto)
    images = [image_of(proto, seed) for seed in range(2)]
    first = opened.freeze(images[0])
    want = [first.column((0, 1, 2)), first.row((1, 2, 3)), first.residual()]
    monkeypatch.setattr(engines, "Session", None)
    second = opened.freeze(images[1])
    assert np.abs(second.column((0, 1, 2)) - want[0]).max() > 0
    second.row((0, 0, 0)), second.residual()
    for got, value in zip(
        [first.column((0, 1, 2)), first.row((1, 2, 3)), first.residual()], want, strict=True
    ):
        np.testing.assert_array_equal(got, value)


def test_sessions_share_their_weights() -> None:
    x = onnxscope.load(SMALL["edsr"], stateless=True).freeze(image_of(SMALL["edsr"]))
    x.column((0, 0, 0)), x.row((0, 0, 0)), x.residual()
    sessions = x.map.engine._sessions
    assert sorted(sessions) == ["affine", "freeze", "linear", "transpose"]
    values = [id(v) for s in sessions.values() for v in (s._weights or {}).values()]
    names = {n for s in sessions.values() for n in (s._weights or {})}
    assert len(values) > len(set(values)) == len(names)


def test_any_two_tensors(case: tuple[onnx.ModelProto, np.ndarray], tmp_path: Path) -> None:
    """The map through the middle: F from the image to B is F from A to B after F from the image to A."""
    proto, image = case
    middle = [n.output[0] for n in proto.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    a, b = middle[0], middle[-1]
    saved = onnxscope.rewrite(proto).save(tmp_path / "a.scope.onnx")
    for source in (proto, saved, onnxscope.rewrite(proto)):
        head, tail, whole = (
            onnxscope.load(source, image=i, output=o).freeze(image) for i, o in ((None, a), (a, b), (None, b))
        )
        assert tail.image.shape == head.output.shape
        np.testing.assert_array_equal(tail.image, head.output)
        probe = randn(2, *whole.map.inputs.shape)
        want = whole.project(probe)
        np.testing.assert_allclose(tail.project(head.project(probe)), want, atol=1e-5 * np.abs(want).max())
        back = randn(2, *whole.map.outputs.shape, seed=1)
        want = whole.back_project(back)
        np.testing.assert_allclose(
            head.back_project(tail.back_project(back)), want, atol=1e-5 * np.abs(want).max()
        )


def test_batches_keep_to_the_memory() -> None:
    proto = SMALL["edsr"]
    image = image_of(proto)
    whole = onnxscope.load(proto).freeze(image)
    need = [batch_size.taken(whole.map.engine.programs.transpose, k) for k in (1, 3)]
    held = sum(np.prod(t.shape) for t in whole.map.engine.programs.transpose.graph.inputs[:-1])
    small = onnxscope.load(proto, memory=int(held) + need[1]).freeze(image)
    assert small.map.batch == 3
    probes = randn(8, *whole.map.inputs.shape)
    np.testing.assert_allclose(small.map.forward(probes), whole.map.forward(probes), atol=1e-6)
    with pytest.raises(onnxscope.BadOption, match=r"one probe needs .* the budget is .*--stateless"):
        onnxscope.load(proto, memory=need[0]).freeze(image).row((0, 0, 0))


def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = SMALL["edsr"]
    x = onnxscope.load(proto).freeze(image_of(proto))
    probes = randn(11, *x.map.inputs.shape)
    want = x.map.forward(probes)
    monkeypatch.setattr(
        runtime.Binding,
        "__call__",
        lambda self, name, value, *rest, call=runtime.Binding.__call__, **into: (
            failing(value.shape()[0]) or call(self, name, value, *rest, **into)
        ),
    )
    np.testing.assert_allclose(x.map.forward(probes), want, atol=1e-6)
    assert x.map.batch == 2
    assert any("out of memory with 11 probes at once; going on with 5" in note for note in x.about()["notes"])


def failing(count: int) -> None:
    """A device with room for three."""
    if count > 3:
        raise runtime.no_memory()


def test_vectors_on_a_device_reckon_as_arrays_do() -> None:
    """The small programs that CUDA runs, here on the CPU."""
    shape = (2, 3)
    on_device, arrays = ValueSpace(shape, runtime.CPU), ArraySpace(shape)
    a, b, c = randn(4, *shape), randn(2, *shape, seed=1), randn(2, 4, seed=2)
    va, vb = on_device.of(a), on_device.of(b)
    np.testing.assert_allclose(on_device.dot(va, vb), arrays.dot(a, b), atol=1e-6)
    for got, want in [
        (on_device.combine(c, va), arrays.combine(c, a)),
        (on_device.subtract(vb, c, va), arrays.subtract(b, c, a)),
        (on_device.join([va, vb, va]), arrays.join([a, b, a])),
    ]:
        np.testing.assert_allclose(on_device.array(got), want, atol=1e-6)


def test_values_on_the_device_stay_there() -> None:
    """A block on the device gives a block on the device, also where it is larger than a batch."""
    proto = SMALL["edsr"]
    x = onnxscope.load(proto).freeze(image_of(proto))
    probes = randn(5, *x.map.inputs.shape)
    want = x.map.forward(probes)
    for most in (16, 2):
        x.map._forward.batch = most
        value = x.map.forward(runtime.ort_value(probes))
        assert isinstance(value, runtime.Value)
        np.testing.assert_allclose(value.numpy(), want, atol=1e-6)


def test_several_inputs_are_given_by_name() -> None:
    proto = model(
        [node("Mul", ["a", "b"], ["m"]), node("Relu", ["m"])],
        {"a": randn(1, 2, 3, 3), "b": randn(1, 2, 3, 3)},
        ["y"],
    )
    opened = onnxscope.load(proto, image="a")
    a, b = randn(1, 2, 3, 3), randn(1, 2, 3, 3, seed=1)
    np.testing.assert_allclose(opened.freeze({"a": a, "b": b}).output, np.maximum(a * b, 0))
    for given, said in [(a, "further input 'b'"), ({"a": a, "c": b}, "no input 'c'")]:
        with pytest.raises(onnxscope.BadOption, match=said):
            opened.freeze(given)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((1, 3, 5, 6), np.float32), "has shape"),
        (np.full((1, 3, 6, 6), np.nan, np.float32), "NaN"),
        (np.full((3, 6, 6), "a"), "must be an array of numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused(image: np.ndarray, said: str) -> None:
    with pytest.raises(onnxscope.BadOption, match=said):
        onnxscope.load(SMALL["edsr"]).freeze(image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"threads": -1}, "the number of threads must be at least 0, not -1"),
        ({"layout": "chwn"}, "no layout 'chwn'"),
    ],
)
def test_options_that_name_nothing_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(onnxscope.BadOption, match=said):
        onnxscope.load(SMALL["edsr"], **options)


def test_cuda_is_refused_where_it_does_not_run_and_left_alone_by_auto() -> None:
    why = runtime.no_cuda()
    if not why:
        pytest.skip("this machine has CUDA")
    with pytest.raises(onnxscope.BadOption, match="CUDA does not run here"):
        onnxscope.load(SMALL["edsr"], device="cuda")
    about = onnxscope.load(SMALL["edsr"], device="auto").engine.about()
    assert (about["device"], about["device_note"], about["precision"]) == ("cpu", why, "float32")
