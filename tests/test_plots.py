"""Charts as PNG files, and what is claimed of their colours, judged in CIELAB by eyes of several kinds."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from PIL import Image

from onnxscope.show import charts, panels

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
VALUES = np.array([[0.0, 1.0, -2.0], [0.5, 4.0, 3.0]])

CHARTS: dict[str, Callable[[], charts.LightAndDark]] = {
    "lines": lambda: charts.lines({"one": [3, 2, 1], "other": [2, 1]}, "number", "σ"),
    "bars": lambda: charts.bars(["a", "b"], [1.5, -0.5], "contribution"),
    "elements": lambda: charts.elements({"y0": [1, -2, 3], "r": [0, 1, 2]}, ["cat", "dog", "fish"]),
    "many elements": lambda: charts.elements({"y0": list(range(charts.MOST_BARS + 1))}),
    "signed map": lambda: charts.map_of(VALUES, "contribution", signed=True),
    "map of sizes": lambda: charts.map_of(VALUES.clip(0), "share", signed=False, mark=(1, 2)),
    "matrix": lambda: charts.matrix(abs(VALUES), (20, 30), ("output", "input"), "size"),
}
MISSING, ENDLESS = float("nan"), float("inf")
EXTREMES: dict[str, Callable[[], charts.LightAndDark]] = {
    "no series": lambda: charts.lines({}, "number", "σ"),
    "an empty series": lambda: charts.lines({"one": []}, "number", "σ"),
    "one value": lambda: charts.lines({"one": [1.0]}, "number", "σ"),
    "only zeros": lambda: charts.lines({"one": [0.0, 0.0]}, "number", "σ"),
    "a line with gaps": lambda: charts.lines({"one": [1.0, MISSING, ENDLESS]}, "number", "σ"),
    "no bars": lambda: charts.bars([], [], "contribution"),
    "a bar of zero": lambda: charts.bars(["a"], [0.0], "contribution"),
    "bars of all sizes": lambda: charts.bars(["a", "b"], [1e38, -1e-38], "contribution"),
    "a bar that is missing": lambda: charts.bars(["a", "b"], [1.0, MISSING], "contribution"),
    "names of layers": lambda: charts.bars(
        ["/model/" + 40 * "block/" + "conv", "_", "", "a$b", r"$\nothing$"], [1, 2, 3, 4, 5], "contribution"
    ),
    "names of labels": lambda: charts.elements({"y0": [1, 2, 3]}, [40 * "long ", r"$^^$", "a\tb"]),
    "a missing element": lambda: charts.elements({"y0": [1.0, MISSING]}),
    "a single element": lambda: charts.elements({"y0": [1.0]}, ["cat"]),
    "zeros, signed": lambda: charts.map_of(np.zeros((3, 4)), "contribution", signed=True),
    "zeros": lambda: charts.map_of(np.zeros((3, 4)), "contribution", signed=False),
    "no numbers": lambda: charts.map_of(np.full((3, 4), MISSING), "contribution", signed=True),
    "one pixel": lambda: charts.map_of(np.ones((1, 1)), "contribution", signed=False, mark=(0, 0)),
    "a thin map": lambda: charts.map_of(np.ones((500, 1)), "contribution", signed=True),
    "a flat map": lambda: charts.map_of(np.ones((1, 500)), "contribution", signed=True),
    "a matrix of zeros": lambda: charts.matrix(np.zeros((3, 4)), (3, 4), ("output", "input"), "size"),
    "a matrix of one entry": lambda: charts.matrix(np.ones((1, 1)), (1, 1), ("output", "input"), "size"),
}


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def lab(rgb: np.ndarray, vision: str = "usual") -> np.ndarray:
    """CIELAB, for daylight (D65), of sRGB between 0 and 1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ VISIONS[vision].T
    xyz = linear.clip(0, 1) @ TO_XYZ.T / TO_XYZ.sum(1)
    x, y, z = np.moveaxis(
        np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def of_names(names: tuple[str, ...], vision: str = "usual") -> np.ndarray:
    return lab(np.array([to_rgb(name) for name in names]), vision)


def test_lab_is_cielab() -> None:
    """White, black, and sRGB's red as tables have it."""
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]
    np.testing.assert_allclose(lab(np.array([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])), known, atol=0.02)


def test_charts_have_axes_below_and_on_the_left() -> None:
    seen: list[list[str]] = []

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        seen.append(sorted(side for side, line in axes.spines.items() if line.get_visible()))

    charts.drawn(paint, 1)
    assert seen == [["bottom", "left"]]


def test_bars_stand_around_the_place_of_their_element(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = Figure().add_subplot()
    monkeypatch.setattr(charts, "drawn", lambda paint, *size: paint(axes.figure, axes, "black"))
    charts.elements({name: [1.0, -2.0] for name in "abc"})
    middles = np.reshape([bar.get_x() + bar.get_width() / 2 for bar in axes.patches], (3, 2))
    np.testing.assert_allclose(middles.mean(0), [0, 1], atol=1e-9)
    np.testing.assert_allclose(np.diff(middles, axis=0), axes.patches[0].get_width())


def test_the_colour_of_a_bar_tells_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = Figure().add_subplot()
    monkeypatch.setattr(charts, "drawn", lambda paint, *size: paint(axes.figure, axes, "black"))
    values = [0.25, -0.25, 4.0, -4.0]
    charts.bars(list("abcd"), values, "contribution")
    expected = [charts.ABOVE if value > 0 else charts.BELOW for value in values]
    assert [bar.get_facecolor() for bar in axes.patches] == [to_rgba(colour) for colour in expected]
    assert [bar.get_width() for bar in axes.patches] == values


def test_charts_and_sheets_have_the_same_two_colours() -> None:
    for chart, sheet in ((charts.ABOVE, panels.ABOVE), (charts.BELOW, panels.BELOW)):
        np.testing.assert_allclose(255 * np.array(to_rgb(chart)), sheet)


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_two_pictures_that_are_drawn_alike_again(name: str) -> None:
    light, dark = CHARTS[name]()
    assert pixels(light).shape == pixels(dark).shape and light != dark
    assert CHARTS[name]() == (light, dark)
    for png, (ground, _, _) in zip((light, dark), charts.PAGES.values(), strict=True):
        corner = pixels(png)[0, 0] / 255
        np.testing.assert_allclose(corner, to_rgb(ground), atol=1 / 255)
    assert pixels(light).mean() > 128 > pixels(dark).mean() or "map" in name or name == "matrix"


@pytest.mark.parametrize("name", EXTREMES)
def test_whatever_comes_is_drawn_without_a_word(name: str) -> None:
    with warnings.catch_warnings(action="error"):
        light, _ = EXTREMES[name]()
    assert len(np.unique(pixels(light).reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_signed_map_has_zero_in_its_middle(sign: int) -> None:
    """±1 has the colour at one end of the scale; ±1/4 lies an eighth of the scale away from its middle."""
    drawn = pixels(charts.map_of(sign * np.array([[1.0, 1.0], [0.25, 0.25]]), "contribution", signed=True)[0])
    for value in (sign, sign / 4):
        colour = (255 * np.array(charts.SIGNED(0.5 + value / 2)[:3])).round()
        assert (abs(drawn - colour).max(2) <= 1).mean() > 0.1


def test_a_mark_shows_where_it_stands() -> None:
    plain, marked = (
        pixels(charts.map_of(np.zeros((8, 8)), "share", signed=False, mark=mark)[0])
        for mark in (None, (0, 7))
    )
    y, x = np.nonzero((plain != marked).any(2))
    assert 0 < len(y) < 1500
    lower = pixels(charts.map_of(np.zeros((8, 8)), "share", signed=False, mark=(7, 0))[0])
    other_y, other_x = np.nonzero((plain != lower).any(2))
    assert y.max() < other_y.min() and x.min() > other_x.max()


def test_a_matrix_is_drawn_over_four_decades() -> None:
    """Sizes that lie a decade apart have colours a quarter of the scale apart; smaller ones look alike."""
    values = 10.0 ** -np.array([[0, 1, 2], [3, 4, 5]])
    drawn = pixels(charts.matrix(values, (2, 3), ("rows", "columns"), "size")[0])
    for share in (0, 0.25, 0.5, 0.75, 1):
        colour = (255 * np.array(charts.SIZES(share)[:3])).round()
        assert (abs(drawn - colour).max(2) <= 2).mean() > (0.1 if share == 0 else 0.05)


# colours


@pytest.mark.parametrize("vision", VISIONS)
def test_sizes_grow_lighter_in_even_steps(vision: str) -> None:
    steps = np.diff(lab(charts.SIZES(np.linspace(0, 1, 33))[:, :3], vision)[:, 0])
    assert 0.5 * steps.mean() < steps.min() and steps.max() < 1.6 * steps.mean()
    assert steps.sum() > 70


@pytest.mark.parametrize("vision", VISIONS)
def test_both_signs_grow_darker_alike(vision: str) -> None:
    colours = lab(charts.SIGNED(np.arange(256))[:, :3], vision)
    lightness, chroma = colours[:, 0], np.hypot(colours[:, 1], colours[:, 2])
    assert abs(lightness.argmax() - 127.5) < 6 and abs(chroma.argmin() - 127.5) < 6
    assert lightness[126:130].min() > 90 and chroma[126:130].max() < 6
    assert abs(lightness - lightness[::-1]).max() < 15
    assert (np.diff(lightness[:120:8]) > 0).all() and (np.diff(lightness[136::8]) < 0).all()


@pytest.mark.parametrize("vision", VISIONS)
def test_both_signs_stay_apart(vision: str) -> None:
    """By a ΔE that grows with the distance from zero; 2 is what can be seen."""
    colours = lab(charts.SIGNED(np.arange(256))[:, :3], vision)
    apart = np.linalg.norm(colours - colours[::-1], axis=1)[:128]
    size = (127.5 - np.arange(128)) / 127.5
    assert (apart >= 100 * np.minimum(size, 0.5)).all()


@pytest.mark.parametrize("vision", VISIONS)
def test_lines_and_bars_are_told_apart(vision: str) -> None:
    for a, b in itertools.combinations(of_names(charts.LINES, vision), 2):
        assert np.linalg.norm(a - b) > 15
    above, below = of_names((charts.ABOVE, charts.BELOW), vision)
    assert np.linalg.norm(above - below) > 50
    for ground, ink, _ in charts.PAGES.values():
        pair = of_names((ground, ink), vision)
        assert abs(pair[0, 0] - pair[1, 0]) > 75
        assert np.linalg.norm(of_names(charts.LINES, vision) - pair[0], axis=1).min() > 35


def test_bars_have_the_colours_of_signed_maps() -> None:
    colours = lab(charts.SIGNED(np.arange(256))[:, :3])
    for name, side in ((charts.BELOW, colours[:128]), (charts.ABOVE, colours[128:])):
        assert np.linalg.norm(side - of_names((name,)), axis=1).min() < 8
