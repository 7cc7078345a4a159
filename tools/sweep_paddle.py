"""Architectures of paddle.vision through paddle2onnx."""

from __future__ import annotations

import copy

import numpy as np
from sweep_signal import BATCH, IMAGE, Job, difference, drawn, save_slope, signal, tensor_of


def export(job: Job) -> tuple[float, int]:
    import paddle

    paddle.seed(0)
    model = getattr(paddle.vision.models, job.name)(**job.options)
    rng = np.random.default_rng(0)
    for key, p in model.named_parameters():
        p.set_value(drawn(p.numpy(), "bias" in key, rng))
    model.eval()
    normalisations = [m for m in model.sublayers() if hasattr(m, "_momentum") and hasattr(m, "_mean")]
    for m in normalisations:
        m._momentum = 0.0
        m.train()
    images = paddle.randn([BATCH, *job.shape])
    model(images)
    model.eval()
    found = signal(lambda x: tensor_of(model(paddle.to_tensor(x))).numpy(), images.numpy())
    paddle.set_default_dtype("float64")
    exact = copy.deepcopy(model).to(dtype="float64")
    f = difference(lambda x: tensor_of(exact(paddle.to_tensor(x))).numpy())
    save_slope(f, images[:1].numpy().astype(np.float64), job.target)
    paddle.set_default_dtype("float32")
    spec = [paddle.static.InputSpec([1, *job.shape], "float32", IMAGE)]
    paddle.onnx.export(model, str(job.target.with_suffix("")), input_spec=spec, opset_version=job.opset)
    return found, job.opset
