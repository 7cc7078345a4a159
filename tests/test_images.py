"""Pictures and arrays as a model's input, the way back, and pixels by name."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxscope.errors import BadOption
from onnxscope.files import pictures, pixels
from onnxscope.files.preprocessing import PRESETS, Preprocess, preprocessing

RED, GREEN, BLUE = 255, 51, 10  # one colour with three different channels
BY_HAND = {  # what torchvision's and Keras' documents say of such a pixel
    "imagenet": [(255 / 255 - 0.485) / 0.229, (51 / 255 - 0.456) / 0.224, (10 / 255 - 0.406) / 0.225],
    "unit": [1, 0.2, 10 / 255],
    "signed": [255 / 127.5 - 1, 51 / 127.5 - 1, 10 / 127.5 - 1],
    "caffe": [10 - 103.939, 51 - 116.779, 255 - 123.68],
    "raw": [255, 51, 10],
    "centred": [127.5 / 128, -76.5 / 128, -117.5 / 128],
}
GREY = {
    "imagenet": (0.2 - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3),
    "unit": 0.2,
    "signed": -0.6,
    "caffe": 51 - (103.939 + 116.779 + 123.68) / 3,
    "raw": 51,
    "centred": -76.5 / 128,
}


@pytest.fixture
def random_pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def saved(path, pixels_, **options):
    Image.fromarray(pixels_).save(path, **options)
    return path


@pytest.mark.parametrize("shape", [(1, 3, 5, 6), (1, 5, 6, 3), (3, 5, 6), (5, 6, 3)])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_what_their_makers_say(tmp_path, preset, shape):
    Image.new("RGB", (60, 40), (RED, GREEN, BLUE)).save(tmp_path / "a.png")
    values = pictures.read(tmp_path / "a.png", shape, PRESETS[preset])
    assert values.shape == shape and values.dtype == np.float32 and values.flags.c_contiguous
    of_channels = np.moveaxis(values.reshape(shape[-3:]), shape[-3:].index(3), 0)
    for channel, expected in zip(of_channels, BY_HAND[preset], strict=True):
        np.testing.assert_allclose(channel, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("preset", PRESETS)
def test_one_channel_takes_luma_and_the_mean_of_the_figures(tmp_path, preset):
    Image.new("RGB", (9, 9), (51, 51, 51)).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        pictures.read(tmp_path / "a.png", (1, 1, 3, 3), PRESETS[preset]), GREY[preset], rtol=1e-5
    )


def test_luma_weighs_the_colours(tmp_path):
    Image.new("RGB", (2, 2), (200, 100, 50)).save(tmp_path / "a.png")
    expected = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert (pictures.read(tmp_path / "a.png", (1, 1, 2, 2), PRESETS["raw"]) == expected).all()


def test_pixels_stay_in_their_places(tmp_path, random_pixels):
    path = saved(tmp_path / "a.png", random_pixels)
    np.testing.assert_array_equal(
        pictures.read(path, (1, 3, 5, 7), PRESETS["raw"])[0], random_pixels.transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(pictures.read(path, (1, 5, 7, 3), PRESETS["raw"])[0], random_pixels)
    reversed_ = pictures.read(path, (3, 5, 7), preprocessing("raw", channels="bgr"))
    np.testing.assert_array_equal(reversed_, random_pixels[..., ::-1].transpose(2, 0, 1))


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    6: lambda a: np.rot90(a, -1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_set_upright(tmp_path, random_pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", random_pixels, exif=exif)
    upright = TURNED[orientation](random_pixels)
    height, width = upright.shape[:2]
    assert pictures.picture_size(path) == (height, width)
    np.testing.assert_array_equal(pictures.read(path, (1, height, width, 3), PRESETS["raw"])[0], upright)


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    levels = np.array([[0, 128, 129, 257, 40000, 65535]], np.uint16)
    path = saved(tmp_path / "a.png", levels)
    np.testing.assert_array_equal(
        pictures.read(path, (1, 1, 1, 6), PRESETS["raw"]).ravel(), [0, 0, 1, 1, 156, 255]
    )
    assert pictures.read(path, (1, 3, 1, 6)).max() == 1


@pytest.mark.parametrize(
    "levels",
    [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70000, np.int32), np.full((4, 4), -1, np.int32)],
)
def test_pixels_without_a_white_are_refused(tmp_path, levels):
    with pytest.raises(
        BadOption, match=r"--image '.*a.tiff': has pixels with fractions or more than 16 bits"
    ):
        pictures.read(saved(tmp_path / "a.tiff", levels), (1, 3, 4, 4))


def test_what_is_transparent_lies_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (0, 51, 255)
    path = saved(tmp_path / "a.png", rgba)
    rows_first = preprocessing("raw", layout="nhwc")
    seen = pictures.read(path, (1, 1, 3, 3), rows_first)[0, 0]
    np.testing.assert_allclose(seen, [[255, 255, 255], [244, 204, 204], [200, 0, 0]], atol=0.51)
    np.testing.assert_array_equal(pictures.read(path, (1, 1, 3, 4), rows_first)[0], rgba)


@pytest.mark.parametrize("mode", ["LA", "P", "1", "CMYK", "L"])
def test_pillows_other_modes(tmp_path, mode):
    name = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    picture = Image.new("RGB", (4, 4), "white").convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    if mode == "P":
        picture.info["transparency"] = 0
    picture.save(name)
    assert pictures.read(name, (1, 3, 4, 4)).min() == 1


def test_colours_that_cannot_be_converted(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "a.tiff")
    with pytest.raises(BadOption, match=r"cannot be read \(conversion from LAB .* not supported\)"):
        pictures.read(tmp_path / "a.tiff", (1, 1, 4, 4))


def test_cropping_keeps_the_proportions(tmp_path):
    striped = np.zeros((10, 40, 3), np.uint8)
    striped[:, 15:25] = 255
    path = saved(tmp_path / "a.png", striped)
    assert pictures.read(path, (1, 3, 10, 10), Preprocess(fit="crop")).min() == 1
    assert pictures.read(path, (1, 3, 5, 5), Preprocess(fit="crop"))[0, :, :, 1:-1].min() == 1
    assert pictures.read(path, (1, 3, 10, 40), Preprocess(fit="crop")).mean() == 0.25
    assert pictures.read(path, (1, 3, 10, 10)).mean() == pytest.approx(0.25, abs=0.02)


def test_arrays_are_taken_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "whole.npy", values)
    np.save(tmp_path / "one.npy", values[0])
    np.save(tmp_path / "vector.npy", values.ravel()[:10])
    for name in ("whole", "one"):
        np.testing.assert_array_equal(
            pictures.read(tmp_path / f"{name}.npy", values.shape, PRESETS["caffe"]), values
        )
        assert pictures.picture_size(tmp_path / f"{name}.npy") == (4, 5)
    assert pictures.picture_size(tmp_path / "one.npy", "nhwc") == (3, 4)
    assert pictures.read(tmp_path / "vector.npy", (1, 10)).shape == (1, 10)
    with pytest.raises(BadOption, match="has the shape 3x4x5, and must have the shape 2x3x4x5"):
        pictures.read(tmp_path / "one.npy", (2, 3, 4, 5))
    with pytest.raises(
        BadOption, match="has the shape 10, which is not that of a picture; give all sizes with --input-shape"
    ):
        pictures.picture_size(tmp_path / "vector.npy")


@pytest.mark.parametrize(
    ("value", "cause"),
    [(np.nan, "holds NaN"), (np.inf, "holds NaN"), (1e300, "outside the range of float32")],
)
def test_arrays_without_sense_are_refused(tmp_path, value, cause):
    np.save(tmp_path / "a.npy", np.full((1, 3, 4, 4), value))
    with pytest.raises(BadOption, match=cause):
        pictures.read(tmp_path / "a.npy", (1, 3, 4, 4))


def test_a_batch_is_one_picture_again_and_again(tmp_path, random_pixels):
    file = saved(tmp_path / "a.png", random_pixels)
    one = pictures.read(file, (1, 3, 5, 5))
    np.testing.assert_array_equal(pictures.read(file, (4, 3, 5, 5)), np.concatenate([one] * 4))


@pytest.mark.parametrize("shape", [(1, 12, 5, 5), (2, 12, 5, 5), (5, 5), (10,)])
def test_inputs_that_no_picture_fits(tmp_path, random_pixels, shape):
    with pytest.raises(BadOption, match="a picture does not fit the model's input of"):
        pictures.read(saved(tmp_path / "a.png", random_pixels), shape)


@pytest.mark.parametrize("content", [b"", b"meow", b"\x89PNG\r\n\x1a\n" + bytes(40), None])
def test_files_that_are_no_pictures(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for reading in (lambda: pictures.read(path, (1, 3, 4, 4)), lambda: pictures.picture_size(path)):
        with pytest.raises(BadOption, match=r"--image '.*a\.png': (is not an image|cannot be read)"):
            reading()


def test_a_picture_that_is_cut_short(tmp_path, random_pixels):
    path = saved(tmp_path / "a.png", random_pixels)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadOption, match="cannot be read"):
        pictures.read(path, (1, 3, 4, 4))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("preset", "channels"), [(p, n) for p in PRESETS for n in (1, 3, 4) if n < 4 or len(PRESETS[p].mean) == 1]
)
def test_the_way_back(tmp_path, preset, channels, layout):
    seen = np.random.default_rng(1).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    path = saved(tmp_path / "a.png", seen[..., 0] if channels == 1 else seen)
    chosen = preprocessing(preset, layout=layout)
    values = pictures.read(path, (1, 5, 7, channels) if layout == "nhwc" else (1, channels, 5, 7), chosen)
    np.testing.assert_array_equal(pictures.to_pixels(values, chosen), seen)


def test_the_way_back_cuts_off_and_refuses():
    array = np.array([-1, 0, 0.5, 2], np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(pictures.to_pixels(array)[..., 0], [[0, 0], [128, 255]])
    with pytest.raises(BadOption, match="holds NaN"):
        pictures.to_pixels(array * np.nan)
    with pytest.raises(BadOption, match="has 7 channels"):
        pictures.to_pixels(np.zeros((1, 7, 2, 2)))


def test_colours_last_shows_red_first():
    array = np.arange(24).reshape(1, 3, 2, 4)
    np.testing.assert_array_equal(pictures.colours_last(array)[1, 2], [6, 14, 22])
    np.testing.assert_array_equal(pictures.colours_last(array, PRESETS["caffe"])[1, 2], [22, 14, 6])
    assert pictures.colours_last(np.zeros((1, 64, 3, 3)), preprocessing("caffe", layout="nchw")).shape == (
        3,
        3,
        64,
    )
    assert pictures.colours_last(np.zeros((1, 10))).shape == (10,)


def test_a_settled_preprocessing_leaves_nothing_open():
    settled = PRESETS["imagenet"].settled((1, 1, 8, 8))
    assert (settled.layout, settled.channels, len(settled.mean), len(settled.std)) == ("nchw", "luma", 1, 1)
    assert PRESETS["signed"].settled((1, 8, 8, 3)).mean == (1, 1, 1)
    assert settled.settled((1, 1, 8, 8)) == settled


@pytest.mark.parametrize("preset", PRESETS)
def test_what_was_done_is_saved_and_read_again(preset):
    done = PRESETS[preset].settled((1, 8, 8, 3))
    assert Preprocess.from_dict(json.loads(json.dumps(done.as_dict()))) == done


@pytest.mark.parametrize(
    "damage", [{"extra": 1}, {"mean": 3}, {"scale": "x"}, {"channels": None}, {"std": [0]}, {"layout": []}]
)
def test_a_damaged_record_is_refused(damage):
    with pytest.raises(BadOption):
        Preprocess.from_dict(Preprocess().as_dict() | damage)
    with pytest.raises(BadOption, match="is not one that onnxscope saved"):
        Preprocess.from_dict({})


def test_options_replace_a_presets_figures():
    assert preprocessing() == PRESETS["unit"]
    chosen = preprocessing(
        "imagenet", mean="0.5", std="1/2,0.25,1", scale="1/127.5", channels="BGR", layout="NHWC", fit="crop"
    )
    assert chosen == Preprocess(1 / 127.5, (0.5,), (0.5, 0.25, 1.0), "bgr", "nhwc", "crop")


def test_a_presets_figures_follow_their_colours():
    assert preprocessing("imagenet", channels="bgr").mean == (0.406, 0.456, 0.485)
    assert preprocessing("caffe", channels="rgb").mean == (123.68, 116.779, 103.939)
    assert preprocessing("imagenet", channels="luma").std == (pytest.approx(0.226),)


def test_a_presets_deviations_follow_their_colours():
    assert preprocessing("imagenet", channels="bgr").std == (0.225, 0.224, 0.229)
    assert preprocessing("imagenet", channels="rgb").std == (0.229, 0.224, 0.225)


REFUSED = {
    "preset": (
        {"preset": "vgg"},
        "--preset: there is no preset 'vgg'; choose one of auto, imagenet, unit, signed, caffe, raw, centred",
    ),
    "words": ({"mean": "a,b"}, "--mean: 'a' is not a number"),
    "nothing": ({"mean": ""}, "--mean: '' is not a number"),
    "nan": ({"mean": "nan"}, "--mean: the values must be finite numbers, not nan"),
    "two figures": ({"mean": "1,2"}, "--mean: there are 2 values, and a picture has 1, 3 or 4 channels"),
    "std of zero": ({"std": "1,0,1"}, "--std: the values must be positive numbers, not 1.0,0.0,1.0"),
    "scale below zero": ({"scale": "-1"}, "--scale: the values must be positive numbers, not -1.0"),
    "scale by zero": ({"scale": "1/0"}, "--scale: '1/0' is not a number"),
    "order": ({"channels": "grb"}, "--channels: there is no order 'grb'"),
    "luma of three": (
        {"channels": "luma", "mean": "1,2,3"},
        "--mean: luma has one channel, and there are 3 values: 1.0,2.0,3.0",
    ),
    "layout": ({"layout": "chwn"}, "--layout: there is no layout 'chwn'"),
    "fit": ({"fit": "stretch"}, "--fit: there is no fit 'stretch'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_options_that_are_refused(kind):
    options, line = REFUSED[kind]
    with pytest.raises(BadOption) as refusal:
        preprocessing(**options)
    assert str(refusal.value).startswith(line)


@pytest.mark.parametrize(
    ("options", "shape", "line"),
    [
        ({"channels": "luma"}, (1, 3, 4, 4), "--channels luma: the model's input 1x3x4x4 has 3 channels"),
        ({"channels": "bgr"}, (1, 4, 8, 8), "--channels bgr: the model's input 1x4x8x8 has 4 channels"),
        ({"preset": "imagenet"}, (1, 4, 8, 8), "--mean: there are 3 values for 4 channels"),
        ({"layout": "nchw"}, (1, 8, 8, 3), "--layout: the model's input 1x8x8x3 has 8 channels"),
        ({}, (1, 10), "--layout: 1x10 is not the shape of a picture"),
    ],
)
def test_options_that_contradict_the_model(options, shape, line):
    with pytest.raises(BadOption) as refusal:
        preprocessing(**options).settled(shape)
    assert str(refusal.value).startswith(line)


def test_figures_beyond_float32_are_named(tmp_path, random_pixels):
    with pytest.raises(
        BadOption, match="--scale, --mean, --std: they turn pixels into numbers outside the range of float32"
    ):
        pictures.read(saved(tmp_path / "a.png", random_pixels), (1, 3, 5, 7), Preprocess(1e300))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 3, 24, 24), 1),
        ((1, 24, 24, 3), 3),
        ((1, 1, 24, 24), 1),
        ((1, 24, 24, 1), 3),
        ((3, 24, 24), 0),
        ((24, 24, 4), 2),
        ((1, 64, 24, 24), 1),
        ((1, 3, 5, 3), 1),
        ((1, 1000, 1, 1), 1),
        ((64, 7, 7), 0),
    ],
)
def test_where_the_channels_are(shape, axis):
    assert pixels.channels_axis(shape) == axis
    assert pixels.channels_axis(shape, "nchw") == len(shape) - 3
    assert pixels.channels_axis(shape, "nhwc") == len(shape) - 1


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from(["nchw", "nhwc"]),
    st.data(),
)
def test_pixels_by_name(channels, height, width, lead, layout, data):
    """Against an array that holds its own elements' numbers."""
    pixel = tuple(data.draw(st.integers(0, n - 1)) for n in (channels, height, width))
    c, y, x = pixel
    shape = (1,) * lead + ((channels, height, width) if layout == "nchw" else (height, width, channels))
    numbers = np.arange(channels * height * width).reshape(shape[lead:])
    index = pixels.flat_index(shape, pixel, layout)
    assert index == (numbers[c, y, x] if layout == "nchw" else numbers[y, x, c])
    assert pixels.pixel_at(shape, index, layout) == pixel
    assert pixels.channels_last(numbers.reshape(shape), layout)[y, x, c] == index


@pytest.mark.parametrize("shape", [(1, 10), (10,), (2, 5), (2, 3, 4, 5), (1, 2, 3, 4, 5), (1,), ()])
def test_elements_of_what_is_no_picture(shape):
    for index in range(math.prod(shape)):
        assert pixels.flat_index(shape, pixels.pixel_at(shape, index)) == index
    assert pixels.channels_last(np.zeros(shape)).shape == (math.prod(shape),)


@pytest.mark.parametrize(
    ("shape", "pixel", "line"),
    [
        ((1, 3, 24, 24), (3, 0, 0), "pixel 3,0,0 lies outside of 3x24x24 (channel, y, x)"),
        ((1, 24, 20, 3), (0, 24, 0), "pixel 0,24,0 lies outside of 3x24x20 (channel, y, x)"),
        ((1, 3, 24, 24), (0, -1, 0), "pixel 0,-1,0 lies outside of"),
        ((1, 3, 24, 24), (0, 1), "pixel 0,1 has 2 number(s), and 3x24x24 (channel, y, x) takes 3"),
        ((1, 3, 24, 24), 1728, "element 1728 lies outside of 1x3x24x24"),
        ((1, 10), 10, "pixel 10 lies outside of 10;"),
        ((), 1, "pixel 1 lies outside of 1;"),
    ],
)
def test_pixels_that_are_not_there(shape, pixel, line):
    with pytest.raises(BadOption) as refusal:
        pixels.flat_index(shape, pixel)
    assert str(refusal.value).startswith(f"--pixel: {line}")


def test_elements_that_are_not_there():
    for index in (-1, 30):
        with pytest.raises(BadOption, match=f"element {index} lies outside of 1x10x3"):
            pixels.pixel_at((1, 10, 3), index)


def test_pixels_on_the_command_line():
    assert pixels.parse_pixel("1,20,33") == (1, 20, 33)
    assert pixels.parse_pixel(" 1, 2,3") == (1, 2, 3)
    assert pixels.parse_pixel("7") == (7,)
    for text in ("", "1,,2", "a", "-1,0,0", "1.5", "²", "9" * 30):
        with pytest.raises(BadOption, match=r"--pixel: .* does not name a pixel; write CHANNEL,Y,X"):
            pixels.parse_pixel(text)
