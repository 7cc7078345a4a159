"""The report page: what it escapes, holds and refuses; and how a browser shows it."""

from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import browser
from PIL import Image, ImageDraw

from onnxscope.show.page import Page, PagePicture, Row, Section, Table, column_class, files, html

LONG_NAME = "transposed/features/denseblock3/denselayer12/conv2/Conv_quant_dequant_linear_output_0"
SUMMARY = (
    "The network doubles the size of an image. For this image it is an affine map, which carries 98.2 % of "
    "the output; the biases of its layers add the rest. The first vectors are smooth: slow changes of "
    "brightness pass."
)
SCHEMES = [(1280, False), (1280, True), (390, False), (390, True)]


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def waves(size: int, pixels: int, phase: float = 0.0) -> bytes:
    """Coloured waves, of so many pixels that each is a square."""
    y, x = np.mgrid[:pixels, :pixels] / pixels * 2 * np.pi
    values = np.stack([np.sin((c + 1) * x + phase) * np.cos(y * (phase + 1) / 2) for c in range(3)], axis=2)
    return png(
        Image.fromarray((128 + 127 * values).astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    )


def chart(dark: bool) -> bytes:
    paper, ink, bar = ("#16181c", "#e6e6e6", "#8dbbf3") if dark else ("#ffffff", "#222222", "#1c57a5")
    image = Image.new("RGB", (1320, 560), paper)
    draw = ImageDraw.Draw(image)
    for i in range(40):
        draw.rectangle((80 + 30 * i, 500 - 440 / (1 + i / 6), 100 + 30 * i, 500), fill=bar)
    draw.line((70, 500, 1290, 500), fill=ink, width=2)
    return png(image)


def example() -> Page:
    """A bit of everything."""
    pair = [
        PagePicture("image", waves(192, 24), "the image", "The image x0, 24 × 24 pixels."),
        PagePicture(
            "output", waves(192, 48), "the network's output", "The output y0 = F·x0 + r, 48 × 48 pixels."
        ),
    ]
    residual = PagePicture(
        "residual",
        waves(768, 96, 3),
        "the residual",
        "The residual r, around grey: what the biases of all layers add.",
    )
    six = [
        PagePicture(
            f"vector-{i}", waves(192, 24, i / 2), f"output singular vector {i}", f"σ{i} = {9.71 / i:.3f}"
        )
        for i in range(1, 7)
    ]
    spectrum = PagePicture(
        "spectrum",
        chart(False),
        "singular values, falling",
        "All 40 that were found.",
        chart(True),
        chart=True,
    )
    layers = Table(
        ["layer", "operator", "contribution", "share"],
        [
            [f"body.{i}.conv", "Conv", f"{(-1) ** i * 1.25 / (i + 1):+.3f}", f"{40 / (i + 1):.1f} %"]
            for i in range(5)
        ],
        "What layers contribute",
    )
    proofs = Table(
        ["proof", "node", "figure", "bound", "samples", "time", "result"],
        [
            ["base = original", LONG_NAME, "3.1e-07", "1.0e-05", "1", "12.5 ms", "passed"],
            ["⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩", "upsample/conv", "8.4e-08", "1.0e-06", "1,024", "1,204 ms", "passed"],
            ["ledger", "upsample/shuffle", "–", "1.0e-05", "1", "3 ms", "failed: the sum is 2.4e-03 off"],
        ],
        "Each with its figure",
    )
    about = Table(
        ["what", "value"],
        [
            ["onnxscope", "0.1.0"],
            ["onnxruntime", "1.31.1, CPUExecutionProvider"],
            ["SHA-256", "9f86d081884c7d65" * 4],
            ["note", "The batch of probes is 16."],
        ],
        "Versions, hashes, notes",
    )
    return Page(
        "What edsr_small.onnx does to one image",
        [SUMMARY, "See Proofs for one that failed."],
        [
            Section(
                "Image and output",
                ["Left what goes in.", "Right what comes out."],
                [Row(pair, "One image"), Row([residual])],
            ),
            Section(
                "Singular vectors",
                [SUMMARY],
                [Row(six, "Output singular vectors"), Row([spectrum])],
            ),
            Section(f"The layer {LONG_NAME}", ["A layer's name may be long."], [layers]),
            Section("Proofs", ["Each proof states a figure, and the bound that it has to keep."], [proofs]),
        ],
        about,
        f"onnxscope tour models/edsr_small.onnx --image cat.png --output {LONG_NAME} -k 40 -o tour.html",
    )


class Tags(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def attributes(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def test_all_texts_are_escaped():
    evil = '<script>alert("x")</script>'
    picture = PagePicture("picture", waves(8, 8), f'" onload="{evil}', evil)
    table = Table([evil], [[evil]], evil)
    text = html(Page(evil, [evil], [Section(evil, [evil], [Row([picture], evil), table])], table, evil))
    tags = Tags(text)
    assert "<script" not in text and not tags.attributes("script")
    assert [image["alt"] for image in tags.attributes("img")] == [picture.alt] and not any(
        "onload" in attrs for _, attrs in tags.found
    )


def test_characters_that_change_what_is_seen_are_spelled_out():
    page = dataclasses.replace(example(), title="a\x1b[2J\u202eb\udc80\0 ε", command="one\ntwo")
    text = html(page)
    assert "<h1>a\\x1b[2J\\u202eb\\udc80\\x00 ε</h1>" in text and "<code>one\ntwo</code>" in text


def test_the_policy_allows_the_styles_of_the_page_by_their_hash_and_nothing_else():
    policy = Tags(html(example())).attributes("meta")[1]["content"].split("; ")
    allowed = dict(rule.split(" ", 1) for rule in policy)
    assert allowed.pop("style-src").startswith("'sha256-") and allowed.pop("img-src") == "data:"
    assert set(allowed.values()) == {"'none'"} and "default-src" in allowed
    assert " style=" not in html(example())


def test_every_picture_is_inside_and_has_a_text():
    tags, page = Tags(html(example())), example()
    images = tags.attributes("img")
    assert len(images) == sum(not name.endswith(".dark.png") for name in files(page))
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in images)
    assert [(source["media"], source["srcset"][:15]) for source in tags.attributes("source")] == [
        ("screen and (prefers-color-scheme: dark)", "data:image/png;")
    ]
    assert (images[0]["width"], images[0]["height"]) == ("192", "192")


def test_contents_lead_to_sections_of_one_page():
    tags = Tags(html(example()))
    ids = [attrs["id"] for _, attrs in tags.found if "id" in attrs]
    links = [link["href"] for link in tags.attributes("a")]
    assert links == ["#section-1", "#section-2", "#section-3", "#section-4", "#about"] and len(ids) == len(
        set(ids)
    )
    assert {link[1:] for link in links} <= set(ids)
    assert len(tags.attributes("h1")) == 1 and len(tags.attributes("main")) == 1


def test_nothing_outside_is_referred_to():
    text = html(example())
    assert not re.search(r"https?://|@import|url\(", text)
    for _, attrs in Tags(text).found:
        assert all(
            value.startswith(("data:", "#"))
            for name, value in attrs.items()
            if name in ("src", "srcset", "href")
        )


def test_columns_of_numbers_stand_to_the_right():
    assert {
        column_class([cell])
        for cell in ("3", "-0.5", "+3.1e-07", "1,024", "12.5 ms", "98 %", "1.2×", "≤1e-5", "40 MiB/s")
    } == {"number"}
    assert {column_class([cell]) for cell in ("", "1.31.1", "3 of 5", "24×24", "Conv_3", "5 words")} == {
        "text"
    }
    assert [column_class(cells) for cells in (["1", "–", ""], ["1", "failed"], ["1", LONG_NAME])] == [
        "number",
        "text",
        "long",
    ]


def test_tables_name_their_rows_and_columns():
    tags = Tags(html(example()))
    assert all(head["scope"] in ("row", "col") for head in tags.attributes("th"))
    assert len(tags.attributes("caption")) == len(tags.attributes("table")) == 3


def test_files():
    found = files(example())
    assert list(found) == [
        "image.png",
        "output.png",
        "residual.png",
        *(f"vector-{i}.png" for i in range(1, 7)),
        "spectrum.png",
        "spectrum.dark.png",
    ]
    assert found["spectrum.dark.png"] == chart(True)


@pytest.mark.parametrize("name", ["spectrum", "spectrum.dark"])
def test_two_pictures_of_one_name_are_refused(name):
    page = example()
    again = Section("again", [], [Row([PagePicture(name, waves(8, 8), "again")])])
    with pytest.raises(ValueError, match=re.escape(f"two pictures of the page are called '{name}.png'")):
        files(dataclasses.replace(page, sections=[*page.sections, again]))


@pytest.fixture(scope="module")
def window():
    with browser(1280) as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "tour.html"
    path.write_text(html(example()), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "dark"), SCHEMES)
def test_a_browser_shows_all_of_it(window, written, width, dark):
    window.emulate(width, dark)
    window.open(written)
    assert window.complaints() == [] and window.broken_images() == []
    assert window.overflow() <= 0
    assert min(contrast for _, contrast in window.contrasts()) >= 4.5  # WCAG AA


@pytest.mark.parametrize(("width", "lines"), [(1280, 1), (390, 3)])
def test_pictures_of_a_row_have_one_width(window, written, width, lines):
    window.emulate(width)
    window.open(written)
    places = window.places("#section-2 .row:first-of-type figure")
    assert len({round(place["width"], 1) for place in places}) == 1
    tops = [round(place["top"]) for place in places]
    assert len(places) == 6 and len(set(tops)) == lines and tops == sorted(tops)


def test_only_pictures_that_are_not_made_smaller_keep_hard_edges():
    large, small = PagePicture("large", waves(512, 8), "large"), PagePicture("small", waves(192, 8), "small")
    assert all(Row(pictures).enlarged for pictures in ([large], [large, large], 6 * [small], [small, large]))
    assert not any(Row(pictures).enlarged for pictures in (3 * [large], 7 * [small], [small, small, large]))


@pytest.mark.parametrize("dark", [False, True])
def test_charts_follow_the_page(window, written, dark):
    window.emulate(1280, dark)
    window.open(written)
    shown = window.driver.execute_script("return document.querySelector('.chart img').currentSrc")
    assert (shown == Tags(html(example())).attributes("source")[0]["srcset"]) == dark


def test_prints_are_light_and_have_no_contents(window, written):
    window.emulate(1280, dark=True, media="print")
    window.open(written)
    assert window.places("nav")[0]["height"] == 0
    paper, chart_source = window.driver.execute_script(
        "return [getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('.chart img').currentSrc]"
    )
    assert paper == "rgb(255, 255, 255)"
    assert chart_source != Tags(html(example())).attributes("source")[0]["srcset"]
