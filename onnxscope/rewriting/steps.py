"""How a node is frozen (its policy), and the record of what was done to it (a step of the node table)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx_graphsurgeon as gs

from onnxscope.errors import BadOption

How = Literal["linear", "frozen", "decision", "unsupported"]
FREEZE, TAYLOR = POLICIES = ("freeze", "taylor")


@dataclass(frozen=True)
class Policy:
    """How non-linear nodes are frozen: by default, and for single nodes or operators, by their names."""

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
        """`taylor,Relu=freeze`; JSON where a node's name holds the characters that part these."""
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
        return self.special.get(node.name, self.special.get(node.op, self.default))

    @property
    def mixed(self) -> bool:
        return len({self.default, *self.special.values()}) > 1

    @property
    def has_tangents(self) -> bool:
        """Whether any node may be frozen by its tangent."""
        return TAYLOR in (self.default, *self.special.values())


@dataclass(frozen=True)
class Step:
    """What was done to one active node of the base."""

    name: str
    op: str
    how: How
    policy: str = ""
    note: str = ""
    tangent: bool = True  # whether what stands for the node is its derivative, where tangents were asked for
    sources: tuple[str, ...] = ()  # the nodes that add its source
    opaque: bool = False  # whether the user declared it a constant decision


@dataclass
class Treatment:
    """The base node that is being frozen, and what its rule has noted so far."""

    name: str = ""
    op: str = ""
    taylor: bool = False  # its policy, which holds for all nodes that its rule writes
    note: str = ""
    tangent: bool = True  # whether what `taylor` writes is the derivative
    asked_policy: bool = False  # whether its rule depends on the policy
    opaque: bool = False
