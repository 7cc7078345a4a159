"""Loading and saving: weights stay where they are, files are whole or absent, and what is damaged is refused."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import model, node, randn

from onnxscope.errors import BadModel, BadOption
from onnxscope.files import models, streaming, weight_checks, weights
from onnxscope.runtime import Session

X = np.zeros((1, 4), np.float32)


def two_layers(width: int = 256) -> onnx.ModelProto:
    """x·w·v with w over and v under the size from which external weights stay in their files."""
    return model(
        [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"])],
        {"x": randn(1, width)},
        ["y"],
        weights={"w": randn(width, width, seed=1), "v": randn(width, 3, seed=2)},
    )


def as_graph(proto: onnx.ModelProto) -> gs.Graph:
    """The graph of a loaded model, its weights as normalise makes them."""
    graph = gs.import_onnx(proto)
    for name, constant in graph.tensors().items():
        tensor = next((t for t in proto.graph.initializer if t.name == name), None)
        if tensor is not None:
            constant._values = weights.StoredValues(tensor)
    graph.outputs[0].shape = [1, 3]
    return graph


def constant(tensor: TensorProto) -> gs.Constant:
    return gs.Constant(tensor.name, weights.StoredValues(tensor))


def saved_external(folder: Path, proto: onnx.ModelProto | None = None) -> Path:
    path = folder / "model.onnx"
    onnx.save(
        proto or two_layers(), path, save_as_external_data=True, location="model.data", size_threshold=0
    )
    return path


def run(path: Path) -> np.ndarray:
    return Session(path).run({"x": randn(1, 256, seed=3)})["y"]


def test_external_weights_stay_in_their_file(tmp_path):
    loaded = models.load(saved_external(tmp_path))
    large, small = loaded.proto.graph.initializer
    assert weights.is_external(large) and not large.raw_data
    assert not weights.is_external(small) and len(small.raw_data) == 256 * 3 * 4
    np.testing.assert_array_equal(weights.StoredValues(large).load(), randn(256, 256, seed=1))


@pytest.mark.parametrize("external", [False, True])
def test_artifacts_hold_their_weights_where_the_limit_says(tmp_path, external):
    source = saved_external(tmp_path)
    graph = as_graph(models.load(source).proto)
    out = models.save(graph, tmp_path / "out.onnx", {"key": "value"}, external_bytes=0 if external else None)
    onnx.checker.check_model(out, full_check=True)
    written = onnx.load(out, load_external_data=False)
    assert [p.value for p in written.metadata_props] == ["value"]
    assert (
        any(weights.is_external(t) for t in written.graph.initializer)
        == external
        == (tmp_path / "out.onnx.data").exists()
    )
    for tensor in written.graph.initializer:
        places = {e.key: e.value for e in tensor.external_data}
        assert (
            places.get("location", "out.onnx.data") == "out.onnx.data"
            and int(places.get("offset", 0)) % 4096 == 0
        )
    np.testing.assert_array_equal(run(out), run(source))
    assert {p.name for p in tmp_path.iterdir()} <= {"model.onnx", "model.data", "out.onnx", "out.onnx.data"}


def test_an_artifact_does_not_overwrite_its_source(tmp_path):
    graph = as_graph(models.load(saved_external(tmp_path)).proto)
    with pytest.raises(BadOption, match="is the model itself"):
        models.save(graph, tmp_path / "model.data", {})
    with pytest.raises(BadOption, match="is the model itself"):
        models.save(graph, tmp_path / "model.onnx", {}, source=tmp_path / "model.onnx")


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("external", [False, True])
def test_nothing_is_left_behind(tmp_path, monkeypatch, failure, external):
    graph = as_graph(models.load(two_layers()).proto)
    pieces = weights.chunks

    def failing(values):
        if values.shape == (256, 3):
            raise failure
        return pieces(values)

    monkeypatch.setattr(streaming, "chunks", failing)
    with pytest.raises((BadOption, KeyboardInterrupt)) as caught:
        models.save(graph, tmp_path / "out.onnx", {}, external_bytes=0 if external else None)
    assert not list(tmp_path.iterdir())
    assert isinstance(failure, KeyboardInterrupt) or "No space left on device" in str(caught.value)


def test_a_limit_on_file_sizes_ends_in_one_line(tmp_path):
    said = in_a_process(
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: models.save(as_graph(two_layers()), path, {})\n"
        "except BadOption as error: print(error)",
        tmp_path / "out.onnx",
    )
    assert "cannot be written (File too large)" in said and not list(tmp_path.iterdir())


def test_links_to_the_output_are_followed(tmp_path):
    (tmp_path / "link.onnx").symlink_to(tmp_path / "there.onnx")
    models.save(as_graph(two_layers()), tmp_path / "link.onnx", {})
    assert (tmp_path / "link.onnx").is_symlink() and (tmp_path / "there.onnx").is_file()


UNTRIED = {
    "UNDEFINED",
    "STRING",
    "FLOAT6E2M3",
    "FLOAT6E3M2",
}  # the last two are newer than most packages know
TYPES = [v for k, v in TensorProto.DataType.items() if k not in UNTRIED]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("data_type", TYPES, ids=TensorProto.DataType.Name)
def test_every_element_type_survives(data_type, raw):
    """Typed fields and raw bytes, five values, so that packed types have a byte to fill."""
    values = np.array([0, 1, 1, 0, 1]).astype(helper.tensor_dtype_to_np_dtype(data_type))
    tensor = numpy_helper.from_array(values, "w") if raw else helper.make_tensor("w", data_type, [5], values)
    weight_checks.checked_bytes(weight_checks.Held(tensor, "w", "w", True))
    graph = gs.Graph(opset=23, ir_version=12)
    graph.import_domains = [helper.make_opsetid("", 23)]
    graph.nodes.append(gs.Node("Identity", "n", {}, [constant(tensor)], [gs.Variable("y", data_type, [5])]))
    graph.outputs.append(graph.nodes[0].outputs[0])
    (written,) = onnx.ModelProto.FromString(models.to_bytes(graph)).graph.initializer
    assert written.data_type == data_type
    assert numpy_helper.to_array(written).tobytes() == values.tobytes()
    assert len(written.raw_data) == weights.byte_count(data_type, [5])


def test_strings_are_written():
    graph = gs.Graph(opset=18, ir_version=10)
    graph.import_domains = [helper.make_opsetid("", 18)]
    labels = helper.make_tensor("labels", TensorProto.STRING, [2], [b"cat", b"dog"])
    graph.nodes.append(gs.Node("Identity", "n", {}, [constant(labels)], [gs.Variable("y", None, [2])]))
    graph.outputs.append(graph.nodes[0].outputs[0])
    (written,) = onnx.ModelProto.FromString(models.to_bytes(graph)).graph.initializer
    assert list(written.string_data) == [b"cat", b"dog"]


@pytest.mark.parametrize("data_type", list(weight_checks.INFINITY), ids=TensorProto.DataType.Name)
def test_nan_is_counted_and_infinity_where_it_multiplies(data_type):
    def layer(*special: float) -> onnx.ModelProto:
        values = np.array([[*special, 1.0, -2.0]]).T.astype(helper.tensor_dtype_to_np_dtype(data_type))
        return model(
            [node("MatMul", ["x", "w"])],
            {"x": np.zeros((1, len(values)), np.float32)},
            ["y"],
            weights={"w": numpy_helper.from_array(values)},
        )

    models.load(layer(-0.0, np.finfo(np.float16).max))
    with pytest.raises(BadModel, match="initializer 'w': 2 NaN among its 4 values"):
        models.load(layer(np.nan, -np.nan))
    with pytest.raises(BadModel, match="initializer 'w': 1 infinite among its 3 values"):
        models.load(layer(-np.inf))


def test_an_infinite_mask_is_sound():
    mask = np.array([[0, -np.inf, 0, 0]], np.float32)
    models.load(
        model(
            [node("Add", ["x", "mask"], ["h"]), node("Softmax", ["h"])],
            {"x": X},
            ["y"],
            weights={"mask": mask},
        )
    )


def test_peak_memory_is_a_small_multiple_of_the_model(tmp_path):
    """Loading reads the file and parses it: twice its size. Saving adds one weight at a time."""
    onnx.save(two_layers(4096), tmp_path / "model.onnx")
    said = in_a_process(
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "two_layers(); before = peak()\n"
        "models.save(as_graph(models.load(path).proto), path.with_name('out.onnx'), {})\n"
        "print((peak() - before) / path.stat().st_size)",
        tmp_path / "model.onnx",
    )
    assert float(said) < 3


def in_a_process(program: str, path: Path) -> str:
    """What a program of its own prints that knows this module's names and a path."""
    here = Path(__file__)
    start = "import resource, sys; from test_model_io import *; path = Path(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", start + program, path],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(here.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout
