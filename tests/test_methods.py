"""Explanation methods: against explicit matrices, against autograd and captum, and by what their definitions promise."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from light import light_model
from onnx import helper, numpy_helper
from relevance import Net, Reference
from support import POLICIES, close, model, node, randn, run

import onnxscope
from onnxscope import runtime
from onnxscope.errors import BadOption, Unsupported
from onnxscope.files import models
from onnxscope.graph.parts import part
from onnxscope.normalise.dialect import normalise
from onnxscope.rewriting.fuse import fold_batch_norms
from onnxscope.rewriting.rules.table import RULES
from onnxscope.rewriting.scope import COTANGENT
from onnxscope.rewriting.ways_back import METHODS

MODELS = Path(__file__).parents[1] / "models"
sys.path.insert(0, str(MODELS.parent / "tools"))
TOLERANCE = 1e-4  # of the largest entry: float32, and quotients of sums that nearly cancel
needs_torch = pytest.mark.skipif(
    not importlib.util.find_spec("torch"), reason="pip install '.[train]' brings the torch to compare with"
)
needs_captum = pytest.mark.skipif(
    not all(importlib.util.find_spec(m) for m in ("torch", "captum", "tqdm")),
    reason="pip install captum brings what else is compared with",
)


# small networks


def dense() -> Net:
    net = Net((1, 6))
    net.gemm(net.relu(net.gemm("x", 8)), 3)
    return net


def convolutions() -> Net:
    """Windows of the MaxPool overlap."""
    net = Net((1, 2, 9, 9), 1)
    x = net.max_pool(net.relu(net.conv("x", 4, pad=1)))
    net.gemm(net.flatten(net.relu(net.conv(x, 3, stride=2, pad=1))), 3)
    return net


def residual() -> Net:
    net = Net((1, 2, 6, 6), 2)
    x = net.relu(net.conv("x", 4, pad=1))
    x = net.relu(net.join(x, net.conv(net.relu(net.conv(x, 4, pad=1)), 4, pad=1)))
    net.gemm(net.flatten(net.mean(net.conv(x, 4))), 3)
    return net


def norms() -> Net:
    """BatchNormalization behind groups, a ConvTranspose with groups, a Conv without bias, and a Relu."""
    net = Net((1, 4, 4, 4), 3)
    x = net.relu(net.norm(net.conv("x", 6, group=2, pad=1)))
    x = net.relu(net.norm(net.conv_transpose(x, 4, group=2)))
    x = net.norm(net.relu(net.norm(net.conv(x, 4, bias=False))))
    net.conv(x, 2)
    return net


def biases_apart() -> Net:
    net = Net((1, 2, 3, 3), 4)
    net.matmul(net.relu(net.shift(net.matmul(net.flatten("x"), 7)), 0.1), 3)
    return net


def centred() -> Net:
    """What the image itself meets first is an Add, which is a source of its own."""
    net = Net((1, 6), 10)
    net.gemm(net.relu(net.gemm(net.shift("x"), 5)), 3)
    return net


def joined() -> Net:
    """What is never negative beside what may be."""
    net = Net((1, 2, 5, 5), 5)
    x = net.conv("x", 3, pad=1)
    x = net.concat(net.relu(x), x)
    net.conv(net.concat(net.max_pool(net.conv(x, 3, pad=1)), net.max_pool(x)), 2, 2)
    return net


def channels_last() -> Net:
    net = Net((1, 6, 5, 2), 6)
    net.conv(net.relu(net.conv(net.swap("x"), 3, pad=1)), 2)
    return net


def two_readers() -> Net:
    """Two convolutions read the image."""
    net = Net((1, 2, 5, 5), 7)
    net.conv(net.relu(net.concat(net.conv("x", 3), net.conv("x", 2))), 2)
    return net


def other_readers() -> Net:
    """What reads the image is not a layer with weights alone."""
    net = Net((1, 2, 5, 5), 8)
    net.gemm(net.flatten(net.relu(net.join("x", net.conv("x", 2, pad=1)))), 3)
    return net


def one_layer() -> Net:
    net = Net((1, 2, 5, 5), 9)
    net.conv("x", 3)
    return net


def no_weights() -> Net:
    net = Net((1, 2, 5, 5))
    net.max_pool(net.relu("x"))
    return net


def no_relu() -> Net:
    net = Net((1, 2, 5, 5))
    net.flatten(net.mean("x"))
    return net


def sigmoids() -> Net:
    net = Net((1, 6), 5)
    net.gemm(net.sigmoid(net.gemm("x", 5)), 3)
    return net


NETS = (
    dense,
    convolutions,
    residual,
    norms,
    biases_apart,
    centred,
    joined,
    channels_last,
    two_readers,
    other_readers,
    one_layer,
    no_weights,
    no_relu,
)
SIGNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "both signs": lambda x: x,
    "positive": np.abs,
    "negative": lambda x: -np.abs(x),
}


def maps(
    proto: onnx.ModelProto, method: str, x0: np.ndarray, u: np.ndarray, policy: str = "freeze"
) -> np.ndarray:
    """The method's map of every row of u, flat."""
    li = onnxscope.load(proto, method=method, policy=policy, device="cpu").freeze(x0)
    return np.stack([li.back_project(row.reshape(li.output.shape)).ravel() for row in u])


def agree(net: Net, method: str, x0: np.ndarray, policy: str = "freeze") -> None:
    """Of two outputs, entry by entry."""
    reference = (net.folded() if METHODS[method].folds else net).reference(x0, policy)
    close(
        run(net.proto(), {"x": x0})[net.layers[-1].output].ravel(),
        reference.output,
        1e-5,
        "the reference's own output",
    )
    u = np.eye(reference.output.size, dtype=np.float32)[[0, reference.output.size // 2]]
    for got, row in zip(maps(net.proto(), method, x0, u, policy), u, strict=True):
        close(got, reference.map(method, row), TOLERANCE, f"{method}, {policy}")


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_methods_are_what_matrices_say(method: str, make: Callable[[], Net], sign: str) -> None:
    net = make()
    agree(net, method, SIGNS[sign](randn(*net.shape, seed=21)))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("method", METHODS)
def test_methods_follow_the_policy(method: str, policy: str) -> None:
    """A Sigmoid's gain or its tangent, whose source `discussion` sends back too."""
    agree(sigmoids(), method, 2 * randn(1, 6, seed=13), policy)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_inside_may_be_the_image(method: str) -> None:
    net = convolutions()
    x0, inner = randn(*net.shape, seed=22), "maxpool0"
    behind = net.layers[[layer.output for layer in net.layers].index(inner) + 1 :]
    layers = [replace(layer, inputs=("x",)) if layer.inputs == (inner,) else layer for layer in behind]
    reference = Reference(layers, net.reference(x0).values[inner])
    li = onnxscope.load(net.proto(), image=inner, method=method, device="cpu").freeze(x0)
    close(li.row(1).ravel(), reference.map(method, np.eye(3)[1]), TOLERANCE, method)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("alpha", [1.0, 0.5, -0.5])
def test_a_gemms_alpha_is_part_of_its_weights(alpha: float, rows: int) -> None:
    x0, w, b = randn(rows, 4), randn(4, 3, seed=1), randn(3, seed=2)
    proto = model(
        [node("Gemm", ["x", "w", "b"], alpha=alpha, beta=2.0)], {"x": x0}, ["y"], weights={"w": w, "b": b}
    )
    u = np.zeros((1, rows, 3), np.float32)
    u[0, 0, 1] = 1
    weights = alpha * w[:, 1]
    score = x0[0] @ weights + 2 * b[1]
    terms, way = x0[0] * weights, np.sign(score)
    up, raised = np.maximum(terms, 0), terms + 0.25 * np.where(terms * way > 0, terms, 0)
    wanted = {
        "lrp-zplus": up / up.sum() * score,
        "lrp-gamma": raised / (raised.sum() + 2 * b[1] + 0.5 * way * max(way * b[1], 0)) * score,
    }
    for method, want in wanted.items():
        close(maps(proto, method, x0, u)[0][:4], want, TOLERANCE, method)


@pytest.mark.parametrize("method", ["lrp-composite", "deep-taylor"])
def test_a_preprocessing_of_each_pixel_leaves_relevance_with_the_pixel(method: str) -> None:
    """The network behind it, asked at what it is given, has the same map."""
    x0 = randn(1, 3, 5, 6)
    mean, std = (
        np.float32([0.4, 0.5, 0.3]).reshape(1, 3, 1, 1),
        np.float32([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1),
    )
    nodes = [
        node("Conv", ["p", "w", "b"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Flatten", ["r"], ["f"]),
        node("Gemm", ["f", "v"], ["y"]),
    ]
    weights = {
        "w": randn(4, 3, 3, 3),
        "b": randn(4, seed=1),
        "v": randn(4 * (x0.shape[2] - 2) * (x0.shape[3] - 2), 2, seed=2),
    }
    before = [node("Sub", ["x", "mean"], ["d"]), node("Div", ["d", "std"], ["p"])]
    inside = model([*before, *nodes], {"x": x0}, ["y"], weights=weights | {"mean": mean, "std": std})
    outside = model(nodes, {"p": x0}, ["y"], weights=weights)
    u = np.float32([[0, 1]])
    close(maps(inside, method, x0, u), maps(outside, method, (x0 - mean) / std, u), TOLERANCE, method)


# in torch


@cache
def picture(name: str) -> np.ndarray:
    from PIL import Image

    pixels = np.asarray(Image.open(MODELS / "scenes" / f"{name}.png").convert("RGB"), np.float32) / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def without_norms(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every BatchNormalization multiplied into the Conv before it."""
    stored = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for n in proto.graph.node:
        if n.op_type == "BatchNormalization":
            before = next(k for k in nodes if k.output[0] == n.input[0])
            scale, shift, mean, var = (stored[i] for i in n.input[1:])
            gain = scale / np.sqrt(var + helper.get_node_attr_value(n, "epsilon"))
            stored[before.input[1]] = np.einsum("o...,o->o...", stored[before.input[1]], gain)
            stored[before.input[2]] = (stored[before.input[2]] - mean) * gain + shift
            before.output[0] = n.output[0]
        else:
            nodes.append(onnx.NodeProto.FromString(n.SerializeToString()))
    used = {i for n in nodes for i in n.input}
    tensors = [numpy_helper.from_array(v, k) for k, v in stored.items() if k in used]
    return helper.make_model(
        helper.make_graph(nodes, "folded", proto.graph.input, proto.graph.output, tensors)
    )


class Rules:
    """Layers that carry their own z forward and another rule's quotients backward: Σ leaf·gradient is the relevance."""

    def __init__(self, hidden: str, dense: str, first: str, image: Any) -> None:
        self.names, self.image, self.leaves = {"Conv": hidden, "Gemm": dense, "first": first}, image, [image]

    def operator(self, op: str) -> Callable[..., Any]:
        import torch_graph

        forward = torch_graph.OPERATORS[op]

        def layer(x: Any, weight: Any, bias: Any, **attributes: Any) -> Any:
            def z(x: Any, weight: Any, bias: Any) -> Any:
                return forward(x, weight, bias, **attributes)

            own = z(x, weight, bias).detach()
            rule = self.names["first" if x is self.image else op]
            shared = self.forwards(rule, z, x, weight, bias)
            if rule == "gamma":  # one for what went up, one for what went down
                shared = [((own > 0) * 1.0, shared[0][1]), ((own < 0) * 1.0, shared[1][1])]
            return own + sum(factor * (to - to.detach()) * quotient(own, to) for factor, to in shared)

        return layer

    def forwards(
        self, rule: str, z: Callable[..., Any], x: Any, weight: Any, bias: Any
    ) -> list[tuple[float, Any]]:
        """What relevance is shared in proportion to, and how much of it."""
        up, down, nothing = weight.clamp(min=0), weight.clamp(max=0), bias * 0
        if rule == "epsilon":
            whole = z(x, weight, bias)
            return [(1, whole + whole.sign().detach() * 0.25 * whole.detach().square().mean().sqrt())]
        if rule == "box":
            low, high = ((x * 0 + bound).detach().requires_grad_() for bound in (x.min(), x.max()))
            self.leaves += [low, high]
            return [(1, z(x, weight, nothing) - z(low, up, nothing) - z(high, down, nothing))]
        above, below = x.clamp(min=0), x.clamp(max=0)
        pushed = z(above, up, nothing) + z(below, down, nothing)
        held = z(above, down, nothing) + z(below, up, nothing)
        if rule == "gamma":
            whole, raised, lowered = z(x, weight, bias), bias.clamp(min=0), bias.clamp(max=0)
            return [
                (1, whole + 0.25 * (pushed + z(x * 0, weight, raised))),
                (1, whole + 0.25 * (held + z(x * 0, weight, lowered))),
            ]
        return [(1, pushed)] if rule == "zplus" else [(2, pushed), (-1, held)]


def quotient(z: Any, to: Any) -> Any:
    """z/to, nothing where there is nothing to share by."""
    there = to.detach() != 0
    return there * z / (to.detach() + ~there)


RELEVANCE = {
    "lrp-epsilon": ("epsilon", "epsilon", "epsilon"),
    "lrp-gamma": ("gamma", "gamma", "gamma"),
    "lrp-zplus": ("zplus", "zplus", "zplus"),
    "lrp-alphabeta": ("alphabeta", "alphabeta", "alphabeta"),
    "lrp-composite": ("gamma", "epsilon", "box"),
    "deep-taylor": ("zplus", "zplus", "box"),
}


def relu(method: str) -> Callable[[Any], Any]:
    """A Relu whose gradient is the method's."""
    import torch

    class Relu(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(ctx: Any, c: Any) -> Any:
            return c.clamp(min=0) * (ctx.saved_tensors[0] > 0 if method == "guided" else 1)

    return Relu.apply if method in ("guided", "deconvnet") else torch.relu  # type: ignore[no-any-return]


def in_torch(
    monkeypatch: pytest.MonkeyPatch, proto: onnx.ModelProto, method: str, x0: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """The highest score and another one, and their maps in float64."""
    import torch
    import torch_graph

    image = torch.tensor(x0, dtype=torch.float64, requires_grad=True)
    leaves = [image]
    if method in RELEVANCE:
        rules = Rules(*RELEVANCE[method], image)
        for op in ("Conv", "Gemm"):
            monkeypatch.setitem(torch_graph.OPERATORS, op, rules.operator(op))
        leaves = rules.leaves
    monkeypatch.setitem(torch_graph.OPERATORS, "Relu", relu(method))
    scores = torch_graph.TorchGraph(without_norms(proto)).double()(image)
    highest = int(scores.argmax())
    asked = [highest, (highest + 3) % scores.numel()]
    found = []
    for score in asked:
        gradients = torch.autograd.grad(scores[0, score], leaves, retain_graph=True)
        times = method in RELEVANCE or method == "input-x-gradient"
        found.append(
            sum((leaf * g if times else g) for leaf, g in zip(leaves, gradients, strict=True))
            .detach()
            .numpy()
        )
    return asked, np.concatenate(found)


@needs_torch
@pytest.mark.parametrize("method", [m for m in METHODS if m != "discussion"])
@pytest.mark.parametrize(
    ("name", "scene"),
    [("scenes_vgg", "butterfly_0"), ("scenes_vgg_bn", "boat_1"), ("scenes_resnet", "car_0")],
)
def test_methods_are_what_autograd_says(
    monkeypatch: pytest.MonkeyPatch, name: str, scene: str, method: str
) -> None:
    proto, x0 = onnx.load(MODELS / f"{name}.onnx"), picture(scene)
    scores, want = in_torch(monkeypatch, proto, method, x0)
    got = onnxscope.load(proto, method=method, device="cpu").freeze(x0).rows(scores)
    for k, score in enumerate(scores):
        close(got[k], want[k], TOLERANCE, f"{name}, score {score}")


def sequential(proto: onnx.ModelProto) -> Any:
    """scenes_vgg in torch's own modules."""
    import torch
    from torch import nn

    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}
    modules: list[nn.Module] = []
    for n in proto.graph.node:
        if n.op_type in ("Conv", "Gemm"):
            weight, bias = (nn.Parameter(stored[i]) for i in n.input[1:])
            made = (
                nn.Conv2d(*weight.shape[1::-1], 3, padding=1)
                if n.op_type == "Conv"
                else nn.Linear(*weight.shape[::-1])
            )
            made.weight, made.bias = weight, bias
            modules.append(made)
        else:
            modules.append(
                {"Relu": nn.ReLU, "MaxPool": lambda: nn.MaxPool2d(2), "Flatten": nn.Flatten}[n.op_type]()
            )
    return nn.Sequential(*modules)


@needs_captum
@pytest.mark.filterwarnings("ignore")  # captum warns of the hooks that it sets
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("gradient", "Saliency"),
        ("input-x-gradient", "InputXGradient"),
        ("guided", "GuidedBackprop"),
        ("deconvnet", "Deconvolution"),
    ],
)
def test_methods_are_what_captum_says(method: str, name: str) -> None:
    import captum.attr
    import torch

    proto, x0 = onnx.load(MODELS / "scenes_vgg.onnx"), picture("car_0")
    li = onnxscope.load(proto, method=method, device="cpu").freeze(x0)
    for score in (int(li.output.argmax()), 0):
        want = getattr(captum.attr, name)(sequential(proto)).attribute(
            torch.tensor(x0, requires_grad=True), target=score
        )
        got = li.row(score)
        close(
            np.abs(got) if name == "Saliency" else got,
            want.detach().numpy(),
            TOLERANCE,
            f"{name}, score {score}",
        )


# what the definitions promise


@pytest.mark.parametrize("method", ["lrp-zplus", "deep-taylor"])
@pytest.mark.parametrize("scene", ["car_0", "butterfly_1"])
def test_relevance_is_conserved(method: str, scene: str) -> None:
    li = onnxscope.load(MODELS / "scenes_vgg.onnx", method=method, device="cpu").freeze(picture(scene))
    best = int(li.output.argmax())
    relevance = li.row(best)
    assert relevance.min() >= -1e-6 * relevance.max(), "what only pushes up has no negative part"
    assert abs(float(relevance.sum(dtype=np.float64)) / float(li.output.ravel()[best]) - 1) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_scores_equals_single_ones(method: str) -> None:
    net = convolutions()
    li = onnxscope.load(net.proto(), method=method, device="cpu").freeze(randn(*net.shape, seed=14))
    for k, one in enumerate(li.rows([0, 2, 1])):
        close(one, li.row([0, 2, 1][k])[0], 1e-6, f"score {k} of three")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("method", METHODS)
def test_a_saved_scope_gives_the_same_map(method: str, policy: str, tmp_path: Path) -> None:
    net = norms()
    x0, u = randn(*net.shape, seed=15), randn(1, 2, 5, 5, seed=16)
    path = onnxscope.rewrite(net.proto(), method=method, policy=policy).save(tmp_path / "scope.onnx")
    onnx.checker.check_model(path, full_check=True)
    saved = onnxscope.Scope.load(path)
    assert saved.method == method
    got = onnxscope.load(path, device="cpu").freeze(x0).back_project(u)
    assert np.array_equal(
        got,
        onnxscope.load(net.proto(), method=method, policy=policy, device="cpu").freeze(x0).back_project(u),
    )


def test_verify_leaves_out_what_only_a_transpose_has() -> None:
    proto = convolutions().proto()
    transposes = {"⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩", "Fᵀ is linear", "the ledger is complete"}
    assert transposes <= {c.name for c in onnxscope.verify(proto).checks}
    for method in ("guided", "lrp-composite"):
        report = onnxscope.verify(proto, method=method)
        assert report.ok
        assert not transposes & {c.name for c in report.checks}
        assert any(method in c.note for c in report.checks)


def test_an_unknown_method_is_refused_in_one_line() -> None:
    with pytest.raises(BadOption) as refusal:
        onnxscope.rewrite(dense().proto(), method="grad-cam")
    text = str(refusal.value)
    assert "grad-cam" in text
    assert "lrp-epsilon" in text
    assert "\n" not in text


@pytest.mark.parametrize("before", ["gradient", "guided", "lrp-zplus"])
@pytest.mark.parametrize("method", METHODS)
def test_a_scope_may_be_given_another_method(method: str, before: str) -> None:
    """BatchNormalization that the first method folded stays so, which `discussion` sees: it sends fewer sources back."""
    net = norms()
    x0, u = randn(*net.shape, seed=18), randn(1, 2, 5, 5, seed=19)
    scope = onnxscope.rewrite(net.proto(), method=before)
    got = onnxscope.load(scope, method=method, device="cpu").freeze(x0).back_project(u)
    proto = models.to_bytes(scope.base()) if method == "discussion" else net.proto()
    close(
        got,
        onnxscope.load(proto, method=method, device="cpu").freeze(x0).back_project(u),
        1e-5,
        f"{before}, then {method}",
    )


def test_several_images_at_once_have_no_relevance() -> None:
    x0, w = randn(2, 2, 5, 5), randn(3, 2, 3, 3)
    proto = model([node("Conv", ["x", "w"])], {"x": x0}, ["y"], weights={"w": w})
    with pytest.raises(Unsupported, match="a batch of 1"):
        onnxscope.rewrite(proto, method="lrp-zplus")
    assert maps(proto, "guided", x0, np.ones((1, 2, 3, 3, 3), np.float32)).shape == (1, 100)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_nothing_is_nothing(method: str) -> None:
    """Where a decision stands on every path."""
    x0 = randn(1, 2, 3, 3)
    proto = model([node("ArgMax", ["x"], ["i"], axis=1), node("Cast", ["i"], to=1)], {"x": x0}, ["y"])
    assert not maps(proto, method, x0, np.ones((1, 1, 1, 3, 3), np.float32)).any()


@pytest.mark.parametrize("method", ["discussion", "deconvnet", "lrp-gamma", "lrp-alphabeta", "lrp-composite"])
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_methods_take_networks_as_they_come(name: str, method: str) -> None:
    proto = light_model(name)
    li = onnxscope.load(proto, method=method, device="cpu").freeze(
        np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)
    )
    relevance = li.back_project((li.output == li.output.max()).astype(np.float32))
    assert np.isfinite(relevance).all()
    assert relevance.any()


@pytest.mark.parametrize("method", ["lrp-zplus", "lrp-gamma", "lrp-alphabeta"])
def test_a_layer_whose_weights_vary_with_the_image_has_no_rule_of_relevance(method: str) -> None:
    """Relevance passes it as the score's contributions do."""
    x0 = randn(1, 2, 5, 5)
    nodes = [
        node("GlobalAveragePool", ["x"], ["m"]),
        node("Mul", ["m", "s"], ["w"]),
        node("Conv", ["x", "w"]),
    ]
    proto = model(nodes, {"x": x0}, ["y"], weights={"s": randn(3, 2, 3, 3)})
    li = onnxscope.load(proto, device="cpu").freeze(x0)
    row = li.back_project(np.ones_like(li.output))
    close(maps(proto, method, x0, np.ones_like(li.output)), (row * x0).reshape(1, -1), 1e-5, method)


# the parts

STATISTICS = {
    "scale": np.float32([1.5, -0.5, 0.7]),
    "shift": randn(3, seed=4),
    "mean": randn(3, seed=5),
    "var": np.float32([0.5, 1, 2]),
}


def folded_ops(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], weights: dict[str, Any] | None = None
) -> list[str]:
    """What is left in the base, whose outputs are proved to be the same."""
    stored = {"w": randn(3, 2, 3, 3, seed=6), "v": randn(2, 3, 3, 3, seed=7), **STATISTICS, **(weights or {})}
    used = {i for n in nodes for i in n.input}
    x0 = randn(1, 2, 6, 6)
    proto = model(nodes, {"x": x0}, outputs, weights={k: v for k, v in stored.items() if k in used})
    base = onnxscope.rewrite(proto, method="lrp-zplus").base()
    got, want = runtime.Session(models.to_bytes(base)).run({"x": x0}), run(proto, {"x": x0})
    for name in outputs:
        close(got[name], want[name], 1e-5, name)
    return [n.op for n in base.nodes]


def norm(x: str, y: str = "y") -> onnx.NodeProto:
    return node("BatchNormalization", [x, *STATISTICS], [y])


def test_batch_norms_are_folded_and_outputs_kept() -> None:
    conv = node("Conv", ["x", "w"], ["a"])
    assert folded_ops([conv, norm("a")], ["y"]) == ["Conv"]
    assert folded_ops([node("Conv", ["x", "w", "mean"], ["a"]), norm("a", "b"), norm("b")], ["y"]) == ["Conv"]
    assert folded_ops(
        [node("ConvTranspose", ["x", "u"], ["a"]), norm("a")], ["y"], {"u": randn(2, 3, 3, 3)}
    ) == ["ConvTranspose"]
    assert (
        folded_ops(
            [conv, norm("a", "b"), node("Relu", ["b"]), node("Conv", ["x", "w"], ["c"]), norm("c", "d")],
            ["y", "d"],
        ).count("Conv")
        == 2
    ), "weights that two convolutions share"
    assert folded_ops([conv, node("Relu", ["a"], ["r"]), norm("r")], ["y"]) == [
        "Conv",
        "Relu",
        "BatchNormalization",
    ]


def test_batch_norms_of_a_value_that_is_used_otherwise_stay() -> None:
    conv = node("Conv", ["x", "w"], ["a"])
    assert folded_ops([conv, norm("a")], ["y", "a"]) == ["Conv", "BatchNormalization"]
    assert folded_ops([conv, norm("a", "b"), node("Add", ["a", "b"])], ["y"]) == [
        "Conv",
        "BatchNormalization",
        "Add",
    ]
    assert "BatchNormalization" in folded_ops([conv, norm("a"), norm("a", "z")], ["y", "z"])


@pytest.mark.parametrize(("op", "groups"), [("Conv", 3), ("ConvTranspose", 3), ("ConvTranspose", 1)])
def test_folding_knows_groups(op: str, groups: int) -> None:
    """In the order in which the operators number the channels of their groups."""
    channels = 6
    w = randn(channels, channels // groups, 3, 3)
    statistics = [
        randn(channels, seed=1),
        randn(channels, seed=2),
        randn(channels, seed=3),
        np.abs(randn(channels, seed=4)) + 0.5,
    ]
    weights = {"w": w, "b": randn(channels, seed=5), **dict(zip("stmv", statistics, strict=True))}
    proto = model(
        [
            node(op, ["x", "w", "b"], ["a"], group=groups),
            node("BatchNormalization", ["a", *"stmv"], epsilon=0.1),
        ],
        {"x": randn(1, channels, 5, 5)},
        ["y"],
        weights=weights,
    )
    b = normalise(proto, {}, frozenset({"y"}), RULES)
    fold_batch_norms(b, {"y"})
    assert [n.op for n in b.graph.nodes] == [op]
    feeds = {"x": randn(1, channels, 5, 5, seed=8)}
    b.graph.outputs[0].name = "y"
    close(runtime.Session(models.to_bytes(b.graph)).run(feeds)["y"], run(proto, feeds)["y"], 1e-5, op)


@pytest.mark.parametrize("make", [dense, convolutions, residual, norms, joined, channels_last])
def test_cotangents_are_named_by_the_tensors_that_they_meet(make: Callable[[], Net]) -> None:
    """Each is the derivative of the frozen score by that tensor."""
    net = make()
    x0 = randn(*net.shape, seed=17)
    reference = net.reference(x0)
    scope = onnxscope.rewrite(net.proto())
    named = dict(scope.at_tensors)
    assert set(named) <= {"x"} | set(reference.values)
    assert {"Conv", "Gemm"} & {layer.op for layer in net.layers if layer.output in named}
    u = np.zeros((1, *scope.tensor(COTANGENT).shape[1:]), np.float32)
    u.ravel()[u.size // 2] = 1
    wanted = reference.cotangents(u.ravel())
    graph = part(scope.graph, [scope.tensor(c) for c in dict.fromkeys(named.values())])
    found = runtime.Session(models.to_bytes(graph)).run(
        {k: v for k, v in {"x": x0, COTANGENT: u}.items() if k in {t.name for t in graph.inputs}}
    )
    for tensor, cotangent in named.items():
        close(found[cotangent].ravel(), wanted[tensor], 1e-5, f"at {tensor}")


def test_steps_name_the_sources_that_they_add() -> None:
    scope = onnxscope.rewrite(norms().proto())
    by_step = {s.name: s.sources for s in scope.steps if s.sources}
    assert {name for names in by_step.values() for name in names} == set(scope.at_sources)
    assert all(name.startswith(f"source/{step}") for step, names in by_step.items() for name in names)
