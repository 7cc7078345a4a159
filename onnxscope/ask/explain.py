"""Explanations of scores as maps over the image's pixels, by every method that the transposed branch allows.

What a method gives in the shape of the image is reduced to one number a pixel: contributions are summed over
the channels; of slopes (how the score changes with a pixel) the largest size among the channels counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.ask.interpreter import Interpreter, OpenScope, impulses, score_rows
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
SAMPLES, NOISE = (
    24,
    0.15,
)  # SmoothGrad: how many noisy images, and their noise as a share of the image's range
DEFAULT = Running()
CONTRIBUTIONS, SLOPES = "contributions", "slopes"  # what the values of a method are
BY_GAINS = {  # the methods that multiply by gains (policy freeze); all others use derivatives (policy taylor)
    "discussion",
    "deep-taylor",
    *(name for name in METHODS if name.startswith("lrp")),
}


class Explainer:
    """A model that is opened once for each way back that is asked for.

    `layer` names the feature map that class activation maps are computed at.
    """

    def __init__(
        self, scope: Scope, running: Running = DEFAULT, *, layer: str = "", layout: str = "auto"
    ) -> None:
        self.scope, self.layout, self._running, self._layer = scope, layout, running, layer
        self._opened: dict[tuple[str, str, str], OpenScope] = {}
        self._others: Mapping[str, np.ndarray] = {}

    def opened(self, method: str = GRADIENT, image: str = "") -> OpenScope:
        """The model with this way back, from the tensor `image` on; '' stands for the image of the scope."""
        policy = FREEZE if method in BY_GAINS else TAYLOR
        key = method, policy, image
        if key not in self._opened:
            scope = refrozen(self.scope, policy=policy, method=method, image=image or None)
            self._opened[key] = OpenScope(self._running.engine(scope), self.layout)
        return self._opened[key]

    def at(self, layer: str) -> Explainer:
        """An explainer for another feature map, which shares all opened models with this one."""
        other = copy.copy(self)
        other._layer = layer
        return other

    def given(self, inputs: Mapping[str, np.ndarray]) -> Explainer:
        """The same for a model with several inputs: these stay as they are when the image changes."""
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
        """An explainer for another network with the same settings."""
        return Explainer(scope, self._running, layer=self._layer, layout=self.layout)

    @property
    def layer(self) -> str:
        """The chosen feature map, by default the last with more than one pixel, of a Relu if possible."""
        scope = self.opened().engine.scope
        if self._layer and self._layer not in {t.name for n in scope.analysed().nodes for t in n.outputs}:
            raise BadOption(
                f"the network has no tensor '{self._layer}' between the image and the scores",
                where="--layer",
                remedy="name the output of a node that 'onnxscope doctor' lists",
            )
        return self._layer or last_feature_map(scope)

    def attributions(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """[scores, *shape of the image], or [scores, rows, columns] by methods that look at a feature map."""
        return method_called(method).attribute(self, np.asarray(image, np.float32), list(scores))

    def maps(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """[scores, rows, columns]: one number a pixel."""
        check_picture(np.shape(image), "explanations", self.scope.image)
        if np.shape(image) != self.opened().image_shape:
            raise BadOption(
                f"maps show the pixels of the model's input, and '{self.scope.image}' is computed in it",
                where="explanations",
                remedy="leave --image-input out",
            )
        return self.as_maps(method, image, self.attributions(method, image, scores))

    def as_maps(self, method: str, image: np.ndarray, attributions: np.ndarray) -> np.ndarray:
        """Attributions reduced to one number a pixel."""
        if attributions.shape[1:] != image.shape:
            return attributions
        pictures = [channels_last(a, self.layout) for a in attributions]
        summing = method_called(method).values == CONTRIBUTIONS
        return np.stack([p.sum(2) if summing else np.abs(p).max(2) for p in pictures])


def feature_maps(scope: Scope) -> list[gs.Node]:
    """The nodes of the analysed part whose first output is a feature map with more than one pixel."""
    carried = {step.name for step in scope.steps if step.how in ("linear", "frozen")}
    return [n for n in maps_in(scope) if n.name in carried and is_float(n.outputs[0])]


def maps_in(scope: Scope) -> list[gs.Node]:
    """All nodes of the analysed part whose output has rows and columns, more than one pixel of them."""
    return [n for n in scope.analysed().nodes if len(s := n.outputs[0].shape) == 4 and max(s[2:]) > 1]


def last_feature_map(scope: Scope) -> str:
    """The last feature map that a Relu computes; the last of all where no Relu computes one."""
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


# the methods


Attribute = Callable[
    [Explainer, np.ndarray, list[int]], np.ndarray
]  # model, image and scores to attributions


def by_way_back(method: str) -> Attribute:
    """What the transposed branch computes with this way back."""
    return lambda e, image, scores: score_rows(e.freeze(image, method), scores)


def saliency(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """The gradient of each score."""
    return score_rows(e.freeze(image), scores)


def integrated_gradients(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """The image times the mean gradient on the line from 0 to the image, at the middles of equal steps."""
    points = (image * np.float32((k + 0.5) / STEPS) for k in range(STEPS))
    return np.asarray(image * sum(saliency(e, point, scores) for point in points) / STEPS)


def smoothgrad(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
    """The mean gradient of noisy images; the noise is the same in every run."""
    random, size = np.random.default_rng(0), NOISE * np.ptp(image)
    noisy = (image + size * random.standard_normal(image.shape).astype(np.float32) for _ in range(SAMPLES))
    return np.asarray(sum(saliency(e, one, scores) for one in noisy) / SAMPLES)


def activation_map(weigh: Callable[[np.ndarray], np.ndarray]) -> Attribute:
    """The positive part of Σ over channels of weigh(gradient)·value at a feature map, as large as the image.

    `weigh` turns the gradients [scores, C, h, w] into the weights of the channels or of all elements.
    """

    def attribute(e: Explainer, image: np.ndarray, scores: list[int]) -> np.ndarray:
        values, gradients = at_layer(e, image, scores)
        maps = (weigh(gradients) * values).sum(1).clip(0)
        return np.stack([enlarged(m, channels_last(image, e.layout).shape[:2]) for m in maps])

    return attribute


def at_layer(e: Explainer, image: np.ndarray, scores: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The values [1, C, h, w] of the explainer's feature map and the gradients [scores, C, h, w] there.

    They come from the part of the network after the feature map, which is then that part's image.
    """
    after = e.freeze(image, inner=e.layer)
    if after.image.ndim != 4:
        raise BadOption(
            f"tensor '{e.layer}' must be a feature map with channels, rows and columns",
            where="--layer",
            remedy="choose another tensor",
        )
    return after.image.astype(np.float32), score_rows(after, scores).reshape(
        len(scores), *after.image.shape[1:]
    )


def enlarged(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Bilinear interpolation between the centres of the pixels; pixels at the edge are repeated beyond it."""
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
    """ψ(image · gradient) + Σ over layers and channels of ψ(bias · gradient), see `psi`."""
    x = e.freeze(image)
    size = channels_last(image, e.layout).shape[:2]
    sources = list(x.map.engine.scope.at_sources)
    maps = []
    for row, score in zip(score_rows(x, scores), scores, strict=True):
        total = psi(channels_last(image * row, e.layout).transpose(2, 0, 1), size).sum(0)
        for added in x.map.contributions(impulses(x.map.outputs, [score]), sources).values():
            if added.ndim == 4:
                total = total + psi(added[0], size).sum(0)
        maps.append(total)
    return np.stack(maps)


def psi(channels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """|values| of each channel, scaled to 0…1 and enlarged: ψ of FullGrad."""
    values = np.abs(channels.astype(np.float64))
    least, most = values.min((1, 2), keepdims=True), values.max((1, 2), keepdims=True)
    return np.stack([enlarged(c, size) for c in (values - least) / np.maximum(most - least, 1e-12)])


# the table


@dataclass(frozen=True)
class ExplanationMethod:
    """How attributions are computed, what their values are, and one line for users."""

    attribute: Attribute
    values: str
    doc: str


EXPLANATIONS: dict[str, ExplanationMethod] = {
    "saliency": ExplanationMethod(saliency, SLOPES, "the size of the gradient"),
    "integrated-gradients": ExplanationMethod(
        integrated_gradients,
        CONTRIBUTIONS,
        f"image times the mean gradient at {STEPS} points between 0 and the image",
    ),
    "smoothgrad": ExplanationMethod(smoothgrad, SLOPES, f"the mean gradient of {SAMPLES} noisy images"),
    "grad-cam": ExplanationMethod(
        activation_map(lambda g: g.mean((2, 3), keepdims=True)),
        CONTRIBUTIONS,
        "the channels of a feature map, weighted by their mean gradients",
    ),
    "hirescam": ExplanationMethod(
        activation_map(lambda g: g), CONTRIBUTIONS, "a feature map times its gradient"
    ),
    "fullgrad": ExplanationMethod(
        fullgrad, CONTRIBUTIONS, "the image and the biases of every layer, each times its gradient"
    ),
    **{
        name: ExplanationMethod(
            by_way_back(name),
            SLOPES if name in ("guided", "deconvnet") else CONTRIBUTIONS,
            METHODS[name].doc,
        )
        for name in METHODS
        if name != GRADIENT
    },
}


def method_called(name: str) -> ExplanationMethod:
    """The entry of the table; an error where there is none."""
    if name not in EXPLANATIONS:
        raise BadOption(
            f"there is no method '{name}'",
            where="--method",
            remedy=f"choose one of {', '.join(EXPLANATIONS)}",
        )
    return EXPLANATIONS[name]
