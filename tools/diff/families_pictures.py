"""Small networks from pictures to pictures, boxes and tokens: U-Net, EDSR, CycleGAN, YOLO and a vision transformer."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from diff.families import Add, Concat, conv_norm


class Unet(nn.Module):
    """Skip connections, pools and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(conv_norm(3, 8), conv_norm(8, 8))
        self.pool1 = nn.MaxPool2d(2)
        self.down2 = nn.Sequential(conv_norm(8, 16), conv_norm(16, 16))
        self.pool2 = nn.MaxPool2d(2)
        self.middle = nn.Sequential(conv_norm(16, 16), conv_norm(16, 16))
        self.up2, self.join2 = nn.ConvTranspose2d(16, 16, 2, 2), Concat()
        self.side2 = nn.Sequential(conv_norm(32, 16), conv_norm(16, 16))
        self.up1, self.join1 = nn.ConvTranspose2d(16, 8, 2, 2), Concat()
        self.side1 = nn.Sequential(conv_norm(16, 8), conv_norm(8, 8))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(self.pool1(one))
        y = self.middle(self.pool2(two))
        y = self.side2(self.join2(self.up2(y), two))
        made: Tensor = self.head(self.side1(self.join1(self.up1(y), one)))
        return made


class Plain(nn.Module):
    """EDSR's block: no normalisation, no activation after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.act = nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        self.second, self.add = nn.Conv2d(width, width, 3, padding=1), Add()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.add(self.second(self.act(self.first(x))), x)
        return made


class Edsr(nn.Module):
    """Super-resolution by residual blocks and two pixel shuffles."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 12, 3, padding=1)
        self.body = nn.Sequential(*(Plain(12) for _ in range(5)))
        self.last, self.add = nn.Conv2d(12, 12, 3, padding=1), Add()
        self.wide1, self.shuffle1 = nn.Conv2d(12, 48, 3, padding=1), nn.PixelShuffle(2)
        self.wide2, self.shuffle2 = nn.Conv2d(12, 48, 3, padding=1), nn.PixelShuffle(2)
        self.tail = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = self.add(self.last(self.body(x)), x)
        x = self.shuffle2(self.wide2(self.shuffle1(self.wide1(x))))
        made: Tensor = self.tail(x)
        return made


class Mirrored(nn.Module):
    """CycleGAN's block: reflection, convolution and InstanceNormalization, twice, and a sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pad1, self.conv1 = nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3)
        self.norm1, self.act = nn.InstanceNorm2d(width, affine=True), nn.ReLU()
        self.pad2, self.conv2 = nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3)
        self.norm2, self.add = nn.InstanceNorm2d(width, affine=True), Add()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(self.pad1(x))))
        made: Tensor = self.add(self.norm2(self.conv2(self.pad2(y))), x)
        return made


class Cyclegan(nn.Module):
    """CycleGAN's generator: down, residual blocks, up by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 8, 7), norm(8), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), norm(16), nn.ReLU())
        self.blocks = nn.Sequential(*(Mirrored(16) for _ in range(4)))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1), norm(8), nn.LeakyReLU(0.2)
        )
        self.tail = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(8, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.tail(self.up(self.blocks(self.down(self.stem(x)))))
        return made


norm = partial(nn.InstanceNorm2d, affine=True)
silu = partial(conv_norm, act=nn.SiLU)


class Bottleneck(nn.Module):
    """Two convolutions and a sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two, self.add = silu(width, width), silu(width, width), Add()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.add(self.two(self.one(x)), x)
        return made


class Split(nn.Module):
    """YOLO's stage: half of the channels go through blocks of equal shapes, and all are joined."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        half = width // 2
        self.first, self.aside = silu(width, half, 1), silu(width, half, 1)
        self.blocks = nn.Sequential(*(Bottleneck(half) for _ in range(count)))
        self.join, self.last = Concat(), silu(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.last(self.join(self.blocks(self.first(x)), self.aside(x)))
        return made


class Pyramid(nn.Module):
    """SPPF: three equal pools in a row, joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.first, self.join, self.last = silu(width, half, 1), Concat(), silu(4 * half, width, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(5, 1, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for pool in self.pools:
            parts.append(pool(parts[-1]))
        made: Tensor = self.last(self.join(*parts))
        return made


class Head(nn.Module):
    """The two branches of a detector's head: boxes and classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.box = nn.Sequential(silu(width, 8), nn.Conv2d(8, 4, 1))
        self.kind = nn.Sequential(silu(width, 8), nn.Conv2d(8, 4, 1), nn.Sigmoid())
        self.join = Concat()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.join(self.box(x), self.kind(x)).flatten(2)
        return made


class Yolo(nn.Module):
    """A detector with stages, SPPF, an upsampled second scale, and two heads in one output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down1 = silu(3, 8, 3, 2), silu(8, 16, 3, 2)
        self.stage1, self.down2 = Split(16, 2), silu(16, 16, 3, 2)
        self.stage2, self.pyramid = Split(16, 2), Pyramid(16)
        self.up, self.join, self.mix = nn.Upsample(scale_factor=2), Concat(), silu(32, 16, 1)
        self.stage3 = Split(16, 1)
        self.small, self.large, self.both = Head(16), Head(16), Concat(2)

    def forward(self, x: Tensor) -> Tensor:
        near = self.stage1(self.down1(self.stem(x)))
        far = self.pyramid(self.stage2(self.down2(near)))
        near = self.stage3(self.mix(self.join(self.up(far), near)))
        made: Tensor = self.both(self.small(near), self.large(far))
        return made


class Product(nn.Module):
    """A product of two matrices."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


class Scale(nn.Module):
    """The factor in front of the attention's Softmax."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Attend(nn.Module):
    """Attention as one function of torch, which exporters write in one node or in many."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Attention of several heads; `whole` leaves it to torch's own function."""

    def __init__(self, width: int, heads: int, whole: bool) -> None:
        super().__init__()
        self.heads, self.each, self.whole = heads, width // heads, whole
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        if whole:
            self.attend = Attend()
        else:
            self.match, self.scale, self.weigh = Product(), Scale(self.each**-0.5), nn.Softmax(-1)
            self.gather = Product()
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.reshape(1, -1, self.heads, self.each).transpose(1, 2)
            for part in (self.q(x), self.k(x), self.v(x))
        )
        if self.whole:
            y = self.attend(q, k, v)
        else:
            y = self.gather(self.weigh(self.scale(self.match(q, k.transpose(2, 3)))), v)
        made: Tensor = self.out(y.transpose(1, 2).reshape(1, -1, self.heads * self.each))
        return made


class Encoder(nn.Module):
    """A transformer's layer."""

    def __init__(self, width: int, whole: bool) -> None:
        super().__init__()
        self.norm1, self.attention, self.add1 = nn.LayerNorm(width), Attention(width, 2, whole), Add()
        self.norm2, self.wide, self.act = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU()
        self.narrow, self.add2 = nn.Linear(2 * width, width), Add()

    def forward(self, x: Tensor) -> Tensor:
        x = self.add1(x, self.attention(self.norm1(x)))
        made: Tensor = self.add2(x, self.narrow(self.act(self.wide(self.norm2(x)))))
        return made


class Vit(nn.Module):
    """A vision transformer with patches of eight pixels and three equal layers."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.places, self.place = nn.Parameter(0.5 * torch.randn(1, 16, 16)), Add()
        self.layers = nn.Sequential(*(Encoder(16, whole) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        made: Tensor = self.head(self.norm(self.layers(self.place(x, self.places))).mean(1))
        return made
