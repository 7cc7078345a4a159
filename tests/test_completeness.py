"""The ledger of a score leaves nothing out: image and sources make it up, on every classifier at hand."""

from __future__ import annotations

from pathlib import Path

import light
import numpy as np
import onnx
import pytest
from networks import MODELS

import onnxscope
from onnxscope.ask.ledger import ledgers

SHARED = MODELS.parents[1] / "shared" / "models"
BUNDLED = [
    f"scenes_{kind}" for kind in ("vgg", "vgg_bn", "resnet", "resnet_torch", "resnet_int8", "resnet_fp16")
]
GIVEN = {
    "mnist_cntk_op8": {},
    "cifar10_winml_op10": {},
    "ppocr_mobile_v2_cls_op14": {"x": (1, 3, 48, 192)},
    "det_ultraface_slim320_simp_op9": {},
    "det_blazeface_front_op12": {},
}
LIGHT = ("squeezenet", "shufflenet", "inception_v1")  # the other six take a minute and a half
EXPLAINED = 5  # of the highest scores
BOUNDS = {"scenes_resnet_fp16": 1e-2}  # its scores are float16 numbers
BOUND = 1e-4  # of the largest score or entry: under taylor entries cancel


def checked(model: str | Path | onnx.ModelProto, policy: str, bound: float, **options: object) -> None:
    opened = onnxscope.load(model, policy=policy, **options)
    given = opened.engine.image_input
    x = opened.freeze(np.random.default_rng(0).random(tuple(given.shape)).astype(given.dtype))
    scores = x.output.reshape(-1).astype(np.float64)
    for book in ledgers(x, np.argsort(-scores)[:EXPLAINED].tolist()):
        assert abs(book.remainder) <= bound * max(
            np.abs(scores).max(), abs(book.input), *map(abs, book.layers.values())
        )


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
@pytest.mark.parametrize("name", BUNDLED)
def test_of_bundled_classifiers(name: str, policy: str) -> None:
    checked(MODELS / f"{name}.onnx", policy, BOUNDS.get(name, BOUND))


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
@pytest.mark.parametrize("name", GIVEN)
def test_of_classifiers_that_others_published(name: str, policy: str) -> None:
    path = SHARED / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    checked(path, policy, BOUND, input_shapes=GIVEN[name])


@pytest.mark.parametrize("policy", ["freeze", "taylor"])
@pytest.mark.parametrize("name", LIGHT)
def test_of_classics(name: str, policy: str) -> None:
    checked(light.light_model(name), policy, BOUND)
