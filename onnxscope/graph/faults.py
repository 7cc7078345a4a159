"""What a rule stumbles over at a node, as a fault that names the node."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxscope.errors import Fault, shape_text
from onnxscope.graph.tensors import describe


def fault_at(node: gs.Node, error: Exception) -> Fault:
    """The fault that an exception shows while this node is rewritten, or while it is added."""
    shapes = [shape_text(t.shape) for t in node.inputs if t.name]
    return Fault.of(error, describe(node), node=node.name, operator=node.op, shapes=shapes)
