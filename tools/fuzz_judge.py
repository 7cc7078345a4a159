"""One case of the fuzzer: it is run in a folder of its own, and what comes out is judged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import fuzz_mutations
import numpy as np
from PIL import Image

FAULT = re.compile(r"fault of onnxscope in (\S+) \((\w+)")
PICTURE = "fuzz.png"
SECONDS, MOST_SECONDS = 30, 90  # of the processor for a case, and until a case without an end is killed


class TooLong(BaseException):
    """The alarm of a case. Nothing in the package catches it."""


def too_long(*_: object) -> None:
    raise TooLong


def said(descriptor: int) -> str:
    """What was written to a file since the last call."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 1 << 20).decode(errors="replace")
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return text


def judged(
    folder: Path, data: bytes, command: Sequence[str], run: Callable[[Sequence[str]], int]
) -> tuple[int | None, list[tuple[str, str]]]:
    """The exit code of a case, and what is wrong with how it ended."""
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "model.onnx").write_bytes(data)
    (place / fuzz_mutations.FILE).write_bytes(ramp().tobytes())
    (place / PICTURE).write_bytes(png())
    os.chdir(place)
    _ = said(2), said(1)  # what the mutations said
    code: int | None = None
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        code = run(command)
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = []
    except TooLong as error:
        found = [(f"hang in {where(error)}", "")]
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = [(f"escaped {type(error).__name__} in {where(error)}", str(error)[:300])]
    sys.stdout.flush()
    sys.stderr.flush()
    errors, printed = said(2), said(1)
    if code is not None:
        found += wrong(code, command, errors, printed)
        found += wrong_files(code, folder, place)
    for left in (folder / "tmp").iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return code, found


def where(error: BaseException) -> str:
    """The last line of the package in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if "/onnxscope/" in f.filename]
    return f"{inside[-1].filename.rpartition('/onnxscope/')[2]}:{inside[-1].lineno}" if inside else "?"


def wrong(code: int, command: Sequence[str], errors: str, printed: str) -> list[tuple[str, str]]:
    """What is wrong with an exit code and what was said."""
    lines, found = [line for line in errors.splitlines() if line.strip()], []
    if code not in (0, 1, 2):
        at = FAULT.search(errors)
        kind = f"fault {at[2]} in {at[1]}" if at else f"exit code {code}"
        found.append((kind, errors.strip()[:600]))
    if "Traceback" in errors + printed:
        found.append(("traceback", errors[-600:]))
    if code == 2 and (len(lines) != 1 or not errors.lstrip("\n").startswith("onnxscope: error: ")):
        found.append((f"an error in {len(lines)} lines", errors[:600]))
    if code == 0 and [line for line in lines if not line.startswith(("onnxscope", "warning"))]:
        found.append(("says something on stderr", errors[:600]))
    if "fault of onnxscope" in printed + errors and code != 70:
        at = FAULT.search(printed)
        found.append(
            (f"noted fault {at[2]} in {at[1]}" if at else "not proved", errors[:600] or printed[:600])
        )
    if "internal error" in printed + errors:
        found.append(("internal error", (printed + errors)[:600]))
    if "--json" in command:
        try:
            json.loads(printed)
        except ValueError as error:
            found.append((f"no JSON with exit code {code}", f"{error}: {printed[:300]}"))
    if any(not c.isprintable() and c not in "\n\r\t" for c in errors + printed):
        found.append(("control characters", repr((errors + printed)[:600])))
    return found


def wrong_files(code: int, folder: Path, place: Path) -> list[tuple[str, str]]:
    """What is wrong with the files that are left."""
    left = {p.name for p in place.iterdir()} - {"model.onnx", fuzz_mutations.FILE, PICTURE}
    found = []
    if code not in (0, 1) and left:
        found.append((f"files after exit code {code}", ", ".join(sorted(left))))
    if hidden := [name for name in left if name.startswith(".")]:
        found.append(("half-written files", ", ".join(hidden)))
    if temporary := [p.name for p in (folder / "tmp").iterdir()]:
        found.append(("temporary files", ", ".join(temporary)))
    if any(not name.startswith((".", "out")) for name in left):
        found.append(("other files", ", ".join(sorted(left))))
    return found


def ramp() -> np.ndarray:
    return np.linspace(-1, 1, 4096, dtype=np.float32)


@cache
def png() -> bytes:
    levels = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    made = BytesIO()
    Image.fromarray(levels).save(made, "PNG")
    return made.getvalue()
