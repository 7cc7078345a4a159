"""All of F on disk, block by block, for a run that may be killed at any instant.

Until the array is whole, its finished blocks are in `NAME.part`. `NAME.part.journal` holds one line of JSON
that identifies the extraction, and then the number of every finished block. A block is on the disk before
its number is, so the next run continues at the first block that has no number, and the array has the same
bytes in the end as after a run that nothing stopped.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.errors import BadModel, BadOption, shortened
from onnxscope.files.arrays import (
    COLUMNS,
    FLOAT,
    ROWS,
    STORES,
    Grid,
    PixelBlock,
    Store,
    with_ending,
    write_safely,
)
from onnxscope.files.models import ELSEWHERE, check_target, where_of
from onnxscope.linear.linear_map import LinearMap
from onnxscope.version import VERSION

LONGEST_VALUE = 40  # characters shown of a value in which two extractions differ
OnProgress = Callable[[int, int], None]  # gets the number of finished pixels and of all
Blocks = Iterator[tuple[int, np.ndarray]]  # with their numbers
Others = Callable[[Mapping[str, Any], Sequence[int]], Blocks]  # from the facts and the numbers of blocks


def extract(
    f: LinearMap,
    path: Path,
    *,
    about: Mapping[str, Any],
    side: str = COLUMNS,
    batch: int | None = None,
    progress: OnProgress | None = None,
    resume: bool = True,
    others: Others | None = None,
) -> Path:
    """Write A[p] = F·e_p for input pixels p (columns), or Fᵀ·e_p for output pixels (rows), as float32.

    A has the axes of p first, then those of the values. It becomes a .npy file and a file `NAME.json` that
    describes it, or a Zarr folder with the description in its attributes, depending on the ending of the
    path. `about` names the model, the image and the options, in JSON: an interrupted run with the same
    `about` is continued, in the batches that it began with, unless `resume` is false. `progress` is called
    before the first block and after each. Blocks are computed here, or by `others`, in any order.
    """
    facts = facts_of(f, side, f.batch if batch is None else batch, about)
    files = Files(path, target_of(path))
    with files.writing():
        if not resume and not files.target.exists():
            files.discard()
        facts, done = begun(files, facts)
    store = STORES[path.suffix.lower()](files.part, Grid.of(facts))
    if not moved_already(files, done >= len(store.grid.blocks)):
        done = prepare(files, store, facts, done)
        numbers = range(done, len(store.grid.blocks))
        blocks = others(facts, numbers) if others else own_blocks(f, side, store, numbers)
        fill(files, store, blocks, done, progress)
        with files.writing():
            store.finish(files.target, facts)
    with files.writing():
        files.journal.unlink()
    return path


def facts_of(f: LinearMap, side: str, batch: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies an extraction, as JSON would return it."""
    if side not in (COLUMNS, ROWS):
        raise BadOption(f"there is no side '{side}'", remedy=f"choose {COLUMNS} or {ROWS}")
    if batch < 1:
        raise BadOption(
            f"the batch size must be at least 1, not {batch}",
            where="--batch",
            remedy="give a positive number",
        )
    facts = {
        "onnxscope": VERSION,
        "side": side,
        "inputs": f.inputs.shape,
        "outputs": f.outputs.shape,
        "batch": batch,
        "about": dict(about),
    }
    as_read: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return as_read


@dataclass(frozen=True)
class Files:
    """The files of a run: the array under the name that the user gave it, and where that leads to."""

    shown: Path
    target: Path

    @property
    def part(self) -> Path:
        return with_ending(self.target, ".part")

    @property
    def journal(self) -> Path:
        return with_ending(self.part, ".journal")

    def discard(self) -> None:
        """Remove the part and the journal of an earlier run. A part without a journal is not ours."""
        if self.journal.exists():
            if self.part.is_dir():
                shutil.rmtree(self.part)
            else:
                self.part.unlink(missing_ok=True)
            self.journal.unlink()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn whatever the disk refuses into a BadOption."""
        try:
            yield
        except OSError as error:
            raise BadOption(
                f"cannot be written ({error.strerror or error})",
                where=where_of(self.shown),
                remedy=f"finished blocks are kept: correct that and run it again, or {ELSEWHERE}",
            ) from error


def target_of(path: Path) -> Path:
    """Where the array will be, following links."""
    if path.suffix.lower() not in STORES:
        raise BadOption(
            f"must end in {' or '.join(STORES)}",
            where=where_of(path),
            remedy="name the array F.npy or F.zarr",
        )
    with suppress(OSError):  # check_target explains it
        if path.suffix.lower() == ".zarr" and path.is_dir():
            return path.resolve()
    return check_target(path)


def begun(files: Files, facts: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The facts of the run to continue, whose batch may differ, and the number of blocks in its journal."""
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
    # a kill may cut the last line short, and a power cut may leave anything in its place: blocks from the
    # first number on that does not continue the count are computed again
    return facts, next(
        (i for i, number in enumerate(numbers[:-1]) if number != b"%d" % i), max(len(numbers) - 1, 0)
    )


def refusal(files: Files, cause: str) -> BadOption:
    return BadOption(
        cause,
        where=where_of(files.journal),
        remedy=f"delete it and '{files.part.name}' to start anew, or {ELSEWHERE}",
    )


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """What two extractions differ in, such as `side "columns" there, "rows" here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from differences(there.get(key), here.get(key), key)
    elif there != here:
        was, wanted = (shortened(json.dumps(value), LONGEST_VALUE) for value in (there, here))
        yield f"{name} {was} there, {wanted} here"


def moved_already(files: Files, finished: bool) -> bool:
    """Whether an earlier run was killed just before its last step; refuses any other array."""
    if not files.target.exists():
        return False
    if files.part.exists() or not finished:
        raise BadOption("already exists", where=where_of(files.shown), remedy=f"delete it, or {ELSEWHERE}")
    return True


def prepare(files: Files, store: Store, facts: dict[str, Any], done: int) -> int:
    """Bring the journal and the part into agreement, and return the number of the next block."""
    with files.writing():
        if files.part.exists() and not files.journal.exists():
            raise BadOption(
                "exists, and has no journal that identifies it",
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
                f"needs {needed:,} bytes on the disk, and {free:,} are free",
                where=where_of(files.shown),
                remedy=f"make room there, or {ELSEWHERE}",
            )
        write_safely(
            files.journal, json.dumps(facts).encode() + b"\n" + b"".join(b"%d\n" % i for i in range(done))
        )
        store.prepare(facts)
    return done


def own_blocks(f: LinearMap, side: str, store: Store, numbers: Sequence[int]) -> Blocks:
    """These blocks, computed by F in this process."""
    return ((number, values_of_block(f, side, store.grid.blocks[number])) for number in numbers)


def fill(files: Files, store: Store, found: Blocks, done: int, progress: OnProgress | None) -> None:
    """Write all blocks that are not done yet, in their order. Those that come early wait."""
    pixels, waiting = math.prod(store.grid.pixels), dict[int, np.ndarray]()
    if progress:
        progress(store.grid.blocks[done].first if done < len(store.grid.blocks) else pixels, pixels)
    for number, values in found:
        waiting[number] = values
        while done in waiting:
            block = store.grid.blocks[done]
            with files.writing():
                store.write(block, waiting.pop(done))
                with files.journal.open("ab") as journal:
                    journal.write(b"%d\n" % done)
            done += 1
            if progress:
                progress(block.first + block.count, pixels)


def values_of_block(f: LinearMap, side: str, block: PixelBlock) -> np.ndarray:
    """The columns (or rows) of F for a block of pixels, as the file holds them."""
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
