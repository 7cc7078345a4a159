"""Resize and the older Upsample: where pixels are placed differs between them and from opset to opset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxscope.errors import DECIDE, Undecided, Unsupported
from onnxscope.graph.tensors import is_known, numel, shape_of, values_of
from onnxscope.normalise.families import ints
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source, origin

ROUNDING: dict[str, Callable[[float], float]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda x: math.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
}


def upsample(w: Normaliser, n: Source) -> Any:
    """Before opset 7 two factors as attributes, before 9 one per axis, then an input."""
    if n.opset < 7:
        ones = [1.0] * (len(shape_of(n[0])) - 2)
        factors = [1.0, 1.0, n.attrs["height_scale"], n.attrs["width_scale"]][: 2 + len(ones)]
    elif n.opset < 9:
        factors = n.attrs["scales"]
    else:
        return asymmetric(w, n, scales(n, 1))
    return asymmetric(w, n, np.asarray(factors, dtype=np.float32))


def resize(w: Normaliser, n: Source) -> Any:
    """Opset 10: asymmetric, like Upsample; before 13: tf_half_pixel_for_nn. Empty inputs are left out."""
    if n.opset < 11:
        return asymmetric(w, n, scales(n, 1))
    if n.attrs.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        return half_pixel_nearest(w, n)
    x, roi, factors, sizes = (
        t if t is not None and numel(shape_of(t)) else None for t in (*n.tensors, None, None)[:4]
    )
    if (
        factors is not None
        and is_known(factors)
        and n.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    ):
        shape = shape_of(n[0])
        factors, sizes = extent(
            [shape[a] for a in n.attrs.get("axes", range(len(shape)))], values_of(factors)
        )
    return w.emit(n, inputs=[x, roi, factors, sizes])


def extent(shape: Sequence[int], factors: np.ndarray) -> tuple[np.ndarray | None, list[int] | None]:
    """These scales, or the sizes that they lead to in onnxruntime where onnx's shape inference finds others.

    onnxruntime multiplies in float32.
    """
    have = np.floor(np.asarray(shape, np.float32) * factors)
    return (
        (factors, None)
        if (have == np.floor(shape * factors.astype(np.float64))).all()
        else (None, [int(d) for d in have])
    )


def scales(n: Source, i: int) -> np.ndarray:
    if not is_known(n[i]):
        raise Undecided(f"its scales depend on {origin(n[i])}", where=n.where, remedy=DECIDE)
    return values_of(n[i])


def asymmetric(w: Normaliser, n: Source, factors: np.ndarray) -> Any:
    """x_in = x_out/scale; the nearest pixel is the one below where an axis grows, and above where it shrinks.

    The latter is what onnxruntime does.
    """
    mode = {"bilinear": "linear"}.get(n.attrs.get("mode", "nearest"), n.attrs.get("mode", "nearest"))
    common = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    factors = factors.astype(np.float32)
    if (factors == 1).all():
        return n[0]
    if mode != "nearest":
        return w.op(n, "Resize", n[0], None, *extent(shape_of(n[0]), factors), **common)
    x, shrinks = n[0], bool((factors < 1).any())
    if shrinks and (factors > 1).any():
        grown = extent(shape_of(x), np.maximum(factors, 1))
        x, factors = w.b.Resize(x, None, *grown, **common, nearest_mode="floor"), np.minimum(factors, 1)
    return w.op(
        n,
        "Resize",
        x,
        None,
        *extent(shape_of(x), factors),
        **common,
        nearest_mode="ceil" if shrinks else "floor",
    )


def half_pixel_nearest(w: Normaliser, n: Source) -> Any:
    """x_in = (x_out + ½)/scale, rounded: a Gather along every axis that changes."""
    if n.attrs.get("mode", "nearest") != "nearest":
        raise Unsupported(
            "tf_half_pixel_for_nn is defined for mode=nearest only",
            where=n.where,
            remedy="export with half_pixel",
        )
    rounded = ROUNDING[n.attrs.get("nearest_mode", "round_prefer_floor")]
    x, shape = n[0], shape_of(n[0])
    by_size = n.input(3) is not None and numel(shape_of(n[3]))
    sizes = (
        n.ints(3, "sizes")
        if by_size
        else [int(np.float32(d) * s) for d, s in zip(shape, scales(n, 2), strict=True)]
    )
    factors = (
        np.array([s / d for s, d in zip(sizes, shape, strict=True)], np.float32) if by_size else scales(n, 2)
    )
    for axis, (old, new, factor) in enumerate(zip(shape, sizes, factors, strict=True)):
        if factor != 1:
            places = (
                np.arange(new, dtype=np.float32) + np.float32(0.5)
            ) / factor  # in float32, as onnxruntime rounds them
            x = w.b.Gather(
                x, ints(w, [min(max(int(rounded(p)), 0), old - 1) for p in places.tolist()]), axis=axis
            )
    return x


RESIZING: dict[str, Lift] = {"Resize": resize, "Upsample": upsample}
