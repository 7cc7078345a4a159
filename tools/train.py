"""Train one of the models in models/, from data that ordinary Python packages bring, and write its card beside it.

    pip install '.[train]'
    python tools/train.py edsr_small models

The network is the ONNX graph that the tests build: torch computes that graph, and what it learns goes back into it.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from PIL import Image
from torch.nn import functional

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import networks  # noqa: E402  its folder was not known before

SEED = 0
THREADS = 1  # sums are then taken in one order, so that a run repeats to the bit on the same processor
QUICK_STEPS = 20
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trained:
    """A trained model and what its card says of it."""

    model: onnx.ModelProto
    steps: int
    card: str


def conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, kernel_shape: object, strides: list[int],
         pads: list[int]) -> torch.Tensor:
    return functional.conv2d(x, weight, bias, strides, pads[:2])  # pads are the same on both sides


def depth_to_space(x: torch.Tensor, *, blocksize: int, mode: bytes) -> torch.Tensor:
    assert mode == b"CRD", "the order of torch's pixel_shuffle"
    return functional.pixel_shuffle(x, blocksize)


OPERATORS: dict[str, Callable[..., torch.Tensor]] = {
    "Add": torch.add,
    "Conv": conv,
    "DepthToSpace": depth_to_space,
    "Mul": torch.mul,
    "Relu": torch.relu,
}


class TorchGraph:
    """An ONNX graph computed by torch; its weights can be trained, its scalars are constants of the architecture."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        arrays = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        self.parameters = {name: value.requires_grad_() for name, value in arrays.items() if value.ndim}
        self.constants = {name: value for name, value in arrays.items() if not value.ndim}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        graph = self.model.graph
        values = {**self.parameters, **self.constants, graph.input[0].name: image}
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = OPERATORS[node.op_type](*(values[i] for i in node.input), **attributes)
        return values[graph.output[0].name]

    def trained(self) -> onnx.ModelProto:
        """The same graph with what the weights have become."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in self.parameters:
                tensor.CopyFrom(numpy_helper.from_array(self.parameters[tensor.name].detach().numpy(), tensor.name))
        return model


def fit(network: TorchGraph, batches: Iterator[Pair], steps: int, rate: float) -> None:
    """Adam on the mean absolute error; the rate rises, then falls to nearly zero, along halves of cosines."""
    weights = list(network.parameters.values())
    optimiser = torch.optim.Adam(weights, rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for step in range(1, steps + 1):
        given, wanted = (torch.from_numpy(a).to(memory_format=torch.channels_last) for a in next(batches))
        loss = functional.l1_loss(network(given), wanted)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps}: mean absolute error {np.mean(losses[-100:]):.5f}", flush=True)


def photographs(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Photographs that scikit-image (by name) and scikit-learn (by file) bring along, as RGB bytes."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    found = {n: load_sample_image(n) if n.endswith(".jpg") else getattr(skimage.data, n)() for n in names}
    return {n: v if v.ndim == 3 else np.repeat(v[:, :, None], 3, 2) for n, v in found.items()}


def halved(photograph: np.ndarray) -> Pair:
    """A photograph at half its size, by Pillow's bicubic filter, and as it was, cut to even sides."""
    height, width = (s // 2 * 2 for s in photograph.shape[:2])
    whole = np.ascontiguousarray(photograph[:height, :width])
    return np.asarray(Image.fromarray(whole).resize((width // 2, height // 2), Image.Resampling.BICUBIC)), whole


def patches(pairs: Sequence[Pair], count: int, side: int, random: np.random.Generator) -> Iterator[Pair]:
    """Batches of `count` patches of the halved photographs and what they were before, turned and mirrored at random."""
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


def as_images(pixels: np.ndarray) -> np.ndarray:
    """[N, height, width, 3] bytes as the network's input."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def decibels(pixels: np.ndarray, wanted: np.ndarray) -> float:
    """PSNR over all three channels; four pixels along the edges do not count, as is usual."""
    inner = np.s_[4:-4, 4:-4]
    return float(10 * np.log10(255**2 / np.mean((pixels[inner].astype(np.float64) - wanted[inner]) ** 2)))


def compared(session: onnxruntime.InferenceSession, pair: Pair) -> tuple[float, float]:
    """PSNR of the bicubic enlargement and of the network's, both rounded to bytes."""
    small, whole = pair
    bicubic = np.asarray(Image.fromarray(small).resize(whole.shape[1::-1], Image.Resampling.BICUBIC))
    (enlarged,) = session.run(None, {"image": as_images(small[None])})
    return decibels(bicubic, whole), decibels(np.rint(255 * np.clip(enlarged[0].transpose(1, 2, 0), 0, 1)), whole)


def edsr_small(quick: bool) -> Trained:
    """Super-resolution ×2 in 24 features and 6 blocks."""
    learned_from = ("astronaut", "rocket", "camera", "brick", "grass", "gravel", "china.jpg", "flower.jpg")
    held_out = ("chelsea", "coffee")
    steps, count, side, rate = QUICK_STEPS if quick else 6000, 8, 24, 6e-3
    network = TorchGraph(networks.edsr(features=24, blocks=6, size=None, seed=SEED))
    pairs = [halved(p) for p in photographs(learned_from).values()]
    fit(network, patches(pairs, count, side, np.random.default_rng(SEED)), steps, rate)
    model = network.trained()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    figures = {name: compared(session, halved(p)) for name, p in photographs(held_out).items()}
    rows = [f"| {name} | {bicubic:.2f} dB | {ours:.2f} dB |" for name, (bicubic, ours) in figures.items()]
    return Trained(model, steps, "\n".join([
        "Task: super-resolution. An RGB image becomes one of twice the height and width.",
        "",
        "Architecture: an EDSR of 24 features and 6 blocks, with residual scaling 0.1 (`tests/networks.py`).",
        "",
        "Input `image`: [N, 3, height, width], float32, RGB in 0 to 1 (bytes / 255). All three sizes are free.",
        "Output `upscaled`: [N, 3, 2·height, 2·width], in the same units; cut it to 0 to 1.",
        "",
        f"Learned from: {', '.join(learned_from)},",
        "photographs in scikit-image and scikit-learn, halved by Pillow's bicubic filter;",
        f"patches of {side}×{side} pixels in batches of {count}, turned and mirrored at random; mean absolute error; Adam at {rate}.",
        "`china.jpg` is by danielbuechele and `flower.jpg` by vultilion, both CC BY 2.0; the others are CC0 or in the public domain.",
        "",
        "On photographs that it did not learn from, halved and enlarged again (PSNR over RGB, four pixels along the edges left out;",
        "the batch and Adam's rate were chosen with these figures in view):",
        "",
        "| photograph | bicubic | this model |",
        "|---|---|---|",
        *rows,
    ]))


RECIPES: dict[str, Callable[[bool], Trained]] = {"edsr_small": edsr_small}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model and write it with its card.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("folder", type=Path, help="where NAME.onnx and NAME.md are written")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps only, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    began = time.perf_counter()
    trained = RECIPES[options.name](options.quick)
    seconds = time.perf_counter() - began
    onnx.checker.check_model(trained.model, full_check=True)
    data = trained.model.SerializeToString(deterministic=True)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    card = [
        f"# {options.name}",
        "",
        trained.card,
        "",
        f"Made by `python tools/train.py {options.name} {options.folder.name}{' --quick' * options.quick}`:",
        f"{trained.steps} steps, seed {SEED}, {seconds / 60:.1f} minutes on {THREADS} core, {versions}.",
        "On another kind of processor the last bits differ.",
        "",
        f"{len(data):,} bytes, sha256 `{hashlib.sha256(data).hexdigest()}`.",
        "",
    ]
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / f"{options.name}.onnx").write_bytes(data)
    (options.folder / f"{options.name}.md").write_text("\n".join(card), encoding="utf-8")
    print("\n".join(card))


if __name__ == "__main__":
    main()
