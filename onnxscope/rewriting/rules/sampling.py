"""GridSample, DeformConv, AffineGrid and Col2Im: samples of an image between pixels, and where pixels go.

A sample is a sum over taps, each a weight times the pixel at an index. Where to sample is a decision: indices
and weights are computed from the base, whatever the policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from onnxscope.graph.tensors import Tensor, ints_of, numel, shape_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.convolutions import bias
from onnxscope.rewriting.rules.families import filled, refusal

OUTSIDE = -9.0  # a coordinate so far outside of the image that its weight is 0
Taps = tuple[Tensor, Tensor]  # index and weight, the taps on the last axis
KINDS = {"bilinear": "linear", "bicubic": "cubic"}  # as opset 16 calls them


def tapped(f: Freezer, x: Frozen, index: Tensor, weight: Tensor) -> Frozen:
    """Σ weight · (the pixel of x at this flat index), summed over the last axis."""
    y = f.sum(f.gain(f.select(x, index), weight), [-1])
    return f.reshape(y, y.shape[:-1])


def image_of(f: Freezer, n: Site) -> Frozen:
    """The sampled image; the places to sample at are frozen where they depend on the image too."""
    if not n.active(0):
        raise refusal(n, "the places to sample at depend on the image, and the sampled values do not")
    if any(n.active(i) for i in range(1, len(n.inputs))):
        f.note("the places to sample at are frozen", tangent=False)
    return n.x1


def taps(b: Any, at: Tensor, size: int, kind: str, padding: str, low: float) -> Taps:
    """Indices and weights along one axis for these coordinates; `low` is where its pixels begin: 0, or −½."""
    high = size - 1 - low
    if kind == "nearest":
        at = b.Round(at)
    at = b.Unsqueeze(at, [-1])
    first = b.Floor(at)
    t = b.Sub(at, first)
    if kind == "nearest":
        steps, weight = [0], b.Sub(1.0, t)
    elif kind == "linear":
        steps, weight = [0, 1], b.Concat(b.Sub(1.0, t), t, axis=-1)
    else:
        steps, weight = [-1, 0, 1, 2], b.Concat(*(cubic(b, t, s) for s in (-1, 0, 1, 2)), axis=-1)
    index = b.Add(first, b.constant(np.asarray(steps, np.float32)))
    if padding == "reflection":
        index = b.Where(
            b.Or(b.Less(index, low), b.Greater(index, high)), b.Round(reflected(b, index, low, high)), index
        )
    if padding == "zeros":
        inside = b.And(b.GreaterOrEqual(index, 0.0), b.LessOrEqual(index, float(size - 1)))
        weight = b.Mul(weight, b.Cast(inside, to=TensorProto.FLOAT))
    return b.Cast(b.Clip(index, 0.0, float(size - 1)), to=TensorProto.INT32), weight


def reflected(b: Any, x: Tensor, low: float, high: float) -> Tensor:
    """A coordinate folded back into [low, high] as often as it takes."""
    span = high - low
    if not span:
        return b.Mul(x, 0.0)
    u = b.Sub(x, low)
    u = b.Sub(u, b.Mul(b.Floor(b.Mul(u, 1 / (2 * span))), 2 * span))
    return b.Add(b.Sub(span, b.Abs(b.Sub(u, span))), low)


def cubic(b: Any, t: Tensor, step: int, a: float = -0.75) -> Tensor:
    """Keys' kernel at distance |t − step|."""
    d = b.Abs(b.Sub(t, float(step)))
    if step in (0, 1):
        return b.Add(b.Mul(b.Mul(b.Sub(b.Mul(d, a + 2), a + 3), d), d), 1.0)
    return b.Sub(b.Mul(b.Add(b.Mul(b.Sub(b.Mul(d, a), 5 * a), d), 8 * a), d), 4 * a)


def crossed(b: Any, axes: list[Taps], sizes: list[int]) -> Taps:
    """The taps of all axes together: products of weights, flat indices."""
    index, weight = axes[0]
    for (i, w), size in zip(axes[1:], sizes[1:], strict=True):
        shape = [*shape_of(index)[:-1], -1]
        index = b.Reshape(b.Add(b.Mul(b.Unsqueeze(index, [-1]), size), b.Unsqueeze(i, [-2])), shape)
        weight = b.Reshape(b.Mul(b.Unsqueeze(weight, [-1]), b.Unsqueeze(w, [-2])), shape)
    return index, weight


def counting(b: Any, count: int, kind: Any = np.float32) -> Tensor:
    """0, 1, …, count − 1."""
    return b.Range(kind(0), kind(count), kind(1))


def spaced(b: Any, count: int, step: float, axis: int, rank: int) -> Tensor:
    """0, step, 2·step, … along one of `rank` axes: float32 for a step that is a float, else int32."""
    numbers = b.Mul(counting(b, count, np.float32 if isinstance(step, float) else np.int32), step)
    return b.Reshape(numbers, [count if k == axis else 1 for k in range(rank)])


def planes(b: Any, count: int, size: int, shape: list[int]) -> Tensor:
    """The flat index at which each plane of `size` pixels begins."""
    return b.Reshape(b.Mul(counting(b, count, np.int32), size), shape)


def grid_sample(f: Freezer, n: Site) -> Frozen:
    """Interpolation of the image at the grid's places."""
    b, x = f.b, image_of(f, n)
    (batch, channels), size = x.shape[:2], list(x.shape[2:])
    rank, grid, corners = len(size), f.float(n.x0(1)), bool(n.attr("align_corners"))
    kind, padding = KINDS.get(n.attr("mode"), n.attr("mode")), n.attr("padding_mode")
    axes = []
    for a, d in enumerate(size):
        at = b.Squeeze(b.Slice(grid, [rank - 1 - a], [rank - a], [-1]), [-1])
        at = b.Mul(b.Add(at, 1.0), (d - 1) / 2) if corners else b.Sub(b.Mul(b.Add(at, 1.0), d / 2), 0.5)
        axes.append(taps(b, at, d, kind, padding, 0.0 if corners else -0.5))
    index, weight = crossed(b, axes, size)
    first = planes(b, batch * channels, numel(size), [batch, channels, *[1] * (rank + 1)])
    return tapped(f, x, b.Add(b.Unsqueeze(index, [1]), first), b.Unsqueeze(weight, [1]))


def deform_conv(f: Freezer, n: Site) -> Frozen:
    """A convolution over pixels sampled at offset places, its bias a source."""
    b, x = f.b, image_of(f, n)
    if n.active(1) or len(x.shape) != 4:
        raise refusal(
            n, "its weights depend on the image" if n.active(1) else "only its form for images is supported"
        )
    w = f.float(n.x0(1))
    (batch, channels, *size), out, kernel = x.shape, shape_of(n.y0)[2:], shape_of(w)[2:]
    groups = int(n.attr("offset_group"))
    offset = b.Reshape(f.float(n.x0(2)), [batch, groups, *kernel, 2, *out])
    axes = [taps(b, offset_places(f, n, offset, a), size[a], "linear", "zeros", 0.0) for a in range(2)]
    index, weight = crossed(b, axes, size)
    if n.has(4):
        weight = b.Mul(weight, b.Reshape(f.float(n.x0(4)), [batch, groups, *kernel, *out, 1]))
    first = planes(b, batch * channels, numel(size), [batch, groups, channels // groups, *[1] * 5])
    columns = tapped(f, x, b.Add(b.Unsqueeze(index, [2]), first), b.Unsqueeze(weight, [2]))
    columns = f.reshape(columns, (batch, channels * numel(kernel), *out))
    flat = b.Reshape(w, [shape_of(w)[0], -1, 1, 1])
    return bias(f, n, f.batched("Conv", columns, flat, group=n.attr("group")), 3)


def offset_places(f: Freezer, n: Site, offset: Tensor, a: int) -> Tensor:
    """Where DeformConv samples along axis a; `offset` is [batch, group, kernel…, axis, row, column]."""
    b, kernel, out = f.b, n.pair(1).shape[2:], shape_of(n.y0)[2:]
    taps_at = spaced(b, kernel[a], float(n.attr("dilations")[a]), 2 + a, 6)
    windows_at = spaced(b, out[a], float(n.attr("strides")[a]), 4 + a, 6)
    own = b.Squeeze(b.Slice(offset, [a], [a + 1], [4]), [4])
    return b.Add(b.Sub(b.Add(taps_at, windows_at), float(n.attr("pads")[a])), own)


def col2im(f: Freezer, n: Site) -> Frozen:
    """Every element added to its pixel of the padded image, and the padding cut off."""
    b, x, (batch, channels, *size) = f.b, n.only(0), shape_of(n.y0)
    rank, pads = len(size), n.attr("pads")
    padded = [d + pads[a] + pads[a + rank] for a, d in enumerate(size)]
    place, plane = b.constant(np.zeros([1] * 2 * rank, np.int32)), 1
    for a, kernel in reversed(list(enumerate(ints_of(n.x0(2))))):  # [kernel…, window…]
        stride, dilation = n.attr("strides")[a], n.attr("dilations")[a]
        windows = (padded[a] - (kernel - 1) * dilation - 1) // stride + 1
        place = b.Add(place, spaced(b, kernel, dilation * plane, a, 2 * rank))
        place = b.Add(place, spaced(b, windows, stride * plane, a + rank, 2 * rank))
        plane *= padded[a]
    first = planes(b, batch * channels, plane, [batch * channels, 1])
    index = b.Reshape(b.Add(first, b.Reshape(place, [1, -1])), [-1])
    image = f.scatter_add(x, index, (batch, channels, *padded))
    for a, d in enumerate(size):
        if padded[a] != d:
            image = f.slice(image, a + 2, pads[a], pads[a] + d)
    return image


def affine_grid(f: Freezer, n: Site) -> Frozen:
    """theta times the homogeneous coordinates, which the operator returns for the identity."""
    b, y = f.b, shape_of(n.y0)
    rank = y[-1]
    identity = b.constant(np.eye(rank, rank + 1, dtype=np.float32)[None])
    grid = b.op("AffineGrid", identity, [1, 1, *y[1:-1]], **n.node.attrs)
    grid = b.Reshape(grid, [numel(y[1:-1]), rank])
    homogeneous = b.Concat(grid, filled(f, 1, [numel(y[1:-1]), 1]), axis=1)
    return f.reshape(f.matmul(homogeneous, f.transpose(n.only(0), [0, 2, 1])), y)


SAMPLING: dict[str, Entry] = {
    "GridSample": ("linear", grid_sample),
    "DeformConv": ("linear", deform_conv),
    "Col2Im": ("linear", col2im),
    "AffineGrid": ("linear", affine_grid),
}
