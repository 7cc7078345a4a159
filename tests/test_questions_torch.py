"""Rows of questions under `taylor` are torch's gradients of the same scalars, computed from the weights alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tasked
from onnx import numpy_helper
from support import close

import onnxscope

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="pip install '.[train]' brings the torch to compare with"
)
OTHER = tasked.X[..., ::-1].copy()
Weights = dict[str, Any]


def features(x: Any, w: Weights) -> Any:
    import torch

    return torch.tanh(torch.nn.functional.conv2d(x, w["w"], padding=1))


def classifier(x: Any, w: Weights) -> Any:
    return (features(x, w).flatten(1) @ w["v"])[0]


def segmenter(x: Any, w: Weights) -> Any:
    import torch

    return torch.nn.functional.conv2d(features(x, w), w["v"])[0]


def reader(x: Any, w: Weights) -> Any:
    import torch

    pooled = torch.nn.functional.avg_pool2d(features(x, w), (16, 2))
    return pooled[0, :, 0].T @ w["v"]  # [steps, letters]


def embedder(x: Any, w: Weights) -> Any:
    e = (features(x, w).flatten(1) @ w["v"])[0]
    return e / e.norm()


def detector(x: Any, w: Weights) -> tuple[Any, Any]:
    """Edges as centre, width and height [4, anchors], and the logits of the classes [3, anchors]."""
    import torch

    g = torch.nn.functional.conv2d(features(x, w), w["v"], stride=8).reshape(15, 12)
    bins = g[:12].reshape(4, 3, 12).softmax(1)
    return (bins * w["middle"].reshape(1, 3, 1)).sum(1), g[12:]


def centres(x: Any, w: Weights) -> Any:
    """The right edge of the box with the highest score: (column + offset + width/2) cells of 4 pixels."""
    import torch

    convolved = torch.nn.functional.conv2d
    pooled = torch.nn.functional.avg_pool2d(features(x, w), 4)
    heat, size, offset = (
        convolved(pooled, w["hv"])[0],
        convolved(pooled, w["sv"])[0],
        convolved(pooled, w["ov"])[0],
    )
    row, column = divmod(int(heat.amax(0).argmax()), heat.shape[2])
    return 4 * (column + offset[0, row, column] + size.exp()[0, row, column] / 2)


def cosine(x: Any, w: Weights) -> Any:
    import torch

    there = embedder(torch.tensor(OTHER, dtype=torch.float64), w)
    return embedder(x, w) @ there


def best(logits: Any) -> tuple[int, int]:
    """The class and the anchor with the highest score."""
    return divmod(int(logits.argmax()), logits.shape[1])


def class_of_box(x: Any, w: Weights) -> Any:
    logits = detector(x, w)[1]
    return logits[best(logits)]


def edge_of_box(axis: int, sign: int) -> Callable[[Any, Weights], Any]:
    def edge(x: Any, w: Weights) -> Any:
        boxes, logits = detector(x, w)
        anchor = best(logits)[1]
        return boxes[axis, anchor] + sign * boxes[axis + 2, anchor] / 2

    return edge


def letter(number: int) -> Callable[[Any, Weights], Any]:
    def logit(x: Any, w: Weights) -> Any:
        """Repeated letters count once; the blank is the first or the last class, whichever is more frequent."""
        scores = reader(x, w)
        read = scores.argmax(1).tolist()
        last = scores.shape[1] - 1
        blank = last if read.count(last) > read.count(0) else 0
        steps = [t for t, k in enumerate(read) if k != blank and (t == 0 or read[t - 1] != k)]
        return scores[steps[number - 1], read[steps[number - 1]]]

    return logit


SCALARS: dict[str, tuple[Callable[[], onnx.ModelProto], Callable[[Any, Weights], Any]]] = {
    "box:1/class": (tasked.detector, class_of_box),
    "box:1/left": (tasked.detector, edge_of_box(0, -1)),
    "box:1/bottom": (tasked.detector, edge_of_box(1, 1)),
    "box:1/right": (tasked.centres, centres),
    "letter:2": (tasked.reader, letter(2)),
    "class:2@4,7": (tasked.segmenter, lambda x, w: segmenter(x, w)[2, 4, 7]),
    "class:2@4,7-class:1@4,7": (
        tasked.segmenter,
        lambda x, w: segmenter(x, w)[2, 4, 7] - segmenter(x, w)[1, 4, 7],
    ),
    "class:3": (tasked.classifier, lambda x, w: classifier(x, w)[3]),
    "same:{other}": (tasked.embedder, cosine),
    "mean": (tasked.embedder, lambda x, w: embedder(x, w).mean()),
    "length": (tasked.embedder, lambda x, w: (embedder(x, w) * embedder(x, w).detach()).sum()),
}


@pytest.mark.parametrize("question", SCALARS)
def test_a_row_is_torchs_gradient(question: str, tmp_path: Path) -> None:
    import torch

    make, scalar = SCALARS[question]
    np.save(tmp_path / "other.npy", OTHER)
    proto = make()
    w = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in proto.graph.initializer}
    w = {name: t.double() if t.is_floating_point() else t for name, t in w.items()}
    x = torch.tensor(tasked.X, dtype=torch.float64, requires_grad=True)
    value = scalar(x, w)
    value.backward()
    answer = onnxscope.load(proto, policy="taylor").freeze(tasked.X)
    answer = answer.ask(question.format(other=tmp_path / "other.npy"))
    assert answer.value == pytest.approx(float(value.detach()), abs=1e-5)
    assert x.grad is not None
    close(answer.row(0), x.grad.numpy(), 1e-5, question)
