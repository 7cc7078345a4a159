"""A process that opens jobs for others: it has imported all that jobs need, and forks for each of them.

It is started as `python -m onnxscope.work.host MODULE…` and talks over its standard input and output. What
the process that it forks does to itself ends with that process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any

from onnxscope.errors import DEBUG, Fault, ScopeError
from onnxscope.work.jobs import Work
from onnxscope.work.messages import Lost, receive, send
from onnxscope.work.walls import Limits, die_with_parent, raise_walls


def main(modules: Sequence[str]) -> None:
    """Import the modules, then serve one job after the other until the standard input ends."""
    die_with_parent()
    heard, said = os.dup(0), os.dup(1)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1) if os.environ.get(DEBUG) else (0, 1, 2):  # libraries print what no one reads
        os.dup2(quiet, number)
    for name in modules:
        importlib.import_module(name)
    send(said, {"ready": os.getpid()})
    with contextlib.suppress(Lost):
        while True:
            request, _ = receive(heard)
            child = os.fork()
            if not child:
                os._exit(serve(request, heard, said))
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            if code:  # a message may be cut short: this process ends as its child did
                os._exit(128 - code if code < 0 else code)
            send(said, {"closed": True})


def serve(request: dict[str, Any], heard: int, said: int) -> int:
    """Open the job behind walls and answer calls until there are no more."""
    die_with_parent()
    try:
        tempfile.tempdir = folder = request["temporary"]
        limits = request["limits"] and Limits(**{**request["limits"], "own": folder})
        walls = raise_walls(limits) if limits else {}
        job = answered(said, lambda: (Work(request["job"], request["settings"]).opened(), {"walls": walls}))
        while job is not None:
            facts, batch = receive(heard)
            if "close" in facts:
                return 0
            answered(said, lambda b=batch: (None, {}, job(b)))
    except Lost:
        return 1
    return 0


def answered(said: int, work: Any) -> Any:
    """Do the work and tell what came of it; None where it failed."""
    try:
        found, facts, *arrays = work()
        send(said, {**facts, "peak": peak()}, *arrays)
        return found
    except ScopeError as error:
        told = {"kind": type(error).__name__, "where": error.where}
        send(said, {"error": {**told, "cause": error.cause, "remedy": error.remedy}})
    except MemoryError:
        send(said, {"error": {"kind": "OutOfMemory", "cause": "there is not enough memory"}})
    except RecursionError:
        send(said, {"error": {"kind": "BadModel", "cause": "its parts are nested too deeply"}})
    except Lost:
        raise
    except Exception as error:
        traceback.print_exc()
        fault = Fault.of(error)
        send(said, {"error": {"kind": "Fault", "cause": fault.cause, "remedy": fault.remedy}})
    return None


def peak() -> int:
    """The most memory in bytes that this process had."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(sys.argv[1:])
