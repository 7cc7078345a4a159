"""Trials of explanation methods: the measures of a method for an image, and how random weights change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import ndimage

from onnxscope import runtime
from onnxscope.ask import evaluation, sensitivity
from onnxscope.ask.explain import Explainer, method_called
from onnxscope.ask.interpreter import score_rows
from onnxscope.ask.votes import DISCUSSION, votes
from onnxscope.errors import BadOption
from onnxscope.files import models
from onnxscope.files.pixels import channels_last, check_picture
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import is_float
from onnxscope.run.decided import refuse_other_decision

CHANCE = "chance"  # a constant map, to compare with
EDGES = "edges"  # where the picture itself changes, whatever the network computes
VOTES = "votes"  # the strength of every pixel that votes for the class, 0 for all others
MAPS = (CHANCE, EDGES, VOTES)  # what gives maps without being a method of an explainer
RIVALS = 4  # the next highest classes, whose maps are compared with that of the highest one
MEASURES = {  # with the heads that tables give them
    "top_kept": "top 5 kept at 30 %",
    "class_kept": "class kept at 30 %",
    "insertion": "insertion",
    "deletion": "deletion",
    "insertion_score": "insertion, by score",
    "deletion_score": "deletion, by score",
    "pointing": "pointing",
    "mass_inside": "mass inside",
    "voting_inside": "votes inside",
    "voting_outside": "votes outside",
    "class_sensitivity": "class sensitivity",
    "image_recovery": "image recovery",
}


def checked(methods: Sequence[str]) -> list[str]:
    """The methods as a list; an error where one of them is unknown."""
    for method in methods:
        if method != VOTES:
            method_called(method)
    return list(methods)


class Trials:
    """Trials of explanations of one network's highest score."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer
        self._engine = explainer.opened().engine
        scope = explainer.scope
        check_picture(scope.tensor(scope.image).shape, "evaluate", scope.image)
        if sum(size > 1 for size in scope.tensor(scope.output).shape) > 1:
            raise BadOption(
                "the output must be a vector of scores, and it is an image",
                where="evaluate",
                remedy="name a vector of scores with --output",
            )
        if self._engine.image_input.name != scope.image:
            raise BadOption(
                f"the image must be an input of the model, and '{scope.image}' is a tensor inside it",
                where="--image-input",
                remedy="name one of its inputs"
                if is_float(self._engine.image_input)
                else "export the model with a floating-point input, because evaluate changes single pixels",
            )
        wanted = [t for t in map(scope.tensor, [scope.output, *scope.guards]) if t.inputs]
        self._session = runtime.Session(models.to_bytes(part(scope.graph, wanted)), on=self._engine.on)
        self.on, self.inputs = self._engine.on, self._engine.inputs

    def network(self, image: np.ndarray) -> np.ndarray:
        """The scores of an image."""
        scope = self.explainer.scope
        feeds = self._engine.feeds({scope.image: image})
        found = self._session.run(feeds)
        refuse_other_decision(scope, {**feeds, **found})
        return found[scope.output].reshape(-1).astype(np.float32)

    def attributions(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """Those of the explainer; for votes, edges and chance [scores, rows, columns]."""
        if method == CHANCE:
            return np.ones((len(scores), *self._pixels(image).shape[:2]))
        if method == EDGES:
            return np.stack([edges(self._pixels(image))] * len(scores))
        if method == VOTES:
            found = votes(self.explainer.opened(DISCUSSION).freeze(image))
            return np.stack([np.where(found.mask(score), found.strength, 0) for score in scores])
        return self.explainer.attributions(method, image, scores)

    def measures(self, method: str, image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
        """Those `MEASURES` that apply, for the explanation of the image's highest score."""
        classes = highest(self.network(image), 1 + RIVALS)
        found = self.attributions(method, image, classes)
        relevance = self._as_maps(method, image, found)[0]
        measured = self._by_network(image, relevance, classes[0])
        if mask is not None:
            measured |= {
                "pointing": evaluation.pointing(relevance, mask),
                "mass_inside": evaluation.mass_inside(relevance, mask),
            }
            if method == VOTES:
                measured["voting_inside"], measured["voting_outside"] = evaluation.voting(
                    relevance != 0, mask
                )
        if method != CHANCE:
            like = image if found[0].shape == image.shape else self._pixels(image).mean(2)
            measured |= {
                "class_sensitivity": evaluation.class_sensitivity(found),
                "image_recovery": evaluation.image_recovery(found[0], like),
            }
        return measured

    def maps(self, method: str, image: np.ndarray, scores: Sequence[int]) -> np.ndarray:
        """[scores, rows, columns]: one number a pixel, larger where it is more relevant."""
        return self._as_maps(method, image, self.attributions(method, image, scores))

    def _as_maps(self, method: str, image: np.ndarray, found: np.ndarray) -> np.ndarray:
        return found if method in MAPS else self.explainer.as_maps(method, image, found)

    def _by_network(self, image: np.ndarray, relevance: np.ndarray, score: int) -> dict[str, float]:
        """The measures that run the network on changed images."""
        layout = self.explainer.layout
        inserted, deleted = (
            f(self.network, image, relevance, score, layout).areas
            for f in (evaluation.insertion, evaluation.deletion)
        )
        top_kept, class_kept = (
            evaluation.top_kept(self.network, image, relevance, layout, top) for top in (evaluation.TOP, 1)
        )
        return {
            "top_kept": top_kept,
            "class_kept": class_kept,
            "insertion": inserted[0],
            "deletion": deleted[0],
            "insertion_score": inserted[1],
            "deletion_score": deleted[1],
        }

    def attack(self, image: np.ndarray, step: np.ndarray | float) -> sensitivity.Effect:
        """What an attack by FGSM on the highest score changes."""
        model, score = self.explainer.opened(), int(self.network(image).argmax())
        (gradient,) = score_rows(model.freeze(image), [score])
        return sensitivity.effect(model, image, sensitivity.attacked(image, gradient, step), score)

    def without_weights(
        self, methods: Sequence[str], pictures: Sequence[np.ndarray], progress: Callable[[int, int], None]
    ) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
        """The distances between explanations of the trained network and of one with random weights.

        For each layer down to which the weights are random, they are given by method as two means over the
        pictures: of 1 − correlation and of 1 − rank correlation. Pictures whose attributions by the random
        network are constant are left out.
        """
        classes = [[int(self.network(p).argmax())] for p in pictures]
        trained = {
            m: [self.attributions(m, p, c) for p, c in zip(pictures, classes, strict=True)] for m in methods
        }
        total = len(sensitivity.weighted(self.explainer.scope))
        for done, (layer, scope) in enumerate(sensitivity.randomised(self.explainer.scope), 1):
            other, distances = Trials(self.explainer.of(scope)), {}
            for m in methods:
                pairs = [
                    (a, b)
                    for a, p, c in zip(trained[m], pictures, classes, strict=True)
                    if np.ptp(b := other.attributions(m, p, c))
                ]
                distances[m] = (
                    mean([1 - evaluation.correlation(*ab) for ab in pairs]),
                    mean([1 - sensitivity.rank_correlation(*ab) for ab in pairs]),
                )
            progress(done, total)
            yield layer, distances

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        return channels_last(image, self.explainer.layout)


def edges(picture: np.ndarray) -> np.ndarray:
    """Sobel's edges of rows × columns × channels: the length of the slopes of all channels."""
    channels = picture.astype(np.float64).transpose(2, 0, 1)
    slopes = [ndimage.sobel(channel, axis, mode="nearest") for channel in channels for axis in (0, 1)]
    return np.asarray(np.linalg.norm(slopes, axis=0))


def highest(scores: np.ndarray, count: int) -> list[int]:
    """The numbers of the highest scores, the highest first."""
    return [int(k) for k in np.argsort(-scores, kind="stable")[:count]]


def mean(values: Sequence[float]) -> float:
    """The mean of those values that are not NaN; NaN where there is none."""
    defined = [v for v in values if not math.isnan(v)]
    return sum(defined) / len(defined) if defined else float("nan")
