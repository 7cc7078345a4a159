"""Verbs whose work is spread over workers give what they give in one process, and --isolate changes nothing."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forms import Form, made
from PIL import Image

from onnxscope.ask.trials import Trials
from onnxscope.cli import main as cli
from onnxscope.work.journal import Journal

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


def test_an_evaluation_that_was_stopped_goes_on(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the journal is there, the table has the same bytes, and what is there is not repeated."""
    whole = written("evaluate", made("one file"), pictures, tmp_path / "again")
    journals: list[bytes] = []
    remove = Journal.remove
    monkeypatch.setattr(Journal, "remove", lambda j: (journals.append(j.path.read_bytes()), remove(j)))
    written("evaluate", made("one file"), pictures, tmp_path / "again")
    (text,), place = journals, tmp_path / "again" / "found.csv.journal"
    assert text.count(b"\n") == 7  # what it depends on, five pictures, and a file that is none
    measures, measured = Trials.measures, list[str]()
    monkeypatch.setattr(Trials, "measures", lambda *a, **k: (measured.append(a[1]), measures(*a, **k))[1])
    for kept in (0, 1, 3, 5):
        lines = text.splitlines(keepends=True)
        place.write_bytes(b"".join(lines[: 1 + kept]) + lines[1 + kept][:9])
        measured.clear()
        again = written("evaluate", made("one file"), pictures, tmp_path / "again")
        assert again["found.csv"] == whole["found.csv"] and not place.exists()
        unread = 1 if kept < 5 else 0  # the file that is no picture is the fifth
        assert len(measured) == 3 * (6 - kept - unread)  # saliency, edges and chance


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


def test_walls_keep_a_verb_from_files_that_are_not_named(tmp_path: Path) -> None:
    """The same file is read where an argument names it, and is not where none does."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "secret").write_text("secret", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from onnxscope.cli.isolating import isolated\n"
        "def run(_):\n"
        "    try: return len(Path('in/secret').read_text())\n"
        "    except OSError as error: return error.errno\n"
        "sys.exit(isolated(sys.argv[1:], run))"
    )
    codes = []
    for arguments in (["in/secret"], ["--labels=in/secret"], ["elsewhere"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        if "files not limited" in done.stderr:
            pytest.skip(done.stderr)
        codes.append(done.returncode)
    assert codes == [6, 6, errno.EACCES]


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
