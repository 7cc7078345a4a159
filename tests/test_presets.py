"""Which preprocessing a network wants: found where it is known, or undecided, and never wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import onnxscope
from onnxscope.api.by_image import resolved
from onnxscope.ask.presets import Preset, given
from onnxscope.cli import main as cli
from onnxscope.cli.options import Pictures
from onnxscope.errors import BadOption
from onnxscope.files import pictures
from onnxscope.files.preprocessing import PRESETS, Preprocess, preprocessing
from tests.support import model, node, randn

ROOT = Path(__file__).parents[1]
SCENES, PHOTOGRAPHS = ROOT / "models" / "scenes", ROOT / "models" / "photographs"
SHARED = ROOT.parent / "shared"
BUNDLED = {  # the truth, and whether it can be found
    "edsr_small": ("unit", False),
    "pixelshuffle_small": ("unit", False),
    "pixelshuffle_small_fp16": ("unit", False),
    "pixelshuffle_small_int8": ("unit", True),
    "pixelshuffle_small_torch": ("unit", False),
    "scenes_labels": ("signed", False),
    "scenes_resnet": ("unit", True),
    "scenes_resnet_fp16": ("unit", True),
    "scenes_resnet_int8": ("unit", True),
    "scenes_resnet_torch": ("unit", False),
    "scenes_vgg": ("unit", False),
    "scenes_vgg_bn": ("unit", True),
    "tiny_scores": (None, False),  # random weights and statistics
}
PUBLISHED = {
    "mnist_cntk_op8": ("raw", (1, 1, 28, 28)),
    "cifar10_winml_op10": ("signed", (1, 3, 32, 32)),
    "superres_espcn_d2s_op15": ("unit", (1, 1, 224, 224)),
    "style_fast_op12": ("raw", (1, 3, 128, 160)),
    "style_smalleff48_op18": ("raw", (1, 3, 128, 160)),
    "det_ultraface_slim320_simp_op9": ("centred", (1, 3, 240, 320)),
    "det_blazeface_front_op12": ("signed", (1, 128, 128, 3)),
    "seg_selfie_landscape_op9": ("unit", (1, 144, 256, 3)),
    "ppocr_mobile_v2_cls_op14": ("signed", (1, 3, 48, 192)),
    "lowlight_sci_op11": ("unit", (1, 3, 240, 320)),
}
KERNEL = np.random.default_rng(5).standard_normal((16, 3, 3, 3)).astype(np.float32)
ORDERED = [(name, order) for name in PRESETS for order in ("rgb", "bgr")]


def found(source: Any, picture: Path | None, shape: Sequence[int] | None = None, **options: Any) -> Preset:
    """What `auto` takes for a picture; without one, what the file says."""
    if picture is None:
        preset: Preset = onnxscope.doctor(source, **options).preset
        return preset
    shapes = {input_name(source): shape} if shape else {}
    opened = onnxscope.load(source, input_shapes=shapes, device="cpu", **options)
    opened.read(picture)
    return opened.preset


def input_name(source: Any) -> str:
    graph = (onnx.load(source, load_external_data=False) if isinstance(source, Path) else source).graph
    constants = {t.name for t in graph.initializer}
    return str(next(i.name for i in graph.input if i.name not in constants))


def convolved(
    values: np.ndarray | None = None,
    before: Sequence[onnx.NodeProto] = (),
    weights: dict[str, np.ndarray] | None = None,
    image: np.ndarray | None = None,
    statistics: bool = True,
) -> onnx.ModelProto:
    """Nodes that read 'x' and write 'z', a convolution, and a BatchNormalization with its own statistics."""
    image = np.zeros((1, 3, 48, 48), np.float32) if image is None else image
    kernel = KERNEL[:, : image.shape[1]] if image.shape[1] < 4 else KERNEL
    start = "z" if before else "x"
    nodes = [*before, node("Conv", [start, "k"], ["c"], name="conv")]
    held: dict[str, np.ndarray] = {"k": kernel, **(weights or {})}
    if not statistics:
        nodes.append(node("Relu", ["c"], ["y"]))
        return model(nodes, {"x": image}, ["y"], weights=held)
    seen = windows(image if values is None else values, kernel)
    names = ("gain", "bias", "mean", "var")
    many = len(kernel)
    held |= dict(zip(names, (np.ones(many), np.zeros(many), seen.mean(1), seen.var(1)), strict=True))
    held = {k: v.astype(np.float32) if k in names else v for k, v in held.items()}
    nodes += [node("BatchNormalization", ["c", *names], ["n"], name="bn"), node("Relu", ["n"], ["y"])]
    return model(nodes, {"x": image}, ["y"], weights=held)


def windows(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The convolution of pictures that are stacked on axis 0: [kernels, places]."""
    views = np.lib.stride_tricks.sliding_window_view(values.astype(np.float64), (3, 3), axis=(2, 3))
    return np.einsum("nchwij,kcij->knhw", views, kernel).reshape(len(kernel), -1)


def with_metadata(made: onnx.ModelProto, **held: str) -> onnx.ModelProto:
    for key, value in held.items():
        made.metadata_props.add(key=key.replace("__", "."), value=value)
    return made


def scene(k: int = 0) -> Path:
    return sorted(p for p in SCENES.glob("*.png") if "mask" not in p.name)[k]


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_networks(name: str) -> None:
    path = ROOT / "models" / f"{name}.onnx"
    truth, sure = BUNDLED[name]
    shape = (
        (1, 3, 32, 32) if name == "tiny_scores" else (1, 3, 96, 96) if "scenes" in name else (1, 3, 48, 48)
    )
    for picture in (scene(0), scene(7), scene(13), PHOTOGRAPHS / "cat.png", PHOTOGRAPHS / "coffee.png"):
        preset = found(path, picture, shape)
        assert preset.name in ({truth} if sure else {truth, "undecided"}), preset.line
        if preset.name == "undecided":
            assert preset.preprocess.scale == PRESETS["unit"].scale and preset.why


BIASES = {  # of a first convolution, what follows it, and the range that is taken
    "as large as pixels of 0…255": (60.0, "Relu", "raw"),
    "as large as pixels of 0…1": (0.3, "Relu", "unit"),
    "a little larger": (1.0, "Relu", "unit"),
    "removed again": (60.0, "InstanceNormalization", "unit"),
    "none": (0.0, "Relu", "unit"),
}


@pytest.mark.parametrize("case", BIASES)
def test_the_range_is_taken_that_fits_the_first_biases(case: str) -> None:
    """This decides nothing: the name stays undecided."""
    size, follower, taken = BIASES[case]
    more = ["ones", "zeros"] if follower == "InstanceNormalization" else []
    nodes = [node("Conv", ["x", "w", "b"], ["c"], name="first"), node(follower, ["c", *more])]
    held = {"w": randn(8, 3, 3, 3, seed=1) / 5, "b": np.float32(size) * np.sign(randn(8, seed=2))}
    held |= {"ones": np.ones(8, np.float32), "zeros": np.zeros(8, np.float32)} if more else {}
    made = model(nodes, {"x": randn(1, 3, 48, 48)}, ["y"], weights=held)
    preset = found(made, scene(3))
    assert (preset.name, preset.preprocess.scale) == ("undecided", PRESETS[taken].scale)
    assert preset.line.startswith(f"undecided, took {taken}")
    assert ("'first'" in preset.why) == (taken == "raw")


@pytest.mark.parametrize(
    ("gain", "size", "taken"), [(80.0, 48, "raw"), (0.5, 48, "unit"), (80.0, 24, "unit")]
)
def test_the_range_is_taken_that_a_picture_comes_out_in(gain: float, size: int, taken: str) -> None:
    """A style network normalises what comes in, and gives pixels of 0…255 whatever the range."""
    stride = 48 // size
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[stride] * 2),
        node("InstanceNormalization", ["c", "gain", "shift"]),
    ]
    held = {"w": randn(3, 3, 3, 3, seed=1), "gain": np.full(3, gain, np.float32)}
    held["shift"] = np.full(3, 1.5 * gain, np.float32)
    preset = found(model(nodes, {"x": randn(1, 3, 48, 48)}, ["y"], weights=held), scene(3))
    assert (preset.name, preset.preprocess.scale) == ("undecided", PRESETS[taken].scale)


def test_every_bundled_network_is_in_the_table() -> None:
    assert {p.stem for p in (ROOT / "models").glob("*.onnx")} == set(BUNDLED)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_networks(name: str) -> None:
    path, (truth, shape) = SHARED / "models" / f"{name}.onnx", PUBLISHED[name]
    if not path.exists():
        pytest.skip(f"{path.name} lies in a folder beside the project that is not at hand")
    for picture in [p for p in sorted((SHARED / "images").iterdir()) if p.suffix in (".png", ".jpg")]:
        preset = found(path, picture, shape)
        assert preset.name in (truth, "undecided"), preset.line


@pytest.mark.parametrize(("name", "order"), ORDERED)
def test_statistics_of_the_very_picture(name: str, order: str) -> None:
    chosen = preprocessing(name, channels=order)
    values = pictures.read(scene(3), (1, 3, 48, 48), chosen)
    preset = found(convolved(values), scene(3))
    assert (preset.name, preset.preprocess) == (name, chosen), preset.line
    assert "statistics of 'bn'" in preset.why


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"centred"}))
def test_statistics_of_other_pictures(name: str) -> None:
    chosen = preprocessing(name)
    every = [pictures.read(scene(k), (1, 3, 48, 48), chosen) for k in range(20)]
    made = convolved(np.concatenate(every))
    taken = [found(made, PHOTOGRAPHS / file) for file in ("cat.png", "coffee.png")]
    names = [preset.name for preset in taken]
    assert set(names) <= {name, "undecided"}, names
    assert all(p.preprocess == chosen for p in taken if p.name == name), "the other order is not much nearer"
    assert name in names or name == "imagenet", names  # beside `signed` it needs trained kernels


def test_what_hardly_differs_is_named_as_usual() -> None:
    chosen = preprocessing("centred")
    every = [pictures.read(scene(k), (1, 3, 48, 48), chosen) for k in range(20)]
    assert found(convolved(np.concatenate(every)), PHOTOGRAPHS / "cat.png").name in ("signed", "undecided")


def test_statistics_that_fit_nothing() -> None:
    odd = pictures.read(scene(), (1, 3, 48, 48), preprocessing("unit")) * 12 + 30
    preset = found(convolved(odd), scene())
    assert preset.name == "undecided" and "not clearly" in preset.why
    untrained = convolved(pictures.read(scene(), (1, 3, 48, 48), preprocessing("signed")))
    for tensor in untrained.graph.initializer:
        if tensor.name in ("mean", "var"):
            fresh = np.full(16, float(tensor.name == "var"), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(fresh, tensor.name))
    assert "not those of a trained network" in found(untrained, scene()).why
    assert preset.line.startswith("undecided, took unit: ")


def test_one_channel_is_luma() -> None:
    image = np.zeros((1, 1, 48, 48), np.float32)
    values = pictures.read(scene(2), image.shape, preprocessing("raw"))
    preset = found(convolved(values, image=image), scene(2))
    assert (preset.name, preset.preprocess.channels) == ("raw", "luma")
    assert found(convolved(image=image, statistics=False), scene()).preprocess.channels == "luma"


def test_four_channels_are_left_undecided() -> None:
    made = model([node("Relu", ["x"])], {"x": np.zeros((1, 4, 8, 8), np.float32)}, ["y"])
    assert found(made, scene()).why == "it takes 4 channels"
    assert found(with_metadata(made, Image__NominalPixelRange="Normalized_1_1"), scene()).name == "signed"


@pytest.mark.parametrize(
    ("held", "name", "order"),
    [
        (
            {"Image__NominalPixelRange": "NominalRange_0_255", "Image__BitmapPixelFormat": "Bgr8"},
            "raw",
            "bgr",
        ),
        ({"Image__NominalPixelRange": "Normalized_0_1", "Image__BitmapPixelFormat": "Rgb8"}, "unit", "rgb"),
        ({"Image__NominalPixelRange": "Normalized_1_1"}, "signed", "rgb"),
        ({"author": "Ultralytics", "task": "detect"}, "unit", "rgb"),
        ({"Image__NominalPixelRange": "NominalRange_16_235"}, "undecided", "rgb"),
        ({"Image__BitmapPixelFormat": "Bgr8"}, "undecided", "rgb"),
        ({"author": "someone"}, "undecided", "rgb"),
    ],
)
def test_metadata(held: dict[str, str], name: str, order: str) -> None:
    preset = found(with_metadata(convolved(statistics=False), **held), None)
    assert (preset.name, preset.preprocess.channels) == (name, order), preset.line


def test_metadata_overrule_statistics() -> None:
    made = convolved(pictures.read(scene(), (1, 3, 48, 48), preprocessing("raw")))
    assert found(made, scene()).name == "raw"
    assert found(with_metadata(made, author="Ultralytics"), scene()).name == "unit"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TensorProto.UINT8, "raw"), (TensorProto.INT32, "raw"), (TensorProto.INT8, "undecided")],
)
def test_whole_numbers(kind: int, name: str) -> None:
    zeros = np.zeros((1, 3, 8, 8), onnx.helper.tensor_dtype_to_np_dtype(kind))
    cast = node("Cast", ["x"], ["c"], to=TensorProto.FLOAT)
    assert found(model([cast, node("Relu", ["c"])], {"x": zeros}, ["y"]), None).name == name


MEAN, STD = (np.array(v) for v in (PRESETS["imagenet"].mean, PRESETS["imagenet"].std))
WIDE = (1, 3, 1, 1)
OPERATORS = {
    "1/255": ([("Mul", 1 / 255)], "raw"),
    "/255": ([("Div", 255.0)], "raw"),
    "to signed": ([("Div", 127.5), ("Sub", 1.0)], "raw"),
    "to centred": ([("Sub", 127.5), ("Mul", 0.0078125)], "raw"),
    "(x - 127)/128": ([("Sub", 127.0), ("Div", 128.0)], "raw"),
    "means alone": ([("Sub", np.array([123.7, 116.8, 103.9]).reshape(WIDE))], "raw"),
    "other means": ([("Sub", np.array([114.4, 111.5, 103.0]).reshape(WIDE))], "raw"),
    "imagenet of levels": (
        [("Sub", (255 * MEAN).reshape(WIDE)), ("Div", (255 * STD).reshape(WIDE))],
        "raw",
    ),
    "imagenet": ([("Sub", MEAN.reshape(WIDE)), ("Div", STD.reshape(WIDE))], "unit"),
    "imagenet, added": ([("Mul", (1 / STD).reshape(WIDE)), ("Add", (-MEAN / STD).reshape(WIDE))], "unit"),
    "2x - 1": ([("Mul", 2.0), ("Sub", 1.0)], "unit"),
    "255x": ([("Mul", 255.0)], "unit"),
    "DIV2K's means": ([("Sub", np.array([0.4488, 0.4371, 0.4040]).reshape(WIDE))], "unit"),
    "x/2 + 1/2": ([("Mul", 0.5), ("Add", 0.5)], "signed"),
    "255 - (255 - x), /255": ([("Sub from", 255.0), ("Sub from", 255.0), ("Div", 255.0)], "raw"),
    "0 - x, /255": ([("Sub from", 0.0), ("Div", 255.0)], "undecided"),
    "by one": ([("Mul", 1.0)], "undecided"),
    "by three": ([("Mul", 3.0)], "undecided"),
    "a little": ([("Add", 0.1)], "undecided"),
}


@pytest.mark.parametrize("case", OPERATORS)
def test_operators_at_the_input(case: str) -> None:
    steps, name = OPERATORS[case]
    names = ["x", *(f"s{k}" for k in range(len(steps) - 1)), "z"]
    nodes = []
    for k, (op, _) in enumerate(steps):
        read = [f"w{k}", names[k]] if op == "Sub from" else [names[k], f"w{k}"]
        nodes.append(node(op.split()[0], read, [names[k + 1]]))
    weights = {f"w{k}": np.asarray(value, np.float32) for k, (_, value) in enumerate(steps)}
    preset = found(convolved(before=nodes, weights=weights, statistics=False), None)
    assert preset.name == name, preset.line
    assert name == "undecided" or "operators at the input" in preset.why


def test_operators_behind_a_transpose() -> None:
    nodes = [
        node("Sub", ["x", "m"], ["a"]),
        node("Identity", ["a"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[0, 3, 1, 2]),
        node("Div", ["c", "s"], ["z"]),
        node("Conv", ["z", "k"], ["d"]),
        node("Relu", ["d"]),
    ]
    weights = {"m": MEAN.astype(np.float32), "s": STD.reshape(WIDE).astype(np.float32), "k": KERNEL}
    made = model(nodes, {"x": np.zeros((1, 48, 48, 3), np.float32)}, ["y"], weights=weights)
    assert found(made, None).name == "unit"


def test_a_batch_normalization_at_the_input() -> None:
    weights = {
        "g": np.ones(3, np.float32),
        "b": np.zeros(3, np.float32),
        "m": (255 * MEAN).astype(np.float32),
        "v": ((255 * STD) ** 2).astype(np.float32),
    }
    first = node("BatchNormalization", ["x", *weights], ["z"])
    assert found(convolved(before=[first], weights=weights, statistics=False), None).name == "raw"


def test_blue_first_where_the_means_say_it() -> None:
    weights = {"m": (255 * MEAN[::-1]).reshape(WIDE), "s": (255 * STD[::-1]).reshape(WIDE)}
    nodes = [node("Sub", ["x", "m"], ["a"]), node("Div", ["a", "s"], ["z"])]
    weights = {k: v.astype(np.float32) for k, v in weights.items()}
    preset = found(convolved(before=nodes, weights=weights, statistics=False), None)
    assert (preset.name, preset.preprocess.channels) == ("raw", "bgr")


@pytest.mark.parametrize(
    ("scale", "zero", "name"),
    [
        (1 / 255, np.uint8(0), "unit"),
        (2 / 255, np.uint8(128), "signed"),
        (1.0, np.int8(-128), "raw"),
        (1 / 127, np.int8(0), "undecided"),
        (0.1, np.uint8(3), "undecided"),
    ],
)
def test_the_range_of_a_quantized_input(scale: float, zero: np.generic, name: str) -> None:
    nodes = [node("QuantizeLinear", ["x", "s", "o"], ["q"]), node("DequantizeLinear", ["q", "s", "o"], ["z"])]
    weights = {"s": np.float32(scale), "o": zero}
    assert found(convolved(before=nodes, weights=weights, statistics=False), None).name == name


def test_given_presets_are_as_given() -> None:
    path = ROOT / "models" / "scenes_resnet.onnx"
    assert found(path, scene(), (1, 3, 96, 96), preset="raw").to_dict() == {
        "name": "raw",
        "mean": [0.0],
        "std": [1.0],
        "scale": 1.0,
        "channels": "rgb",
        "why": "as given",
    }
    own = Preprocess(mean=(0.2,), layout="nchw", fit="crop")
    assert (preset := found(path, scene(), (1, 3, 96, 96), preset=own)).name == "own"
    assert preset.preprocess == own
    assert Pictures(mean="0.1").chosen().preprocess == preprocessing("unit", mean="0.1")
    assert Pictures(channels="bgr").chosen().preprocess == preprocessing("unit", channels="bgr")
    assert Pictures(fit="crop").chosen().name == Pictures(preset="auto").chosen().name == "auto"
    with pytest.raises(BadOption, match="leave --std out, or name another preset"):
        Pictures(preset="auto", std="2").chosen()


def test_an_array_needs_no_preset() -> None:
    opened = onnxscope.load(ROOT / "models" / "scenes_resnet.onnx", device="cpu")
    opened.freeze(np.zeros((1, 3, 96, 96), np.float32))
    assert opened.preset.name == "undecided" and "array" in opened.preset.why
    opened.read(scene())
    assert opened.preset.name == "unit"


def test_layout_and_fit_are_kept() -> None:
    made = with_metadata(convolved(statistics=False), Image__NominalPixelRange="NominalRange_0_255")
    chosen = Pictures(layout="nchw", fit="crop").chosen()
    preset = found(made, scene(), preset=chosen)
    assert preset.preprocess == Preprocess(1.0, layout="nchw", fit="crop")


def test_an_image_inside_the_network() -> None:
    made = model(
        [node("Relu", ["x"], ["a"]), node("Relu", ["a"])], {"x": np.zeros((1, 7), np.float32)}, ["y"]
    )
    assert found(made, None, image="a").why == "the image is no picture of a fixed size"
    two = {"x": np.zeros((1, 3, 8, 8), np.float32), "w": np.zeros((1, 3, 8, 8), np.float32)}
    both = model([node("Add", ["x", "w"], ["a"]), node("Relu", ["a"])], two, ["y"])
    assert found(both, None, image="a").why == "the image is computed from several inputs"


def said(capsys: pytest.CaptureFixture, *arguments: Any) -> Any:
    capsys.readouterr()
    assert cli.run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_verb_says_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = ROOT / "models" / "scenes_resnet.onnx"
    asked = (path, "--image", scene())
    out = ("-o", tmp_path / "out")
    for verb in (
        ("doctor", *asked),
        ("verify", *asked),
        ("residual", *asked, *out),
        ("ledger", *asked, *out),
        ("compare", *asked, "--method", "saliency", *out),
    ):
        preset = said(capsys, *verb)["preset"]
        assert preset["name"] == "unit" and "stem.norm" in preset["why"]
        assert set(preset) == {"name", "mean", "std", "scale", "channels", "why"}
        assert cli.run([*map(str, verb)]) == 0
        (line,) = [t for t in capsys.readouterr().out.splitlines() if t.startswith("preset")]
        assert "unit: the statistics of 'stem.norm' fit unit" in line
    assert said(capsys, "doctor", path)["preset"]["name"] == "undecided"
    assert said(capsys, "verify", *asked, "--preset", "signed")["preset"]["name"] == "signed"


def test_the_page_says_it(tmp_path: Path) -> None:
    made = with_metadata(convolved(statistics=False), author="Ultralytics")
    page = onnxscope.load(made, device="cpu").freeze(scene()).tour(tmp_path / "t.html", k=1, seconds=1)
    line = "Preprocessing of pictures: unit: its metadata name Ultralytics, whose networks take 0 to 1."
    assert line in (tmp_path / "t.html").read_text()
    assert page.facts["preset"]["name"] == "unit"


def test_a_scope_says_it_too(tmp_path: Path) -> None:
    path = onnxscope.rewrite(ROOT / "models" / "scenes_resnet.onnx").save(tmp_path / "s.onnx")
    assert found(path, scene()).name == "unit"


def test_verify_reads_pictures_as_the_network_wants_them() -> None:
    made = convolved(pictures.read(scene(), (1, 3, 48, 48), preprocessing("raw")))
    scope = onnxscope.rewrite(made)
    assert resolved(scope.base(), scope.image, scope.original, given(None), scene()).name == "raw"
