"""Verbs whose work is spread over workers give what they give in one process, and --isolate changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forms import Form, made
from PIL import Image

from onnxscope.cli import main as cli

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are those of Linux")
COMMANDS = {
    "evaluate": "evaluate {model} {pictures} --method saliency -o {out}.csv",
    "filter": "filter {model} --image {image} -o {out}.npy",
    "filter rows": "filter {model} --image {image} --side rows -o {out}.zarr",
    "diff": "diff {model} {model} --image {pictures} --rows {out}.rows -o {out}.json",
}
FORMS = ("one file", "external data")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(5):
        levels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3))
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{seed}.png")
    (folder / "3b.png").write_bytes(b"no picture")
    return folder


def written(command: str, form: Form, pictures: Path, out: Path, *more: str) -> dict[str, bytes]:
    """The files that a command writes."""
    out.mkdir(exist_ok=True)
    text = COMMANDS[command].format(model=form.model, image=form.image, pictures=pictures, out=out / "found")
    assert cli.run([*text.split(), *form.options, *more]) == 0
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("command", COMMANDS)
def test_processes_give_what_this_process_gives(
    command: str, kind: str, pictures: Path, tmp_path: Path
) -> None:
    here = written(command, made(kind), pictures, tmp_path / "here")
    there = written(command, made(kind), pictures, tmp_path / "there", "--on", "local", "--workers", "2")
    assert list(here) == list(there)
    for name in here:
        if name.endswith((".csv", ".npy", ".rows")) or "zarr" in name:
            assert here[name] == there[name], name


@pytest.mark.parametrize("command", ["evaluate", "filter"])
def test_a_run_that_was_stopped_goes_on(
    command: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the journal is there."""
    whole = written(command, made("one file"), pictures, tmp_path / "whole")
    kept: list[Path] = []
    unlink = Path.unlink

    def keeping(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(".journal"):
            shutil.copy(path, tmp_path / "journal")
            kept.append(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", keeping)
    written(command, made("one file"), pictures, tmp_path / "again")
    monkeypatch.undo()
    text = (tmp_path / "journal").read_bytes()
    for cut in range(0, len(text), max(1, len(text) // 7)) if command == "evaluate" else ():
        kept[0].write_bytes(text[:cut])
        again = written(command, made("one file"), pictures, tmp_path / "again")
        assert again["found.csv"] == whole["found.csv"] and not kept[0].exists()


ISOLATED = [
    "verify {model}",
    "row {model} --image {image} --pixel 2 -o {out}",
    "ledger {model} --image {image} -o {out}.png",
    "svd {model} --image {image} -k 1 -o {out}",
    "evaluate {model} {pictures} --method saliency -o {out}.csv",
]


@pytest.mark.parametrize("command", ISOLATED)
def test_a_verb_behind_walls_says_and_writes_the_same(command: str, pictures: Path, tmp_path: Path) -> None:
    form, found = made("external data"), {}
    for name, more in (("free", []), ("isolated", ["--isolate"])):
        (tmp_path / name).mkdir()
        places = {"model": form.model, "image": form.image, "pictures": pictures}
        text = command.format(**places, out=tmp_path / name / "found")
        done = shell([*text.split(), *form.options, "--json", *more], tmp_path)
        assert done.returncode == 0 and not done.stderr, done.stderr
        facts = {k: v for k, v in json.loads(done.stdout).items() if k not in ("seconds", "written")}
        found[name] = facts, sorted(p.name for p in (tmp_path / name).iterdir())
    assert found["free"] == found["isolated"]


def test_walls_keep_a_verb_from_other_files(tmp_path: Path) -> None:
    """A link to a picture elsewhere is followed where it is named, and a labels' file only then."""
    form = made("one file")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    command = ["ledger", str(form.model), "--image", str(form.image), "-o", str(tmp_path / "out" / "a.png")]
    named = shell([*command, "--labels", str(tmp_path / "labels.txt"), "--isolate"], tmp_path)
    assert named.returncode == 0, named.stderr
    hidden = shell([*command, f"--labels={tmp_path}/out/../labels.txt", "--isolate"], tmp_path)
    assert hidden.returncode == 0, hidden.stderr  # also a path in another form is named


def test_a_process_that_is_killed_is_told_in_one_line(tmp_path: Path) -> None:
    code = (
        "import os, sys, onnxscope.cli.main as main\n"
        "from onnxscope.cli import isolating\n"
        "isolating.behind_walls = lambda *_: os.kill(os.getpid(), 11)\n"
        "sys.exit(main.run(['verify', 'x.onnx', '--isolate']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == (
        "onnxscope: error: --isolate: its process crashed (SIGSEGV); treat the file as harmful\n"
    )


def shell(arguments: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from onnxscope.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=place)
