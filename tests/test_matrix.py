"""Every verb put to every form of file: each works, or is refused for a reason that holds there.

`REFUSED` names all refusals; whatever it leaves out must work.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from forms import FORMS, Form, made, reasons
from PIL import Image
from support import close

import onnxscope
from onnxscope.ask.metrics.table import METRICS, NAMED_ONLY
from onnxscope.ask.trials import MEASURES
from onnxscope.cli import main as cli
from onnxscope.show import charts

ROUNDED = 1e-2  # of the largest value: what half precision and int8 may be off by between two sessions
EXACT = 1e-3  # of the largest value: what one rounding to half precision may be off by
METHODS = ["saliency", "lrp-composite"]
ASK = "{model} --image {image} -o {out}"
COMMANDS = {  # as they are typed; the options of the form follow
    "rewrite": "rewrite {model} -o {out}.onnx",
    "rewrite --free-size": "rewrite {model} --free-size -o {out}.onnx",
    "rewrite --image": "rewrite {model} --image {image} -o {out}.onnx",
    "doctor": "doctor {model}",
    "doctor --image": "doctor {model} --image {image}",
    "verify": "verify {model}",
    "verify --image": "verify {model} --image {image}",
    "residual": f"residual {ASK}",
    "column": f"column {ASK} --pixel {{pixel}}",
    "row": f"row {ASK} --pixel {{score}}",
    "project": f"project {ASK}",
    "svd": f"svd {ASK} -k 1",
    "filter": f"filter {ASK}.npy",
    "tour": f"tour {ASK}.html -k 1",
    "ledger": f"ledger {ASK}.png",
    "contributions": f"contributions {ASK}",
    "votes": f"votes {ASK}",
    "compare": f"compare {ASK} --method {','.join(METHODS)}",
    "compare grad-cam": f"compare {ASK} --method grad-cam",
    "evaluate": "evaluate {model} {pictures} --method saliency --count 2 -o {out}.csv",
    "evaluate --metric": "evaluate {model} {pictures} --method saliency --count 2 --metric all -o {out}.csv",
    "evaluate --on local": "evaluate {model} {pictures} --method saliency --count 2 --on local --workers 1 -o {out}.csv",
    "filter --on local": f"filter {ASK}.npy --on local --workers 1",
    "diff": "diff {model} {model} --image {image} --fail-above 1 --check 1 --filters 1 --rows {out}.rows -o {out}.html",
    "diff --ask": "diff {model} {model} --image {image} --ask score:0",
    "diff --self": "diff {model} --self --image {image}",
    "diff folder": "diff {model} {model} --image {pictures}",
    "diff folder --on local": "diff {model} {model} --image {pictures} --on local --workers 1",
    "audit": "audit {policy} --workers 1 -o {out}",
}
ASKING = [
    name
    for name, command in COMMANDS.items()
    if "-o" in command and not name.startswith(("rewrite", "audit"))
]
KEYS = {  # the options of forms as keys of a policy
    "--preset": "preset",
    "--image-input": "image_input",
    "--output": "output",
    "--input": "inputs",
    "--input-shape": "input_shape",
}
EVALUATE = "evaluate, evaluate --metric, evaluate --on local"
MAPS = f"votes, compare, compare grad-cam, {EVALUATE}"  # the verbs that make maps of pixels
SCOPES = "own scope, large scope, free scope"
FOLDERS = "diff folder, diff folder --on local"
DIFFS = f"diff, diff --ask, diff --self, {FOLDERS}"
FIXED = [form for form in FORMS if form not in (*SCOPES.split(", "), "free sizes")]
REFUSED = [  # verbs, forms, and what the message says
    (
        f"rewrite, rewrite --image, rewrite --free-size, doctor, doctor --image, {DIFFS}",
        SCOPES,
        r"is a scope already; name the original model$",
    ),
    ("rewrite --free-size", ", ".join(FIXED), r"no input is a single image .* free; leave it out, or export"),
    ("rewrite, doctor, verify", "free sizes", r"its size is free \(1x3xheightxwidth\); fix it with --input-"),
    ("rewrite, doctor, verify", "decides on values", r"'shown' \(If\): its condition .*image.*--image FILE"),
    (EVALUATE, "decides on values", r"'shown' \(If\): its condition would be false for this image"),
    (EVALUATE, "two inputs", r"the model has a further input 'known'"),
    ("votes, compare, compare grad-cam", "batch of 4", r"4x3x12x12.*--input-shape image:1x3x12x12$"),
    (MAPS, "clip", r"1x3x4x8x8.* no picture"),
    ("compare grad-cam", "signal", r"no feature map with rows and columns.*another method$"),
    ("compare grad-cam", "QOperator", r"feature maps .*whole numbers.*another method$"),
    (FOLDERS, "clip", r"holds 2 pictures, and the model takes 4; name a folder with more"),
    ("diff --self", "batch of 4 as 1", r"invalid dimensions for input: image.*--input-shape"),
    ("verify --image", "uint8", r"'pixels' is computed inside .* cannot be given; leave --image out$"),
    (EVALUATE, "uint8", r"'pixels' is a tensor inside .*export "),
    ("audit", SCOPES, r"the scope does not hold the original; verify the model instead$"),
    ("audit", "clip", r"a picture does not fit the model's input of 1x3x4x8x8"),
]
REMEDIES = [  # a form, which of the options that it needs are left out, and what the message names instead
    ("two outputs", ["--output"], "name scores inside it with --output"),
    ("two inputs", ["--input"], "give it with --input known=VALUE"),
]


@dataclass(frozen=True)
class Answer:
    """What a verb printed for one form, and where it wrote."""

    facts: dict[str, Any]
    form: Form
    out: Path

    @cached_property
    def saved(self) -> dict[str, np.ndarray]:
        """The arrays it wrote, once their picture is there and their output is that of the original file."""
        self.written(".npz", ".png")
        arrays = dict(np.load(f"{self.out}.npz"))
        close(arrays["output"].astype(np.float32), self.form.scores, ROUNDED, "output")
        return arrays

    def written(self, *suffixes: str) -> None:
        assert self.facts["written"] == [f"{self.out}{s}" for s in suffixes]
        assert all(Path(path).exists() for path in self.facts["written"])

    def finite(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = self.saved[name]
        assert array.size == math.prod(shape), array.shape
        assert np.isfinite(array).all() and array.any()
        return array

    @property
    def highest(self) -> Any:
        return pytest.approx(float(self.form.scores.max()), rel=ROUNDED)

    @property
    def image(self) -> tuple[int, ...]:
        return self.form.x0.shape

    @property
    def output(self) -> tuple[int, ...]:
        return self.form.scores.shape

    @property
    def pixels(self) -> tuple[int, ...]:
        """Rows and columns of the image."""
        sizes = sorted(self.image[1:], reverse=True)[:2]  # there are fewer channels
        return (self.image[1], self.image[2]) if len(self.image) == 3 else tuple(sizes)


def rewritten(a: Answer) -> None:
    assert a.facts["written"] == f"{a.out}.onnx"
    onnx.checker.check_model(f"{a.out}.onnx", full_check=True)
    assert a.facts["nodes"]["frozen"] and onnxscope.Scope.load(f"{a.out}.onnx").image == a.facts["image"]


def freely_rewritten(a: Answer) -> None:
    rewritten(a)
    assert a.facts["free_sizes"]["multiples_of"] == 2


def diagnosed(a: Answer) -> None:
    assert a.facts["ok"] and not a.facts["problems"] and {s["how"] for s in a.facts["steps"]} >= {"frozen"}


def proved(a: Answer) -> None:
    judged = [c["name"] for c in a.facts["checks"] if c["figure"] is not None]
    assert a.facts["ok"] and {"frozen(x0) = y0", "⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩", "the ledger is complete"} <= {
        *judged
    }


def decomposed(a: Answer) -> None:
    assert a.facts["converged"] == 1 and a.facts["sigma"][0] > 0
    a.finite("u", (1, *a.output)), a.finite("v", (1, *a.image))


def filtered(a: Answer) -> None:
    a.written(".npy")
    assert np.load(f"{a.out}.npy").size == math.prod(a.image) * math.prod(a.output)


def toured(a: Answer) -> None:
    a.written(".html", "")
    assert a.facts["proofs"]["ok"] and abs(a.facts["ledger"]["remainder"]) < EXACT
    about = json.loads((a.out / "tour.json").read_text(encoding="utf-8"))
    assert about["kind"] == "scores" and about["scores"]["values"][0] == a.highest
    assert {"input.png", "output.png", "ledger.png", "eigen-input-1.png"} <= {p.name for p in a.out.iterdir()}


def accounted(a: Answer) -> None:
    a.written(".png")
    f = a.facts
    assert f["score"] == a.highest and f["layers"] and abs(f["remainder"]) < EXACT
    assert f["input"] + sum(one["contribution"] for one in f["layers"]) == pytest.approx(
        f["score"], abs=EXACT
    )


def contributed(a: Answer) -> None:
    first, *_, last = a.facts["tensors"]
    assert a.facts["value"] == a.highest and len(a.facts["tensors"]) > 2 and first["tensor"] != last["tensor"]
    assert all(t["pixels"] + t["bias"] == pytest.approx(a.facts["value"], abs=EXACT) for t in (first, last))
    assert a.saved["map0"].sum() == pytest.approx(first["pixels"], abs=EXACT)


def voted(a: Answer) -> None:
    assert sum(a.facts["votes"].values()) == math.prod(a.pixels) and a.saved["winner"].shape == a.pixels


def compared(a: Answer) -> None:
    assert all(a.finite(name, a.pixels).any() for name in a.facts["methods"])


def evaluated(a: Answer) -> None:
    a.written(".csv", ".png")
    with Path(f"{a.out}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["picture"], r["method"]) for r in rows] == [
        (picture, method) for picture in ("a.png", "b.png") for method in ("saliency", "edges", "chance")
    ]
    assert a.facts["pictures"] == 2 and not a.facts["skipped"] and a.facts["masks"] == 1


def evaluated_by_metrics(a: Answer) -> None:
    """In a quantized network with random weights everything is cut off, so that its map is 0: mprt is None."""
    evaluated(a)
    found = a.facts["methods"]["saliency"]
    assert [name for name in METRICS if name not in NAMED_ONLY] == list(found)[len(MEASURES) :]
    assert {name for name in METRICS if found.get(name) is None} <= {*NAMED_ONLY, "mprt"}


def the_same(a: Answer) -> None:
    f = a.facts
    assert f["same"] and f["first_wrong"] is None and not f["only_a"] and not f["only_b"]
    assert abs(f["difference"]) <= f["noise"] and abs(f["remainder"]) <= f["noise"]
    assert f["matched"] and f["layers"]


def the_same_also_linearly(a: Answer) -> None:
    the_same(a)
    assert a.facts["linear"]["relative"] < EXACT
    assert len(Path(f"{a.out}.rows").read_text(encoding="utf-8").splitlines()) == 2


def hardly_moved(a: Answer) -> None:
    assert a.facts["largest"] < ROUNDED and len(a.facts["settings"]) > 4


def audited(a: Answer) -> None:
    assert a.facts["verdict"] == "pass" and (a.out / "audit.parquet").exists()
    proofs = [e for e in a.facts["entries"] if e["measure"] == "proofs"]
    assert len(proofs) >= 4 and all(e["figure"] == 1 for e in proofs)
    (opened,) = (e for e in a.facts["entries"] if e["check"] == "opens and runs")
    assert opened["count"] == 3  # the model as a whole, and two pictures


CHECKS: dict[str, Callable[[Answer], Any]] = {
    "rewrite": rewritten,
    "rewrite --free-size": freely_rewritten,
    "rewrite --image": rewritten,
    "doctor": diagnosed,
    "doctor --image": diagnosed,
    "verify": proved,
    "verify --image": proved,
    "residual": lambda a: a.finite("residual", a.output),
    "column": lambda a: a.finite("columns", (1, *a.output)),
    "row": lambda a: a.finite("rows", (1, *a.image)),
    "project": lambda a: a.finite("projection", a.output),
    "svd": decomposed,
    "filter": filtered,
    "tour": toured,
    "ledger": accounted,
    "contributions": contributed,
    "votes": voted,
    "compare": compared,
    "compare grad-cam": compared,
    "evaluate": evaluated,
    "evaluate --metric": evaluated_by_metrics,
    "evaluate --on local": evaluated,
    "filter --on local": filtered,
    "diff": the_same_also_linearly,
    "diff --ask": the_same,
    "diff --self": hardly_moved,
    "diff folder": the_same,
    "diff folder --on local": the_same,
    "audit": audited,
}
REASONS = reasons(REFUSED, COMMANDS, FORMS)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of another size than the network's, and a mask of what is on the first."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("a.png", "b.png")):
        levels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3))
        Image.fromarray(levels.astype(np.uint8)).save(folder / name)
    Image.fromarray(np.repeat([255, 0], [160, 160]).reshape(16, 20).astype(np.uint8)).save(
        folder / "a.mask.png"
    )
    return folder


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are drawn with few dots, which takes half the time."""
    monkeypatch.setattr(charts, "DPI", 40)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """An empty folder whose files are gone afterwards, for some are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def policy_for(form: Form, pictures: Path) -> Path:
    """A policy beside the form's model, with its options as keys."""
    words = [*form.options, *form.reading]
    given: dict[str, Any] = {KEYS[k]: v for k, v in zip(words[::2], words[1::2], strict=True)}
    if "inputs" in given:
        given["inputs"] = [given["inputs"]]
    if "input_shape" in given:
        name, _, sizes = given["input_shape"].partition(":")
        given["input_shape"] = {name: [*map(int, sizes.split("x"))]}
    checks = {
        "proved": {"measure": "proofs", "pictures": 1},
        "complete": {"measure": "ledger-completeness"},
        "gain": {"measure": "noise-gain", "most": 1e6},
    }
    policy = {
        "models": {"form": {"files": [form.model.name], **given}},
        "images": {"both": {"folder": str(pictures)}},
        "checks": checks,
    }
    file = form.model.with_suffix(".policy.json")
    file.write_text(json.dumps(policy), encoding="utf-8")
    return file


def arguments(command: str, form: Form, out: Path, pictures: Path) -> list[str]:
    """A command with its places filled, and the options that this form needs."""
    places = vars(form) | {"out": out, "pictures": pictures}
    if command == "audit":
        places["policy"] = policy_for(form, pictures)
        return [*(word.format(**places) for word in COMMANDS[command].split()), "--json"]
    typed = [word.format(**places) for word in COMMANDS[command].split()]
    taken = (command in ASKING or command.startswith("diff")) and not (
        command.startswith("evaluate") and "--input" in form.reading
    )
    return [*typed, *form.options, *(form.reading if taken else ()), "--json"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", FORMS)
def test_command(kind: str, command: str, pictures: Path, out: Path, capsys: Any) -> None:
    asked = arguments(command, made(kind), out / "answer", pictures)
    capsys.readouterr()
    code = cli.run(asked)
    said = capsys.readouterr()
    facts, reason = json.loads(said.out), REASONS.get((command, kind))
    if reason is None:
        assert (code, said.err) == (0, ""), said.err
        CHECKS[command](Answer(facts, made(kind), out / "answer"))
    elif command == "audit":  # which goes on to the next check
        notes = [e["note"] for e in facts["entries"] if e["outcome"] != "pass"]
        assert code == 1 and notes and all(re.search(reason, note) for note in notes)
    else:
        assert code == 2 and said.err == f"onnxscope: error: {facts['error']}\n", (code, said.err)
        assert re.search(reason, facts["error"]) and not list(out.iterdir())


@pytest.mark.parametrize(("kind", "left_out", "remedy"), REMEDIES)
def test_a_refusal_names_the_option_that_helps(
    kind: str, left_out: list[str], remedy: str, pictures: Path, out: Path, capsys: Any
) -> None:
    asked = arguments("ledger", made(kind), out / "answer", pictures)
    for option in left_out:
        del asked[asked.index(option) : asked.index(option) + 2]
    assert cli.run(asked) == 2 and remedy in json.loads(capsys.readouterr().out)["error"]


PEAK = """
import sys
from onnxscope.cli import main as cli
for line in sys.stdin.read().splitlines():
    assert cli.run(line.split("\\t")) == 0, line
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux")
def test_a_file_over_2_gib_takes_little_memory(pictures: Path, out: Path) -> None:
    """Of its table one row is used, and the rest is never held."""
    form = made("over 2 GiB")
    lines = ["\t".join(arguments(c, form, out / "answer", pictures)) for c in ("row", "votes", "verify")]
    env = {**os.environ, "PYTHONPATH": str(Path(onnxscope.__file__).parents[1])}
    child = [sys.executable, "-P", "-c", PEAK]
    done = subprocess.run(child, input="\n".join(lines), capture_output=True, text=True, env=env)
    assert not done.returncode, done.stderr
    assert int(done.stdout.split()[-1]) < 1 << 20  # KiB
