"""The small faults that tools/mutants.py puts into a module: what each becomes, and what is left alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from mutant_faults import faults

ROOT = Path(__file__).parents[1]
FAULTS = {  # an expression, the kinds of fault in it, and what becomes of it
    "a + b": {("operator", "(a - b)")},
    "a - b": {("operator", "(a + b)")},
    "a * b": {("operator", "(a / b)")},
    "a / b": {("operator", "(a * b)")},
    "a @ b": {("operator", "(a * b)")},
    "a // b": {("operator", "(a * b)")},
    "a % b": {("operator", "(a // b)")},
    "a ** b": {("operator", "(a * b)")},
    "a | b": {("operator", "(a & b)")},
    "a << b": {("operator", "(a >> b)")},
    "a and b": {("operator", "(a or b)")},
    "a or b": {("operator", "(a and b)")},
    "-a": {("operator", "a")},
    "~a": {("operator", "a")},
    "a * (b + c)": {("operator", "(a / (b + c))"), ("operator", "a * ((b - c))")},
    "ä + ö": {("operator", "(ä - ö)")},
    "7": {("constant", "8")},
    "True": {("constant", "False")},
    "False": {("constant", "True")},
    "0.1": {("constant", "0.2")},
    "0.0": {("constant", "1.0")},
    "a[0]": {("constant", "a[1]")},
    "a < b": {("comparison", "(a <= b)")},
    "a <= b": {("comparison", "(a < b)")},
    "a > b": {("comparison", "(a >= b)")},
    "a >= b": {("comparison", "(a > b)")},
    "a == b": {("comparison", "(a != b)")},
    "a != b": {("comparison", "(a == b)")},
    "a in b": {("comparison", "(a not in b)")},
    "a not in b": {("comparison", "(a in b)")},
    "a is None": {("comparison", "(a is not None)")},
    "a < b < c": {("comparison", "(a <= b < c)"), ("comparison", "(a < b <= c)")},
    "a[::-1]": {("reversal", "a")},
    "a[..., ::-1]": {("reversal", "a[..., :]")},
    "reversed(a)": {("reversal", "a")},
    "np.flip(a)": {("reversal", "a")},
    "sorted(a, reverse=True)": {("constant", "sorted(a, reverse=False)")},
    "a.clip(b, c)": {("clip", "a")},
    "np.clip(a, b, c)": {("clip", "a")},
    "min(a, b)": {("clip", "a")},
    "max(a, b)": {("clip", "a")},
    "np.maximum(a, b)": {("clip", "a")},
    "np.abs(a)": {("clip", "a")},
    "abs(a)": {("clip", "a")},
    "a if b else c": {("negated condition", "a if (not b) else c")},
    "[a for a in b if a]": {("negated condition", "[a for a in b if (not a)]")},
    "not a": {("removed not", "a")},
    "a if not b else c": {("removed not", "a if b else c")},
    "a if b == c else d": {("comparison", "a if (b != c) else d")},
}
LEFT_ALONE = [
    "'a text'",
    "a['key']",
    "b'bytes'",
    "f'{a + 1} of {b}'",
    "'a' + b",
    "a % 'b'",
    "a | None",
    "None",
    "...",
    "max(a)",
    "min(*a)",
    "a.max(b)",
    "zip(a, b, strict=True)",
    "print(a + 1)",
    "warnings.warn(a, stacklevel=2)",
    "typer.Option(min=1)",
]
OTHERS = '''
    """A docstring with 1 + 2, and not more."""

    from typing import TYPE_CHECKING

    __all__ = ["a"][:1]
    if TYPE_CHECKING:
        one = 1
    Size = int | None

    @cache(maxsize=1)
    def f(a: Literal[1], b: Annotated[int, 2]) -> Literal[3]:
        """Of f: 1 < 2."""
        c: Literal[4]
        raise ValueError(1 + 2)

    class K(Base, flag=True):
        """Of K: 1 < 2."""
        field: Literal[1]
'''


def written(source: str) -> set[tuple[str, str]]:
    return {(fault.kind, fault.put_into(source)) for fault in faults("m.py", source)}


@pytest.mark.parametrize("expression", FAULTS)
def test_each_kind_of_fault(expression: str) -> None:
    source = f"def f(a, b, c):\n    return {expression}  # a remark\n"
    wanted = {
        (kind, f"def f(a, b, c):\n    return {changed}  # a remark\n") for kind, changed in FAULTS[expression]
    }
    assert written(source) == wanted


@pytest.mark.parametrize(
    "source, kind, changed",
    [
        ("if a:\n    b()\n", "negated condition", "if (not a):\n    b()\n"),
        ("while a:\n    b()\n", "negated condition", "while (not a):\n    b()\n"),
        ("assert a, 'why'\n", "negated condition", "assert (not a), 'why'\n"),
        ("a += b\n", "operator", "a -= b\n"),
        ("a |= b; c()\n", "operator", "a &= b; c()\n"),
        ("def f(a=1): ...\n", "constant", "def f(a=2): ...\n"),
        ("class K:\n    a: int = 1\n", "constant", "class K:\n    a: int = 2\n"),
        ("match a:\n    case 1 if b > c: d\n", "comparison", "match a:\n    case 1 if (b >= c): d\n"),
    ],
)
def test_faults_of_statements(source: str, kind: str, changed: str) -> None:
    assert written(source) == {(kind, changed)}


@pytest.mark.parametrize("expression", LEFT_ALONE)
def test_what_is_left_alone(expression: str) -> None:
    assert not written(f"x = {expression}\n")


def test_declarations_are_left_alone() -> None:
    assert not written(dedent(OTHERS))


def test_defaults_of_a_command_lines_options_are_left_alone() -> None:
    verb = "def verb(count=1):\n    return count\n"
    assert not written(f"import typer\n{verb}") and written(verb)


def test_a_fault_changes_nothing_outside_its_expression() -> None:
    """Each result is another program, and its text is the same before and after the expression."""
    source = (ROOT / "onnxscope" / "files" / "pixels.py").read_text(encoding="utf-8")
    text, before = source.encode(), ast.dump(ast.parse(source))
    found = faults("pixels.py", source)
    assert len(found) > 10
    for fault in found:
        changed = fault.put_into(source)
        assert ast.dump(ast.parse(changed)) != before
        assert changed.encode()[: fault.start] == text[: fault.start]
        assert changed.encode().endswith(text[fault.end :])
        assert text[fault.start : fault.end].decode() == fault.before
        assert fault.line == text[: fault.start].count(b"\n") + 1


def test_a_fault_knows_the_function_around_it() -> None:
    source = "a = 1\n@d\ndef f():\n    g = lambda: 2\n    return 3\nb = 4\n"
    assert [(f.line, f.function) for f in faults("m.py", source)] == [(1, 0), (4, 4), (5, 2), (6, 0)]
