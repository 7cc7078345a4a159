"""The child processes of the fuzzer: each makes and runs many cases, within limits, and judges what comes out."""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import fuzz_mutations
import fuzz_seeds
import numpy as np
from fuzz_seeds import Family

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
PICTURE = "fuzz.png"
SECONDS, MOST_SECONDS = 30, 90  # of the processor for a case, and until a case without an end is killed
MOST_CASES = 3000  # of one process: a new one starts with the memory of the first case
CODES = (0, 1, 2, 70)
IMAGE = ["--image", PICTURE, "--preset", "unit"]
READING = {
    "rewrite": ["-o", "out.onnx"],
    "row": [*IMAGE, "--pixel", "0", "-o", "out.npz"],
    "residual": [*IMAGE, "-o", "out.npz"],
    "ledger": [*IMAGE, "-o", "out.png"],
    "votes": [*IMAGE, "-o", "out.npz"],
    "tour": [*IMAGE, "--seconds", "5", "-o", "out.html"],
}
FAULT = re.compile(r"fault of onnxscope in (\S+) \((\w+)")


class Limits(NamedTuple):
    memory: int  # bytes of addresses beyond those of the process at its start
    file: int = 256 << 20


class Finding(NamedTuple):
    seed: int
    kind: str
    text: str


class TooLong(BaseException):
    """The alarm of a case. Nothing in the package catches it."""


def build_seeds() -> Mapping[str, Family]:
    """The seeds, built in a process of their own: a process with onnxruntime's threads must not fork."""
    handle, name = tempfile.mkstemp(dir=FAST)
    os.close(handle)
    if (pid := os.fork()) == 0:
        with silent():
            Path(name).write_bytes(pickle.dumps(fuzz_seeds.families()))
        os._exit(0)
    os.waitpid(pid, 0)
    try:
        seeds: Mapping[str, Family] = pickle.loads(Path(name).read_bytes())
        return seeds
    finally:
        Path(name).unlink()


@contextlib.contextmanager
def silent() -> Any:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


# cases


def mutated(seed: int, seeds: Mapping[str, Family]) -> bytes:
    """The model of a case."""
    r = random.Random(seed)
    data = fuzz_seeds.drawn(r, seeds)
    if r.random() < 0.85:
        model = fuzz_seeds.parsed(data)
        for _ in range(r.choice((1, 1, 1, 2, 2, 3, 5))):
            for _ in range(10):  # a mutation that finds nothing to change is replaced
                with contextlib.suppress(Exception):
                    r.choice(fuzz_mutations.STRUCTURED)(r, model)
                    break
        data = model.SerializeToString()
    if r.random() < 0.15 and data:
        raw = bytearray(data)
        r.choice(fuzz_mutations.BYTES)(r, raw)
        data = bytes(raw)
    return data


def arguments(seed: int, verbs: Mapping[str, int]) -> list[str]:
    r = random.Random(-seed - 1)
    verb = r.choices(list(verbs), list(verbs.values()))[0]
    more = list(READING.get(verb, ["--image", PICTURE] if verb == "diff" else []))
    if verb == "diff":
        more = ["model.onnx", *more]
    if verb in ("rewrite", "doctor", "verify") and r.random() < 0.3:
        more += ["--image", PICTURE]
    if r.random() < 0.3:
        more += ["--policy", "taylor"]
    if r.random() < 0.3:
        more += ["--json"]
    return [verb, "model.onnx", *more]


class Child:
    """A process that runs cases one after the other, as its parent sees it."""

    def __init__(
        self, seeds: Mapping[str, Family], verbs: Mapping[str, int], limits: Limits, keep: Path | None
    ) -> None:
        self.seeds, self.verbs, self.limits, self.keep = seeds, verbs, limits, keep
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=FAST))
        self.shared = mmap.mmap(-1, 128)  # the case in progress, when it began, and a count of each exit code
        self.cases: Sequence[int] = ()
        self.pid = self.taken = 0
        self.killed = False

    def start(self, cases: Sequence[int]) -> None:
        self.cases, self.killed = cases, False
        if not cases:
            return
        self.shared[:16] = struct.pack("qd", 0, time.time())
        if (pid := os.fork()) == 0:
            self._work(cases)
        self.pid = pid

    @property
    def is_busy(self) -> bool:
        return bool(self.pid)

    def codes(self) -> Counter[int]:
        return Counter(dict(zip(CODES, struct.unpack("4q", self.shared[16:48]), strict=True)))

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def watched(self) -> list[Finding]:
        """What was found since the last look. A process that died is replaced."""
        found = self._reported()
        if not self.pid:
            return found
        at, began = struct.unpack("qd", self.shared[:16])
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            if time.time() - began > MOST_SECONDS and not self.killed:
                self.killed = True
                os.kill(self.pid, signal.SIGKILL)
            return found
        found += self._reported()
        self.pid, seed = 0, self.cases[min(at, len(self.cases) - 1)]
        if at < len(self.cases) and status:
            name = (
                "hang"
                if self.killed
                else f"crash {signal.Signals(status & 127).name if status & 127 else status}"
            )
            verb = arguments(seed, self.verbs)[0]
            said = (self.folder / "said").read_text(errors="replace").split("\n")
            found.append(Finding(seed, f"{name} in {verb}", " / ".join(said[-3:])[:300]))
            self._keep(seed)
            at += 1
        self.start(self.cases[at:])
        return found

    def _reported(self) -> list[Finding]:
        file = self.folder / "findings"
        lines = file.read_text().splitlines() if file.exists() else []
        new, self.taken = lines[self.taken :], len(lines)
        return [Finding(*json.loads(line)) for line in new]

    def _keep(self, seed: int) -> None:
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{seed}.onnx").write_bytes(mutated(seed, self.seeds))
            (self.keep / f"{seed}.txt").write_text(" ".join(arguments(seed, self.verbs)) + "\n")

    def command(self, seed: int) -> list[str]:
        return ["onnxscope", *arguments(seed, self.verbs)]

    # in the child

    def _work(self, cases: Sequence[int]) -> NoReturn:
        try:
            run = prepared(self.folder, self.limits)
            for k, seed in enumerate(cases[:MOST_CASES]):
                data = mutated(seed, self.seeds)
                self.shared[:16] = struct.pack("qd", k, time.time())
                code, findings = judged(self.folder, data, arguments(seed, self.verbs), run)
                if code in CODES:
                    at = 16 + 8 * CODES.index(code)
                    self.shared[at : at + 8] = struct.pack(
                        "q", 1 + struct.unpack("q", self.shared[at : at + 8])[0]
                    )
                with (self.folder / "findings").open("a") as file:
                    file.writelines(json.dumps([seed, *f]) + "\n" for f in findings)
                if findings:
                    self._keep(seed)
            self.shared[:16] = struct.pack("qd", min(len(cases), MOST_CASES), time.time())
        except BaseException:
            traceback.print_exc()
            os._exit(3)
        os._exit(0)


def prepared(folder: Path, limits: Limits) -> Callable[[Sequence[str]], int]:
    """The command line as a function, in a process that has its limits, and whose output goes to a file."""
    import typer

    from onnxscope import runtime
    from onnxscope.cli import main as cli

    said = os.open(folder / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    (folder / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    printed = os.open(folder / "printed", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(said, 2)
    options = runtime.session_options
    runtime.session_options = lambda optimise, threads, written: options(optimise, 1, written)
    cli.app = typer.main.get_command(cli.app)  # built once, not for every case
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + limits.memory,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, too_long)
    gc.freeze()
    return cli.run


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


def png() -> bytes:
    global DRAWN
    if not DRAWN:
        import io

        from PIL import Image

        levels = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
        made = io.BytesIO()
        Image.fromarray(levels).save(made, "PNG")
        DRAWN = made.getvalue()
    return DRAWN


DRAWN = b""
