"""Workers: what becomes of their process, the walls around it, the engines that run them, and the journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from onnxscope.errors import BadModel, BadOption, Crashed, Fault, OutOfMemory
from onnxscope.work.engines import Engine, spread
from onnxscope.work.isolated import Isolated, Isolation
from onnxscope.work.jobs import Work
from onnxscope.work.journal import Journal
from onnxscope.work.walls import Limits
from onnxscope.work.worker import Worker

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are those of Linux")
TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def jobs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")]))


def isolation(place: Path, seconds: float | None = None, **limits: int) -> Isolation:
    readable, writable = (TESTS, str(place / "in")), (str(place / "out"),)
    for folder in (*readable[1:], *writable):
        Path(folder).mkdir(exist_ok=True)
    walls = Limits(memory=2 << 30, readable=readable, writable=writable, **limits)
    return Isolation(walls, ("work_jobs",), seconds)


def trial(**settings: str) -> Work:
    return Work("work_jobs:Trial", settings)


def batch(*texts: str) -> dict[str, np.ndarray]:
    return {"number": np.arange(len(texts)), "do": np.array(texts)}


def said(place: Path, text: str) -> str:
    job = Isolated(trial(), isolation(place))
    try:
        return str(job(batch(text))["said"][0])
    finally:
        job.close()


def test_a_worker_in_its_own_process_answers_as_one_in_this_process_does(tmp_path: Path) -> None:
    sys.path.insert(0, TESTS)
    try:
        here = trial().opened()(batch("nothing", "nothing"))
    finally:
        sys.path.remove(TESTS)
    there = Isolated(trial(), isolation(tmp_path))
    found = there(batch("nothing", "nothing"))
    there.close()
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in here.items()}
    assert there.peak > 1 << 20


WALLS = {  # what a job tries, and what it is told
    "read {outside}": "Permission denied",
    "write {outside}": "Permission denied",
    "write {inside}": "Permission denied",
    "write /dev/mem": "Permission denied",
    "read /root": "Permission denied",
    "read {inside}": "done",
    "write {out}": "done",
    "connect": "Operation not permitted",
    "start": "Operation not permitted",
}


@pytest.mark.parametrize("text", WALLS)
def test_the_walls(text: str, tmp_path: Path) -> None:
    walls = Isolated(trial(), isolation(tmp_path))
    stands = walls.walls
    walls.close()
    wall = {"connect": "network", "start": "programs"}.get(text, "files")
    if "not limited" in stands[wall]:
        pytest.skip(f"{wall}: {stands[wall]}")
    (tmp_path / "outside").touch()
    (tmp_path / "in" / "inside").touch()
    places = {
        "outside": tmp_path / "outside",
        "inside": tmp_path / "in" / "inside",
        "out": tmp_path / "out" / "new",
    }
    assert said(tmp_path, text.format(**places)) == WALLS[text]


@pytest.mark.parametrize(
    ("text", "seconds", "limits", "kind", "message"),
    [
        ("crash", None, {}, Crashed, "SIGSEGV"),
        ("spin", None, {"cpu_seconds": 1}, Crashed, "more processor time than it may"),
        ("sleep", 0.2, {}, Crashed, "took more than 0 s"),
        ("fill", None, {}, OutOfMemory, "not enough memory"),
        ("refuse it", None, {}, BadModel, "it: does not fit; leave it"),
        ("fail", None, {}, Fault, "fault of onnxscope .*our fault"),
        ("lie", None, {}, Crashed, "no answer"),
    ],
)
def test_what_happens_to_the_process_is_an_error_of_one_line(
    text: str, seconds: float | None, limits: dict[str, int], kind: type, message: str, tmp_path: Path
) -> None:
    job = Isolated(trial(), isolation(tmp_path, seconds, **limits))
    with pytest.raises(kind, match=message):
        job(batch(text))
    job.close()
    assert said(tmp_path, "nothing") == "done"  # the next job is not concerned


def test_a_job_that_does_not_open_leaves_its_process_to_the_next(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="the model: damaged; leave it"):
        Isolated(trial(refused="damaged"), isolation(tmp_path))
    assert said(tmp_path, "nothing") == "done"


def test_a_worker_answers_for_every_item_also_where_one_crashes(tmp_path: Path) -> None:
    worker = Worker(trial(), isolation(tmp_path))
    found = worker(batch("nothing", "crash", "nothing"))
    worker.close()
    errors = [json.loads(e)["kind"] if e else "" for e in found["error"].tolist()]
    assert errors == ["", "Crashed", ""] and found["number"].tolist() == [0, 1, 2]
    assert found["twice"].tolist() == [0, 0, 4] and found["said"].tolist() == ["done", "", "done"]


def test_a_killed_process_costs_nothing_but_its_batch(tmp_path: Path) -> None:
    worker = Worker(trial(once=str(tmp_path / "out" / "killed")), isolation(tmp_path))
    found = worker(batch("nothing", "crash_once", "nothing"))
    worker.close()
    assert found["error"].tolist() == [""] * 3 and found["said"].tolist() == ["done"] * 3


def test_a_job_that_cannot_be_opened_is_told_for_every_item(tmp_path: Path) -> None:
    found = Worker(trial(refused="damaged"), isolation(tmp_path))(batch("nothing", "nothing"))
    assert [json.loads(e)["cause"] for e in found["error"].tolist()] == ["damaged"] * 2


def items(count: int) -> list[dict[str, object]]:
    texts = ["refuse it" if k == 3 else "nothing" for k in range(count)]
    return [{"number": k, "do": text} for k, text in enumerate(texts)]


@pytest.mark.parametrize("on", ["local", "ray", "dask"])
def test_every_engine_gives_the_same_answers(on: str, tmp_path: Path) -> None:
    if on != "local":
        pytest.importorskip({"ray": "ray", "dask": "distributed"}[on], reason=f"{on} is not installed")
    engine = Engine(on, workers=2, at_a_time=2, isolation=isolation(tmp_path))
    answers = {}
    for found in spread(trial(), items(9), engine):
        for number, error in zip(found["number"].tolist(), found["error"].tolist(), strict=True):
            assert number not in answers
            answers[number] = bool(error)
    assert answers == {k: k in (2, 3) for k in range(9)}  # the batch of the item that is refused


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(BadOption, match=r"--on: there is no engine 'spark'; choose local, ray, dask"):
        Engine("spark")


def test_a_reader_that_stops_early_stops_the_workers(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    found = spread(trial(), items(100), Engine(workers=2, isolation=isolation(tmp_path)))
    next(found)
    started = {t for t in set(threading.enumerate()) - before if "(run)" in t.name}
    found.close()
    for thread in started:
        thread.join(20)
    assert started and not any(thread.is_alive() for thread in started)


def test_a_driver_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from onnxscope.work.isolated import *; from onnxscope.work.jobs import Work\n"
        "job = Isolated(Work('work_jobs:Trial', {}), Isolation(None, ('work_jobs',)))\n"
        "print(job._host._process.pid, flush=True); sys.stdin.read()"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    host = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    until = time.monotonic() + 10
    while alive(host) and time.monotonic() < until:
        os.sched_yield()
    assert not alive(host)


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that no one waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# the journal


def test_a_journal_keeps_answers_across_kills(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {"model": "a"}) as journal:
        journal.add("1", {"value": 0.1})
        journal.add("2", None)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, {"model": "a"}) as journal:
            assert journal.done in ({}, {"1": {"value": 0.1}}, {"1": {"value": 0.1}, "2": None})
            for key, answer in (("1", {"value": 0.1}), ("2", None)):
                if key not in journal.done:
                    journal.add(key, answer)
        assert path.read_bytes() == whole
    with Journal(path, {"model": "b"}) as journal:
        assert not journal.done
        journal.remove()
    assert not path.exists()
