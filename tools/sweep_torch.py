"""Architectures of timm, torchvision, segmentation-models-pytorch and spandrel through torch's two exporters."""

from __future__ import annotations

import contextlib
import copy
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sweep_signal import BATCH, IMAGE, Job, difference, direction, drawn, save_slope, signal, tensor_of


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
    """The slope that torch finds in float64, for models that can be computed in it.

    By forward differentiation; by differences where torch has none for an operator.
    """
    import torch

    exact = copy.deepcopy(model).double()

    def f(x: Any) -> Any:
        return tensor_of(exact(x))

    def tangent(x: np.ndarray) -> np.ndarray:
        at, along = torch.from_numpy(x), torch.from_numpy(direction(x))
        return torch.func.jvp(f, (at,), (along,))[1].numpy()

    for slope_at in (tangent, difference(lambda x: f(torch.from_numpy(x)).numpy())):
        with contextlib.suppress(RuntimeError):  # no such derivative, or constants of another type inside
            save_slope(slope_at, image.double().numpy(), target)
            return


def export(job: Job) -> tuple[float, int]:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    boxes = bool(job.options.pop("boxes", False))
    images = torch.randn(BATCH, *job.shape)
    with torch.no_grad():
        model = torch_model(job.package, job.name, job.options)
        model = calibrated(model, list(images) if boxes else images, np.random.default_rng(0))
        model = detector(model) if boxes else model
        found = signal(lambda x: tensor_of(model(torch.from_numpy(x))).numpy(), images.numpy())
        if not boxes:
            torch_slope(model, images[:1], job.target)
        opset = write(job, model, images[:1], boxes)
    return found, opset


def write(job: Job, model: Any, image: Any, boxes: bool) -> int:
    """Export the model, and return the opset: a higher one where the exporter asks for it."""
    import torch

    names = {"input_names": [IMAGE], "opset_version": job.opset}
    if job.exporter == "torch-dynamo":
        torch.onnx.export(model, (image,), dynamo=True, verbose=False, **names).save(str(job.target))
        return job.opset
    free = {} if boxes else {"dynamic_axes": {IMAGE: {0: "batch"}}}
    try:
        torch.onnx.export(model, (image,), str(job.target), dynamo=False, **names, **free)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        needed = re.search(r"added in version (\d+)", str(error))
        if not needed:
            raise
        return write(replace(job, opset=int(needed[1])), model, image, boxes)
    return job.opset
