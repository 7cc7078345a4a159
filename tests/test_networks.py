"""The networks of the benchmark are what they are called, can be run in batches, and the trained one enlarges better than bicubic."""

from __future__ import annotations

from collections.abc import Callable

import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse.linalg import svds
from support import close, run

import onnxscope
from onnxscope.linear.linear_map import Filter, LinearMap, rows
from onnxscope.rewriting.steps import POLICIES

BUILT: dict[
    str, tuple[Callable[..., onnx.ModelProto], int]
] = {  # parameters of the convolutions as the networks' authors count them
    "edsr": (networks.edsr, 1_369_859),
    "cyclegan": (networks.cyclegan, 11_378_179),
}


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def with_all_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every node's value as an output."""
    declared = {o.name for o in model.graph.output}
    for name in (o for n in model.graph.node for o in n.output if o not in declared):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


@pytest.mark.parametrize("name", BUILT)
def test_built_networks_are_of_the_published_size(name: str) -> None:
    build, published = BUILT[name]
    model = build()
    onnx.checker.check_model(model, full_check=True)
    weights = {t.name: numpy_helper.to_array(t).size for t in model.graph.initializer}
    convolutions = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    assert sum(weights[i] for n in convolutions for i in n.input[1:]) == published


@pytest.mark.parametrize("name", BUILT)
def test_values_neither_vanish_nor_explode(name: str) -> None:
    model = networks.network(name)
    values = run(
        with_all_values(model), {"image": image(1, 3, networks.NETWORKS[name][1], networks.NETWORKS[name][1])}
    )
    spreads = {k: float(v.std()) for k, v in values.items()}
    assert all(0.02 <= s <= 5 for s in spreads.values()), spreads


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "model",
    [networks.edsr(8, 2, scale=3, size=12), networks.cyclegan(blocks=2, size=16, features=4)],
    ids=BUILT,
)
def test_built_networks_are_proved(model: onnx.ModelProto, policy: str) -> None:
    report = onnxscope.verify(onnxscope.rewrite(model, policy=policy))
    assert report.ok, [c for c in report.checks if not c.ok]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_trained_network_is_proved(policy: str) -> None:
    report = onnxscope.verify(onnxscope.rewrite(networks.network("edsr_small"), policy=policy))
    assert report.ok, [c for c in report.checks if not c.ok]


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "edsr_small"])
def test_a_batch_equals_single_images(name: str) -> None:
    """Compared before a Softmax too, which makes nearly everything 0 or 1."""
    model = networks.network(name, batch=3)
    size = networks.NETWORKS[name][1]
    last = model.graph.node[-1]
    before = last.input[0] if last.op_type == "Softmax" else last.output[0]
    x = image(3, 3, size, size)
    names = {i.name for i in model.graph.input} - {t.name for t in model.graph.initializer}
    feed = names.pop()
    assert not names
    together = run(with_all_values(model), {feed: x})[before]
    one = with_all_values(networks.network(name))
    close(
        together,
        np.concatenate([run(one, {feed: x[k : k + 1]})[before] for k in range(3)]),
        1e-5,
        "a batch of three",
    )


@pytest.fixture(scope="module")
def upscaler() -> onnxscope.LinearInterpreter:
    """The trained EDSR, frozen for 24×24 pixels of a drawn scene: a disc before stripes."""
    y, x = np.mgrid[:24, :24].astype(np.float32)
    disc, stripes = (x - 14) ** 2 + (y - 9) ** 2 < 40, np.sin(x * 0.9 + y * 0.5) > 0
    scene = np.stack(
        [np.where(disc, 0.8, 0.2 + 0.3 * stripes), np.where(disc, y / 24, 0.6), 0.3 + 0.4 * stripes]
    )
    image = scene[None].astype(np.float32)
    return onnxscope.load(networks.MODELS / "edsr_small.onnx", input_shapes={"image": image.shape}).freeze(
        image
    )


@pytest.fixture(scope="module")
def sigma(upscaler: onnxscope.LinearInterpreter) -> np.ndarray:
    """All singular values of F, which is written out for it."""
    return np.linalg.svd(upscaler.dense().astype(np.float64), compute_uv=False)


def counted(f: LinearMap, passes: list[int]) -> LinearMap:
    """The same map, which notes how many vectors went forward and back."""

    class Counted:
        inputs, outputs, batch = f.inputs, f.outputs, f.batch

        def forward(self, block: np.ndarray) -> np.ndarray:
            passes[0] += len(block)
            return f.forward(block)

        def transpose(self, block: np.ndarray) -> np.ndarray:
            passes[1] += len(block)
            return f.transpose(block)

    return Counted()


def test_the_leading_triplets_of_a_trained_network(
    upscaler: onnxscope.LinearInterpreter, sigma: np.ndarray
) -> None:
    """Against numpy on the dense F."""
    found = upscaler.svd(8)
    np.testing.assert_allclose(found.sigma, sigma[:8], rtol=1e-6)
    ahead = rows(upscaler.map.forward(found.v)) - found.sigma[:, None] * rows(found.u)
    back = rows(upscaler.map.transpose(found.u)) - found.sigma[:, None] * rows(found.v)
    true = np.maximum(*(np.linalg.norm(side, axis=1) for side in (ahead, back))) / sigma[0]
    assert true.max() <= 1e-4
    np.testing.assert_allclose(true, found.residual, atol=2e-6)


def test_no_more_passes_than_propack(upscaler: onnxscope.LinearInterpreter) -> None:
    """Both asked for a residual of 1e-4, from four random starts each."""
    ours, theirs = 0, [0, 0]
    for seed in range(4):
        found = upscaler.svd(8, seed=seed)
        ours += found.passes_forward + found.passes_transpose
        svds(
            Filter(counted(upscaler.map, theirs)),
            8,
            solver="propack",
            tol=1e-4,
            rng=np.random.default_rng(seed),
        )
    assert ours <= sum(theirs)


def test_many_triplets_in_a_bounded_basis(upscaler: onnxscope.LinearInterpreter, sigma: np.ndarray) -> None:
    found = upscaler.svd(64, basis=96)
    assert (found.converged, found.stopped) == (64, "")
    assert found.stored <= 3 * 96  # two bases, and what a restart keeps of them
    np.testing.assert_allclose(found.sigma, sigma[:64], rtol=1e-6)
