"""RoiAlign and MaxRoiPool: regions of the image, each reduced to a grid of bins."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxscope.graph.tensors import Tensor, numel, shape_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import check_countable
from onnxscope.rewriting.rules.sampling import OUTSIDE, counting, image_of, planes, taps


def roi_axis(f: Freezer, n: Site, axis: int, size: int, out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where RoiAlign samples along one axis.

    Returns the coordinates [region, bin, sample], how many samples a bin of each region has, and which
    samples these are: the last axis is as long as the region with the most samples needs.
    """
    b, half = f.b, n.attr("coordinate_transformation_mode") == "half_pixel"
    rois = b.Mul(f.float(n.x0(1)), float(n.attr("spatial_scale")))
    start, end = (b.Unsqueeze(b.Slice(rois, [k], [k + 1], [1]), [2]) for k in (1 - axis, 3 - axis))
    length = b.Sub(end, start) if half else b.Max(b.Sub(end, start), 1.0)
    width = b.Mul(length, 1 / out)
    ratio = int(n.attr("sampling_ratio"))
    count = b.Add(b.Mul(width, 0.0), float(ratio)) if ratio else b.Ceil(width)
    most = np.float32(ratio) if ratio else b.Max(b.ReduceMax(count, keepdims=0), 0.0)
    sample = b.Range(np.float32(0), most, np.float32(1))
    bins = b.Reshape(counting(b, out), [1, out, 1])
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
        pixel = counting(b, size[a])
        hat = b.Max(b.Sub(1.0, b.Abs(b.Sub(b.Clip(at, 0.0, float(size[a] - 1)), pixel))), 0.0)
        hat = b.Where(b.Less(at, -1.0), b.constant(np.float32(0)), hat)
        matrices.append(b.Div(b.ReduceSum(hat, [2], keepdims=0), b.Max(count, 1.0)))
    rows, columns = matrices
    if batch > 1:
        x = f.reshape(f.transpose(x, [1, 0, 2, 3]), (1, channels, batch * size[0], size[1]))
        images = b.Reshape(counting(b, batch, np.int64), [1, 1, batch, 1])
        own = b.Equal(b.Reshape(n.x0(2), [regions, 1, 1, 1]), images)
        rows = b.Mul(b.Unsqueeze(rows, [2]), b.Cast(own, to=TensorProto.FLOAT))
    y = f.matmul(b.Reshape(rows, [regions * out[0], batch * size[0]]), x)
    y = f.matmul(f.reshape(y, (1, channels, regions, out[0], size[1])), b.Transpose(columns, perm=[0, 2, 1]))
    return f.transpose(f.reshape(y, (channels, regions, *out)), [1, 0, 2, 3])


def roi_align_max(f: Freezer, n: Site, x: Frozen) -> Frozen:
    """The largest weight · pixel over all taps, as the standard's reference and onnxruntime compute it."""
    b, (regions, _, *out) = f.b, shape_of(n.y0)
    channels, *size = x.shape[1:]
    parts = []
    # on the axes [region, channel, row, column, sample, sample, tap, tap]
    for a, spread in enumerate(([1, 3, 5, 7], [1, 2, 4, 6])):
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


def max_roi_pool(f: Freezer, n: Site) -> Frozen:
    """The pixel that the base picked: the operator applied to the pixels' ranks gives that pixel's rank."""
    check_countable(n)
    b, x, shape = f.b, image_of(f, n), n.pair(0).shape
    count = numel(shape)
    _, order = b.op("TopK", b.Reshape(f.float(n.x0()), [-1]), [count], outputs=2, largest=0)
    numbers = b.Range(np.float32(1), np.float32(count + 1), np.float32(1))
    ranks = b.ScatterElements(b.Mul(numbers, 0.0), order, numbers, axis=0)
    best = b.op("MaxRoiPool", b.Reshape(ranks, list(shape)), f.float(n.x0(1)), **n.node.attrs)
    index = b.Gather(order, b.Cast(b.Sub(b.Max(best, 1.0), 1.0), to=TensorProto.INT64))
    return f.gain(f.select(x, index), b.Greater(best, 0.0))


REGIONS: dict[str, Entry] = {
    "RoiAlign": ("linear", roi_align),
    "MaxRoiPool": ("frozen", max_roi_pool),
}
