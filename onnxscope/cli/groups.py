"""Groups of options: a verb has one parameter for each, and the command line all their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def command(verb: Callable[..., None]) -> Callable[..., None]:
    """A function for typer: each parameter of the verb that is a group of options becomes these options."""
    return typed(verb, get_type_hints(verb, include_extras=True), verb)


def typed(
    verb: Callable[..., None], hints: Mapping[str, Any], run: Callable[..., None]
) -> Callable[..., None]:
    """A function for typer with the verb's name and help, which calls `run` with options of these types."""
    defaults = {p.name: p.default for p in inspect.signature(verb).parameters.values()}
    names = [name for name in hints if name != "return"]

    def called(**given: Any) -> None:
        run(**{name: value_of(name, hints[name], given) for name in names})

    parameters = [q for n in names for q in expanded(n, hints[n], defaults.get(n, inspect.Parameter.empty))]
    called.__name__, called.__doc__ = verb.__name__, verb.__doc__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def value_of(name: str, kind: Any, given: Mapping[str, Any]) -> Any:
    """The value that was given for an option, or a group filled with the values of its options."""
    if not is_dataclass(kind):
        return given[name]
    inside = get_type_hints(kind, include_extras=True)
    return kind(**{f.name: value_of(f.name, inside[f.name], given) for f in fields(kind)})  # type: ignore[operator]


def expanded(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    """The parameter for an option, or the parameters for all options of a group."""
    if not is_dataclass(kind):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        return
    inside = get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        yield from expanded(f.name, inside[f.name], default)
