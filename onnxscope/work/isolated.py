"""A worker in a process of its own behind walls: what becomes of that process becomes an error here."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxscope import errors
from onnxscope.errors import Crashed, ScopeError
from onnxscope.work.jobs import Batch, Work
from onnxscope.work.messages import Late, Lost, receive, send
from onnxscope.work.walls import Limits

STARTED = 120.0  # seconds within which a process must have imported all that it needs
ENDED: dict[int, str] = {  # by the exit status of the host: what happened
    signal.SIGXCPU: "used more processor time than it may",
    signal.SIGXFSZ: "wrote a larger file than it may",
    signal.SIGKILL: "was killed, as the system does when memory runs out",
    signal.SIGSEGV: "crashed (SIGSEGV)",
    signal.SIGABRT: "crashed (SIGABRT)",
}
KINDS = {k.__name__: k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, ScopeError)}


def crash(number: int) -> str:
    """What a signal that ended a process tells."""
    return ENDED.get(number) or f"was ended by the signal {number}"


# Linux ends a process with the thread that started it, not with the process of that thread: hosts are started
# by a thread that stays, so that they outlive the workers that took them first.
STARTER = ThreadPoolExecutor(1, "hosts")


class Host:
    """A process that has imported what jobs need, and opens one at a time."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules, self.used = modules, False
        quiet = None if os.environ.get(errors.DEBUG) else subprocess.DEVNULL
        command = [sys.executable, "-m", "onnxscope.work.host", *modules]
        # one thread for each library: the process must have no other when it forks
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = STARTER.submit(
            subprocess.Popen,
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=quiet,
            bufsize=0,
            env={**os.environ, **single},
            start_new_session=True,
        ).result()

    def ask(
        self, facts: dict[str, Any], batch: Batch | None = None, seconds: float | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send a message and wait for the answer; a process that ends or is late becomes an error."""
        assert self._process.stdin and self._process.stdout
        try:
            if facts:
                send(self._process.stdin.fileno(), facts, batch)
            told, arrays = receive(self._process.stdout.fileno(), seconds)
        except Late:
            self.stop()
            raise Crashed(
                f"took more than {seconds:.0f} s", remedy="give it more time, or leave it out"
            ) from None
        except Lost as error:
            raise self.ended(error) from None
        if "error" in told:
            raise error_of(told["error"])
        return told, arrays

    def ended(self, lost: Lost) -> Crashed:
        """How the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self.stop()
        if code is None:
            return Crashed(f"sent what is no answer ({lost})", remedy="do not use the model")
        number = -code if code < 0 else code - 128 if code > 128 else 0
        how = crash(number) if number else f"ended with the status {code}"
        remedy = "treat the model as harmful, or give it more memory or time"
        return Crashed(f"its process {how}", remedy=remedy)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()


class Hosts:
    """Hosts that wait for work, so that each serves many jobs."""

    def __init__(self) -> None:
        self._idle: list[Host] = []
        self._lock = threading.Lock()

    def take(self, modules: tuple[str, ...]) -> Host:
        """A host that has imported these modules."""
        with self._lock:
            found = next((h for h in self._idle if h.modules == modules and h.alive), None)
            if found:
                self._idle.remove(found)
        if not found:
            found = Host(modules)
        if not found.used:
            found.ask({}, seconds=STARTED)
            found.used = True
        return found

    def give(self, host: Host) -> None:
        with self._lock:
            self._idle.append(host)

    def stop(self) -> None:
        with self._lock:
            for host in self._idle:
                host.stop()
            self._idle.clear()


HOSTS = Hosts()
atexit.register(HOSTS.stop)


@dataclass(frozen=True)
class Isolation:
    """The limits of the process, what it has imported, and the seconds that each answer may take."""

    limits: Limits | None  # None: no walls
    modules: tuple[str, ...] = ("onnxscope.api.model",)
    seconds: float | None = None


class Isolated:
    """A worker behind walls. It is opened with its work, and called like the work itself."""

    def __init__(self, work: Work, isolation: Isolation) -> None:
        self._work, self._isolation = work, isolation
        self.walls: dict[str, str] = {}
        self.peak = 0  # bytes
        self._folder = TemporaryDirectory(prefix="onnxscope-")  # for its temporary files
        self._host: Host | None = HOSTS.take(isolation.modules)
        request = {
            "job": work.job,
            "settings": dict(work.settings),
            "limits": isolation.limits and asdict(isolation.limits),
        }
        told, _ = self._asked({**request, "temporary": self._folder.name})
        self.walls = dict(told["walls"])

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        return self._asked({"call": True}, batch)[1]

    def __reduce__(self) -> tuple[type[Isolated], tuple[Work, Isolation]]:
        return Isolated, (self._work, self._isolation)

    def _asked(
        self, facts: dict[str, Any], batch: Batch | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        if self._host is None:
            raise Crashed("its process has ended", remedy="open it again")
        try:
            told, arrays = self._host.ask(facts, batch, self._isolation.seconds)
        except Crashed:
            self._host = None
            self._folder.cleanup()
            raise
        except ScopeError:
            if "job" in facts:  # it did not open: the host says that this job is closed
                self._closed()
            raise
        self.peak = max(self.peak, int(told.get("peak", 0)))
        return told, arrays

    def _closed(self) -> None:
        self._folder.cleanup()
        host, self._host = self._host, None
        if host is not None:
            with contextlib.suppress(Crashed):
                host.ask({}, seconds=STARTED)
                HOSTS.give(host)

    def close(self) -> None:
        """End the job; its host waits for another one."""
        if self._host is not None:
            host, self._host = self._host, None
            with contextlib.suppress(Crashed):
                host.ask({"close": True}, seconds=STARTED)
                HOSTS.give(host)
            self._folder.cleanup()


def error_of(told: dict[str, Any]) -> ScopeError:
    """An error of the other process."""
    kind = KINDS.get(str(told.get("kind")), Crashed)
    where, remedy = str(told.get("where", "")), str(told.get("remedy", ""))
    return kind(str(told.get("cause", "")), where=where, remedy=remedy)
