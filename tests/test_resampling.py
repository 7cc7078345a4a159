"""Resize, GridSample and the other operators that sample the image, against the original model entry by entry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import case_model, check, model, node, randn, standard_cases

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")


def resize(x, *, scales=None, sizes=None, roi=None, opset=19, **attrs):
    weights = {k: v for k, v in (("roi", roi), ("scales", scales), ("sizes", sizes)) if v is not None}
    for k in weights:
        weights[k] = np.asarray(weights[k], np.int64 if k == "sizes" else np.float32)
    names = ["x", *(k if k in weights else "" for k in ("roi", "scales", "sizes"))]
    while not names[-1]:
        names.pop()
    return model([node("Resize", names, **attrs)], {"x": x}, ["y"], opset=opset, weights=weights)


def modes():
    for coordinate in COORDINATES:
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            yield {"mode": "nearest", "nearest_mode": nearest, "coordinate_transformation_mode": coordinate}
        for antialias in (0, 1):
            yield {"mode": "linear", "antialias": antialias, "coordinate_transformation_mode": coordinate}
            for outside in (0, 1):
                yield {"mode": "cubic", "antialias": antialias, "exclude_outside": outside, "cubic_coeff_a": -0.5,
                       "coordinate_transformation_mode": coordinate}


def label(attrs):
    return "-".join(str(v) for v in attrs.values())


@pytest.mark.parametrize("attrs", list(modes()), ids=label)
def test_resize_modes(attrs):
    x, axes = randn(1, 2, 4, 5), [2, 3]
    roi = [0.1, -0.2, 0.8, 1.2] if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize" else None
    for given in ({"sizes": [7, 3]}, {"sizes": [2, 10]}, {"scales": [1.7, 0.7]}, {"scales": [2, 3]}, {"scales": [0.5, 0.5]},
                  {"scales": [1.1, 1.9]}):
        check(resize(x, roi=roi, axes=axes, extrapolation_value=3.0, **given, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize("mode,attrs", [
    ("nearest", {"sizes": [1, 2, 6, 5, 7]}), ("nearest", {"scales": [1, 1, 2, 2, 3]}), ("nearest", {"scales": [1, 2, 1, 1, 3]}),
    ("linear", {"sizes": [1, 2, 6, 5, 7]}), ("linear", {"scales": [1, 1, 1, 0.6, 2.2]}), ("nearest", {"scales": [2, 1, 1, 1, 1]}),
], ids=str)
def test_resize_volumes(mode, attrs):
    x = randn(1, 2, 3, 2, 3)
    check(resize(x, mode=mode, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize("shape,attrs", [
    ((1, 3, 5), {"scales": [1, 1, 2.5], "mode": "linear"}), ((1, 3, 5), {"scales": [1, 1, 2], "mode": "nearest"}),
    ((4, 5), {"scales": [1.5, 2], "mode": "linear"}), ((4, 5), {"sizes": [8, 2], "mode": "cubic"}),
    ((1, 5), {"scales": [1, 2.4], "mode": "cubic"}), ((2, 3, 3, 4), {"scales": [1, 1, 2, 2], "mode": "cubic"}),
    ((2, 3, 3, 4), {"scales": [2, 3, 1, 2], "mode": "nearest"}), ((1, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "linear"}),
    ((2, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "linear"}), ((1, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "nearest"}),
    ((1, 2, 4, 5), {"sizes": [9, 3], "axes": [3, 2], "mode": "linear"}), ((1, 2, 4, 4), {"scales": [1, 1, 1, 1], "mode": "cubic"}),
    ((1, 2, 6, 6), {"scales": [1, 1, 1.1, 1.1], "mode": "linear"}),
], ids=str)
def test_resize_shapes(shape, attrs):
    x = randn(*shape)
    check(resize(x, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize("policy,mode,coordinate", list(itertools.product(
    ("not_larger", "not_smaller"), ("nearest", "linear", "cubic"), ("half_pixel", "asymmetric", "align_corners"))))
def test_resize_keeps_the_aspect_ratio(policy, mode, coordinate):
    x = randn(1, 1, 3, 4)
    check(resize(x, sizes=[5, 7], axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode, coordinate_transformation_mode=coordinate),
          {"x": x}, linear=True)


@pytest.mark.parametrize("case", standard_cases("Resize"), ids=lambda c: c.name)
def test_resize_standard(case):
    proto, feeds = case_model(case, "X")
    check(proto, feeds, image="X", output="Y", linear=True)


GRIDS = [(kind, padding, corners) for kind in ("linear", "nearest", "cubic") for padding in ("zeros", "border", "reflection") for corners in (0, 1)]


@pytest.mark.parametrize("kind,padding,corners", GRIDS, ids=str)
def test_grid_sample(kind, padding, corners):
    x, grid = randn(2, 2, 4, 3), 0.9 * randn(2, 3, 2, 2, seed=1)
    grid[0, 0, 0], grid[0, 0, 1], grid[0, 1, 0] = (-1, 1), (3.1, -2.7), (0.98, -0.99)
    for opset, mode in ((20, kind), (16, {"linear": "bilinear", "cubic": "bicubic"}.get(kind, kind))):
        proto = model([node("GridSample", ["x", "grid"], mode=mode, padding_mode=padding, align_corners=corners)], {"x": x}, ["y"],
                      opset=opset, weights={"grid": grid})
        check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize("kind,padding,corners", [g for g in GRIDS if g[0] != "cubic"], ids=str)
def test_grid_sample_volumes(kind, padding, corners):
    x, grid = randn(1, 2, 3, 2, 4), 0.9 * randn(1, 2, 3, 2, 3, seed=1)
    proto = model([node("GridSample", ["x", "grid"], mode=kind, padding_mode=padding, align_corners=corners)], {"x": x}, ["y"],
                  opset=20, weights={"grid": grid})
    check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize("op,image,output", [("GridSample", "X", "Y"), ("RoiAlign", "X", "Y"), ("DeformConv", "X", "Y"), ("MaxUnpool", "xT", "y"),
                                             ("Col2Im", "input", "output"), ("AffineGrid", "theta", "grid")])
def test_sampling_standard(op, image, output):
    for case in standard_cases(op):
        proto, feeds = case_model(case, image)
        check(proto, feeds, image=image, output=output, linear=case.name != "test_roialign_mode_max")
