"""The Python reference: every public name with its signature and its docstring, as Markdown."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnxscope
from onnxscope.api import choices, compared_images, opening, two_models
from onnxscope.api import model as answering
from onnxscope.ask import interpreter as asking
from onnxscope.files.results import Result
from onnxscope.linear.svd import decompose

WIDTH = 100  # columns of a signature
GROUPS = {  # title → public names, in the order of the page
    "Opening a model": "load rewrite doctor verify read_image find_labels",
    "A model and an image": "OpenModel LinearInterpreter Preprocess",
    "Two exports of one network": "diff Difference runtime_noise RuntimeNoise",
    "A scope and its proofs": "Scope Step Diagnosis Report Check",
    "Answers": "PixelArray Singular Ledger Contributions Contribution Votes Explanation Tour Drawing",
    "Errors": "ScopeError BadModel BadOption Unsupported Undecided OtherDecision NotProved OutOfMemory",
}
WITHOUT_ENTRY = {"__version__"}  # neither a class nor a function
CONSTRUCTED = {"Preprocess"}  # the classes that users construct themselves
RESULT = "What all results share"
OPTIONS = {  # the annotation of keyword arguments that are described once → their title and class
    "Unpack[Choices]": ("Options of a rewrite", choices.Choices),
    "Unpack[SvdOptions]": ("Options of a decomposition", decompose.Settings),
}
TYPES = {  # names of types in signatures → where each is defined, and what it is
    "ModelSource": (opening, "a model"),
    "Given": (choices, "an image, or all inputs of a model by their names"),
    "Image": (two_models, "a file, an array of the model's own values, or the values of all inputs by name"),
    "Images": (compared_images, "an image, a folder of pictures, or a sequence of images"),
    "Pixel": (asking, "a pixel (channel, y, x), or the number of an element"),
    "Score": (answering, "a score by its number or its label; `None` is the highest one"),
}
RENAMED = {  # classes that are public under another name
    getattr(onnxscope, name).__name__: name
    for name in onnxscope.__all__
    if inspect.isclass(getattr(onnxscope, name)) and getattr(onnxscope, name).__name__ != name
}


@dataclass(frozen=True)
class Field:
    """A field of a class as its source has it."""

    name: str
    kind: str
    default: str
    about: str

    def __str__(self) -> str:
        default = f" = {self.default}" if self.default else ""
        about = f": {escaped(self.about)}" if self.about else ""
        return f"- `{self.name}: {self.kind}{default}`{about}"


def python() -> str:
    """The whole reference."""
    listed = {name for names in GROUPS.values() for name in names.split()}
    if apart := listed ^ (set(onnxscope.__all__) - WITHOUT_ENTRY):
        raise SystemExit(f"GROUPS must hold the public names and no others: see {', '.join(sorted(apart))}")
    shared = {"Opening a model": [*options(), *types()], "Answers": [*what_results_share()]}
    parts = []
    for title, names in GROUPS.items():
        parts += [f"## {title}", *(part for name in names.split() for part in entry(name))]
        parts += shared.get(title, [])
    return "\n\n".join(parts)


def entry(name: str) -> Iterator[str]:
    """The heading of a public name, its signature, its docstring, and what it holds."""
    value = getattr(onnxscope, name)
    yield f"### {name}"
    if not inspect.isclass(value):
        yield from called(f"onnxscope.{name}", value)
        return
    if name in CONSTRUCTED:
        yield signature(f"onnxscope.{name}", value)
    yield text_of(value)
    if bases := [base.__name__ for base in value.__mro__[1:] if base.__name__ in onnxscope.__all__]:
        yield f"It is a `{bases[0]}`."
    yield from held(name, value)


def held(name: str, cls: type) -> Iterator[str]:
    """The fields, properties and methods of a class."""
    found = members(cls)
    simple = [str(f) for f in class_fields(cls)]
    simple += [property_line(k, v) for k, v in found.items() if not callable_member(v)]
    if simple:
        yield "\n".join(simple)
    for method in (k for k, v in found.items() if callable_member(v) and v.__doc__):
        yield f"#### {name}.{method}"
        yield from called(method, getattr(cls, method))


def what_results_share() -> Iterator[str]:
    yield f"### {RESULT}"
    yield text_of(Result)
    yield from held("Result", Result)


def options() -> Iterator[str]:
    for title, cls in OPTIONS.values():
        yield f"### {title}"
        yield text_of(cls)
        yield "\n".join(map(str, class_fields(cls)))


def types() -> Iterator[str]:
    """The names of types that signatures use, spelled out."""
    yield "### Names of types"
    lines = []
    for name, (module, about) in TYPES.items():
        (value,) = [
            node.value
            for node in ast.parse(inspect.getsource(module)).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
        ]
        lines.append(f"- `{name}` is {about}: `{ast.unparse(value)}`")
    yield "\n".join(lines)


# what a class has


def own_classes(cls: type) -> list[type]:
    """The bases of a class, the first one first, and the class, as far as they are onnxscope's."""
    return [c for c in reversed(cls.__mro__) if c.__module__.startswith("onnxscope.")]


def members(cls: type) -> dict[str, Any]:
    """The public properties and methods, but for those that all results share.

    An override without a docstring does what the docstring of the overridden one says.
    """
    found: dict[str, Any] = {}
    for owner in own_classes(cls):
        for name, value in vars(owner).items():
            ours = callable_member(value) or isinstance(value, property | cached_property)
            if ours and not name.startswith("_") and (value.__doc__ or name not in found):
                found[name] = value
    results = vars(Result) if issubclass(cls, Result) and cls is not Result else {}
    return {name: value for name, value in found.items() if results.get(name) is not value}


def callable_member(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod)


def property_line(name: str, value: property | cached_property[Any]) -> str:
    reader = value.fget if isinstance(value, property) else value.func
    kind = written(inspect.signature(reader).return_annotation)  # type: ignore[arg-type]
    about = f": {' '.join(text_of(value).split())}" if value.__doc__ else ""
    return f"- `{name}: {kind}`{about}"


def class_fields(cls: type) -> list[Field]:
    """The fields of a dataclass or a TypedDict; how a result is drawn is no field for users."""
    owners = [owner for owner in own_classes(cls) if owner is not Result]
    found = {f.name: f for owner in owners for f in fields_in_source(owner)}
    return [f for f in found.values() if not f.name.startswith("_")]


def fields_in_source(cls: type) -> Iterator[Field]:
    """The annotated names of a class with the comments on their lines."""
    source = textwrap.dedent(inspect.getsource(cls))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            about = " ".join(comments[k] for k in lines if k in comments)
            name, kind = ast.unparse(node.target), ast.unparse(node.annotation)
            default = ast.unparse(node.value) if node.value and not is_factory(node.value) else ""
            yield Field(name, kind, default, about)


def is_factory(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "field"


# text


def called(name: str, function: Callable[..., Any]) -> Iterator[str]:
    """A function's signature and docstring, and where its further keyword arguments are listed."""
    yield signature(name, function)
    yield text_of(function)
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            title = OPTIONS[p.annotation][0].lower()
            yield f"`**{p.name}` are the [{title}](#{title.replace(' ', '-')})."


def signature(name: str, function: Callable[..., Any]) -> str:
    """How it is called; one parameter a line where they do not fit on one."""
    found = inspect.signature(function)
    given = [*parameters(found)]
    gives = "" if found.return_annotation in (None, "None") else f" -> {written(found.return_annotation)}"
    line = f"{name}({', '.join(given)}){gives}"
    if len(line) > WIDTH:
        line = "\n".join([f"{name}(", *(f"    {p}," for p in given), f"){gives}"])
    return f"```text\n{line}\n```"


def parameters(found: inspect.Signature) -> Iterator[str]:
    keyword = False
    for p in found.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not keyword:
            keyword = True
            yield "*"
        if p.kind is p.VAR_KEYWORD:
            yield f"**{p.name}"
        elif p.name != "self":
            default = "" if p.default is p.empty else f" = {p.default!r}"
            yield f"{p.name}: {written(p.annotation)}{default}"


def written(annotation: str) -> str:
    """An annotation as the source has it, with public names for what has one."""
    return re.sub(r"\w+", lambda m: RENAMED.get(m[0], m[0]), annotation)


def text_of(value: Any) -> str:
    """A docstring as Markdown."""
    if not value.__doc__:
        raise SystemExit(f"{value.__qualname__} is public and needs a docstring")
    return escaped(inspect.cleandoc(value.__doc__))


def escaped(text: str) -> str:
    """Text whose signs Markdown would take for its own."""
    return text.replace("*", "\\*").replace("<", "&lt;")
