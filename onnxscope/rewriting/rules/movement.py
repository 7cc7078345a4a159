"""Operators that move elements and leave their values alone."""

from __future__ import annotations

import numpy as np

from onnxscope.graph.tensors import ints_of, is_float, is_known, shape_of
from onnxscope.rewriting.frozen import Frozen
from onnxscope.rewriting.linearize import Entry, Freezer, Rule, Site
from onnxscope.rewriting.rules.families import filled, finite, numbered


def reshape(f: Freezer, n: Site) -> Frozen:
    """The same elements in another shape."""
    return f.reshape(n.carried(0), shape_of(n.y0))


def moved(f: Freezer, n: Site) -> Frozen:
    """Any rearrangement: applied to the elements' numbers, the operator gives the index to select by."""
    index = f.b.op(n.node.op, numbered(f, n.pair(0).shape), *n.node.inputs[1:], **n.node.attrs)
    return f.select(n.only(0), index)


def transpose(f: Freezer, n: Site) -> Frozen:
    return f.transpose(n.x1, n.attr("perm"))


def identity(f: Freezer, n: Site) -> Frozen:
    return n.x1


def cast(f: Freezer, n: Site) -> Frozen | None:
    """To floats unchanged; from floats to integers a decision; among integers what is cut off is a source."""
    if not n.active(0):
        return None
    if is_float(n.y0):
        return n.x1
    return None if is_float(n.x0()) else f.anchored(f.operand(n), f.float(n.y0))


def expand(f: Freezer, n: Site) -> Frozen:
    return f.expand(n.only(0), shape_of(n.y0))


def concat(f: Freezer, n: Site) -> Frozen:
    """Frozen parts side by side; the parts that do not depend on the image are a source."""
    axis, all_active = n.attr("axis"), all(map(n.active, range(len(n.inputs))))
    parts: list[Frozen] = []
    fixed, gap = [], 0
    for i, x in enumerate(n.node.inputs):
        if n.active(i):
            parts.append(between_zeros(f, n.carried(i), axis, gap, 0))
            gap = 0
            if not all_active:
                fixed.append(filled(f, 0, shape_of(x)))
        else:
            gap += shape_of(x)[axis]
            fixed.append(f.float(x))
    parts[-1] = between_zeros(f, parts[-1], axis, 0, gap)
    y = f.concat(parts, axis)
    return y if all_active else f.source(y, f.b.op("Concat", *fixed, axis=axis))


def between_zeros(f: Freezer, x: Frozen, axis: int, before: int, after: int) -> Frozen:
    """x with this many zeros before and after it on one axis."""
    pads = [0] * 2 * len(x.shape)
    pads[axis], pads[axis + len(x.shape)] = before, after
    return f.pad(x, pads)


def split(f: Freezer, n: Site) -> list[Frozen]:
    axis = n.attr("axis")
    return f.split(n.x1, axis, [shape_of(y)[axis] for y in n.node.outputs])


def slice_(f: Freezer, n: Site) -> Frozen:
    """One axis after the other; bounds that are not constant select element by element."""
    x, bounds = n.only(0), n.node.inputs[1:]
    if not all(map(is_known, bounds)):
        return moved(f, n)
    for start, end, axis, step in zip(*map(ints_of, bounds), strict=True):
        low, high, step = slice(start, end, step).indices(x.shape[axis])
        if (low, high, step) != (0, x.shape[axis], 1):
            x = f.slice(x, axis % len(x.shape), low, high, step)
    return x


def pad(f: Freezer, n: Site) -> Frozen:
    """Linear in every mode; a constant that is not zero is a source."""
    x, pads, mode = n.only(0), ints_of(n.x0(1)), n.attr("mode")
    y = f.pad(x, pads, mode)
    if not n.has(2) or (is_known(n.x0(2)) and not np.any(n.x0(2).values)):
        return y
    return f.source(y, f.b.Pad(filled(f, 0, x.shape), pads, f.float(n.x0(2)), mode=mode))


def center_crop_pad(f: Freezer, n: Site) -> Frozen:
    """The centre, with zeros where it reaches over the edge."""
    ones = filled(f, 1, n.x1.shape)
    return f.gain(moved(f, n), f.b.op("CenterCropPad", ones, *n.node.inputs[1:], **n.node.attrs))


def block(op: str) -> Rule:
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


def top_k(f: Freezer, n: Site) -> list[Frozen | None]:
    """The values at the base's indices."""
    index = f.b.GatherElements(numbered(f, n.x1.shape), n.node.outputs[1], axis=n.attr("axis"))
    return [f.select(n.only(0), index), None]


def trilu(f: Freezer, n: Site) -> Frozen:
    """A triangular mask."""
    return f.gain(n.only(0), f.b.op("Trilu", filled(f, 1, n.x1.shape), *n.node.inputs[1:], **n.node.attrs))


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
    "TopK": ("frozen", top_k),
    "Trilu": ("linear", trilu),
}
