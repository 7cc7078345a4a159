"""The small faults that can be put into a module; each replaces the text of one expression and nothing else.

Texts, messages, annotations, decorators, `__all__` and the defaults of command line options are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

OPERATORS: dict[type[Any], type[Any]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    **OPPOSITES,
}
COMPOUND = (ast.BinOp, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp, ast.Lambda, ast.NamedExpr)
REVERSALS = ("reversed", "flip", "flipud", "fliplr")
CLIPS = ("clip", "minimum", "maximum", "abs", "absolute", "fabs")
MESSAGES = ("print", "echo", "secho", "warn", "debug", "info", "warning", "error", "exception")
HELP = ("Option", "Argument", "add_argument")


@dataclass(frozen=True)
class Fault:
    """A replacement of the bytes from start to end of a module."""

    module: str  # its file, relative to the repository
    line: int
    start: int
    end: int
    kind: str
    before: str
    after: str
    function: int  # the first line of the function around it, or 0

    def put_into(self, source: str) -> str:
        text = source.encode()
        return (text[: self.start] + self.after.encode() + text[self.end :]).decode()


def faults(module: str, source: str) -> list[Fault]:
    """All faults of a module, from top to bottom."""
    finder = Finder(module, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda f: (f.start, f.end, f.after))


class Finder(ast.NodeVisitor):
    """Collects the faults of a module as it visits its tree."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.text = module, source.encode()
        self.starts = [0, *accumulate(map(len, self.text.splitlines(keepends=True)))]
        self.function = 0
        self.has_options = "import typer" in source
        self.found: list[Fault] = []

    def put(self, node: ast.expr | ast.stmt, kind: str, after: ast.AST) -> None:
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        text = f"({ast.unparse(after)})" if isinstance(after, COMPOUND) else ast.unparse(after)
        before = self.text[start:end].decode()
        self.found.append(Fault(self.module, node.lineno, start, end, kind, before, text, self.function))

    # operators, comparisons and constants

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(is_text(side) for side in (node.left, node.right)):
            self.put(node, "operator", ast.BinOp(node.left, swapped(node.op), node.right))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if not is_text(node.value):
            self.put(node, "operator", ast.AugAssign(node.target, swapped(node.op), node.value))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.put(node, "operator", ast.BoolOp(swapped(node.op), node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.put(node, "removed not" if isinstance(node.op, ast.Not) else "operator", node.operand)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for k, op in enumerate(node.ops):
            ops = [*node.ops[:k], COMPARISONS[type(op)](), *node.ops[k + 1 :]]
            self.put(node, "comparison", ast.Compare(node.left, ops, node.comparators))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.put(node, "constant", ast.Constant(not value))
        elif isinstance(value, int):
            self.put(node, "constant", ast.Constant(value + 1))
        elif isinstance(value, float):
            self.put(node, "constant", ast.Constant(2 * value or 1.0))

    # reversals and clips

    def visit_Subscript(self, node: ast.Subscript) -> None:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for k, part in enumerate(parts):
            if not is_reversal(part):
                self.visit(part)
            elif len(parts) == 1:
                self.put(node, "reversal", node.value)
            else:
                kept = ast.Tuple([*parts[:k], ast.Slice(), *parts[k + 1 :]])
                self.put(node, "reversal", ast.Subscript(node.value, kept))
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = getattr(function, "attr", "") or getattr(function, "id", "")
        if name in (*MESSAGES, *HELP):
            return
        if name == "clip" and isinstance(function, ast.Attribute) and len(node.args) < 3:
            self.put(node, "clip", function.value)
        elif node.args and not isinstance(node.args[0], ast.Starred):
            if name in REVERSALS:
                self.put(node, "reversal", node.args[0])
            elif name in CLIPS or (
                isinstance(function, ast.Name) and name in ("min", "max") and len(node.args) > 1
            ):
                self.put(node, "clip", node.args[0])
        for part in (function, *node.args, *(k.value for k in node.keywords if k.arg != "strict")):
            self.visit(part)

    # conditions

    def negate(self, test: ast.expr) -> None:
        """A `not` before a condition, where nothing else negates it."""
        opposite = isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in OPPOSITES
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if not (opposite or negated or isinstance(test, ast.Constant)):
            self.put(test, "negated condition", ast.UnaryOp(ast.Not(), test))

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self.negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.negate(node.test)
        self.visit(node.test)

    # where nothing is changed, and which function it is

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.function = self.function, first_line(node)
        defaults = [] if self.has_options else [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        for part in (*defaults, *node.body):
            self.visit(part)
        self.function = outer

    def visit_Lambda(self, node: ast.Lambda) -> None:
        outer, self.function = self.function, node.lineno
        self.generic_visit(node)
        self.function = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in node.body:
            self.visit(part)

    def visit_Assign(self, node: ast.Assign) -> None:
        if ast.unparse(node.targets[0]) not in ("__all__", "__slots__"):
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def visit_match_case(self, node: ast.match_case) -> None:
        for part in (*filter(None, [node.guard]), *node.body):
            self.visit(part)

    def leave(self, node: ast.AST) -> None:
        """Annotations, messages, and texts with values in them."""

    visit_arg = visit_Raise = visit_JoinedStr = leave


def first_line(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    """Where Python says that it begins: at its first decorator."""
    decorators: list[ast.expr] = getattr(function, "decorator_list", [])
    return min(part.lineno for part in (function, *decorators))


def swapped(op: ast.AST) -> Any:
    return OPERATORS[type(op)]()


def is_text(node: ast.expr) -> bool:
    """Whether it is a text or None, beside which an operator joins texts or types."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes | None)
    )


def is_reversal(part: ast.expr) -> bool:
    return isinstance(part, ast.Slice) and ast.unparse(part) == "::-1"


def readers(sources: dict[str, str], module: str, line: int) -> set[tuple[str, int]]:
    """The functions that mention what the top-level statement on this line binds, each as (module, line)."""
    names = {name for part in ast.parse(sources[module]).body for name in bound(part, line)}
    return {
        (other, start)
        for other, source in sources.items()
        if any(name in source for name in names)
        for start, mentioned in functions(ast.parse(source))
        if mentioned & names
    }


def bound(statement: ast.stmt, line: int) -> Iterator[str]:
    """The names that a top-level statement binds, if it holds the line."""
    if not statement.lineno <= line <= (statement.end_lineno or 0):
        return
    if isinstance(statement, ast.ClassDef):
        yield statement.name
    for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
        yield from (n.id for n in ast.walk(target or statement) if target and isinstance(n, ast.Name))


def functions(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """The first line of each function, and the names that it mentions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield (
                first_line(node),
                {str(getattr(n, "id", getattr(n, "attr", ""))) for n in ast.walk(node)} - {""},
            )
