"""The house rules: who may import whom, what lies where, and how long things may be."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import onnxscope
from onnxscope.files.results import Result

ROOT = Path(__file__).parents[1]
PACKAGE, CONTRIBUTING = ROOT / "onnxscope", ROOT / ".github" / "CONTRIBUTING.md"
TOP = {"__init__.py", "errors.py", "version.py", "runtime.py", "py.typed"}  # and folders
PICTURES = PACKAGE / "guide" / "pictures"  # the only folder without programs
UPPER = {"run", "linear", "ask", "show", "api", "cli"}
REACHED_BY_NONE_OF = {"graph": UPPER, "normalise": UPPER, "rewriting": UPPER, "show": {"api", "cli"}}
LINEAR_REACHES = {"files", "errors", "version"}
MOST_LINES, MOST_FUNCTION_LINES, MOST_ARGUMENTS = 320, 45, 6

# Plain records may have more: their fields are data that something else names.
RECORDS = {
    "onnxscope.audit.report.AuditReport": "what an audit found",
    "onnxscope.audit.report.Entry": "the outcome of a check",
    "onnxscope.audit.report.Row": "the value of a check for one picture",
    "onnxscope.audit.judging.Judgement": "what came of the values of a check",
    "onnxscope.audit.measures.value.Measure": "an entry of the table of measures",
    "onnxscope.audit.opened.Given": "how a model is opened",
    "onnxscope.audit.checks.Check": "a check of a policy",
    "onnxscope.audit.policy.Policy": "a whole policy",
    "onnxscope.work.walls.Limits": "what a process may use",
    "onnxscope.api.rows.Row": "what a comparison found for an image",
    "onnxscope.api.totals.Total": "a layer's figures, added up over images",
    "onnxscope.pairing.shares.Share": "what a layer adds to a difference",
    "onnxscope.ask.metrics.case.Case": "what a metric looks at",
    "onnxscope.cli.evaluating.AskedOfFolder": "the options of a question to a folder of pictures",
    "onnxscope.cli.options.Asked": "the options of a question",
    "onnxscope.cli.options.Pictures": "the options about pictures",
    "onnxscope.cli.probing.Search": "the options of svd",
    "onnxscope.linear.svd.decompose.Settings": "the options of svd",
    "onnxscope.normalise.recurrent.Cell": "one direction of a recurrent layer",
    "onnxscope.linear.svd.decompose.Svd": "what a decomposition has found",
    "onnxscope.normalise.source.Source": "the fields of a node in a model file",
    "onnxscope.show.tour.guide.Guide": "what the sections of a tour are made from",
    "onnxscope.rewriting.options.Options": "the choices about a rewrite",
    "onnxscope.rewriting.scope.Analysis": "what a scope analyses, as its metadata have it",
    "onnxscope.rewriting.steps.Step": "the entry of a node in the table of a scope",
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, and its file."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports(module: str) -> set[str]:
    """The package's modules that a module imports anywhere, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(parsed(modules()[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else str(node.module) for name in inside}
    return {name for name in found if name.partition(".")[0] == "onnxscope"}


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def wing(module: str) -> str:
    """The folder or the file right in the package; the package itself for its `__init__`."""
    return [*module.split("."), "onnxscope"][1]


@cache
def allowed() -> dict[str, list[str]]:
    """The table in CONTRIBUTING.md: each wing and what it may import."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|$", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", others) for name, others in rows}


def reached(name: str) -> set[str]:
    """All that a wing imports by the table, also by others."""
    return set(allowed()[name]).union(*(reached(other) for other in allowed()[name]))


def test_the_table_names_every_wing_once() -> None:
    assert set(allowed()) == {wing(module) for module in modules()}


def test_a_wing_imports_only_wings_above_it_in_the_table() -> None:
    names = list(allowed())
    for k, (name, others) in enumerate(allowed().items()):
        assert set(others) <= set(names[:k]), name


def test_what_is_below_does_not_reach_what_is_above() -> None:
    for name, never in REACHED_BY_NONE_OF.items():
        assert not reached(name) & never, name
    assert reached("linear") <= LINEAR_REACHES
    assert [name for name, others in allowed().items() if "cli" in others] == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_what_its_wing_may(module: str) -> None:
    others = {wing(name) for name in imports(module)} - {wing(module)}
    assert others <= set(allowed()[wing(module)])


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    list(TopologicalSorter({module: imports(module) for module in modules()}).static_order())


def test_the_package_holds_a_few_files_and_folders() -> None:
    files = {f.name for f in PACKAGE.iterdir() if f.is_file()}
    assert files == TOP


def test_a_folder_says_in_one_sentence_what_it_holds() -> None:
    folders = [f for f in PACKAGE.rglob("*") if f.is_dir() and f.name != "__pycache__" and f != PICTURES]
    for folder in folders:
        (statement,) = parsed(folder / "__init__.py").body
        assert isinstance(statement, ast.Expr)
        text = ast.literal_eval(statement.value)
        assert text.endswith(".") and "\n" not in text and ". " not in text, folder


# how long things are


def programs() -> Iterator[tuple[str, Path]]:
    yield from ((file.relative_to(ROOT).as_posix(), file) for file in PACKAGE.rglob("*.py"))


def test_no_file_is_too_long() -> None:
    lines = {name: file.read_text(encoding="utf-8").count("\n") for name, file in programs()}
    assert {name for name, count in lines.items() if count > MOST_LINES} == set()


def test_no_function_is_too_long() -> None:
    functions = [
        (f"{name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for name, file in programs()
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef)
    ]
    assert {name for name, count in functions if count > MOST_FUNCTION_LINES} == set()


def classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(onnxscope.__path__, "onnxscope."):
        module = importlib.import_module(found.name)
        members = inspect.getmembers(module, inspect.isclass)
        yield from (cls for _, cls in members if cls.__module__ == found.name)


def arguments(cls: type) -> int:
    """Of a class's own constructor, or the fields of its named tuple."""
    if "__init__" in vars(cls):
        return len(inspect.signature(cls.__init__).parameters) - 1
    return len(getattr(cls, "_fields", ()))


def test_no_constructor_takes_too_many_arguments() -> None:
    """But for results, and for plain records that are listed here."""
    names = {
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in classes()
        if not issubclass(cls, Result) and arguments(cls) > MOST_ARGUMENTS
    }
    assert names == {*RECORDS}
