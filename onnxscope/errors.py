"""Every refusal is a ScopeError: which node or option, what is wrong, what to do about it."""

from __future__ import annotations

LONGEST_WORD, LONGEST_TEXT = 160, 800  # names in damaged models can be of any length


class ScopeError(Exception):
    """One clear line: where, cause, remedy."""

    def __init__(self, cause: str, *, where: str = "", remedy: str = "") -> None:
        self.where, self.cause, self.remedy = one_line(where), one_line(cause), one_line(remedy)
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.cause}" if self.where else self.cause
        return f"{line}; {self.remedy}" if self.remedy else line


class BadModel(ScopeError):
    """The file is not a model that anything could run."""


class BadOption(ScopeError):
    """An option names something that is not there or does not fit."""


class Unsupported(ScopeError):
    """A sound model holds something that cannot be rewritten."""


class NotProved(ScopeError):
    """What was written does not compute what the original computes."""


class OutOfMemory(ScopeError):
    """The machine or the device has no room for it."""


def one_line(text: str) -> str:
    """Text from a model as it may be shown: printable, on one line, and of bounded length."""
    words = (shortened(printable(word), LONGEST_WORD) for word in text.split())
    return shortened(" ".join(words), LONGEST_TEXT)


def printable(text: str) -> str:
    """The text with control characters spelled out, which could steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 4 :]}"


def misfit(error: Exception, where: str) -> BadModel:
    """What a rule stumbled over, which may be the model's fault or ours."""
    return BadModel(
        f"its sizes or attributes do not fit together ({type(error).__name__}: {error})",
        where=where,
        remedy="check the model in onnxruntime, and report it if it runs there",
    )


MISFITS = (
    AssertionError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
)  # what sizes that do not fit together raise in a rule
