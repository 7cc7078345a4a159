"""What metrics look at, for the explanations of one network: a `Case` for each picture and method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx_graphsurgeon as gs
from onnx import helper

from onnxscope import runtime
from onnxscope.ask.metrics import table
from onnxscope.ask.metrics.case import Case, Explain
from onnxscope.ask.sensitivity import weighted, wholly_random
from onnxscope.ask.trials import Trials
from onnxscope.errors import BadOption, OutOfMemory, ScopeError
from onnxscope.files import models
from onnxscope.files.pixels import channels_axis, channels_last
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import element_type
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.scope import Scope

ALIKE = 1e-3  # of the largest score: what a score may change when other images are computed beside it


class Cases:
    """The cases of one network; its relatives are made when the first metric needs them."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        scope = trials.explainer.scope
        self._shape = tuple(scope.tensor(scope.image).shape)
        self._last = channels_axis(self._shape, trials.explainer.layout) == len(self._shape) - 1

    def measured(
        self, names: Sequence[str], method: str, image: np.ndarray, mask: np.ndarray | None = None
    ) -> dict[str, float]:
        """These metrics of a method's map for the image's highest score; NaN where they do not apply."""
        case = self.case(method, image, mask)
        return {name: table.measured(name, case) for name in names}

    def case(self, method: str, image: np.ndarray, mask: np.ndarray | None = None) -> Case:
        """The explanation of the image's highest score, with all that metrics need."""
        score = int(self._trials.network(image).argmax())

        def explain_by(trials: Callable[[], Trials]) -> Explain:
            return lambda changed, k: trials().maps(method, self._as_input(changed), [k])[0]

        return Case(
            network=self._scores,
            image=channels_last(image, self._trials.explainer.layout).transpose(2, 0, 1),
            attribution=self._trials.maps(method, image, [score])[0],
            score=score,
            mask=mask,
            explain=explain_by(lambda: self._trials),
            explain_random=explain_by(lambda: self._random) if self._has_weights else None,
            explain_shifted=explain_by(lambda: self._shifted),
        )

    def _as_input(self, image: np.ndarray) -> np.ndarray:
        """An image of channels × rows × columns in the shape of the network's input."""
        return (image.transpose(1, 2, 0) if self._last else image).reshape(self._shape)

    def _scores(self, images: np.ndarray) -> np.ndarray:
        """The scores of several images."""
        inputs = [self._as_input(image) for image in images]
        if self._several is None:
            return np.stack([self._trials.network(one) for one in inputs])
        return run_together(self._several, self._trials.explainer.scope, np.concatenate(inputs))

    @cached_property
    def _several(self) -> runtime.Session | None:
        """The network for several images in one run; None where it cannot take them."""
        scope = self._trials.explainer.scope
        if scope.decided or len(self._shape) != 4 or len(self._trials.inputs) > 1:
            return None
        images = np.random.default_rng(0).random((2, *self._shape[1:]), np.float32)
        alone = np.stack([self._trials.network(image[None]) for image in images])
        try:
            session = runtime.Session(with_free_batch(scope), on=self._trials.on)
            together = run_together(session, scope, images)
        except OutOfMemory:
            raise
        except ScopeError:
            return None
        alike = together.shape == alone.shape and np.allclose(together, alone, 0, ALIKE * np.abs(alone).max())
        return session if alike else None

    @cached_property
    def _has_weights(self) -> bool:
        try:
            return bool(weighted(self._trials.explainer.scope))
        except BadOption:
            return False

    @cached_property
    def _random(self) -> Trials:
        """The network with random weights in all layers."""
        scope = wholly_random(self._trials.explainer.scope)
        return Trials(self._trials.explainer.of(scope))

    @cached_property
    def _shifted(self) -> Trials:
        """The network that adds 1 to the image first."""
        return Trials(self._trials.explainer.of(adding_one(self._trials.explainer.scope)))


def run_together(session: runtime.Session, scope: Scope, images: np.ndarray) -> np.ndarray:
    """The scores [images, scores] of one run."""
    dtype = helper.tensor_dtype_to_np_dtype(element_type(scope.tensor(scope.image)))
    found = session.run({scope.image: images.astype(dtype)})[scope.output]
    return found.reshape(len(found), -1).astype(np.float32)


def with_free_batch(scope: Scope) -> bytes:
    """The network with a free size in place of the 1 of its first axis."""
    graph = part(scope.graph, [scope.tensor(scope.output)]).copy()
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable):
            tensor.shape = None
    graph.inputs[0].shape = ["images", *scope.tensor(scope.image).shape[1:]]
    return models.to_bytes(graph)


def adding_one(scope: Scope) -> Scope:
    """The scope of the network that adds 1 to every value of its image first."""
    changed = replace(scope, graph=scope.graph.copy())
    image = changed.tensor(scope.image)
    one = np.ones((), helper.tensor_dtype_to_np_dtype(element_type(image)))
    moved = gs.Variable(f"{image.name} + 1", image.dtype, image.shape)
    for node in list(image.outputs):
        node.inputs = [moved if t is image else t for t in node.inputs]
    constant = gs.Constant(f"{moved.name}/one", one)
    changed.graph.nodes.insert(0, gs.Node("Add", moved.name, inputs=[image, constant], outputs=[moved]))
    return refrozen(changed)
