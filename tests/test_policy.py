"""Policies: every key of the schema, what is refused with which words, and files that are no policies."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from PIL import Image

from onnxscope.audit import schema
from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.parsing import MOST_BYTES
from onnxscope.audit.policy import Policy, read
from onnxscope.cli import main as cli
from onnxscope.errors import BadOption

JUDGE = jsonschema.Draft202012Validator(schema.POLICY)
SIZE = {"measure": "bytes", "most": 1e6}
RIGHT = {"measure": "accuracy", "least": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Models, pictures with labels, and an earlier report. Policies are read without opening models."""
    for name in ("a.onnx", "b.onnx", "c[1].onnx", "labels.txt", "known.npy"):
        (tmp_path / name).touch()
    (tmp_path / "report.json").write_text('{"entries": []}', encoding="utf-8")
    (tmp_path / "seen").mkdir()
    for name in ("big-dog-1.png", "big_dog-2.png", "cat_1.png", "cat.png", "cat.mask.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "seen" / name)
    (tmp_path / "truth.csv").write_text("picture,label\ncat.png,cat\ncat_1.png,dog\nmore.png,x\n")
    return tmp_path


def stated(**changes: Any) -> dict[str, Any]:
    """A policy with one check, and these keys in place of its own."""
    found = {
        "models": {"all": {"files": ["*.onnx"]}},
        "images": {"seen": {"folder": "seen"}},
        "checks": {"size": SIZE},
    }
    return {**found, **changes}


def given(folder: Path, policy: Any, name: str = "policy.yaml") -> Policy:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    (folder / name).write_text(text, encoding="utf-8")
    return read(folder / name)


def refusal(folder: Path, policy: Any, name: str = "policy.yaml") -> str:
    with pytest.raises(BadOption) as error:
        given(folder, policy, name)
    said = str(error.value)
    assert "\n" not in said and said.startswith(f"'{folder / name}': ")
    return said.removeprefix(f"'{folder / name}': ")


# what a policy means


def test_a_policy_with_every_key(folder: Path) -> None:
    text = """
name: All of it
seed: 3
stops_on: [fail]
questions: ["class:dog", "class:cat"]
models:
  first:
    files: [a.onnx, "b*"]
    except: [b.onnx]
    images: [seen]
    labels: labels.txt
    preset: imagenet
    layout: nhwc
    task: scores
    image_input: image
    output: scores
    input_shape: {image: [1, 3, 8, 8]}
    inputs: [known=known.npy, other=0.5, "many=1,2e-3"]
    opaque: [Softmax]
  second: {files: [./b.onnx], images: []}
images:
  seen: {folder: seen, files: ["*_1.png", "cat.*"], count: 2, labels: truth.csv}
slices:
  cats: {pictures: ["cat*"], labels: [cat, dog], mask_share: {least: 0.1, most: 5e-1}}
baselines:
  float: {model: "*.onnx"}
  before: {report: report.json}
checks:
  size: {measure: bytes, most: 1e+6, level: note, means: It does not fit., models: [second]}
  right: {measure: accuracy, least: .5, hold: 0.9, images: [seen], pictures: 1, slices: [cats]}
  worse: {measure: accuracy, worse_by: 1e-2, baseline: before, of: median}
  gain: {measure: fgsm-flips, settings: {levels: 2}, observe_only: true}
  better: {measure: insertion, method: grad-cam, than: edges, least: 0}
  maps: {measure: agreement, settings: {methods: [saliency, votes]}, least: 0}
  asked: {measure: residual-share, question: "class:cat", most: 1}
  ledger: {measure: ledger-completeness}
  drawn: {measure: pointing, method: saliency, least: 0.5}
  layer: {measure: wrong-layer, baseline: float}
  ops: {measure: other-operators, settings: {forbidden: [If], allowed: [Conv]}}
"""
    policy = given(folder, text)
    assert (policy.name, policy.seed, policy.stops_on) == ("All of it", 3, ["fail"])
    first, second = policy.groups.values()
    assert [f.name for f in first.files] == ["a.onnx"] and [f.name for f in second.files] == ["b.onnx"]
    assert first.given == {
        "labels": str(folder / "labels.txt"),
        "preset": "imagenet",
        "layout": "nhwc",
        "task": "scores",
        "image_input": "image",
        "output": "scores",
        "input_shape": {"image": [1, 3, 8, 8]},
        "inputs": [f"known={folder / 'known.npy'}", "other=0.5", "many=1,2e-3"],
        "opaque": ["Softmax"],
    }
    seen = policy.sets["seen"]
    assert [p.name for p in seen.files] == ["cat.png", "cat_1.png"]
    assert seen.labels == {"cat.png": "cat", "cat_1.png": "dog"}
    cats = policy.slices["cats"]
    assert cats.holds("cat.png", "cat", 0.5) and not cats.holds("cat.png", "cat", 0.51)
    assert not cats.holds("cat.png", "cat", None) and not cats.holds("cat.png", "", 0.2)
    assert not cats.holds("dog.png", "dog", 0.2)
    checks = {c.name: c for c in policy.checks}
    assert [*checks] == [
        *("size", "right", "worse", "gain", "better", "maps", "asked"),
        *("ledger: class:dog", "ledger: class:cat", "drawn", "drawn, edges"),
        *("layer: class:dog", "layer: class:cat", "ops"),
    ]
    assert checks["size"].most == 1e6 and checks["size"].level == "note" and not checks["size"].higher
    assert checks["right"].hold == 0.9 and checks["right"].higher
    assert checks["worse"].worse_by == 0.01 and checks["worse"].hold is None
    assert checks["better"].higher and checks["better"].than == "edges"
    assert checks["ledger: class:dog"].question == "class:dog" and checks["ledger: class:dog"].hold == 1
    assert checks["drawn, edges"].observe_only and checks["drawn, edges"].method == "edges"
    assert checks["layer: class:cat"].most == 0 and checks["layer: class:cat"].least is None
    assert [(group, f.name) for group, f, _ in policy.models()] == [("first", "a.onnx"), ("second", "b.onnx")]


def test_what_is_left_out_has_a_default(folder: Path) -> None:
    policy = given(folder, stated(checks={"all": {"measure": "proofs"}}), "release.yaml")
    assert (policy.name, policy.seed, policy.stops_on) == ("release", 0, ["fail", "investigate"])
    assert [f.name for f in policy.groups["all"].files] == ["a.onnx", "b.onnx", "c[1].onnx"]
    assert policy.groups["all"].images == ["seen"] and not policy.sets["seen"].labels
    (check,) = policy.checks
    assert (check.hold, check.most, check.least, check.of) == (1, 1, None, "mean")


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(folder: Path) -> None:
    policy = given(folder, stated(models={"one": {"files": ["c[1].onnx"]}}))
    assert [f.name for f in policy.groups["one"].files] == ["c[1].onnx"]


def test_labels_by_name_are_all_before_the_last_dash_or_underscore(folder: Path) -> None:
    policy = given(folder, stated(images={"seen": {"folder": "seen", "labels": "names"}}))
    assert policy.sets["seen"].labels == {
        "big-dog-1.png": "big-dog",
        "big_dog-2.png": "big_dog",
        "cat.png": "cat",
        "cat_1.png": "cat",
    }


def test_a_model_of_two_groups_is_refused(folder: Path) -> None:
    groups = {"one": {"files": ["a.onnx"]}, "two": {"files": [f"../{folder.name}/a.onnx"]}}
    with pytest.raises(BadOption, match=r"models.two: 'a.onnx' is in two groups; leave it out of one"):
        given(folder, stated(models=groups)).models()


# what is refused

REFUSED = {  # what is changed of a policy: which words refuse it
    "no mapping": ([], "must be a mapping, not []; see 'onnxscope audit --schema'"),
    "nothing": (None, "must be a mapping, not None"),
    "no models": ({"checks": {"size": SIZE}}, "'models' is missing"),
    "no checks": ({"models": {"all": {"files": ["a.onnx"]}}}, "'checks' is missing"),
    "empty models": (stated(models={}), "models: must not be empty"),
    "empty checks": (stated(checks={}), "checks: must not be empty"),
    "empty name": (stated(checks={"": SIZE}), "checks: a name must not be empty"),
    "key": (stated(chekcs=1), "chekcs: there is no such key; did you mean 'checks'? The names here are name, "),
    "key of models": (
        stated(models={"all": {"files": ["a.onnx"], "label": "x"}}),
        "models.all.label: there is no such key; did you mean 'labels'?",
    ),
    "key of images": (
        stated(images={"seen": {"folder": "seen", "cuont": 1}}),
        "images.seen.cuont: there is no such key; did you mean 'count'?",
    ),
    "key of slices": (stated(slices={"s": {"picture": []}}), "slices.s.picture: there is no such key; did you mean"),
    "key of shares": (
        stated(slices={"s": {"mask_share": {"last": 1}}}),
        "slices.s.mask_share.last: there is no such key; did you mean 'least'?",
    ),
    "key of baselines": (stated(baselines={"b": {"modl": "x"}}), "baselines.b.modl: there is no such key; did you"),
    "key of checks": (
        stated(checks={"size": {**SIZE, "observe-only": True}}),
        "checks.size.observe-only: there is no such key; did you mean 'observe_only'?",
    ),
    "key of settings": (
        stated(checks={"x": {"measure": "fgsm-flips", "most": 1, "settings": {"level": 2}}}),
        "checks.x.settings.level: there is no such key; did you mean 'levels'?",
    ),
    "setting of another measure": (
        stated(checks={"x": {"measure": "fgsm-flips", "most": 1, "settings": {"tolerance": 0.1}}}),
        "checks.x.settings: 'fgsm-flips' has no setting 'tolerance'; The names here are levels",
    ),
    "measure": (
        stated(checks={"x": {"measure": "acuracy", "least": 1}}),
        "checks.x.measure: there is no 'acuracy'; did you mean 'accuracy'?",
    ),
    "no measure": (stated(checks={"x": {"least": 1}}), "checks.x: 'measure' is missing"),
    "method": (
        stated(checks={"x": {"measure": "pointing", "method": "gradcam", "least": 1}}),
        "checks.x.method: there is no 'gradcam'; did you mean 'grad-cam'?",
    ),
    "than": (
        stated(checks={"x": {"measure": "pointing", "method": "grad-cam", "than": "edge", "least": 1}}),
        "checks.x.than: there is no 'edge'; did you mean 'edges'?",
    ),
    "methods": (
        stated(checks={"x": {"measure": "agreement", "least": 0, "settings": {"methods": ["lrp", "vote"]}}}),
        "checks.x.settings.methods[0]: there is no 'lrp'; did you mean ",
    ),
    "one method": (
        stated(checks={"x": {"measure": "agreement", "least": 0, "settings": {"methods": ["votes"]}}}),
        "checks.x.settings.methods: must have at least 2 values",
    ),
    "level": (
        stated(checks={"x": {**SIZE, "level": "warn"}}),
        "checks.x.level: there is no 'warn'; did you mean 'warning'?",
    ),
    "statistic": (stated(checks={"x": {**SIZE, "of": "max"}}), "checks.x.of: there is no 'max'; "),
    "stops on pass": (stated(stops_on=["pass"]), "stops_on[0]: there is no 'pass'; "),
    "preset": (
        stated(models={"all": {"files": ["a.onnx"], "preset": "imagnet"}}),
        "models.all.preset: there is no 'imagnet'; did you mean 'imagenet'?",
    ),
    "layout": (stated(models={"all": {"files": ["a.onnx"], "layout": "chw"}}), "models.all.layout: there is no 'chw'"),
    "task": (
        stated(models={"all": {"files": ["a.onnx"], "task": "score"}}),
        "models.all.task: there is no 'score'; did you mean 'scores'?",
    ),
    "group": (
        stated(checks={"x": {**SIZE, "models": ["al"]}}),
        "checks.x.models: there is no 'al'; did you mean 'all'? The names here are all",
    ),
    "set of a check": (stated(checks={"x": {**RIGHT, "images": ["sen"]}}), "checks.x.images: there is no 'sen'; did you"),
    "set of models": (
        stated(models={"all": {"files": ["a.onnx"], "images": ["sen"]}}),
        "models.all.images: there is no 'sen'; did you mean 'seen'?",
    ),
    "slice": (
        stated(checks={"x": {**RIGHT, "slices": ["s"]}}),
        "checks.x.slices: there is no 's'; the policy names none",
    ),
    "baseline": (
        stated(checks={"x": {"measure": "flips", "baseline": "b", "most": 0}}),
        "checks.x.baseline: there is no 'b'; the policy names none",
    ),
    "text for a number": (stated(checks={"x": {**SIZE, "most": "1"}}), "checks.x.most: must be a number, not '1'"),
    "boolean for a number": (stated(checks={"x": {**SIZE, "most": True}}), "checks.x.most: must be a number, not True"),
    "number for a text": (stated(name=3), "name: must be a text, not 3"),
    "text for a list": (stated(models={"all": {"files": "a.onnx"}}), "models.all.files: must be a list, not 'a.onnx'"),
    "number in a list": (stated(models={"all": {"files": ["a.onnx", 1]}}), "models.all.files[1]: must be a text, not 1"),
    "text for a mapping": (stated(checks={"x": "bytes"}), "checks.x: must be a mapping, not 'bytes'"),
    "text for a boolean": (
        stated(checks={"x": {**SIZE, "observe_only": "yes"}}),
        "checks.x.observe_only: must be true or false, not 'yes'",
    ),
    "half a picture": (stated(checks={"x": {**RIGHT, "pictures": 1.5}}), "checks.x.pictures: must be a whole number, not 1.5"),
    "no picture": (stated(checks={"x": {**RIGHT, "pictures": 0}}), "checks.x.pictures: must be at least 1, not 0"),
    "a share over 1": (stated(checks={"x": {**RIGHT, "hold": 95}}), "checks.x.hold: must be at least 0 and at most 1, not 95"),
    "no size": (
        stated(models={"all": {"files": ["a.onnx"], "input_shape": {"image": [1, 0]}}}),
        "models.all.input_shape.image[1]: must be at least 1, not 0",
    ),
    "huge": (stated(checks={"x": {**SIZE, "most": 10**400}}), "checks.x.most: must be a finite number"),
    "no files": (stated(models={"all": {"files": []}}), "models.all.files: must not be empty"),
    "no questions": (stated(questions=[]), "questions: must not be empty"),
    "empty baseline": (stated(baselines={"b": {}}), "baselines.b: must not be empty"),
    "no bound": (
        stated(checks={"x": {"measure": "bytes"}}),
        "checks.x: it has no bound; give 'least' or 'most', or set 'observe_only: true'",
    ),
    "bounds exchanged": (stated(checks={"x": {**SIZE, "least": 2e6}}), "checks.x: 'least' is larger than 'most'"),
    "hold and of": (
        stated(checks={"x": {**RIGHT, "hold": 0.9, "of": "median"}}),
        "checks.x: 'hold' judges each value, and 'of' their figure; leave out one of them",
    ),
    "hold and worse_by": (
        stated(
            baselines={"b": {"report": "report.json"}},
            checks={"x": {"measure": "accuracy", "hold": 0.9, "worse_by": 0.1, "baseline": "b"}},
        ),
        "checks.x: 'hold' judges each value, and 'worse_by' their figure",
    ),
    "no method": (stated(checks={"x": {"measure": "pointing", "least": 1}}), "checks.x: 'pointing' needs 'method'"),
    "method that is not used": (
        stated(checks={"x": {**RIGHT, "method": "grad-cam"}}),
        "checks.x.method: 'accuracy' does not use it; leave it out",
    ),
    "than that is not used": (stated(checks={"x": {**RIGHT, "than": "edges"}}), "checks.x.than: 'accuracy' does not use"),
    "question that is not used": (
        stated(checks={"x": {**RIGHT, "question": "class:dog"}}),
        "checks.x.question: 'accuracy' does not use it",
    ),
    "baseline that is not used": (
        stated(baselines={"b": {"model": "a.onnx"}}, checks={"x": {**RIGHT, "baseline": "b"}}),
        "checks.x.baseline: 'accuracy' does not use it",
    ),
    "report for a model": (
        stated(
            baselines={"b": {"report": "report.json"}},
            checks={"x": {"measure": "flips", "baseline": "b", "most": 0}},
        ),
        "checks.x: 'flips' compares with another model; name a baseline that has a 'model'",
    ),
    "model for a report": (
        stated(baselines={"b": {"model": "a.onnx"}}, checks={"x": {**RIGHT, "worse_by": 0.1, "baseline": "b"}}),
        "checks.x.worse_by: it compares with an earlier report; name a baseline that has a 'report'",
    ),
    "nothing to judge": (
        stated(models={"all": {"files": ["a.onnx"], "images": []}}, checks={"x": RIGHT}),
        "checks.x: 'accuracy' is measured on pictures, and these models have none",
    ),
    "two of a name": (
        stated(
            questions=["a"],
            checks={"x": {"measure": "proofs"}, "y": {"measure": "ledger-completeness"}, "y: a": SIZE},
        ),
        "checks: two checks have the name 'y: a'; give one another name",
    ),
    "no such model": (
        stated(models={"all": {"files": ["a.onnx", "d.onnx"]}}),
        "models.all.files: there is no file 'd.onnx'; correct the path, which starts at the policy's folder",
    ),
    "no such pattern": (stated(models={"all": {"files": ["x/*.onnx"]}}), "models.all.files: there is no file 'x/*.onnx'"),
    "a long path": (stated(models={"all": {"files": ["a" * 9999]}}), "models.all.files: there is no file 'aaa"),
    "a null byte": (stated(models={"all": {"files": ["a\0"]}}), "models.all.files: there is no file 'a"),
    "all left out": (
        stated(models={"all": {"files": ["*.onnx"], "except": ["*"]}}),
        "models.all.except: it leaves out all models",
    ),
    "a folder for a model": (
        stated(models={"all": {"files": ["seen"]}}),
        "models.all.files: 'seen' is a folder; name the models in it, as in seen/*.onnx",
    ),
    "no such labels": (
        stated(models={"all": {"files": ["a.onnx"], "labels": "names.txt"}}),
        "models.all.labels: there is no file 'names.txt'",
    ),
    "no such input": (
        stated(models={"all": {"files": ["a.onnx"], "inputs": ["known=unknown.npy"]}}),
        "models.all.inputs: there is no file 'unknown.npy'",
    ),
    "no such baseline": (stated(baselines={"b": {"model": "x/*.onnx"}}), "baselines.b.model: there is no file 'x/*.onnx'"),
    "no such report": (stated(baselines={"b": {"report": "x.json"}}), "baselines.b.report: there is no file 'x.json'"),
    "no such picture": (
        stated(images={"seen": {"folder": "seen", "files": ["dog*"]}}),
        "images.seen.files: no picture has such a name; correct the patterns",
    ),
    "no such table": (
        stated(images={"seen": {"folder": "seen", "labels": "x.csv"}}),
        "images.seen.labels: 'x.csv' is no table of labels; write a CSV file with the columns picture, label",
    ),
    "another table": (stated(images={"seen": {"folder": "seen", "labels": "report.json"}}), "images.seen.labels: 'report"),
    "a picture without a label": (
        stated(images={"seen": {"folder": "seen", "labels": "truth.csv"}}),
        "images.seen.labels: 'truth.csv' has no label for 'big-dog-1.png'; add it",
    ),
    "an empty slice": (
        stated(slices={"s": {"pictures": ["baot*"]}}),
        "slices.s.pictures: no picture has a name like 'baot*'; correct the pattern",
    ),
    "a label of no picture": (
        stated(
            images={"seen": {"folder": "seen", "labels": "names"}}, slices={"s": {"labels": ["cta"]}}
        ),
        "slices.s.labels: no picture has the label 'cta'; did you mean 'cat'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_that_is_wrong_is_refused_by_name(case: str, folder: Path) -> None:
    policy, words = REFUSED[case]
    said = refusal(folder, policy)
    assert said.startswith(words), said


def test_a_folder_of_pictures_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(BadOption, match=r"gone': cannot be read as a folder \(No such file"):
        given(folder, stated(images={"seen": {"folder": "gone"}}))


@pytest.mark.parametrize("key", sorted(schema.CHECK["properties"]))
def test_every_key_of_a_check_is_a_field_of_it(key: str, folder: Path) -> None:
    policy = given(folder, stated())
    assert hasattr(policy.checks[0], key)


def test_every_setting_of_a_measure_is_in_the_schema() -> None:
    settings = {name for measure in MEASURES.values() for name in measure.settings}
    assert settings == set(schema.SETTINGS["properties"])


# files that are no policies

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
NO_POLICIES = {
    "no YAML": ("models: [a", "line 1: expected"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: "),
    "a tab": ("models:\n\t- a", "line 2: "),
    "an object": (
        "name: !!python/object/apply:os.system [exit 1]",
        "line 1: the tag tag:yaml.org,2002:python/object",
    ),
    "a set": ("name: !!set {a, b}", "line 1: the tag tag:yaml.org,2002:set is not taken"),
    "laughs": (BOMB, "line 2: the alias *a is not taken, write its value out"),
    "a circle": ("a: &a [*a]", "line 1: the alias *a is not taken"),
    "a key twice": ("checks:\n  a: 1\n  a: 2\n", "line 3: the key 'a' stands there twice"),
    "a number for a key": ("checks:\n  1: 2\n", "line 2: a key must be a text"),
    "a list for a key": ("[1]: 2\n", "line 1: a key must be a text"),
    "deep": ("[" * 200_000, "its parts are nested too deeply"),
    "many digits": ("seed: " + "9" * 5000, "Exceeds the limit"),
    "a control character": ("name: \x01", "unacceptable character"),
}


@pytest.mark.parametrize("case", NO_POLICIES)
def test_a_file_that_is_no_policy_is_refused(case: str, folder: Path) -> None:
    text, words = NO_POLICIES[case]
    said = refusal(folder, text)
    assert said.startswith(f"cannot be read as YAML: {words}") and said.endswith("; correct it"), said


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "[" * 100_000, '{"a": tru}'])
def test_json_that_is_damaged_is_refused(text: str, folder: Path) -> None:
    assert refusal(folder, text, "policy.json").startswith("cannot be read as JSON: ")


def test_numbers_that_are_none_are_refused(folder: Path) -> None:
    for text in ("NaN", "Infinity"):
        policy = json.dumps(stated()).replace("1000000.0", text)
        assert refusal(folder, policy, "policy.json").startswith("checks.size.most: must be a finite number")
    assert refusal(
        folder, "checks: {x: {measure: bytes, most: .nan}}\nmodels: {a: {files: [a.onnx]}}"
    ).startswith("checks.x.most: must be a finite number")


def test_a_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "bytes.yaml").write_bytes(b"name: \xff\n")
    (folder / "large.yaml").write_text("#" * (MOST_BYTES + 1), encoding="utf-8")
    for name, words in {
        "none.yaml": r"cannot be read \(No such file or directory\); name a policy",
        "seen": r"cannot be read \(Is a directory\); name a policy",
        "bytes.yaml": r"cannot be read as YAML: 'utf-8' codec can't decode",
        "large.yaml": r"is larger than the 1 MiB that a policy can have; name a policy, and",
    }.items():
        with pytest.raises(BadOption, match=f"{name}': {words}"):
            read(folder / name)


def test_the_same_policy_as_json_and_as_yaml(folder: Path) -> None:
    given_twice = stated(name="same", checks={"size": SIZE, "right": {**RIGHT, "means": "wrong \U0001f600"}})
    (folder / "tabs.json").write_text(json.dumps(given_twice, indent="\t"), encoding="utf-8")
    (folder / "plain.yaml").write_text(yaml.safe_dump(given_twice, sort_keys=False), encoding="utf-8")
    one, other = read(folder / "tabs.json"), read(folder / "plain.yaml")
    assert one.checks == other.checks and one.groups == other.groups and one.name == other.name
    assert one.sha256 != other.sha256


def test_words_are_texts_and_numbers_with_exponents_are_numbers(folder: Path) -> None:
    text = "name: no\nmodels: {all: {files: [a.onnx]}}\nchecks:\n  x: {measure: bytes, most: 1e6, means: 2026-01-01}"
    policy = given(folder, text)
    assert (policy.name, policy.checks[0].most, policy.checks[0].means) == ("no", 1e6, "2026-01-01")


# the schema


def test_the_schema_is_printed_and_is_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", "--schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema.POLICY and printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(printed)


def test_every_part_of_the_schema_is_described() -> None:
    def parts(of: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield place, of
        for name, inside in of.get("properties", {}).items():
            yield from parts(inside, f"{place}.{name}")
        if isinstance(inside := of.get("additionalProperties"), Mapping):
            yield from parts(inside, f"{place}.NAME")

    assert [place for place, part in parts(schema.POLICY, "") if not part.get("description")] == []


# a whole number that is written as 3.0 is not among them: JSON Schema takes it for one, and we do not
JUNK = [
    None,
    True,
    0,
    -1,
    3,
    0.5,
    1e9 + 0.5,
    "",
    "fail",
    "accuracy",
    [],
    ["x"],
    [1],
    {},
    {"x": 1},
    {"": {}},
    {"files": [""]},
]


def good(of: Mapping[str, Any], draw: random.Random) -> Any:
    """A value that fits a part of the schema."""
    if "enum" in of:
        return draw.choice(of["enum"])
    kind = of["type"]
    if kind in ("number", "integer"):
        low = of.get("minimum", -5)
        value = draw.uniform(low, of.get("maximum", low + 9))
        return value if kind == "number" else int(value) + (value > low)
    if kind == "array":
        return [good(of["items"], draw) for _ in range(of.get("minItems", 0) + draw.randrange(2))]
    if kind == "object":
        known, others = of.get("properties", {}), of.get("additionalProperties")
        chosen = {k: v for k, v in known.items() if k in of["required"] or draw.random() < 0.4}
        if others is not False:
            chosen |= dict.fromkeys(
                draw.sample("abc", of.get("minProperties", 0) + draw.randrange(2)), others
            )
        elif len(chosen) < of.get("minProperties", 0):
            chosen = known
        return {name: good(inside, draw) for name, inside in chosen.items()}
    return draw.choice([True, False]) if kind == "boolean" else draw.choice(["a", "", "dog *"])


def spoilt(value: Any, draw: random.Random) -> Any:
    """The value with one place changed at random, which may fit all the same."""
    inside = isinstance(value, (dict, list)) and value and draw.random() < 0.8
    if not inside:
        return draw.choice(JUNK)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        return [*value[:at], spoilt(value[at], draw), *value[at + 1 :]]
    key, what = draw.choice([*value]), draw.random()
    others = {k: v for k, v in value.items() if k != key}
    if what < 0.1:
        return others
    return {**value, "x": 1} if what < 0.2 else {**others, key: spoilt(value[key], draw)}


@pytest.mark.parametrize("seed", range(4))
def test_our_judgement_is_that_of_the_schema(seed: int) -> None:
    draw, found = random.Random(seed), []
    for k in range(400):
        policy = good(schema.POLICY, draw)
        if k % 2:
            policy = spoilt(policy, draw)
        expected = JUDGE.is_valid(policy)
        try:
            schema.check(policy, schema.POLICY, "", "policy")
            accepted = True
        except BadOption:
            accepted = False
        assert accepted == expected, policy
        found.append(accepted)
    assert all(found[::2]) and 40 < found[1::2].count(False) < 190
