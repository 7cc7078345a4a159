"""Walls around the process that opens a file from others: what it may use, read, write and reach.

Each wall is one that the system may lack, so `raise_walls` says which of them stand.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# what a process that is not limited by landlock(7) may do with files, by the version that knows it
EXECUTE, WRITE, READ, LIST = 1, 1 << 1, 1 << 2, 1 << 3
TRUNCATE = 1 << 14
KNOWN_SINCE = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
CHANGE = WRITE | TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13  # remove, make, rename
ON_FILES = EXECUTE | WRITE | READ | TRUNCATE | 1 << 15
TCP, SCOPED = 3, 3  # bind and connect; signals and sockets of other processes
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on all processors
NO_NEW_PRIVILEGES, SECCOMP, DIE_WITH_PARENT, FILTER = 38, 22, 1, 2
CALLS = {  # by processor: its number in seccomp(2), and the system calls that are refused
    "x86_64": (0xC000003E, {"network": (41, 425), "programs": (59, 322), "other processes": (101, 310, 311)}),
    "aarch64": (
        0xC00000B7,
        {"network": (198, 425), "programs": (221, 281), "other processes": (117, 270, 271)},
    ),
}
REFUSE, ALLOW = 0x00050000 | 1, 0x7FFF0000  # EPERM, or as it were
SYSTEM = ("/usr", "/lib", "/lib64", "/etc", "/proc", "/sys/devices", "/dev/urandom")
DEVICES = ("/dev", "/proc", "/sys")  # that CUDA reads and writes


@dataclass(frozen=True)
class Limits:
    """What a process may use, and the files and folders that it may read and write."""

    memory: int = 8 << 30  # bytes
    cpu_seconds: int = 3600
    file_bytes: int = 4 << 30  # of each file that it writes
    open_files: int = 512
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    cuda: bool = False
    own: str = ""  # the folder of its temporary files


def raise_walls(limits: Limits) -> dict[str, str]:
    """Put this process and all its threads to come behind walls for good; say of each how it stands.

    It must be called before the process has a second thread: the others would stay outside.
    """
    stands = use_limits(limits)
    if not sys.platform.startswith("linux"):
        return stands | dict.fromkeys(("files", "network", "programs"), "not limited on this system")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return stands | limit_files(libc, limits) | limit_calls(libc)


def use_limits(limits: Limits) -> dict[str, str]:
    """Limit memory, processor time, files and their sizes."""
    if sys.platform == "win32":
        return {"memory": "not limited on this system"}
    import resource

    wanted = {
        "memory": (resource.RLIMIT_DATA, limits.memory, f"{limits.memory / 1e9:.1f} GB"),
        "processor time": (resource.RLIMIT_CPU, limits.cpu_seconds, f"{limits.cpu_seconds} s"),
        "size of files": (resource.RLIMIT_FSIZE, limits.file_bytes, f"{limits.file_bytes / 1e9:.1f} GB"),
        "open files": (resource.RLIMIT_NOFILE, limits.open_files, str(limits.open_files)),
        "core dumps": (resource.RLIMIT_CORE, 0, "none"),
    }
    stands = {}
    for name, (kind, most, text) in wanted.items():
        try:
            hard = resource.getrlimit(kind)[1]
            lower = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # a second more for the processor time, so that its own signal ends the process and says why
            after = lower + 1 if kind == resource.RLIMIT_CPU and lower < hard % (1 << 63) else lower
            resource.setrlimit(kind, (lower, after))
            stands[name] = text
        except (OSError, ValueError) as error:
            stands[name] = f"not limited ({error})"
    return stands


def limit_files(libc: ctypes.CDLL, limits: Limits) -> dict[str, str]:
    """Let the process read what Python needs and the given files, and write the given ones, by Landlock."""
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return {"files": f"not limited (Landlock: {os.strerror(ctypes.get_errno())})"}
    handled = sum(bits for since, bits in KNOWN_SINCE.items() if version >= since)
    net, scoped = (TCP if version >= 4 else 0), (SCOPED if version >= 6 else 0)
    ruleset = struct.pack("<QQQ", handled, net, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    handle = libc.syscall(CREATE_RULESET, ruleset, len(ruleset), 0)
    own = [limits.own] if limits.own else []
    writable = ("/dev/null", *own, *limits.writable, *(DEVICES if limits.cuda else ()))
    allowed = {
        **dict.fromkeys((*SYSTEM, *python_folders(), *limits.readable), READ | LIST),
        **dict.fromkeys(
            writable,
            READ | LIST | CHANGE | 1 << 15,
        ),
    }
    for path, rights in allowed.items():
        allow(libc, handle, path, rights & handled)
    failed = libc.syscall(RESTRICT_SELF, handle, 0)
    os.close(handle)
    if failed:
        return {"files": f"not limited (Landlock: {os.strerror(ctypes.get_errno())})"}
    return {"files": f"only those of Python, the model and the pictures (Landlock {version})"}


def allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    """Give rights to a file, or to a folder with all that it holds; one that is not there needs none."""
    try:
        where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    held = rights if Path(path).is_dir() else rights & ON_FILES
    libc.syscall(ADD_RULE, ruleset, 1, struct.pack("<Qi", held, where), 0)
    os.close(where)


def python_folders() -> Iterable[str]:
    """Where Python finds what it imports."""
    package = str(Path(__file__).resolve().parents[1])
    return {package, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}


def limit_calls(libc: ctypes.CDLL) -> dict[str, str]:
    """Refuse the system calls that open sockets, start programs and look into other processes."""
    machine, kinds = CALLS.get(platform.machine(), (0, {}))
    if not kinds:
        return dict.fromkeys(("network", "programs"), "not limited on this processor")
    program = refusing(machine, [n for numbers in kinds.values() for n in numbers])
    held = ctypes.create_string_buffer(program)
    prog = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    if libc.prctl(SECCOMP, FILTER, prog, 0, 0):
        return dict.fromkeys(kinds, f"not limited (seccomp: {os.strerror(ctypes.get_errno())})")
    return dict.fromkeys(kinds, "none (seccomp)")


def refusing(machine: int, numbers: list[int]) -> bytes:
    """A program of seccomp(2) that refuses these system calls, and all calls of other processors."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    steps = [(load, 0, 0, 4), (equal, 1, 0, machine), (give, 0, 0, REFUSE), (load, 0, 0, 0)]
    last = len(numbers) + 1  # how far the last step lies behind the first comparison
    steps.append((at_least, last, 0, 0x40000000))  # calls of the x32 kind
    steps += [(equal, last - 1 - k, 0, number) for k, number in enumerate(numbers)]
    steps += [(give, 0, 0, ALLOW), (give, 0, 0, REFUSE)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def die_with_parent() -> None:
    """Let the system kill this process when the one that started it ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, 9, 0, 0, 0)


def shown(walls: Mapping[str, str]) -> str:
    """The walls in one line."""
    return ", ".join(f"{name}: {how}" for name, how in walls.items())
