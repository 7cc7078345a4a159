"""Networks that leave height and width of their image free, with seeded random weights, in the forms that are in use."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
from networks import Writer, edsr

FREE = ["N", 3, "height", "width"]


def u_net(features: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Three halvings, one by each means, and three doublings, one by each means, joined by Concat; it takes multiples of 8."""
    w = Writer(seed)
    widths = [features << k for k in range(4)]
    skips = [x := w.relu(w.batch_normalised(w.conv("image", "stem", (3, features), gain=2), features))]
    for k, (into, out) in enumerate(itertools.pairwise(widths)):
        if k == 1:
            x = w.conv(x, f"down{k}", (into, out), stride=2, gain=2)
        else:
            op = "AveragePool" if k else "MaxPool"
            x = w.node(op, f"pool{k}", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = w.conv(x, f"down{k}", (into, out), gain=2)
        skips.append(x := w.relu(w.normalised(x, f"norm{k}", out)))
    sizes = w.constant("twice", np.array([1, 1, 2, 2], np.float32))
    for k, (into, out) in enumerate(zip(widths[:0:-1], widths[-2::-1], strict=True)):
        if k == 0:
            x = w.doubled(x, f"up{k}", (into, into))
        else:
            mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
            kept = {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            }
            x = w.node("Resize", f"up{k}", [x, "", sizes], **(mode if k == 1 else kept))
        x = w.node("Concat", f"joined{k}", [x, skips[-2 - k]], axis=1)
        x = w.relu(w.conv(x, f"narrow{k}", (into + out, out), gain=2))
    w.node("Sigmoid", "mask", [w.conv(x, "last", (features, 1), kernel=1, pad=0)])
    return w.model("u_net", FREE, "mask", ["N", 1, "rows", "columns"])


def classifier(features: int = 8, kinds: int = 10, seed: int = 0) -> onnx.ModelProto:
    """Convolutions and MaxPools, the mean over what is left, and a Softmax."""
    w, into, x = Writer(seed), 3, "image"
    for k, width in enumerate((features, 2 * features, 4 * features)):
        x = w.relu(w.conv(x, f"conv{k}", (into, width), stride=1 + k // 2, gain=2))
        x, into = w.node("MaxPool", f"pool{k}", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), width
    x = w.node("Flatten", "features", [w.node("GlobalAveragePool", "mean", [x])])
    w.node("Softmax", "scores", [w.dense(x, "dense", (into, kinds))], axis=-1)
    return w.model("classifier", FREE, "scores", ["N", kinds])


def style(features: int = 8, seed: int = 0) -> onnx.ModelProto:
    """Style transfer: reflected edges, InstanceNormalization and enlarging by copies."""
    w = Writer(seed)
    pads = {by: w.constant(f"reflect{by}", np.array([0, 0, by, by] * 2, np.int64)) for by in (1, 4)}
    twice = w.constant("twice", np.array([1, 1, 2, 2], np.float32))

    def layer(x: str, name: str, channels: tuple[int, int], kernel: int = 3, stride: int = 1) -> str:
        x = w.node("Pad", f"{name}.padded", [x, pads[kernel // 2]], mode="reflect")
        return w.normalised(w.conv(x, name, channels, kernel, stride, pad=0), f"{name}.norm", channels[1])

    x = w.relu(layer("image", "head", (3, features), kernel=9))
    x = w.relu(layer(x, "halve", (features, 2 * features), stride=2))
    x = w.node("Add", "block", [layer(x, "inner", (2 * features, 2 * features)), x])
    x = w.node(
        "Resize",
        "grown",
        [x, "", twice],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    x = w.relu(layer(x, "double", (2 * features, features)))
    layer(x, "last", (features, 3), kernel=9)
    w.nodes[-1].output[0] = "painted"
    return w.model("style", FREE, "painted", FREE)


NETWORKS: dict[
    str, tuple[Callable[..., onnx.ModelProto], int]
] = {  # what makes one, and the step of its sizes
    "edsr": (lambda features=8: edsr(features, 2, size=None), 1),
    "u_net": (u_net, 8),
    "classifier": (classifier, 16),
    "style": (style, 2),
}
