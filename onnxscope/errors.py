"""Every refusal is a ScopeError: which node or option, what is wrong, what to do about it."""

from __future__ import annotations


class ScopeError(Exception):
    """One clear line: where, cause, remedy."""

    def __init__(self, cause: str, *, where: str = "", remedy: str = "") -> None:
        self.where = where
        self.cause = " ".join(cause.split())
        self.remedy = " ".join(remedy.split())
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
