"""The normal dialect: every lift keeps the values, names survive, and what cannot be written is refused in one clear line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
import standard
from lift_cases import CASES, Case, c, ints, model, outputs_of, rand
from onnx import TensorProto, helper, numpy_helper, parser

from onnxscope.errors import BadModel, Fault, ScopeError, Unsupported
from onnxscope.files.models import to_bytes
from onnxscope.graph.tables import merged
from onnxscope.normalise.contrib_quantized import CONTRIB_QUANTIZED
from onnxscope.normalise.dialect import normalise
from onnxscope.normalise.lifts import LIFTS
from onnxscope.rewriting.rules.table import RULES
from onnxscope.runtime import Session

RELATIVE = 1e-6  # onnxruntime's kernels of two opsets round their sums alike, or nearly so
HALF = 2e-3  # the same in float16
STORED = 1e-5  # what another framework computed, to its own rounding
node = helper.make_node


def normalised(
    proto: onnx.ModelProto, keep: Sequence[str] = (), known: Sequence[str] | None = None
) -> onnx.ModelProto:
    before = proto.SerializeToString()
    b = normalise(proto, {}, frozenset(keep), RULES if known is None else known)
    result = onnx.ModelProto.FromString(to_bytes(b.graph))
    assert {n.domain for n in result.graph.node} <= {""}
    assert len({n.name for n in result.graph.node}) == len(result.graph.node)
    assert [o.name for o in result.graph.output] == [o.name for o in proto.graph.output]
    if not any(n.op_type == "Constant" for n in proto.graph.node):
        assert proto.SerializeToString() == before, "the original was changed"
    onnx.checker.check_model(result, full_check=True)
    return result


def agree(got: np.ndarray, want: Any, case: Case | None = None, relative: float = RELATIVE) -> None:
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if case is not None and case.steps:
        assert np.abs(got.astype(int) - want.astype(int)).max(initial=0) <= case.steps
    elif want.dtype.kind != "f" or (case is not None and case.exact):
        np.testing.assert_array_equal(got, want)
    else:
        bound = (relative if want.dtype != np.float16 else HALF) * np.abs(want.astype(float)).max(
            initial=1e-30
        )
        assert np.abs(got.astype(float) - want.astype(float)).max(initial=0) <= bound


def same(proto: onnx.ModelProto, feeds: dict[str, np.ndarray], **options: Any) -> onnx.ModelProto:
    """The normalised model, which computes what onnxruntime makes of the original."""
    result = normalised(proto, **options)
    got = outputs_of(result, feeds)
    for name, want in outputs_of(proto, feeds).items():
        agree(got[name], want)
    return result


def ops(proto: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in proto.graph.node]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lift_keeps_the_values(case: Case) -> None:
    proto = case.model()
    result = normalised(proto)
    if case.formula is not None:
        values = case.formula(*(np.asarray(x) for x in case.inputs if x is not None))
        want = dict(
            zip([f"y{k}" for k in range(case.outputs)], values if case.outputs > 1 else [values], strict=True)
        )
    else:
        want = outputs_of(proto, case.feeds())
    got = outputs_of(result, case.feeds())
    for name, value in want.items():
        agree(got[name], value, case)


@pytest.mark.parametrize(
    "case", [k for k in CASES if k.op in ("QLinearConv", "QLinearMatMul", "QGemm") and k.steps], ids=str
)
def test_onnxruntime_knows_the_quantized_operator_again(case: Case) -> None:
    """Its optimizer must not quantize anew what was taken apart: weights stay the integers that they were."""
    result, proto = normalised(case.model()), case.model()
    weights = [
        t
        for t in result.graph.initializer
        if t.data_type in (TensorProto.INT8, TensorProto.UINT8) and len(t.dims) > 1
    ]
    assert len(weights) == 1
    got = Session(result.SerializeToString(), optimise=True).run(case.feeds())
    agree(got["y0"], outputs_of(proto, case.feeds())["y0"], case)


STORED_MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").glob("pytorch-*/*/model.onnx"))


def test_old_exports_of_pytorch_keep_their_stored_values() -> None:
    """Models of opset 6, most of which onnxruntime itself no longer runs, with what PyTorch computed."""
    assert len(STORED_MODELS) > 100
    for path in STORED_MODELS:
        proto, data = onnx.load(path), Path(path).parent / "test_data_set_0"
        arrays = {
            kind: [numpy_helper.to_array(onnx.load_tensor(str(f))) for f in sorted(data.glob(f"{kind}_*.pb"))]
            for kind in ("input", "output")
        }
        initial = {t.name for t in proto.graph.initializer}
        feeds = dict(
            zip((i.name for i in proto.graph.input if i.name not in initial), arrays["input"], strict=True)
        )
        got = outputs_of(normalised(proto), feeds)
        for output, want in zip(proto.graph.output, arrays["output"], strict=True):
            np.testing.assert_allclose(got[output.name], want, rtol=STORED, atol=STORED, err_msg=path)


def test_every_lift_is_tried() -> None:
    """Here, in the table of cases, or by a case of the standard."""
    here, tried = Path(__file__).read_text(), {k.op for k in CASES}
    standards = set().union(*(standard.operators(name) for name in standard.node_cases()))
    untried = {key for key in LIFTS if key.split(".")[-1] not in tried | standards and f'"{key}"' not in here}
    assert untried == set()


def test_two_lifts_for_one_operator_are_refused() -> None:
    with pytest.raises(ValueError, match="QGemm"):
        merged(CONTRIB_QUANTIZED, CONTRIB_QUANTIZED)


# Names, constants and outputs

X = rand(1, 3, 4, 4)


def chain(
    *nodes: onnx.NodeProto, outputs: Sequence[str] = ("y",), opset: int = 13, **tensors: np.ndarray
) -> onnx.ModelProto:
    return model(list(nodes), {"x": X, **tensors}, outputs, opset)


def test_outputs_keep_their_names() -> None:
    proto = chain(
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["b"]),
        node("Identity", ["a"], ["d"]),
        node("Identity", ["x"], ["e"]),
        node("Shape", ["x"], ["s"]),
        node("Identity", ["w"], ["v"]),
        outputs=["a", "b", "d", "e", "x", "s", "w", "v"],
        w=c(rand(3)),
    )
    same(proto, {"x": X})


def test_any_tensor_can_be_kept() -> None:
    proto = chain(
        node("Relu", ["x"], ["a"]),
        node("Dropout", ["a"], ["b"]),
        node("Softmax", ["b"], ["t"], axis=1),
        node("Neg", ["t"], ["y"]),
        opset=11,
    )
    names = {o for n in same(proto, {"x": X}, keep=["b", "t"]).graph.node for o in n.output}
    assert {"a", "b", "t"} <= names


def test_nodes_have_names_of_their_own() -> None:
    proto = chain(
        node("Relu", ["x"], ["a"]),
        node("Neg", ["a"], ["b"], name="same"),
        node("Neg", ["b"], ["d"], name="same"),
        node("Abs", ["d"], ["y"], name="a"),
    )
    assert [n.name for n in normalised(proto).graph.node] == ["a", "same", "same_2", "a_2"]


def test_unused_outputs_are_left_out() -> None:
    result = same(
        chain(node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], storage_order=1), opset=12), {"x": X}
    )
    assert [list(n.output) for n in result.graph.node] == [["y"]]
    result = same(chain(node("TopK", ["x", "k"], ["v", "y"]), k=ints(2)), {"x": X})
    assert len(result.graph.node[0].output) == 2


def constants(**values: Any) -> onnx.ModelProto:
    return chain(node("Constant", [], ["k"], **values), node("Mul", ["x", "k"], ["y"]))


@pytest.mark.parametrize(
    "values",
    [
        {"value": numpy_helper.from_array(np.float32([[2.0], [3.0], [1.0], [0.5]]))},
        {"value_float": 2.5},
        {"value_floats": [1.0, 2.0, 3.0, 4.0]},
    ],
    ids=str,
)
def test_constant_nodes_become_constants(values: dict[str, Any]) -> None:
    assert ops(same(constants(**values), {"x": X})) == ["Mul"]


def sparse(linear: bool) -> onnx.SparseTensorProto:
    places = np.int64([1, 6]) if linear else np.int64([[0, 1], [1, 2]])
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.float32([2, 3]), "k"), numpy_helper.from_array(places, "places"), [4, 4]
    )


@pytest.mark.parametrize("linear", [True, False])
def test_sparse_tensors_are_written_out(linear: bool) -> None:
    want = np.zeros((4, 4), np.float32)
    want.reshape(-1)[[1, 6]] = 2, 3
    proto = constants(sparse_value=sparse(linear))
    agree(outputs_of(normalised(proto), {"x": X})["y"], X * want)
    proto = chain(node("Mul", ["x", "k"], ["y"]))
    proto.graph.sparse_initializer.append(sparse(linear))
    agree(outputs_of(normalised(proto), {"x": X})["y"], X * want)


@pytest.mark.parametrize("values", [{"value_int": 1}, {"value_ints": [0, 2]}], ids=str)
def test_whole_numbers_of_constant_nodes(values: dict[str, Any]) -> None:
    assert ops(
        same(
            chain(node("Constant", [], ["k"], **values), node("Gather", ["x", "k"], ["y"], axis=2)), {"x": X}
        )
    ) == ["Gather"]


def test_large_weights_stay_where_they_are_stored() -> None:
    weights = c(rand(200, 200))
    proto = model(
        [
            node("Constant", [], ["b"], value=numpy_helper.from_array(np.asarray(weights))),
            node("MatMul", ["x", "w"], ["h"]),
            node("MatMul", ["h", "b"], ["y"]),
        ],
        {"x": rand(1, 200), "w": weights},
        ["y"],
        13,
    )
    b = normalise(proto, {}, frozenset())
    constants = [t for t in b.graph.tensors().values() if isinstance(t, gs.Constant)]
    assert [isinstance(t._values, gs.ir.tensor.LazyValues) for t in constants] == [True] * 2
    assert next(t for t in constants if t.name == "w")._values.tensor is proto.graph.initializer[0]
    assert len(to_bytes(b.graph)) < proto.ByteSize() + 1000


def test_initializers_may_be_listed_as_inputs() -> None:
    proto = model([node("Mul", ["x", "w"], ["y"])], {"x": X, "w": c(rand(4))}, ["y"], 8, listed=True)
    assert [i.name for i in same(proto, {"x": X}).graph.input] == ["x"]


def test_sizes_fold_away() -> None:
    proto = chain(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n"], ["u"], axes=[0]),
        node("Concat", ["u", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["r"]),
        node("Size", ["r"], ["count"]),
        node("Cast", ["count"], ["divisor"], to=TensorProto.FLOAT),
        node("Div", ["r", "divisor"], ["y"]),
        opset=11,
        zero=c(np.int64(0)),
        rest=ints(-1),
    )
    assert ops(same(proto, {"x": X})) == ["Reshape", "Div"]


@pytest.mark.parametrize(
    "dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE], ids=TensorProto.DataType.Name
)
def test_other_precisions_pass_untouched(dtype: int) -> None:
    w = TensorProto(
        name="w", data_type=dtype, dims=[4], raw_data=bytes(8 if dtype != TensorProto.DOUBLE else 32)
    )
    nodes = [
        node("Add", ["x", "w"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Softmax", ["b"], ["s"], axis=1),
        node("Clip", ["s", "low"], ["y"]),
    ]
    low = TensorProto(name="low", data_type=dtype, raw_data=bytes(2 if dtype != TensorProto.DOUBLE else 8))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, [1, 4])],
        [onnx.ValueInfoProto(name="y")],
        [w, low],
    )
    result = normalised(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8))
    assert {v.type.tensor_type.elem_type for v in (*result.graph.input, *result.graph.output)} == {dtype}
    assert {t.data_type for t in result.graph.initializer} == {dtype}


# Order


def test_nodes_are_sorted() -> None:
    proto = chain(node("Neg", ["b"], ["y"]), node("Relu", ["a"], ["b"]), node("Abs", ["x"], ["a"]))
    assert ops(normalised(proto)) == ["Abs", "Relu", "Neg"]


def branch(text: str, output: str = "o") -> onnx.GraphProto:
    """A body from `output = Op (inputs)` lines; the types do not matter here."""
    body = parser.parse_graph(f"body () => (float {output}) {{ {text} }}")
    body.output[0].type.Clear()
    return body


TRUE, FALSE = c(np.bool_(True)), c(np.bool_(False))


def test_bodies_count_for_the_order() -> None:
    proto = chain(
        node("If", ["t"], ["y"], then_branch=branch("o = Neg(a)"), else_branch=branch("o = Abs(a)")),
        node("Relu", ["x"], ["a"]),
        t=TRUE,
    )
    assert ops(normalised(proto)) == ["Relu", "Neg"]


# Control flow


@pytest.mark.parametrize(("condition", "op"), [(TRUE, "Neg"), (FALSE, "Abs")])
def test_a_constant_if_is_its_branch(condition: np.ndarray, op: str) -> None:
    proto = chain(
        node("Relu", ["x"], ["a"]),
        node(
            "If", ["t"], ["y"], then_branch=branch("u = Relu(a) o = Neg(u)"), else_branch=branch("o = Abs(a)")
        ),
        t=condition,
    )
    assert ops(same(proto, {"x": X}))[-1] == op


def test_an_if_on_sizes_is_its_branch() -> None:
    proto = chain(
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["d"]),
        node("Equal", ["d", "one"], ["t"]),
        node("If", ["t"], ["y"], then_branch=branch("o = Neg(x)"), else_branch=branch("o = Abs(x)")),
        i=c(np.int64(3)),
        one=c(np.int64(1)),
    )
    assert ops(same(proto, {"x": X})) == ["Abs"]


def loop_body(condition: str = "go = Identity(more)") -> onnx.GraphProto:
    """v ← relu(v·w), stacking v; with a weight of its own."""
    return parser.parse_graph(f"""body (int64 i, bool more, float[1, 3, 4, 4] v) => (bool go, float[1, 3, 4, 4] next, float[1, 3, 4, 4] row)
        <float[4] w = {{1.0, 2.0, 0.5, 1.5}}> {{ {condition} p = Mul(v, w) k = Cast<to = 1>(i)
        n = Add(p, k) next = Relu(n) row = Neg(next) }}""")


@pytest.mark.parametrize(
    ("count", "go", "body"),
    [
        (ints(3), None, loop_body()),
        (c(np.int64(4)), TRUE, loop_body()),
        (None, TRUE, loop_body("two = Constant<value_int = 2>() go = Less(i, two)")),
    ],
    ids=["count", "condition", "while"],
)
def test_a_fixed_loop_is_unrolled(
    count: np.ndarray | None, go: np.ndarray | None, body: onnx.GraphProto
) -> None:
    given = {name: t for name, t in (("m", count), ("t", go)) if t is not None}
    proto = chain(
        node(
            "Loop",
            ["m" if count is not None else "", "t" if go is not None else "", "x"],
            ["y", "z"],
            body=body,
        ),
        outputs=["y", "z"],
        **given,
    )
    result = same(proto, {"x": X})
    assert "Loop" not in ops(result)
    assert sum(t.name.endswith("w") for t in result.graph.initializer) == 1


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {
            "scan_input_axes": [2],
            "scan_output_axes": [1],
            "scan_input_directions": [1],
            "scan_output_directions": [1],
        },
    ],
    ids=["plain", "axes"],
)
def test_a_scan_is_unrolled(attrs: dict[str, Any]) -> None:
    rows = rand(4, 5, 4)
    body = parser.parse_graph("""body (float[A] s, float[B, A] v) => (float[A] t, float[B, A] o)
        { axes = Constant<value_ints = [0]>() r = ReduceMean<axes = [0], keepdims = 0>(v) t = Add(s, r) o = Mul(v, t) }""")
    body.node.pop(0)
    start = c(rand(4) if not attrs else rand(5))
    proto = model(
        [node("Scan", ["s", "x"], ["a", "y"], body=body, num_scan_inputs=1, **attrs)],
        {"s": start, "x": rows},
        ["a", "y"],
        13,
    )
    same(proto, {"x": rows})


SEQUENCES = {
    "construct": [
        node("SequenceConstruct", ["x", "n", "x"], ["q"]),
        node("SequenceErase", ["q", "one"], ["r"]),
        node("SequenceInsert", ["r", "n"], ["v"]),
        node("ConcatFromSequence", ["v"], ["y"], axis=1),
    ],
    "stack": [
        node("SequenceConstruct", ["x", "n"], ["q"]),
        node("ConcatFromSequence", ["q"], ["y"], axis=0, new_axis=1),
    ],
    "split": [
        node("SplitToSequence", ["x"], ["q"], axis=1, keepdims=0),
        node("SequenceAt", ["q", "minus"], ["y"]),
    ],
    "sizes": [
        node("SplitToSequence", ["x", "sizes"], ["q"], axis=2, keepdims=0),  # which counts without sizes only
        node("SequenceAt", ["q", "one"], ["y"]),
    ],
    "pieces": [
        node("SplitToSequence", ["x", "three"], ["q"], axis=2),
        node("SequenceAt", ["q", "one"], ["y"]),
    ],
    "empty": [
        node("SequenceEmpty", [], ["e"]),
        node("SequenceInsert", ["e", "n"], ["q"]),
        node("SequenceInsert", ["q", "x", "zero"], ["r"]),
        node("SequenceLength", ["r"], ["l"]),
        node("SequenceAt", ["r", "zero"], ["f"]),
        node("Cast", ["l"], ["k"], to=1),
        node("Mul", ["f", "k"], ["y"]),
    ],
    "optional": [node("Optional", ["n"], ["o"]), node("OptionalGetElement", ["o"], ["y"])],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_fold_away(name: str) -> None:
    numbers = {
        "one": c(np.int64(1)),
        "minus": c(np.int64(-1)),
        "zero": c(np.int64(0)),
        "three": c(np.int64(3)),
        "sizes": ints(3, 1),
    }
    proto = model([node("Neg", ["x"], ["n"]), *SEQUENCES[name]], {"x": X, **numbers}, ["y"], 18)
    assert not [op for op in ops(same(proto, {"x": X})) if "Sequence" in op]


# Functions


def function(
    name: str,
    text: str,
    opset: int = 13,
    inputs: Sequence[str] = ("a",),
    attributes: Sequence[str] = (),
    domain: str = "mine",
    defaults: Sequence[onnx.AttributeProto] = (),
) -> onnx.FunctionProto:
    nodes = (
        list(parser.parse_graph(f"body () => (float r) {{ {text} }}").node) if isinstance(text, str) else text
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(domain, 1)]
    return helper.make_function(
        domain, name, list(inputs), ["r"], nodes, imports, list(attributes), list(defaults)
    )


def leaky() -> onnx.FunctionProto:
    inner = node("LeakyRelu", ["a"], ["r"])
    inner.attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    )
    return function("Leaky", [inner], attributes=["slope"])  # type: ignore[arg-type]


FUNCTIONS: dict[str, tuple[list[onnx.NodeProto], list[onnx.FunctionProto]]] = {
    "twice": (
        [node("F", ["x"], ["t"], domain="mine"), node("F", ["t"], ["y"], domain="mine")],
        [function("F", "k = Constant<value_float = 2.0>() b = Mul(a, k) r = Relu(b)")],
    ),
    "attribute": ([node("Leaky", ["x"], ["y"], domain="mine", slope=0.3)], [leaky()]),
    "no attribute": ([node("Leaky", ["x"], ["y"], domain="mine")], [leaky()]),
    "nested": (
        [node("G", ["x"], ["y"], domain="mine")],
        [function("F", "r = Neg(a)"), function("G", "b = mine.F(a) d = Relu(b) r = mine.F(d)")],
    ),
    "names": (
        [
            node("F", ["x"], ["r"], domain="mine"),
            node("Relu", ["r"], ["b"]),
            node("F", ["b"], ["y"], domain="mine", name="b"),
        ],
        [function("F", "b = Neg(a) r = Abs(b)")],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_inlined(name: str) -> None:
    nodes, functions = FUNCTIONS[name]
    same(model(nodes, {"x": X}, ["y"], 13, functions), {"x": X})


def test_functions_have_opsets_of_their_own() -> None:
    """Softmax-11 in a model of opset 13, and GroupNormalization-21's opset beside both."""
    old = function("F", "r = Softmax<axis = 1>(a)", 11)
    new = function("G", "r = Identity(a)", 21)
    result = normalised(
        model(
            [
                node("F", ["x"], ["t"], domain="mine"),
                node("G", ["t"], ["s"], domain="mine"),
                node("Softmax", ["s"], ["y"], axis=1),
            ],
            {"x": X},
            ["y"],
            13,
            [old, new],
        )
    )
    flat = np.exp(X.reshape(1, -1)) / np.exp(X).sum()
    again = np.exp(flat.reshape(X.shape))
    agree(outputs_of(result, {"x": X})["y"], (again / again.sum(1, keepdims=True)).astype(np.float32))
    assert result.opset_import[0].version == 18, "nothing in it needs a newer one"


@pytest.mark.parametrize(
    "case",
    [
        node("HardSwish", ["x"], ["y"]),
        node("Mish", ["x"], ["y"]),
        node("Celu", ["x"], ["y"], alpha=0.7),
        node("Shrink", ["x"], ["y"], bias=0.1),
        node("LayerNormalization", ["x", "w"], ["y"]),
        node("Gelu", ["x"], ["y"]),
        node("CenterCropPad", ["x", "s"], ["y"], axes=[2, 3]),
        node("Softplus", ["x"], ["y"]),
    ],
    ids=lambda n: n.op_type,
)
def test_unknown_operators_become_the_standards_own_definition(case: onnx.NodeProto) -> None:
    proto = chain(case, opset=20, w=c(rand(4)), s=ints(2, 6))
    for name in {"w", "s"} - set(case.input):
        proto.graph.initializer.remove(next(t for t in proto.graph.initializer if t.name == name))
    assert case.op_type not in ops(same(proto, {"x": X}, known=[]))


def test_attention_becomes_the_standards_own_definition() -> None:
    q = rand(1, 2, 5, 4)
    assert "Attention" not in ops(
        same(model([node("Attention", ["q", "q", "q"], ["y"])], {"q": q}, ["y"], 23), {"q": q}, known=[])
    )


# Refusals: the line names the node, says what is wrong, and what to do


def cyclic() -> onnx.ModelProto:
    return chain(
        node("Add", ["x", "b"], ["a"], name="first"),
        node("Relu", ["a"], ["b"], name="second"),
        node("Neg", ["b"], ["y"]),
    )


def one(
    op: str,
    *inputs: str,
    opset: int = 13,
    outputs: Sequence[str] = ("y",),
    domain: str = "",
    tensors: dict[str, np.ndarray] | None = None,
    **attrs: Any,
) -> Callable[[], onnx.ModelProto]:
    return lambda: model(
        [node(op, inputs, outputs, name="N", domain=domain, **attrs)],
        {"x": X, **(tensors or {})},
        outputs,
        opset,
    )


V = {k: c(np.abs(rand(3))) for k in "sbmv"}
RECURSIVE = function("F", "r = mine.F(a)")
REFUSED: dict[str, tuple[type[ScopeError], str, Callable[[], onnx.ModelProto]]] = {
    "cycle": (BadModel, r"node '(first|second)' \(\w+\): .*cycle", cyclic),
    "own input": (BadModel, "node 'N' .*cycle", one("Add", "x", "y")),
    "missing": (BadModel, "node 'N' .*nothing computes its input 'nowhere'", one("Add", "x", "nowhere")),
    "missing in a body": (
        BadModel,
        "'nowhere'",
        lambda: chain(
            node(
                "If", ["t"], ["y"], then_branch=branch("o = Neg(nowhere)"), else_branch=branch("o = Abs(x)")
            ),
            t=TRUE,
        ),
    ),
    "missing output": (
        BadModel,
        "output 'y'.*nothing computes it",
        lambda: chain(node("Relu", ["x"], ["a"])),
    ),
    "computed twice": (
        BadModel,
        "computes 'y'",
        lambda: chain(node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])),
    ),
    "missing attribute": (Fault, "node 'N' .*KeyError: 'to'", one("Cast", "x")),  # until it is judged
    "no starts": (Fault, "node 'N' .*KeyError: 'starts'", one("Slice", "x", opset=9)),
    "no such axis": (BadModel, "node 'N' .*axis 7", one("ReduceSum", "x", opset=11, axes=[7])),
    "no such axis to split": (BadModel, "node 'N' .*axis -5", one("Split", "x", axis=-5)),
    "required input": (BadModel, "node 'N' .*input 1 is missing", one("PRelu", "x")),
    "unknown": (BadModel, "node 'N' .*opset 13 has no operator 'Frobnicate'", one("Frobnicate", "x")),
    "not yet": (BadModel, "node 'N' .*opset 13 has no operator 'Gelu'", one("Gelu", "x")),
    "too new": (BadModel, "opset 99 is newer", one("Relu", "x", opset=99)),
    "shapes": (BadModel, "node 'N'.*do not fit", one("MatMul", "x", "s", tensors=V)),
    "domain": (
        Unsupported,
        "node 'N' .*'com.microsoft.nchwc'",
        one("Conv", "x", domain="com.microsoft.nchwc"),
    ),
    "ml": (Unsupported, "node 'N' .*'ai.onnx.ml'", one("Scaler", "x", domain="ai.onnx.ml")),
    "ATen": (Unsupported, "node 'N' .*ATen", one("ATen", "x", operator="add")),
    "If": (
        Unsupported,
        "node 'N' .*condition depends on 'q'",
        lambda: chain(
            node(
                "If",
                ["q"],
                ["y"],
                name="N",
                then_branch=branch("o = Neg(x)"),
                else_branch=branch("o = Abs(x)"),
            ),
            q=np.array(True),
        ),
    ),
    "Loop": (
        Unsupported,
        "node 'N' .*rounds.*'q'",
        lambda: chain(node("Loop", ["q", "", "x"], ["y", "z"], name="N", body=loop_body()), q=np.array(3)),
    ),
    "while": (
        Unsupported,
        "node 'N' .*condition depends on 'x'",
        lambda: chain(
            node(
                "Loop",
                ["", "t", "x"],
                ["y", "z"],
                name="N",
                body=loop_body(
                    "s = ReduceSum<keepdims = 0>(v) one = Constant<value_float = 1.0>() go = Less(s, one)"
                ),
            ),
            t=TRUE,
        ),
    ),
    "endless": (
        Unsupported,
        "node 'N' .*more than 1024",
        lambda: chain(node("Loop", ["", "t", "x"], ["y", "z"], name="N", body=loop_body()), t=TRUE),
    ),
    "recursion": (
        BadModel,
        "calls itself",
        lambda: model([node("F", ["x"], ["y"], domain="mine", name="N")], {"x": X}, ["y"], 13, [RECURSIVE]),
    ),
    "statistics": (
        Unsupported,
        "node 'N' .*training",
        one("BatchNormalization", "x", *V, opset=9, tensors=V, outputs=["y", "m2", "v2"]),
    ),
    **{
        op: (Unsupported, "node 'N' .*at random", one(op, shape=[2]))
        for op in ("RandomNormal", "RandomUniform")
    },
    **{
        op: (Unsupported, "node 'N' .*at random", one(op, "x"))
        for op in ("RandomNormalLike", "RandomUniformLike", "Multinomial")
    },
    "dropout": (
        Unsupported,
        "node 'N' .*drops at random",
        one("Dropout", "x", "p", "t", tensors={"p": c(np.float32(0.5)), "t": TRUE}),
    ),
    "axes": (
        Unsupported,
        "node 'N' .*axes must be constant.*'q'",
        one("ReduceSum", "x", "q", tensors={"q": np.int64([1])}),
    ),
    "fraction": (Unsupported, "node 'N' .*p is 1.5", one("GlobalLpPool", "x", opset=1, p=1.5)),
    "auto_pad": (
        BadModel,
        "node 'N' .*auto_pad 'MAYBE'",
        one("MaxPool", "x", kernel_shape=[2, 2], auto_pad="MAYBE"),
    ),
    "activation": (
        Unsupported,
        "node 'N' .*'Sine'",
        one(
            "FusedConv",
            "x",
            "w",
            domain="com.microsoft",
            tensors={"w": c(rand(2, 3, 1, 1))},
            activation="Sine",
        ),
    ),
    "16 bits": (
        Unsupported,
        "node 'N' .*opset 21",
        one(
            "QuantizeLinear",
            "x",
            "s",
            "z",
            domain="com.microsoft",
            tensors={"s": c(np.float32(1)), "z": c(np.int16(0))},
        ),
    ),
    "sequence": (Unsupported, "output 'y'.*sequence", one("SequenceConstruct", "x")),
    "sequence input": (
        Unsupported,
        "sequence",
        lambda: chain(node("SequenceConstruct", ["x"], ["q"]), node("Relu", ["q"], ["y"])),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_clear_line(name: str) -> None:
    kind, pattern, make = REFUSED[name]
    with pytest.raises(kind, match=pattern) as caught:
        normalise(make(), {}, frozenset(), RULES)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
