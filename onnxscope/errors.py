"""The errors that users see. Each names the node or the option, what is wrong with it, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST_WORD, LONGEST_TEXT = 160, 800  # characters: names in damaged models can be of any length


class ScopeError(Exception):
    """An error in one line: `where: cause; remedy`."""

    def __init__(self, cause: str, *, where: str = "", remedy: str = "") -> None:
        self.where, self.cause, self.remedy = one_line(where), one_line(cause), one_line(remedy)
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.cause}" if self.where else self.cause
        return f"{line}; {self.remedy}" if self.remedy else line


class BadModel(ScopeError):
    """The file is not a model that could be run."""


class BadOption(ScopeError):
    """An option names something that does not exist, or has a value that does not fit."""


class Unsupported(ScopeError):
    """The model is valid, but a part of it cannot be rewritten."""


class Undecided(Unsupported):
    """A part of the model depends on the values of an image, and no image was given to decide by."""


class OtherDecision(BadOption):
    """An image decides otherwise than the one that the scope is specialised on."""


class NotProved(ScopeError):
    """The rewritten model does not compute what the original model computes."""


class OutOfMemory(ScopeError):
    """The machine or the device does not have enough memory."""


class Crashed(ScopeError):
    """The process in which a model was opened came to an end, or had to be ended."""


class Fault(ScopeError):
    """A fault of onnxscope itself. Its `facts` can be sent as a report without the model."""

    facts: Mapping[str, Any] = {}

    @classmethod
    def of(cls, error: Exception, where: str = "", **facts: Any) -> Fault:
        """The fault that an unforeseen exception shows, with the place in this package that raised it."""
        kind, place = type(error).__name__, place_of(error)
        fault = cls(f"fault of onnxscope in {place} ({kind}: {error})", where=where, remedy=REPORT)
        fault.facts = {**facts, "exception": kind, "message": one_line(str(error)), "place": place}
        fault.__cause__ = error
        return fault


def place_of(error: Exception) -> str:
    """The last line of this package that an exception went through, such as `graph/builder.py:120`."""
    package = Path(__file__).parent
    walked = traceback.walk_tb(error.__traceback__)
    lines = [(Path(frame.f_code.co_filename), line) for frame, line in walked]
    inside = [f"{f.relative_to(package).as_posix()}:{k}" for f, k in lines if f.is_relative_to(package)]
    return inside[-1] if inside else "?"


def one_line(text: str) -> str:
    """Text from a model or a file made safe to print: printable, on one line, and of limited length."""
    words = (shortened(printable(word), LONGEST_WORD) for word in text.split())
    return shortened(" ".join(words), LONGEST_TEXT)


def printable(text: str) -> str:
    """The text with control characters escaped, as they could change the state of a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most: int) -> str:
    """The text, with its middle left out if it has more characters than `most`."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 4 :]}"


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A shape as errors show it, such as `1x3x224x224`; what is unknown is shown as `?`."""
    if shape is None:
        return "?"
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"


DEBUG = "ONNXSCOPE_DEBUG"  # an environment variable
REPORT = f"please report it with the model (set {DEBUG}=1 for the traceback)"
# What helps where a part of the model depends on values: the remedy of an Undecided.
DECIDE = "give an image that decides it: --image FILE, or image=… in Python"
# The exceptions of a rule that stumbles: over a damaged model, or by a fault of its own.
MISFITS = (AssertionError, LookupError, ValueError, TypeError, ArithmeticError)
