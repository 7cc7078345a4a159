"""All of F on disk: every entry, and the same bytes whenever and however a run was stopped."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxscope.errors import BadModel, BadOption
from onnxscope.files import arrays
from onnxscope.files.arrays import Grid, largest_box
from onnxscope.linear import extract as extracting
from onnxscope.linear.extract import extract
from onnxscope.linear.linear_map import ArraySpace

INPUTS, OUTPUTS = (2, 3, 5), (1, 4, 4)
ABOUT = {"model_sha256": "ab" * 32, "image": {"sha256": "cd" * 32, "mean": [0.5, 0.25]}, "policy": "freeze"}
SUFFIXES = (".npy", ".zarr")
both_formats = pytest.mark.parametrize("suffix", SUFFIXES)


class MatrixMap:
    """A matrix as F. What it gives depends a little on how many vectors are asked for at once, as it does in a real runtime."""

    def __init__(
        self,
        batch: int = 4,
        *,
        told: Callable[[int], None] = lambda call: None,
        spoilt: int | None = None,
        inputs: tuple[int, ...] = INPUTS,
        outputs: tuple[int, ...] = OUTPUTS,
        trace: float = 0,
    ) -> None:
        self.inputs, self.outputs, self.batch = ArraySpace(inputs), ArraySpace(outputs), batch
        self.matrix = (
            np.random.default_rng(3)
            .standard_normal((math.prod(outputs), math.prod(inputs)))
            .astype(np.float32)
        )
        if spoilt is not None:
            self.matrix[0, spoilt] = np.nan
        self.told, self.trace, self.counts = told, trace, list[int]()

    def forward(self, block: np.ndarray) -> np.ndarray:
        return self.product(block, self.matrix).reshape(-1, *self.outputs.shape)

    def transpose(self, block: np.ndarray) -> np.ndarray:
        return self.product(block, self.matrix.T).reshape(-1, *self.inputs.shape)

    def product(self, block: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        self.told(len(self.counts))
        self.counts.append(len(block))
        picked = block.reshape(len(block), -1).argmax(
            axis=1
        )  # unit vectors, so that NaN elsewhere does not spread
        assert (block.reshape(len(block), -1) == np.eye(matrix.shape[1], dtype=np.float32)[picked]).all()
        return matrix.T[picked] + np.float32(self.trace * len(block))


def traced(batch: int = 4, **options: Any) -> MatrixMap:
    return MatrixMap(batch, trace=0.125, **options)


def everything(folder: Path) -> dict[str, bytes]:
    """The names and bytes of all files."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def unbroken(tmp_path: Path, suffix: str) -> dict[str, bytes]:
    """What a run leaves that nothing stopped."""
    (tmp_path / "unbroken").mkdir()
    extract(traced(), tmp_path / "unbroken" / f"F{suffix}", about=ABOUT)
    return everything(tmp_path / "unbroken")


@pytest.fixture
def path(tmp_path: Path, suffix: str) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / f"F{suffix}"


def stopped(path: Path, after: int) -> None:
    """A run that ends after so many blocks."""

    def interrupt(call: int) -> None:
        if call == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(traced(told=interrupt), path, about=ABOUT)


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.journal")


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def opened(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        mapped: np.ndarray = np.load(path, mmap_mode="r")
        return mapped
    zarr = pytest.importorskip(
        "zarr", reason="the zarr package, which is the referee for the folder, is not installed"
    )
    return np.asarray(zarr.open_array(path, mode="r")[...])


@both_formats
@pytest.mark.parametrize("batch", [1, 2, 4, 5, 7, 16, 100])
@pytest.mark.parametrize("side", ["columns", "rows"])
def test_every_entry(path, side, batch):
    f = MatrixMap(batch)
    assert extract(f, path, about=ABOUT, side=side) == path
    array = opened(path)
    assert array.dtype == np.float32
    expected = (
        f.matrix.T.reshape(*INPUTS, *OUTPUTS) if side == "columns" else f.matrix.reshape(*OUTPUTS, *INPUTS)
    )
    np.testing.assert_array_equal(array, expected)
    assert max(f.counts) <= batch and sum(f.counts) == (
        math.prod(INPUTS) if side == "columns" else math.prod(OUTPUTS)
    )


@both_formats
@pytest.mark.parametrize(
    ("inputs", "outputs"), [((7,), (1,)), ((1, 10), ()), ((), (3,)), ((4, 4, 3), (1, 1, 6))]
)
def test_other_shapes(path, inputs, outputs):
    f = MatrixMap(3, inputs=inputs, outputs=outputs)
    extract(f, path, about={})
    np.testing.assert_array_equal(opened(path), f.matrix.T.reshape(*inputs, *outputs))


@pytest.mark.parametrize("suffix", [".zarr"])
def test_zarr_says_what_it_is_about(path):
    zarr = pytest.importorskip(
        "zarr", reason="the zarr package, which is the referee for the folder, is not installed"
    )
    extract(MatrixMap(), path, about=ABOUT, side="rows")
    array = zarr.open_array(path, mode="r")
    assert array.metadata.zarr_format == 3 and array.chunks == (1, 1, 4, *INPUTS) and array.fill_value == 0
    facts = dict(array.attrs)
    assert (
        facts["about"] == ABOUT
        and facts["side"] == "rows"
        and facts["inputs"] == [2, 3, 5]
        and facts["batch"] == 4
    )
    assert {p.stat().st_size for p in path.glob("c.*")} == {4 * 4 * math.prod(INPUTS)}


@pytest.mark.parametrize("suffix", [".npy"])
def test_npy_is_the_file_that_numpy_writes(path, tmp_path):
    f = MatrixMap()
    extract(f, path, about=ABOUT)
    np.save(tmp_path / "numpy.npy", f.matrix.T.reshape(*INPUTS, *OUTPUTS).astype("<f4").copy())
    assert path.read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    facts = json.loads(path.with_name("F.npy.json").read_text())
    assert facts["about"] == ABOUT and facts["side"] == "columns" and facts["outputs"] == [1, 4, 4]
    assert {p.name for p in path.parent.iterdir()} == {"F.npy", "F.npy.json"}


@given(st.lists(st.integers(1, 7), max_size=4), st.integers(1, 60))
def test_blocks_are_boxes_of_neighbours(shape, most):
    box = largest_box(shape, most)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    blocks = Grid(tuple(shape), (), box).blocks
    assert math.prod(box) <= most and (box == tuple(shape) or math.prod(box) > most / 2)
    for block in blocks:
        inside = numbers[
            tuple(slice(i * step, (i + 1) * step) for i, step in zip(block.chunk, box, strict=True))
        ]
        np.testing.assert_array_equal(inside.ravel(), range(block.first, block.first + block.count))
    assert sum(block.count for block in blocks) == numbers.size


@both_formats
@pytest.mark.parametrize("after", [0, 1, 4])
def test_ctrl_c_keeps_finished_blocks(path, unbroken, after):
    stopped(path, after)
    assert not path.exists() and part_of(path).exists()
    f, told = traced(batch=30), []  # the batch of the first run counts
    extract(f, path, about=ABOUT, progress=lambda done, total: told.append((done, total)))
    assert everything(path.parent) == unbroken
    counts = [3, 2] * 6
    assert f.counts == counts[after:]
    assert told == [(sum(counts[:i]), 30) for i in range(after, 13)]


@both_formats
def test_a_killed_process_is_gone_on_with(path, unbroken):
    """The process stops within a block, and is killed there by its parent."""
    program = (
        "import sys; from test_extract import *\n"
        "def say(call): print(call, flush=True); call == 3 and sys.stdin.readline()\n"
        "extract(traced(told=say), Path(sys.argv[1]), about=ABOUT)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
        process.kill()
    assert process.returncode == -signal.SIGKILL
    f = traced()
    extract(f, path, about=ABOUT)
    assert everything(path.parent) == unbroken and len(f.counts) == 12 - 3


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}


@both_formats
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_kill_at_any_line_loses_no_finished_block(path):
    """In a process of its own, which has no threads, so that it can fork."""
    program = "import sys; from test_extract import *; print(kill_at_every_line(Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=Path(__file__).parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60  # lines


def kill_at_every_line(path: Path) -> int:
    """Kill a run at every line that may touch the disk, each time in a fresh folder, go on, and compare with an unbroken run."""
    whole = path.parent / "whole" / path.name
    whole.parent.mkdir()
    extract(small(), whole, about=ABOUT)
    unbroken, line = everything(whole.parent), 0
    while True:
        broken = path.parent / str(line) / path.name
        broken.parent.mkdir()
        if not killed(lambda broken=broken, line=line: run_until(line, broken)):  # it came to its end before
            assert everything(broken.parent) == unbroken
            return line
        journal = journal_of(broken)
        finished = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 3 * broken.exists()
        assert broken.exists() <= (finished == 3)
        if not broken.exists() or journal.exists():
            f = small()
            extract(f, broken, about=ABOUT)
            assert len(f.counts) == 3 - finished, line
        assert everything(broken.parent) == unbroken, line
        shutil.rmtree(broken.parent)
        line += 1


def small() -> MatrixMap:
    return MatrixMap(2, inputs=(5,), outputs=(3,), trace=0.125)


def killed(work: Callable[[], object]) -> bool:
    """Whether a process that does this work is killed at it."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def run_until(line: int, path: Path) -> None:
    left = line

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (arrays.__file__, extracting.__file__):
            return None
        if event == "line" and frame.f_code.co_name in (
            "extract",
            "fill",
            "prepare",
            "write",
            "finish",
            "put",
            "flush",
        ):
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return count

    sys.settrace(count)
    extract(small(), path, about=ABOUT)


@both_formats
@pytest.mark.parametrize("tail", [b"2", b"7\n", b"\x00\x00\x00\x00", b"\xff\n2\n", b"1\n2\n"])
def test_a_torn_end_of_the_journal_costs_only_what_it_says(path, unbroken, tail):
    stopped(path, 2)
    with journal_of(path).open("ab") as journal:
        journal.write(tail)
    f = traced()
    extract(f, path, about=ABOUT)
    assert everything(path.parent) == unbroken and len(f.counts) == 10


@both_formats
def test_data_that_the_journal_does_not_know_is_made_again(path, unbroken):
    stopped(path, 2)
    if path.suffix == ".npy":
        with part_of(path).open("r+b") as part:
            part.seek(128 + 5 * 64)
            part.write(b"\xff" * 100)
    else:
        (part_of(path) / "c.0.1.0.0.0.0").write_bytes(b"\xff" * 100)
    extract(traced(), path, about=ABOUT)
    assert everything(path.parent) == unbroken


@both_formats
def test_data_that_are_gone_are_made_again(path, unbroken):
    stopped(path, 4)
    if path.suffix == ".npy":
        part_of(path).unlink()
    else:
        (part_of(path) / "c.0.0.0.0.0.0").unlink()
    f = traced()
    extract(f, path, about=ABOUT)
    assert everything(path.parent) == unbroken and len(f.counts) == 12


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "another image": (
        {"about": {**ABOUT, "image": {"sha256": "ef" * 32, "mean": [0.5, 0.25]}}},
        r"\(sha256 .cdcd.* there, .efef.* here\)",
    ),
    "another model": (
        {"about": {**ABOUT, "model_sha256": "00" * 32}},
        r"\(model_sha256 .abab.* there, .0000.* here\)",
    ),
    "an option more": ({"about": {**ABOUT, "opaque": ["LSTM"]}}, r'\(opaque null there, \["LSTM"\] here\)'),
    "another side": ({"side": "rows"}, r'\(side "columns" there, "rows" here\)'),
    "another size": ({"f": traced(inputs=(2, 3, 6))}, r"\(inputs \[2, 3, 5\] there, \[2, 3, 6\] here\)"),
}


@both_formats
@pytest.mark.parametrize("other", OTHERS)
def test_another_extraction_is_refused(path, other):
    stopped(path, 2)
    before = everything(path.parent)
    changed, says = OTHERS[other]
    with pytest.raises(
        BadOption, match=f"belongs to another extraction {says}; delete it and 'F{path.suffix}.part'"
    ):
        extract(**{"f": traced(), "path": path, "about": ABOUT, **changed})
    assert everything(path.parent) == before


@both_formats
def test_another_version_is_refused(path, monkeypatch):
    stopped(path, 2)
    monkeypatch.setattr(extracting, "VERSION", "99.0")
    with pytest.raises(BadOption, match=r'onnxscope "[0-9.a-z]+" there, "99\.0" here'):
        extract(traced(), path, about=ABOUT)


@both_formats
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n0\n",
        b"{",
        b"[1]\n",
        b'"text"\n',
        b"3\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"batch": 0}\n',
        b'{"batch": "4"}\n',
    ],
)
def test_a_damaged_journal_is_refused(path, content):
    stopped(path, 2)
    journal_of(path).write_bytes(content)
    before = everything(path.parent)
    with pytest.raises(BadOption, match=r"\.part\.journal': is damaged; delete it and"):
        extract(traced(), path, about=ABOUT)
    assert everything(path.parent) == before


@both_formats
def test_starting_anew(path, unbroken):
    stopped(path, 2)
    journal_of(path).write_bytes(b"damaged")
    f = traced()
    extract(f, path, about=ABOUT, resume=False)
    assert everything(path.parent) == unbroken and len(f.counts) == 12


@both_formats
@pytest.mark.parametrize("resume", [True, False])
def test_what_is_not_ours_stays(path, resume):
    part_of(path).write_text("mine")
    with pytest.raises(BadOption, match="part': exists, and has no journal that identifies it"):
        extract(traced(), path, about=ABOUT, resume=resume)
    assert everything(path.parent) == {part_of(path).name: b"mine"}


@both_formats
@pytest.mark.parametrize("resume", [True, False])
def test_a_finished_array_stays(path, unbroken, resume):
    extract(traced(), path, about=ABOUT)
    with pytest.raises(
        BadOption, match=f"F{path.suffix}': already exists; delete it, or choose another file with -o"
    ):
        extract(traced(), path, about=ABOUT, resume=resume)
    assert everything(path.parent) == unbroken


@both_formats
@pytest.mark.parametrize("failing", range(6))
def test_a_full_disk_ends_in_one_line(path, unbroken, monkeypatch, failing):
    """No room at the n-th time that something goes to the disk."""
    flush, calls = arrays.flush, iter(range(100))

    def full(file: Any) -> None:
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    monkeypatch.setattr(arrays, "flush", full)
    with pytest.raises(
        BadOption,
        match=r"cannot be written \(No space left on device\); finished blocks are kept: correct that and run",
    ):
        extract(traced(), path, about=ABOUT)
    assert not path.exists()
    monkeypatch.undo()
    extract(traced(), path, about=ABOUT)
    assert everything(path.parent) == unbroken


@both_formats
def test_room_is_asked_for_before_the_start(path, unbroken, monkeypatch):
    stopped(path, 4)
    before = everything(path.parent)
    left = (
        (30 - 10) * 64 if path.suffix == ".npy" else 8 * 3 * 64
    )  # a Zarr chunk at the edge takes as much as any other
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=left - 1))
    with pytest.raises(
        BadOption, match=f"needs {left:,} bytes on the disk, and {left - 1:,} are free; make room there"
    ):
        extract(traced(), path, about=ABOUT)
    assert everything(path.parent) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=left))
    extract(traced(), path, about=ABOUT)
    assert everything(path.parent) == unbroken


@both_formats
def test_nan_names_its_pixel_and_keeps_finished_blocks(path, unbroken):
    with pytest.raises(BadModel, match=r"columns: A\[1, 2, 3\] holds NaN or infinity; the network overflows"):
        extract(traced(spoilt=28), path, about=ABOUT)
    f = traced()
    extract(f, path, about=ABOUT)
    assert everything(path.parent) == unbroken and len(f.counts) == 1


@pytest.mark.parametrize("suffix", [".npy"])
def test_float64_that_float32_does_not_reach(path):
    f = MatrixMap()
    f.matrix = f.matrix.astype(np.float64)
    f.outputs = ArraySpace(OUTPUTS, np.dtype(np.float64))
    f.matrix[3, 7] = 1e300
    with pytest.raises(BadModel, match=r"A\[0, 1, 2\] holds NaN or infinity"):
        extract(f, path, about=ABOUT)


PLACES: dict[str, tuple[str, str]] = {
    "no suffix": ("F", "must end in .npy or .zarr; name the array F.npy or F.zarr"),
    "another suffix": ("F.npz", "must end in"),
    "standard output": ("-", "must end in"),
    "a folder": ("folder.npy", "'folder.npy': is a folder"),
    "a file as a folder": ("file.zarr", "'file.zarr': already exists"),
    "no folder": ("nowhere/F.npy", "there is no folder"),
    "no folder for zarr": ("nowhere/F.zarr", "there is no folder"),
    "too long": ("F" * 250 + ".npy", "cannot be written (File name too long)"),
    "much too long": ("F" * 300 + ".zarr", "cannot be written (File name too long)"),
    "a null byte": ("F\0.npy", "cannot be written"),
}


@pytest.mark.parametrize("place", PLACES)
def test_bad_places(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file.zarr").touch()
    name, says = PLACES[place]
    with pytest.raises(BadOption) as caught:
        extract(traced(), Path(name), about=ABOUT)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert everything(tmp_path) == {"file.zarr": b""}


@both_formats
def test_a_folder_that_takes_nothing(path):
    path.with_name(
        f"{path.name}.part.journal.new"
    ).mkdir()  # root may write into any folder, but not over this one
    with pytest.raises(BadOption, match=r"cannot be written \(Is a directory\)"):
        extract(traced(), path, about=ABOUT)


@pytest.mark.parametrize("suffix", [".npy"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"side": "diagonals"}, "there is no side 'diagonals'; choose columns or rows"),
        ({"batch": 0}, "--batch: the batch size must be at least 1, not 0; give a positive number"),
    ],
)
def test_bad_options(path, options, says):
    with pytest.raises(BadOption, match=says):
        extract(traced(), path, about=ABOUT, **options)


@both_formats
def test_links_are_followed(path, tmp_path, unbroken):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.symlink_to(elsewhere / path.name)
    stopped(path, 3)
    extract(traced(), path, about=ABOUT)
    assert path.is_symlink() and everything(elsewhere) == unbroken
