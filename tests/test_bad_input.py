"""Whatever is wrong with what the user gives: one line that names it, exit code 2, no file, no traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support import model, node, randn

from onnxscope.api import opening
from onnxscope.cli import main as cli
from onnxscope.files import models
from onnxscope.graph import builder

X = {"x": randn(1, 3, 8, 8)}
WEIGHT = randn(4, 3, 3, 3, seed=1)


def sound(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    return model(
        [node("Conv", ["x", "w"], ["h"], name="conv"), node("Relu", ["h"], name="relu")],
        X,
        ["y"],
        weights={"w": weight},
    )


def spoilt(**changes: object) -> onnx.ModelProto:
    """The sound model with other fields of its weight."""
    proto = sound()
    for field, value in changes.items():
        setattr(proto.graph.initializer[0], field, value)
    return proto


def special(value: float) -> onnx.ModelProto:
    weight = WEIGHT.copy()
    weight[0, 0, 0, :2] = value
    return sound(weight)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for the output, apart from the input's."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def refused(capsys: pytest.CaptureFixture[str], place: Path, *arguments: object) -> str:
    """The one line with which the command line refuses."""
    code = cli.run([str(a) for a in arguments])
    said = capsys.readouterr()
    assert code == 2 and not said.out
    assert said.err.startswith("onnxscope: error: ") and said.err.count("\n") == 1, said.err
    assert not list(place.iterdir())
    return said.err


def rewrite(
    capsys: pytest.CaptureFixture[str], place: Path, source: onnx.ModelProto | bytes, *arguments: object
) -> str:
    """The line with which a rewrite of this model, in a file `in/bad.onnx`, is refused."""
    path = place.parent / "in" / "bad.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(source if isinstance(source, bytes) else source.SerializeToString())
    return refused(capsys, place, "rewrite", path, "-o", place / "out.onnx", *arguments)


FILES: Mapping[str, tuple[bytes, str]] = {
    "not a protobuf": (b"\xff\xfe\x00\x01" * 100, "cannot be parsed"),
    "truncated": (sound().SerializeToString()[:-40], "cut short"),
    "cut between two fields": (onnx.ModelProto(ir_version=8).SerializeToString(), "cut short"),
    "a text file": (b"import numpy as np\n", "not an ONNX model"),
    "a web page": (b"<!DOCTYPE html><html></html>", "not an ONNX model"),
    "empty": (b"", "is empty"),
    "a name that is no text": (
        sound().SerializeToString().replace(b"\x04relu", b"\x04\xff\xfe\xfd\xfc"),
        "not text",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_files(kind, capsys, place):
    content, expected = FILES[kind]
    line = rewrite(capsys, place, content)
    assert expected in line and "bad.onnx" in line


def test_places_that_cannot_be_read(capsys, place, tmp_path, monkeypatch):
    assert "is a folder" in refused(capsys, place, "rewrite", tmp_path)
    assert "No such file" in refused(capsys, place, "rewrite", tmp_path / "absent.onnx")
    assert "is not a regular file" in refused(capsys, place, "rewrite", "/dev/zero", "-o", place / "out.onnx")
    assert "standard output" in rewrite(capsys, place, sound(), "-o", "-")

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert "Permission denied" in rewrite(capsys, place, sound())


def cycle() -> onnx.ModelProto:
    return model(
        [node("Add", ["x", "b"], ["a"], name="first"), node("Relu", ["a"], ["b"], name="second")], X, ["b"]
    )


def unknown_domain() -> onnx.ModelProto:
    proto = model([helper.make_node("Fancy", ["x"], ["y"], "fancy", domain="com.example")], X, ["y"])
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto


def integers_only() -> onnx.ModelProto:
    nodes = [node("Gather", ["words", "x"], ["f"]), node("Relu", ["f"])]
    return model(nodes, {"x": np.zeros((1, 3), np.int64)}, ["y"], weights={"words": randn(5, 4)})


def two_images() -> onnx.ModelProto:
    return model([node("Add", ["x", "z"])], {**X, "z": randn(1, 3, 8, 8)}, ["y"])


def free_sizes() -> onnx.ModelProto:
    proto = sound()
    for name, dim in zip("HW", proto.graph.input[0].type.tensor_type.shape.dim[2:], strict=True):
        dim.dim_param = name
    return proto


def unsupported() -> onnx.ModelProto:
    return model([node("Det", ["x"], name="reader")], {"x": randn(2, 3, 3)}, ["y"])


def no_such_operator() -> onnx.ModelProto:
    return model([node("Reluu", ["x"], name="typo")], X, ["y"])


def missing_input() -> onnx.ModelProto:
    return model([node("Add", ["x", "nowhere"], name="adder")], X, ["y"])


def wrong_shapes() -> onnx.ModelProto:
    return model([node("Conv", ["x", "w"], name="conv")], X, ["y"], weights={"w": randn(4, 5, 3, 3)})


def no_nodes() -> onnx.ModelProto:
    proto = sound()
    del proto.graph.node[:]
    return proto


def negative_size() -> onnx.ModelProto:
    proto = sound()
    proto.graph.initializer[0].dims[0] = -4
    return proto


def constant_node(**changes: object) -> onnx.ModelProto:
    held = node("Constant", [], ["w"], name="holder", value=spoilt(**changes).graph.initializer[0])
    return model([held, node("Conv", ["x", "w"])], X, ["y"])


def sparse(place: int, **changes: object) -> onnx.ModelProto:
    held = onnx.SparseTensorProto(
        values=numpy_helper.from_array(randn(2), "w"),
        dims=[8],
        indices=numpy_helper.from_array(np.array([1, place])),
    )
    for field, value in changes.items():
        getattr(held, field).MergeFrom(value) if isinstance(value, list) else getattr(held, field).CopyFrom(
            value
        )
    proto = model([node("Add", ["x", "w"])], X, ["y"])
    proto.graph.sparse_initializer.append(held)
    return proto


def chain(
    op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attrs: object
) -> onnx.ModelProto:
    """One node named `odd`."""
    return model([node(op, inputs, outputs, name="odd", **attrs)], X, ["y"])


def constant_of_another_kind() -> onnx.ModelProto:
    proto = model(
        [node("Constant", [], ["w"], name="odd", value_float=1.0), node("Add", ["x", "w"])], X, ["y"]
    )
    proto.graph.node[0].attribute[0].name = "value"
    return proto


def doubled(function: str, depth: int) -> onnx.ModelProto:
    """Functions that call the next one twice."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    proto = model([helper.make_node(f"{function}0", ["x"], ["y"], "call", domain="local")], X, ["y"])
    for k in range(depth):
        body = [
            helper.make_node(f"{function}{k + 1}", [i], [o], domain="local")
            for i, o in (("a", "b"), ("b", "c"))
        ]
        proto.functions.append(helper.make_function("local", f"{function}{k}", ["a"], ["c"], body, opsets))
    proto.functions.append(
        helper.make_function(
            "local", f"{function}{depth}", ["a"], ["c"], [node("Relu", ["a"], ["c"])], opsets
        )
    )
    proto.opset_import.append(opsets[1])
    return proto


MODELS: Mapping[str, tuple[Callable[[], onnx.ModelProto], Sequence[str], str]] = {
    "no nodes": (no_nodes, (), "holds no nodes"),
    "no floating-point input": (integers_only, (), "--image-input"),
    "a cycle": (cycle, (), "first"),
    "an unknown domain": (unknown_domain, (), "'fancy'"),
    "an unknown operator": (no_such_operator, (), "'typo'"),
    "an input that nothing computes": (missing_input, (), "'nowhere'"),
    "weights that do not fit": (wrong_shapes, (), "'conv'"),
    "an unsupported active operator": (unsupported, (), "--opaque reader"),
    "several candidates": (two_images, (), "'x', 'z'"),
    "free sizes": (free_sizes, (), "--input-shape x:1x3x?x?"),
    "NaN": (lambda: special(np.nan), (), "initializer 'w': 2 NaN among its 108 values"),
    "infinity": (lambda: special(np.inf), (), "initializer 'w': 2 infinite among its 108 values"),
    "too few bytes": (
        lambda: spoilt(raw_data=bytes(12)),
        (),
        "initializer 'w': it holds 12 bytes where its size 4x3x3x3 needs 432",
    ),
    "too few bytes in a node": (
        lambda: constant_node(raw_data=bytes(12)),
        (),
        "node 'holder' (Constant): it holds 12 bytes",
    ),
    "an unknown element type": (lambda: spoilt(data_type=99), (), "initializer 'w': its element type 99"),
    "a negative size": (negative_size, (), "initializer 'w': its size -4x3x3x3"),
    "a sparse weight with an index outside": (
        lambda: sparse(8),
        (),
        "sparse initializer 'w': an index lies outside of its size 8",
    ),
    "a sparse weight without end": (
        lambda: sparse(2, dims=[1 << 60]),
        (),
        "sparse initializer 'w': its size 8x1152921504606846976",
    ),
    "sparse indices that do not fit": (
        lambda: sparse(2, indices=numpy_helper.from_array(np.arange(3))),
        (),
        "do not fit its values",
    ),
    "an attribute of another kind": (
        constant_of_another_kind,
        (),
        "node 'odd' (Constant): its attribute 'value' is not of the type",
    ),
    "an axis without end": (
        lambda: chain("Softmax", ["x"], axis=1 << 40),
        (),
        "node 'odd' (Softmax): its axis 1099511627776",
    ),
    "an input that is left out": (
        lambda: chain("Sum", ["x", ""]),
        (),
        "node 'odd' (Sum): its input 1 is left out",
    ),
    "an output that is left out": (
        lambda: chain("Split", ["x"], ["y", ""], axis=3, num_outputs=2),
        (),
        "its output 1 is left out",
    ),
    "an output without end": (
        lambda: chain("MaxPool", ["x"], kernel_shape=[3, 3], pads=[1 << 40] * 4),
        (),
        "'odd' (MaxPool: 1x3x8x8)",
    ),
    "an output of too many elements": (
        lambda: chain("MaxPool", ["x"], kernel_shape=[3, 3], pads=[(1 << 14) - 3] * 4),
        (),
        "its output would have the size 1x3x32768x32768",
    ),
    "an output of negative size": (
        lambda: chain("AveragePool", ["x"], kernel_shape=[99, 1]),
        (),
        "would have the size 1x3x-90x8",
    ),
    "names that steer a terminal": (sound, ("--output", "\x1b[2J\u202e"), "no tensor '\\x1b[2J\\u202e'"),
    "a name of any length": (sound, ("--output", "n" * 100_000), "nnn…nnn"),
    "an input named twice": (
        sound,
        ("--input-shape", "x:1x3x8x8", "--input-shape", "x:1x3x8x9"),
        "--input-shape: 'x' is named twice",
    ),
    "a size of any length": (
        sound,
        ("--input-shape", "x:" + "9" * 5000),
        "must be the name of an input and its sizes",
    ),
    "no such image": (sound, ("--image-input", "nosuch"), "--image-input: the model has no tensor 'nosuch'"),
    "no such output": (sound, ("--output", "nosuch"), "--output: the model has no tensor 'nosuch'"),
    "no such opaque node": (sound, ("--opaque", "nosuch"), "'nosuch'"),
    "no such node for a policy": (sound, ("--policy-for", "nosuch=taylor"), "'nosuch'"),
    "no such input": (sound, ("--input-shape", "nosuch:1x3x8x8"), "--input-shape"),
    "no such policy": (sound, ("--policy", "nosuch"), "--policy: there is no policy 'nosuch'"),
    "no such policy for a node": (sound, ("--policy-for", "Relu=nosuch"), "there is no policy 'nosuch'"),
    "a policy for nothing": (
        sound,
        ("--policy-for", "taylor"),
        "--policy-for taylor: must be the name of a node or an operator and a policy",
    ),
    "a shape that does not fit": (
        sound,
        ("--input-shape", "x:1x4x8x8"),
        "--input-shape x: 1x4x8x8 does not fit",
    ),
    "a shape of another rank": (sound, ("--input-shape", "x:1x3x8"), "--input-shape x: 1x3x8 does not fit"),
    "a shape too small for the kernel": (free_sizes, ("--input-shape", "x:1x3x2x2"), "conv"),
    "a shape without a name": (
        sound,
        ("--input-shape", "1x3x8x8"),
        "must be the name of an input and its sizes",
    ),
    "a shape of letters": (sound, ("--input-shape", "x:axb"), "must be the name of an input and its sizes"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_models_and_options(kind, capsys, place):
    make, arguments, expected = MODELS[kind]
    assert expected in rewrite(capsys, place, make(), *arguments)


@pytest.fixture
def beside(tmp_path: Path) -> Callable[..., onnx.ModelProto]:
    """A model whose weight lies in a file beside it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "w.bin").write_bytes(bytes(8) + WEIGHT.tobytes())

    def make(location: str = "w.bin", **places: object) -> onnx.ModelProto:
        proto = spoilt(data_location=onnx.TensorProto.EXTERNAL)
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        for key, value in {"location": location, "offset": 8, **places}.items():
            tensor.external_data.add(key=key, value=str(value))
        return proto

    return make


EXTERNAL: Mapping[str, tuple[Mapping[str, object], str]] = {
    "missing": ({"location": "absent.bin"}, "there is no file 'absent.bin'"),
    "the folder": ({"location": "."}, "is not that of a file"),
    "a folder in it": ({"location": "below"}, "is a folder, a device or a pipe"),
    "no location": ({"location": ""}, "is not relative"),
    "out by dots": ({"location": "../../etc/passwd"}, "leads out of the model's folder"),
    "out by dots, to a file": ({"location": "../secret.bin"}, "leads out of the model's folder"),
    "absolute": ({"location": "/etc/passwd"}, "is not relative"),
    "absolute on Windows": ({"location": "C:\\secret.bin"}, "is not relative"),
    "out by a link": ({"location": "link.bin"}, "is a symbolic link"),
    "out by a linked folder": ({"location": "linked/secret.bin"}, "lies behind one"),
    "links in a loop": ({"location": "loop.bin"}, "is a symbolic link"),
    "a null byte": ({"location": "w\0.bin"}, "'w'"),
    "a name too long": ({"location": "w" * 5000}, "'w'"),
    "an offset beyond the end": ({"offset": 4096}, "which has only 440"),
    "one byte too few": ({"offset": 9}, "which has only 440"),
    "a length beyond the end": (
        {"length": 4096},
        "4096 bytes of external data where its size 4x3x3x3 needs 432",
    ),
    "a negative offset": ({"offset": -1}, "described wrongly"),
    "an offset that is no number": ({"offset": "eight"}, "described wrongly"),
}


@pytest.mark.parametrize("kind", EXTERNAL)
def test_external_data(kind, capsys, place, beside, tmp_path):
    places, expected = EXTERNAL[kind]
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "in" / "linked").symlink_to(tmp_path)
    (tmp_path / "in" / "loop.bin").symlink_to("loop.bin")
    (tmp_path / "in" / "below").mkdir()
    line = rewrite(capsys, place, beside(**places))
    assert expected in line and "initializer 'w'" in line


def test_external_data_that_is_sound(place, beside, tmp_path):
    """The refusals above are not for want of a model that works."""
    path = tmp_path / "in" / "good.onnx"
    onnx.save(beside(length=432), path)
    assert cli.run(["rewrite", str(path), "-o", str(place / "out.onnx")]) == 0
    with pytest.raises(cli.ScopeError, match="a model in memory has no folder"):
        models.load(path.read_bytes())


def test_external_nan(capsys, place, beside, tmp_path):
    proto = beside()
    (tmp_path / "in" / "w.bin").write_bytes(bytes(8) + np.full(108, np.nan, np.float32).tobytes())
    assert "initializer 'w': 108 NaN" in rewrite(capsys, place, proto)


def written_to(capsys: pytest.CaptureFixture[str], place: Path, out: object) -> str:
    return rewrite(capsys, place, sound(), "-o", out)


def test_outputs_that_cannot_be_written(capsys, place, tmp_path, monkeypatch):
    assert "is a folder" in written_to(capsys, place, place)
    assert "there is no folder" in written_to(capsys, place, place / "absent" / "out.onnx")
    assert "is the model itself" in written_to(capsys, place, tmp_path / "in" / "bad.onnx")
    (tmp_path / "alias.onnx").symlink_to(tmp_path / "in" / "bad.onnx")
    assert "is the model itself" in written_to(capsys, place, tmp_path / "alias.onnx")
    assert "not a regular file" in written_to(capsys, place, "/dev/null")
    assert "cannot be written" in written_to(capsys, place, place / ("x" * 5000))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **kw: mode != os.W_OK and access(path, mode, **kw))
    assert "cannot write into its folder" in written_to(capsys, place, place / "out.onnx")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_folders_that_refuse(capsys, place, monkeypatch, code):
    def refuse(**_):
        raise OSError(code, "refused")

    make = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", lambda **kw: refuse() if kw.get("dir") == place else make(**kw))
    assert "cannot be written (refused)" in rewrite(capsys, place, sound())


def test_a_full_disk(place, tmp_path):
    """A limit on the size of files stands for the disk's."""
    path = tmp_path / "bad.onnx"
    onnx.save(sound(), path)
    program = (
        "import resource, sys; from onnxscope.cli.main import main; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
        "main(['rewrite', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, path, "-o", place / "out.onnx"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 2 and "(File too large)" in done.stderr and done.stderr.count("\n") == 1
    assert not list(place.iterdir())


USAGE = [
    (),
    ("nosuch",),
    ("rewrite",),
    ("rewrite", "--nosuch", "a"),
    ("verify", "a", "--seed", "x"),
    ("verify", "a", "--seed", "-1"),
    ("doctor", "a", "b"),
]


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(capsys, place, arguments):
    assert "see 'onnxscope --help'" in refused(capsys, place, *arguments)


ENDLESS = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }"
IMAGES: Mapping[str, tuple[str, bytes | np.ndarray | None, str]] = {
    "absent": ("cat.png", None, "No such file"),
    "a text file": ("cat.png", b"meow", "is not an image"),
    "cut short": ("cat.npy", b"\x93NUMPY\x01", "cannot be read"),
    "of another shape": (
        "cat.npy",
        np.zeros((1, 3, 9, 9), np.float32),
        "has the shape 1x3x9x9, and must have the shape 1x3x8x8",
    ),
    "with NaN": ("cat.npy", np.full((1, 3, 8, 8), np.nan), "holds NaN"),
    "of objects": ("cat.npy", np.array([{}]), "does not hold an array of numbers"),
    "without end": ("cat.npy", b"\x93NUMPY\x01\x00v\x00" + ENDLESS.ljust(117) + b"\n", "cannot be read"),
    "damaged": ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "--image"),
    "of words": ("cat.npy", np.array(["meow"]), "does not hold an array of numbers"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images(kind, capsys, place, tmp_path):
    name, content, expected = IMAGES[kind]
    onnx.save(sound(), tmp_path / "model.onnx")
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    line = refused(capsys, place, "verify", tmp_path / "model.onnx", "--image", tmp_path / name)
    assert expected in line and "--image" in line


@pytest.mark.parametrize("cut", range(1, 40))
def test_damaged_bytes_never_end_in_a_traceback(cut, tmp_path):
    """The sound model with one byte changed is rewritten, refused, or found wanting."""
    data = bytearray(sound().SerializeToString())
    data[(cut * 37) % len(data)] ^= 1 << cut % 8
    (tmp_path / "bad.onnx").write_bytes(data)
    assert cli.run(["rewrite", str(tmp_path / "bad.onnx")]) in (0, 1, 2)


def test_bodies_in_bodies_have_an_end(monkeypatch):
    monkeypatch.setattr(builder, "MOST_NODES", 100)
    with pytest.raises(cli.ScopeError, match="more than 100 nodes would be written"):
        opening.rewrite(doubled("f", 8))
