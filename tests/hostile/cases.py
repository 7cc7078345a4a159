"""Hostile files, one for each known attack on programs that open models. Each is refused, or harmless."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from makers import (
    FLOAT,
    INT64,
    after,
    classifier,
    deep_bytes,
    external,
    field,
    functions,
    model,
    nested_ifs,
    nested_loops,
    node,
    npy,
    numbers,
    png,
    raw_model,
    stored,
)
from onnx import helper

Made = onnx.ModelProto | bytes | None
REFUSED, ANY = (2,), (0, 1, 2)
# The verbs that read a model; each word in capitals is replaced by a path.
READING = (
    "doctor MODEL",
    "rewrite MODEL -o OUT/scope.onnx",
    "verify MODEL",
    "row MODEL --image IMAGE --device cpu --preset unit --pixel 0 -o OUT/row",
    "diff MODEL MODEL --image IMAGE -o OUT/diff.html",
)
ROW = ("row MODEL --image IMAGE --device cpu --preset unit --pixel 0 -o OUT/row",)
ONCE = ("doctor MODEL",)  # for what takes long


@dataclass(frozen=True)
class Case:
    """A hostile file, how it is made in a folder, and what is said about it."""

    name: str
    make: Callable[[Path], Made]  # the model; files beside it are written by the function
    said: str = ""  # a part of the line with which every verb refuses it
    codes: Sequence[int] = REFUSED
    verbs: Sequence[str] = READING


CASES: list[Case] = []


def case(
    name: str, said: str = "", codes: Sequence[int] = REFUSED, verbs: Sequence[str] = READING
) -> Callable[[Callable[[Path], Made]], Callable[[Path], Made]]:
    """Adds a function that makes a hostile file."""

    def add(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        CASES.append(Case(name, make, said, codes, verbs))
        return make

    return add


def made(
    name: str,
    proto: Callable[[], Made],
    said: str = "",
    codes: Sequence[int] = REFUSED,
    verbs: Sequence[str] = READING,
) -> None:
    """Adds a case that is a model and nothing else."""
    CASES.append(Case(name, lambda _: proto(), said, codes, verbs))


# external data: files that a model names


def secret(folder: Path) -> Path:
    """A file outside of the model's folder, with as many bytes as the weight."""
    path = folder.parent / "secret.bin"
    path.write_bytes(bytes(432))
    return path


@case("external data: by dots", "leads out of the model's folder")
def _(folder: Path) -> Made:
    secret(folder)
    return external(folder, "../secret.bin")


@case("external data: by dots behind a folder", "leads out of the model's folder")
def _(folder: Path) -> Made:
    secret(folder)
    (folder / "sub").mkdir()
    return external(folder, "sub/../../secret.bin")


@case("external data: by dots of Windows", "leads out of the model's folder")
def _(folder: Path) -> Made:
    return external(folder, "sub\\..\\..\\secret.bin")


@case("external data: absolute", "is not relative")
def _(folder: Path) -> Made:
    return external(folder, str(secret(folder)))


@case("external data: a symbolic link", "is a symbolic link")
def _(folder: Path) -> Made:
    (folder / "link").symlink_to(secret(folder))
    return external(folder, "link")


@case("external data: a symbolic link that stays inside", "cp -rL")
def _(folder: Path) -> Made:
    (folder / "link").symlink_to("w.bin")
    return external(folder, "link")


@case("external data: a folder that is a link", "lies behind one")
def _(folder: Path) -> Made:
    secret(folder)
    (folder / "up").symlink_to("..")
    return external(folder, "up/secret.bin")


@case("external data: a deep folder that is a link", "lies behind one")
def _(folder: Path) -> Made:
    secret(folder)
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "up").symlink_to("../../..")
    return external(folder, "a/b/up/secret.bin")


@case("external data: a hard link", "is a hard link: 2 names")
def _(folder: Path) -> Made:
    os.link(secret(folder), folder / "hard")
    return external(folder, "hard")


@case("external data: a pipe", "is a folder, a device or a pipe")
def _(folder: Path) -> Made:
    os.mkfifo(folder / "pipe")
    return external(folder, "pipe")


@case("external data: a folder", "is a folder, a device or a pipe")
def _(folder: Path) -> Made:
    (folder / "sub").mkdir()
    return external(folder, "sub")


@case("external data: a device behind a link", "is a symbolic link")
def _(folder: Path) -> Made:
    (folder / "zero").symlink_to("/dev/zero")
    return external(folder, "zero")


@case("external data: the process's own memory", "is not relative")
def _(folder: Path) -> Made:
    return external(folder, "/proc/self/mem")


@case("external data: a cache of downloads, whose files are links", "cp -rL")
def _(folder: Path) -> Made:
    (folder.parent / "blobs").mkdir()
    proto = external(folder, "model.data")
    (folder / "w.bin").rename(folder.parent / "blobs" / "9f86")
    (folder / "model.data").symlink_to("../blobs/9f86")
    return proto


@case("a model that is a link itself is read", codes=(0, 1))
def _(folder: Path) -> Made:
    (folder.parent / "blob").write_bytes(external(folder).SerializeToString())
    (folder / "bad.onnx").symlink_to("../blob")
    return None


@case("external data: keys that are attributes of objects are ignored", codes=(0, 1))
def _(folder: Path) -> Made:
    keys = {
        "basepath": "/etc",
        "__class__": "x",
        "__dict__": "{}",
        "folder": "/",
        "state": "",
        "checksum": "0",
    }
    return external(folder, **keys)


@case("external data: a key twice", "a key is given twice")
def _(folder: Path) -> Made:
    proto = external(folder)
    proto.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    return proto


for name, keys, said in (
    ("a negative offset", {"offset": -8}, "is not a number of bytes"),
    ("a negative length", {"length": -1}, "is not a number of bytes"),
    ("an offset of a petabyte", {"offset": 1 << 50}, "which has only 432"),
    ("an offset beyond any file", {"offset": (1 << 63) - 1}, "which has only 432"),
    ("an offset of a thousand digits", {"offset": "9" * 1000}, "is not a number of bytes"),
    ("an offset in other digits", {"offset": "٣"}, "is not a number of bytes"),
    ("a length of a petabyte", {"length": 1 << 50}, "needs 432"),
    ("one byte too few", {"offset": 1}, "which has only 432"),
    ("a marker of memory", {"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096}, "is an address in the memory"),
):
    CASES.append(
        Case(
            f"external data: {name}",
            lambda folder, keys=keys: external(folder, **{"location": "w.bin", **keys}),
            said,
        )
    )


@case("external data: an impossible size", "needs 4611686018427387904")
def _(folder: Path) -> Made:
    proto = external(folder, length=432)
    proto.graph.initializer[0].dims[:] = [1 << 30, 1 << 30]
    return proto


@case("external data: tensors that overlap", codes=(0, 1))
def _(folder: Path) -> Made:
    proto = external(folder)
    other = proto.graph.initializer.add()
    other.CopyFrom(proto.graph.initializer[0])
    other.name, other.dims[:] = "v", [4, 4, 1, 1]
    proto.graph.node[1].CopyFrom(node("Conv", ["h", "v"], ["r"], name="second"))
    return proto


@case("external data: a million tensors on the same bytes", "overlap so much")
def _(folder: Path) -> Made:
    proto = external(folder)
    (folder / "w.bin").write_bytes(bytes(64 << 10))
    for k in range(20_000):
        one = proto.graph.initializer.add()
        one.CopyFrom(proto.graph.initializer[0])
        one.name, one.dims[:] = f"w{k}", [1 << 14]
    return proto


@case("external data: in a Constant node, with an address", "is an address in the memory")
def _(folder: Path) -> Made:
    tensor = external(folder, "*/_ORT_MEM_ADDR_/*", offset=4096, length=432).graph.initializer[0]
    return after(node("Constant", [], ["c"], value=tensor))


@case("an address beside bytes of its own", codes=(0, 1))
def _(folder: Path) -> Made:
    proto = classifier()
    proto.graph.initializer[0].external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")
    return proto


# constants without end


def filled(shape: Sequence[int]) -> Made:
    return after(
        node("ConstantOfShape", ["s"], ["big"], value=stored(np.ones(1, np.float32))),
        node("ReduceMax", ["big"], ["c"], keepdims=0),
        weights=[stored(np.array(shape, np.int64), "s")],
    )


made("a constant of 108 petabytes", lambda: filled([1 << 54]), "would have the size")
made("a constant of 16 gigabytes", lambda: filled([1 << 16, 1 << 16]), "would have the size")
made("a constant of 4 gigabytes", lambda: filled([1 << 15, 1 << 15]), "out of almost nothing")
made("a constant of a negative size", lambda: filled([-5]))
made(
    "an Expand of a constant without end",
    lambda: after(
        node("Expand", ["one", "s"], ["big"]),
        node("ReduceMax", ["big"], ["c"], keepdims=0),
        weights=[stored(np.ones(1, np.float32), "one"), stored(np.array([1 << 30]), "s")],
    ),
    "out of almost nothing",
)
made(
    "a Tile of a constant without end",
    lambda: after(
        node("Tile", ["one", "s"], ["big"]),
        node("ReduceMax", ["big"], ["c"], keepdims=0),
        weights=[stored(np.ones((1, 1), np.float32), "one"), stored(np.array([1 << 15, 1 << 15]), "s")],
    ),
)
made(
    "a Range without end",
    lambda: after(
        node("Range", ["zero", "end", "one"], ["big"]),
        node("ReduceMax", ["big"], ["c"], keepdims=0),
        weights=[stored(np.float32(v), n) for v, n in ((0, "zero"), (1e9, "end"), (1, "one"))],
    ),
    codes=ANY,
)
made(
    "a sparse tensor that is large when it is dense",
    lambda: after(
        node(
            "Constant",
            [],
            ["c"],
            sparse_value=helper.make_sparse_tensor(
                stored(np.ones(1, np.float32)), stored(np.array([0]), "i"), [1 << 60]
            ),
        )
    ),
    "too large for a dense tensor",
)

# ranks, depths and counts

made(
    "a weight of a thousand axes",
    lambda: model(
        [node("Add", ["x", "w"])],
        [helper.make_tensor("w", FLOAT, [1] * 1000, [1.0])],
    ),
    "1,000 axes",
)
made("an image of a thousand axes", lambda: model([node("Relu")], shape=[1] * 1000), "1,000 axes")
made(
    "an image without end",
    lambda: model([node("Relu")], shape=[1, 3, 1 << 40, 1 << 20]),
    "declared to have the size",
)


def shaped(op: str, size: int) -> Made:
    proto = model([node(op, ["x", "s"])])
    proto.graph.input.append(helper.make_tensor_value_info("s", INT64, [size]))
    return proto


made("a Reshape to a declared rank of a billion", lambda: shaped("Reshape", 10**9), codes=ANY)
made("an Expand to a declared rank of a billion", lambda: shaped("Expand", 10**9), codes=ANY)
made(
    "an Unsqueeze to a thousand axes",
    lambda: model([node("Unsqueeze", ["x", "a"])], [stored(np.arange(1000), "a")]),
    "axes, and 32 are the most",
)
made("bodies in bodies", lambda: nested_ifs(20), "nested more than 16 deep")
made(
    "bodies deeper than a protobuf may be",
    lambda: deep_bytes(200),
    "cannot be parsed",
)
made("loops in loops", lambda: nested_loops(4, 1000), "times in all", (1, 2), ONCE)
made("a function that calls itself", lambda: functions(["f0"]), "calls itself")
made("functions that call each other", lambda: functions(["f1"], ["f2"], ["f0"]), "calls itself")
made(
    "functions deep in functions",
    lambda: functions(*([f"f{k + 1}"] for k in range(200)), ["Relu"]),
    "calls deep",
)
made(
    "functions that double",
    lambda: functions(*([f"f{k + 1}"] * 2 for k in range(40)), ["Relu"]),
    "functions written out",
)


def many_nodes(count: int) -> bytes:
    """A chain of Relu nodes."""
    names = [b"x", *(f"t{k}".encode() for k in range(count))]
    return raw_model(
        b"".join(
            field(1, field(1, a) + field(2, b) + field(4, b"Relu")) for a, b in itertools.pairwise(names)
        )
    )


made("a million nodes", lambda: many_nodes(10**6), "parts", verbs=ONCE)
made("270,000 nodes", lambda: many_nodes(270_000), "nodes", verbs=ONCE)
made("ten million empty nodes", lambda: raw_model(b"\x0a\x00" * 10_000_000), "parts", verbs=ONCE)
made(
    "ten million empty attributes", lambda: raw_model(field(1, b"\x2a\x00" * 10_000_000)), "parts", verbs=ONCE
)
made(
    "groups around the empty nodes",
    lambda: raw_model(b"\x9b\x06" + b"\x0a\x00" * 10_000_000 + b"\x9c\x06"),
    "parts",
    verbs=ONCE,
)
made("numbers of protobuf that do not end", lambda: b"\xff" * (5 << 20), "cannot be parsed")

# wrong parts

made(
    "a Constant without an output",
    lambda: model([node("Constant", [], [], value=stored(1.0)), node("Relu")]),
    codes=ANY,
)
made("a Constant without a value", lambda: after(node("Constant", [], ["c"])))
made("a node that reads itself", lambda: model([node("Add", ["x", "y"])]), "cycle")
made("two nodes of one output", lambda: model([node("Relu"), node("Abs")]), "so does another node")
made("an If without a body", lambda: model([node("If", ["yes"])], [stored(True, "yes")]))
made(
    "an unknown domain",
    lambda: model([helper.make_node("Run", ["x"], ["y"], domain="os.system")]),
    "os.system",
)
made(
    "an opset of the far future",
    lambda: changed_opset(1 << 40),
)


def changed_opset(version: int) -> onnx.ModelProto:
    proto = model([node("Relu")])
    proto.opset_import[0].version = version
    return proto


def odd(op: str, *inputs: object, outputs: int = 1, **attrs: object) -> Made:
    """One node with constants behind its image."""
    weights = [stored(v, f"w{k}") for k, v in enumerate(inputs)]
    names = ["y", *(f"y{k}" for k in range(1, outputs))]
    return model([node(op, ["x", *(w.name for w in weights)], names, **attrs)], weights)


for name, proto in {
    "a Conv with huge pads": lambda: odd("Conv", numbers(4, 3, 3, 3), pads=[1 << 62] * 4),
    "a Conv with negative strides": lambda: odd("Conv", numbers(4, 3, 3, 3), strides=[-1, -1]),
    "a Conv without dilation": lambda: odd("Conv", numbers(4, 3, 3, 3), dilations=[0, 0]),
    "a Conv of no groups": lambda: odd("Conv", numbers(4, 3, 3, 3), group=0),
    "an AveragePool without a window": lambda: odd("AveragePool", kernel_shape=[0, 0]),
    "a Resize without end": lambda: model(
        [node("Resize", ["x", "", "s"])], [stored(np.array([1, 1, 1e6, 1e6], np.float32), "s")]
    ),
    "a Split into nothing": lambda: odd("Split", np.array([0, 3]), outputs=2, axis=1),
    "a Gather far outside": lambda: odd("Gather", np.array([1 << 40])),
    "a Transpose by other axes": lambda: odd("Transpose", perm=[9, 9, 9, 9]),
    "a Reshape that does not fit": lambda: odd("Reshape", np.array([7, 7])),
    "a DepthToSpace by zero": lambda: odd("DepthToSpace", blocksize=0),
    "a Slice with a step of zero": lambda: odd(
        "Slice", np.array([0]), np.array([1]), np.array([0]), np.array([0])
    ),
    "a Pad without end": lambda: odd("Pad", np.array([0, 0, 1 << 40, 0] * 2)),
    "a OneHot without end": lambda: model(
        [
            node("ArgMax", ["x"], ["i"]),
            node("OneHot", ["i", "d", "v"], ["c"]),
            node("ReduceSum", ["c"], ["s"]),
            node("Add", ["x", "s"]),
        ],
        [stored(np.int64(1 << 40), "d"), stored(np.array([0, 1], np.float32), "v")],
    ),
    "a TopK of more than there are": lambda: odd("TopK", np.array([1 << 40]), outputs=2),
    "a Cast to a type that is not": lambda: odd("Cast", to=99),
    "an Einsum of nonsense": lambda: odd("Einsum", equation="...->" + "abc" * 1000),
}.items():
    made(name, proto, codes=ANY)

# names


def named(relu: str, hidden: str = "h") -> Callable[[], Made]:
    return lambda: classifier(relu, hidden)


TOURING = (*READING, "tour MODEL --image IMAGE --device cpu -k 1 --seconds 2 -o OUT/tour.html")
TOURED = ("codes of a terminal", "HTML", "templates")
HTML = "</table></style><img src=x onerror=alert(1)><script>alert(1)</script>"
for name, text in {
    "codes of a terminal": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b2J",
    "HTML": HTML,
    "writing turned round": "evil\u202egnp.exe\u2066\u200b",
    "null bytes": "a\0b",
    "line ends": "a\nonnxscope: error: none\r\nb\u2028c",
    "templates": "{{ 7*7 }}{% raw %}${jndi:x}%s%n$\\frac{",
    "a formula": '=cmd|"/c calc"!A1',
    "a path": "../../../../tmp/owned",
    "a hundred thousand letters": "n" * 60_000,
}.items():
    CASES.append(
        Case(
            f"a name with {name}",
            lambda _, text=text: classifier(text, f"t{text}"),
            codes=(0, 1),
            verbs=TOURING if name in TOURED else READING,
        )
    )
made("a name of a million letters", named("n" * 10**6), "a name in it has 1,000,000 letters")
made(
    "a name that is not UTF-8",
    lambda: classifier("relu").SerializeToString().replace(b"\x04relu", b"\x04\xff\xfe\xc0\x80"),
    "not text",
)
made(
    "a name in UTF-8 that is too long",
    lambda: classifier("relu").SerializeToString().replace(b"\x04relu", b"\x04\xe0\x80\xafx"),
    "not text",
)
made(
    "half of a pair of UTF-16 as a name",
    lambda: classifier("relu").SerializeToString().replace(b"\x04relu", b"\x04x\xed\xa0\x80"),
    "not text",
)

# pictures and arrays


SEEING = (
    "verify MODEL --image FOLDER/FILE",
    "row MODEL --image FOLDER/FILE --device cpu --pixel 0 -o OUT/row",
)


def pictured(
    name: str, file: str, content: Callable[[], bytes], said: str, verbs: Sequence[str] = SEEING
) -> None:
    """Adds a case that is a picture or another file beside a sound model."""

    def make(folder: Path) -> Made:
        (folder / file).write_bytes(content())
        return classifier()

    CASES.append(Case(name, make, said, REFUSED, [verb.replace("FILE", file) for verb in verbs]))


BIG = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
pictured("a PNG of a gigapixel", "a.png", lambda: png(40_000, 30_000, 30_000), "pixels")
pictured("a PNG of a huge size and no pixels", "a.png", lambda: png(2**31 - 1, 2**31 - 1), "--image")
pictured("a PNG without pixels", "a.png", lambda: png(0, 0), "--image")
pictured("a PNG that is cut", "a.png", lambda: png(64, 64, 64)[:45], "--image")
pictured(
    "a GIF of the largest size",
    "a.gif",
    lambda: (
        b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"
    ),
    "pixels",
)
pictured(
    "a program for Ghostscript",
    "a.png",
    lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/owned) (w) file\n",
    "is not an image",
)
pictured(
    "a FITS file",
    "a.png",
    lambda: b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "is not an image",
)
pictured(
    "a vector graphic that reads files",
    "a.png",
    lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    "is not an image",
)
pictured(
    "an array of 10^15 numbers",
    "a.npy",
    lambda: npy(BIG % "1000000000000000,"),
    "numbers, and",
)
pictured(
    "an array that is larger than its file",
    "a.npy",
    lambda: npy(BIG % "20000, 20000", bytes(64)),
    "cut short",
)
pictured("an array of negative size", "a.npy", lambda: npy(BIG % "-4, -4", bytes(64)), "--image")
pictured(
    "an array in the order of Fortran, cut",
    "a.npy",
    lambda: npy(BIG.replace("False", "True") % "20000, 20000", bytes(64)),
    "cut short",
)
pictured(
    "a header of five megabytes",
    "a.npy",
    lambda: npy((BIG % "1, 3, 8, 8") + " " * (5 << 20), bytes(768), 2),
    "--image",
)
pictured("a header of nested brackets", "a.npy", lambda: npy("(" * 9000), "--image")
pictured(
    "a header that is a program",
    "a.npy",
    lambda: npy("__import__('os').system('touch /tmp/owned')"),
    "--image",
)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch /tmp/owned",)


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], object), allow_pickle=True)
    return file.getvalue()


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(f"{name}.npy", data)
    return file.getvalue()


START = ("svd MODEL --image IMAGE --device cpu -k 1 --start FOLDER/a.npz -o OUT/svd",)
pictured("an array of pickled objects", "a.npy", pickled, "does not hold an array of numbers")
pictured("a pickle", "a.npy", lambda: pickle.dumps(Evil()), "--image")
pictured("a zip file as an array", "a.npy", lambda: archive(x=pickled()), "--image")
pictured(
    "triplets that are a bomb",
    "a.npz",
    lambda: archive(
        **dict.fromkeys(("sigma", "u", "v", "residuals"), npy(BIG % "16777216,", bytes(1 << 26)))
    ),
    "--start",
    START,
)
pictured(
    "triplets that are pickled",
    "a.npz",
    lambda: archive(**dict.fromkeys(("sigma", "u", "v", "residuals"), pickled())),
    "--start",
    START,
)
pictured(
    "triplets of a huge shape",
    "a.npz",
    lambda: archive(**dict.fromkeys(("sigma", "u", "v", "residuals"), npy(BIG % "1000000000000000,"))),
    "--start",
    START,
)
pictured(
    "labels without end",
    "a.txt",
    lambda: b"x\n" * (10 << 20),
    "--labels",
    (ROW[0] + " --labels FOLDER/a.txt",),
)
pictured(
    "labels that are no text",
    "a.txt",
    lambda: bytes(range(256)),
    "--labels",
    (ROW[0] + " --labels FOLDER/a.txt",),
)


@case(
    "a picture that is a pipe",
    "not a regular file",
    verbs=(
        "verify MODEL --image FOLDER/a.png",
        "row MODEL --image FOLDER/a.npy --device cpu --pixel 0 -o OUT/row",
    ),
)
def _(folder: Path) -> Made:
    for name in ("a.png", "a.npy"):
        os.mkfifo(folder / name)
    return classifier()


@case("labels that are a pipe", "cannot be read as text", verbs=(ROW[0] + " --labels FOLDER/a.txt",))
def _(folder: Path) -> Made:
    os.mkfifo(folder / "a.txt")
    return classifier()


@case(
    "labels with codes and HTML",
    codes=(0, 1),
    verbs=(
        "tour MODEL --image IMAGE --device cpu -k 1 --seconds 2 --labels FOLDER/a.txt -o OUT/tour.html",
        ROW[0] + " --labels FOLDER/a.txt",
    ),
)
def _(folder: Path) -> Made:
    (folder / "a.txt").write_text(f"{HTML}\n\x1b[2J\u202e$\\frac{{\n=1+1\nfour\n", encoding="utf-8")
    return classifier()


# scope files: their metadata come from anybody too


def scope_with(**changes: object) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        from onnxscope.api import opening

        scope = opening.rewrite(classifier())
        scope.save(folder / "scope.onnx")
        proto = onnx.load(folder / "scope.onnx")
        for entry in proto.metadata_props:
            key = entry.key.removeprefix("onnxscope.")
            if key in changes:
                value = changes[key]
                entry.value = value if isinstance(value, str) else json.dumps(value)
        for key in changes.keys() - {e.key.removeprefix("onnxscope.") for e in proto.metadata_props}:
            proto.metadata_props.add(key=f"onnxscope.{key}", value=json.dumps(changes[key]))
        (folder / "scope.onnx").unlink()
        return proto

    return make


DEEP = "[" * 100_000
for name, changes in {
    "steps that are a number": {"nodes": 5},
    "steps of other types": {"nodes": [{"name": 1, "op": [], "how": {}}]},
    "steps with unknown fields": {"nodes": [{"name": "a", "op": "b", "how": "linear", "__class__": "x"}]},
    "notes that are a number": {"notes": 5},
    "notes of other types": {"notes": [{}, 5]},
    "sources of other types": {"sources": [1, 2]},
    "tensors of other types": {"tensors": {"x": 5}},
    "JSON that is nested without end": {"notes": DEEP},
    "JSON that is cut": {"nodes": '[{"name":'},
    "no such image": {"image": "nowhere"},
    "an unknown policy": {"policy": "evil"},
    "an unknown method": {"method": "evil"},
    "decisions of other types": {"decisions": [{"node": 1, "op": 2, "what": 3, "tensor": 4, "value": 5}]},
    "free sizes of other types": {
        "free_sizes": {"input": 5, "axes": "x", "step": 0, "probe": [], "cotangent": [], "checksum": []}
    },
}.items():
    CASES.append(
        Case(
            f"a scope with {name}",
            scope_with(**changes),
            codes=ANY if "method" in name else REFUSED,
            verbs=("verify MODEL", *ROW),
        )
    )
CASES.append(
    Case(
        "a scope with codes and HTML in its notes",
        scope_with(notes=[HTML, "\x1b[2J"]),
        codes=(0, 1),
        verbs=(
            "verify MODEL",
            *ROW,
            "tour MODEL --image IMAGE --device cpu -k 1 --seconds 2 -o OUT/tour.html",
        ),
    )
)
CASES.append(
    Case(
        "a scope that is cut",
        lambda folder: (scope_with()(folder)).SerializeToString()[:-200],
        verbs=("verify MODEL", *ROW),
        codes=ANY,
    )
)
