"""Operators that move elements, and leave their values alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxscope.errors import Unsupported
from onnxscope.graph.builder import Tensor, describe, ints_of, is_float, is_known, numel, shape_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Site
from onnxscope.rewriting.rules.families import finite


def numbered(f: Freezer, shape: Sequence[int]) -> Tensor:
    """Every element's own flat index, in this shape."""
    return f.b.Reshape(f.b.Range(np.int64(0), np.int64(numel(shape)), np.int64(1)), list(shape))


def reshape(f: Freezer, n: Site) -> Frozen:
    """The same elements in another shape."""
    return f.reshape(n.carried(0), shape_of(n.y0))


def moved(f: Freezer, n: Site) -> Frozen:
    """Any rearrangement: applied to the elements' numbers it says which element goes where."""
    index = f.b.op(n.node.op, numbered(f, n.pair(0).shape), *n.node.inputs[1:], **n.node.attrs)
    return f.select(n.only(0), index)


def transpose(f: Freezer, n: Site) -> Frozen:
    return f.transpose(n.x1, n.attr("perm", list(range(len(n.x1.shape)))[::-1]))


def identity(f: Freezer, n: Site) -> Frozen:
    return n.x1


def cast(f: Freezer, n: Site) -> Frozen | None:
    """To floating point the value passes; from there to integers is a decision, and among integers what does not fit is a source."""
    if not n.active(0):
        return None
    if is_float(n.y0):
        return n.x1
    return None if is_float(n.x0()) else f.source(n.x1, f.b.Sub(f.float(n.y0), f.float(n.x0())))


def expand(f: Freezer, n: Site) -> Frozen:
    return f.expand(n.only(0), shape_of(n.y0))


def concat(f: Freezer, n: Site) -> Frozen:
    """Frozen parts side by side; the parts that do not depend on the image are a source."""
    axis = n.attr("axis") % len(shape_of(n.y0))
    sizes = [shape_of(x)[axis] for x in n.node.inputs]
    parts: list[Frozen] = []
    gap, fixed = 0, []
    for i, size in enumerate(sizes):
        x0 = n.x0(i)
        if n.active(i):
            parts.append(at(f, n.carried(i), axis, gap, 0))
            gap = 0
            fixed.append(
                f.b.Expand(f.b.constant(np.float32(0)), list(shape_of(x0)))
                if not all(map(n.active, range(len(sizes))))
                else x0
            )
        else:
            gap += size
            fixed.append(f.float(x0))
    parts[-1] = at(f, parts[-1], axis, 0, gap)
    y = f.concat(parts, axis)
    return y if all(map(n.active, range(len(sizes)))) else f.source(y, f.b.op("Concat", *fixed, axis=axis))


def at(f: Freezer, x: Frozen, axis: int, before: int, after: int) -> Frozen:
    """x with this many zeros before and after it on one axis."""
    pads = [0] * 2 * len(x.shape)
    pads[axis], pads[axis + len(x.shape)] = before, after
    return f.pad(x, pads)


def split(f: Freezer, n: Site) -> list[Frozen]:
    axis = n.attr("axis") % len(n.x1.shape)
    return f.split(n.x1, axis, [shape_of(y)[axis] for y in n.node.outputs])


def slice_(f: Freezer, n: Site) -> Frozen:
    """One axis after the other; bounds that are not constant select element by element."""
    x = n.only(0)
    if not all(is_known(t) for t in n.node.inputs[1:] if t.name):
        return moved(f, n)
    starts, ends = ints_of(n.x0(1)), ints_of(n.x0(2))
    axes = ints_of(n.x0(3)) if n.has(3) else list(range(len(starts)))
    steps = ints_of(n.x0(4)) if n.has(4) else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(x.shape)
        low, high, step = slice(start, end, step).indices(x.shape[axis])
        if (low, high, step) != (0, x.shape[axis], 1):
            x = f.slice(x, axis, low, high, step)
    return x


def pad(f: Freezer, n: Site) -> Frozen:
    """Linear in every mode; a constant that is not zero is a source."""
    x, rank = n.only(0), len(n.x1.shape)
    given = ints_of(n.x0(1))
    axes = [a % rank for a in ints_of(n.x0(3))] if n.has(3) else list(range(rank))
    pads = [0] * 2 * rank
    for k, a in enumerate(axes):
        pads[a], pads[a + rank] = given[k], given[k + len(axes)]
    mode = n.attr("mode")
    y = f.pad(x, pads, mode)
    if mode != "constant" or not n.has(2) or (is_known(n.x0(2)) and not np.any(n.x0(2).values)):
        return y
    zeros = f.b.Expand(f.b.constant(np.float32(0)), list(x.shape))
    return f.source(y, f.b.Pad(zeros, pads, f.float(n.x0(2)), mode=mode))


def center_crop_pad(f: Freezer, n: Site) -> Frozen:
    """The centre, with zeros where it reaches over the edge."""
    ones = f.b.Expand(f.b.constant(np.float32(1)), list(n.x1.shape))
    return f.gain(moved(f, n), f.b.op("CenterCropPad", ones, *n.node.inputs[1:], **n.node.attrs))


def block(op: str) -> Any:
    def rule(f: Freezer, n: Site) -> Frozen:
        return f.batched(op, n.x1, **n.node.attrs)

    rule.__doc__ = "blocks of pixels to channels, and back"
    return rule


def where(f: Freezer, n: Site) -> Frozen | None:
    """The base's choice, element by element."""
    terms, b = [], f.b
    zero, one = b.constant(np.float32(0)), b.constant(np.float32(1))
    for i, (yes, no) in ((1, (one, zero)), (2, (zero, one))):
        if n.active(i):
            terms.append(f.expand(f.gain(n.carried(i), b.Where(n.x0(0), yes, no)), shape_of(n.y0)))
    if not terms:
        return None
    fixed = [
        zero if n.active(i) else finite(b, f.float(n.x0(i))) if n.taylor else f.float(n.x0(i)) for i in (1, 2)
    ]
    y = f.add(*terms)
    return y if len(terms) == 2 else f.source(y, b.Where(n.x0(0), *fixed))


def scatter(f: Freezer, n: Site) -> Frozen:
    """Elements of data, and of updates where the base's indices put them; or their sum; or the largest (smallest) of both."""
    b, reduction = f.b, n.attr("reduction")
    zero, one = b.constant(np.float32(0)), b.constant(np.float32(1))
    data0, updates0, y0 = f.float(n.x0(0)), f.float(n.x0(2)), f.float(n.y0)
    shape, updates = n.pair(0).shape, n.pair(2).shape
    attrs = {k: v for k, v in n.node.attrs.items() if k != "reduction"}
    targets = b.op(
        "GatherElements" if n.node.op == "ScatterElements" else "GatherND",
        numbered(f, shape),
        n.x0(1),
        **attrs,
    )

    def scattered(values: Tensor, onto: Tensor, **how: Any) -> Any:
        return b.op(
            n.node.op, b.Expand(onto, list(shape)), n.x0(1), b.Expand(values, list(updates)), **attrs, **how
        )

    if reduction == "add":
        keep, weight = b.Expand(one, list(shape)), one
    elif (
        reduction == "none"
    ):  # of several updates of one element the last counts, whose number stays written there
        last = scattered(numbered(f, updates), b.constant(np.int64(-1)))
        keep = b.Where(b.Less(last, np.int64(0)), one, zero)
        weight = b.Where(b.Equal(b.Gather(b.Reshape(last, [-1]), targets), numbered(f, updates)), one, zero)
    elif reduction in ("max", "min"):  # equal updates share the element
        keep = b.Where(b.Equal(data0, y0), one, zero)
        wins = b.Equal(updates0, b.Gather(b.Reshape(y0, [-1]), targets))
        wins = b.Where(b.And(wins, b.Equal(b.Gather(b.Reshape(keep, [-1]), targets), 0.0)), one, zero)
        count = b.Gather(b.Reshape(scattered(wins, zero, reduction="add"), [-1]), targets)
        weight = b.Div(wins, b.Max(count, one))
    elif not n.active(2):
        return f.gain(n.carried(0), scattered(updates0, one, reduction=reduction))
    else:
        raise Unsupported(
            f"reduction '{reduction}' has no linear rule",
            where=describe(n.node),
            remedy=f"declare it a constant decision with --opaque {n.name}",
        )
    terms, fixed = [], []
    if n.active(0):
        terms.append(f.gain(n.carried(0), keep))
    else:
        fixed.append(b.Mul(data0, keep))
    if n.active(2):
        terms.append(f.scatter_add(f.expand(f.gain(n.carried(2), weight), updates), targets, shape))
    else:
        fixed.append(scattered(b.Mul(updates0, weight), zero, reduction="add"))
    y = f.add(*terms)
    return y if not fixed else f.source(y, fixed[0])


def top_k(f: Freezer, n: Site) -> list[Frozen | None]:
    """The values at the base's indices."""
    return [
        f.select(
            n.only(0), f.b.GatherElements(numbered(f, n.x1.shape), n.node.outputs[1], axis=n.attr("axis"))
        ),
        None,
    ]


def trilu(f: Freezer, n: Site) -> Frozen:
    """A triangular mask."""
    ones = f.b.Expand(f.b.constant(np.float32(1)), list(n.x1.shape))
    return f.gain(n.only(0), f.b.op("Trilu", ones, *n.node.inputs[1:], **n.node.attrs))


DECISIONS = (
    "ArgMax",
    "ArgMin",
    "Shape",
    "Size",
    "NonZero",
    "NonMaxSuppression",
    "OneHot",
    "Hardmax",
    "Unique",
    "EyeLike",
    "Range",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "IsNaN",
    "IsInf",
    "And",
    "Or",
    "Xor",
    "Not",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "BitwiseNot",
)
MOVEMENT: dict[str, Entry] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), ("linear", reshape)),
    **dict.fromkeys(
        ("Gather", "GatherElements", "GatherND", "ReverseSequence", "Tile", "Compress"), ("linear", moved)
    ),
    "CenterCropPad": ("linear", center_crop_pad),
    **dict.fromkeys(("Identity", "Dropout"), ("linear", identity)),
    "Cast": ("linear", cast),
    "CastLike": ("linear", cast),
    "Transpose": ("linear", transpose),
    "Expand": ("linear", expand),
    "Concat": ("linear", concat),
    "Split": ("linear", split),
    "Slice": ("linear", slice_),
    "Pad": ("linear", pad),
    "DepthToSpace": ("linear", block("DepthToSpace")),
    "SpaceToDepth": ("linear", block("SpaceToDepth")),
    "Where": ("frozen", where),
    "ScatterElements": ("linear", scatter),
    "ScatterND": ("linear", scatter),
    "TopK": ("frozen", top_k),
    "Trilu": ("linear", trilu),
    **dict.fromkeys(DECISIONS, ("decision", None)),
}
