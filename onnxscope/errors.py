"""The errors that users see. Each names the node or the option, what is wrong with it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

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


def misfit(error: Exception, where: str) -> BadModel:
    """The error for an exception in a rule, which may be due to the model or to a fault of onnxscope."""
    return BadModel(
        f"its sizes or attributes do not fit together ({type(error).__name__}: {error})",
        where=where,
        remedy="check the model in onnxruntime, and report it if it runs there",
    )


# What helps where a part of the model depends on values: the remedy of an Undecided.
DECIDE = "give an image that decides it: --image FILE, or image=… in Python"
# The exceptions that a rule raises where a node's sizes or attributes do not fit together.
MISFITS = (AssertionError, LookupError, ValueError, TypeError, ArithmeticError)
