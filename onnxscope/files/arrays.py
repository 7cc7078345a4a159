"""Arrays on disk that are written block by block: .npy files and Zarr folders."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

COLUMNS, ROWS = "columns", "rows"
FLOAT = np.dtype("<f4")  # of the files, on every machine


@dataclass(frozen=True)
class Block:
    """Neighbouring pixels: where they stand among the chunks, which is the first in C order, and how many they are."""

    chunk: tuple[int, ...]
    first: int
    count: int


@dataclass(frozen=True)
class Grid:
    """A's shape in two parts, and the box of pixels that makes up one block."""

    pixels: tuple[int, ...]
    picture: tuple[int, ...]
    box: tuple[int, ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Grid:
        columns = facts["side"] == COLUMNS
        pixels, picture = (
            tuple(facts[name]) for name in (("inputs", "outputs") if columns else ("outputs", "inputs"))
        )
        return cls(pixels, picture, largest_box(pixels, facts["batch"]))

    @cached_property
    def blocks(self) -> list[Block]:
        """Every block, one after the other in C order."""
        blocks, first = [], 0
        for chunk in product(
            *(range(-(-size // step)) for size, step in zip(self.pixels, self.box, strict=True))
        ):
            sizes = (
                min(step, size - i * step) for i, size, step in zip(chunk, self.pixels, self.box, strict=True)
            )
            blocks.append(Block(chunk, first, math.prod(sizes)))
            first += blocks[-1].count
        return blocks

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels + self.picture

    @property
    def picture_bytes(self) -> int:
        return FLOAT.itemsize * math.prod(self.picture)


def largest_box(shape: Sequence[int], most: int) -> tuple[int, ...]:
    """A box of at most so many pixels that are neighbours in C order: whole axes from the last one on, then equal parts of one."""
    sizes = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        parts = -(-shape[axis] // most)
        sizes[axis] = -(-shape[axis] // parts)
        if parts > 1:
            break
        most //= sizes[axis]
    return tuple(sizes)


class Store(Protocol):
    """A part of an array on the disk."""

    @property
    def grid(self) -> Grid: ...

    def nbytes(self, block: Block) -> int:
        """What a block takes on the disk."""

    def holds(self, block: Block) -> bool:
        """Whether a block that the journal calls done can be there."""

    def prepare(self, facts: dict[str, Any]) -> None:
        """Make room for blocks, leaving those that are there."""

    def write(self, block: Block, values: np.ndarray) -> None:
        """Put a block on the disk, where it survives whatever follows."""

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        """Move the whole array to its place."""


@dataclass(frozen=True)
class NpyStore:
    """One file, written at the places that its memory map will have: through a map a full disk would kill the process."""

    part: Path
    grid: Grid

    @cached_property
    def header(self) -> bytes:
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            text, {"descr": FLOAT.str, "fortran_order": False, "shape": self.grid.shape}
        )
        return text.getvalue()

    def nbytes(self, block: Block) -> int:
        return block.count * self.grid.picture_bytes

    @property
    def size(self) -> int:
        return len(self.header) + math.prod(self.grid.pixels) * self.grid.picture_bytes

    def holds(self, block: Block) -> bool:
        return self.part.is_file() and self.part.stat().st_size == self.size

    def prepare(self, facts: dict[str, Any]) -> None:
        self.part.touch()
        with self.part.open("r+b") as file:
            file.write(self.header)
            file.truncate(self.size)

    def write(self, block: Block, values: np.ndarray) -> None:
        with self.part.open("r+b") as file:
            file.seek(len(self.header) + block.first * self.grid.picture_bytes)
            file.write(values.data)
            flush(file)

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        put(beside(target, ".json"), json_text(facts))
        self.part.replace(target)


@dataclass(frozen=True)
class ZarrStore:
    """A Zarr v3 folder without compression, one chunk for each block, those at the edges filled up with zeros."""

    part: Path
    grid: Grid

    def nbytes(self, block: Block) -> int:
        return math.prod(self.grid.box) * self.grid.picture_bytes

    def chunk(self, block: Block) -> Path:
        return self.part / ".".join(map(str, ("c", *block.chunk, *(0 for _ in self.grid.picture))))

    def holds(self, block: Block) -> bool:
        chunk = self.chunk(block)
        return chunk.is_file() and chunk.stat().st_size == self.nbytes(block)

    def prepare(self, facts: dict[str, Any]) -> None:
        self.part.mkdir(exist_ok=True)
        put(
            self.part / "zarr.json",
            json_text(
                {
                    "zarr_format": 3,
                    "node_type": "array",
                    "shape": self.grid.shape,
                    "data_type": "float32",
                    "fill_value": 0.0,
                    "chunk_grid": {
                        "name": "regular",
                        "configuration": {"chunk_shape": self.grid.box + self.grid.picture},
                    },
                    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                    "attributes": facts,
                }
            ),
        )

    def write(self, block: Block, values: np.ndarray) -> None:
        put(self.chunk(block), values.data, self.nbytes(block))

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        self.part.replace(target)


STORES: Mapping[str, Callable[[Path, Grid], Store]] = {".npy": NpyStore, ".zarr": ZarrStore}


def json_text(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def put(path: Path, content: bytes | memoryview, size: int | None = None) -> None:
    """Write a file beside its place, with zeros up to a size, and move it there when it is on the disk."""
    new = beside(path, ".new")
    with new.open("wb") as file:
        file.write(content)
        if size is not None:
            file.truncate(size)
        flush(file)
    new.replace(path)


def flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
