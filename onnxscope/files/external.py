"""Files beside a model that hold its weights. They come from anybody, so they are opened with care.

A file is opened component by component below the model's folder, without following any link, and what is
checked is the open descriptor itself. So nobody can exchange a file between the check and the reading.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from onnx import TensorProto

from onnxscope.errors import BadModel
from onnxscope.files.checks import EXPORT_AGAIN

CHUNK = 4 << 20  # bytes of a file that are read at a time
READ = ("location", "offset", "length", "checksum")  # the keys of the standard; all others are ignored
DIGITS = 19  # of the largest offset that a file can have
# Windows opens no file relative to a folder's descriptor. There each component is looked at before the file
# is opened, and the open file is compared with what was looked at: only a folder could be exchanged between.
BY_DESCRIPTOR = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_PATH", os.O_RDONLY)
FILE = os.O_RDONLY | getattr(os, "O_BINARY", 0)
for _flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):  # a FIFO would wait for its writer
    FILE |= getattr(os, _flag, 0)
MEMORY = "_ORT_MEM_ADDR_"  # marks a location by which onnxruntime reads memory instead of a file
JUNCTION = 0xA0000003  # Windows' links of folders, which are not S_ISLNK
COPIED = "cp -rL MODEL_FOLDER COPY, and use the model in COPY"  # caches of downloads are folders of links
INSIDE = "move the file into the model's folder and name it relative to that"


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor are: a file below a folder, which stays as it was when it was checked."""

    folder: Path
    location: str
    offset: int
    state: str  # of the file when it was checked: device, inode, size and time

    @property
    def path(self) -> Path:
        return self.folder / self.location

    def write(self, tensor: TensorProto, length: int) -> None:
        """Store the place in the tensor. onnx itself does not open it, as it opens no absolute path."""
        del tensor.external_data[:]
        held = {"location": self.path, "offset": self.offset, "length": length}
        for key, value in {**held, "folder": self.folder, "state": self.state}.items():
            tensor.external_data.add(key=key, value=str(value))

    @classmethod
    def of(cls, tensor: TensorProto) -> Place:
        """The place that was stored in a checked tensor."""
        held = {e.key: e.value for e in tensor.external_data}
        folder = Path(held["folder"])
        location = str(Path(held["location"]).relative_to(folder))
        return cls(folder, location, int(held["offset"]), held["state"])

    @contextlib.contextmanager
    def unchanged(self, where: str) -> Iterator[int]:
        """The descriptor of the file, which must be the one that was checked."""
        with opened(where, self.folder, self.location) as (file, found):
            if self.state != state_of(found):
                raise BadModel(
                    "the file was changed or exchanged after it had been checked",
                    where=f"'{self.path}'",
                    remedy="run it again while nothing writes to the file",
                )
            yield file

    def mapped(self, where: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The values where they lie in the file: only what is used of them takes memory."""
        with self.unchanged(where) as file, os.fdopen(os.dup(file), "rb") as data:
            return np.memmap(data, dtype, "r", self.offset, shape)

    def chunks(self, where: str, length: int, start: int = 0) -> Iterator[bytes]:
        """So many bytes from a start on, piece by piece."""
        with self.unchanged(where) as file:
            os.lseek(file, self.offset + start, os.SEEK_SET)
            while length:
                piece = os.read(file, min(length, CHUNK))
                if not piece:
                    raise BadModel(
                        "the file became shorter while it was read",
                        where=f"'{self.path}'",
                        remedy="try again",
                    )
                length -= len(piece)
                yield piece


def described(tensor: TensorProto, where: str) -> Mapping[str, str]:
    """What a model says about the data of a tensor; refuses what the standard does not allow."""
    held = [(e.key, e.value) for e in tensor.external_data if e.key in READ]
    problem = "" if len(dict(held)) == len(held) else "a key is given twice"
    for key, value in held:
        if key in ("offset", "length") and value and not whole(value):
            problem = f"its {key} '{value[:40]}' is not a number of bytes"
    if problem:
        raise BadModel(
            f"its external data is described wrongly ({problem})", where=where, remedy=EXPORT_AGAIN
        )
    return dict(held)


def whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS


@contextlib.contextmanager
def opened(where: str, folder: Path, location: str) -> Iterator[tuple[int, os.stat_result]]:
    """The descriptor of a regular file at a location below a folder, and what is known about the file."""
    parts = safe_parts(where, location)
    try:
        file = descriptor(where, folder, location, parts)
        try:
            found = os.fstat(file)
            refuse(where, location, found)
            yield file, found
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise BadModel(
            f"its data is missing: there is no file '{location}' in the model's folder",
            where=where,
            remedy="copy the file there",
        ) from error
    except OSError as error:
        raise BadModel(
            f"its external data '{location[:80]}' cannot be read ({error.strerror})",
            where=where,
            remedy="check the file",
        ) from error


def state_of(found: os.stat_result) -> str:
    """What changes if a file is changed, or if another one takes its place."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def safe_parts(where: str, location: str) -> tuple[str, ...]:
    """The components of a location, which must lead down from the folder on every system."""
    parts, other = Path(location).parts, PureWindowsPath(location)
    problem = ""
    if not parts or Path(location).is_absolute() or other.anchor:
        problem = "is not relative" if location != "." else "is not that of a file"
    elif ".." in parts or ".." in other.parts:
        problem = "leads out of the model's folder"
    elif "\0" in location:
        problem = "holds a null byte"
    elif MEMORY in location:
        problem = "is an address in the memory of the program that wrote it"
    if problem:
        raise BadModel(
            f"the path of its external data, '{location[:80]}', {problem}", where=where, remedy=INSIDE
        )
    return parts


def descriptor(where: str, folder: Path, location: str, parts: tuple[str, ...]) -> int:
    """The open file, of which each component has been looked at. Only the last may be a file."""
    if not BY_DESCRIPTOR:
        for depth in range(1, len(parts) + 1):
            found = os.lstat(folder.joinpath(*parts[:depth]))
            refuse(where, location, found, inner=depth < len(parts))
        file = os.open(folder.joinpath(*parts), FILE)
        if not os.path.samestat(found, os.fstat(file)):
            os.close(file)
            raise exchanged(where, location)
        return file
    at = os.open(folder, FOLDER)
    try:
        for part in parts[:-1]:
            refuse(where, location, os.stat(part, dir_fd=at, follow_symlinks=False), inner=True)
            deeper = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = deeper
        refuse(where, location, os.stat(parts[-1], dir_fd=at, follow_symlinks=False))
        return os.open(parts[-1], FILE, dir_fd=at)
    finally:
        os.close(at)


def exchanged(where: str, location: str) -> BadModel:
    return BadModel(
        f"its external data '{location[:80]}' was exchanged while it was opened",
        where=where,
        remedy="run it again while nothing writes into the folder",
    )


def refuse(where: str, location: str, found: os.stat_result, *, inner: bool = False) -> None:
    """Refuse what could be a way to other files: links of both kinds, and all that is no regular file."""
    problem, remedy = "", INSIDE
    if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", None) == JUNCTION:
        problem = "is a symbolic link, or lies behind one, and may lead anywhere"
        remedy = f"copy the files themselves, for example with {COPIED}"
    elif inner:
        problem = "" if stat.S_ISDIR(found.st_mode) else "lies below a file that is no folder"
    elif not stat.S_ISREG(found.st_mode):
        problem = "is a folder, a device or a pipe, not a regular file"
    elif found.st_nlink > 1:
        problem = f"is a hard link: {found.st_nlink} names share the file, and others may lie anywhere"
        remedy = f"make a copy of its own, for example with {COPIED}"
    if problem:
        raise BadModel(f"its external data '{location[:80]}' {problem}", where=where, remedy=remedy)
