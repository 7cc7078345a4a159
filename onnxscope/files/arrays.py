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
class PixelBlock:
    """Neighbouring pixels that are written together."""

    chunk: tuple[int, ...]  # the block's place in the grid of blocks
    first: int  # the first pixel, counted in C order
    count: int


@dataclass(frozen=True)
class Grid:
    """A's shape, and how its pixels are divided into blocks."""

    pixels: tuple[int, ...]  # the leading axes
    picture: tuple[int, ...]  # the other axes: those of the values of one pixel
    box: tuple[int, ...]  # the pixels of one block

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Grid:
        columns = facts["side"] == COLUMNS
        pixels, picture = (
            tuple(facts[name]) for name in (("inputs", "outputs") if columns else ("outputs", "inputs"))
        )
        return cls(pixels, picture, largest_box(pixels, facts["batch"]))

    @cached_property
    def blocks(self) -> list[PixelBlock]:
        """All blocks in C order."""
        blocks, first = [], 0
        for chunk in product(
            *(range(-(-size // step)) for size, step in zip(self.pixels, self.box, strict=True))
        ):
            sizes = (
                min(step, size - i * step) for i, size, step in zip(chunk, self.pixels, self.box, strict=True)
            )
            blocks.append(PixelBlock(chunk, first, math.prod(sizes)))
            first += blocks[-1].count
        return blocks

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels + self.picture

    @property
    def picture_bytes(self) -> int:
        return FLOAT.itemsize * math.prod(self.picture)


def largest_box(shape: Sequence[int], most: int) -> tuple[int, ...]:
    """A box of at most `most` pixels that are neighbours in C order.

    It spans whole axes from the last one on, then an equal part of one axis.
    """
    sizes = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        parts = -(-shape[axis] // most)
        sizes[axis] = -(-shape[axis] // parts)
        if parts > 1:
            break
        most //= sizes[axis]
    return tuple(sizes)


class Store(Protocol):
    """An array on the disk that is not whole yet."""

    @property
    def grid(self) -> Grid: ...

    def nbytes(self, block: PixelBlock) -> int:
        """The bytes that a block takes on the disk."""

    def holds(self, block: PixelBlock) -> bool:
        """Whether a block that is done by the journal can be there."""

    def prepare(self, facts: dict[str, Any]) -> None:
        """Make room for all blocks, and keep those that are there."""

    def write(self, block: PixelBlock, values: np.ndarray) -> None:
        """Put a block on the disk, where it survives a kill."""

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        """Move the whole array to its place."""


@dataclass(frozen=True)
class NpyStore:
    """One .npy file. It is not written through a memory map, where a full disk would kill the process."""

    part: Path
    grid: Grid

    @cached_property
    def header(self) -> bytes:
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            text, {"descr": FLOAT.str, "fortran_order": False, "shape": self.grid.shape}
        )
        return text.getvalue()

    def nbytes(self, block: PixelBlock) -> int:
        return block.count * self.grid.picture_bytes

    @property
    def size(self) -> int:
        return len(self.header) + math.prod(self.grid.pixels) * self.grid.picture_bytes

    def holds(self, block: PixelBlock) -> bool:
        return self.part.is_file() and self.part.stat().st_size == self.size

    def prepare(self, facts: dict[str, Any]) -> None:
        self.part.touch()
        with self.part.open("r+b") as file:
            file.write(self.header)
            file.truncate(self.size)

    def write(self, block: PixelBlock, values: np.ndarray) -> None:
        with self.part.open("r+b") as file:
            file.seek(len(self.header) + block.first * self.grid.picture_bytes)
            file.write(values.data)
            flush(file)

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        write_safely(with_ending(target, ".json"), json_text(facts))
        self.part.replace(target)


@dataclass(frozen=True)
class ZarrStore:
    """A Zarr v3 folder without compression, with a chunk for each block; chunks at the edges end in zeros."""

    part: Path
    grid: Grid

    def nbytes(self, block: PixelBlock) -> int:
        return math.prod(self.grid.box) * self.grid.picture_bytes

    def chunk(self, block: PixelBlock) -> Path:
        return self.part / ".".join(map(str, ("c", *block.chunk, *(0 for _ in self.grid.picture))))

    def holds(self, block: PixelBlock) -> bool:
        chunk = self.chunk(block)
        return chunk.is_file() and chunk.stat().st_size == self.nbytes(block)

    def prepare(self, facts: dict[str, Any]) -> None:
        self.part.mkdir(exist_ok=True)
        description = {
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
        write_safely(self.part / "zarr.json", json_text(description))

    def write(self, block: PixelBlock, values: np.ndarray) -> None:
        write_safely(self.chunk(block), values.data, self.nbytes(block))

    def finish(self, target: Path, facts: dict[str, Any]) -> None:
        self.part.replace(target)


STORES: Mapping[str, Callable[[Path, Grid], Store]] = {".npy": NpyStore, ".zarr": ZarrStore}


def json_text(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def write_safely(path: Path, content: bytes | memoryview, size: int | None = None) -> None:
    """Write a file under another name, with zeros up to a size, and rename it when it is on the disk."""
    new = with_ending(path, ".new")
    with new.open("wb") as file:
        file.write(content)
        if size is not None:
            file.truncate(size)
        flush(file)
    new.replace(path)


def flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def with_ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)
