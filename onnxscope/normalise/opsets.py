"""Which opset to write: the oldest from 18 on in which the model's operators mean the same.

Every runtime runs an old revision of an operator; kernels for a new one come late, on a GPU above all.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from onnxscope.errors import BadModel
from onnxscope.normalise.source import STANDARD

OLDEST, NEWEST = 18, 26  # onnxruntime runs no newer one
MEANING_CHANGED = {  # by these revisions, though nothing else shows it
    ("AveragePool", 19),
    ("AveragePool", 22),
    ("DFT", 20),
    ("GridSample", 20),
    ("GroupNormalization", 21),
    ("Resize", 19),
}


def opsets_to_write(model: onnx.ModelProto) -> list[int]:
    """The opsets to try: the oldest that fits, then the model's own, for an old revision may lack a type."""
    imports = [o for source in (model, *model.functions) for o in source.opset_import if o.domain in STANDARD]
    own = max((o.version for o in imports), default=1)
    if own > onnx.defs.onnx_opset_version():
        raise BadModel(
            f"opset {own} is newer than the installed onnx knows",
            remedy="export with an older opset, or update onnx",
        )
    nodes = [*nodes_of(model.graph.node), *(n for f in model.functions for n in nodes_of(f.node))]
    needed = max((revision(n, own) for n in nodes if n.domain in STANDARD), default=OLDEST)
    return sorted({min(max(v, OLDEST), NEWEST) for v in (needed, own)})


def nodes_of(nodes: object) -> Iterator[onnx.NodeProto]:
    for node in nodes:  # type: ignore[attr-defined]
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from nodes_of(graph.node)


def revision(node: onnx.NodeProto, opset: int) -> int:
    """The oldest revision of an operator that has all which this node uses of it."""
    if opset <= OLDEST or not onnx.defs.has(node.op_type, opset):
        return OLDEST
    used = {a.name for a in node.attribute}
    schema = onnx.defs.get_schema(node.op_type, opset)
    while schema.since_version > OLDEST and onnx.defs.has(node.op_type, schema.since_version - 1):
        older = onnx.defs.get_schema(node.op_type, schema.since_version - 1)
        lacks = (
            not used <= set(older.attributes)
            or len(node.input) > older.max_input
            or len(node.output) > older.max_output
        )
        wraps = node.op_type == "Pad" and any(a.name == "mode" and a.s == b"wrap" for a in node.attribute)
        if older.deprecated or lacks or wraps or (node.op_type, schema.since_version) in MEANING_CHANGED:
            break
        schema = older
    return schema.since_version
