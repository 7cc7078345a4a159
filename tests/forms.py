"""One small classifier in every form of file that exporters write, each with an image and its options.

Every form is a network of two convolutions and two dense layers that gives 5 scores, mostly for an image of
12×12 pixels. The forms differ in how the file stores the network, and in what it takes and gives.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image
from support import model, node

import onnxscope
from onnxscope import runtime

SIDE, SCORES, HIDDEN = 12, 5, 64
PICTURE = (1, 3, SIDE, SIDE)
OPEN, TURNED = (
    helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("as it is", "turned")
)
INLINE_BYTES = 257  # torch's exporter leaves smaller weights in the model
ROWS = (1 << 31) // (4 * HIDDEN) + 1  # of a float32 table that is larger than 2 GiB
ROW = 7  # the only one of them that is read
Network = tuple[list[NodeProto], dict[str, np.ndarray]]  # its nodes and its weights


@dataclass(frozen=True)
class Form:
    """A model file, an image for it, and what its user has to say beyond these."""

    model: Path
    image: Path  # a picture, or an .npy array where a picture does not fit
    feeds: Mapping[str, np.ndarray]  # what the model is fed with for this image, by input
    options: Sequence[str] = ()  # of every verb
    reading: Sequence[str] = ()  # of the verbs that read an image
    choice: Mapping[str, Any] = field(default_factory=dict)  # the same as `options`, for Python
    pixel: str = "1,5,6"  # an element of the image
    score: str = "2"  # an element of the output
    original: Path | None = None  # what gives the same scores, where this file alone cannot be run

    @cached_property
    def scores(self) -> np.ndarray:
        """What onnxruntime computes from the original file."""
        session = runtime.Session(self.original or self.model, optimise=False)
        return session.run(self.feeds, ["scores"])["scores"].astype(np.float32)

    @property
    def x0(self) -> np.ndarray:
        """The image as the model's input."""
        return self.feeds["image"]


# the network


def drawn(*shape: int, seed: int) -> np.ndarray:
    """Weights that keep the size of what passes through."""
    deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
    return (deviation * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def network(x: str = "image", channels: int = 3, sizes: Sequence[int] = (SIDE, SIDE)) -> Network:
    """From a tensor [N, channels, *sizes] to [N, SCORES], with any number of spatial axes."""
    axes = len(sizes)
    kernel = {"kernel_shape": [3] * axes, "pads": [1] * 2 * axes}
    halved = {"kernel_shape": [2] * axes, "strides": [2] * axes}
    nodes = [
        node("Conv", [x, "conv1.weight", "conv1.bias"], ["conv1"], name="conv1", **kernel),
        node("Relu", ["conv1"], ["relu1"], name="relu1"),
        node("MaxPool", ["relu1"], ["pool"], name="pool", **halved),
        node("Conv", ["pool", "conv2.weight", "conv2.bias"], ["conv2"], name="conv2", **kernel),
        node("Relu", ["conv2"], ["relu2"], name="relu2"),
        node("Flatten", ["relu2"], ["flat"], name="flat"),
        node("Gemm", ["flat", "dense1.weight", "dense1.bias"], ["dense1"], name="dense1", transB=1),
        node("Relu", ["dense1"], ["relu3"], name="relu3"),
        node("Gemm", ["relu3", "dense2.weight", "dense2.bias"], ["scores"], name="dense2", transB=1),
    ]
    flat = 8 * int(np.prod([size // 2 for size in sizes]))
    shapes = [(4, channels, *[3] * axes), (8, 4, *[3] * axes), (HIDDEN, flat), (SCORES, HIDDEN)]
    weights = {}
    for seed, (name, shape) in enumerate(zip(("conv1", "conv2", "dense1", "dense2"), shapes, strict=True)):
        weights[f"{name}.weight"] = drawn(*shape, seed=seed)
        weights[f"{name}.bias"] = drawn(shape[0], seed=seed + 50)
    return nodes, weights


def plain(shape: Sequence[int] = PICTURE) -> onnx.ModelProto:
    """The network for an image of this shape, channels first."""
    nodes, weights = network(channels=shape[1], sizes=shape[2:])
    return model(nodes, {"image": np.zeros(shape, np.float32)}, ["scores"], weights=weights)


def shifted(nodes: list[NodeProto], by: str) -> None:
    """Add a tensor to what the first dense layer gives."""
    last = nodes.index(next(n for n in nodes if n.name == "relu3"))
    nodes[last].input[0] = "shifted"
    nodes.insert(last, node("Add", ["dense1", by], ["shifted"], name="shifted"))


def values(shape: Sequence[int]) -> np.ndarray:
    """Between 0 and 1, as a picture's 255 levels."""
    return np.random.default_rng(11).integers(0, 256, shape).astype(np.float32) / np.float32(255)


def of_picture(folder: Path, proto: onnx.ModelProto, image: np.ndarray | None = None, **more: Any) -> Form:
    """One file whose image is a picture: the model's input unless that is given."""
    onnx.save(proto, folder / "net.onnx")
    given = values(PICTURE) if image is None else image
    levels = (given[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(folder / "image.png")
    return Form(folder / "net.onnx", folder / "image.png", **{"feeds": {"image": given}, **more})


def of_array(folder: Path, shape: Sequence[int], **more: str) -> Form:
    """One file whose image is no picture."""
    onnx.save(plain(shape), folder / "net.onnx")
    np.save(folder / "image.npy", values(shape))
    return Form(folder / "net.onnx", folder / "image.npy", {"image": values(shape)}, **more)


# how the file stores it


def external_data(folder: Path) -> Form:
    """As torch's exporter writes it: the large weights in net.onnx.data, named relative to the model."""
    form = of_picture(folder, plain())
    beside = {"save_as_external_data": True, "location": "net.onnx.data"}
    onnx.save(plain(), form.model, size_threshold=INLINE_BYTES, **beside)
    return form


def over_2_gib(folder: Path) -> Form:
    """The embedding of a fixed number is added inside: of a table over 2 GiB one row is read.

    The table's file is sparse, so that it takes no room on the disk.
    """
    nodes, weights = network()
    nodes.insert(0, node("Gather", ["table", "kind"], ["embedding"], name="embedding"))
    shifted(nodes, "embedding")
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, HIDDEN])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "net.onnx.data"), ("offset", 0), ("length", 4 * ROWS * HIDDEN)):
        table.external_data.add(key=key, value=str(value))
    weights["kind"] = np.array([ROW])
    proto = model(nodes, {"image": values(PICTURE)}, ["scores"], weights=weights)
    proto.graph.initializer.append(table)
    form = of_picture(folder, proto)
    with (folder / "net.onnx.data").open("wb") as file:
        file.seek(4 * ROW * HIDDEN)
        file.write(drawn(HIDDEN, seed=99).tobytes())
        file.truncate(4 * ROWS * HIDDEN)
    return form


def own_scope(folder: Path) -> Form:
    """The rewritten file of a model with external data."""
    return scope_of(external_data(folder))


def large_scope(folder: Path) -> Form:
    """The same with its weights in a file beside it, as the scope of a model over 2 GiB has them."""
    return scope_of(external_data(folder), external_bytes=0)


def scope_of(form: Form, *, free_size: bool = False, **options: int) -> Form:
    scope = onnxscope.rewrite(form.model, free_size=free_size)
    path = scope.save(form.model.with_name("net.scope.onnx"), **options)
    return replace(form, model=path, original=form.model)


# types


def float16(folder: Path) -> Form:
    """Weights, input and output are in half precision."""
    proto = plain()
    for tensor in proto.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    return of_picture(folder, proto, feeds={"image": values(PICTURE).astype(np.float16)})


class Images(CalibrationDataReader):  # type: ignore[misc]
    """The image darker and brighter, so that its own scores lie well inside of the ranges."""

    def __init__(self, image: np.ndarray) -> None:
        self.feeds = iter([{"image": image * np.float32(k)} for k in range(3)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def quantized(folder: Path, kind: QuantFormat) -> Form:
    """By onnxruntime's own tool; weights by channel where their layout allows it."""
    form, path = of_picture(folder, plain()), folder / "int8.onnx"
    quantize_static(form.model, path, Images(form.x0), kind, per_channel=kind is QuantFormat.QDQ)
    return replace(form, model=path)


# what goes in and comes out


def nhwc(folder: Path) -> Form:
    """Channels last outside, as Keras has them."""
    nodes, weights = network("turned")
    nodes.insert(0, node("Transpose", ["image"], ["turned"], name="turned", perm=[0, 3, 1, 2]))
    image = np.ascontiguousarray(values(PICTURE).transpose(0, 2, 3, 1))
    proto = model(nodes, {"image": image}, ["scores"], weights=weights)
    return of_picture(folder, proto, feeds={"image": image})


def uint8(folder: Path) -> Form:
    """Pixels of 0…255 go in, and the preprocessing is part of the network."""
    nodes, weights = network("normal")
    nodes[:0] = [
        node("Cast", ["image"], ["pixels"], name="pixels", to=TensorProto.FLOAT),
        node("Div", ["pixels", "white"], ["unit"], name="unit"),
        node("Sub", ["unit", "mean"], ["centred"], name="centred"),
        node("Div", ["centred", "std"], ["normal"], name="normal"),
    ]
    weights |= {
        "white": np.float32(255),
        "mean": np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1),
        "std": np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1),
    }
    image = (values(PICTURE) * 255).round().astype(np.uint8)
    proto = model(nodes, {"image": image}, ["scores"], weights=weights)
    options = {"options": ["--image-input", "pixels"], "reading": ["--preset", "raw"]}
    return of_picture(folder, proto, feeds={"image": image}, choice={"image": "pixels"}, **options)


def free_batch(folder: Path) -> Form:
    proto = plain()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return of_picture(folder, proto)


def batch_of_4_as_1(folder: Path) -> Form:
    """The sizes that a file fixes are given anew, as the refusals of a batch of 4 recommend."""
    onnx.save(plain(), folder / "one.onnx")
    options, choice = ["--input-shape", "image:1x3x12x12"], {"input_shapes": {"image": PICTURE}}
    more = {"options": options, "choice": choice, "original": folder / "one.onnx"}
    return of_picture(folder, plain((4, *PICTURE[1:])), **more)


def free_sizes(folder: Path) -> Form:
    """Height and width are the picture's; the dense layers read the mean over what is left of them."""
    nodes, weights = network()
    flatten = next(n for n in nodes if n.op_type == "Flatten")
    nodes.insert(nodes.index(flatten), node("GlobalAveragePool", ["relu2"], ["mean"], name="mean"))
    flatten.input[0] = "mean"
    weights["dense1.weight"] = drawn(HIDDEN, 8, seed=2)
    proto = model(nodes, {"image": values(PICTURE)}, ["scores"], weights=weights)
    for axis, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    return of_picture(folder, proto, choice={"input_shapes": {"image": PICTURE}})


def free_scope(folder: Path) -> Form:
    """The scope of the same for all sizes."""
    return scope_of(free_sizes(folder), free_size=True)


def two_inputs(folder: Path) -> Form:
    """A picture, and what else is known of it."""
    nodes, weights = network()
    shifted(nodes, "known")
    feeds = {"image": values(PICTURE), "known": drawn(1, HIDDEN, seed=99)}
    np.save(folder / "known.npy", feeds["known"])
    given = {"reading": ["--input", f"known={folder / 'known.npy'}"], "feeds": feeds}
    return of_picture(folder, model(nodes, feeds, ["scores"], weights=weights), **given)


def two_outputs(folder: Path) -> Form:
    """A feature map first, then the scores, which are to be explained."""
    nodes, weights = network()
    proto = model(nodes, {"image": values(PICTURE)}, ["relu2", "scores"], weights=weights)
    return of_picture(folder, proto, options=["--output", "scores"], choice={"output": "scores"})


def deciding(folder: Path) -> Form:
    """Dark pictures are turned into their negatives, and where the picture begins is computed from it."""
    nodes, weights = network("cut")
    branches = {
        "then_branch": helper.make_graph([node("Identity", ["image"], ["as it is"])], "bright", [], [OPEN]),
        "else_branch": helper.make_graph([node("Sub", ["white", "image"], ["turned"])], "dark", [], [TURNED]),
    }
    nodes[:0] = [
        node("ReduceMean", ["image"], ["mean"], name="mean", keepdims=0),
        node("Greater", ["mean", "grey"], ["bright"], name="bright"),
        node("If", ["bright"], ["shown"], name="shown", **branches),
        node("Mul", ["mean", "none"], ["first"], name="first"),
        node("Cast", ["first"], ["begin"], name="begin", to=TensorProto.INT64),
        node("Reshape", ["begin", "one"], ["begins"], name="begins"),
        node("Slice", ["shown", "begins", "side", "rows"], ["cut"], name="cut"),
    ]
    weights |= {"grey": np.float32(0.25), "white": np.float32(1), "none": np.float32(0), "one": np.array([1])}
    weights |= {"side": np.array([SIDE]), "rows": np.array([2])}
    proto = model(nodes, {"image": values(PICTURE)}, ["scores"], weights=weights)
    return of_picture(folder, proto, choice={"image": values(PICTURE)})


def one_channel(folder: Path) -> Form:
    shape = (1, 1, SIDE, SIDE)
    return of_picture(folder, plain(shape), values(shape), pixel="0,5,6")


FORMS: dict[str, Callable[[Path], Form]] = {
    "one file": lambda folder: of_picture(folder, plain()),
    "external data": external_data,
    "over 2 GiB": over_2_gib,
    "own scope": own_scope,
    "large scope": large_scope,
    "float16": float16,
    "QDQ": partial(quantized, kind=QuantFormat.QDQ),
    "QOperator": partial(quantized, kind=QuantFormat.QOperator),
    "NHWC": nhwc,
    "uint8": uint8,
    "batch of 4": partial(of_array, shape=(4, *PICTURE[1:]), pixel="3,1,5,6", score="3,2"),
    "batch of 4 as 1": batch_of_4_as_1,
    "free batch": free_batch,
    "free sizes": free_sizes,
    "free scope": free_scope,
    "two inputs": two_inputs,
    "two outputs": two_outputs,
    "one channel": one_channel,
    "decides on values": deciding,
    "signal": partial(of_array, shape=(1, 2, 24), pixel="0,1,9"),
    "clip": partial(of_array, shape=(1, 3, 4, 8, 8), pixel="1,2,5,6"),
}


@cache
def made(name: str) -> Form:
    """A form, made when it is first asked for; its files are gone when the process ends."""
    folder = Path(root().name) / name.replace(" ", "-")
    folder.mkdir()
    return FORMS[name](folder)


@cache
def root() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="onnxscope-forms-")


Table = Sequence[tuple[str, str, str]]  # questions, forms, and what the message says


def reasons(table: Table, questions: Collection[str], forms: Collection[str]) -> dict[tuple[str, str], str]:
    """The reason for every refused question and form; no pair is named twice, and no name is misspelt."""
    found: dict[tuple[str, str], str] = {}
    for some, others, reason in table:
        for question in questions if some == "all" else some.split(", "):
            for form in others.split(", "):
                assert (question, form) not in found and question in questions and form in forms
                found[question, form] = reason
    return found
