"""Verbs that put a question to one model and one image."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from onnxscope.cli.groups import typed
from onnxscope.cli.options import Asked
from onnxscope.errors import BadOption


def question(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose first parameter is a question: it takes the options of every question and then its own."""
    return question_of(Asked)(verb)


def question_of(group: type[Asked]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same with the options of this group."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        def run(asked: Asked, **own: Any) -> None:
            from onnxscope.cli.question import Question  # only now: it imports all the rest

            if asked.ask and own.get("score") is not None:
                raise BadOption("a question names what to explain", where="--score", remedy="leave one out")
            verb(Question(verb.__name__.rstrip("_"), asked), **own)

        hints = get_type_hints(verb, localns={"Question": group}, include_extras=True)
        first, *others = inspect.signature(verb).parameters
        return typed(verb, {"asked": hints[first], **{name: hints[name] for name in others}}, run)

    return decorate
