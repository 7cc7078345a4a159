"""Every hostile file is refused in one line, or harmless: with little memory and time, and nothing half written."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import unicodedata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, Case  # the folder of this file is not a package
from makers import png

MEMORY, SECONDS = 4 << 30, 60  # of one case, with all its verbs
UNSEEN = {"Cc", "Cf", "Cs"}
TRACE = "Traceback"


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that have imported what a case needs."""
    pytest.importorskip("resource", reason="this system has no limits for processes")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["onnxscope.cli.main", "onnxscope.api.opening", "onnxscope.show.tour.visit"]
    )
    return context


def limited(folder: Path, lines: list[list[str]]) -> None:
    """Runs these command lines one after the other, and writes what each said, and its exit code, to files."""
    import resource

    from onnxscope.cli import main

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for k, arguments in enumerate(lines):
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.dup2(os.open(folder / f"{k}.{descriptor}", os.O_WRONLY | os.O_CREAT), descriptor)
        code: object = "an exception"
        with contextlib.suppress(SystemExit):
            code = main.run(arguments)
        sys.stdout.flush()
        (folder / f"{k}.code").write_text(str(code))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_a_hostile_file(case: Case, processes, tmp_path):
    folder, said = tmp_path / "model", tmp_path / "said"
    folder.mkdir()
    said.mkdir()
    content = case.make(folder)
    path = folder / "bad.onnx"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    image = tmp_path / "image.png"
    image.write_bytes(png(8, 8, 8))
    places = {"MODEL": path, "FOLDER": folder, "IMAGE": image}
    lines = [
        [replaced(word, {**places, "OUT": fresh(tmp_path / f"out{k}")}) for word in verb.split()]
        for k, verb in enumerate(case.verbs)
    ]
    child = processes.Process(target=limited, args=(said, lines))
    child.start()
    child.join(3 * SECONDS)
    alive = child.is_alive()
    child.kill()
    assert not alive and child.exitcode == 0, (alive, child.exitcode, sorted(p.name for p in said.iterdir()))
    for k, arguments in enumerate(lines):
        check(case, arguments, said, k, tmp_path / f"out{k}")
    assert not Path("/tmp/owned").exists()


def fresh(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def replaced(word: str, places: dict[str, Path]) -> str:
    first, slash, rest = word.partition("/")
    return f"{places[first]}{slash}{rest}" if first in places else word


def check(case: Case, arguments: list[str], said: Path, k: int, out: Path) -> None:
    """One verb: its exit code, what it said, and what it wrote."""
    code = (said / f"{k}.code").read_text()
    printed, complained = ((said / f"{k}.{n}").read_text(encoding="utf-8") for n in (1, 2))
    about = (arguments, code, complained[-2000:], printed[-500:])
    assert code in map(str, case.codes), about
    assert TRACE not in complained, about
    for text in (printed, complained):
        assert not any(unicodedata.category(c) in UNSEEN and c != "\n" for c in text), about
    left = sorted(p for p in out.rglob("*") if p.is_file())
    assert not [p for p in left if p.name.startswith(".") or p.name.endswith(".new")], left
    if code == "2":
        assert complained.startswith("onnxscope: error: ") and complained.count("\n") == 1, about
        assert case.said in complained and not left, (about, left)
    for page in (p for p in left if p.suffix == ".html"):
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and "<img src=x" not in text
        assert not any(unicodedata.category(c) in UNSEEN and c != "\n" for c in text)
