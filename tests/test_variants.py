"""One network as several tools write it, in models/: each is what its card says, is proved, and computes what the original does."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import MODELS, pixel_shuffle
from support import POLICIES, close, run

import onnxscope

ROOT = Path(__file__).parents[1]
NETWORKS = {"scenes_resnet": 96, "pixelshuffle_small": 24}  # and the height and width of the image here
NEAR = {  # shares of the largest output
    "torch": 1e-5,  # the same sums in float32, BatchNormalization multiplied into the convolutions
    "fp16": 1e-2,  # each of some thirty layers rounds to 1/2048
    "int8": 0.1,  # each of some twenty tensors is rounded to 1/256 of its range
}
SEEN = {
    "scenes_resnet": [0, 3, 9],
    "pixelshuffle_small": [(0, 0, 0), (1, 24, 24), (2, 47, 5)],
}  # output pixels
TYPES = {"torch": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.FLOAT}
SAME_MAP = 1e-4  # a share of the largest entry
SAME_WAY = (
    0.8  # the least cosine between a network's rows and those of its rounded form: gates near 0 open or close
)
TOOLS = ("torch", "onnxscript", "skimage", "sklearn")


def path_of(name: str, kind: str = "") -> Path:
    """The original's file or a variant's."""
    return MODELS / f"{f'{name}_{kind}'.rstrip('_')}.onnx"


def picture(side: int) -> np.ndarray:
    """An evening: a sky that darkens upwards, a disc in it, and a striped field."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    sky = np.stack([0.3 + 0.6 * y, 0.3 + 0.3 * y, 0.7 - 0.2 * y])
    scene = np.where((x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.05, np.array([0.95, 0.8, 0.4])[:, None, None], sky)
    field = (0.35 + 0.15 * np.sin(25 * x + 8 * y)) * np.array([0.8, 1, 0.4])[:, None, None]
    return np.where(y > 0.7, field, scene).astype(np.float32)[None]


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {"image": (1, 3, NETWORKS[name], NETWORKS[name])}


def frozen(name: str, kind: str = "", policy: str = "freeze") -> onnxscope.LinearInterpreter:
    """The original's or a variant's map for the picture."""
    opened = onnxscope.load(path_of(name, kind), policy=policy, input_shapes=shapes(name))
    return opened.freeze(picture(NETWORKS[name]).astype(opened.engine.image_input.dtype))


def output(path: Path, image: np.ndarray) -> np.ndarray:
    model = onnx.load(path)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    return run(model, {"image": image.astype(dtype)})[model.graph.output[0].name].astype(np.float32)


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_variant_is_what_its_name_says(name: str, kind: str) -> None:
    """A valid model with the original's names and free sizes, of its type, and without a trace of where it was made."""
    original, model = (onnx.load(path_of(name, k)) for k in ("", kind))
    onnx.checker.check_model(model, full_check=True)
    for ours, theirs in zip(
        (*original.graph.input, *original.graph.output),
        (*model.graph.input, *model.graph.output),
        strict=True,
    ):
        assert theirs.name == ours.name
        assert theirs.type.tensor_type.elem_type == TYPES[kind]
        assert [d.dim_value for d in theirs.type.tensor_type.shape.dim] == [
            d.dim_value for d in ours.type.tensor_type.shape.dim
        ]
    assert ("QuantizeLinear" in {n.op_type for n in model.graph.node}) == (kind == "int8")
    assert {n.domain for n in model.graph.node} == {""}
    parts = (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    )
    assert not any(p.metadata_props or p.doc_string for p in parts)


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_card_names_the_file(name: str, kind: str) -> None:
    path = path_of(name, kind)
    card = (MODELS / f"{name}_variants.md").read_text(encoding="utf-8")
    data = path.read_bytes()
    assert f"`{path.name}`" in card
    assert f"{len(data):,} bytes, sha256 `{hashlib.sha256(data).hexdigest()}`" in card
    assert hashlib.sha256(path_of(name).read_bytes()).hexdigest() in card


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_variant_is_proved(name: str, kind: str, policy: str) -> None:
    report = onnxscope.verify(
        path_of(name, kind), image_values=picture(NETWORKS[name]), policy=policy, input_shapes=shapes(name)
    )
    assert report.ok, [c for c in report.checks if not c.ok]


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_variant_computes_what_the_original_does(name: str, kind: str) -> None:
    image = picture(NETWORKS[name])
    close(output(path_of(name, kind), image), output(path_of(name), image), NEAR[kind], f"{name}_{kind}")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NETWORKS)
def test_two_exports_of_a_network_are_the_same_linear_map(name: str, policy: str) -> None:
    ours, theirs = frozen(name, policy=policy), frozen(name, "torch", policy)
    side = NETWORKS[name]
    close(theirs.rows(SEEN[name]), ours.rows(SEEN[name]), SAME_MAP, "rows")
    pixels = [(0, 0, 0), (1, side // 2, side // 3), (2, side - 1, side - 1)]
    close(theirs.columns(pixels), ours.columns(pixels), SAME_MAP, "columns")
    close(theirs.residual(), ours.residual(), SAME_MAP, "residual")


@pytest.mark.parametrize("kind", ["fp16", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rounded_network_looks_where_the_original_looks(name: str, kind: str) -> None:
    for ours, theirs in zip(frozen(name).rows(SEEN[name]), frozen(name, kind).rows(SEEN[name]), strict=True):
        assert np.vdot(ours, theirs) >= SAME_WAY * np.linalg.norm(ours) * np.linalg.norm(theirs)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(m) for m in TOOLS),
    reason="pip install '.[train]' brings what makes variants",
)
def test_variants_are_made(tmp_path: Path) -> None:
    """Of a network that learned nothing; the free sizes of the images are free in all of them."""
    onnx.save(pixel_shuffle(), tmp_path / "pixelshuffle_small.onnx")
    command = [
        sys.executable,
        str(ROOT / "tools" / "variants.py"),
        "pixelshuffle_small",
        str(tmp_path),
        "--quick",
    ]
    subprocess.run(command, check=True, capture_output=True)
    image = np.concatenate([picture(20), 1 - picture(20)])[..., :14]
    want = output(tmp_path / "pixelshuffle_small.onnx", image)
    for kind, near in NEAR.items():
        close(output(tmp_path / f"pixelshuffle_small_{kind}.onnx", image), want, near, kind)
    assert (tmp_path / "pixelshuffle_small_variants.md").read_text(encoding="utf-8").count(
        "sha256"
    ) == 1 + len(NEAR)
