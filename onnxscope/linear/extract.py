"""All of F on disk, block by block, for a run that may be killed at any instant.

Until the array is whole there stand beside its place `NAME.part`, which holds what is there of it, and `NAME.part.journal`: one
line of JSON that says which extraction this is, then the number of every finished block. A block lies on the disk before its
number is written, so a killed run goes on at the first block without one, and writes the bytes that an unbroken run writes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.errors import BadModel, BadOption, shortened
from onnxscope.files.arrays import COLUMNS, FLOAT, ROWS, STORES, Block, Grid, Store, beside, put
from onnxscope.files.models import ELSEWHERE, check_target, where_of
from onnxscope.linear.linear_map import LinearMap
from onnxscope.version import VERSION

LONGEST_VALUE = 40  # that is shown of what two extractions differ in
Progress = Callable[[int, int], None]


def extract(
    f: LinearMap,
    path: Path,
    *,
    about: Mapping[str, Any],
    side: str = COLUMNS,
    batch: int | None = None,
    progress: Progress | None = None,
    resume: bool = True,
) -> Path:
    """Write A[p] = F·e_p for every input pixel p (columns), or A[p] = Fᵀ·e_p for every output pixel p (rows), as float32.

    A has the shape of the one side and then of the other. It becomes a .npy file with what it is about in `NAME.json` beside it,
    or a Zarr folder with that in its attributes, as the path ends. `about` names, in JSON, the model, the image and the options:
    an interrupted run with the same `about` is gone on with, in its own batches, unless `resume` is false. `progress` gets the
    number of finished pixels and of all, before the first block and after each.
    """
    if side not in (COLUMNS, ROWS):
        raise BadOption(f"there is no side '{side}'", remedy=f"choose {COLUMNS} or {ROWS}")
    batch = f.batch if batch is None else batch
    if batch < 1:
        raise BadOption(f"{batch} is no number of probes", where="--batch", remedy="give 1 or more")
    files = Files(path, place(path))
    facts = json_only(
        {
            "onnxscope": VERSION,
            "side": side,
            "inputs": f.inputs.shape,
            "outputs": f.outputs.shape,
            "batch": batch,
            "about": dict(about),
        }
    )
    with files.writing():
        if not resume and not files.target.exists():
            files.discard()
        facts, done = begun(files, facts)
    store = STORES[path.suffix.lower()](files.part, Grid.of(facts))
    if not moved_already(files, done >= len(store.grid.blocks)):
        done = prepare(files, store, facts, done)
        fill(f, files, store, side, done, progress)
        with files.writing():
            store.finish(files.target, facts)
    with files.writing():
        files.journal.unlink()
    return path


@dataclass(frozen=True)
class Files:
    """What stands where: the path as the user named it, the place that it leads to, and what lies beside it during a run."""

    shown: Path
    target: Path

    @property
    def part(self) -> Path:
        return beside(self.target, ".part")

    @property
    def journal(self) -> Path:
        return beside(self.part, ".journal")

    def discard(self) -> None:
        """Remove what an earlier run left; without a journal a part is not ours."""
        if self.journal.exists():
            if self.part.is_dir():
                shutil.rmtree(self.part)
            else:
                self.part.unlink(missing_ok=True)
            self.journal.unlink()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Whatever the disk refuses ends in one line."""
        try:
            yield
        except OSError as error:
            raise BadOption(
                f"cannot be written ({error.strerror or error})",
                where=where_of(self.shown),
                remedy=f"finished blocks are kept: mend that and run it again, or {ELSEWHERE}",
            ) from error


def place(path: Path) -> Path:
    """Where the array will stand, following links."""
    if path.suffix.lower() not in STORES:
        raise BadOption(
            f"ends in neither of {' and '.join(STORES)}",
            where=where_of(path),
            remedy="name the array F.npy or F.zarr",
        )
    with suppress(OSError):  # check_target says what is wrong
        if path.suffix.lower() == ".zarr" and path.is_dir():
            return path.resolve()
    return check_target(path)


def begun(files: Files, facts: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The facts of the run to go on with, whose batch may be another, and how many blocks its journal says are done."""
    if not files.journal.exists():
        return facts, 0
    first, *numbers = files.journal.read_bytes().split(b"\n")
    try:
        found = json.loads(first)
        facts = {**facts, "batch": found["batch"]}
        if not isinstance(facts["batch"], int) or facts["batch"] < 1:
            raise ValueError(facts["batch"])
    except (ValueError, LookupError, TypeError) as error:
        raise refusal(files, "is damaged") from error
    if differing := ", ".join(differences(found, facts)):
        raise refusal(files, f"belongs to another extraction ({differing})")
    # what follows the last newline is torn, and after a power cut anything may stand there: such blocks are made again
    return facts, next(
        (i for i, number in enumerate(numbers[:-1]) if number != b"%d" % i), max(len(numbers) - 1, 0)
    )


def refusal(files: Files, cause: str) -> BadOption:
    return BadOption(
        cause,
        where=where_of(files.journal),
        remedy=f"delete it and '{files.part.name}' to start anew, or {ELSEWHERE}",
    )


def json_only(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts as they are after writing and reading."""
    read: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return read


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """What two extractions differ in, such as `side "columns" there, "rows" here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from differences(there.get(key), here.get(key), key)
    elif there != here:
        yield f"{name} {shortened(json.dumps(there), LONGEST_VALUE)} there, {shortened(json.dumps(here), LONGEST_VALUE)} here"


def moved_already(files: Files, finished: bool) -> bool:
    """Whether an earlier run was killed after all but its last step; an array that stands there otherwise stays as it is."""
    if not files.target.exists():
        return False
    if files.part.exists() or not finished:
        raise BadOption("is already there", where=where_of(files.shown), remedy=f"delete it, or {ELSEWHERE}")
    return True


def prepare(files: Files, store: Store, facts: dict[str, Any], done: int) -> int:
    """Make the journal and the part ready for the next block, and say which one that is."""
    with files.writing():
        if files.part.exists() and not files.journal.exists():
            raise BadOption(
                "is in the way, and no journal says what it is",
                where=where_of(files.part),
                remedy=f"delete it, or {ELSEWHERE}",
            )
        blocks = store.grid.blocks
        done = next(
            (i for i, block in enumerate(blocks[:done]) if not store.holds(block)), min(done, len(blocks))
        )
        needed, free = sum(map(store.nbytes, blocks[done:])), shutil.disk_usage(files.target.parent).free
        if needed > free:
            raise BadOption(
                f"needs {needed:,} bytes on the disk, where {free:,} are free",
                where=where_of(files.shown),
                remedy=f"make room there, or {ELSEWHERE}",
            )
        put(files.journal, json.dumps(facts).encode() + b"\n" + b"".join(b"%d\n" % i for i in range(done)))
        store.prepare(facts)
    return done


def fill(f: LinearMap, files: Files, store: Store, side: str, done: int, progress: Progress | None) -> None:
    """Make all blocks that are not done yet."""
    pixels = math.prod(store.grid.pixels)
    for number, block in enumerate(store.grid.blocks[done:], done):
        if progress:
            progress(block.first, pixels)
        values = pictures(f, side, block)
        with files.writing():
            store.write(block, values)
            with files.journal.open("ab") as journal:
                journal.write(b"%d\n" % number)
    if progress:
        progress(pixels, pixels)


def pictures(f: LinearMap, side: str, block: Block) -> np.ndarray:
    """What becomes of the unit probes of a block's pixels, as the file holds it."""
    start, apply, end = (
        (f.inputs, f.forward, f.outputs) if side == COLUMNS else (f.outputs, f.transpose, f.inputs)
    )
    probes = np.zeros((block.count, math.prod(start.shape)), start.dtype)
    probes[np.arange(block.count), block.first + np.arange(block.count)] = 1
    values = end.array(apply(start.of(probes.reshape(-1, *start.shape)))).reshape(block.count, *end.shape)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, FLOAT)
    wrong = ~np.isfinite(values).reshape(block.count, -1).all(axis=1)
    if wrong.any():
        pixel = np.unravel_index(block.first + int(wrong.argmax()), start.shape)
        raise BadModel(
            f"A[{', '.join(map(str, pixel))}] holds NaN or infinity",
            where=side,
            remedy="the network overflows for this image: check the image and its preprocessing",
        )
    return values
