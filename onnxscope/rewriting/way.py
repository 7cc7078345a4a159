"""What an explanation method works with when it writes its way back from the output to the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from onnxscope.errors import Unsupported
from onnxscope.graph.builder import Builder
from onnxscope.graph.tensors import Tensor, describe, numel, shape_of
from onnxscope.rewriting.linearize import Freezer
from onnxscope.rewriting.rules.table import TRANSPOSE
from onnxscope.rewriting.transpose import NOTHING, Transposed, TransposeRule, transpose

Rules = Callable[[gs.Node], TransposeRule | None]  # the rule of a method for a frozen node, if it has one


@dataclass
class Way:
    """The frozen nodes of a network, and the cotangent that is fed at its output."""

    freezer: Freezer
    nodes: Sequence[gs.Node]
    seed: tuple[Tensor, Tensor]  # the frozen output, and the cotangent fed to it
    probe: Tensor
    image: Tensor
    tensors: Mapping[str, Tensor]  # the base's value for each frozen value, by the frozen value's name
    # of the first pass, by frozen value
    cotangents: Mapping[str, Tensor] = field(default_factory=dict, init=False)
    notes: list[str] = field(default_factory=list, init=False)  # what the user should know

    @property
    def b(self) -> Builder:
        return self.freezer.b

    def back(
        self, rules: Rules | None = None, added: Mapping[str, Tensor] = NOTHING, seeded: bool = True
    ) -> Transposed:
        """One pass back to the image. A node for which `rules` has no rule is transposed.

        Every frozen value named in `added` receives that cotangent as well as those of its consumers. Without
        `seeded`, `added` is all that is fed.
        """

        def rule_of(node: gs.Node) -> TransposeRule | None:
            return (rules and rules(node)) or TRANSPOSE.get(node.op)

        found = transpose(
            self.b, self.nodes, self.freezer.values, self.seed, self.probe, rule_of, added, seeded
        )
        self.cotangents = self.cotangents or found.cotangents
        return found

    def op_of(self, node: gs.Node) -> str:
        """The operator of the base node that a frozen node comes from; empty where it comes from none."""
        origin = self.freezer.origins.get(node.name)
        return str(origin.op) if origin is not None else ""

    def base_of(self, raw: Tensor) -> Tensor | None:
        """What a frozen value is at x1 = x0, in its shape; None where no tensor of the base is that."""
        unshaped = raw
        while unshaped.name not in self.tensors and unshaped.inputs and unshaped.inputs[0].op == "Reshape":
            unshaped = unshaped.inputs[0].inputs[0]
        found = self.tensors.get(unshaped.name)
        if found is None:
            return None
        if numel(shape_of(found)) != numel(shape_of(raw)[1:]):
            raise Unsupported(
                "relevance is defined for one image, and the model takes several at once",
                where=describe(raw.outputs[0]),
                remedy="export the model for a batch of 1",
            )
        return self.b.Reshape(self.freezer.float(found), [1, *shape_of(raw)[1:]])

    def times_image(self, c: Tensor) -> Tensor:
        """c·x0, element by element."""
        return self.b.Mul(c, self.b.Reshape(self.freezer.float(self.image), [1, *shape_of(self.probe)[1:]]))
