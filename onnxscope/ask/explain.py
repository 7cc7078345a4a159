"""Explanations of scores as maps over pixels, by every method that can be had from the same transpose.

What is shaped as the image becomes a map by the sum over its channels where it says what a pixel adds, and by the largest size where it
says how the score changes with a pixel.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.ask.interpreter import Interpreter, OpenScope, impulses
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, check_picture
from onnxscope.graph.tensors import is_float
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.scope import Scope
from onnxscope.rewriting.steps import FREEZE, TAYLOR
from onnxscope.rewriting.ways_back import METHODS
from onnxscope.run.engine import Running

STEPS = 32  # of integrated gradients
SAMPLES, NOISE = 24, 0.15  # noisy images of SmoothGrad, and their noise as a share of the image's range
DEFAULT = Running()
ADDS, CHANGES = "adds", "changes"  # what a pixel's values say
BY_GAINS = {
    "discussion",
    "deep-taylor",
    *(name for name in METHODS if name.startswith("lrp")),
}  # the others by slopes


class Explainer:
    """A model, opened for each way back that is asked for; `layer` is the feature map that class activation maps are of."""

    def __init__(
        self, scope: Scope, running: Running = DEFAULT, *, layer: str = "", layout: str = "auto"
    ) -> None:
        self.scope, self.layout, self._running, self._layer = scope, layout, running, layer
        self._opened: dict[tuple[str, str, str], OpenScope] = {}
        self._others: Mapping[str, np.ndarray] = {}

    def opened(self, method: str = GRADIENT, image: str = "") -> OpenScope:
        """Gradients are those of the network, so their policy is taylor; what a pixel adds goes by gains."""
        policy = FREEZE if method in BY_GAINS else TAYLOR
        key = method, policy, image
        if key not in self._opened:
            scope = refrozen(self.scope, policy=policy, method=method, image=image or None)
            self._opened[key] = OpenScope(self._running.engine(scope), self.layout)
        return self._opened[key]

    def at(self, layer: str) -> Explainer:
        """The same with another feature map; what is opened serves both."""
        other = copy.copy(self)
        other._layer = layer
        return other

    def given(self, inputs: Mapping[str, np.ndarray]) -> Explainer:
        """The same for a model with several inputs, of which these stay as they are when the image changes."""
        other = copy.copy(self)
        other._others = inputs
        return other

    def freeze(self, image: np.ndarray, method: str = GRADIENT, inner: str = "") -> Interpreter:
        """The network frozen for an image, with one of the ways back; `inner` is a tensor to start from."""
        opened = self.opened(method, inner)
        name = opened.engine.image_input.name
        others = {key: value for key, value in self._others.items() if key != name}
        return opened.freeze({name: image, **others})

    def of(self, scope: Scope) -> Explainer:
        """Another network, asked in the same way."""
        return Explainer(scope, self._running, layer=self._layer, layout=self.layout)

    @property
    def layer(self) -> str:
        """The chosen feature map, or the last one that has more than one pixel and comes from a Relu, or from anything."""
        scope = self.opened().engine.scope
        if self._layer and self._layer not in {t.name for n in scope.analysed().nodes for t in n.outputs}:
            raise BadOption(
                f"the network has no tensor '{self._layer}' between image and scores",
                where="--layer",
                remedy="see the nodes with 'onnxscope doctor'",
            )
        return self._layer or last_feature_map(scope)

    def attributions(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """[scores, …] in the image's shape, or in rows and columns for methods that look at a feature map."""
        return chosen(method).make(self, np.asarray(image, np.float32), list(scores))

    def maps(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """[scores, rows, columns]."""
        check_picture(np.shape(image), "explanations", self.scope.image)
        return self.seen(method, image, self.attributions(method, image, scores))

    def seen(self, method: str, image: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Attributions as maps."""
        if found.shape[1:] != image.shape:
            return found
        pictures = [channels_last(f, self.layout) for f in found]
        return np.stack([p.sum(2) if chosen(method).tells == ADDS else np.abs(p).max(2) for p in pictures])


def feature_maps(scope: Scope) -> list[gs.Node]:
    """The nodes of the analysed part that make maps of floating-point numbers with more than one pixel."""
    carried = {step.name for step in scope.steps if step.how in ("linear", "frozen")}
    return [n for n in maps_in(scope) if n.name in carried and is_float(n.outputs[0])]


def maps_in(scope: Scope) -> list[gs.Node]:
    """All nodes of the analysed part whose output has rows and columns, more than one pixel of them."""
    return [n for n in scope.analysed().nodes if len(s := n.outputs[0].shape) == 4 and max(s[2:]) > 1]


def last_feature_map(scope: Scope) -> str:
    """The output of the last Relu that makes a feature map, or of the last node that does."""
    found = feature_maps(scope)
    if not found:
        whole = any(not is_float(n.outputs[0]) for n in maps_in(scope))
        raise BadOption(
            "the network's feature maps hold whole numbers, because it is quantized"
            if whole
            else "the network has no feature map with rows and columns of more than one pixel",
            where="--layer",
            remedy="choose another method",
        )
    return str(next((n for n in reversed(found) if n.op == "Relu"), found[-1]).outputs[0].name)


Make = Callable[[Explainer, np.ndarray, list[int]], np.ndarray]


def rows(x: Interpreter, scores: Sequence[int]) -> np.ndarray:
    return np.asarray(x.map.transpose(impulses(x.map.outputs, scores))).reshape(len(scores), *x.image.shape)


def by_way_back(method: str) -> Make:
    return lambda e, image, scores: rows(e.freeze(image, method), scores)


def saliency(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    return rows(e.freeze(image), scores)


def integrated_gradients(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """(image − 0) times the mean gradient on the way there, at the middles of equal steps."""
    total = sum(rows(e.freeze(image * np.float32((k + 0.5) / STEPS)), scores) for k in range(STEPS))
    return np.asarray(image * total / STEPS)


def smoothgrad(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """The mean gradient of noisy images; the noise is always the same."""
    random, size = np.random.default_rng(0), NOISE * np.ptp(image)
    noisy = (image + size * random.standard_normal(image.shape).astype(np.float32) for _ in range(SAMPLES))
    return np.asarray(sum(rows(e.freeze(one), scores) for one in noisy) / SAMPLES)


def activation_map(weigh: Callable[[np.ndarray], np.ndarray]) -> Make:
    """The feature map's channels, weighted by `weigh` of their gradients, summed; what is positive, as large as the image."""

    def make(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
        values, gradients = at_layer(e, image, scores)
        maps = (weigh(gradients) * values).sum(1).clip(0)
        return np.stack([enlarged(m, channels_last(image, e.layout).shape[:2]) for m in maps])

    return make


def at_layer(e: Explainer, image: np.ndarray, scores: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Values [1, C, h, w] and gradients [scores, C, h, w] of the feature map: the part of the network behind it has it as its image."""
    behind = e.freeze(image, inner=e.layer)
    if behind.image.ndim != 4:
        raise BadOption(
            f"tensor '{e.layer}' is no feature map",
            where="--layer",
            remedy="choose one with channels, rows and columns",
        )
    return behind.image.astype(np.float32), rows(behind, scores).reshape(len(scores), *behind.image.shape[1:])


def enlarged(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Linearly between the pixels' middles, the outermost repeated."""
    y, x = (
        np.clip((np.arange(to) + 0.5) * of / to - 0.5, 0, of - 1)
        for of, to in zip(values.shape, size, strict=True)
    )
    low_y, low_x = (np.floor(p).astype(int) for p in (y, x))
    high_y, high_x = (np.minimum(p + 1, of - 1) for p, of in zip((low_y, low_x), values.shape, strict=True))
    part_y, part_x = (y - low_y)[:, None], (x - low_x)[None]
    top = values[low_y][:, low_x] * (1 - part_x) + values[low_y][:, high_x] * part_x
    bottom = values[high_y][:, low_x] * (1 - part_x) + values[high_y][:, high_x] * part_x
    whole: np.ndarray = top * (1 - part_y) + bottom * part_y
    return whole


def fullgrad(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """ψ(image · gradient) + Σ over layers and channels of ψ(bias · gradient): ψ takes sizes, spreads them over 0 to 1, and enlarges."""
    x = e.freeze(image)
    size = channels_last(image, e.layout).shape[:2]
    sources = list(x.map.engine.scope.at_sources)
    made = []
    for row, score in zip(rows(x, scores), scores, strict=True):
        total = psi(channels_last(image * row, e.layout).transpose(2, 0, 1), size).sum(0)
        for met in x.map.contributions(impulses(x.map.outputs, [score]), sources).values():
            if met.ndim == 4:
                total = total + psi(met[0], size).sum(0)
        made.append(total)
    return np.stack(made)


def psi(channels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    values = np.abs(channels.astype(np.float64))
    least, most = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    return np.stack([enlarged(c, size) for c in (values - least) / np.maximum(most - least, 1e-12)])


@dataclass(frozen=True)
class Explanation:
    make: Make
    tells: str
    doc: str


EXPLANATIONS: dict[str, Explanation] = {
    "saliency": Explanation(saliency, CHANGES, "the gradient's size"),
    "integrated-gradients": Explanation(
        integrated_gradients, ADDS, f"image times the mean gradient at {STEPS} points on the way from 0"
    ),
    "smoothgrad": Explanation(smoothgrad, CHANGES, f"the mean gradient of {SAMPLES} noisy images"),
    "grad-cam": Explanation(
        activation_map(lambda g: g.mean((2, 3), keepdims=True)),
        ADDS,
        "a feature map by its channels' mean gradients",
    ),
    "hirescam": Explanation(activation_map(lambda g: g), ADDS, "a feature map times its gradient"),
    "fullgrad": Explanation(fullgrad, ADDS, "image and every layer's biases, each times its gradient"),
    **{
        name: Explanation(
            by_way_back(name), CHANGES if name in ("guided", "deconvnet") else ADDS, METHODS[name].doc
        )
        for name in METHODS
        if name != GRADIENT
    },
}


def chosen(method: str) -> Explanation:
    if method not in EXPLANATIONS:
        raise BadOption(
            f"there is no method '{method}'",
            where="--method",
            remedy=f"choose one of {', '.join(EXPLANATIONS)}",
        )
    return EXPLANATIONS[method]
