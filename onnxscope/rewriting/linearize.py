"""The frozen branch: walk the base forward and freeze every active node by its rule.

No operator is named here. A node that cannot be frozen poisons its outputs, and is an error only if the
chosen output depends on it through carried values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import MISFITS, ScopeError, Unsupported, misfit
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, describe, element_type, is_sized
from onnxscope.normalise.attributes import attributes
from onnxscope.rewriting.frozen import Branch, Frozen, Pair
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.steps import FREEZE, TAYLOR, How, Step, Treatment


@dataclass(frozen=True, eq=False)
class Site:
    """An active node as its rule sees it."""

    node: gs.Node
    inputs: Sequence[Pair | ScopeError | None]
    treatment: Treatment  # of the base node, for whose rule this node may have been made
    opset: int

    @property
    def name(self) -> str:
        """The base node's name."""
        return self.treatment.name

    @property
    def y0(self) -> Tensor:
        return self.node.outputs[0]

    @property
    def taylor(self) -> bool:
        """Whether the tangent is wanted. A rule that never asks freezes the node alike under both policies."""
        self.treatment.asked_policy = True
        return self.treatment.taylor

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


class Freezer(Branch):
    """Freezes base nodes one after the other; what rules write goes through it."""

    def __init__(
        self, b: Builder, rules: Mapping[str, Entry], options: Options, *, moves_masks: bool
    ) -> None:
        super().__init__(b, moves_masks)
        self.rules, self.policy, self.opaque = rules, options.policy, options.opaque
        self.active: dict[str, Frozen | ScopeError] = {}  # by the names of the base values
        self.steps: list[Step] = []
        self.origins: dict[str, gs.Node] = {}  # of every frozen node the base node that it comes from
        self._floats: dict[str, Tensor] = {}

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
        """Put a remark into the node table; `tangent` is false where `taylor` does not write the derivative."""
        self.at.note, self.at.tangent = text, self.at.tangent and tangent

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
        note = self.at.note
        self._apply(results[0].inputs[0])
        self.at.note = note  # the remark is about the whole, not about its parts
        found = [self.pair(r) for r in results]
        for f in found:
            if isinstance(f, ScopeError):
                raise f
        return found[0] if outputs == 1 else tuple(found)

    def follow(self, node: gs.Node) -> None:
        """Freeze one base node if it is active, and say in the table how."""
        if not any(t.name in self.active for t in node.inputs):
            return
        policy = self.policy.of(node)
        self.at = Treatment(node.name, node.op, policy == TAYLOR)
        self.b.place = f"state/{node.name.lstrip('/')}"
        start = len(self.nodes)
        how = self._apply(node)
        made = [n.name for n in self.nodes[start:]]
        self.origins.update((name, node) for name in made)
        self.steps.append(self._failed(node) or self._step(how, policy, made))

    def _step(self, how: How, policy: str, made: Sequence[str]) -> Step:
        """The table's entry for the node that was just frozen."""
        at = self.at
        fixed = self.policy.mixed and policy == FREEZE and at.asked_policy  # a gain among tangents
        return Step(
            at.name,
            at.op,
            how,
            policy if how == "frozen" else "",
            at.note,
            at.tangent and not fixed,
            tuple(name for name in made if name in self.sources),
            at.opaque,
        )

    def _failed(self, node: gs.Node) -> Step | None:
        """The table's entry for a node that could not be frozen, or that reads one which could not."""
        outputs = (self.active.get(t.name) for t in node.outputs)
        error = next((e for e in outputs if isinstance(e, ScopeError)), None)
        if error is None:
            return None
        inherited = any(error is self.active.get(t.name) for t in node.inputs)
        return Step(node.name, node.op, "unsupported", note=f"fed by: {error}" if inherited else str(error))

    def _apply(self, node: gs.Node) -> How:
        inputs = [self.pair(t) if t.name else None for t in node.inputs]
        site = Site(node, inputs, self.at, self.b.opset)
        if {node.name, node.op} & self.opaque:
            self.at.opaque = True
            self.note("declared opaque", tangent=False)
            return "decision"
        how, rule = self.rules.get(node.op, ("unsupported", None))
        try:
            if how == "unsupported":
                raise Unsupported(
                    "no rule says how to freeze this operator",
                    where=describe(node),
                    remedy=f"declare it a constant decision with --opaque {self.at.name} or --opaque {self.at.op}",
                )
            if rule is not None and not all(is_sized(t) for t in node.outputs if t.name):
                raise Unsupported(
                    "the size of its output depends on values, not on sizes alone",
                    where=describe(node),
                    remedy=f"declare it a constant decision with --opaque {self.at.name}",
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


def linearize(f: Freezer, image: Tensor, probe: Tensor) -> None:
    """Freeze all that depends on the image; the frozen values are in `f.active` then."""
    f.values[probe.name] = probe
    f.active[image.name] = Frozen(tuple(image.shape), probe)
    for node in list(f.b.graph.nodes):
        f.follow(node)
