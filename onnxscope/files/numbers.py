"""Arrays in .npy and .npz files from anybody: their headers are checked before memory is taken."""

from __future__ import annotations

import math
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

MOST_VALUES = 1 << 29  # of one array
MOST_COMPRESSED = 64  # times, in an .npz file: numbers that were measured hardly become smaller
UNSEEN = 1 << 20  # bytes of an array that may be compressed more
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def header(path: Path) -> tuple[int, ...]:
    """The shape of the array in an .npy file. Raises a ValueError for what is no array of numbers."""
    with regular(path) as file:
        return checked_shape(file, path.stat().st_size)


def read_npy(path: Path) -> np.ndarray:
    """The array in an .npy file. Raises a ValueError for what is no array of numbers."""
    with regular(path) as file:
        checked_shape(file, path.stat().st_size)
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """The arrays of these names in an .npz file. Raises a ValueError or another error for all else."""
    found = []
    with regular(path) as file, zipfile.ZipFile(file) as archive:
        for name in names:
            entry = archive.getinfo(f"{name}.npy")
            if entry.file_size > MOST_COMPRESSED * entry.compress_size + UNSEEN:
                raise ValueError(f"it is compressed more than {MOST_COMPRESSED} times")
            with archive.open(entry) as held:
                checked_shape(held, entry.file_size)
            with archive.open(entry) as held:
                found.append(np.lib.format.read_array(held, allow_pickle=False))
    return found


def regular(path: Path) -> IO[bytes]:
    """The open file, which must be a regular one: pipes and devices may never end."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError("it is not a regular file")
    return os.fdopen(file, "rb")


def checked_shape(file: IO[bytes], size: int) -> tuple[int, ...]:
    """The shape that the header of an .npy file declares; the file must hold as many numbers."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"its format {version[0]}.{version[1]} is not one for numbers")
    shape, _, dtype = HEADERS[version](file)
    if dtype.kind not in "fiub":
        raise ValueError("it does not hold an array of numbers")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count > MOST_VALUES:
        raise ValueError(f"it declares {count:,} numbers, and {MOST_VALUES:,} are the most")
    if file.tell() + count * dtype.itemsize > size:
        raise ValueError(f"it is cut short: it declares {count:,} numbers in {size:,} bytes")
    return tuple(shape)
