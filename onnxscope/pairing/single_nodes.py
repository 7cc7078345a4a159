"""Single nodes of a graph, run on values that come from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from onnxscope.graph.tensors import element_type
from onnxscope.runtime import Session


class SingleNodes:
    """Runs nodes one at a time. Nodes that are alike share a session."""

    def __init__(self, opset: int, ir_version: int) -> None:
        self.opset, self.ir_version = opset, ir_version
        self.sessions: dict[bytes, Session] = {}

    def run(self, node: gs.Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        """The outputs of a node for these inputs; None stands for one that is left out."""
        model = self.model(node, inputs)
        key = model.SerializeToString()
        if key not in self.sessions:
            self.sessions[key] = Session(key, optimise=False)
        feeds = {f"i{k}": x for k, x in enumerate(inputs) if x is not None}
        found = self.sessions[key].run(feeds)
        return [found[f"o{k}"] for k in range(len(node.outputs))]

    def model(self, node: gs.Node, inputs: Sequence[np.ndarray | None]) -> onnx.ModelProto:
        """A model of this node alone, whose names depend on nothing else."""
        proto = OnnxExporter.export_node(node)
        proto.name = proto.doc_string = ""
        proto.input[:] = [f"i{k}" if x is not None else "" for k, x in enumerate(inputs)]
        proto.output[:] = [f"o{k}" for k in range(len(node.outputs))]
        given = [
            helper.make_tensor_value_info(f"i{k}", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for k, x in enumerate(inputs)
            if x is not None
        ]
        made = [onnx.ValueInfoProto(name=name) for name in proto.output]
        for info, t in zip(made, node.outputs, strict=True):
            info.type.tensor_type.elem_type = element_type(t)
        graph = helper.make_graph([proto], "one", given, made)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=self.ir_version)
