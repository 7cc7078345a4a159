"""Resize, GridSample and the other operators that sample the image, against the original model entry by entry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import POLICIES, case_model, check, model, node, randn, standard_cases

from onnxscope.errors import Unsupported

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)


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
                yield {
                    "mode": "cubic",
                    "antialias": antialias,
                    "exclude_outside": outside,
                    "cubic_coeff_a": -0.5,
                    "coordinate_transformation_mode": coordinate,
                }


def label(attrs):
    return "-".join(str(v) for v in attrs.values())


@pytest.mark.parametrize("attrs", list(modes()), ids=label)
def test_resize_modes(attrs):
    x, axes = randn(1, 2, 4, 5), [2, 3]
    roi = [0.1, -0.2, 0.8, 1.2] if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize" else None
    for given in (
        {"sizes": [7, 3]},
        {"sizes": [2, 10]},
        {"scales": [1.7, 0.7]},
        {"scales": [2, 3]},
        {"scales": [0.5, 0.5]},
        {"scales": [1.1, 1.9]},
    ):
        check(resize(x, roi=roi, axes=axes, extrapolation_value=3.0, **given, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize(
    "mode,attrs",
    [
        ("nearest", {"sizes": [1, 2, 6, 5, 7]}),
        ("nearest", {"scales": [1, 1, 2, 2, 3]}),
        ("nearest", {"scales": [1, 2, 1, 1, 3]}),
        ("linear", {"sizes": [1, 2, 6, 5, 7]}),
        ("linear", {"scales": [1, 1, 1, 0.6, 2.2]}),
        ("nearest", {"scales": [2, 1, 1, 1, 1]}),
    ],
    ids=str,
)
def test_resize_volumes(mode, attrs):
    x = randn(1, 2, 3, 2, 3)
    check(resize(x, mode=mode, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize(
    "shape,attrs",
    [
        ((1, 3, 5), {"scales": [1, 1, 2.5], "mode": "linear"}),
        ((1, 3, 5), {"scales": [1, 1, 2], "mode": "nearest"}),
        ((4, 5), {"scales": [1.5, 2], "mode": "linear"}),
        ((4, 5), {"sizes": [8, 2], "mode": "cubic"}),
        ((1, 5), {"scales": [1, 2.4], "mode": "cubic"}),
        ((2, 3, 3, 4), {"scales": [1, 1, 2, 2], "mode": "cubic"}),
        ((2, 3, 3, 4), {"scales": [2, 3, 1, 2], "mode": "nearest"}),
        ((1, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "linear"}),
        ((2, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "linear"}),
        ((1, 4, 5, 3), {"scales": [1, 2, 2, 1], "mode": "nearest"}),
        ((1, 2, 4, 5), {"sizes": [9, 3], "axes": [3, 2], "mode": "linear"}),
        ((1, 2, 4, 4), {"scales": [1, 1, 1, 1], "mode": "cubic"}),
        ((1, 2, 6, 6), {"scales": [1, 1, 1.1, 1.1], "mode": "linear"}),
    ],
    ids=str,
)
def test_resize_shapes(shape, attrs):
    x = randn(*shape)
    check(resize(x, **attrs), {"x": x}, linear=True)


@pytest.mark.parametrize(
    "attrs,block",
    [
        ({"scales": [2, 3]}, True),
        ({"sizes": [8, 15]}, True),
        ({"scales": [2, 2.1]}, True),
        ({"sizes": [6, 7]}, False),
        ({"scales": [2, 3], "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, True),
        ({"scales": [2, 3], "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}, False),
        (
            {
                "scales": [4, 7],
                "coordinate_transformation_mode": "pytorch_half_pixel",
                "nearest_mode": "round_prefer_ceil",
            },
            True,
        ),
        ({"scales": [4, 7], "coordinate_transformation_mode": "align_corners"}, False),
    ],
    ids=str,
)
def test_whole_factors_sum_blocks(attrs, block):
    x = randn(1, 2, 4, 5)
    d = check(resize(x, axes=[2, 3], **attrs), {"x": x}, linear=True)
    assert any(n.op == "ReduceSum" for n in d.scope.graph.nodes) == block


@pytest.mark.parametrize(
    "policy,mode,coordinate",
    list(
        itertools.product(
            ("not_larger", "not_smaller"),
            ("nearest", "linear", "cubic"),
            ("half_pixel", "asymmetric", "align_corners"),
        )
    ),
)
def test_resize_keeps_the_aspect_ratio(policy, mode, coordinate):
    x = randn(1, 1, 3, 4)
    check(
        resize(
            x,
            sizes=[5, 7],
            axes=[2, 3],
            keep_aspect_ratio_policy=policy,
            mode=mode,
            coordinate_transformation_mode=coordinate,
        ),
        {"x": x},
        linear=True,
    )


@pytest.mark.parametrize("case", standard_cases("Resize"), ids=lambda c: c.name)
def test_resize_standard(case):
    proto, feeds = case_model(case, "X")
    check(proto, feeds, image="X", output="Y", linear=True)


GRIDS = list(itertools.product(("linear", "nearest", "cubic"), ("zeros", "border", "reflection"), (0, 1)))


@pytest.mark.parametrize("kind,padding,corners", GRIDS, ids=str)
def test_grid_sample(kind, padding, corners):
    x, grid = randn(2, 2, 4, 3), 0.9 * randn(2, 3, 2, 2, seed=1)
    grid[0, 0, 0], grid[0, 0, 1], grid[0, 1, 0] = (-1, 1), (3.1, -2.7), (0.98, -0.99)
    for opset, mode in ((20, kind), (16, {"linear": "bilinear", "cubic": "bicubic"}.get(kind, kind))):
        proto = model(
            [node("GridSample", ["x", "grid"], mode=mode, padding_mode=padding, align_corners=corners)],
            {"x": x},
            ["y"],
            opset=opset,
            weights={"grid": grid},
        )
        check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize("kind,padding,corners", [g for g in GRIDS if g[0] != "cubic"], ids=str)
def test_grid_sample_volumes(kind, padding, corners):
    x, grid = randn(1, 2, 3, 2, 4), 0.9 * randn(1, 2, 3, 2, 3, seed=1)
    proto = model(
        [node("GridSample", ["x", "grid"], mode=kind, padding_mode=padding, align_corners=corners)],
        {"x": x},
        ["y"],
        opset=20,
        weights={"grid": grid},
    )
    check(proto, {"x": x}, linear=True)


SAMPLED = {
    "GridSample": "X",
    "RoiAlign": "X",
    "DeformConv": "X",
    "MaxUnpool": "xT",
    "Col2Im": "input",
    "AffineGrid": "theta",
}


@pytest.mark.parametrize("op", SAMPLED)
def test_sampling_standard(op):
    for case in standard_cases(op):
        proto, feeds = case_model(case, SAMPLED[op], newest=21 if op == "RoiAlign" else 23)
        check(
            proto,
            feeds,
            image=SAMPLED[op],
            output=proto.graph.output[0].name,
            linear=case.name != "test_roialign_mode_max",
        )


REGIONS = np.array(
    [[0, 0, 3, 4], [-2.2, 1.3, 2.7, 9.4], [0.4, 0.6, 0.9, 0.7], [3, 3, 1, 1], [-9, -9, -8, -8]], np.float32
)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel", None])
@pytest.mark.parametrize("ratio", [0, 1, 3])
def test_roi_align(mode, coordinates, ratio):
    x = randn(2, 2, 5, 4, seed=5)
    attrs = {"coordinate_transformation_mode": coordinates} if coordinates else {}
    sizes = {"output_height": 2, "output_width": 3, "sampling_ratio": ratio, "spatial_scale": 0.8}
    proto = model(
        [node("RoiAlign", ["x", "rois", "batch"], mode=mode, **sizes, **attrs)],
        {"x": x},
        ["y"],
        opset=16 if coordinates else 10,
        weights={"rois": REGIONS, "batch": np.array([0, 1, 0, 1, 1])},
    )
    check(proto, {"x": x}, linear=mode == "avg", step=1e-4 if mode == "max" else 0)


def test_max_roi_pool():
    x = randn(2, 2, 5, 4)
    rois = np.concatenate([[[0], [1], [1], [0], [0]], np.round(np.abs(REGIONS))], 1).astype(np.float32)
    proto = model(
        [node("MaxRoiPool", ["x", "rois"], pooled_shape=[2, 3], spatial_scale=0.7)],
        {"x": x},
        ["y"],
        weights={"rois": rois},
    )
    check(proto, {"x": x}, step=1e-3)


def test_max_roi_pool_picks_the_smallest_pixel_where_it_is_alone():
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3) + 1
    proto = model(
        [node("MaxRoiPool", ["x", "rois"], pooled_shape=[1, 1])],
        {"x": x},
        ["y"],
        weights={"rois": np.float32([[0, 0, 0, 0, 0]])},
    )
    np.testing.assert_array_equal(check(proto, {"x": x}).forward, [[1, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_running_sum_above_few_columns(columns: int):
    """A matrix along the axis before the last one."""
    x = randn(1, 3, 4, columns)
    proto = model([node("CumSum", ["x", "axis"])], {"x": x}, ["y"], weights={"axis": np.array(2)})
    check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize(
    "groups,offset_groups,masked,attrs",
    [
        (1, 1, False, {}),
        (2, 2, True, {"pads": [1, 0, 2, 1]}),
        (1, 2, True, {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 1, 1, 1]}),
    ],
    ids=str,
)
def test_deform_conv(groups, offset_groups, masked, attrs):
    x, w = randn(2, 4, 5, 6), randn(6, 4 // groups, 2, 3, seed=1)
    strides, dilations, pads = (
        attrs.get("strides", [1, 1]),
        attrs.get("dilations", [1, 1]),
        attrs.get("pads", [0] * 4),
    )
    out = [
        (d + pads[a] + pads[a + 2] - (k - 1) * dilations[a] - 1) // strides[a] + 1
        for a, (d, k) in enumerate(((5, 2), (6, 3)))
    ]
    weights = {"w": w, "offset": 1.5 * randn(2, offset_groups * 12, *out, seed=2), "bias": randn(6, seed=3)}
    if masked:
        weights["mask"] = randn(2, offset_groups * 6, *out, seed=4)
    deformed = node("DeformConv", ["x", *weights], group=groups, offset_group=offset_groups, **attrs)
    proto = model([deformed], {"x": x}, ["y"], opset=19, weights=weights)
    check(proto, {"x": x}, linear=True)


def test_max_unpool_writes_the_last_of_several():
    x, index = randn(1, 2, 2, 2), np.array([[[[0, 3], [3, 12]], [[16, 31], [20, 20]]]])
    proto = model(
        [node("MaxUnpool", ["x", "i", "s"], kernel_shape=[2, 2], strides=[2, 2])],
        {"x": x},
        ["y"],
        weights={"i": index, "s": np.array([1, 2, 4, 4])},
    )
    check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize(
    "attrs", [{}, {"pads": [1, 0, 0, 2]}, {"strides": [2, 1], "dilations": [1, 2]}], ids=str
)
def test_col2im(attrs):
    strides, dilations, pads = (
        attrs.get("strides", [1, 1]),
        attrs.get("dilations", [1, 1]),
        attrs.get("pads", [0] * 4),
    )
    blocks = [
        (d + pads[a] + pads[a + 2] - (k - 1) * dilations[a] - 1) // strides[a] + 1
        for a, (d, k) in enumerate(((5, 2), (6, 3)))
    ]
    x = randn(2, 3 * 6, blocks[0] * blocks[1])
    proto = model(
        [node("Col2Im", ["x", "size", "block"], **attrs)],
        {"x": x},
        ["y"],
        weights={"size": np.array([5, 6]), "block": np.array([2, 3])},
    )
    check(proto, {"x": x}, linear=True)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_grid_that_depends_on_the_image_is_frozen(policy):
    x = randn(1, 1, 4, 4)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Transpose", ["c"], ["grid"], perm=[0, 2, 3, 1]),
        node("GridSample", ["x", "grid"]),
    ]
    d = check(
        model(nodes, {"x": x}, ["y"], opset=20, weights={"w": 0.1 * randn(2, 1, 3, 3)}), {"x": x}, policy
    )
    assert next(s.note for s in d.scope.steps if s.op == "GridSample") == "the places to sample at are frozen"


def test_an_image_that_only_moves_the_grid_is_refused():
    x = randn(1, 2, 2, 2)
    proto = model(
        [node("GridSample", ["image", "x"])], {"x": x}, ["y"], opset=20, weights={"image": randn(1, 1, 4, 4)}
    )
    with pytest.raises(Unsupported, match="sampled values do not"):
        check(proto, {"x": x})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"strides": [2, 1], "pads": [1, 0, 0, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"dilations": [2, 1]},
    ],
    ids=str,
)
def test_lp_pool(policy, p, attrs):
    x = randn(1, 2, 4, 5)
    proto = model([node("LpPool", ["x"], kernel_shape=[2, 2], p=p, **attrs)], {"x": x}, ["y"])
    check(proto, {"x": x}, policy, step=1e-2 if policy == "taylor" else 0)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(policy, p):
    x = randn(2, 2, 2, 3)
    check(
        model([node("GlobalLpPool", ["x"], p=p)], {"x": x}, ["y"]),
        {"x": x},
        policy,
        step=1e-2 if policy == "taylor" else 0,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_lp_pool_standard(policy):
    for case in standard_cases("LpPool"):
        proto, feeds = case_model(case, "x")
        if "same" not in case.name and feeds["x"].size < 1000:
            check(proto, feeds, policy)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    "attrs,parts",
    [
        ({}, 1),
        ({"onesided": 1}, 1),
        ({"inverse": 1}, 2),
        ({"length": 3}, 2),
        ({"length": 6, "onesided": 1}, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("axis", [1, 2])
def test_dft(opset, attrs, parts, axis):
    x, flags = randn(1, 4, 5, parts), {k: v for k, v in attrs.items() if k != "length"}
    weights = {"length": np.int64(attrs["length"])} if "length" in attrs else {}
    names = ["x", "length" if weights else ""]
    if opset >= 20:
        names, weights["axis"] = [*names, "axis"], np.int64(axis)
    else:
        flags["axis"] = axis
    proto = model(
        [node("DFT", [*names] if opset >= 20 or weights else ["x"], **flags)],
        {"x": x},
        ["y"],
        opset=opset,
        weights=weights,
    )
    check(proto, {"x": x}, linear=True, tolerance=2e-5)
