"""Where a model leaves height and width free, the picture's own size is made to fit it."""

from __future__ import annotations

import json
from pathlib import Path

import forms
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from support import model, node, randn

import onnxscope
from onnxscope.api.sizes import possible, sizes_for
from onnxscope.cli import main as cli
from onnxscope.errors import ScopeError
from onnxscope.files.models import load
from onnxscope.rewriting.options import Options


def free(proto: onnx.ModelProto, *, rows: bool = True) -> onnx.ModelProto:
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    for name, dim in [("rows", dims[2]), ("columns", dims[3])][0 if rows else 1 :]:
        dim.dim_param = name
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


def u_net(depth: int) -> onnx.ModelProto:
    """Halved so many times, enlarged again, and joined with what came before: it takes multiples of 2^depth."""
    nodes = [node("Conv", ["x", "w"], ["d0"], pads=[1, 1, 1, 1])]
    nodes += [
        node("MaxPool", [f"d{k}"], [f"d{k + 1}"], kernel_shape=[2, 2], strides=[2, 2]) for k in range(depth)
    ]
    last = f"d{depth}"
    for k in reversed(range(depth)):
        nodes += [
            node("Resize", [last, "", "scales"], [f"u{k}"], mode="nearest"),
            node("Concat", [f"u{k}", f"d{k}"], [f"c{k}"], axis=1),
            node("Conv", [f"c{k}", "narrow"], [f"n{k}"]),
        ]
        last = f"n{k}"
    nodes += [node("Identity", [last])]
    weights = {"w": randn(4, 3, 3, 3), "narrow": randn(4, 8, 1, 1), "scales": np.float32([1, 1, 2, 2])}
    return free(model(nodes, {"x": randn(1, 3, 64, 64)}, ["y"], weights=weights))


def any_size() -> onnx.ModelProto:
    return free(
        model([node("Conv", ["x", "w"])], {"x": randn(1, 3, 8, 8)}, ["y"], weights={"w": randn(4, 3, 3, 3)})
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path / "p.png"


@pytest.mark.parametrize(
    ("proto", "most", "shape", "note"),
    [
        (any_size(), 1024, (1, 3, 50, 70), ""),
        (any_size(), 35, (1, 3, 25, 35), "no side may be longer than 35 (--max-side)"),
        (u_net(1), 1024, (1, 3, 50, 70), ""),
        (u_net(3), 1024, (1, 3, 48, 72), "multiples of 8"),
        (u_net(4), 1024, (1, 3, 48, 64), "multiples of 16"),
        (u_net(4), 40, (1, 3, 32, 32), "(--max-side) and the network takes multiples of 16"),
    ],
)
def test_the_size_is_made_to_fit(
    proto: onnx.ModelProto, most: int, shape: tuple[int, ...], note: str, picture: Path
) -> None:
    found = sizes_for(load(proto), picture, Options(), max_side=most)
    assert found.shapes == {"x": shape}
    assert note in found.note
    assert bool(found.note) == bool(note)


def test_given_sizes_stay(picture: Path) -> None:
    assert sizes_for(load(u_net(3)), picture, Options({"x": (1, 3, 8, 8)})).shapes == {}


def test_each_size_is_tried_once_and_stays_within_the_limit() -> None:
    sizes = [size for _, size in possible((50, 70), 64)]
    assert len(sizes) == len(set(sizes))
    assert all(max(size) <= 64 or min(size) == 128 for size in sizes)


def test_a_verb_says_which_size_it_took(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(u_net(3), tmp_path / "u.onnx")
    arguments = ["residual", tmp_path / "u.onnx", "--image", picture, "-o", tmp_path / "out", "--json"]
    assert cli.run(list(map(str, arguments))) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("taken as 48x72" in note for note in found["notes"])


# a batch of a fixed size


def batch_of(count: int, folder: Path, reshaped: bool) -> Path:
    """A network for so many pictures; reshaped to a fixed number of rows it takes no other."""
    proto = forms.plain((count, *forms.PICTURE[1:]))
    if reshaped:
        (flatten,) = (n for n in proto.graph.node if n.op_type == "Flatten")
        flatten.op_type = "Reshape"
        flatten.input.append("rows")
        proto.graph.initializer.append(numpy_helper.from_array(np.array([count, -1]), "rows"))
    onnx.save(proto, folder / "batch.onnx")
    return folder / "batch.onnx"


@pytest.mark.parametrize("reshaped", [False, True])
def test_one_picture_for_a_model_of_several(
    reshaped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is opened for one, or where that cannot be the picture is repeated and the first is explained."""
    form = forms.of_picture(tmp_path, forms.plain())
    batch = batch_of(4, tmp_path, reshaped)
    arguments = ["--image", str(form.image), "--json", "-o", str(tmp_path / "out")]
    assert cli.run(["ledger", str(batch), *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["score"] == pytest.approx(float(form.scores.max()), rel=1e-4)
    assert facts["sizes"]["image"] == [4 if reshaped else 1, 3, forms.SIDE, forms.SIDE]
    assert ("the model takes 4 pictures at once, and was opened for one" in facts["notes"]) != reshaped


def test_an_array_of_several_pictures_stays_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "four.npy", forms.values((4, *forms.PICTURE[1:])))
    arguments = ["--image", str(tmp_path / "four.npy"), "--json", "-o", str(tmp_path / "out")]
    assert cli.run(["ledger", str(batch_of(4, tmp_path, False)), *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sizes"]["image"] == [4, 3, forms.SIDE, forms.SIDE]


# in Python


def test_a_model_of_free_sizes_waits_for_its_first_image(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 56, 3), 90, np.uint8)).save(tmp_path / "p.png")
    opened = onnxscope.load(free(u_net(3)))
    assert "waits for an image" in repr(opened)
    with pytest.raises(ScopeError, match=r"its height and width are free.*freeze an image first"):
        _ = opened.scope
    x = opened.freeze(tmp_path / "p.png")
    assert x.image.shape == (1, 3, 40, 56)
    assert opened.freeze(np.zeros((1, 3, 40, 56), np.float32)).image.shape == (1, 3, 40, 56)


def test_an_array_has_the_size_that_a_free_model_is_opened_for() -> None:
    image = randn(1, 3, 24, 32)
    x = onnxscope.load(free(u_net(3))).freeze(image)
    fixed = onnxscope.load(free(u_net(3)), input_shapes={"x": image.shape}).freeze(image)
    np.testing.assert_array_equal(x.output, fixed.output)
    assert onnxscope.load(free(u_net(3))).freeze(image[0]).image.shape == image.shape
