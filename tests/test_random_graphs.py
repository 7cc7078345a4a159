"""Random graphs: branches, concatenations, shared weights, reused tensors, several outputs; every proof on each."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from standard import Material, entries

from onnxscope.files.models import load
from onnxscope.rewriting.build import build
from onnxscope.rewriting.options import (
    Options as Choice,
)  # hypothesis draws its examples by the test's source
from onnxscope.rewriting.steps import POLICIES, Policy
from onnxscope.run.verify import verify_scope

CHANNELS, SIZE = 3, 4
SHAPE = (1, CHANNELS, SIZE, SIZE)


class Grower:
    """Grows a graph whose tensors all have one shape, so that any can meet any."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {"shared": self.draw(CHANNELS, CHANNELS, 3, 3) * 0.3}
        self.tensors = ["image"]

    def draw(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def op(self, op: str, *inputs: str, **attrs: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"n{len(self.nodes)}", **attrs))
        return name

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "random",
            [info("image", TensorProto.FLOAT, SHAPE)],
            [info(o, TensorProto.FLOAT, None) for o in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


def down_and_up(g: Grower, a: str, b: str) -> str:
    down = g.op("Conv", a, g.weight(g.draw(2, CHANNELS, 3, 3) * 0.4), strides=[2, 2], pads=[1] * 4)
    return g.op("ConvTranspose", down, g.weight(g.draw(2, CHANNELS, 2, 2)), strides=[2, 2])


def mixed(g: Grower, a: str, b: str) -> str:
    """Two tensors side by side, mixed back to the channels of one."""
    return g.op("Conv", g.op("Concat", a, b, axis=1), g.weight(g.draw(CHANNELS, 2 * CHANNELS, 1, 1) * 0.5))


def excited(g: Grower, a: str, b: str) -> str:
    squeezed = g.op("Conv", g.op("GlobalAveragePool", b), g.weight(g.draw(CHANNELS, CHANNELS, 1, 1)))
    return g.op("Mul", a, g.op("Sigmoid", squeezed))


def cropped(g: Grower, a: str, b: str) -> str:
    """Cut on one axis, turned round on another, and padded."""
    bounds = [g.weight(ints(*v)) for v in ((1, 3), (3, -9), (2, 3), (1, -2))]
    return g.op("Pad", g.op("Slice", a, *bounds), g.weight(RING))


def own_convolution(g: Grower, a: str, b: str) -> str:
    return g.op(
        "Conv",
        a,
        g.weight(g.draw(CHANNELS, CHANNELS, 3, 3) * 0.3),
        g.weight(g.draw(CHANNELS)),
        pads=[2] * 4,
        dilations=[2, 2],
    )


def instance_norm(g: Grower, a: str, b: str) -> str:
    return g.op(
        "InstanceNormalization",
        a,
        g.weight(np.abs(g.draw(CHANNELS)) + 0.5),
        g.weight(g.draw(CHANNELS)),
        epsilon=1e-2,
    )


def attention(g: Grower, a: str, b: str) -> str:
    scores = g.op("MatMul", a, g.op("Transpose", b, perm=[0, 1, 3, 2]))
    return g.op("MatMul", g.op("Softmax", scores, axis=-1), a)


def there_and_back(g: Grower, a: str, b: str) -> str:
    flat = g.op("Transpose", g.op("Reshape", a, g.weight(ints(CHANNELS, SIZE * SIZE))), perm=[1, 0])
    return g.op("Reshape", flat, g.weight(ints(*SHAPE)))


RING = ints(0, 0, 1, 1, 0, 0, 1, 1)
GROWTHS = {
    "shared convolution": lambda g, a, b: g.op("Conv", a, "shared", pads=[1] * 4),
    "own convolution": own_convolution,
    "depthwise": lambda g, a, b: g.op(
        "Conv", a, g.weight(g.draw(CHANNELS, 1, 3, 3) * 0.5), group=CHANNELS, auto_pad="SAME_LOWER"
    ),
    "down and up": down_and_up,
    "relu": lambda g, a, b: g.op("Relu", a),
    "leaky relu": lambda g, a, b: g.op("LeakyRelu", a, alpha=0.1),
    "sigmoid": lambda g, a, b: g.op("Sigmoid", a),
    "tanh": lambda g, a, b: g.op("Tanh", a),
    "clip": lambda g, a, b: g.op("Clip", a, g.weight(np.float32(-0.5)), g.weight(np.float32(1.0))),
    "silu": lambda g, a, b: g.op("Mul", a, g.op("Sigmoid", a)),
    "add": lambda g, a, b: g.op("Add", a, b),
    "subtract": lambda g, a, b: g.op("Sub", a, b),
    "multiply": lambda g, a, b: g.op("Mul", g.op("Tanh", a), g.op("Tanh", b)),
    "largest": lambda g, a, b: g.op("Max", a, b),
    "quotient": lambda g, a, b: g.op("Div", a, g.op("Add", g.op("Softplus", b), g.weight(np.float32(0.5)))),
    "max pool": lambda g, a, b: g.op("MaxPool", a, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
    "average pool": lambda g, a, b: g.op("AveragePool", a, kernel_shape=[3, 3], pads=[1] * 4),
    "instance norm": instance_norm,
    "squeeze and excite": excited,
    "concatenate": mixed,
    "with a constant": lambda g, a, b: mixed(g, a, g.weight(g.draw(*SHAPE))),
    "crop and pad": cropped,
    "reflect": lambda g, a, b: g.op("Conv", g.op("Pad", a, g.weight(RING), mode="reflect"), "shared"),
    "matrix": lambda g, a, b: g.op("MatMul", a, g.weight(g.draw(SIZE, SIZE) * 0.5)),
    "attention": attention,
    "there and back": there_and_back,
}


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    g = Grower(draw(st.integers(0, 2**16)))
    for kind in draw(st.lists(st.sampled_from(sorted(GROWTHS)), min_size=3, max_size=9)):
        a, b = draw(st.sampled_from(g.tensors)), draw(st.sampled_from(g.tensors[-2:]))
        g.tensors.append(GROWTHS[kind](g, b, a))
    return g.model(
        [g.tensors[-1], *dict.fromkeys(draw(st.lists(st.sampled_from(g.tensors[1:-1]), max_size=2)))]
    )


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(model=models(), seed=st.integers(0, 2**16))
def test_every_proof_holds_on_random_graphs(policy: str, model: onnx.ModelProto, seed: int) -> None:
    scope = build(load(model), Choice(policy=Policy(policy)))
    image = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    report = verify_scope(scope, image=image)
    assert report.ok, [c for c in report.checks if not c.ok]
    written_out = entries(scope, Material(model, image))
    assert written_out.status == "passed", written_out.detail
