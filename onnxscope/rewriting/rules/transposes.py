"""How each linear primitive is transposed. Those that pools are frozen in are in pooling.py.

A rule gets the transposer, the frozen node, the position of the input that carries probes and the cotangent
of the output. It returns the cotangent of that input, before sums over broadcast axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import Tensor, ints_of, shape_of
from onnxscope.normalise.attributes import attributes, window
from onnxscope.rewriting.rules.matrices import copies_blocks, eye, on_axis, resize_matrix
from onnxscope.rewriting.transpose import Transposer, TransposeRule


def same(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """y = x + …, or x repeated: the cotangent itself, which the walk sums over broadcast axes."""
    return ct


def mul(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """y = g·x: g·ct."""
    return t.op("Mul", ct, n.inputs[1 - i])


def matmul(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """y = A·x: Aᵀ·ct, and y = x·A: ct·Aᵀ."""
    other = n.inputs[1 - i]
    rank = len(shape_of(other))
    turned = t.op("Transpose", other, perm=[*range(rank - 2), rank - 1, rank - 2])
    return t.op("MatMul", ct, turned) if i == 0 else t.op("MatMul", turned, ct)


def gemm(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """y = x·W or x·Wᵀ."""
    return t.op("Gemm", ct, n.inputs[1], transB=1 - n.attrs["transB"])


def einsum(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """y[k] = Σ x[i]·a[j]: the same sum with x and y exchanged; an index that only x has is spread."""
    left, out = n.attrs["equation"].split("->")
    terms = left.split(",")
    x = n.inputs[i]
    others = "".join(terms[:i] + terms[i + 1 :]) + out
    kept = "".join(c for c in terms[i] if c in others)
    inputs = [ct if k == i else v for k, v in enumerate(n.inputs)]
    equation = ",".join(out if k == i else term for k, term in enumerate(terms)) + "->" + kept
    y = t.op("Einsum", *inputs, equation=equation)
    if kept == terms[i]:
        return y
    lone = [k for k, c in enumerate(terms[i]) if c not in others]
    return t.op("Expand", t.op("Unsqueeze", y, lone), [1, *shape_of(x)[1:]])


def reshape(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    return t.reshape(ct, shape_of(n.inputs[0]))


def transpose(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    return t.op("Transpose", ct, perm=[int(p) for p in np.argsort(n.attrs["perm"])])


def concat(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    axis = n.attrs["axis"]
    start = sum(shape_of(x)[axis] for x in n.inputs[:i])
    return t.op("Slice", ct, [start], [start + shape_of(n.inputs[i])[axis]], [axis])


def split(t: Transposer, n: gs.Node, i: int, cts: Sequence[Tensor | None]) -> Tensor:
    cts = cts if isinstance(cts, list) else [cts]
    some = next(ct for ct in cts if ct is not None)
    parts = [
        ct if ct is not None else t.zeros(some, shape_of(o)) for ct, o in zip(cts, n.outputs, strict=True)
    ]
    return t.op("Concat", *parts, axis=n.attrs["axis"])


def slice_(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """Zeros between the elements that a step left out, then zeros around."""
    (start,), (end,), (axis,), (step,) = (ints_of(x) for x in n.inputs[1:5])
    shape = shape_of(n.inputs[0])
    taken = range(shape[axis])[slice(start, None if end <= -(2**31) else end, step)]
    if not taken:
        return t.zeros(ct, shape)
    if step < 0:
        ct = t.op("Slice", ct, [-1], [-(2**31)], [axis], [-1])
    gap, count = abs(step), len(taken)
    if gap > 1 and count > 1:
        around = list(shape_of(ct))
        ct = t.reshape(ct, (*around[: axis + 1], 1, *around[axis + 1 :]))
        ct = pad_axis(t, ct, axis + 1, 0, gap - 1)
        ct = t.reshape(ct, (*around[:axis], count * gap, *around[axis + 1 :]))
        ct = t.op("Slice", ct, [0], [(count - 1) * gap + 1], [axis])
    low, high = min(taken), max(taken)
    return pad_axis(t, ct, axis, low, shape[axis] - 1 - high)


def pad_axis(t: Transposer, x: Tensor, axis: int, begin: int, end: int) -> Tensor:
    """x with this many zeros before and after it on one axis."""
    rank = len(shape_of(x))
    pads = [0] * (2 * rank)
    pads[axis], pads[axis + rank] = begin, end
    return t.op("Pad", x, pads) if begin or end else x


def pad(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """Zero padding: cut it off. Other modes: the transposed matrix of the padding, axis by axis."""
    pads, rank = ints_of(n.inputs[1]), len(shape_of(n.inputs[0]))
    shape, mode = shape_of(n.inputs[0]), n.attrs["mode"]
    for axis in range(rank):
        begin, end = pads[axis], pads[axis + rank]
        if not begin and not end:
            continue
        if mode == "constant" or (begin <= 0 and end <= 0):
            cut, back = max(begin, 0), max(end, 0)
            ct = t.op("Slice", ct, [cut], [shape_of(ct)[axis] - back], [axis])
            ct = pad_axis(t, ct, axis, max(-begin, 0), max(-end, 0))
        else:
            matrix = t.b.op("Pad", eye(t.b, shape[axis]), [begin, 0, end, 0], mode=mode)
            ct = on_axis(t, t.op("Transpose", matrix, perm=[1, 0]), ct, axis)
    return ct


def reduce_sum(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """The sum's cotangent goes to every term."""
    return t.op("Expand", ct, [1, *shape_of(n.inputs[0])[1:]])


def conv(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """A ConvTranspose with the same weights; at stride 1 a Conv with flipped ones, which is faster."""
    x, w = n.inputs
    k, size, out = shape_of(w)[2:], shape_of(x)[2:], shape_of(ct)[2:]
    rank, attrs = len(k), attributes(n, t.b.opset)
    s, d, p, group = (attrs[name] for name in ("strides", "dilations", "pads", "group"))
    full = [(kk - 1) * dd for kk, dd in zip(k, d, strict=True)]
    around = [f - q for f, q in zip(full * 2, p, strict=True)]
    if all(v == 1 for v in s) and min(around, default=0) >= 0:
        return t.op("Conv", ct, flipped(t, w, group), strides=s, dilations=d, pads=around, group=group)
    extra = [size[a] - ((out[a] - 1) * s[a] + full[a] + 1 - p[a] - p[a + rank]) for a in range(rank)]
    return t.op("ConvTranspose", ct, w, strides=s, dilations=d, pads=p, group=group, output_padding=extra)


def conv_transpose(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """A Conv with the same weights."""
    x, w = n.inputs
    ct = t.op("Conv", ct, w, **window(attributes(n, t.b.opset)))
    for axis, (have, want) in enumerate(zip(shape_of(ct), shape_of(x), strict=True)):
        if axis > 1 and have > want:  # output padding beyond the stride made more room
            ct = t.op("Slice", ct, [0], [want], [axis])
        elif axis > 1 and have < want:  # pads cut whole input elements off
            ct = pad_axis(t, ct, axis, 0, want - have)
    return ct


def flipped(t: Transposer, w: Tensor, group: int) -> Tensor:
    """Convolution weights for the way back: every kernel mirrored, inputs and outputs exchanged."""
    shape = shape_of(w)
    axes = [k for k, d in enumerate(shape) if k >= 2 and d > 1]
    if axes:
        w = t.op("Slice", w, [-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes))
    if group == 1:
        return t.op("Transpose", w, perm=[1, 0, *range(2, len(shape))])
    m, c, *k = shape
    w = t.op("Reshape", w, [group, m // group, c, *k])
    w = t.op("Transpose", w, perm=[0, 2, 1, *range(3, len(shape) + 1)])
    return t.op("Reshape", w, [group * c, m // group, *k])


def scatter(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """Zeros with elements added at indices: the cotangents at these indices."""
    expand = n.inputs[1].inputs[0]  # `scatter_add` repeats the indices for every probe by an Expand
    index = expand.inputs[0]
    return t.op("Gather", ct, t.op("Reshape", index, [-1]), axis=1)


def depth_to_space(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """SpaceToDepth; in CRD order by a transposition, because SpaceToDepth has DCR order only."""
    r = n.attrs["blocksize"]
    if attributes(n, t.b.opset)["mode"] == "DCR":
        return t.op("SpaceToDepth", ct, blocksize=r)
    _, c, h, w = shape_of(ct)
    ct = t.op("Transpose", t.reshape(ct, (-1, c, h // r, r, w // r, r)), perm=[0, 1, 3, 5, 2, 4])
    return t.reshape(ct, shape_of(n.inputs[0]))


def space_to_depth(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    return t.op("DepthToSpace", ct, blocksize=n.attrs["blocksize"])


def resize(t: Transposer, n: gs.Node, i: int, ct: Tensor) -> Tensor:
    """The sum of every block of copied pixels; along axes that are not copied the transposed matrix."""
    shape, out = shape_of(n.inputs[0]), shape_of(ct)
    inputs = [x if x.name else None for x in n.inputs[1:]]
    split: list[int] = [-1]
    blocks: list[int] = []
    for axis in range(1, len(shape)):
        if axis in n.attrs["axes"] and copies_blocks(inputs, n.attrs, axis, shape[axis], out[axis]):
            split += [shape[axis], out[axis] // shape[axis]]
            blocks.append(len(split) - 1)
        else:
            split.append(out[axis])
            if axis in n.attrs["axes"]:
                matrix = resize_matrix(t.b, inputs, n.attrs, axis, shape, out)
                ct = on_axis(t, t.op("Transpose", matrix, perm=[1, 0]), ct, axis)
                split[-1] = shape[axis]
    return t.op("ReduceSum", t.op("Reshape", ct, split), blocks, keepdims=0) if blocks else ct


TRANSPOSES: dict[str, TransposeRule] = {
    "Identity": same,
    "Add": same,
    "Sum": same,
    "Neg": lambda t, n, i, ct: t.op("Neg", ct),
    "Mul": mul,
    "MatMul": matmul,
    "Gemm": gemm,
    "Einsum": einsum,
    "Reshape": reshape,
    "Resize": resize,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Pad": pad,
    "Expand": same,
    "ReduceSum": reduce_sum,
    "ScatterElements": scatter,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
