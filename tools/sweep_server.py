"""A process that has imported what is slow to import, and forks for each job, which has a time and a memory limit."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Failed

SECONDS, BYTES = 420, 16 << 30  # of a job
LONGEST = 300  # characters of a reason
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}


def serve(answer: Callable[[Any], Any], prepare: Callable[[Any], None] = lambda job: None) -> None:
    """Answer the jobs on standard input, a line of JSON each, in children of this process."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print must not be taken for an answer
    for line in sys.stdin:
        job = json.loads(line)
        prepare(job)
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            channel.write(json.dumps(answered(answer, job)) + "\n")
            channel.flush()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            channel.write(json.dumps({"failed": f"its process ended with signal {status}"}) + "\n")
            channel.flush()


def answered(answer: Callable[[Any], Any], job: Any) -> dict[str, Any]:
    try:
        return {"answer": answer(job)}
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:LONGEST]
        return {"failed": f"{type(error).__name__}: {text}" if text else type(error).__name__}


class Server:
    """The other end: a tool that serves, started by an interpreter when the first job comes."""

    def __init__(self, python: str, tool: Path) -> None:
        self.command = [python, str(tool)]
        self.process: subprocess.Popen[str] | None = None

    def ask(self, job: Any, seconds: float = SECONDS) -> Any:
        """The answer to a job; what does not answer in time is killed, and started anew for the next job."""
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **QUIET},
                start_new_session=True,
            )
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin and stdout
        with contextlib.suppress(BrokenPipeError):  # it ended between two jobs, which reading finds out
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
        ready = select.select([stdout], [], [], seconds)[0]
        line = stdout.readline() if ready else ""
        if not line:
            self.close()
            raise Failed("its process ended" if ready else f"it took more than {seconds:g} s")
        found = json.loads(line)
        if "failed" in found:
            raise Failed(found["failed"])
        return found["answer"]

    def close(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(BrokenPipeError), self.process:
                pass  # its end is waited for, and its pipes are closed
            self.process = None
