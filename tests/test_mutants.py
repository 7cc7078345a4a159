"""tools/mutants.py on a package of two modules: which tests it runs, and what it reports."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import mutant_runs
import mutants
from mutant_faults import Fault
from mutant_tests import Records, Test, within

# which tests run


def recorded(name: str, seconds: float, *lines: int) -> Test:
    return Test(f"tests/{name}", frozenset(("m.py", line) for line in lines), seconds)


SLOW, BROAD, QUICK, FIRST, SECOND = TESTS = (
    recorded("a.py::slow", 50, 1),
    recorded("a.py::broad", 2, 1, 2, 3, 4),
    recorded("b.py::quick", 3, 1),
    recorded("c.py::case[1]", 1, 1),
    recorded("c.py::case[2]", 1, 1),
)


@pytest.mark.parametrize(
    "budget, wanted",
    [
        (100, [FIRST, SECOND, QUICK, BROAD, SLOW]),
        (7, [FIRST, SECOND, QUICK, BROAD]),
        (6, [FIRST, QUICK, BROAD]),  # one case of each test before a second case
        (3, [FIRST, BROAD]),
        (0, [FIRST]),
    ],
)
def test_cheap_and_specific_tests_come_first(budget: float, wanted: list[Test]) -> None:
    assert within(TESTS, budget) == wanted


def test_what_tests_share_counts_once() -> None:
    """Here the file, which takes 2 seconds to collect."""
    first, second = (replace(case, shared={"tests/c.py": 2}) for case in (FIRST, SECOND))
    assert within([first, second, SLOW], 4) == [first, second]
    assert within([first, second], 3.5) == [first]


def test_tests_are_found_by_what_they_call() -> None:
    assert Records(TESTS).calling({("m.py", 4), ("other.py", 1)}) == [BROAD]


# a package of two modules

LENGTHS = """LONGEST = 100
SIDES = 4


def area(width, height):
    return width * height


def is_long(side):
    return side > LONGEST


def forever(turns):
    while turns:
        turns = max(turns - 1, 0)
    return turns
"""
NAMES = """def name(index):
    return "abc"[index + 0]


def other(index):
    return index + 2


def kept(one):
    return one + 1


def given(one):
    return one * 3


def process(one):
    return one << 1
"""
OF_TOY = """import functools
import subprocess
import sys

import pytest
from toy import lengths, names


@functools.cache
def kept():
    return names.kept(1)


@pytest.fixture(scope="module")
def given():
    return names.given(1)


@pytest.mark.parametrize("number", [0, 1])
def test_kept(number):
    assert kept() > number


@pytest.mark.parametrize("number", [0, 1])
def test_given(number, given):
    assert given > number


def test_process():
    subprocess.run([sys.executable, "-c", "from toy import names; assert names.process(1) == 2"], check=True)


def test_area():
    assert lengths.area(2, 3) == 6


def test_is_long():
    assert lengths.is_long(200) and not lengths.is_long(1)


def test_forever():
    assert lengths.forever(3) == 0


def test_name():
    assert names.name(1) == "b"


def test_that_fails():
    assert names.other(1) == 4
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mutants.Project:
    files = {
        "toy/__init__.py": "",
        "toy/lengths.py": LENGTHS,
        "toy/names.py": NAMES,
        "tests/test_toy.py": OF_TOY,
    }
    root = tmp_path / "repository"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(mutant_runs, "GRACE", 0.5)
    return mutants.Project(root, "toy")


def drawn(project: mutants.Project, *texts: str) -> list[Fault]:
    found = {fault.before: fault for fault in project.drawn(100, 0, ["*"])}
    return [found[text] for text in texts]


def test_survivors_are_listed_with_their_line(toy: mutants.Project, tmp_path: Path) -> None:
    outcomes = {
        "width * height": "killed",
        "turns - 1": "timed out",
        "side > LONGEST": "survived",
        "100": "survived",  # is_long reads it
        "4": "survived",  # nothing reads it
        "index + 0": "survived",
        "index + 2": "survived",  # its only test fails without it, so all of its module run
        "one + 1": "killed",  # by the second test that uses a kept result
        "one * 3": "killed",  # by the second test with the fixture
        "one << 1": "killed",  # in a process
    }
    results = mutants.Results(tmp_path / "results.json", toy, resume=False)
    text = mutants.run(toy, drawn(toy, *outcomes), results)
    known = {r["before"]: r for r in json.loads((tmp_path / "results.json").read_text())}
    assert {before: result["outcome"] for before, result in known.items()} == outcomes
    assert known["width * height"]["by"].startswith("FAILED tests/test_toy.py::test_area")
    met = {before: result["tests"] for before, result in known.items()}
    assert met == dict.fromkeys(outcomes, 1) | {"4": 3, "index + 2": 6, "one + 1": 2, "one * 3": 2}
    assert "toy/lengths.py:10  comparison: side > LONGEST → (side >= LONGEST)  (1 of 1 tests)\n" in text
    assert "toy/lengths.py:2  constant: 4 → 5  (3 of 3 tests)\n" in text
    assert "4 killed, 1 timed out, 5 survived: 50.0% of 10 noticed" in text
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == ["mutants-toy"]  # the records
    assert toy.sources == mutants.Project(toy.root, "toy").sources


def test_a_broken_run_goes_on(
    toy: mutants.Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A survivor is tried again with other or more tests, and every fault when the package has changed."""
    file, both = tmp_path / "results.json", drawn(toy, "width * height", "side > LONGEST")
    mutants.run(toy, both, mutants.Results(file, toy, resume=False))
    capsys.readouterr()
    assert "50.0% of 2" in mutants.run(toy, both, mutants.Results(file, toy, resume=True))
    assert not capsys.readouterr().out
    assert len(mutants.Results(file, toy, resume=True, seconds=mutants.THEN + 1).known) == 1
    of_toy = toy.root / "tests" / "test_toy.py"
    of_toy.write_text(OF_TOY.replace("is_long(1)", "is_long(100)"), encoding="utf-8")
    toy = mutants.Project(toy.root, "toy")
    assert len(mutants.Results(file, toy, resume=True).known) == 1
    assert "100.0% of 2" in mutants.run(toy, both, mutants.Results(file, toy, resume=True))
    assert capsys.readouterr().out.startswith("1 of 1: toy/lengths.py:10 killed")
    (toy.root / "toy" / "names.py").write_text("", encoding="utf-8")
    assert not mutants.Results(file, mutants.Project(toy.root, "toy"), resume=True).known


def test_the_sample_is_reproducible_and_every_module_has_its_share(toy: mutants.Project) -> None:
    everything = toy.drawn(10**6, 0, ["*"])
    half = len(everything) // 2
    assert len(set(everything)) == len(everything) > 8
    assert toy.drawn(half, 3, ["*"]) == toy.drawn(half, 3, ["*"]) != toy.drawn(half, 4, ["*"])
    shares = [
        sum(f.module == "toy/names.py" for f in sample) for sample in (everything, toy.drawn(half, 3, ["*"]))
    ]
    assert abs(shares[0] / len(everything) - shares[1] / half) * half <= 1
    assert {f.module for f in toy.drawn(10**6, 0, ["*/names.py"])} == {"toy/names.py"}
