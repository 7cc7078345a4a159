"""Operators that move elements, and that some opset changed.

`<13` means: in models of opsets before 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxscope.errors import BadModel
from onnxscope.graph.tensors import is_known, shape_of, values_of
from onnxscope.normalise.families import before, default, fixed, ints
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source


def squeeze(w: Normaliser, n: Source) -> Any:
    """<13: axes was an attribute. Always named here; left out they are all axes of size 1."""
    shape = shape_of(n[0])
    axes = fixed(n, "axes", 1, "axes")
    if axes is None:
        axes = [k for k, d in enumerate(shape) if d == 1]
    return w.emit(n, inputs=[n[0], ints(w, sorted(n.axes(axes, len(shape))))]) if axes else n[0]


def unsqueeze(w: Normaliser, n: Source) -> Any:
    """<13: axes was an attribute."""
    axes = fixed(n, "axes", 1, "axes") or []
    rank = len(shape_of(n[0])) + len(axes)
    return w.emit(n, inputs=[n[0], ints(w, sorted(n.axes(axes, rank)))])


def slice_(w: Normaliser, n: Source) -> Any:
    """<10: starts, ends and axes were attributes. Axes and steps are always named here."""
    if n.opset < 10:
        given = ("starts", "ends", "axes") if "axes" in n.attrs else ("starts", "ends")
        n.inputs += [ints(w, n.attrs.pop(name)) for name in given]
    return with_steps(w, n)


def with_steps(w: Normaliser, n: Source) -> Any:
    """A Slice whose axes are all of the first ones, and whose steps are 1, where they are left out."""
    [count] = shape_of(n[1])
    if count < 0:  # bounds of which the model computes how many there are
        return w.emit(n, "Slice")
    axes, steps = (
        given if given is not None else w.b.constant(values, n[1])
        for given, values in ((n.input(3), list(range(count))), (n.input(4), [1] * count))
    )
    return w.emit(n, "Slice", [n[0], n[1], n[2], axes, steps])


def pad(w: Normaliser, n: Source) -> Any:
    """<11: pads (<2: paddings) and value were attributes. 18: axes may be named; here never."""
    rank = len(shape_of(n[0]))
    if n.opset < 11:
        pads = [int(p) for p in n.attrs.pop("pads", n.attrs.pop("paddings", []))]
        value: Any = float(n.attrs.pop("value", 0.0)) or None
    else:
        pads, value = n.ints(1, "pads"), n.input(2)
        if (axes := n.input(3)) is not None:
            given, named = pads, n.axes(n.ints(3, "axes"), rank)
            if len(given) != 2 * len(named):
                raise BadModel(
                    f"{len(given)} pads for {shape_of(axes)[0]} axes",
                    where=n.where,
                    remedy="export the model again",
                )
            pads = [0] * 2 * rank
            for k, a in enumerate(named):
                pads[a], pads[a + rank] = given[k], given[k + len(named)]
    n.attrs.setdefault("mode", "constant")
    return w.emit(n, inputs=[n[0], ints(w, pads), value if n.attrs["mode"] == "constant" else None])


def top_k(w: Normaliser, n: Source) -> Any:
    """<10: k was an attribute."""
    return w.emit(n, inputs=[n[0], ints(w, [n.attrs.pop("k")])])


def split(w: Normaliser, n: Source) -> Any:
    """<13: the sizes were an attribute (<2: or an input). 18: their number alone may be given.

    Here all sizes are written; where the number is given the last part is smaller.
    """
    [axis] = n.axes([n.attrs.setdefault("axis", 0)], len(shape_of(n[0])))
    size, parts = shape_of(n[0])[axis], len(n.outputs)
    sizes = fixed(n, "split", 1, "sizes")
    if not sizes:
        each = -(-size // parts)
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
    return w.emit(n, inputs=[n[0], ints(w, sizes)], num_outputs=None) if parts > 1 else n[0]


def reshape(w: Normaliser, n: Source) -> Any:
    """<5: the shape was an attribute."""
    return w.emit(n, inputs=[n[0], ints(w, n.attrs.pop("shape"))])


def flatten(w: Normaliser, n: Source) -> None:
    """11: the axis may be negative; here never."""
    axis, rank = n.attrs.get("axis", 1), len(shape_of(n[0]))
    n.attrs["axis"] = axis + rank if axis < 0 else axis


def tile(w: Normaliser, n: Source) -> Any:
    """<6: one axis, so many times; both were inputs."""
    repeats = [1] * len(shape_of(n[0]))
    repeats[n.ints(2, "axis")[0]] = n.ints(1, "tiles")[0]
    return w.emit(n, inputs=[n[0], ints(w, repeats)])


def scatter(w: Normaliser, n: Source) -> Any:
    """11: it is called ScatterElements."""
    return w.emit(n, "ScatterElements")


def space_to_depth(w: Normaliser, n: Source) -> Any:
    """Since 28 the channels may come before the blocks, as DepthToSpace always allowed."""
    if n.attrs.pop("mode", "DCR") == "DCR":
        return None
    (batch, channels, height, width), r = shape_of(n[0]), int(n.attrs["blocksize"])
    blocks = w.b.Reshape(n[0], [batch, channels, height // r, r, width // r, r])
    return w.b.Reshape(
        w.b.Transpose(blocks, perm=[0, 1, 3, 5, 2, 4]), [batch, channels * r * r, height // r, width // r]
    )


def compress(w: Normaliser, n: Source) -> Any:
    """A Gather, where the condition is constant: its size is then known."""
    if not is_known(n[1]):
        return None
    axis = n.attrs.get("axis")
    kept = ints(w, [int(k) for k in np.flatnonzero(values_of(n[1]))])
    return w.b.Gather(w.b.Reshape(n[0], [-1]) if axis is None else n[0], kept, axis=axis or 0)


def unique(w: Normaliser, n: Source) -> Any:
    """A Gather of the first of all equal elements or rows, where an image decides which they are."""
    if w.around.trial is None:
        return None
    axis = n.attrs.get("axis")
    _, *places = w.b.Unique(*n.tensors, outputs=4, **n.attrs)
    kept, *others = (w.around.trial.decide(w.b, n, "result", t) for t in places)
    x = w.b.Reshape(n[0], [-1]) if axis is None else n[0]
    return [w.op(n, "Gather", x, kept, axis=axis or 0), kept, *others]


MOVEMENT: dict[str, Lift] = {
    "Compress": compress,
    "Concat": default(4, axis=1),
    "Flatten": flatten,
    "Pad": pad,
    "Reshape": before(5, reshape),
    "Scatter": scatter,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": before(6, tile),
    "TopK": before(10, top_k),
    "Unique": unique,
    "Unsqueeze": unsqueeze,
}
