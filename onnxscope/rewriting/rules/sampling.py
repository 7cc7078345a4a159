"""Operators that sample the image between its pixels: sums over taps of a weight times the pixel at an index.

Where to sample is a decision: indices and weights are computed from the base, whatever the policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from onnxscope.errors import Unsupported
from onnxscope.graph.builder import Tensor, describe, numel, shape_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.convolutions import bias
from onnxscope.rewriting.rules.movement import numbered

OUTSIDE = -9.0  # a coordinate that weighs nothing
Taps = tuple[Tensor, Tensor]  # index and weight, the taps on the last axis
KINDS = {"bilinear": "linear", "bicubic": "cubic"}  # as opset 16 calls them


def tapped(f: Freezer, x: Frozen, index: Tensor, weight: Tensor) -> Frozen:
    """Σ weight · (the pixel of x at this flat index), summed over the last axis."""
    y = f.sum(f.gain(f.select(x, index), weight), [-1])
    return f.reshape(y, y.shape[:-1])


def image_of(f: Freezer, n: Site) -> Frozen:
    """The sampled image; the places to sample at are frozen where they depend on the image too."""
    if not n.active(0):
        raise Unsupported(
            "the places to sample at depend on the image, and the sampled values do not",
            where=describe(n.node),
            remedy=f"declare it a constant decision with --opaque {n.name}",
        )
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


def planes(b: Any, count: int, size: int, shape: list[int]) -> Tensor:
    """The flat index at which each plane of so many pixels begins."""
    return b.Reshape(b.Mul(b.Range(np.int32(0), np.int32(count), np.int32(1)), size), shape)


def grid_sample(f: Freezer, n: Site) -> Frozen:
    """Linear in the image: interpolation at the grid's places."""
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
    b, x, y = f.b, image_of(f, n), shape_of(n.y0)
    w = f.float(n.x0(1))
    if n.active(1) or len(x.shape) != 4:
        raise Unsupported(
            "its weights depend on the image" if n.active(1) else "only its form for images is supported",
            where=describe(n.node),
            remedy=f"declare it a constant decision with --opaque {n.name}",
        )
    (batch, channels), size, out, kernel = x.shape[:2], list(x.shape[2:]), list(y[2:]), list(shape_of(w)[2:])
    groups, count = int(n.attr("offset_group")), numel(kernel)
    strides, dilations, pads = n.attr("strides", [1, 1]), n.attr("dilations", [1, 1]), n.attr("pads", [0] * 4)
    offset = b.Reshape(f.float(n.x0(2)), [batch, groups, *kernel, 2, *out])
    axes = []
    for a in range(2):
        spread = [1, 1, 1, 1, 1, 1]
        places = [
            b.Reshape(
                b.Mul(b.Range(np.float32(0), np.float32(d), np.float32(1)), float(step)),
                [*spread[:k], d, *spread[k + 1 :]],
            )
            for d, step, k in ((kernel[a], dilations[a], 2 + a), (out[a], strides[a], 4 + a))
        ]
        own = b.Squeeze(b.Slice(offset, [a], [a + 1], [4]), [4])
        at = b.Add(b.Sub(b.Add(*places), float(pads[a])), own)
        axes.append(taps(b, at, size[a], "linear", "zeros", 0.0))
    index, weight = crossed(b, axes, size)
    if n.has(4):
        weight = b.Mul(weight, b.Reshape(f.float(n.x0(4)), [batch, groups, *kernel, *out, 1]))
    first = planes(b, batch * channels, numel(size), [batch, groups, channels // groups, *[1] * 5])
    columns = tapped(f, x, b.Add(b.Unsqueeze(index, [2]), first), b.Unsqueeze(weight, [2]))
    flat = b.Reshape(w, [shape_of(w)[0], -1, 1, 1])
    return bias(
        f,
        n,
        f.batched(
            "Conv", f.reshape(columns, (batch, channels * count, *out)), flat, group=int(n.attr("group"))
        ),
        3,
    )


def roi_axis(f: Freezer, n: Site, axis: int, size: int, out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where RoiAlign samples along one axis: coordinates [region, bin, sample], how many samples a region has, and which are its own."""
    b, half = f.b, n.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    rois = b.Mul(f.float(n.x0(1)), float(n.attr("spatial_scale")))
    start, end = (b.Unsqueeze(b.Slice(rois, [k], [k + 1], [1]), [2]) for k in (1 - axis, 3 - axis))
    length = b.Sub(end, start) if half else b.Max(b.Sub(end, start), 1.0)
    width = b.Mul(length, 1 / out)
    ratio = int(n.attr("sampling_ratio"))
    count = b.Add(b.Mul(width, 0.0), float(ratio)) if ratio else b.Ceil(width)
    most = np.float32(ratio) if ratio else b.Max(b.ReduceMax(count, keepdims=0), 0.0)
    sample = b.Range(np.float32(0), most, np.float32(1))
    bins = b.Reshape(b.Range(np.float32(0), np.float32(out), np.float32(1)), [1, out, 1])
    at = b.Add(
        b.Add(b.Sub(start, 0.5 if half else 0.0), b.Mul(bins, width)),
        b.Mul(b.Add(sample, 0.5), b.Div(width, count)),
    )
    own = b.Less(sample, count)
    inside = b.And(b.And(b.GreaterOrEqual(at, -1.0), b.LessOrEqual(at, float(size))), own)
    return b.Where(inside, at, b.constant(np.float32(OUTSIDE))), count, own


def roi_align(f: Freezer, n: Site) -> Frozen:
    """The mean of bilinear samples: a matrix along each axis, one pair for each region."""
    b, x, (regions, _, *out) = f.b, image_of(f, n), shape_of(n.y0)
    batch, channels, *size = x.shape
    if n.attr("mode") == "max":
        return roi_align_max(f, n, x)
    matrices = []
    for a in range(2):
        at, count, _ = roi_axis(f, n, a, size[a], out[a])
        at = b.Unsqueeze(at, [3])
        pixel = b.Range(np.float32(0), np.float32(size[a]), np.float32(1))
        hat = b.Max(b.Sub(1.0, b.Abs(b.Sub(b.Clip(at, 0.0, float(size[a] - 1)), pixel))), 0.0)
        hat = b.Where(b.Less(at, -1.0), b.constant(np.float32(0)), hat)
        matrices.append(b.Div(b.ReduceSum(hat, [2], keepdims=0), b.Max(count, 1.0)))
    rows, columns = matrices
    if batch > 1:
        x = f.reshape(f.transpose(x, [1, 0, 2, 3]), (1, channels, batch * size[0], size[1]))
        images = b.Reshape(b.Range(np.int64(0), np.int64(batch), np.int64(1)), [1, 1, batch, 1])
        own = b.Equal(b.Reshape(n.x0(2), [regions, 1, 1, 1]), images)
        rows = b.Mul(b.Unsqueeze(rows, [2]), b.Cast(own, to=TensorProto.FLOAT))
    y = f.matmul(b.Reshape(rows, [regions * out[0], batch * size[0]]), x)
    y = f.matmul(f.reshape(y, (1, channels, regions, out[0], size[1])), b.Transpose(columns, perm=[0, 2, 1]))
    return f.transpose(f.reshape(y, (channels, regions, *out)), [1, 0, 2, 3])


def roi_align_max(f: Freezer, n: Site, x: Frozen) -> Frozen:
    """The largest weight · pixel over all taps, as the standard's reference and onnxruntime have it: the base's own choice."""
    b, (regions, _, *out) = f.b, shape_of(n.y0)
    channels, *size = x.shape[1:]
    parts = []
    for a, spread in enumerate(
        ([1, 3, 5, 7], [1, 2, 4, 6])
    ):  # [region, channel, row, column, sample, sample, tap, tap]
        at, _, own = roi_axis(f, n, a, size[a], out[a])
        index, weight = taps(b, b.Clip(at, 0.0, float(size[a] - 1)), size[a], "linear", "border", 0.0)
        weight = b.Where(b.Unsqueeze(b.Less(at, -1.0), [3]), b.constant(np.float32(0)), weight)
        parts.append([b.Unsqueeze(v, spread) for v in (index, weight, b.Unsqueeze(own, [3]))])
    (row, row_weight, row_own), (column, column_weight, column_own) = parts
    first = planes(b, channels, numel(size), [1, channels, 1, 1, 1, 1, 1, 1])
    image = b.Mul(
        b.Cast(b.Reshape(n.x0(2), [regions, *[1] * 7]), to=TensorProto.INT32), channels * numel(size)
    )
    index = b.Add(b.Add(b.Add(b.Mul(row, size[1]), column), first), image)
    value = b.Mul(b.Gather(b.Reshape(f.float(n.x0()), [-1]), index), b.Mul(row_weight, column_weight))
    value = b.Where(b.And(row_own, column_own), value, b.constant(np.float32(np.finfo(np.float32).min)))
    flat = [regions, channels, *out, -1]
    best = b.ArgMax(b.Reshape(value, flat), axis=-1)
    weight = b.Reshape(b.Expand(b.Mul(row_weight, column_weight), b.Shape(value)), flat)
    index, weight = (
        b.Reshape(b.GatherElements(v, best, axis=-1), list(shape_of(n.y0)))
        for v in (b.Reshape(index, flat), weight)
    )
    return f.gain(f.select(x, index), weight)


def max_unpool(f: Freezer, n: Site) -> Frozen:
    """Every pixel where the base puts it: the operator, fed with the pixels' numbers, says which one ends where."""
    b, shape = f.b, n.pair(0).shape
    if numel(shape) >= 2**24:
        raise Unsupported(
            "it has too many pixels to number them in float32",
            where=describe(n.node),
            remedy="analyse a smaller image",
        )
    number = b.Cast(b.Add(numbered(f, shape), 1), to=TensorProto.FLOAT)
    source = b.op("MaxUnpool", number, *n.node.inputs[1:], **n.node.attrs)
    hit = b.Greater(source, 0.0)
    return f.gain(f.select(n.only(0), b.Cast(b.Sub(b.Max(source, 1.0), 1.0), to=TensorProto.INT32)), hit)


def max_roi_pool(f: Freezer, n: Site) -> Frozen:
    """The pixel that the base picked: the operator, fed with the pixels' ranks, says which rank wins."""
    b, shape, count = f.b, n.pair(0).shape, numel(n.pair(0).shape)
    if count >= 2**24:
        raise Unsupported(
            "it has too many pixels to rank them in float32",
            where=describe(n.node),
            remedy="analyse a smaller image",
        )
    x = image_of(f, n)
    _, order = b.op("TopK", b.Reshape(f.float(n.x0()), [-1]), [count], outputs=2, largest=0)
    numbers = b.Range(np.float32(1), np.float32(count + 1), np.float32(1))
    ranks = b.ScatterElements(b.Mul(numbers, 0.0), order, numbers, axis=0)
    best = b.op("MaxRoiPool", b.Reshape(ranks, list(shape)), f.float(n.x0(1)), **n.node.attrs)
    index = b.Gather(order, b.Cast(b.Sub(b.Max(best, 1.0), 1.0), to=TensorProto.INT64))
    return f.gain(f.select(x, index), b.Greater(best, 0.0))


def col2im(f: Freezer, n: Site) -> Frozen:
    """Every element added to its pixel of the padded image, and the padding cut off."""
    b, x, y = f.b, n.only(0), shape_of(n.y0)
    size, kernel = list(y[2:]), [int(v) for v in n.x0(2).values]
    rank = len(size)
    strides, dilations, pads = (
        n.attr("strides", [1] * rank),
        n.attr("dilations", [1] * rank),
        n.attr("pads", [0] * 2 * rank),
    )
    whole = [d + pads[a] + pads[a + rank] for a, d in enumerate(size)]
    blocks = [
        (w - (k - 1) * d - 1) // s + 1 for w, k, d, s in zip(whole, kernel, dilations, strides, strict=True)
    ]
    place, step = b.constant(np.zeros([1] * 2 * rank, np.int32)), 1
    for a in reversed(range(rank)):
        for k, (d, stride) in ((a, (kernel[a], dilations[a])), (a + rank, (blocks[a], strides[a]))):
            spread = [1] * 2 * rank
            spread[k] = d
            place = b.Add(
                place, b.Reshape(b.Mul(b.Range(np.int32(0), np.int32(d), np.int32(1)), stride * step), spread)
            )
        step *= whole[a]
    first = planes(b, y[0] * y[1], step, [y[0] * y[1], 1])
    index = b.Reshape(b.Add(first, b.Reshape(place, [1, -1])), [-1])
    image = f.scatter_add(x, index, (*y[:2], *whole))
    for a, d in enumerate(size):
        if whole[a] != d:
            image = f.slice(image, a + 2, pads[a], pads[a] + d)
    return image


def affine_grid(f: Freezer, n: Site) -> Frozen:
    """theta times the homogeneous coordinates, which the operator tells where theta is the identity."""
    b, y = f.b, shape_of(n.y0)
    rank = y[-1]
    identity = b.constant(np.eye(rank, rank + 1, dtype=np.float32)[None])
    grid = b.op("AffineGrid", identity, [1, 1, *y[1:-1]], **n.node.attrs)
    grid = b.Reshape(grid, [numel(y[1:-1]), rank])
    homogeneous = b.Concat(grid, b.Expand(b.constant(np.float32(1)), [numel(y[1:-1]), 1]), axis=1)
    return f.reshape(f.matmul(homogeneous, f.transpose(n.only(0), [0, 2, 1])), y)


SAMPLING: dict[str, Entry] = {
    "GridSample": ("linear", grid_sample),
    "DeformConv": ("linear", deform_conv),
    "RoiAlign": ("linear", roi_align),
    "MaxUnpool": ("linear", max_unpool),
    "MaxRoiPool": ("frozen", max_roi_pool),
    "Col2Im": ("linear", col2im),
    "AffineGrid": ("linear", affine_grid),
}
