"""What is done of a long job, kept on the disk, so that a killed job goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxscope.errors import BadOption


class Journal:
    """A file with a line for each answer. It begins with what the job depends on, or it is begun anew.

    A line that a kill cut short is left out, and the answer is computed again.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._head = json.dumps({"journal": identity}, sort_keys=True)
        self.done: dict[str, Any] = {}  # the answers of earlier runs
        self._added = 0
        whole = self._read()
        self._file = path.open("r+b" if whole else "w+b")
        if whole:
            self._file.truncate(whole)
            self._file.seek(whole)
        else:
            self._line(self._head)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        empty = not (self.done or self._added)
        if empty or isinstance(error, BadOption):  # the same command would end so again
            self.path.unlink(missing_ok=True)

    def add(self, key: str, answer: Any) -> None:
        """Keep an answer; it is on the disk when this returns, and not in memory."""
        self._line(json.dumps([key, answer]))
        self._added += 1

    def remove(self) -> None:
        """The job is finished and its results are written."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _line(self, text: str) -> None:
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Take in the answers that are there; how many bytes of the file hold them."""
        if not self.path.is_file():
            return 0
        size = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n") or (number == 0 and line.decode().strip() != self._head):
                    break
                if number:
                    key, answer = json.loads(line)
                    self.done[key] = answer
                size += len(line)
        return size
