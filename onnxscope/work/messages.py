"""Messages between a process and the one that it watches: JSON and arrays, of which nothing is executed.

A watched process may have been taken over by the file that it reads, so nothing that it sends is unpickled,
and no length that it names is believed beyond a limit.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

LENGTH = struct.Struct("<Q")
MOST_TEXT, MOST_VALUES = 256 << 20, 8 << 30  # bytes of a message's JSON, and of all its arrays
TYPE = re.compile("[<>|=]?[biufU][0-9]{1,6}")


class Lost(Exception):
    """The other side is gone, or sends what is no message."""


class Late(Exception):
    """The other side took longer than it may."""


def send(to: int, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a message to a file descriptor."""
    held = {
        name: np.ascontiguousarray(a.astype(str) if a.dtype == object else a)  # as engines keep texts
        for name, a in (arrays or {}).items()
    }
    described = [[name, a.dtype.str, list(a.shape)] for name, a in held.items()]
    text = json.dumps({"facts": facts, "arrays": described}).encode()
    try:
        write(to, memoryview(LENGTH.pack(len(text)) + text))
        for array in held.values():
            write(to, array.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise Lost(str(error)) from error


def write(to: int, data: memoryview) -> None:
    while data:
        data = data[os.write(to, data[: 1 << 20]) :]


def receive(of: int, seconds: float | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a message from a file descriptor, which must come within so many seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    size = LENGTH.unpack(read(of, LENGTH.size, deadline))[0]
    if size > MOST_TEXT:
        raise Lost(f"a message of {size} bytes")
    try:
        message = json.loads(bytes(read(of, size, deadline)))
        described = [(str(n), np.dtype(kind_of(d)), tuple(map(int, s))) for n, d, s in message["arrays"]]
        facts = dict(message["facts"])
    except (ValueError, LookupError, TypeError) as error:
        raise Lost(f"a message that is damaged ({error})") from error
    if sum(t.itemsize * math.prod(shape) for _, t, shape in described) > MOST_VALUES:
        raise Lost("arrays that are too large")
    return facts, {
        name: np.frombuffer(read(of, t.itemsize * math.prod(shape), deadline), t).reshape(shape)
        for name, t, shape in described
    }


def kind_of(text: Any) -> str:
    """The text of an array's type, which must be one of numbers or of text."""
    if not isinstance(text, str) or not TYPE.fullmatch(text):
        raise ValueError(f"type {text!r}")
    return text


def read(of: int, size: int, deadline: float | None) -> bytearray:
    """Exactly so many bytes, and none of the next message."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        if deadline is not None and not select.select([of], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise Late
        try:
            piece = os.readv(of, [view[done : done + (1 << 20)]])
        except OSError as error:
            raise Lost(str(error)) from error
        if not piece:
            raise Lost("end of file")
        done += piece
    return data
