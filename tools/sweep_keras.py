"""Architectures of keras.applications through tf2onnx, jax2onnx, and the export of Keras itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sweep_signal import BATCH, IMAGE, Job, direction, drawn, save_slope, signal


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


def keras_slope(model: Any, backend: str, image: np.ndarray) -> np.ndarray:
    """The derivative along the direction, by the backend's own forward differentiation."""

    def f(x: Any) -> Any:
        return model(x, training=False)

    x, v = image.astype(np.float32), direction(image).astype(np.float32)
    if backend == "jax":
        import jax

        return np.asarray(jax.jvp(f, (x,), (v,))[1])
    if backend == "torch":
        import torch

        return torch.func.jvp(f, (torch.from_numpy(x),), (torch.from_numpy(v),))[1].detach().numpy()
    import tensorflow as tf

    at, along = tf.constant(x), tf.constant(v)
    with tf.autodiff.ForwardAccumulator(at, along) as forward:
        y = f(at)
    return forward.jvp(y).numpy()


def export(job: Job) -> tuple[float, int]:
    backend = {"tf2onnx": "tensorflow", "jax2onnx": "jax"}.get(
        job.exporter, job.exporter.removeprefix("keras-")
    )
    os.environ["KERAS_BACKEND"] = backend
    model = keras_model(job.name, job.shape, job.options)
    import keras

    size = (1, *job.shape[1:], job.shape[0])
    images = np.random.default_rng(1).standard_normal((2, *size[1:])).astype(np.float32)
    found = signal(lambda x: keras.ops.convert_to_numpy(model(x, training=False)), images)
    save_slope(lambda x: keras_slope(model, backend, x), images[:1], job.target)
    if job.exporter == "tf2onnx":
        import tensorflow as tf
        import tf2onnx

        f = tf.function(lambda x: model(x, training=False))
        spec = (tf.TensorSpec((None, *size[1:]), tf.float32, name=IMAGE),)
        tf2onnx.convert.from_function(f, spec, opset=job.opset, output_path=str(job.target))
    elif job.exporter == "jax2onnx":
        import jax2onnx
        import onnx

        made = jax2onnx.to_onnx(lambda x: model(x, training=False), inputs=[size], opset=job.opset)
        onnx.save(made, job.target)
    else:
        model.export(str(job.target), format="onnx", verbose=False, opset_version=job.opset)
    return found, job.opset
