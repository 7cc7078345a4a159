"""A comparison's page, chart and files: the verdict first, no empty sections, and every layer with its price."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browser import browser
from networks import MODELS
from support import randn

import onnxscope
from onnxscope.api.difference import Difference
from onnxscope.api.linear_difference import LinearDifference
from onnxscope.ask import tasks
from onnxscope.cli import main as cli
from onnxscope.errors import BadOption
from onnxscope.files.preprocessing import UNIT
from onnxscope.pairing.shares import Share
from onnxscope.show.difference import charts, example, exports
from onnxscope.show.difference.page import difference_page
from onnxscope.show.difference.seen import Example, Seen
from onnxscope.show.page import PagePicture, Row

SCENES = MODELS / "scenes"
PICTURE = SCENES / "car_0.png"
PICTURES = [SCENES / f"{name}_{k}.png" for name in ("car", "boat") for k in (0, 1)]


def compared(
    name: str, images: Path | list[Path], other: str = "int8", rows: Path | None = None
) -> Difference:
    return onnxscope.diff(MODELS / f"{name}.onnx", MODELS / f"{name}_{other}.onnx", images, rows=rows)


@pytest.fixture(scope="module")
def scores() -> Difference:
    return compared("scenes_resnet", PICTURE)


@pytest.fixture(scope="module")
def picture() -> Difference:
    return compared("pixelshuffle_small", PICTURE)


@pytest.fixture(scope="module")
def folder() -> Difference:
    return compared("scenes_resnet", PICTURES)


FOUND = ("scores", "picture", "folder")


def titles(page: str) -> list[str]:
    return [unescape(t) for t in re.findall(r"<h2 id=\"title-.*?>(.*?)</h2>", page)]


def paragraphs(page: str) -> list[str]:
    return [unescape(t) for t in re.findall(r"<p>(.*?)</p>", page)]


# the page


@pytest.mark.parametrize("name", FOUND)
def test_the_first_sentence_is_the_verdict_and_no_section_is_empty(
    name: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(name)
    page = found.html("onnxscope diff a b")
    assert paragraphs(page)[0] == found.title
    assert "onnxscope diff a b" in page
    sections = re.split(r"<section ", page)[1:]
    assert len(sections) == len(titles(page))
    assert all("<table>" in s or "<img " in s for s in sections)
    assert titles(page)[0] == "In numbers" and titles(page)[-1] == "About this page"
    assert {"The ledger: which layers", "Where in the network", "Decisions that flip"} < set(titles(page))
    assert "What only one side has" not in titles(page)


def test_a_page_of_scores_shows_the_highest_of_both(scores: Difference) -> None:
    page = scores.html()
    assert "What both networks give" in titles(page)
    assert "the image, car_0.png" in page and "the highest scores of A and of B" in page
    assert scores.origin is not None and scores.origin.a.sha256 in page
    assert "scenes_resnet.onnx and scenes_resnet_int8.onnx" in page


def test_a_page_of_pictures_shows_their_difference_amplified(picture: Difference) -> None:
    page = picture.html()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert [c.split(";")[0] for c in captions[:3]] == [
        "the image, car_0.png",
        "the output of A",
        "the output of B",
    ]
    assert re.search(r"B − A, amplified [125]0* times", captions[3])


def test_a_page_of_a_folder_shows_the_image_that_differs_most(tmp_path: Path) -> None:
    page = compared("scenes_resnet", PICTURES, rows=tmp_path / "rows").html()
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text(encoding="utf-8").splitlines()[1:]]
    most = max(rows, key=lambda row: abs(row["value_b"] - row["value_a"]))
    assert f"The image that differs most: {most['image']}" in titles(page)
    assert "means over 4 images" in page and "standard deviation" in page
    assert re.search(r"classes that change</th><td.*?>0 % \(0 % to 0 %\)<", page)


def test_what_was_measured_stands_beside_what_was_predicted(scores: Difference) -> None:
    first, *rest = scores.would_help
    page = replace(scores, would_help=({**first, "measured": 0.0125}, *rest)).html()
    assert "measured change" in page and "+0.0125" in page
    assert "measured change" not in scores.html()


def test_nodes_of_one_side_and_pictures_that_cannot_be_read_are_listed(scores: Difference) -> None:
    skipped = ({"image": "broken.png", "why": "is not an image"},)
    page = replace(scores, only_b=("extra",), skipped=skipped).html()
    assert "What only one side has" in titles(page) and "only in B" in page
    assert "broken.png (is not an image)" in page


def test_the_linear_parts_are_compared_where_that_was_asked_for(scores: Difference) -> None:
    linear = LinearDifference((2.0, 1.0), (2.1, 1.1), 0.25, 0.125, 3.0, 4.0, 0.9, None, 0.99)
    page = replace(scores, linear=linear).html()
    assert "The linear parts" in titles(page) and "0.25 (12.5 % of A&#39;s)" in page
    assert "vote for the same score" in page and "Grad-CAM" not in page
    assert "The linear parts" not in titles(scores.html())


def test_two_that_are_the_same_have_no_fault_and_no_remedy() -> None:
    page = compared("scenes_resnet", PICTURE, "torch").html()
    assert paragraphs(page)[0].startswith("The same within noise")
    assert "name no fault" in page
    assert "What putting a layer back would change" not in titles(page)


def test_a_comparison_without_its_images_has_a_page_too(scores: Difference) -> None:
    page = replace(scores, origin=None).html()
    assert titles(page)[:2] == ["In numbers", "The ledger: which layers"]


def test_without_any_difference_only_figures_remain(scores: Difference) -> None:
    none = replace(scores, layers=(), difference=0.0, would_help=(), origin=None)
    assert titles(none.html()) == ["In numbers", "About this page"]


@pytest.mark.parametrize("name", FOUND)
def test_a_browser_shows_the_page_without_fault(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page = request.getfixturevalue(name).page(tmp_path / "diff.html")
    with browser(1000) as window:
        for width, dark in ((1000, False), (390, True)):
            window.emulate(width, dark)
            window.open(page)
            assert window.complaints() == [] and window.broken_images() == []
            assert window.overflow() <= 0
            assert min(contrast for _, contrast in window.contrasts()) >= 4.5


# what is shown of an image


def shown(task: str, a: np.ndarray, b: np.ndarray) -> list[PagePicture]:
    found = Example("image", task, np.abs(randn(1, 3, 8, 8)).clip(0, 1), (a, b), UNIT, ["sky", "sea"])
    seen = Seen({"images": 1}, (), (), example=found)
    section = example.example(seen)
    assert section is not None
    return [p for row in section.parts if isinstance(row, Row) for p in row.pictures]


def test_a_map_of_classes_shows_where_they_change() -> None:
    a = np.zeros((1, 2, 8, 8))
    b = a.copy()
    a[:, 0], b[:, 0], b[:, 1, :4] = 1.0, 1.0, 2.0
    names = {p.name: p.caption for p in shown(tasks.CLASS_MAP, a, b)}
    assert set(names) == {"image", "areas-a", "areas-b", "changed"}
    assert names["changed"] == "where B has another class than A: 50 % of the places"


def test_a_map_of_numbers_shares_a_scale() -> None:
    a = np.linspace(-2, 2, 64).reshape(1, 1, 8, 8)
    captions = [p.caption for p in shown(tasks.MAP, a, a + 0.01)]
    assert captions[1:] == [
        "the output of A; grey = 0, white and black = ±2.01",
        "the output of B; grey = 0, white and black = ±2.01",
        "B − A, amplified 200 times: grey where both are the same; grey = 0, white and black = ±0.01",
    ]


@pytest.mark.parametrize(("most", "factor"), [(0.3, 1), (1.0, 1), (4.9, 2), (5.0, 5), (1234.0, 1000)])
def test_a_difference_is_amplified_by_a_round_factor(most: float, factor: int) -> None:
    assert example.round_factor(most) == factor


# charts


def share(name: str, contribution: float, **kinds: float) -> Share:
    return Share(name, name, contribution, kinds or {"weights": contribution}, 0, 0.0, 0.0, 0.0)


def test_the_smallest_of_many_layers_are_added_up() -> None:
    layers = [share(f"layer{k}", 0.1 * (k + 1)) for k in range(charts.MOST_BARS + 5)]
    rows = charts.largest(layers)
    assert len(rows) == charts.MOST_BARS and rows[-1].a == "6 other layers"
    assert sum(r.contribution for r in rows) == pytest.approx(sum(s.contribution for s in layers))
    assert rows[-1].kinds == {"weights": pytest.approx(rows[-1].contribution)}


def test_labels_nearer_to_the_middle_are_lower() -> None:
    assert charts.lines([0, 4, 9], 10) == {4: 0, 0: 1, 9: 2}


def test_a_long_name_keeps_its_end() -> None:
    assert charts.tail("a" * 40 + "/layer3/conv2") == "…" + "a" * 16 + "/layer3/conv2"


def test_the_chart_is_a_picture_of_its_own(folder: Difference, tmp_path: Path) -> None:
    path = folder.save(tmp_path / "diff.png")
    assert path.read_bytes() == folder.plot().png and folder.plot().png.startswith(b"\x89PNG")


# files


@pytest.mark.parametrize("name", FOUND)
def test_node_data_have_a_value_for_every_layer(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(name)
    data = json.loads(found.node_data(tmp_path / "nodes.json").read_text(encoding="utf-8"))
    assert set(data["results"]) == {s.a for s in found.layers if s.a}
    total = sum(entry["value"] for entry in data["results"].values())
    assert total == pytest.approx(found.difference - found.remainder, rel=1e-2)
    stops = [entry["stop"] for entry in data["gradient"]]
    assert stops[0] == 0 and stops[-1] == 1 and stops == sorted(stops)


def test_colours_of_node_data_are_palest_at_zero_and_as_strong_on_both_sides() -> None:
    colours = {e["stop"]: e["bgColor"] for e in exports.gradient([-1.0, 0.5, 3.0])}
    assert colours[0.25] == exports.hexadecimal(exports.signed(np.array(0.0), 1.0))
    assert colours[1.0] == exports.gradient([-3.0, 3.0])[-1]["bgColor"]
    assert colours[0.0] != exports.gradient([-3.0, 3.0])[0]["bgColor"]


def test_the_table_has_a_row_for_each_layer_and_kind(scores: Difference, tmp_path: Path) -> None:
    path = scores.save(tmp_path / "diff.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == sum(len(s.kinds) for s in scores.layers)
    assert sum(float(r["contribution"]) for r in rows) == pytest.approx(scores.difference, abs=1e-5)


def test_all_values_are_saved_without_what_the_page_needs(scores: Difference, tmp_path: Path) -> None:
    kept = json.loads(scores.save(tmp_path / "diff.json").read_text(encoding="utf-8"))
    assert kept["difference"] == scores.difference and not {"origin", "draw"} & set(kept)


def test_a_page_has_the_name_of_a_page(scores: Difference, tmp_path: Path) -> None:
    assert scores.save(tmp_path / "diff.html").read_text(encoding="utf-8") == scores.html()
    with pytest.raises(BadOption, match=r"must end in \.html"):
        scores.page(tmp_path / "diff.txt")


def test_a_page_can_be_made_from_plain_figures(scores: Difference) -> None:
    assert (
        paragraphs(difference_page(Seen(scores.to_dict(), scores.layers, ("Different.",))))[0] == "Different."
    )


def test_the_verb_writes_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(MODELS / f"scenes_resnet{kind}.onnx") for kind in ("", "_int8")]
    asked = ["diff", *files, "--image", str(PICTURE), "--json"]
    wanted = [tmp_path / f"found{suffix}" for suffix in (".html", ".png", ".csv", ".json")]
    out = [word for path in wanted for word in ("-o", str(path))]
    assert cli.run([*asked, *out, "--node-data", str(tmp_path / "nodes.json")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["written"] == [*map(str, wanted), str(tmp_path / "nodes.json")]
    assert all(Path(path).stat().st_size for path in facts["written"])
    assert "onnxscope" in wanted[0].read_text(encoding="utf-8")
    assert cli.run([*asked, "-o", str(tmp_path / "found.txt")]) == 2
    assert "must end in .html" in json.loads(capsys.readouterr().out)["error"]
    assert cli.run([*asked, "-o", files[0]]) == 2  # nothing is overwritten
