"""The options that verbs of the command line share, and what they become."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from onnxscope.errors import BadOption

GOOD, FELL_SHORT, BAD_INPUT, FAULT = 0, 1, 2, 70  # exit codes
INTERRUPTED = 130  # what typer makes of Ctrl-C
SIZE = re.compile("[0-9]{1,9}")
MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(|k|M|G|T)(i?)B?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="The .onnx file.")]
ModelOrScope = Annotated[
    Path, typer.Argument(metavar="MODEL|SCOPE", help="The .onnx file, rewritten or not.")
]
InputShape = Annotated[
    list[str] | None, typer.Option(metavar="NAME:1x3x224x224", help="Fix an input's free sizes. Repeatable.")
]
ImageInput = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The tensor that is the image. [default: the only image-like input]"),
]
Output = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The tensor to explain. [default: the first output, before a softmax]"),
]
DefaultPolicy = Annotated[
    str | None,
    typer.Option(
        metavar="freeze|taylor",
        help="How non-linear nodes are frozen: their gain, or their tangent. [default: freeze]",
    ),
]
PolicyFor = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE|OP=POLICY", help="Another policy for one node or operator. Repeatable."),
]
Opaque = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE|OP", help="Take a node or operator as a constant decision. Repeatable."),
]
WayBack = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="What the transposed branch computes: gradient (Fᵀ), or an "
        "explanation method, such as guided. [default: gradient]",
    ),
]
Labels = Annotated[Path | None, typer.Option(metavar="FILE", help="Names of the scores, one a line.")]
Score = Annotated[
    str | None, typer.Option(metavar="N|LABEL", help="The score to explain. [default: the highest]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def choices(
    input_shape: list[str] | None,
    image_input: str | None,
    output: str | None,
    policy: str | None,
    policy_for: list[str] | None,
    opaque: list[str] | None,
) -> dict[str, Any]:
    """The options of a rewrite as the API takes them."""
    return {
        "input_shapes": dict(once("--input-shape", map(named_shape, input_shape or ()))),
        "image": image_input,
        "output": output,
        "policy": policy,
        "policy_for": dict(once("--policy-for", map(named_policy, policy_for or ()))),
        "opaque": opaque or (),
    }


def once(option: str, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    names = set()
    for name, value in pairs:
        if name in names:
            raise BadOption(f"'{name}' is named twice", where=option, remedy="leave one out")
        names.add(name)
        yield name, value


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`input:0:1x3x224x224` is the input `input:0`."""
    name, _, sizes = text.rpartition(":")
    shape = tuple(int(size) if SIZE.fullmatch(size) else 0 for size in sizes.split("x"))
    if not name or 0 in shape:
        raise BadOption(
            "not a name and sizes", where=f"--input-shape {text}", remedy="write it as NAME:1x3x224x224"
        )
    return name, shape


def named_policy(text: str) -> tuple[str, str]:
    name, _, policy = text.rpartition("=")
    if not name:
        raise BadOption(
            "not a name and a policy",
            where=f"--policy-for {text}",
            remedy="write it as NODE=freeze or OP=taylor",
        )
    return name, policy


def byte_count(text: str) -> int:
    """`2GB` is two thousand million, `2GiB` two times 2³⁰."""
    found = MEMORY.fullmatch(text.strip())
    if not found:
        raise BadOption(f"'{text}' is no size", where="--memory", remedy="write it as 2GB or 500MB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** POWERS[unit.lower()])


def joined(make: Callable[..., Any], **instead: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A verb that takes the options of `make` before its own, and what `make` makes of its name and them as its first argument.

    `instead` gives some of these options another type.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        shared, own = (
            [p.replace(annotation=instead.get(p.name, p.annotation)) for p in parameters_of(make)],
            parameters_of(verb),
        )

        def command(**given: Any) -> None:
            verb(make(verb.__name__.rstrip("_"), **{p.name: given.pop(p.name) for p in shared}), **given)

        parameters = [*shared, *own]
        command.__name__, command.__doc__ = verb.__name__, verb.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """A function's parameters after the first one, with the types that their annotations name."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [
        p.replace(kind=p.KEYWORD_ONLY, annotation=eval(p.annotation, function.__globals__))
        for p in parameters
    ]
