"""Jobs that tests let workers do: each item says what happens."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np

from onnxscope.errors import BadModel


class Trial:
    """Answers each item with twice its number, and with what came of the text that it holds."""

    def __init__(self, refused: str = "", once: str = "") -> None:
        if refused:
            raise BadModel(refused, where="the model", remedy="leave it")
        self.once = once

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        said = [self.does(str(what)) for what in batch["do"]]
        return {"twice": 2 * batch["number"], "said": np.array(said)}

    def does(self, what: str) -> str:
        verb, _, of = what.partition(" ")
        return getattr(self, verb)(of)

    def nothing(self, _: str) -> str:
        return "done"

    def crash(self, _: str) -> str:
        return str(ctypes.string_at(0))

    def crash_once(self, _: str) -> str:
        if not Path(self.once).exists():
            Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    def fill(self, _: str) -> str:
        return str(np.ones(1 << 30).sum())

    def spin(self, _: str) -> str:
        while True:
            pass

    def sleep(self, _: str) -> str:
        signal.pause()
        return ""

    def refuse(self, of: str) -> str:
        raise BadModel("does not fit", where=of, remedy="leave it")

    def fail(self, _: str) -> str:
        raise AssertionError("our fault")

    def read(self, of: str) -> str:
        return tried(lambda: Path(of).read_bytes())

    def write(self, of: str) -> str:
        return tried(lambda: Path(of).write_text("x", encoding="utf-8"))

    def connect(self, _: str) -> str:
        return tried(socket.socket)

    def start(self, _: str) -> str:
        return tried(lambda: subprocess.run(["true"], check=True))

    def lie(self, _: str) -> str:
        for number in range(3, 20):  # wherever its answers go to: what is no message
            try:
                os.write(number, b"\xff" * 64)
            except OSError:
                continue
        return ""


def tried(do: object) -> str:
    try:
        do()  # type: ignore[operator]
    except OSError as error:
        return error.strerror or str(error)
    return "done"
