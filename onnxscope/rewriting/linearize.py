"""The frozen branch: walk the base from the image to the output, and freeze each active node by its rule.

No operator is named here. If a node cannot be frozen, the error is kept as the frozen value of its outputs,
and of all that is computed from them. It is raised only if the chosen output is among these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxscope.errors import DECIDE, MISFITS, ScopeError, Undecided, Unsupported
from onnxscope.graph.builder import Builder
from onnxscope.graph.faults import fault_at
from onnxscope.graph.tensors import Tensor, describe, element_type, is_sized
from onnxscope.normalise.attributes import attributes
from onnxscope.rewriting.frozen import Branch, Frozen, Pair
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.steps import FREEZE, TAYLOR, How, Step, Treatment


@dataclass(frozen=True, eq=False)
class Site:
    """An active node, as a rule is given it.

    `inputs` has an entry for each input: a pair of base and frozen value, the error of a value that could
    not be frozen, or None for an optional input that is left out.
    """

    node: gs.Node
    inputs: Sequence[Pair | ScopeError | None]
    treatment: Treatment  # of the base node, whose rule may have made this node in order to freeze it
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
        """Whether the node's policy is `taylor`. A rule that does not read this is the same for both."""
        self.treatment.asked_policy = True
        return self.treatment.taylor

    def has(self, i: int) -> bool:
        """Whether the optional input i is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def pair(self, i: int) -> Pair:
        """Input i: its base value and, if it is active, its frozen value."""
        pair = self.inputs[i]
        if isinstance(pair, ScopeError):
            raise pair
        assert pair is not None
        return pair

    def x0(self, i: int = 0) -> Tensor:
        """The base value of input i."""
        return self.node.inputs[i]

    def active(self, i: int) -> bool:
        """Whether input i depends on the image."""
        entry = self.inputs[i] if i < len(self.inputs) else None
        return isinstance(entry, ScopeError) or (entry is not None and entry.x1 is not None)

    @property
    def x1(self) -> Frozen:
        """The frozen value of input 0, which must be active."""
        return self.carried(0)

    def carried(self, i: int) -> Frozen:
        """The frozen value of input i, which must be active."""
        x1 = self.pair(i).x1
        if x1 is None:
            raise Unsupported(
                f"only input {i} may carry the image, and it does not",
                where=describe(self.node),
                remedy=f"declare it a constant decision with --opaque {self.name}",
            )
        return x1

    def only(self, i: int) -> Frozen:
        """The frozen value of input i, which must be the only active input."""
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
        """The node's attributes, with the operator's defaults for those that are left out."""
        return attributes(self.node, self.opset)

    def attr(self, name: str) -> Any:
        """An attribute; None if it is left out and the operator has no default for it."""
        return self.attrs.get(name)


Rule = Callable[["Freezer", Site], Any]  # returns the frozen value of each output, None for a decision
Entry = tuple[How, Rule | None]  # of the table of rules


class Freezer(Branch):
    """Freezes the nodes of the base one after the other, with `follow`.

    Rules write their nodes through it. While the rule of a node runs, `at` holds what is known about this
    node, and `b.place` the prefix for the names of the states that the rule computes.
    """

    def __init__(
        self, b: Builder, rules: Mapping[str, Entry], options: Options, *, moves_masks: bool
    ) -> None:
        super().__init__(b, moves_masks)
        self.rules, self.policy, self.opaque = rules, options.policy, options.opaque
        self.active: dict[str, Frozen | ScopeError] = {}  # by the names of the base values
        self.steps: list[Step] = []
        self.origins: dict[str, gs.Node] = {}  # the base node that each frozen node comes from, by name
        self._floats: dict[str, Tensor] = {}  # base values cast to float32, by name

    def float(self, x: Tensor) -> Tensor:
        """A base value in float32, in which all gains and sources are computed."""
        if element_type(x) == TensorProto.FLOAT:
            return x
        if x.name not in self._floats:
            self._floats[x.name] = self.b.Cast(x, to=TensorProto.FLOAT)
        return self._floats[x.name]

    def operand(self, n: Site, i: int = 0) -> Pair:
        """Input i with its base value in float32, from which gains and sources are computed."""
        return Pair(self.float(n.x0(i)), n.pair(i).x1)

    def sole_operand(self, n: Site, i: int = 0) -> Pair:
        """The `operand` i, which must be the only active input."""
        x1 = n.only(i)
        return Pair(self.float(n.x0(i)), x1)

    def note(self, text: str, *, tangent: bool = True) -> None:
        """Put a remark about the node into the table.

        `tangent` must be False if its rule does not write the derivative under `taylor`.
        """
        self.at.note, self.at.tangent = text, self.at.tangent and tangent

    def pair(self, x: Tensor) -> Pair | ScopeError:
        """A base value with its frozen value, if it has one, or the error why it has none."""
        x1 = self.active.get(x.name)
        return x1 if isinstance(x1, ScopeError) else Pair(x, x1)

    def call(self, op: str, *args: Any, outputs: int = 1, **attrs: Any) -> Any:
        """Write a node on base values and freeze it, and return its outputs as pairs.

        Rules of operators that consist of others, such as attention, are written in such calls.
        """
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
        self.at.note = note  # the remark stays that of the whole operator, not that of this part
        found = [self.pair(r) for r in results]
        for f in found:
            if isinstance(f, ScopeError):
                raise f
        return found[0] if outputs == 1 else tuple(found)

    def follow(self, node: gs.Node) -> None:
        """Freeze one node of the base if it is active, and add its step to the table."""
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
        """The step of the node that was just frozen."""
        at = self.at
        # with tangents at other nodes, a gain that a tangent could replace is not the derivative
        fixed = self.policy.mixed and policy == FREEZE and at.asked_policy
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
        """The step of a node that could not be frozen, or that reads the output of such a node; else None."""
        outputs = (self.active.get(t.name) for t in node.outputs)
        error = next((e for e in outputs if isinstance(e, ScopeError)), None)
        if error is None:
            return None
        inherited = any(error is self.active.get(t.name) for t in node.inputs)
        return Step(node.name, node.op, "unsupported", note=f"fed by: {error}" if inherited else str(error))

    def _apply(self, node: gs.Node) -> How:
        """Freeze a node by its rule. If that fails, the error becomes the frozen value of its outputs."""
        if {node.name, node.op} & self.opaque:
            self.at.opaque = True
            self.note("declared opaque", tangent=False)
            return "decision"
        try:
            return self._by_rule(node)
        except ScopeError as error:
            refusal = error
        except MISFITS as error:
            refusal = fault_at(node, error)
        self.active.update((t.name, refusal) for t in node.outputs if t.name)
        return "unsupported"

    def _by_rule(self, node: gs.Node) -> How:
        """Call the rule of the node's operator, and keep the frozen values that it returns."""
        how, rule = self.rules.get(node.op, ("unsupported", None))
        if how == "unsupported":
            raise Unsupported(
                "no rule says how to freeze this operator",
                where=describe(node),
                remedy=f"declare it a constant decision with --opaque {self.at.name} "
                f"or --opaque {self.at.op}",
            )
        if rule is None:
            return "decision"
        if not all(is_sized(t) for t in node.outputs if t.name):
            raise Undecided(
                "the size of its output depends on values, not on sizes alone",
                where=describe(node),
                remedy=f"declare it a constant decision with --opaque {self.at.name}, or {DECIDE}",
            )
        inputs = [self.pair(t) if t.name else None for t in node.inputs]
        results = rule(self, Site(node, inputs, self.at, self.b.opset))
        results = results if isinstance(results, (list, tuple)) else [results]
        for t, x1 in zip(node.outputs, results, strict=False):
            if x1 is not None:
                assert x1.shape == tuple(t.shape), f"a frozen value of shape {x1.shape} for {tuple(t.shape)}"
                self.active[t.name] = x1
        return how if any(x1 is not None for x1 in results) else "decision"


def linearize(f: Freezer, image: Tensor, probe: Tensor) -> None:
    """Freeze all nodes that depend on the image, and fill `f.active` with the frozen values."""
    f.values[probe.name] = probe
    f.active[image.name] = Frozen(tuple(image.shape), probe)
    for node in list(f.b.graph.nodes):
        f.follow(node)
