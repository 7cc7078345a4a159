"""How each of the models in models/ is trained, and how good it is on data that it did not learn from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from photographs import (
    HELD_OUT,
    LEARNED_FROM,
    LICENCES,
    Pair,
    as_images,
    compared,
    halved,
    photographs,
    signed,
)
from scenes import NAMES, SIDE, Scene, held_out, scenes
from torch.nn import functional
from torch_graph import TorchGraph

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import networks

SEED = 0
QUICK_STEPS = 20
TESTED, QUICKLY_TESTED = 1000, 20  # the numbers of scenes
SHIFT = 8  # the most pixels by which a scene is moved in training
BACKGROUND = 128  # the grey of pixels that belong to no object
LABELS = np.array(
    [
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
        (240, 50, 230),
        (210, 245, 60),
        (0, 0, 128),
    ],
    np.uint8,
)  # a colour for each kind
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """A trained model, and the text of its card."""

    model: onnx.ModelProto
    steps: int
    card: str


def fit(
    network: TorchGraph, batches: Iterator[Pair], loss: Loss, steps: int, rate: float, decay: float = 0.0
) -> None:
    """Train by Adam; the rate rises, then falls to nearly zero, along halves of cosines."""
    weights = list(network.parameters())
    optimiser = torch.optim.AdamW(weights, rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for step in range(1, steps + 1):
        given, wanted = map(torch.from_numpy, next(batches))
        value = loss(network(given.to(memory_format=torch.channels_last)), wanted)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(value.item())
        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps}: loss {np.mean(losses[-100:]):.5f}", flush=True)


def running(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """A function that runs the exported model, by which it is judged."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(None, {"image": image})[0])


# super-resolution


def patches(pairs: Sequence[Pair], count: int, side: int, random: np.random.Generator) -> Iterator[Pair]:
    """Batches of `count` patches of halved and of whole photographs, rotated and mirrored at random."""
    while True:
        batch: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        for k in random.integers(len(pairs), size=count):
            top, left = (random.integers(s - side + 1) for s in pairs[k][0].shape[:2])
            turns, mirror = random.integers(4), random.integers(2)
            for factor, photograph, chosen in zip((1, 2), pairs[k], batch, strict=True):
                rows, columns = (slice(factor * s, factor * (s + side)) for s in (top, left))
                patch = np.rot90(photograph[rows, columns], int(turns))
                chosen.append(patch[:, ::-1] if mirror else patch)
        yield as_images(np.stack(batch[0])), as_images(np.stack(batch[1]))


def recoloured(batches: Iterator[Pair], random: np.random.Generator) -> Iterator[Pair]:
    """Batches with permuted colours, and with changed contrast and brightness of each channel.

    Half of the patches are also inverted.
    """
    for small, whole in batches:
        for k in range(len(small)):
            order, inverted = random.permutation(3), bool(random.integers(2))
            contrast, brightness = (
                random.uniform(*bounds, (3, 1, 1)).astype(np.float32) for bounds in ((0.6, 1.8), (0.1, 0.9))
            )
            given, wanted = (1 - a[k][order] if inverted else a[k][order] for a in (small, whole))
            middle = given.mean((1, 2), keepdims=True)
            small[k], whole[k] = (((a - middle) * contrast + brightness).clip(0, 1) for a in (given, wanted))
        yield small, whole


def enlarging(
    network: onnx.ModelProto, architecture: str, quick: bool, steps: int, rate: float, recolour: bool
) -> Trained:
    """Train a network to undo a halving."""
    steps, count, side = QUICK_STEPS if quick else steps, 8, 24
    graph = TorchGraph(network)
    pairs = [halved(p) for p in photographs(LEARNED_FROM).values()]
    batches = patches(pairs, count, side, np.random.default_rng(SEED))
    fit(
        graph,
        recoloured(batches, np.random.default_rng(SEED)) if recolour else batches,
        functional.l1_loss,
        steps,
        rate,
    )
    model = graph.trained()
    figures = {name: compared(running(model), halved(p)) for name, p in photographs(HELD_OUT).items()}
    rows = [f"| {name} | {bicubic:.2f} dB | {ours:.2f} dB |" for name, (bicubic, ours) in figures.items()]
    return Trained(
        model,
        steps,
        "\n".join(
            [
                "Task: super-resolution. An RGB image becomes one of twice the height and width.",
                "",
                f"Architecture: {architecture} (`tests/networks.py`).",
                "",
                (
                    "Input `image`: [N, 3, height, width], float32, RGB in 0 to 1 (bytes / 255). "
                    "All three sizes are free."
                ),
                "Output `upscaled`: [N, 3, 2·height, 2·width], in the same units; cut it to 0 to 1.",
                "",
                f"Learned from: {', '.join(LEARNED_FROM)},",
                "photographs in scikit-image and scikit-learn, halved by Pillow's bicubic filter;",
                (
                    f"patches of {side}×{side} pixels in batches of {count}, turned and mirrored at random; "
                    f"mean absolute error; Adam at {rate}."
                ),
                *["Colours, contrast and brightness of the patches were changed at random."] * recolour,
                LICENCES,
                "",
                (
                    "On photographs that it did not learn from, halved and enlarged again "
                    "(PSNR over RGB, four pixels along the edges left out;"
                ),
                "the batch and Adam's rate were chosen with these figures in view):",
                "",
                "| photograph | bicubic | this model |",
                "|---|---|---|",
                *rows,
            ]
        ),
    )


def edsr_small(quick: bool) -> Trained:
    network = networks.edsr(features=24, blocks=6, size=None, seed=SEED)
    return enlarging(
        network,
        "an EDSR of 24 features and 6 blocks, with residual scaling 0.1",
        quick,
        6000,
        6e-3,
        recolour=False,
    )


def pixelshuffle_small(quick: bool) -> Trained:
    architecture = (
        "four convolutions (64, 64, 32 and 12 channels; the first 5×5) with Relus, then DepthToSpace"
    )
    return enlarging(networks.pixel_shuffle(seed=SEED), architecture, quick, 12_000, 3e-3, recolour=True)


# scenes


def moved(
    drawn: Sequence[Scene], count: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of pixels, kinds and masks of scenes, moved, mirrored, and with permuted colours at random."""
    around = [(SHIFT, SHIFT)] * 2
    pixels = [np.pad(s.pixels, [*around, (0, 0)], mode="reflect") for s in drawn]
    masks = [np.pad(s.mask, around) for s in drawn]
    while True:
        batch: list[np.ndarray] = []
        shown: list[np.ndarray] = []
        chosen = random.integers(len(drawn), size=count)
        for k in chosen:
            top, left = random.integers(2 * SHIFT + 1, size=2)
            inside = np.s_[top : top + SIDE, left : left + SIDE]
            way = random.choice([1, -1])
            batch.append(pixels[k][inside][:, ::way, random.permutation(3)])
            shown.append(masks[k][inside][:, ::way])
        yield np.stack(batch), np.array([drawn[k].kind for k in chosen]), np.stack(shown)


def drawn_scenes(quick: bool) -> list[Scene]:
    return scenes(100 if quick else 12_000, SEED)


SCENES = (
    f"scenes that `tools/scenes.py` draws: one object of ten kinds ({', '.join(NAMES)}),\n"
    "its form alone telling the kind, on a piece of a photograph among fragments of other things."
)
SCENE_DATA = (
    f"Learned from: 12,000 drawn scenes on pieces of {', '.join(LEARNED_FROM)},\n"
    "photographs in scikit-image and scikit-learn, moved, mirrored and with their colours exchanged at "
    f"random.\n{LICENCES}"
)


def classifying(network: onnx.ModelProto, architecture: str, quick: bool, rate: float) -> Trained:
    """Train a network to name the object of a scene."""
    steps, count = QUICK_STEPS if quick else 4000, 32
    graph = TorchGraph(network)
    batches = (
        (as_images(x), kinds)
        for x, kinds, _ in moved(drawn_scenes(quick), count, np.random.default_rng(SEED))
    )
    fit(
        graph,
        batches,
        lambda scores, kinds: functional.cross_entropy(scores, kinds, label_smoothing=0.05),
        steps,
        rate,
        decay=0.02,
    )
    model, test = graph.trained(), held_out(QUICKLY_TESTED if quick else TESTED)
    scores = running(model)(as_images(np.stack([s.pixels for s in test])))
    right = scores.argmax(1) == [s.kind for s in test]
    share = [f"| {name} | {100 * right[k :: len(NAMES)].mean():.0f} % |" for k, name in enumerate(NAMES)]
    return Trained(
        model,
        steps,
        "\n".join(
            [
                f"Task: classification of {SCENES}",
                "",
                f"Architecture: {architecture} (`tests/networks.py`).",
                "",
                f"Input `image`: [N, 3, {SIDE}, {SIDE}], float32, RGB in 0 to 1 (bytes / 255).",
                (
                    "Output `scores`: [N, 10], before any softmax, in the order of the list above "
                    "(`models/scenes/labels.txt`)."
                ),
                "",
                SCENE_DATA,
                f"Batches of {count}; cross entropy, smoothed by 0.05; AdamW at {rate}, decay 0.02.",
                "",
                (
                    f"On {len(test)} scenes on pieces of other photographs ({', '.join(HELD_OUT)}): "
                    f"{100 * right.mean():.1f} % are named rightly."
                ),
                "",
                "| kind | right |",
                "|---|---|",
                *share,
            ]
        ),
    )


def scenes_vgg(quick: bool) -> Trained:
    architecture = (
        "VGG's form: five pairs of 3×3 convolutions (16 to 64 channels) with Relus, a MaxPool after each, "
        "and two dense layers"
    )
    return classifying(networks.vgg(False, len(NAMES), side=SIDE, seed=SEED), architecture, quick, 1e-3)


def scenes_vgg_bn(quick: bool) -> Trained:
    architecture = (
        "VGG's form with BatchNormalization: five pairs of 3×3 convolutions (16 to 64 channels), each "
        "normalised\nbefore its Relu, a MaxPool after each pair, and two dense layers"
    )
    return classifying(networks.vgg(True, len(NAMES), side=SIDE, seed=SEED), architecture, quick, 2e-3)


def scenes_resnet(quick: bool) -> Trained:
    architecture = (
        "a stem and four residual blocks of two 3×3 convolutions with BatchNormalization "
        "(16 to 48 channels),\n"
        "a mean over the rest, and a dense layer"
    )
    return classifying(networks.resnet(len(NAMES), side=SIDE, seed=SEED), architecture, quick, 4e-3)


def label_maps(kinds: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks[..., None], LABELS[kinds][:, None, None], np.uint8(BACKGROUND)).astype(np.uint8)


def named(painted: np.ndarray) -> np.ndarray:
    """The kind whose colour is nearest to each pixel, and the number after the last kind for grey."""
    palette = np.concatenate([LABELS, [[BACKGROUND] * 3]]).astype(np.float32) / 127.5 - 1
    return np.linalg.norm(painted.transpose(0, 2, 3, 1)[..., None, :] - palette, axis=-1).argmin(-1)


def scenes_labels(quick: bool) -> Trained:
    """Train a network to paint the object in its kind's colour, and all else grey."""
    steps, count, rate = QUICK_STEPS if quick else 5000, 8, 2e-3
    graph = TorchGraph(networks.cyclegan(blocks=5, size=SIDE, features=16, seed=SEED))
    batches = (
        (signed(x), signed(label_maps(kinds, masks)))
        for x, kinds, masks in moved(drawn_scenes(quick), count, np.random.default_rng(SEED))
    )
    fit(graph, batches, functional.mse_loss, steps, rate)
    model, test = graph.trained(), held_out(QUICKLY_TESTED if quick else TESTED)
    run = running(model)
    nearest = np.concatenate([named(run(signed(s.pixels[None]))) for s in test])
    wanted = np.stack([np.where(s.mask, s.kind, len(NAMES)) for s in test])
    right, inside = 100 * (nearest == wanted), wanted < len(NAMES)
    return Trained(
        model,
        steps,
        "\n".join(
            [
                (
                    "Task: photograph to labels. It paints the object in the colour of its kind, and all "
                    f"else grey, in {SCENES}"
                ),
                "",
                (
                    "Architecture: the generator of CycleGAN with 16 features and 5 residual blocks: "
                    "reflection padding, InstanceNormalization,"
                ),
                (
                    "transposed convolutions, Tanh (`tests/networks.py`). It was trained on pairs, "
                    "not as an adversary."
                ),
                "",
                (
                    f"Input `image`: [N, 3, {SIDE}, {SIDE}], float32, RGB in −1 to 1 (bytes / 127.5 − 1): "
                    "`--preset signed`."
                ),
                (
                    "Output `translated`: the same shape and units; a colour for each kind, "
                    "grey for everything else."
                ),
                "",
                SCENE_DATA,
                f"Batches of {count}; mean squared error; Adam at {rate}.",
                "",
                (
                    f"On {len(test)} scenes on pieces of other photographs ({', '.join(HELD_OUT)}), "
                    "by the nearest of the eleven colours:"
                ),
                (
                    f"{right.mean():.1f} % of all pixels are right, {right[inside].mean():.1f} % of the "
                    "objects' pixels."
                ),
                f"Called grey throughout, {100 - 100 * inside.mean():.1f} % would be, and none.",
            ]
        ),
    )


RECIPES: dict[str, Callable[[bool], Trained]] = {
    r.__name__: r
    for r in (edsr_small, pixelshuffle_small, scenes_vgg, scenes_vgg_bn, scenes_resnet, scenes_labels)
}
