"""How a node is to be frozen (its policy), and what was done to it (its step in the node table)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import onnx_graphsurgeon as gs

from onnxscope.errors import BadOption

# linear: carried as it is; frozen: carried by its gain and source; decision: a constant from the base
How = Literal["linear", "frozen", "decision", "unsupported"]
FREEZE, TAYLOR = POLICIES = ("freeze", "taylor")


@dataclass(frozen=True)
class Policy:
    """How non-linear nodes are frozen: a default, and exceptions for nodes or operators, by their names."""

    default: str = FREEZE
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
        """Text such as `taylor,Relu=freeze`, or JSON if a name in it contains a comma or an equals sign."""
        if any(set(name) & {",", "="} for name in self.special):
            return json.dumps({"default": self.default, "for": dict(self.special)}, separators=(",", ":"))
        return ",".join([self.default, *(f"{name}={policy}" for name, policy in self.special.items())])

    @classmethod
    def of_text(cls, text: str) -> Policy:
        """The inverse of `str`."""
        if text.startswith("{"):
            saved = json.loads(text)
            return cls(saved["default"], saved["for"])
        default, *special = text.split(",")
        return cls(default, dict(entry.split("=") for entry in special))

    def of(self, node: gs.Node) -> str:
        """The policy for one node; an exception for the node counts before one for its operator."""
        return self.special.get(node.name, self.special.get(node.op, self.default))

    @property
    def mixed(self) -> bool:
        """Whether both policies may occur."""
        return len({self.default, *self.special.values()}) > 1

    @property
    def has_tangents(self) -> bool:
        """Whether any node may be frozen by its tangent, as `taylor` does."""
        return TAYLOR in (self.default, *self.special.values())


@dataclass(frozen=True)
class Step:
    """What was done to one active node of the base: a row of the node table."""

    name: str
    op: str
    how: How
    policy: str = ""
    note: str = ""
    tangent: bool = True  # False if the user asked for tangents, and the node was frozen in another way
    sources: tuple[str, ...] = ()  # the names of the nodes that add its sources
    opaque: bool = False  # whether the user declared it a constant decision

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Step:
        """The step that a file holds; a TypeError where its fields are of other types."""
        step = cls(**{**held, "sources": tuple(held.get("sources", ()))})
        words = (step.name, step.op, step.how, step.policy, step.note, *step.sources)
        flags = (step.tangent, step.opaque)
        if not all(isinstance(w, str) for w in words) or not all(isinstance(f, bool) for f in flags):
            raise TypeError(f"the step {held!r}")
        return step


@dataclass
class Treatment:
    """The base node that is being frozen, and what its rule has recorded about it so far."""

    name: str = ""
    op: str = ""
    taylor: bool = False  # whether its policy is `taylor`; it holds for all nodes that its rule writes
    note: str = field(default="", init=False)
    tangent: bool = field(default=True, init=False)  # False if `taylor` does not write the derivative
    asked_policy: bool = field(default=False, init=False)  # whether its rule has read the policy
    opaque: bool = field(default=False, init=False)
