"""The layers of a network as torch runs them: which modules make one layer, and what each layer gives for an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from diff.families import Add, Efficientnet, Mobilenet, Resnet, Vgg
from diff.families_pictures import Cyclegan, Edsr, Unet, Vit, Yolo

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {  # with the side of the image
    "vgg": (Vgg, 32),
    "resnet": (Resnet, 32),
    "mobilenet": (Mobilenet, 32),
    "efficientnet": (Efficientnet, 32),
    "unet": (Unet, 32),
    "edsr": (Edsr, 16),
    "cyclegan": (Cyclegan, 32),
    "yolo": (Yolo, 64),
    "vit": (Vit, 32),
    "vit_whole": (lambda: Vit(whole=True), 32),
}
SINGLE = (  # kinds that count as layers of their own where they are one node
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Tanh, nn.Sigmoid, nn.Softmax),
    *(nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.InstanceNorm2d, nn.LayerNorm, nn.BatchNorm2d, Add),
)
NORMALISED = "_normalised"  # a family whose pictures are normalised as those of ImageNet
SEED, BATCH = 20261121, 4


@dataclass
class Layer:
    """Modules that belong together, in the order in which they run: a convolution and its BatchNormalization."""

    paths: list[str]
    output: np.ndarray
    single: bool  # counts where it is one node on both sides
    order: int


@dataclass
class Network:
    """A network with calibrated weights, an image for it, and its layers by the path of the first module."""

    module: nn.Module
    image: np.ndarray  # 3 × side × side, from 0 to 255
    batch: np.ndarray  # images for calibration, from 0 to 1
    scaling: tuple[Sequence[float], Sequence[float]] = UNIT  # mean and deviation of what the network takes
    layers: dict[str, Layer] = field(default_factory=dict)

    def given(self, pictures: np.ndarray) -> np.ndarray:
        """What the network takes for pictures from 0 to 1."""
        mean, deviation = (np.reshape(part, (1, 3, 1, 1)).astype(np.float32) for part in self.scaling)
        return (pictures - mean) / deviation

    def layer_of(self, path: str) -> str | None:
        """The layer that a module is of."""
        return next((name for name, layer in self.layers.items() if path in layer.paths), None)


def picture(side: int, seed: int) -> np.ndarray:
    """A random picture with coarse shapes and some fine ones."""
    rng = np.random.default_rng(seed)
    shown = np.zeros((3, side, side))
    for cells, loud in ((4, 1.0), (8, 0.6), (side, 0.15)):
        coarse = rng.standard_normal((3, cells, cells))
        shown += loud * coarse.repeat(side // cells, 1).repeat(side // cells, 2)
    return np.clip(128 + 60 * shown, 0, 255).astype(np.uint8)


def prepared(family: str) -> Network:
    """A family's network with random weights, whose normalisations know some pictures, and what its layers give."""
    make, side = FAMILIES[family.removesuffix(NORMALISED)]
    torch.manual_seed(SEED)
    module = make()
    rng = torch.Generator().manual_seed(SEED)
    for part in module.modules():
        weigh(part, rng)
    batch = np.stack([picture(side, SEED + k) for k in range(1, 1 + BATCH)]).astype(np.float32) / 255
    scaling = IMAGENET if family.endswith(NORMALISED) else UNIT
    network = Network(module, picture(side, SEED), batch, scaling)
    if "vit" not in family:
        with torch.no_grad():
            module.train()(torch.from_numpy(network.given(batch)))
    module.eval()
    record(network)
    return network


def weigh(part: nn.Module, rng: torch.Generator) -> None:
    """Random weights, so that signals survive and no two layers are alike."""
    own = dict(part.named_parameters(recurse=False))
    with torch.no_grad():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(own["weight"], nonlinearity="relu", generator=rng)
            if part.bias is not None:
                part.bias.normal_(0, 0.1, generator=rng)
        elif isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d | nn.LayerNorm):
            own["weight"].uniform_(0.7, 1.3, generator=rng)
            own["bias"].normal_(0, 0.2, generator=rng)
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean over all that it sees


def record(network: Network) -> None:
    """Run the network on its image and note the layers."""
    calls: list[tuple[str, nn.Module, tuple[Tensor, ...], Tensor]] = []

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, given, made: calls.append((path, module, given, made))

    leaves = [(p, m) for p, m in network.module.named_modules() if not list(m.children())]
    hooks = [module.register_forward_hook(note(path)) for path, module in leaves]
    with torch.no_grad():
        network.module(torch.from_numpy(network.given(network.image[None].astype(np.float32) / 255)))
    for hook in hooks:
        hook.remove()
    assert len({c[0] for c in calls}) == len(calls), "a module runs twice"
    makers: dict[int, str] = {}  # layers by the identity of what they made; `calls` keeps it alive
    for order, (path, module, given, made) in enumerate(calls):
        layer = network.layers.get(makers.get(id(given[0]), ""))
        if layer is not None and isinstance(module, nn.BatchNorm2d):
            layer.paths.append(path)
            layer.output, layer.order, makers[id(made)] = made.numpy(), order, layer.paths[0]
            continue
        network.layers[path] = Layer([path], made.numpy(), isinstance(module, SINGLE), order)
        makers[id(made)] = path
