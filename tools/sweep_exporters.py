"""Export one architecture with random weights whose signals survive; run by the interpreter that has the exporter.

python tools/sweep_exporters.py EXPORTER PACKAGE ARCHITECTURE SIZE OPSET OPTIONS TARGET

Each architecture gets weights that are neither zero nor alike, and normalisations that are calibrated on one batch.
What is printed last is JSON: the versions of the exporter's packages, and how much the output depends on the image.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 4  # images that normalisations are calibrated on
LEAST_SIGNAL = 1e-3  # of the output, which another image must change
STEP = 1e-6  # of central differences in float64
IMAGE = "image"
SMALL, TINY = 0.1, 1e-3  # what a constant weight is taken as: a damped branch's scale, a bias


class NoSignal(Exception):
    """The output is constant or not finite: nothing could be judged by it."""


def drawn(values: np.ndarray, bias: bool, rng: np.random.Generator) -> np.ndarray:
    """Weights as a trained network might have them, where a package begins with constants."""
    if values.size < 2 or values.dtype.kind != "f" or np.ptp(values) > 0:
        return values
    constant, noise = float(values.flat[0]), rng.standard_normal(values.shape)
    if abs(constant) < TINY and bias:
        return (constant + 0.1 * noise).astype(values.dtype)
    if abs(constant) < SMALL:
        return rng.uniform(0.3, 0.7, values.shape).astype(values.dtype)
    return (constant * (1 + 0.1 * noise)).astype(values.dtype)


def signal(f: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """How much another image changes the output, relative to it."""
    first, second = (np.asarray(f(images[k : k + 1]), np.float64) for k in (0, 1))
    if first.shape != second.shape:  # a detector finds another number of things
        return 1.0
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise NoSignal("the output is not finite")
    change = float(np.linalg.norm(first - second) / max(np.linalg.norm(first), 1e-30))
    if change < LEAST_SIGNAL:
        raise NoSignal(f"another image changes the output by {change:.1e} only")
    return change


def write_slope(f: Callable[[np.ndarray], np.ndarray], image: np.ndarray, target: Path) -> None:
    """What the framework itself says about the image's neighbourhood: its slope along a direction, in float64."""
    v = np.random.default_rng(2).standard_normal(image.shape)
    ahead, behind = (np.asarray(f(image + s * STEP * v), np.float64) for s in (1, -1))
    np.savez(target.with_suffix(".npz"), image=image, direction=v, slope=(ahead - behind) / (2 * STEP))


# torch


def torch_model(package: str, name: str, options: dict[str, Any]) -> Any:
    """A model of timm, torchvision, segmentation-models-pytorch (ARCHITECTURE+ENCODER) or spandrel."""
    if package == "timm":
        return import_module("timm").create_model(name, num_classes=10, **options)
    if package == "torchvision":
        weightless = {"weights": None, **({"weights_backbone": None} if options.pop("backbone", 0) else {})}
        return import_module("torchvision.models").get_model(name, **weightless, **options)
    if package == "smp":
        architecture, _, encoder = name.partition("+")
        made = getattr(import_module("segmentation_models_pytorch"), architecture)
        return made(encoder_name=encoder, encoder_weights=None, classes=3, **options)
    if package == "spandrel":
        module, _, kind = name.partition(".")
        return getattr(import_module(f"spandrel.architectures.{module}"), kind or module)(**options)
    raise SystemExit(f"there is no package '{package}' for torch")


def calibrated(model: Any, images: Any, rng: np.random.Generator) -> Any:
    """The model with weights drawn anew where they are constant, and the statistics of these images."""
    import torch

    for name, p in model.named_parameters():
        value = p.detach().numpy()
        p.data = torch.from_numpy(drawn(value, name.endswith("bias"), rng))
    model.eval()
    normalisations = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._NormBase)]
    for m in normalisations:
        m.momentum = 1.0
        m.train()
    if normalisations:
        model(images)
    return model.eval().requires_grad_(False)


def detector(model: Any) -> Any:
    """A torchvision detector as a module from a batch of one to boxes, scores and labels."""
    import torch

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            found = self.model([image[0]])[0]
            return found["scores"], found["boxes"], found["labels"]

    return Detector()


def torch_slope(model: Any, image: Any, target: Path) -> None:
    """The slope that torch finds in float64, for models that can be computed in it."""
    import torch

    exact = copy.deepcopy(model).double()
    with contextlib.suppress(RuntimeError):  # constants of another type inside
        write_slope(lambda x: tensor_of(exact(torch.from_numpy(x))).numpy(), image.double().numpy(), target)


def tensor_of(output: Any) -> Any:
    """The first tensor of what a model returns."""
    while not hasattr(output, "shape"):
        output = next(iter(output.values())) if hasattr(output, "values") else output[0]
    return output


def by_torch(
    exporter: str,
    package: str,
    name: str,
    shape: list[int],
    opset: int,
    options: dict[str, Any],
    target: Path,
) -> float:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    boxes = bool(options.pop("boxes", False))
    images = torch.randn(BATCH, *shape)
    with torch.no_grad():
        model = torch_model(package, name, options)
        model = calibrated(model, list(images) if boxes else images, np.random.default_rng(0))
        model = detector(model) if boxes else model
        found = signal(lambda x: tensor_of(model(torch.from_numpy(x))).numpy(), images.numpy())
        if not boxes:
            torch_slope(model, images[:1], target)
        names = {"input_names": [IMAGE], "opset_version": opset}
        if exporter == "torch-dynamo":
            made = torch.onnx.export(model, (images[:1],), dynamo=True, verbose=False, **names)
            made.save(str(target))
        else:
            free = {} if boxes else {"dynamic_axes": {IMAGE: {0: "batch"}}}
            torch.onnx.export(model, (images[:1],), str(target), dynamo=False, **names, **free)
    return found


# Keras


def keras_model(name: str, shape: list[int], options: dict[str, Any]) -> Any:
    """A model of keras.applications, calibrated."""
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(*shape[1:], shape[0]), classes=10, classifier_activation=None, **options
    )
    for w in model.trainable_variables:
        w.assign(drawn(np.asarray(keras.ops.convert_to_numpy(w)), w.name in ("bias", "beta"), rng))
    layers = [
        layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        layer.momentum = 0.0
    if layers:
        model(rng.standard_normal((BATCH, *shape[1:], shape[0])).astype(np.float32), training=True)
    return model


def by_keras(
    exporter: str,
    package: str,
    name: str,
    shape: list[int],
    opset: int,
    options: dict[str, Any],
    target: Path,
) -> float:
    backend = {"tf2onnx": "tensorflow", "jax2onnx": "jax"}.get(exporter, exporter.removeprefix("keras-"))
    os.environ["KERAS_BACKEND"] = backend
    model = keras_model(name, shape, options)
    import keras

    size = (1, *shape[1:], shape[0])
    images = np.random.default_rng(1).standard_normal((2, *size[1:])).astype(np.float32)
    found = signal(lambda x: keras.ops.convert_to_numpy(model(x, training=False)), images)
    if exporter == "tf2onnx":
        import tensorflow as tf
        import tf2onnx

        f = tf.function(lambda x: model(x, training=False))
        spec = (tf.TensorSpec((None, *size[1:]), tf.float32, name=IMAGE),)
        tf2onnx.convert.from_function(f, spec, opset=opset, output_path=str(target))
    elif exporter == "jax2onnx":
        import jax2onnx

        made = jax2onnx.to_onnx(lambda x: model(x, training=False), inputs=[size], opset=opset)
        import onnx

        onnx.save(made, target)
    else:
        model.export(str(target), format="onnx", verbose=False, opset_version=opset)
    return found


# PaddlePaddle


def by_paddle(
    exporter: str,
    package: str,
    name: str,
    shape: list[int],
    opset: int,
    options: dict[str, Any],
    target: Path,
) -> float:
    import paddle

    paddle.seed(0)
    model = getattr(paddle.vision.models, name)(**options)
    rng = np.random.default_rng(0)
    for key, p in model.named_parameters():
        p.set_value(drawn(p.numpy(), "bias" in key, rng))
    model.eval()
    normalisations = [m for m in model.sublayers() if hasattr(m, "_momentum") and hasattr(m, "_mean")]
    for m in normalisations:
        m._momentum = 0.0
        m.train()
    images = paddle.randn([BATCH, *shape])
    model(images)
    model.eval()
    found = signal(lambda x: tensor_of(model(paddle.to_tensor(x))).numpy(), images.numpy())
    spec = [paddle.static.InputSpec([1, *shape], "float32", IMAGE)]
    paddle.onnx.export(model, str(target.with_suffix("")), input_spec=spec, opset_version=opset)
    return found


EXPORTERS: dict[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "torch-script": (by_torch, ("torch",)),
    "torch-dynamo": (by_torch, ("torch", "onnxscript")),
    "tf2onnx": (by_keras, ("tensorflow-cpu", "tf2onnx", "keras")),
    "keras-torch": (by_keras, ("keras", "torch", "onnxscript")),
    "keras-tensorflow": (by_keras, ("keras", "tensorflow-cpu")),
    "jax2onnx": (by_keras, ("jax", "jax2onnx", "keras")),
    "paddle2onnx": (by_paddle, ("paddlepaddle", "paddle2onnx")),
}


def main() -> None:
    exporter, package, name, size, opset, options, target = sys.argv[1:]
    export, packages = EXPORTERS[exporter]
    shape = [int(s) for s in size.split("x")]
    try:
        found = export(exporter, package, name, shape, int(opset), json.loads(options), Path(target))
    except NoSignal as error:
        sys.exit(f"NoSignal: {error}")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    print(json.dumps({"versions": versions, "signal": round(found, 4)}))


if __name__ == "__main__":
    main()
