"""Measure what explanations cost: ledger and votes in passes of Fᵀ, and three methods compared with Captum.

    pip install '.[bench]' && pip install --no-deps captum tqdm
    python tools/bench_explain.py --guide

Captum explains the network that onnx2torch converts the ONNX file to. Both start from the image: the times
include freezing, and torch's forward pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from captum.attr import GuidedBackprop, LayerAttribution, LayerGradCam, Saliency
from contenders import image, prepared
from measuring import figure, interleaved, machine, table, write_part
from torch_side import converted

from onnxscope.api.opening import load, opened
from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import impulses
from onnxscope.ask.votes import votes

NAME, BLOCK, SECONDS = "resnet50", 64, 20.0
PACKAGES = ("onnxscope", "onnxruntime-gpu", "torch", "onnx2torch", "captum", "numpy")
# The largest difference from Captum, as a share of the largest entry. In a network with random weights some
# gates are near zero, and are open in one runtime only.
AGREE = 0.05


def times(number: float, than: float) -> str:
    return f"{number / than:.2f}×"


def in_passes() -> list[list[str]]:
    """Rows of the table for ledger and votes, whose times are compared with passes of Fᵀ."""
    model, x0 = prepared(NAME), image(NAME, 0)
    x, discussed = load(model).freeze(x0), load(model, method="discussion").freeze(x0)
    one, many = impulses(x.map.outputs, [5]), impulses(x.map.outputs, range(BLOCK))
    first = interleaved({"row": lambda: x.map.transpose(one), "ledger": lambda: x.map.ledger(one)}, SECONDS)
    second = interleaved(
        {"rows": lambda: x.map.transpose(many), "votes": lambda: votes(discussed, range(BLOCK))}, 3 * SECONDS
    )
    return [
        [
            "ledger of one score",
            figure(first["ledger"]),
            f"one row of F, {figure(first['row'])}",
            times(first["ledger"], first["row"]),
        ],
        [
            f"votes among {BLOCK} classes",
            figure(second["votes"]),
            f"{BLOCK} rows of F twice, {figure(2 * second['rows'])}",
            times(second["votes"], 2 * second["rows"]),
        ],
    ]


def compared_with_captum(scores: list[int]) -> list[list[str]]:
    """Rows of the table for saliency, guided backpropagation and Grad-CAM of these scores of one image."""
    model, x0 = prepared(NAME), image(NAME, 0)
    e, net, given = Explainer(opened(model)), converted(model), torch.from_numpy(x0)
    layer = [m for m in net.modules() if isinstance(m, torch.nn.ReLU)][-1]
    targets, copies = torch.tensor(scores), given.repeat(len(scores), 1, 1, 1)
    cam = LayerGradCam(net, layer)
    theirs: dict[str, Callable[[], torch.Tensor]] = {
        "saliency": lambda: Saliency(net).attribute(copies, target=targets, abs=False),
        "guided": lambda: GuidedBackprop(net).attribute(copies, target=targets),
        "grad-cam": lambda: enlarged(
            cam.attribute(copies, target=targets, relu_attributions=True), x0.shape[2:]
        ),
    }
    rows = []
    for method, run in theirs.items():
        want, have = run().detach().numpy(), e.attributions(method, x0, scores)
        off = float(np.abs(have.reshape(want.shape) - want).max() / np.abs(want).max())
        if off > AGREE:
            raise SystemExit(f"{method}: off by {off:.1e}")
        took = interleaved({"ours": lambda m=method: e.attributions(m, x0, scores), "captum": run}, SECONDS)
        rows.append(
            [
                f"{method}, {len(scores)} score{'s' * (len(scores) > 1)}",
                figure(took["ours"]),
                f"Captum, {figure(took['captum'])}",
                times(took["captum"], took["ours"]),
            ]
        )
    return rows


def enlarged(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return LayerAttribution.interpolate(maps, tuple(size), "bilinear")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what explanations cost.")
    parser.add_argument("--guide", action="store_true", help="write the table into the guide's page costs.md")
    options = parser.parse_args()
    about = machine(PACKAGES)
    head = ["milliseconds on " + NAME, "onnxscope", "compared with", "ratio"]
    text = "\n\n".join(
        [
            f"{about['machine']}, {about['date']}; {about['versions']}.",
            table(head, [*in_passes(), *compared_with_captum([5]), *compared_with_captum(list(range(8)))]),
        ]
    )
    print(text)
    if options.guide:
        write_part("explain", text)


if __name__ == "__main__":
    main()
