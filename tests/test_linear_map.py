"""F as an operator: what scipy's and PyLops' solvers, the dense matrix and the dot test make of it."""

from __future__ import annotations

import networks
import numpy as np
import onnx
import pytest
from scipy.sparse.linalg import aslinearoperator, lsqr, svds
from support import randn

import onnxscope
from onnxscope.linear.linear_map import ArraySpace, Filter, dense, dot_test, units


class Matrix:
    """A matrix on pictures: 2×3 in, 4×1 out, two at once."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix, self.batch = matrix, 2
        self.inputs, self.outputs = ArraySpace((2, 3), matrix.dtype), ArraySpace((4, 1), matrix.dtype)

    def forward(self, block: np.ndarray) -> np.ndarray:
        return (block.reshape(-1, 6) @ self.matrix.T).reshape(-1, 4, 1)

    def transpose(self, block: np.ndarray) -> np.ndarray:
        return (block.reshape(-1, 4) @ self.matrix).reshape(-1, 2, 3)


@pytest.fixture(scope="module")
def x() -> onnxscope.LinearInterpreter:
    proto = networks.with_image_shape(networks.edsr(features=4, blocks=1, size=5), (1, 3, 5, 5))
    return onnxscope.load(proto).freeze(randn(1, 3, 5, 5))


@pytest.mark.parametrize("matrix", [randn(4, 6), randn(4, 6).astype(np.float64)], ids=["float32", "float64"])
def test_all_ways_to_apply_a_matrix(matrix: np.ndarray) -> None:
    f = Matrix(matrix)
    operator, want = Filter(f), aslinearoperator(matrix)
    assert (operator.shape, operator.dtype) == (want.shape, want.dtype)
    for name, size in (
        ("matvec", (6,)),
        ("rmatvec", (4,)),
        ("matmat", (6, 3)),
        ("rmatmat", (4, 3)),
        ("matvec", (6, 1)),
    ):
        given = randn(*size).astype(matrix.dtype)
        got = getattr(operator, name)(given)
        np.testing.assert_allclose(got, getattr(want, name)(given), rtol=1e-5, atol=1e-6)
        assert got.dtype == matrix.dtype
    np.testing.assert_allclose(operator.T @ np.ones(4, matrix.dtype), matrix.T @ np.ones(4), rtol=1e-5)
    np.testing.assert_allclose(dense(f), matrix, rtol=1e-6)
    tall = Matrix(matrix)
    tall.forward, tall.transpose, tall.inputs, tall.outputs = (
        tall.transpose,
        tall.forward,
        tall.outputs,
        tall.inputs,
    )
    np.testing.assert_allclose(dense(tall), matrix.T, rtol=1e-6)


def test_dense_is_refused_where_it_would_not_fit() -> None:
    with pytest.raises(onnxscope.BadOption, match="4 × 6 entries"):
        dense(Matrix(randn(4, 6)), most_bytes=95)


def test_the_dot_test_finds_a_wrong_transpose() -> None:
    f = Matrix(randn(4, 6))
    assert dot_test(f).ok
    f.transpose = lambda block: (block.reshape(-1, 4) @ (f.matrix * np.float32(1.001))).reshape(-1, 2, 3)
    assert not dot_test(f).ok
    assert dot_test(f).figure > 1e-5


def test_units() -> None:
    np.testing.assert_array_equal(units(ArraySpace((2, 2)), 1, 3).reshape(2, 4), np.eye(4)[1:3])


def test_scipys_solvers_take_the_filter(x: onnxscope.LinearInterpreter) -> None:
    matrix = x.dense().astype(np.float64)
    _, sigma, _ = svds(x.filter, 3, tol=1e-6, random_state=0)
    np.testing.assert_allclose(
        sorted(sigma, reverse=True), np.linalg.svd(matrix, compute_uv=False)[:3], rtol=1e-5
    )
    target = x.output.reshape(-1) - x.residual().reshape(-1)
    found = lsqr(x.filter, target, damp=0.1, atol=1e-7, btol=1e-7)[0]
    want = np.linalg.solve(matrix.T @ matrix + 0.01 * np.eye(75), matrix.T @ target)
    np.testing.assert_allclose(found, want, atol=1e-4 * np.abs(want).max())


def test_pylops_solvers_take_the_filter(x: onnxscope.LinearInterpreter) -> None:
    pylops = pytest.importorskip("pylops", reason="pylops is not installed")
    operator = pylops.LinearOperator(x.filter)
    assert pylops.utils.dottest(operator, *operator.shape, rtol=1e-4)
    target = x.filter @ x.image.reshape(-1)
    found = pylops.optimization.basic.cgls(operator, target, niter=200, tol=0)[0]
    np.testing.assert_allclose(x.filter @ found, target, atol=1e-3 * np.abs(target).max())


@pytest.mark.parametrize(
    ("shape", "said"), [((1, 3, 5, 4), "has shape"), ((2,), "has shape"), ((3, 25), "has shape")]
)
def test_probes_that_do_not_fit_are_refused(
    shape: tuple[int, ...], said: str, x: onnxscope.LinearInterpreter
) -> None:
    with pytest.raises(onnxscope.BadOption, match=said):
        x.project(np.zeros(shape, np.float32))
    with pytest.raises(onnxscope.BadOption, match="NaN"):
        x.project(np.full((1, 3, 5, 5), np.nan))


def test_probes_come_alone_or_in_blocks(x: onnxscope.LinearInterpreter) -> None:
    probe = randn(3, 5, 5)
    alone = x.project(probe)
    assert alone.shape == x.output.shape == x.column((0, 0, 0)).shape
    np.testing.assert_array_equal(x.project(probe[None]), alone)
    assert (
        x.project(np.stack([probe, probe])).shape == (2, 3, 10, 10) == x.columns([(0, 0, 0), (1, 0, 0)]).shape
    )
    assert x.back_project(x.output).shape == x.image.shape == x.row((0, 0, 0)).shape


def test_channels_last(x: onnxscope.LinearInterpreter) -> None:
    """Pixels are (channel, y, x) whatever the layout; the output follows the image's."""
    proto = networks.with_image_shape(networks.edsr(features=4, blocks=1, size=5), (1, 3, 5, 5))
    graph = proto.graph
    nhwc = onnx.helper.make_tensor_value_info("nhwc", 1, [1, 5, 5, 3])
    nodes = [
        onnx.helper.make_node("Transpose", ["nhwc"], [graph.input[0].name], perm=[0, 3, 1, 2]),
        *graph.node,
        onnx.helper.make_node("Transpose", [graph.output[0].name], ["last"], perm=[0, 2, 3, 1]),
    ]
    out = onnx.helper.make_tensor_value_info("last", 1, None)
    last = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [nhwc], [out], graph.initializer),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=8,
    )
    y = onnxscope.load(last).freeze(x.image.transpose(0, 2, 3, 1))
    assert y.output.shape == (1, 10, 10, 3)
    np.testing.assert_allclose(y.column((2, 3, 4)).transpose(0, 3, 1, 2), x.column((2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(y.row((1, 9, 0)).transpose(0, 3, 1, 2), x.row((1, 9, 0)), atol=1e-6)
