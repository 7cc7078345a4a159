"""Single runs of a scope's parts and of the original, and what they are fed with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption, Unsupported
from onnxscope.files.models import Model, in_memory, save
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor, is_float
from onnxscope.rewriting.scope import COTANGENT, PROBE, Scope
from onnxscope.runtime import CPU, Device, Session, ort_value, reference

Arrays = Mapping[str, np.ndarray]
MAPPED_BYTES = 1 << 30  # larger models are opened by onnxruntime itself, which maps their data
REFERENCE_BYTES = 64 << 20  # larger models are not given to the reference implementation


@contextmanager
def session(graph: gs.Graph | Model, *, optimise: bool | str = True, on: Device = CPU) -> Iterator[Session]:
    """A session that ends with the context. A graph goes through a file, so that its weights are streamed."""
    weights = None
    with tempfile.TemporaryDirectory(prefix="onnxscope-") as folder:
        model: Path | bytes = Path(folder) / "model.onnx"
        if isinstance(graph, gs.Graph):
            save(graph, Path(folder) / "model.onnx", {})
        elif graph.elsewhere and (graph.path is None or graph.nbytes < MAPPED_BYTES):
            model, large = in_memory(graph)
            weights = {values.tensor.name: ort_value(values.mapped()) for values in large}
        elif graph.path is not None:
            model = graph.path
        else:
            onnx.save(graph.proto, Path(folder) / "model.onnx")
        running = Session(model, optimise=optimise, on=on, weights=weights)
        try:
            if isinstance(graph, Model):
                graph.refuse_changed()
            yield running
        finally:
            running.close()


def random_feeds(
    inputs: list[Tensor], rng: np.random.Generator, given: Arrays | None = None
) -> dict[str, np.ndarray]:
    """Random values from 0 to 1 for floating-point inputs, ones for others, or what is given by name."""
    feeds = {}
    for t in inputs:
        shape = tuple(t.shape)
        dtype = np.dtype(t.dtype) if not isinstance(t.dtype, int) else np.float32
        feeds[t.name] = np.asarray(rng.random(shape), dtype) if is_float(t) else np.ones(shape, dtype)
    for name, image in (given or {}).items():
        if name not in feeds:
            raise BadOption(
                f"the model has no input '{name}'", where="--image", remedy=f"it has {', '.join(feeds)}"
            )
        if image.shape != feeds[name].shape:
            raise BadOption(
                f"has shape {image.shape}, the model's input '{name}' {feeds[name].shape}",
                where="--image",
                remedy="resize the image",
            )
        feeds[name] = np.asarray(image, feeds[name].dtype)
    return feeds


def own_inputs(scope: Scope) -> list[Tensor]:
    return [t for t in scope.graph.inputs if t.name not in (PROBE, COTANGENT)]


def run_original(original: Model, feeds: Arrays, *, optimise: bool = False) -> Arrays:
    """The original's outputs, from onnxruntime or, if that refuses it, from the standard's reference."""
    try:
        with session(original, optimise=optimise) as running:
            return running.run(feeds)
    except (Unsupported, BadModel) as error:  # it lacks a kernel, or the file fixes other sizes
        if isinstance(error, BadModel) and not resized(original, feeds):
            raise
        if original.nbytes > REFERENCE_BYTES or original.elsewhere:
            raise
        refusal = error
    try:
        return reference(original.proto, feeds)
    except Exception as error:  # it raises whatever its operators raise
        raise BadModel(
            f"neither onnxruntime ({refusal.cause}) nor the standard's reference implementation can run it",
            where="original",
            remedy=refusal.remedy,
        ) from error


def resized(original: Model, feeds: Arrays) -> bool:
    """Whether values have other sizes than the model's file fixes."""
    fixed = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in original.proto.graph.input}
    return any(
        own and size != own
        for name, array in feeds.items()
        for own, size in zip(fixed.get(name, ()), array.shape, strict=False)
    )


def image_value(scope: Scope, feeds: Arrays) -> np.ndarray:
    """x0: the value that is fed, or what the base computes if the image is a tensor inside the network."""
    if scope.image in feeds:
        return feeds[scope.image]
    with session(part(scope.graph, [scope.tensor(scope.image)])) as at_image:
        return at_image.run(feeds)[scope.image]
