"""The evidence of an audit: valid by the official schemas, equal for equal reports, and harmless with hostile names.

The schemas of SARIF and CycloneDX are large; they are read from the folder beside the repository, if it is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import audited
import pytest
from browser import browser
from pyarrow import parquet

from onnxscope.audit.evidence import drawings, signing, texts
from onnxscope.audit.evidence.files import evidence, write
from onnxscope.audit.evidence.findings import verdict_of, worst_slices
from onnxscope.audit.evidence.summary import summary
from onnxscope.audit.report import FAIL, INVESTIGATE, PASS, Entry
from onnxscope.errors import BadOption

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT.parent / "shared" / "schemas"
NAMES = {
    "audit.parquet", "audit.html", "audit.junit.xml", "audit.sarif", "audit.intoto.json", "audit.cdx.json",
    "audit.json",
}  # fmt: skip
REPORTS = {
    "all": audited.report(),
    "nothing": audited.nothing(),
    "no rows": audited.report(rows=[]),
    "all passed": audited.report(entries=[e for e in audited.entries() if e.outcome == PASS]),
}


@pytest.fixture(scope="module", params=REPORTS)
def files(request: pytest.FixtureRequest) -> dict[str, bytes]:
    return evidence(REPORTS[request.param], audited.earlier())


@pytest.fixture(scope="module")
def everything() -> dict[str, bytes]:
    return evidence(audited.report(), audited.earlier())


def loaded(files, name):
    """The content of a JSON file; NaN and infinities are no JSON."""
    return json.loads(files[name], parse_constant=pytest.fail)


def schema(name):
    path = SCHEMAS / name
    if not path.exists():
        pytest.skip(f"the schema {name} is not beside the repository, in ../shared/schemas")
    return json.loads(path.read_text(encoding="utf-8"))


# by the schemas


def test_sarif_follows_its_schema(files):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft4Validator(schema("sarif-schema-2.1.0.json")).validate(loaded(files, "audit.sarif"))


def test_cyclonedx_follows_its_schema(files):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    referencing = pytest.importorskip("referencing", reason="referencing is not installed")
    known = [("bom-1.6", "bom-1.6"), ("spdx", "spdx"), ("jsf-0.82", "jsf-0.82")]
    resources = {
        f"http://cyclonedx.org/schema/{name}.schema.json": referencing.Resource.from_contents(
            schema(f"{file}.schema.json"), referencing.jsonschema.DRAFT7
        )
        for name, file in known
    }
    registry = referencing.Registry().with_resources(resources.items())
    validator = jsonschema.Draft7Validator(schema("bom-1.6.schema.json"), registry=registry)
    validator.validate(loaded(files, "audit.cdx.json"))


def test_cyclonedx_passes_the_validator_of_its_library(files):
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed"
    )
    validator = validation.JsonStrictValidator(pytest.importorskip("cyclonedx.schema").SchemaVersion.V1_6)
    try:
        error = validator.validate_str(files["audit.cdx.json"].decode())
    except ImportError as missing:
        pytest.skip(f"cyclonedx-python-lib is installed without its validators: {missing}")
    assert error is None


def test_junit_follows_its_schema(files):
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed")
    valid = etree.XMLSchema(etree.parse(ROOT / "tests" / "schemas" / "JUnit.xsd"))
    valid.assertValid(etree.fromstring(files["audit.junit.xml"]))


def test_intoto_follows_its_rules(files):
    """The statement's and the predicate's rules, as their texts have them: there is no schema."""
    statement = loaded(files, "audit.intoto.json")
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = statement["predicate"]
    assert set(predicate) == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    assert predicate["result"] in {"PASSED", "WARNED", "FAILED"}
    for resource in [*statement["subject"], *predicate["configuration"]]:
        assert set(resource) == {"name", "digest"} and re.fullmatch(
            "[0-9a-f]{64}", resource["digest"]["sha256"]
        )
    names = [subject["name"] for subject in statement["subject"]]
    assert len(set(names)) == len(names)
    tests = [name for kind in ("passed", "warned", "failed") for name in predicate[f"{kind}Tests"]]
    assert all(isinstance(name, str) for name in tests) and len(set(tests)) == len(tests)


def test_an_audit_json_names_everything_the_verdict_depends_on(everything):
    found = loaded(everything, "audit.json")
    assert found["verdict"] == FAIL and found["stops"] is True
    assert found["counts"] == {"pass": 4, "fail": 5, "investigate": 2, "observed": 1}
    assert found["policy"]["sha256"] == audited.digest("policy")
    assert found["subjects"][0]["files"]["models/scenes_vgg.onnx.data"] == audited.digest("data")
    assert found["images"]["scenes"]["files"]["car_3.png"] == audited.digest("car 3")
    assert found["environment"]["device"] == "CPU" and found["walls"]["memory"] == "2 GiB"
    first = found["entries"][0]
    assert {"model", "check", "outcome", "figure", "interval", "bound"} <= set(first)
    assert first["figure"] == 3.2e-3 and first["interval"] == [2.9e-3, 3.4e-3]
    infinite = next(e for e in found["entries"] if e["method"] == "lrp")
    assert infinite["figure"] is None and infinite["interval"] is None


# what each format says


def test_the_table_has_a_row_for_each_value(everything, tmp_path):
    (tmp_path / "audit.parquet").write_bytes(everything["audit.parquet"])
    table = parquet.read_table(tmp_path / "audit.parquet")
    rows = table.to_pylist()
    assert len(rows) == len(audited.rows())
    assert [row["picture"] for row in rows if row["check"] == "completeness"] == [
        f"car_{k}.png" for k in range(6)
    ]
    assert all(row["value"] is None or row["value"] == row["value"] for row in rows)
    assert {row["holds"] for row in rows} == {True, False, None}


def test_the_table_of_no_rows_has_the_same_columns(tmp_path):
    tables = []
    for name in ("all", "nothing"):
        (tmp_path / name).write_bytes(evidence(REPORTS[name])["audit.parquet"])
        tables.append(parquet.read_table(tmp_path / name))
    assert tables[0].schema == tables[1].schema and tables[1].num_rows == 0


def cases(files):
    return {
        (case.get("classname"), case.get("name")): case
        for case in ElementTree.fromstring(files["audit.junit.xml"]).iter("testcase")
    }


def test_junit_fails_what_stops_the_audit(everything):
    found = cases(everything)
    failure = found[audited.MODEL, "completeness (scenes)"].find("failure")
    assert failure.get("type") == FAIL
    for part in ("completeness", "0.0032", "at most 0.0001", "features/conv4", audited.MEANS):
        assert part in failure.text
    assert found[audited.MODEL, "accuracy (scenes)"].find("failure").get("type") == INVESTIGATE
    assert len(found[audited.MODEL, "noise"]) == 0  # it is only observed
    suites = ElementTree.fromstring(everything["audit.junit.xml"])
    assert [int(s.get("tests")) for s in suites] == [8, 1, 1, 1, 1, 0]
    assert [int(s.get("failures")) for s in suites] == [4, 1, 1, 1, 0, 0]
    assert "observed only: noise: 12.5" in suites[0].find("system-out").text


def test_junit_does_not_skip_what_is_only_observed():
    observed = [replace(e, observe_only=True) for e in audited.entries() if e.outcome == INVESTIGATE]
    found = cases(evidence(audited.report(entries=observed)))
    assert len(found) == 2 and not any(len(case) for case in found.values())


def test_junit_skips_what_is_open_if_the_audit_goes_on():
    found = cases(evidence(audited.report(stops_on=[FAIL])))
    skipped = found[audited.MODEL, "accuracy (scenes)"].find("skipped")
    assert "straddles" in skipped.text and "to be investigated" in skipped.get("message")
    assert found[audited.MODEL, "completeness (scenes)"].find("failure") is not None


def test_sarif_results_are_consistent(everything):
    (run,) = loaded(everything, "audit.sarif")["runs"]
    rules, artifacts = run["tool"]["driver"]["rules"], run["artifacts"]
    assert len(run["results"]) == 8  # all but those that passed
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["level"] == "none") == (result["kind"] != "fail")
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert artifacts[place["index"]]["location"]["uri"] == place["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", place["uri"])
    kinds = {(r["ruleId"], r["properties"]["outcome"], r["kind"]) for r in run["results"]}
    assert {
        ("completeness", FAIL, "fail"),
        ("accuracy", INVESTIGATE, "open"),
        ("noise", FAIL, "informational"),
    } <= kinds
    fault = run["results"][0]
    assert fault["locations"][0]["logicalLocations"][0]["name"] == "features/conv4"
    assert rules[fault["ruleIndex"]]["help"]["text"] == audited.MEANS
    assert artifacts[1]["hashes"] == {"sha-256": audited.digest(audited.MODEL)}
    assert unquote_to_bytes(artifacts[3]["location"]["uri"]).decode() == audited.HTML


def test_sarif_says_what_is_new_since_the_newest_earlier_report(everything):
    (run,) = loaded(everything, "audit.sarif")["runs"]
    states = {
        (r["ruleId"], r["locations"][0]["physicalLocation"]["artifactLocation"]["index"]): r["baselineState"]
        for r in run["results"]
    }
    assert states["completeness", 1] == "updated"  # it failed before, with another figure
    assert states["dead-units", 1] == "unchanged" and states["noise", 1] == "new"
    (run,) = loaded(evidence(audited.report()), "audit.sarif")["runs"]
    assert not any("baselineState" in result for result in run["results"])


def test_sarif_calls_a_finding_new_if_it_passed_before():
    before = [replace(e, outcome=PASS) for e in audited.entries()]
    files = evidence(audited.report(), [loaded(evidence(audited.report(entries=before)), "audit.json")])
    states = {r["baselineState"] for r in loaded(files, "audit.sarif")["runs"][0]["results"]}
    assert states == {"new"}


def test_fingerprints_stay_and_differ(everything):
    def prints(files):
        return [
            r["partialFingerprints"]["check/v1"] for r in loaded(files, "audit.sarif")["runs"][0]["results"]
        ]

    changed = [replace(e, figure=1.0, note="other", layer="other") for e in audited.entries()]
    assert prints(everything) == prints(evidence(audited.report(entries=changed)))
    assert len(set(prints(everything))) == 8


@pytest.mark.parametrize(
    ("entries", "stops_on", "result"),
    [
        ([(FAIL, False)], (FAIL, INVESTIGATE), "FAILED"),
        ([(PASS, False), (INVESTIGATE, False)], (FAIL, INVESTIGATE), "FAILED"),
        ([(PASS, False), (INVESTIGATE, False)], (FAIL,), "WARNED"),
        ([(PASS, False), (FAIL, True)], (FAIL, INVESTIGATE), "WARNED"),
        ([(PASS, False)], (FAIL, INVESTIGATE), "PASSED"),
        ([], (FAIL, INVESTIGATE), "FAILED"),
        ([], (FAIL,), "WARNED"),
    ],
)
def test_the_statement_says_passed_only_if_all_passed(entries, stops_on, result):
    found = [
        Entry(audited.MODEL, f"check {k}", "m", outcome, 1, None, "", observe_only=observed)
        for k, (outcome, observed) in enumerate(entries)
    ]
    statement = loaded(evidence(audited.report(entries=found, stops_on=stops_on)), "audit.intoto.json")
    assert statement["predicate"]["result"] == result


def test_the_statement_is_about_all_files(everything):
    statement = loaded(everything, "audit.intoto.json")
    digests = [subject["digest"]["sha256"] for subject in statement["subject"]]
    names = [audited.MODEL, *audited.HOSTILE, "models/plain.onnx"]
    assert sorted(digests) == sorted(map(audited.digest, [*names, "data"]))
    assert statement["predicate"]["configuration"][0]["digest"]["sha256"] == audited.digest("policy")
    assert f"{audited.MODEL}: completeness (scenes)" in statement["predicate"]["failedTests"]
    assert f"{audited.MODEL}: noise" in statement["predicate"]["warnedTests"]


def test_a_model_card_has_the_measurements(everything):
    bom = loaded(everything, "audit.cdx.json")
    model = bom["components"][0]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": audited.digest(audited.MODEL)}]
    assert model["components"][0]["hashes"][0]["content"] == audited.digest("data")
    card = model["modelCard"]
    assert card["modelParameters"]["task"] == "classification"
    assert card["modelParameters"]["inputs"] == [{"format": "image: [1, 3, 64, 64]"}]
    assert card["modelParameters"]["datasets"] == [{"ref": "images:scenes"}]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0]["confidenceInterval"] == {"lowerBound": "0.0029", "upperBound": "0.0034"}
    assert metrics[0]["value"] == "0.0032" and metrics[3]["slice"] == "scenes / dark <i>"
    assert len(metrics) == 6  # the other two have no figure
    (limit,) = card["considerations"]["technicalLimitations"]
    assert "dead-units" in limit and "No picture reaches this layer." in limit
    sets = {c["name"]: c for c in bom["components"] if c["type"] == "data"}
    assert sets["empty"]["hashes"][0]["content"] == hashlib.sha256().hexdigest()


def test_a_set_has_the_digest_that_sha256sum_leads_to():
    lines = b"".join(b"%s  %s\n" % (c * 64, n) for c, n in [(b"1", b"b.png"), (b"2", b"a.png")])
    found = texts.set_digest({"a.png": "2" * 64, "b.png": "1" * 64})
    assert found == hashlib.sha256(lines).hexdigest()


# equal for equal reports


def test_equal_reports_give_equal_bytes(everything):
    """Also in another process, which has other hashes of texts, and with the rows in another order."""
    program = (
        "import audited, hashlib; from onnxscope.audit.evidence.files import evidence\n"
        "report = audited.report(rows=audited.rows()[::-1])\n"
        "files = evidence(report, audited.earlier())\n"
        "print({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path}
    other = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    here = {name: hashlib.sha256(data).hexdigest() for name, data in everything.items()}
    assert other.stdout.strip() == str(here)


def test_the_only_time_is_the_one_that_is_fixed(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    unfixed = evidence(audited.report())
    assert b'timestamp="1970-01-01T00:00:00"' in unfixed["audit.junit.xml"]
    assert "timestamp" not in loaded(unfixed, "audit.cdx.json")["metadata"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    fixed = evidence(audited.report())
    assert b'timestamp="2023-11-14T22:13:20"' in fixed["audit.junit.xml"]
    assert loaded(fixed, "audit.cdx.json")["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert {name for name in NAMES if fixed[name] != unfixed[name]} == {"audit.junit.xml", "audit.cdx.json"}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(BadOption, match="SOURCE_DATE_EPOCH: 'yesterday' is no time; give seconds"):
        evidence(audited.report())


def test_serial_numbers_depend_on_the_content(everything):
    serials = [loaded(evidence(report), "audit.cdx.json")["serialNumber"] for report in REPORTS.values()]
    assert loaded(everything, "audit.cdx.json")["serialNumber"] in serials
    assert len(set(serials)) == len(serials) - 1  # the rows are not in it


# hostile names


class Tags(HTMLParser):
    """The elements and attributes of a page, and the text of its style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.attributes, self.policy, self.style = set(), set(), "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_data(self, data):
        if self.lasttag == "style":
            self.style += data


def test_a_page_runs_nothing_and_loads_nothing(files):
    tags = Tags(files["audit.html"].decode())
    assert not tags.names & {"script", "b", "i", "iframe", "img", "object", "form"}
    assert not {name for name in tags.attributes if name.startswith("on") or name in {"style", "src"}}
    assert "default-src 'none'" in tags.policy and "unsafe-inline" not in tags.policy


@pytest.mark.parametrize("name", sorted(NAMES - {"audit.parquet"}))
def test_no_file_has_codes_in_it(files, name):
    text = files[name].decode()
    assert {c for c in text if not c.isprintable() and c != "\n"} == set()
    assert name in {"audit.html", "audit.junit.xml"} or text.isascii()


def test_what_is_printed_is_what_is_written(everything):
    assert summary(audited.report()) == everything["audit.json"]


def test_programs_get_names_as_they_are(everything):
    names = [subject["name"] for subject in loaded(everything, "audit.json")["subjects"]]
    assert names[:3] == [audited.MODEL, audited.HTML, audited.TERMINAL]
    assert names[3] == "models/\\udcff\\ud800 %41#?.onnx"  # it is no Unicode, which JSON could hold


def test_long_names_are_shortened_on_the_page():
    name = "models/" + "n" * 100_000
    report = audited.report(subjects=[audited.subject(name)], entries=[], rows=[])
    assert len(evidence(report)["audit.html"]) < 30_000


# the page


def test_the_page_says_what_a_signatory_needs(everything):
    text = everything["audit.html"].decode()
    for part in (
        "5 of 11 results failed, 2 must be investigated, 4 passed.",
        "exit code 1",
        "not a statement of compliance",
        "features/conv4",
        audited.MEANS,
        "car_1.png <span",
        "Pictures for which the most values do not hold: scenes / car_1.png (2)",
        "Over 4 reports",
        "not limited: this kernel has no Landlock",
        audited.digest("data"),
    ):
        assert part in text, part
    worst = [text.index(f"car_{k}.png <span") for k in (1, 5, 3)]
    assert worst == sorted(worst)  # by how much they miss the bound


def test_nothing_judged_is_not_shown_as_passed():
    observed = [replace(e, observe_only=True) for e in audited.entries()]
    for entries in ([], observed):
        found = verdict_of(audited.report(entries=entries))
        assert (found.kind, found.word) == (INVESTIGATE, "Nothing was judged")


def test_the_worst_slice_is_that_with_the_worst_outcome_then_the_worst_figure():
    def sliced(name, outcome, figure):
        return Entry("m", "c", "x", outcome, figure, None, "", slice=name, at_least=0.5)

    entries = [
        sliced("a", PASS, 0.1),
        sliced("b", FAIL, 0.4),
        sliced("c", FAIL, 0.2),
        sliced("d", INVESTIGATE, 0.0),
    ]
    (found,) = worst_slices([*entries, replace(entries[0], slice="", figure=0.9)])
    assert found.worst.slice == "c" and found.whole.figure == 0.9 and (found.count, found.failed) == (4, 2)


def test_a_bar_shows_the_figure_on_the_right_side_of_the_bound():
    entry = Entry("m", "c", "x", FAIL, 0.7, (0.6, 0.8), "", at_least=0.95)
    drawn = drawings.bar(entry)
    assert drawn.interval[0] < drawn.figure < drawn.interval[1] < drawn.bounds[0][0] == drawn.allowed[0]
    assert drawn.allowed[1] == drawings.WIDTH
    both = drawings.bar(replace(entry, figure=0.5, interval=None, at_least=0.2, at_most=0.5))
    assert both.figure == both.allowed[1] > both.allowed[0]
    assert drawings.bar(replace(entry, at_least=None)) is None
    assert drawings.bar(replace(entry, figure=None)) is None


@pytest.mark.parametrize("values", [(0, 0), (1e308, -1e308), (1e-30, 1e30), (5e-324, 0), (-3, 2)])
def test_any_figures_can_be_drawn(values):
    figure, bound = values
    drawn = drawings.bar(Entry("m", "c", "x", FAIL, figure, None, "", at_most=bound))
    assert 0 <= drawn.figure <= drawings.WIDTH and 0 <= drawn.bounds[0][0] <= drawings.WIDTH


def test_a_trend_has_a_gap_where_a_figure_is_missing():
    entry = Entry("m", "c", "x", FAIL, 3.0, None, "", at_most=2.5)
    history = [
        {texts.identity(vars(entry)): {"figure": figure, "outcome": PASS}} for figure in (1.0, 2.0, None, 2.0)
    ]
    drawn = drawings.trend(entry, history)
    assert [dot.outcome for dot in drawn.dots] == [PASS, PASS, PASS, FAIL]
    assert [line.count(",") for line in drawn.lines] == [2, 2]
    assert drawn.dots[0].y > drawn.dots[1].y > drawn.bounds[0] > drawn.dots[-1].y  # larger is higher
    assert drawings.trend(entry, []) is None


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (1000, True), (390, False), (390, True)])
def test_a_browser_shows_the_page(everything, tmp_path, width, dark):
    page = tmp_path / "audit.html"
    page.write_bytes(everything["audit.html"])
    with browser(width, dark) as opened:
        opened.open(page)
        assert opened.complaints() == []  # such as a style that the page's own policy refuses
        assert opened.overflow() <= 0
        assert [found for found in opened.contrasts() if found[1] < 4.5] == []


# writing


def test_all_files_are_written_and_nothing_else(tmp_path):
    folder = tmp_path / "new" / "folder"
    paths = write(folder, audited.report())
    assert {path.name for path in folder.iterdir()} == NAMES == {path.name for path in paths}
    assert paths[-1].name == "audit.json"
    assert {path.name: path.read_bytes() for path in paths} == evidence(audited.report())


def test_writing_again_removes_the_signature_of_what_is_replaced(tmp_path):
    write(tmp_path, audited.report())
    (tmp_path / "audit.sig").write_text("of the earlier files")
    (tmp_path / "mine.txt").write_text("stays")
    write(tmp_path, audited.nothing())
    assert {path.name for path in tmp_path.iterdir()} == NAMES | {"mine.txt"}


def test_a_failure_leaves_the_files_as_they_were(tmp_path):
    before = {path.name: path.read_bytes() for path in write(tmp_path, audited.report())}
    with pytest.raises(BadOption, match="earlier report 1: is not a report of an audit"):
        write(tmp_path, audited.nothing(), [{}])
    (tmp_path / "audit.sarif").unlink()
    (tmp_path / "audit.sarif").mkdir()
    with pytest.raises(BadOption, match="is a folder"):
        write(tmp_path, audited.nothing())
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == {name: data for name, data in before.items() if name != "audit.sarif"}


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOption, match=r"is no folder to write into .*; choose another folder with -o"):
        write(tmp_path / "file", audited.report())


@pytest.mark.parametrize(
    ("earlier", "cause"),
    [
        ([], "has no list 'entries'"),
        ({"entries": 3}, "has no list 'entries'"),
        ({"entries": [3]}, "has an entry without an outcome"),
        ({"entries": [{"outcome": "fine"}]}, "has an entry without an outcome"),
        ({"entries": [{"outcome": PASS, "figure": "1"}]}, "has a figure that is not a number"),
        ({"entries": [{"outcome": PASS, "figure": True}]}, "has a figure that is not a number"),
    ],
)
def test_what_is_no_earlier_report_is_refused(earlier, cause):
    with pytest.raises(BadOption, match=f"earlier report 1: .*{cause}; name an audit.json"):
        evidence(audited.report(), [earlier])


def test_an_audit_json_is_an_earlier_report():
    files = evidence(audited.report(), [loaded(evidence(audited.report()), "audit.json")])
    states = {r["baselineState"] for r in loaded(files, "audit.sarif")["runs"][0]["results"]}
    assert states == {"unchanged"}


def test_an_entry_of_a_model_that_is_no_subject_is_a_fault_of_ours():
    with pytest.raises(ValueError, match=r"no subjects: .*scenes_vgg"):
        evidence(audited.report(subjects=[]))


# signing


@pytest.fixture
def key(tmp_path):
    pytest.importorskip(
        "model_signing.signing", reason="model-signing or pyopenssl is not installed", exc_type=ImportError
    )
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    secret = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(secret.public_key().public_bytes(serialization.Encoding.PEM, info))
    return private, public


def verify(folder, public):
    verifying = pytest.importorskip("model_signing.verifying")
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "audit.sig")


def test_a_signature_covers_the_evidence_and_nothing_else(key, tmp_path):
    private, public = key
    folder = tmp_path / "evidence"
    write(folder, audited.report())
    (folder / "audit.times.json").write_text("{}")
    (folder / "mine.txt").write_text("may change")
    assert signing.sign(folder, private) == folder / "audit.sig"
    (folder / "mine.txt").write_text("has changed")
    verify(folder, public)
    for name in ("audit.times.json", "audit.intoto.json"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data + b"\n")
        with pytest.raises(ValueError, match="Signature mismatch"):
            verify(folder, public)
        (folder / name).write_bytes(data)
    verify(folder, public)


def test_signing_again_replaces_the_signature(key, tmp_path):
    private, public = key
    folder = tmp_path / "evidence"
    for report in (audited.report(), audited.nothing()):
        write(folder, report)
        signing.sign(folder, private)
        verify(folder, public)


def test_a_bad_key_is_refused_before_the_work(key, tmp_path):
    private, public = key
    for file in (public, tmp_path / "none.pem", tmp_path):
        with pytest.raises(BadOption, match=r"cannot be used as a private key .*; give a PEM file"):
            signing.check_can_sign(file)
    signing.check_can_sign(private)


def test_a_signature_needs_a_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(
        BadOption, match=r"--sign: a signature needs model-signing .*; pip install model-signing"
    ):
        signing.sign(tmp_path, tmp_path / "key.pem")
