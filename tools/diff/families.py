"""Small convolutional networks of known families, each operation a module of its own, so that its path names the layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Add(nn.Module):
    """The sum of two branches."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Times(nn.Module):
    """The product of a value and its gate."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b


class Concat(nn.Module):
    """Several tensors behind each other, along the channels unless told otherwise."""

    def __init__(self, axis: int = 1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, self.axis)


Activation = Callable[[], nn.Module]


def conv_norm(
    into: int, out: int, size: int = 3, stride: int = 1, groups: int = 1, act: Activation | None = nn.ReLU
) -> nn.Sequential:
    """A convolution that keeps the size, its BatchNormalization, and an activation."""
    parts: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False)),
        ("norm", nn.BatchNorm2d(out)),
    ]
    return nn.Sequential(OrderedDict([*parts, *([("act", act())] if act else [])]))


class Vgg(nn.Module):
    """Convolutions of equal shapes in a row, pools, and dense layers of equal shapes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        into = 3
        for width in (8, 8, 0, 12, 12, 12, 0, 16, 16, 16, 0):
            layers += [conv_norm(into, width)] if width else [nn.MaxPool2d(2)]
            into = width or into
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.head = nn.Sequential(
            nn.Linear(16 * 16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.flatten(self.features(x)))
        return made


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which has a convolution only where the shape changes."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(into, out, stride=stride)
        self.second = conv_norm(out, out, act=None)
        self.shortcut = conv_norm(into, out, 1, stride, act=None) if stride > 1 else None
        self.add, self.act = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        aside = self.shortcut(x) if self.shortcut is not None else x
        made: Tensor = self.act(self.add(self.second(self.first(x)), aside))
        return made


class Twins(nn.Module):
    """Two branches of equal shapes on the same value, summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left = nn.Sequential(conv_norm(width, width), conv_norm(width, width, act=None))
        self.right = nn.Sequential(conv_norm(width, width), conv_norm(width, width, act=None))
        self.add, self.act = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.act(self.add(self.left(x), self.right(x)))
        return made


class Resnet(nn.Module):
    """Residual blocks of equal shapes, and blocks of two branches with equal shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks = [BasicBlock(8, 8, 1), BasicBlock(8, 8, 1), BasicBlock(8, 16, 2), BasicBlock(16, 16, 1)]
        self.blocks = nn.Sequential(*blocks, Twins(16), BasicBlock(16, 16, 1))
        self.mean, self.flatten, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.flatten(self.mean(self.blocks(self.pool(self.stem(x))))))
        return made


class Inverted(nn.Module):
    """MobileNet's block: wide, depthwise, narrow; the sum where the shapes agree."""

    def __init__(self, into: int, out: int, stride: int, act: Activation) -> None:
        super().__init__()
        wide = 3 * into
        self.wide = conv_norm(into, wide, 1, act=act)
        self.depth = conv_norm(wide, wide, 3, stride, wide, act)
        self.narrow = conv_norm(wide, out, 1, act=None)
        self.add = Add() if into == out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(self.depth(self.wide(x)))
        made: Tensor = self.add(x, y) if self.add is not None else y
        return made


class Mobilenet(nn.Module):
    """Depthwise convolutions, Relu6 in the first half and HardSwish in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3, 2, act=nn.ReLU6)
        shapes: Sequence[tuple[int, int, int, Activation]] = [
            (8, 8, 1, nn.ReLU6),
            (8, 8, 1, nn.ReLU6),
            (8, 12, 2, nn.ReLU6),
            (12, 12, 1, nn.Hardswish),
            (12, 12, 1, nn.Hardswish),
        ]
        self.blocks = nn.Sequential(*(Inverted(*shape) for shape in shapes))
        self.top = conv_norm(12, 24, 1, act=nn.Hardswish)
        self.mean, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.hidden, self.act, self.head = nn.Linear(24, 24), nn.Hardswish(), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.mean(self.top(self.blocks(self.stem(x)))))
        made: Tensor = self.head(self.act(self.hidden(x)))
        return made


class Squeeze(nn.Module):
    """Squeeze and excite: a gate for each channel from the channel's mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.down, self.act, self.up = nn.Conv2d(width, 4, 1), nn.SiLU(), nn.Conv2d(4, width, 1)
        self.gate, self.times = nn.Sigmoid(), Times()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.times(x, self.gate(self.up(self.act(self.down(self.mean(x))))))
        return made


class Efficient(nn.Module):
    """EfficientNet's block: an inverted block with a gate."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        wide = 3 * into
        self.wide = conv_norm(into, wide, 1, act=nn.SiLU)
        self.depth = conv_norm(wide, wide, 3, stride, wide, nn.SiLU)
        self.squeeze = Squeeze(wide)
        self.narrow = conv_norm(wide, out, 1, act=None)
        self.add = Add() if into == out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(self.squeeze(self.depth(self.wide(x))))
        made: Tensor = self.add(x, y) if self.add is not None else y
        return made


class Efficientnet(nn.Module):
    """Gated blocks of equal shapes with SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8, 3, 2, act=nn.SiLU)
        shapes = [(8, 8, 1), (8, 8, 1), (8, 12, 2), (12, 12, 1)]
        self.blocks = nn.Sequential(*(Efficient(*shape) for shape in shapes))
        self.top = conv_norm(12, 24, 1, act=nn.SiLU)
        self.mean, self.flatten, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.flatten(self.mean(self.top(self.blocks(self.stem(x))))))
        return made
