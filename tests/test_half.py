"""Every operator beside a base in another precision: the base keeps it, the frozen branch computes in float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from standard import material, node_cases
from support import POLICIES, check, run, runs

from onnxscope.errors import ScopeError
from onnxscope.rewriting.rules.table import RULES

NOISE = {"FLOAT16": 1e-2, "DOUBLE": 1e-5}
FLOAT_ONLY = {("Resize", 2)}  # inputs that the standard has in float32 whatever the image's type
SMALL = 400


def converted(proto, kind):
    """The model with all its float32 tensors in another type."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    keep = {
        n.input[i] for n in proto.graph.node for op, i in FLOAT_ONLY if n.op_type == op and i < len(n.input)
    }
    for t in proto.graph.initializer:
        if t.data_type == TensorProto.FLOAT and t.name not in keep:
            values, name = numpy_helper.to_array(t), t.name
            t.CopyFrom(numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(kind)), name))
    for info in (*proto.graph.input, *proto.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = kind
    proto.opset_import[0].version = min(proto.opset_import[0].version, 23)
    proto.ir_version = min(proto.ir_version, 10)
    return proto


def candidates(op):
    """The operator's small cases, the smallest first."""

    def size(case):
        return sum(np.size(x) for part in case.data_sets[0] for x in part)

    cases = (c for c in node_cases().values() if c.model.graph.node[0].op_type == op)
    return sorted((c for c in cases if size(c) < SMALL), key=lambda c: (size(c), c.name))


OPERATORS = [op for op, (how, _) in sorted(RULES.items()) if how in ("linear", "frozen") and candidates(op)]


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("op", OPERATORS)
def test_operator(op, kind):
    element = TensorProto.DataType.Value(kind)
    dtype = helper.tensor_dtype_to_np_dtype(element)
    for case in candidates(op):
        m = material(case.name)
        proto = converted(m.model, element)
        image, output = proto.graph.input[0].name, proto.graph.output[0].name
        feeds = {image: m.image.astype(dtype)}
        if m.image.dtype != np.float32 or not runs(proto, feeds):
            continue
        y0 = run(proto, feeds)[output]
        if y0.dtype != dtype or not np.isfinite(y0.astype(np.float64)).all():
            continue
        try:
            for policy in POLICIES:
                check(proto, feeds, policy, image=image, output=output, tolerance=NOISE[kind])
        except ScopeError:  # refused whatever the type: another test says so
            continue
        return
    pytest.skip(f"onnxruntime has no {kind.lower()} kernel for a small case")
