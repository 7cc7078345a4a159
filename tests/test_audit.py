"""Audits from end to end: values against other computations, faults that are found, and evidence that stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import audits
import numpy as np
import onnx
import pytest
import yaml
from audits import EVIDENCE, Audit, audit, classifier, dense, restorer, saved, stated
from PIL import Image
from support import model, node, run

from onnxscope.ask.metrics.table import METRICS
from onnxscope.audit import answers
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.measures.value import MODEL
from onnxscope.audit.report import FAIL, INVESTIGATE, PASS
from onnxscope.audit.results import OPENS
from onnxscope.cli import main as cli

TESTS = str(Path(__file__).parent)
SIZE = {"measure": "bytes", "most": 1e6}
RIGHT = {"measure": "accuracy", "least": 0.0}
LABELS = {"group": {"labels": "seen/labels.txt"}, "images": {"labels": "names"}}


def check_of(name: str) -> dict[str, Any]:
    """A check that a measure needs nothing more for."""
    measure, found = MEASURES[name], dict[str, Any]({"measure": name, "observe_only": True})
    if "method" in measure.needs:
        found["method"] = "saliency" if name in METRICS else "grad-cam"
    if "baseline" in measure.needs:
        found["baseline"] = "sound"
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Every measure on a classifier and on a network that gives pictures."""
    folder = saved(tmp_path_factory.mktemp("everything"), net=classifier(), restorer=restorer())
    (folder / "sound").mkdir()
    for name in ("net.onnx", "restorer.onnx"):
        (folder / "sound" / name).write_bytes((folder / "models" / name).read_bytes())
    checks = {name: check_of(name) for name in MEASURES}
    more = {"slices": {"cats": {"labels": ["cat"]}}, "baselines": {"sound": {"model": "sound/*.onnx"}}}
    policy = stated(checks, ["net.onnx"], images={"labels": "names", "count": 2}, **more)
    policy["models"]["nets"]["labels"] = "seen/labels.txt"
    policy["models"]["pictures"] = {"files": ["models/restorer.onnx"], "preset": "unit"}
    return audit(folder, policy)


# every measure

NOT_ON_PICTURES = "the output must be a vector of scores"
WITHOUT_VALUE = {  # on the classifier: why there is none
    "pass-time": "its values are in audit.times.json",
}


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_has_a_value_of_a_classifier(name: str, everything: Audit) -> None:
    entries = [
        e
        for e in everything.json["entries"]
        if e["model"] == "models/net.onnx" and e["measure"] == name and not e["slice"]
    ]
    assert entries and all(e["observe_only"] for e in entries)
    for entry in entries:
        if name == "pass-time":
            assert entry["figure"] is None and entry["note"] == "its values are in audit.times.json"
        else:
            assert entry["figure"] is not None and np.isfinite(entry["figure"]), entry
            low, high = entry["interval"]
            assert low <= entry["figure"] <= high
        assert MEASURES[name].timed or MEASURES[name].per == MODEL or entry["images"] == "seen"
    rows = [r for r in everything.rows if r["measure"] == name and r["model"] == "models/net.onnx"]
    assert bool(rows) != MEASURES[name].timed and all(r["value"] is not None for r in rows)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_has_a_value_or_a_reason_on_a_network_that_gives_pictures(
    name: str, everything: Audit
) -> None:
    rows = [r for r in everything.rows if r["measure"] == name and r["model"] == "models/restorer.onnx"]
    assert bool(rows) != MEASURES[name].timed
    for row in rows:
        if {"scores", "method"} & MEASURES[name].needs:
            assert row["value"] is None and NOT_ON_PICTURES in row["note"], row
        elif name in ("flips", "divergence"):
            assert row["value"] is None and row["note"].startswith(("the network takes no", "there are no"))
        else:
            assert row["value"] is not None and np.isfinite(row["value"]), row


def test_times_are_kept_out_of_the_evidence(everything: Audit) -> None:
    times = json.loads(everything.read("audit.times.json"))
    assert {f["model"] for f in times["figures"]} == {"models/net.onnx", "models/restorer.onnx"}
    assert all(f["check"] == "pass-time" and f["value"] > 0 for f in times["figures"])
    assert set(times["evidence"]) == EVIDENCE - {"audit.times.json"}
    assert not [r for r in everything.rows if r["check"] == "pass-time"]


def test_edges_stand_beside_every_explanation(everything: Audit) -> None:
    methods = {e["check"]: e["method"] for e in everything.json["entries"] if e["method"]}
    assert methods["pointing"] == "grad-cam" and methods["pointing, edges"] == "edges"
    assert {name for name in MEASURES if "method" in MEASURES[name].needs} == {
        name for name in methods if not name.endswith(", edges")
    }


def test_a_slice_is_judged_on_its_own_pictures(everything: Audit) -> None:
    whole, cats = (everything.entry("accuracy", slice=s, model="models/net.onnx") for s in ("", "cats"))
    assert (whole["count"], cats["count"]) == (2, 2)  # the first two pictures are cats
    assert cats["figure"] == np.mean(
        [v for k, v in everything.values("accuracy", model="models/net.onnx").items()]
    )


# values that something else computes


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Measures of a network of two matrices."""
    folder = saved(tmp_path_factory.mktemp("computed"), net=dense().proto())
    names = ("residual-norm", "residual-share", "largest-gain", "noise-gain", "map-change", "fgsm-flips")
    checks: dict[str, Any] = {name: {"measure": name, "observe_only": True} for name in names}
    checks["far"] = {"measure": "fgsm-flips", "settings": {"levels": 60}, "observe_only": True}
    for name in ("dead-units", "accuracy", "ledger-completeness", "parameters", "nodes", "opset", "proofs"):
        checks[name] = {"measure": name, "observe_only": True}
    checks["allowed"] = {
        "measure": "other-operators",
        "settings": {"allowed": ["Gemm", "Flatten"], "forbidden": ["Gemm"]},
    }
    more = {"seed": 5, "slices": {"cats": {"pictures": ["cat*"]}, "dogs": {"labels": ["dog"]}}}
    return audit(folder, stated(checks, **LABELS, **more))


NET = dense()


def seen(found: Audit) -> dict[str, np.ndarray]:
    return {
        f"{name}.png": audits.values(found.folder.parent / "seen" / f"{name}.png") for name in audits.PICTURES
    }


def test_norms_and_gains_are_those_of_the_matrices(computed: Audit) -> None:
    probes = np.random.default_rng(5).standard_normal((8, 192)).astype(np.float32).astype(np.float64)
    for name, x in seen(computed).items():
        matrix, y = NET.map(x), NET.scores(x)
        rest = y - matrix @ x
        assert computed.values("residual-norm")[name] == pytest.approx(
            np.linalg.norm(rest) / np.linalg.norm(y), rel=1e-4
        )
        best = int(y.argmax())
        share = abs(rest[best]) / (abs(rest[best]) + abs(matrix[best] @ x))
        assert computed.values("residual-share")[name] == pytest.approx(share, rel=1e-3)
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert computed.values("largest-gain")[name] == pytest.approx(largest, rel=1e-3)
        gain = np.linalg.norm(probes @ matrix.T) / np.linalg.norm(probes)
        assert computed.values("noise-gain")[name] == pytest.approx(gain, rel=1e-5)


def test_how_far_the_map_changes_is_that_of_the_matrices(computed: Audit) -> None:
    probes = np.random.default_rng(5).standard_normal((8, 192)).astype(np.float32).astype(np.float64)
    known = seen(computed)
    names = [*known]
    maps = [NET.map(x) for x in known.values()]
    for k, name in enumerate(names):
        here, there = probes @ maps[k].T, probes @ maps[(k + 1) % len(maps)].T
        change = np.linalg.norm(here - there) / np.linalg.norm(here)
        assert computed.values("map-change")[name] == pytest.approx(change, rel=1e-4)
    assert max(computed.values("map-change").values()) > 0.1


@pytest.mark.parametrize(("check", "levels"), [("fgsm-flips", 1), ("far", 60)])
def test_an_attack_flips_what_one_step_against_the_row_flips(
    check: str, levels: int, computed: Audit
) -> None:
    flips = {}
    for name, x in seen(computed).items():
        best = int(NET.scores(x).argmax())
        attacked = x - levels / 255 * np.sign(NET.map(x)[best])
        flips[name] = float(int(NET.scores(attacked).argmax()) != best)
    assert computed.values(check) == flips
    assert (check == "far") == any(flips.values())


def test_accuracy_and_dead_units_are_counted(computed: Audit) -> None:
    known = seen(computed)
    right = {n: float(audits.KINDS[NET.scores(x).argmax()] == n.partition("_")[0]) for n, x in known.items()}
    assert computed.values("accuracy") == right
    assert computed.entry("accuracy")["figure"] == pytest.approx(np.mean([*right.values()]))
    alive = np.any([NET.inner(x) > 0 for x in known.values()], 0)
    dead = computed.entry("dead-units")
    assert not alive[2] and dead["figure"] == pytest.approx((~alive).mean())
    assert dead["layer"] == "relu" and dead["note"].startswith(f"{(~alive).sum()} of 7 channels")


def test_facts_of_the_file_are_counted(computed: Audit) -> None:
    assert computed.entry("parameters")["figure"] == 7 * 192 + 7 + 3 * 7 + 3
    assert (computed.entry("nodes")["figure"], computed.entry("opset")["figure"]) == (4, 18)
    wrong = computed.entry("allowed")
    assert (wrong["figure"], wrong["outcome"]) == (2, FAIL) and "Gemm, Relu" in wrong["note"]


def test_ledgers_are_complete_and_proofs_hold(computed: Audit) -> None:
    assert max(computed.values("ledger-completeness").values()) <= 1
    proofs = [e for e in computed.json["entries"] if e["measure"] == "proofs"]
    assert len(proofs) >= 4 and all(e["outcome"] == PASS and e["allowed"] == 0 for e in proofs)


def test_slices_hold_the_pictures_that_their_patterns_and_labels_name(computed: Audit) -> None:
    found = computed.values("noise-gain")
    cats, dogs = (computed.entry("noise-gain", slice=s) for s in ("cats", "dogs"))
    assert (cats["count"], dogs["count"]) == (2, 1)
    assert cats["figure"] == pytest.approx(np.mean([found["cat_0.png"], found["cat_1.png"]]))
    assert dogs["figure"] == found["dog_0.png"]


def test_a_receptive_field_is_that_of_the_convolutions(tmp_path: Path) -> None:
    """Two convolutions of 3×3 see 5×5 pixels, and the object has 4×6."""
    ones = np.ones((2, 3, 3, 3), np.float32)
    nodes = [
        node("Conv", ["image", "w1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=[1] * 4),
        node("Conv", ["c1", "w2"], ["c2"], name="conv2", kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], name="relu2"),
        node("GlobalAveragePool", ["r2"], ["p"], name="mean"),
        node("Flatten", ["p"], ["scores"], name="flat"),
    ]
    weights = {"w1": ones, "w2": ones[:, :2]}
    proto = model(nodes, {"image": np.zeros(audits.SHAPE, np.float32)}, ["scores"], weights=weights)
    checks = {"sees": {"measure": "receptive-field", "least": 1, "pictures": 1}}
    found = audit(saved(tmp_path, net=proto), stated(checks))
    sees = found.entry("sees")
    assert sees["figure"] == pytest.approx(min(5 / 4, 5 / 6)) and sees["note"].endswith("; 5x5 pixels")
    assert sees["outcome"] == FAIL and found.code == 1


def test_sizes_are_those_of_the_files_and_ratios_those_of_both(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=classifier(), other=restorer())
    onnx.save(
        classifier(),
        folder / "models" / "net.onnx",
        save_as_external_data=True,
        location="net.data",
        size_threshold=64,
    )
    checks = {
        "size": SIZE,
        "ratio": {**SIZE, "baseline": "b"},
        "external": {"measure": "external-data", "most": 1},
    }
    baselines = {"b": {"model": "models/other.onnx"}}
    found = audit(folder, stated(checks, baselines=baselines))
    own = (folder / "models" / "net.onnx").stat().st_size
    tensors = onnx.load(folder / "models" / "net.onnx", load_external_data=False).graph.initializer
    data = sum(int(e.value) for t in tensors for e in t.external_data if e.key == "length")
    assert found.entry("size")["figure"] == own + data
    assert found.entry("ratio")["figure"] == (own + data) / (folder / "models" / "other.onnx").stat().st_size
    assert found.entry("external")["figure"] == 1
    (subject,) = found.json["subjects"]
    assert set(subject["files"]) == {"models/net.onnx", "models/net.data"} and all(subject["files"].values())


# what is left behind


def test_all_evidence_is_written_and_json_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, net=classifier())
    checks = {"size": SIZE, "right": RIGHT, "gain": {"measure": "noise-gain", "most": 100}}
    first = audit(folder, stated(checks, **LABELS), "--json")
    assert capsys.readouterr().out.encode() == first.read("audit.json")
    assert {p.name for p in first.folder.iterdir()} == EVIDENCE and first.code == 0
    assert first.json["verdict"] == PASS and not first.json["stops"]
    further = first.json["further"]
    assert set(further) == {"masks of seen", "seen/labels.txt"} and all(
        len(d) == 64 for d in further.values()
    )
    again = audit(folder, stated(checks, **LABELS), "--workers", "2", out="again")
    assert again.repeatable() == first.repeatable()
    said = capsys.readouterr().out
    assert said.startswith("pass: 4 pass\nwritten ") and "audit.times.json" in said


def test_figures_are_compared_with_an_earlier_report(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=dense().proto())
    first = audit(folder, stated({"gain": {"measure": "noise-gain", "most": 100}}), out="before")
    figure = first.entry("gain")["figure"]
    report = json.loads(first.read("audit.json"))
    baselines = {"before": {"report": "before/audit.json"}}
    for by, factor, outcome in ((0.0, 1, PASS), (0.01, 0.5, FAIL), (0.01, 2, PASS)):
        report["entries"][-1]["figure"] = figure * factor
        (first.folder / "audit.json").write_text(json.dumps(report), encoding="utf-8")
        check = {"measure": "noise-gain", "worse_by": by, "baseline": "before", "pictures": 3}
        entry = audit(folder, stated({"gain": check}, baselines=baselines)).entry("gain")
        assert entry["outcome"] in ((outcome,) if factor != 1 else (PASS, INVESTIGATE))
        assert entry["earlier"] == pytest.approx(figure * factor)


def test_labels_come_from_a_table(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=dense().proto())
    best = {n: int(NET.scores(audits.values(folder / "seen" / f"{n}.png")).argmax()) for n in audits.PICTURES}
    table = [f"{n}.png,{best[n] if k else audits.KINDS[best[n] - 1]}" for k, n in enumerate(best)]
    (folder / "truth.csv").write_text("\n".join(["picture,label", *table]), encoding="utf-8")
    found = audit(
        folder,
        stated({"right": {**RIGHT, "least": 0.9}}, group=LABELS["group"], images={"labels": "truth.csv"}),
    )
    assert [*found.values("right").values()] == [0, 1, 1]  # the others are named by their numbers
    assert "truth.csv" in found.json["further"]
    assert found.entry("right")["outcome"] in (FAIL, INVESTIGATE)


# faults that were put in

FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {  # what is changed, and the layers that may be named
    "epsilon": ({"epsilon": 0.1}, {"norm1"}),
    "weight": ({"w2": audits.drawn(8, 6, 3, 3, seed=22)}, {"conv2"}),
    "pads": ({"pads": [0, 0, 2, 2]}, {"conv1"}),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    protos = {name: classifier(**changes) for name, (changes, _) in FAULTS.items()}
    folder = saved(tmp_path_factory.mktemp("faulty"), sound=classifier(), same=classifier(), **protos)
    checks = {
        "layer": {"measure": "wrong-layer", "baseline": "sound", "means": "It is another network."},
        "flips": {"measure": "flips", "baseline": "sound", "most": 0},
        "far": {"measure": "difference", "baseline": "sound", "most": 1e-4, "observe_only": True},
    }
    names = [f"{name}.onnx" for name in ("same", *FAULTS)]
    return audit(folder, stated(checks, names, baselines={"sound": {"model": "models/sound.onnx"}}))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_with_the_check_and_the_layer_named(fault: str, faulty: Audit) -> None:
    name, layers = f"models/{fault}.onnx", FAULTS[fault][1]
    entry = faulty.entry("layer", model=name)
    assert (entry["outcome"], entry["figure"]) == (FAIL, 0) and entry["layer"] in layers, entry
    assert (faulty.code, faulty.json["verdict"]) == (1, FAIL)
    suites = ElementTree.fromstring(faulty.read("audit.junit.xml"))
    (suite,) = (s for s in suites if s.get("name") == name)
    (failure,) = (f for case in suite.iter("testcase") if case.get("name") == "layer (seen)" for f in case)
    said = f"{failure.get('message')} {failure.text}"
    assert failure.tag == "failure" and f"layer {entry['layer']}" in said and "It is another network." in said


def test_a_sound_model_passes_against_its_baseline(faulty: Audit) -> None:
    mine = [e for e in faulty.json["entries"] if e["model"] == "models/same.onnx"]
    assert {e["outcome"] for e in mine} == {PASS}


# models that cannot be opened


def test_models_that_cannot_be_opened_fail_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = {"crash": classifier(), "late": classifier()}
    folder = saved(tmp_path, net=classifier(), **crashing)
    whole = (folder / "models" / "net.onnx").read_bytes()
    (folder / "models" / "torn.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "models" / "text.onnx").write_text("no model", encoding="utf-8")
    (folder / "models" / "gone.onnx").symlink_to(folder / "nowhere.onnx")
    strange = model(
        [node("Strange", ["image"], ["y"], domain="elsewhere")],
        {"image": np.zeros(audits.SHAPE, np.float32)},
        ["y"],
    )
    strange.opset_import.append(onnx.helper.make_opsetid("elsewhere", 1))
    onnx.save(strange, folder / "models" / "strange.onnx")
    monkeypatch.setattr(answers, "JOB", "audit_jobs:Ending")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]))
    found = audit(folder, stated({"size": SIZE, "right": RIGHT}, ["*.onnx"], **LABELS))
    failed = {
        e["model"].removeprefix("models/"): e
        for e in found.json["entries"]
        if e["check"] == OPENS and e["outcome"] == FAIL
    }
    assert set(failed) == {f"{n}.onnx" for n in ("torn", "text", "gone", "crash", "late", "strange")}
    for name, words in {
        "torn.onnx": "protobuf",
        "text.onnx": "protobuf",
        "gone.onnx": "cannot be read (No such file or directory)",
        "crash.onnx": "its process crashed (SIGSEGV); treat the model as harmful",
        "late.onnx": "cat_0.png: its process was killed",
        "strange.onnx": "Strange",
    }.items():
        assert words in failed[name]["note"], failed[name]["note"]
        assert (failed[name]["figure"] == 0) == (name != "late.onnx")
    rest = [e for e in found.json["entries"] if e["model"] == "models/net.onnx"]
    assert {e["outcome"] for e in rest} == {PASS} and len(rest) == 3
    assert found.entry("size", model="models/strange.onnx")["outcome"] == PASS  # a fact of the file
    unjudged = found.entry("right", model="models/crash.onnx")
    assert unjudged["outcome"] == INVESTIGATE and "SIGSEGV" in unjudged["note"]
    late = [r for r in found.rows if r["model"] == "models/late.onnx" and r["picture"] == "cat_0.png"]
    assert late[0]["value"] is None and "its process was killed" in late[0]["note"]
    assert found.code == 1 and {s["name"] for s in found.json["subjects"]} >= {"models/crash.onnx"}
    suites = ElementTree.fromstring(found.read("audit.junit.xml"))
    assert {s.get("name") for s in suites if s.get("failures") != "0"} == {f"models/{n}" for n in failed}


def test_a_picture_and_a_mask_that_are_damaged_are_not_judged(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=classifier())
    (folder / "seen" / "cat_0.png").write_bytes(b"no picture")
    (folder / "seen" / "cat_1.mask.png").write_bytes(b"no mask")
    checks = {"right": RIGHT, "points": {"measure": "mass-inside", "method": "saliency", "least": 0}}
    found = audit(folder, stated(checks, slices={"large": {"mask_share": {"least": 0.1}}}, **LABELS))
    assert found.entry(OPENS)["outcome"] == PASS
    assert found.values("right")["cat_0.png"] is None and found.values("right")["cat_1.png"] is not None
    assert [k for k, v in found.values("points").items() if v is not None] == ["dog_0.png"]
    assert found.entry("right", slice="large")["count"] == 1
    notes = {r["picture"]: r["note"] for r in found.rows if r["check"] == "points"}
    assert "cat_0.png" in notes["cat_0.png"] and "cat_1.mask.png" in notes["cat_1.png"]


def test_pictures_behind_links_can_be_read(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=classifier())
    for place, name in enumerate(audits.PICTURES):
        store = folder / f"store{place}"
        store.mkdir()
        (folder / "seen" / f"{name}.png").rename(store / "picture.png")
        (folder / "seen" / f"{name}.png").symlink_to(store / "picture.png")
    found = audit(folder, stated({"right": RIGHT}, **LABELS))
    assert found.code == 0 and found.entry("right")["count"] == 3


def test_a_file_of_a_further_input_is_read(tmp_path: Path) -> None:
    shape = np.zeros(audits.SHAPE, np.float32)
    nodes = [
        node("Conv", ["image", "w"], ["c"]),
        node("Flatten", ["c"], ["f"]),
        node("Gemm", ["f", "v", "known"], ["scores"]),
    ]
    weights = {"w": audits.drawn(2, 3, 3, 3, seed=0), "v": audits.drawn(72, 3, seed=1)}
    feeds = {"image": shape, "known": np.zeros((1, 3), np.float32)}
    folder = saved(tmp_path, net=model(nodes, feeds, ["scores"], weights=weights))
    (folder / "elsewhere").mkdir()
    known = np.float32([[0, 100, 0]])
    np.save(folder / "elsewhere" / "known.npy", known)
    group = {"inputs": ["known=elsewhere/known.npy"], "image_input": "image"}
    found = audit(folder, stated({"far": {"measure": "residual-norm", "least": 0}}, group=group))
    for name, rest in found.values("far").items():
        image = audits.values(folder / "seen" / name).reshape(audits.SHAPE).astype(np.float32)
        scores = run(onnx.load(folder / "models" / "net.onnx"), {"image": image, "known": known})["scores"]
        assert rest == pytest.approx(np.linalg.norm(known) / np.linalg.norm(scores), rel=1e-4)


# the first policy


@pytest.mark.parametrize("task", ["scores", "picture"])
def test_a_first_policy_holds(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = classifier() if task == "scores" else restorer()
    folder = saved(tmp_path, net=proto)
    (folder / "models" / "torn.onnx").write_bytes(b"torn")
    file = folder / "first.yaml"
    words = ["audit", str(file), "--workers", "1"]
    assert cli.run([*words, "--init", str(folder / "models"), str(folder / "seen")]) == 0
    text = file.read_text(encoding="utf-8")
    policy = yaml.safe_load(text)
    assert "# models/torn.onnx is left out: it cannot be opened." in text
    assert policy["models"] == {
        task: {"files": ["models/net.onnx"], **({"labels": "seen/labels.txt"} if task == "scores" else {})}
    }
    checks = policy["checks"]
    assert checks["proved"] == {"measure": "proofs", "pictures": 3} and "most" in checks["gain on noise"]
    assert ("accuracy" in checks) == ("attack" in checks) == (task == "scores")
    assert cli.run([*words, "-o", str(folder / "out")]) == 0, capsys.readouterr().out
    assert Audit(0, folder / "out").json["verdict"] == PASS
    assert cli.run([*words, "--init", str(folder / "models"), str(folder / "seen")]) == 2
    assert "is there already; choose another name, or remove it" in capsys.readouterr().err


def test_a_first_policy_needs_a_model_that_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path)
    (folder / "models" / "torn.onnx").write_bytes(b"torn")
    file = folder / "first.yaml"
    words = ["audit", str(file), "--init", str(folder / "models" / "*.onnx"), str(folder / "seen")]
    assert cli.run(words) == 2 and not file.exists()
    assert "none of the models can be opened; see 'onnxscope doctor MODEL'" in capsys.readouterr().err


# engines and kills


@pytest.mark.parametrize("on", ["ray", "dask"])
def test_every_engine_leaves_the_same_rows(on: str, tmp_path: Path) -> None:
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[on], reason=f"{on} is not installed")
    folder = saved(tmp_path, net=dense().proto())
    policy = stated({"gain": {"measure": "noise-gain", "most": 100}, "right": RIGHT}, **LABELS)
    here, there = audit(folder, policy), audit(folder, policy, "--on", on, "--workers", "2", out="there")
    assert there.rows == here.rows and there.json["entries"] == here.json["entries"]


KILLED = """
import os, sys
from onnxscope.cli import main as cli
from onnxscope.work import journal

def add(self, key, answer, kept=journal.Journal.add, left=[int(sys.argv[1])]):
    left[0] -= 1
    if left[0] < 0:
        self._file.write(b'["torn')
        self._file.flush()
        os.kill(os.getpid(), 9)
    kept(self, key, answer)

journal.Journal.add = add
cli.run(sys.argv[2:])
"""


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    folder = saved(tmp_path, net=dense().proto(), other=classifier())
    checks = {
        "size": SIZE,
        "gain": {"measure": "noise-gain", "most": 100},
        "dead": {"measure": "dead-units", "most": 1},
    }
    policy = stated(checks, ["*.onnx"])
    whole = audit(folder, policy)
    words = ["audit", str(folder / "policy.json"), "--workers", "1", "-o", str(folder / "killed")]
    journal = folder / "killed" / ".audit.journal"
    for answers_more, lines in ((0, 1), (2, 3), (3, 6)):
        done = subprocess.run([sys.executable, "-c", KILLED, str(answers_more), *words], capture_output=True)
        assert done.returncode == -9, done.stderr.decode()
        assert [p.name for p in journal.parent.iterdir()] == [journal.name]
        kept = journal.read_bytes().split(b"\n")
        assert len(kept) - 1 == lines and kept[-1] == b'["torn'
    found = audit(folder, policy, out="killed")
    assert found.repeatable() == whole.repeatable() and found.code == whole.code


@pytest.mark.parametrize("changed", ["external data", "mask", "baseline"])
def test_what_changed_since_a_kill_is_not_taken_from_the_journal(changed: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, other=classifier())
    place, other = folder / "models" / "net.onnx", audits.drawn(8, 6, 3, 3, seed=22)
    kwargs: dict[str, Any] = {"save_as_external_data": True, "location": "net.data", "size_threshold": 64}
    onnx.save(classifier(), place, **kwargs)
    checks = {
        "points": {"measure": "mass-inside", "method": "saliency", "least": 0},
        "far": {"measure": "difference", "baseline": "other", "most": 9},
    }
    policy = stated(checks, baselines={"other": {"model": "models/other.onnx"}}, images={"count": 2})
    (folder / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    words = ["audit", str(folder / "policy.json"), "--workers", "1", "-o", str(folder / "killed")]
    done = subprocess.run([sys.executable, "-c", KILLED, "2", *words], capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    if changed == "external data":
        before = place.read_bytes()
        place.with_name("net.data").unlink()
        onnx.save(classifier(w2=other), place, **kwargs)
        assert place.read_bytes() == before
    elif changed == "mask":
        corner = Image.fromarray(np.eye(audits.SIDE, dtype=np.uint8) * 255)
        corner.save(folder / "seen" / "cat_0.mask.png")
    else:
        onnx.save(classifier(w2=other), folder / "models" / "other.onnx")
    found, anew = (audit(folder, policy, out=out) for out in ("killed", "anew"))
    assert found.repeatable() == anew.repeatable()


def test_an_engine_that_is_not_there_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, net=classifier())
    assert audit(folder, stated({"size": SIZE}), "--on", "spark").code == 2
    assert "--on: there is no engine 'spark'" in capsys.readouterr().err and not (folder / "out").exists()


def test_a_baseline_that_lacks_a_model_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path, net=classifier(), one=classifier(), two=classifier())
    policy = stated(
        {"layer": {"measure": "wrong-layer", "baseline": "b"}}, baselines={"b": {"model": "models/*o*.onnx"}}
    )
    assert audit(folder, policy).code == 2 and not (folder / "out").exists()
    assert (
        "baselines.b.model: there is no such model for 'models/net.onnx'; correct" in capsys.readouterr().err
    )


def test_a_process_has_the_memory_that_python_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["audit", str(tmp_path / "policy.yaml"), "--memory", "100MB"]) == 2
    assert "--memory: a process needs 300 MB before it opens a model; give it more" in capsys.readouterr().err
