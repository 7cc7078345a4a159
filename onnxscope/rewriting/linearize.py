"""The frozen branch: walk the base forward and freeze every active node by its rule.

No operator is named here. A node that cannot be frozen poisons its outputs, and is an error only if the
chosen output depends on it through carried values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import MISFITS, BadOption, ScopeError, Unsupported, misfit
from onnxscope.graph.builder import Builder, Tensor, describe, element_type, is_sized
from onnxscope.normalise.attributes import attributes
from onnxscope.rewriting.frozen import Branch, Frozen, Pair

How = Literal["linear", "frozen", "decision", "unsupported"]
POLICIES = ("freeze", "taylor")
OPAQUE = "declared opaque"  # the note of such a step


@dataclass(frozen=True)
class Policy:
    """How non-linearities are frozen: by default, and for single nodes or operators."""

    default: str = "freeze"
    special: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in (self.default, *self.special.values()):
            if value not in POLICIES:
                raise BadOption(
                    f"there is no policy '{value}'",
                    where="--policy",
                    remedy=f"choose {' or '.join(POLICIES)}",
                )

    def __str__(self) -> str:
        return ",".join([self.default, *(f"{k}={v}" for k, v in self.special.items())])

    @classmethod
    def of_text(cls, text: str) -> Policy:
        """The inverse of `str`."""
        default, *special = text.split(",")
        return cls(
            default, {name: policy for name, _, policy in (entry.rpartition("=") for entry in special)}
        )

    def of(self, node: gs.Node) -> str:
        return self.special.get(node.name, self.special.get(node.op, self.default))


@dataclass(frozen=True)
class Step:
    """What was done to one active node of the base."""

    name: str
    op: str
    how: How
    policy: str = ""
    note: str = ""
    tangent: bool = True  # whether it is the derivative, where its policy is `taylor`
    sources: tuple[str, ...] = ()  # the nodes that add what it adds


@dataclass(frozen=True, eq=False)
class Site:
    """An active node as its rule sees it."""

    node: gs.Node
    name: str  # of the base node, for whose rule this node may have been made
    inputs: Sequence[Pair | ScopeError | None]
    y0: Tensor
    taylor: bool
    opset: int

    def has(self, i: int) -> bool:
        """Whether the optional input i is there."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def pair(self, i: int) -> Pair:
        pair = self.inputs[i]
        if isinstance(pair, ScopeError):
            raise pair
        assert pair is not None
        return pair

    def x0(self, i: int = 0) -> Tensor:
        return self.node.inputs[i]

    def active(self, i: int) -> bool:
        entry = self.inputs[i] if i < len(self.inputs) else None
        return isinstance(entry, ScopeError) or (entry is not None and entry.x1 is not None)

    @property
    def x1(self) -> Frozen:
        return self.carried(0)

    def carried(self, i: int) -> Frozen:
        """The frozen value of input i; an error where it is not active, for the rule counts on it."""
        x1 = self.pair(i).x1
        if x1 is None:
            raise Unsupported(
                f"only input {i} may carry the image, and it does not",
                where=describe(self.node),
                remedy=f"declare it a constant decision with --opaque {self.name}",
            )
        return x1

    def only(self, i: int) -> Frozen:
        """The frozen value of input i, the other inputs being states."""
        for k in range(len(self.inputs)):
            if k != i and self.active(k):
                raise Unsupported(
                    f"its input {k} depends on the image too, which has no linear rule",
                    where=describe(self.node),
                    remedy=f"declare it a constant decision with --opaque {self.name}",
                )
        return self.carried(i)

    @cached_property
    def attrs(self) -> dict[str, Any]:
        """All attributes that the operator has, defaults included."""
        return attributes(self.node, self.opset)

    def attr(self, name: str) -> Any:
        """An attribute; None where it is left out and the standard has no default."""
        return self.attrs.get(name)


Rule = Callable[["Freezer", Site], Any]
Entry = tuple[How, Rule | None]


@dataclass
class Freezer(Branch):
    """Freezes base nodes one after the other; what rules write goes through it."""

    rules: Mapping[str, Entry] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    opaque: frozenset[str] = frozenset()
    active: dict[str, Frozen | ScopeError] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    origins: dict[str, gs.Node] = field(
        default_factory=dict
    )  # of every frozen node the base node that it comes from
    _floats: dict[str, Tensor] = field(default_factory=dict)
    _note: str = ""
    _tangent: bool = True
    _taylor: bool = False  # the policy of the base node, which holds for all that its rule calls

    def float(self, x: Tensor) -> Tensor:
        """A base value in float32, in which all gains and sources are computed."""
        if element_type(x) == TensorProto.FLOAT:
            return x
        if x.name not in self._floats:
            self._floats[x.name] = self.b.Cast(x, to=TensorProto.FLOAT)
        return self._floats[x.name]

    def operand(self, n: Site, i: int = 0) -> Pair:
        """Input i as gains and sources are computed from it: in float32."""
        return Pair(self.float(n.x0(i)), n.pair(i).x1)

    def sole_operand(self, n: Site, i: int = 0) -> Pair:
        """The same where input i carries the image, and no other input may."""
        x1 = n.only(i)
        return Pair(self.float(n.x0(i)), x1)

    def note(self, text: str, *, tangent: bool = True) -> None:
        """What the node table says of the node that is being frozen, and whether `taylor` means its derivative."""
        self._note, self._tangent = text, self._tangent and tangent

    def pair(self, x: Tensor) -> Pair | ScopeError:
        x1 = self.active.get(x.name)
        return x1 if isinstance(x1, ScopeError) else Pair(x, x1)

    def call(self, op: str, *args: Any, outputs: int = 1, **attrs: Any) -> Any:
        """Freeze one node made for the purpose: rules of composite operators are written in these."""
        pairs = [a if isinstance(a, Pair) else None for a in args]
        inputs = [a.x0 if isinstance(a, Pair) else a for a in args]
        made = self.b.op(op, *inputs, outputs=outputs, **attrs)
        results = made if isinstance(made, tuple) else (made,)
        if not any(p is not None and p.x1 is not None for p in pairs):
            return Pair(made) if outputs == 1 else tuple(Pair(r) for r in results)
        for p in pairs:
            if p is not None and p.x1 is not None:
                self.active[p.x0.name] = p.x1
        note = self._note
        self._apply(results[0].inputs[0])
        self._note = note  # what is said of the whole, not of its parts
        found = [self.pair(r) for r in results]
        for f in found:
            if isinstance(f, ScopeError):
                raise f
        return found[0] if outputs == 1 else tuple(found)

    def follow(self, node: gs.Node) -> None:
        """Freeze one base node if it is active, and say in the table how."""
        if not any(t.name in self.active for t in node.inputs):
            return
        self.node, self.op, self.b.place = node.name, node.op, f"state/{node.name.lstrip('/')}"
        self._note, self._tangent, self._taylor = "", True, self.policy.of(node) == "taylor"
        start = len(self.nodes)
        how = self._apply(node)
        self.origins.update((n.name, node) for n in self.nodes[start:])
        error = next((e for t in node.outputs if isinstance(e := self.active.get(t.name), ScopeError)), None)
        if error is not None:
            poisoned = any(error is self.active.get(t.name) for t in node.inputs)
            self.steps.append(
                Step(node.name, node.op, "unsupported", note=f"fed by: {error}" if poisoned else str(error))
            )
        else:
            sources = tuple(n.name for n in self.nodes[start:] if n.name.startswith("source/"))
            policy = self.policy.of(node) if how == "frozen" else ""
            self.steps.append(Step(node.name, node.op, how, policy, self._note, self._tangent, sources))

    def _apply(self, node: gs.Node) -> How:
        inputs = [self.pair(t) if t.name else None for t in node.inputs]
        site = Site(node, self.node, inputs, node.outputs[0], self._taylor, self.b.opset)
        if {node.name, node.op} & self.opaque:
            self.note(OPAQUE, tangent=False)
            return "decision"
        how, rule = self.rules.get(node.op, ("unsupported", None))
        try:
            if how == "unsupported":
                raise Unsupported(
                    "no rule says how to freeze this operator",
                    where=describe(node),
                    remedy=f"declare it a constant decision with --opaque {self.node} or --opaque {self.op}",
                )
            if rule is not None and not all(is_sized(t) for t in node.outputs if t.name):
                raise Unsupported(
                    "the size of its output depends on values, not on sizes alone",
                    where=describe(node),
                    remedy=f"declare it a constant decision with --opaque {self.node}",
                )
            results = rule(self, site) if rule is not None else None
            results = results if isinstance(results, (list, tuple)) else [results]
            for t, x1 in zip(node.outputs, results, strict=False):
                if x1 is not None:
                    assert x1.shape == tuple(t.shape), f"{x1.shape} beside {tuple(t.shape)}"
                    self.active[t.name] = x1
        except ScopeError as error:
            self.active.update((t.name, error) for t in node.outputs if t.name)
            return "unsupported"
        except MISFITS as error:
            refusal = misfit(error, describe(node))
            self.active.update((t.name, refusal) for t in node.outputs if t.name)
            return "unsupported"
        return how if any(r is not None for r in results) else "decision"


def linearize(
    b: Builder,
    image: Tensor,
    rules: Mapping[str, Entry],
    policy: Policy,
    opaque: frozenset[str],
    probe: Tensor,
    moves_masks: bool = True,
) -> Freezer:
    """Freeze all that depends on the image; frozen values are in `freezer.active`."""
    f = Freezer(b, moves_masks=moves_masks, rules=rules, policy=policy, opaque=opaque)
    shape = tuple(image.shape)
    f.values[probe.name] = probe
    f.active[image.name] = Frozen(shape, probe)
    for node in list(b.graph.nodes):
        f.follow(node)
    return f
