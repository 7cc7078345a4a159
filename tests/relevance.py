"""Explanation methods by explicit matrices, sharing no code with the package: small networks as ONNX and as lists of layers.

A layer is a matrix between flat values. Relevance itself is carried, R_in[j] = Σ_k share[k, j]·R[k], not what the package carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import onnx
from support import model, node

Array = np.ndarray
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOVES = ("Flatten", "Reshape", "Transpose")


@dataclass(frozen=True, eq=False)
class Layer:
    """y = matrix·x + bias, or what `op` says where there is no matrix."""

    op: str
    inputs: tuple[str, ...]
    output: str
    matrix: Array | None = None
    bias: Array | None = None
    windows: Sequence[list[int]] = ()  # of a MaxPool
    slope: float = 0.0  # of a Relu where it is closed


@dataclass
class Net:
    """A network that is written twice while it is built; every method gives the name of its output."""

    shape: tuple[int, ...]
    seed: int = 0
    layers: list[Layer] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng, self.shapes["x"] = np.random.default_rng(self.seed), self.shape

    def draw(self, *shape: int) -> Array:
        return (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        values: Sequence[Array | None],
        shape: Sequence[int],
        like: Layer | None = None,
        **attrs: Any,
    ) -> str:
        """One node, and the layer that says the same; outputs are called after their operators."""
        output = f"{op.lower()}{sum(layer.op == op for layer in self.layers)}"
        stored = {f"{output}_{k}": v for k, v in enumerate(values) if v is not None}
        self.weights |= stored
        self.nodes.append(node(op, [*inputs, *stored], [output], **attrs))
        self.layers.append(replace(like or Layer(op, (), ""), op=op, inputs=tuple(inputs), output=output))
        self.shapes[output] = tuple(shape)
        return output

    def conv(
        self,
        x: str,
        channels: int,
        kernel: int = 3,
        *,
        bias: bool = True,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
    ) -> str:
        _, c, *size = self.shapes[x]
        w, b = self.draw(channels, c // group, kernel, kernel), self.draw(channels) if bias else None
        out = [(s + 2 * pad - kernel) // stride + 1 for s in size]
        m = np.zeros((channels, *out, c, *size))
        for k, i, j, a, p, q in product(
            range(channels), *map(range, out), range(c // group), range(kernel), range(kernel)
        ):
            y, z = i * stride + p - pad, j * stride + q - pad
            if 0 <= y < size[0] and 0 <= z < size[1]:
                m[k, i, j, k // (channels // group) * (c // group) + a, y, z] += w[k, a, p, q]
        like = layer_of(m, (channels, *out), (c, *size), b)
        return self.add(
            "Conv", [x], [w, b], (1, channels, *out), like, strides=[stride] * 2, pads=[pad] * 4, group=group
        )

    def conv_transpose(
        self, x: str, channels: int, kernel: int = 3, *, bias: bool = True, stride: int = 2, group: int = 1
    ) -> str:
        _, c, *size = self.shapes[x]
        each = channels // group
        w, b = self.draw(c, each, kernel, kernel), self.draw(channels) if bias else None
        out = [(s - 1) * stride + kernel for s in size]
        m = np.zeros((channels, *out, c, *size))
        for a, i, j, k, p, q in product(
            range(c), *map(range, size), range(each), range(kernel), range(kernel)
        ):
            m[a // (c // group) * each + k, i * stride + p, j * stride + q, a, i, j] += w[a, k, p, q]
        return self.add(
            "ConvTranspose",
            [x],
            [w, b],
            (1, channels, *out),
            layer_of(m, (channels, *out), (c, *size), b),
            strides=[stride] * 2,
            group=group,
        )

    def norm(self, x: str) -> str:
        """BatchNormalization, with scales of both signs."""
        c, *size = self.shapes[x][1:]
        scale, shift, mean = (self.rng.standard_normal(c).astype(np.float32) for _ in range(3))
        var = (self.rng.random(c) + 0.5).astype(np.float32)
        gain = (scale / np.sqrt(var + np.float64(1e-3))).repeat(np.prod(size))
        bias = shift.repeat(np.prod(size)) - mean.repeat(np.prod(size)) * gain
        return self.add(
            "BatchNormalization",
            [x],
            [scale, shift, mean, var],
            self.shapes[x],
            Layer("", (), "", np.diag(gain), bias),
            epsilon=1e-3,
        )

    def gemm(self, x: str, size: int, *, bias: bool = True) -> str:
        w, b = self.draw(size, self.shapes[x][1]), self.draw(size) if bias else None
        return self.add("Gemm", [x], [w, b], (1, size), Layer("", (), "", w.astype(np.float64), b), transB=1)

    def matmul(self, x: str, size: int) -> str:
        w = self.draw(self.shapes[x][1], size)
        return self.add("MatMul", [x], [w], (1, size), Layer("", (), "", w.T.astype(np.float64)))

    def shift(self, x: str) -> str:
        """A bias by an Add of its own."""
        b = self.draw(self.shapes[x][1])
        return self.add("Add", [x], [b], self.shapes[x], Layer("", (), "", np.eye(len(b)), b))

    def relu(self, x: str, slope: float = 0.0) -> str:
        if not slope:
            return self.add("Relu", [x], [], self.shapes[x])
        return self.add("LeakyRelu", [x], [], self.shapes[x], Layer("", (), "", slope=slope), alpha=slope)

    def sigmoid(self, x: str) -> str:
        return self.add("Sigmoid", [x], [], self.shapes[x])

    def max_pool(self, x: str, kernel: int = 3, stride: int = 2) -> str:
        _, c, *size = self.shapes[x]
        out = [(s - kernel) // stride + 1 for s in size]
        places = np.arange(c * size[0] * size[1]).reshape(c, *size)
        windows = [
            places[k, i * stride : i * stride + kernel, j * stride : j * stride + kernel].ravel().tolist()
            for k, i, j in product(range(c), *map(range, out))
        ]
        return self.add(
            "MaxPool",
            [x],
            [],
            (1, c, *out),
            Layer("", (), "", windows=windows),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
        )

    def mean(self, x: str) -> str:
        _, c, *size = self.shapes[x]
        m = np.kron(np.eye(c), np.ones((1, np.prod(size)))) / np.prod(size)
        return self.add("GlobalAveragePool", [x], [], (1, c, 1, 1), Layer("", (), "", m))

    def flatten(self, x: str) -> str:
        size = int(np.prod(self.shapes[x]))
        return self.add("Flatten", [x], [], (1, size), Layer("", (), "", np.eye(size)))

    def swap(self, x: str) -> str:
        """Channels behind the others become channels before them."""
        _, y, z, c = self.shapes[x]
        order = np.arange(c * y * z).reshape(y, z, c).transpose(2, 0, 1).ravel()
        return self.add(
            "Transpose",
            [x],
            [],
            (1, c, y, z),
            Layer("", (), "", np.eye(len(order))[order]),
            perm=[0, 3, 1, 2],
        )

    def join(self, *xs: str) -> str:
        return self.add("Add", xs, [], self.shapes[xs[0]])

    def concat(self, *xs: str) -> str:
        first = self.shapes[xs[0]]
        return self.add("Concat", xs, [], (1, sum(self.shapes[x][1] for x in xs), *first[2:]), axis=1)

    def proto(self) -> onnx.ModelProto:
        return model(
            self.nodes,
            {"x": np.zeros(self.shape, np.float32)},
            [self.layers[-1].output],
            weights=self.weights,
        )

    def reference(self, x0: Array, policy: str = "freeze") -> Reference:
        return Reference(self.layers, x0.astype(np.float64).ravel(), policy)

    def folded(self) -> Net:
        """Every BatchNormalization multiplied into the layer before it, where that is a convolution."""
        layers: list[Layer] = []
        for layer in self.layers:
            before = next((k for k in layers if k.output == layer.inputs[0]), None)
            if (
                layer.op == "BatchNormalization"
                and before is not None
                and before.op in ("Conv", "ConvTranspose")
            ):
                assert layer.matrix is not None and before.matrix is not None and layer.bias is not None
                bias = layer.bias + (layer.matrix @ before.bias if before.bias is not None else 0)
                layers[layers.index(before)] = replace(
                    before, output=layer.output, matrix=layer.matrix @ before.matrix, bias=bias
                )
            else:
                layers.append(layer)
        return replace(self, layers=layers)


def layer_of(m: Array, out: Sequence[int], size: Sequence[int], bias: Array | None) -> Layer:
    """A convolution as a matrix, with the bias of every channel for each of its pixels."""
    spread = bias.astype(np.float64).repeat(np.prod(out[1:])) if bias is not None else None
    return Layer("", (), "", m.reshape(np.prod(out), np.prod(size)), spread)


Shares = Callable[
    [Layer, Array, Array], Array
]  # of a layer with its input and output: what of R[k] goes to which input


@dataclass
class Reference:
    """A network at one image: values, frozen Jacobians, and what methods make of them."""

    layers: Sequence[Layer]
    x0: Array
    policy: str = "freeze"

    def __post_init__(self) -> None:
        self.values, self.jacobians = {"x": self.x0}, {"x": np.eye(len(self.x0))}
        self.frozen: dict[str, Array] = {}
        self.sources: dict[str, Array] = {}
        for layer in self.layers:
            x = np.concatenate([self.values[i] for i in layer.inputs])
            m, source = frozen(layer, x, self.policy)
            self.values[layer.output] = m @ x + source
            self.frozen[layer.output], self.sources[layer.output] = m, source
            self.jacobians[layer.output] = m @ np.concatenate([self.jacobians[i] for i in layer.inputs])

    @property
    def output(self) -> Array:
        return self.values[self.layers[-1].output]

    def map(self, method: str, u: Array) -> Array:
        return self.relevance(*RULES[method], u) if method in RULES else OTHERS[method](self, u)

    def cotangents(
        self, u: Array, relu: Callable[[Array, Array], Array] = lambda m, c: m.T @ c
    ) -> dict[str, Array]:
        """What arrives at each value; `relu` says what passes one, given its frozen matrix."""
        found = {name: np.zeros_like(v) for name, v in self.values.items()}
        found[self.layers[-1].output] = u.astype(np.float64)
        for layer in reversed(self.layers):
            m, c = self.frozen[layer.output], found[layer.output]
            self.send(found, layer, relu(m, c) if layer.op in ("Relu", "LeakyRelu") else m.T @ c)
        return found

    def send(self, found: dict[str, Array], layer: Layer, arrived: Array) -> None:
        """To each of a layer's inputs its part."""
        for name, part in zip(
            layer.inputs,
            np.split(arrived, np.cumsum([len(self.values[i]) for i in layer.inputs])),
            strict=False,
        ):
            found[name] = found[name] + part

    def discussion(self, u: Array) -> Array:
        """row·x0 + Σ_k F_kᵀ(c_k∘b_k)."""
        c = self.cotangents(u)
        return c["x"] * self.x0 + sum(
            self.jacobians[k].T @ (c[k] * source) for k, source in self.sources.items()
        )

    def relevance(self, hidden: Shares, dense: Shares, first: Shares, u: Array) -> Array:
        """From R = u·y to the image; what has no weights shares in proportion, as LRP-0."""
        found = {name: np.zeros_like(v) for name, v in self.values.items()}
        found[self.layers[-1].output] = u * self.output
        readers, shifts = image_readers(self.layers)
        known = all(layer.op in WEIGHTED for layer in readers)
        for layer in reversed(self.layers):
            x, z = np.concatenate([self.values[i] for i in layer.inputs]), self.values[layer.output]
            if layer.op not in WEIGHTED:
                rule = whole if known and first is box and layer in shifts else lrp0
            else:
                rule = (
                    first
                    if known and layer in readers
                    else dense
                    if layer.op in ("Gemm", "MatMul")
                    else hidden
                )
            self.send(
                found,
                layer,
                rule(replace(layer, matrix=self.frozen[layer.output]), x, z).T @ found[layer.output],
            )
        return found["x"]


def image_readers(layers: Sequence[Layer]) -> tuple[list[Layer], list[Layer]]:
    """What reads the image, whose pixels may have been moved and shifted; and the shifts."""
    image, readers, shifts = {"x"}, list[Layer](), list[Layer]()
    for layer in layers:
        if image.intersection(layer.inputs):
            shift = layer.op == "Add" and layer.matrix is not None
            if layer.op in MOVES or shift:
                image.add(layer.output)
            else:
                readers.append(layer)
            shifts += [layer] * shift
    return readers, shifts


def frozen(layer: Layer, x: Array, policy: str) -> tuple[Array, Array]:
    """The layer's matrix at x, and what it adds."""
    nothing = np.zeros(1)
    if layer.matrix is not None:
        return layer.matrix, layer.bias if layer.bias is not None else nothing
    if layer.windows:
        return np.stack([np.eye(len(x))[max(w, key=lambda k: x[k])] for w in layer.windows]), nothing
    if layer.op == "Add":
        return np.hstack([np.eye(len(x) // 2)] * 2), nothing
    if layer.op == "Sigmoid":
        assert abs(x).min() > 0.1, "where freeze takes the tangent too"
        y = 1 / (1 + np.exp(-x))
        gain = y * (1 - y) if policy == "taylor" else y / x
        return np.diag(gain), y - gain * x
    return np.diag(np.where(x > 0, 1.0, layer.slope)) if layer.op in ("Relu", "LeakyRelu") else np.eye(
        len(x)
    ), nothing


def portions(terms: Array, whole: Array) -> Array:
    """terms[k, j]/whole[k], nothing where the whole is nothing."""
    return np.divide(terms, whole[:, None], out=np.zeros_like(terms), where=whole[:, None] != 0)


def whole(layer: Layer, x: Array, z: Array) -> Array:
    """A pixel's relevance stays its own."""
    return np.eye(len(x))


def lrp0(layer: Layer, x: Array, z: Array) -> Array:
    return portions(layer.matrix * x, z)


def epsilon(layer: Layer, x: Array, z: Array) -> Array:
    return portions(layer.matrix * x, z + np.where(z >= 0, 1, -1) * 0.25 * np.sqrt(np.mean(z * z)))


def gamma(layer: Layer, x: Array, z: Array) -> Array:
    """What goes the output's own way counts by a quarter more, biases too."""
    terms, bias = layer.matrix * x, layer.bias if layer.bias is not None else np.zeros_like(z)
    went = np.sign(z)
    terms = terms + 0.25 * np.where(terms * went[:, None] > 0, terms, 0)
    return portions(terms, terms.sum(1) + bias + 0.25 * np.where(bias * went > 0, bias, 0))


def alpha_beta(alpha: float, beta: float) -> Shares:
    def shares(layer: Layer, x: Array, z: Array) -> Array:
        up, down = np.maximum(layer.matrix * x, 0), np.minimum(layer.matrix * x, 0)
        return alpha * portions(up, up.sum(1)) - beta * portions(down, down.sum(1))

    return shares


def box(layer: Layer, x: Array, z: Array) -> Array:
    terms = layer.matrix * x - x.min() * np.maximum(layer.matrix, 0) - x.max() * np.minimum(layer.matrix, 0)
    return portions(terms, terms.sum(1))


ZPLUS, ALPHA_BETA = alpha_beta(1, 0), alpha_beta(2, 1)
RULES: dict[
    str, tuple[Shares, Shares, Shares]
] = {  # of convolutions, of dense layers, of those that read the image
    "lrp-epsilon": (epsilon, epsilon, epsilon),
    "lrp-gamma": (gamma, gamma, gamma),
    "lrp-zplus": (ZPLUS, ZPLUS, ZPLUS),
    "lrp-alphabeta": (ALPHA_BETA, ALPHA_BETA, ALPHA_BETA),
    "lrp-composite": (gamma, epsilon, box),
    "deep-taylor": (ZPLUS, ZPLUS, box),
}
OTHERS: dict[str, Callable[[Reference, Array], Array]] = {
    "gradient": lambda r, u: r.jacobians[r.layers[-1].output].T @ u,
    "input-x-gradient": lambda r, u: r.x0 * (r.jacobians[r.layers[-1].output].T @ u),
    "discussion": Reference.discussion,
    "guided": lambda r, u: r.cotangents(u, lambda m, c: m.T @ np.maximum(c, 0))["x"],
    "deconvnet": lambda r, u: r.cotangents(u, lambda m, c: np.maximum(c, 0))["x"],
}
