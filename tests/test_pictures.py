"""Values as pictures: which value becomes which pixel, what is marked, and what is said of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from onnxscope.errors import BadOption
from onnxscope.show import panels, sheets
from onnxscope.show.panels import HALF, SHORTER, TILE_GAP, Picture, magnitude, panel
from onnxscope.show.sheets import LINE, MARGIN, PADDING, save, sheet


def drawn(picture, **scale):
    """The pixels of a picture, enlarged as they are."""
    return panel(picture, scale.get("scale", magnitude(picture.values))).pixels


def random_values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_signed_values_stand_around_grey():
    values = np.array([0, 1, -1, 0.25, -0.25, 2, -2], np.float32)
    np.testing.assert_array_equal(panels.signed_pixels(values, 1.0), [128, 255, 1, 160, 96, 255, 1])
    np.testing.assert_array_equal(panels.signed_pixels(values / 50, 0.02), [128, 255, 1, 160, 96, 255, 1])
    assert (panels.signed_pixels(np.zeros(4), 0.0) == 128).all()


def test_colours_are_kept():
    values = np.zeros((2, 2, 3))
    values[0, 1], values[1, 0] = (3, 0, -3), (0, 1.5, 0)
    factor = SHORTER // 2
    np.testing.assert_array_equal(
        drawn(Picture(values))[factor // 2 :: factor, factor // 2 :: factor],
        [[[128, 128, 128], [255, 128, 1]], [[128, 192, 128], [128, 128, 128]]],
    )


def test_one_channel_is_grey():
    pixels = drawn(Picture(random_values(5, 6, 1)))
    assert (pixels == pixels[..., :1]).all() and pixels.shape == (39 * 5, 39 * 6, 3)


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((24, 24), 8),
        ((48, 24), 8),
        ((192, 192), 1),
        ((191, 300), 2),
        ((100, 100), 2),
        ((512, 512), 1),
        ((1, 1), 192),
        ((1, 300), 3),
        ((4, 2000), 1),
    ],
)
def test_small_pictures_are_enlarged_by_a_whole_number(size, factor):
    values = random_values(*size, 3)
    pixels = drawn(Picture(values, natural=True))
    assert panels.enlargement(*size) == factor
    if size != (1, 1):  # bars show that
        np.testing.assert_array_equal(
            pixels, np.kron(panels.natural_pixels(values), np.ones((factor, factor, 1), np.uint8))
        )


def test_natural_pictures():
    floats = np.array([[[0, 0.2, 1], [-0.5, 0.5, 1.5]]], np.float32)
    np.testing.assert_array_equal(panels.natural_pixels(floats), [[[0, 51, 255], [0, 128, 255]]])
    shown = panel(Picture(floats, natural=True), 9.0)
    assert shown.legend == "" and shown.notes == ["2 of 6 values lie outside of 0 to 1 and are cut off"]
    whole = np.random.default_rng(0).integers(0, 256, (200, 210, 3)).astype(np.uint8)
    assert panel(Picture(whole, natural=True), 9.0).notes == []
    np.testing.assert_array_equal(drawn(Picture(whole, natural=True)), whole)


def test_other_numbers_of_channels_become_a_contact_sheet():
    values = random_values(7, 6, 5)
    pixels = drawn(Picture(values))
    factor = panels.enlargement(2 * 7, 3 * 6)
    assert pixels.shape == (2 * 7 * factor + TILE_GAP, 3 * 6 * factor + 2 * TILE_GAP, 3)
    for channel in range(5):
        top, left = channel // 3 * (7 * factor + TILE_GAP), channel % 3 * (6 * factor + TILE_GAP)
        tile = pixels[top : top + 7 * factor : factor, left : left + 6 * factor : factor, 0]
        np.testing.assert_array_equal(tile, panels.signed_pixels(values[..., channel], magnitude(values)))
    assert (pixels[7 * factor : 7 * factor + TILE_GAP] == 255).all() and (
        pixels[-7 * factor :, -6 * factor :] == 255
    ).all()
    assert "5 channels, row by row" in panel(Picture(values), 1.0).notes


def test_a_vector_becomes_bars():
    values = np.array([4.0, -2.0, 0.0, 1.0])
    pixels = drawn(Picture(values))
    wide = pixels.shape[1] // 4
    for i, value in enumerate(values):
        bar = pixels[:, i * wide]
        assert (bar == panels.ABOVE).all(axis=1).sum() == max(0, round(HALF * value / 4))
        assert (bar == panels.BELOW).all(axis=1).sum() == max(0, round(HALF * -value / 4))
    assert (
        (pixels[0, 0] == panels.ABOVE).all()
        and (pixels[-1, wide] == panels.NO_BAR).all()
        and (pixels[HALF] == panels.ZERO).all()
    )
    assert panel(Picture(values), 4.0).notes == [
        "4 values from left to right",
        "largest in size: +4.00e+00 at element 0",
    ]


def test_a_map_of_one_pixel_is_a_vector():
    values = random_values(1, 1, 50)
    np.testing.assert_array_equal(drawn(Picture(values)), drawn(Picture(values.ravel())))
    assert (
        panel(Picture(values, mark=(7, 0, 0)), 1.0).marked
        == panel(Picture(values.ravel(), mark=(7,)), 1.0).marked
    )


def test_bars_of_a_long_vector_span_the_extremes_of_several_elements():
    values = np.zeros(5000)
    values[1003], values[1004] = 2, -1
    pixels = drawn(Picture(values))
    assert pixels.shape == (2 * HALF + 1, 1000, 3)
    bar = pixels[:, 200]
    assert (bar == panels.ABOVE).all(axis=1).sum() == HALF and (bar == panels.BELOW).all(
        axis=1
    ).sum() == HALF / 2
    assert panel(Picture(values, mark=(1004,)), 2.0).marked == (200, 0, 201, 2 * HALF + 1)
    assert panel(Picture(values), 2.0).notes[0] == "5000 values from left to right, 5 in each bar"


def test_nothing_at_all():
    assert (drawn(Picture(np.zeros((4, 4, 3)))) == 128).all()
    assert (drawn(Picture(np.zeros(4)))[:HALF] == panels.NO_BAR).all()
    assert panel(Picture(np.zeros((4, 4, 3))), 0.0).legend == "grey = 0 everywhere"


@pytest.mark.parametrize("background", [0, 128, 255, (255, 230, 0), (255, 0, 255)])
@pytest.mark.parametrize("place", [(0, 0), (3, 5), (23, 23), (0, 23)])
@pytest.mark.parametrize("size", [24, 200])
def test_the_marked_pixel_is_framed_and_stays_free(background, place, size):
    values = np.full((size, size, 3), background, np.uint8)
    y, x = place
    values[place] = (10, 20, 30)
    plain, marked = (
        np.asarray(sheet([[Picture(values, mark=mark, natural=True)]])) for mark in (None, (2, y, x))
    )
    marked = marked[: plain.shape[0], : plain.shape[1]]
    factor = 8 if size == 24 else 1
    top, left = MARGIN + y * factor, MARGIN + x * factor
    assert (marked[top : top + factor, left : left + factor] == (10, 20, 30)).all()
    below = MARGIN + size * factor + PADDING  # the caption follows
    changed = (plain != marked).any(axis=2)[:below]
    assert changed.any()
    rows, columns = np.nonzero(changed)
    near = max(1, 4 - factor) + 1
    assert rows.min() >= top - near and rows.max() <= top + factor - 1 + near
    assert columns.min() >= left - near and columns.max() <= left + factor - 1 + near
    assert np.abs(marked.astype(int) - plain)[:below].max() >= 100  # it shows


def test_the_mark_of_a_contact_sheet_is_on_its_channel():
    values = random_values(10, 10, 9)
    shown = panel(Picture(values, mark=(5, 2, 3)), 1.0)
    step = 10 * 7 + TILE_GAP  # 3 × 10 pixels are enlarged 7 times
    assert shown.marked == (2 * step + 21, step + 14, 2 * step + 28, step + 21)
    assert "framed: 5,2,3 (channel, y, x)" in shown.notes


def test_all_pictures_of_a_sheet_share_a_scale():
    small, large = random_values(200, 200, 3), 10 * random_values(200, 200, 3)
    pixels = np.asarray(
        sheet([[Picture(small), Picture(large)], [Picture(np.full((200, 200, 3), 255), natural=True)]])
    )
    second = MARGIN + 200 + MARGIN
    np.testing.assert_array_equal(
        pixels[MARGIN : MARGIN + 200, MARGIN : MARGIN + 200], panels.signed_pixels(small, magnitude(large))
    )
    np.testing.assert_array_equal(
        pixels[MARGIN : MARGIN + 200, second : second + 200], panels.signed_pixels(large, magnitude(large))
    )


def test_a_scale_that_is_told():
    values = random_values(200, 200, 3)
    shown = panel(Picture(values, scale=1.0), magnitude(values))
    np.testing.assert_array_equal(shown.pixels, panels.signed_pixels(values, 1.0))
    assert shown.legend == "grey = 0, white and black = ±1"
    assert shown.notes == [
        f"{np.count_nonzero(np.abs(values) > 1)} of 120000 values lie outside of -1 to 1 and are cut off"
    ]


def test_scales_are_said_once_where_there_is_one():
    def said(*all_pictures):
        return sheets.shared_legend([panel(p, 2.0) for p in all_pictures])

    one, natural, bars = (
        Picture(random_values(4, 4, 3)),
        Picture(np.zeros((4, 4, 3), np.uint8), natural=True),
        Picture(random_values(9)),
    )
    legend = "grey = 0, white and black = ±2"
    assert said(one, one) == said(one, natural) == legend
    assert said(one, bars) == f"{legend}; bars: middle = 0, top and bottom = ±2"
    assert said(one) == said(one, Picture(one.values, scale=3.0)) == said(natural, natural) == ""


def test_rows_stand_in_columns():
    tall, wide = Picture(random_values(300, 200, 3)), Picture(random_values(200, 400, 3))
    width, height = sheet([[tall, wide], [wide]]).size
    assert width == MARGIN + 400 + MARGIN + 400 + MARGIN
    assert height == MARGIN + 300 + MARGIN + 200 + MARGIN + LINE + MARGIN


@pytest.mark.parametrize(
    "text", ["σ3 = 4.158, eigen-output", "word " * 80, "an_endless_name" * 20, "line\nbreak\tand\x07bell", ""]
)
def test_text_is_never_cut(text):
    picture = Picture(random_values(24, 24, 3), label=text, mark=(0, 4, 4))
    bars = Picture(random_values(7), label=text)
    for drawn_sheet in (
        sheet([[picture, picture], [picture, bars]], title=text),
        sheet([[Picture(random_values(4, 4, 3))]], title=text),
    ):
        pixels = np.asarray(drawn_sheet)
        for edge in (
            pixels[: MARGIN // 2],
            pixels[-MARGIN // 2 :],
            pixels[:, : MARGIN // 2],
            pixels[:, -MARGIN // 2 :],
        ):
            assert (edge == 255).all()


def test_lines_do_not_end_next_to_an_equals_sign():
    lines = sheets.wrapped("grey = 0, white = +3.10e-02, black = -3.10e-02", 150)
    assert lines == ["grey = 0,", "white = +3.10e-02,", "black = -3.10e-02"]


def test_the_font_has_every_letter_that_is_written():
    missing = bytes(sheets.font().getmask("\ue000"))
    for letter in "".join(
        sheets.words("grey = 0, white and black = ±0.031; −1, σ3 ≤ 4.158 × Fᵀ – Σ (channel, y, x) |'…")
    ):
        assert bytes(sheets.font().getmask(letter)) != missing, letter


def test_the_file_is_the_sheet_and_always_the_same(tmp_path):
    rows = [[Picture(random_values(24, 24, 3), "a", mark=(0, 1, 2)), Picture(random_values(10), "b")]]
    assert save(tmp_path / "a.png", rows, "title") == tmp_path / "a.png"
    save(tmp_path / "b.PNG", rows, "title")
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.PNG").read_bytes()
    with Image.open(io.BytesIO(data)) as file:
        assert file.mode == "RGB" and not file.info
        np.testing.assert_array_equal(np.asarray(file), np.asarray(sheet(rows, "title")))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.PNG"]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a.jpg", r"the file must end in \.png; call it NAME\.png"),
        ("nowhere/a.png", "there is no folder"),
        ("folder.png", "is a folder"),
    ],
)
def test_places_that_are_refused(tmp_path, name, cause):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadOption, match=cause):
        save(tmp_path / name, [[Picture(random_values(4, 4, 3))]])
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_a_picture_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"before")
    with pytest.raises(BadOption, match="picture 'x': holds NaN or infinity"):
        save(target, [[Picture(np.full((2, 2, 3), np.nan), "x")]])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(BadOption, match="No space left"):
        save(target, [[Picture(random_values(4, 4, 3))]])
    assert target.read_bytes() == b"before" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("picture", "cause"),
    [
        (Picture(np.full((2, 2, 3), np.inf), "x"), "holds NaN or infinity"),
        *(
            (
                Picture(np.zeros((2, 2, 3)), "x", scale=scale),
                f"the scale must be a positive number, not {scale}",
            )
            for scale in (0.0, -1.0, np.nan, np.inf)
        ),
        (
            Picture(np.zeros((2, 4, 3)), "x", mark=(0, 2, 0)),
            r"pixel 0,2,0 lies outside of 3x2x4 \(channel, y, x\)",
        ),
        (Picture(np.zeros(5), "x", mark=(5,)), "pixel 5 lies outside of 5"),
        (Picture(np.zeros(5), "x", mark=(0, 0)), "takes 1"),
    ],
)
def test_pictures_that_are_refused(picture, cause):
    with pytest.raises(BadOption, match=f"picture 'x': .*{cause}"):
        sheet([[picture]])
