"""How the linear parts of two exports differ: F_B − F_A as an operator, and what follows from F."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxscope.api.model import LinearInterpreter
from onnxscope.api.opening import load
from onnxscope.api.two_models import Arrays, TwoModels
from onnxscope.ask import tasks
from onnxscope.ask.evaluation import correlation
from onnxscope.ask.filters import energies, places_by_contrast, receptive
from onnxscope.errors import BadOption, ScopeError
from onnxscope.files.models import Model
from onnxscope.files.pixels import channels_last
from onnxscope.files.results import Cells, Result, short
from onnxscope.linear.linear_map import Block, LinearMap, Space, rows
from onnxscope.linear.svd.decompose import svd
from onnxscope.pairing.layouts import Layout, of_image
from onnxscope.rewriting.options import Options

AMONG = 10  # scores that pixels vote among
LEAST_VOTE = 1e-3  # of the strongest: weaker ones are ties
TOLERANCE = 1e-3  # of singular values


@dataclass(frozen=True, repr=False)
class LinearDifference(Result):
    """How far F of B is from F of A, on one image."""

    sigma_a: tuple[float, ...]  # the largest singular values
    sigma_b: tuple[float, ...]
    norm: float  # ‖F_B − F_A‖, the largest singular value of the difference
    relative: float  # to the largest of A
    angle_in: float  # degrees: the largest between the spans of the leading eigen-inputs
    angle_out: float  # and of the leading eigen-outputs
    votes: float | None  # the share of the pixels that vote for the same score
    grad_cam: float | None  # the correlation of both maps for A's highest score
    filters: float  # the correlation of receptive filters: what pixels of the output, or a score, look at

    def cells(self) -> Cells:
        facts = self.to_dict()
        return ("", "value"), [
            (name, ", ".join(map(short, value)) if isinstance(value, list) else short(value))
            for name, value in facts.items()
            if value is not None
        ]


@dataclass(frozen=True)
class Minus:
    """F_B − F_A on A's blocks."""

    a: LinearMap
    b: LinearMap
    image: Layout  # from B's image to A's
    output: Layout

    @property
    def inputs(self) -> Space:
        return self.a.inputs

    @property
    def outputs(self) -> Space:
        return self.a.outputs

    @property
    def batch(self) -> int:
        return min(self.a.batch, self.b.batch)

    def forward(self, block: Block) -> Block:
        theirs = self.b.forward(carried(block, self.image.inverse, self.b.inputs))
        return carried(theirs, self.output, self.a.outputs) - self.a.forward(block)

    def transpose(self, block: Block) -> Block:
        theirs = self.b.transpose(carried(block, self.output.inverse, self.b.outputs))
        return carried(theirs, self.image, self.a.inputs) - self.a.transpose(block)


def carried(block: np.ndarray, layout: Layout, space: Space) -> np.ndarray:
    """Each vector of a block in another layout."""
    if not layout.steps and block.shape[1:] == tuple(space.shape):
        return block
    each = [layout.of(vector.reshape(layout.start)).reshape(space.shape) for vector in block]
    return np.ascontiguousarray(np.stack(each), np.float32)


def linear_difference(models: TwoModels, fed_a: Arrays, fed_b: Arrays, k: int) -> LinearDifference:
    """Compare the linear parts of two models that are matched, for an image that both are fed with."""
    pair, reader = models.pair, models.reader(models.pair.at(fed_a, fed_b))
    n = [name for name, _ in pair.ends].index(reader.tensor)
    a = frozen(models.ours, models.options, reader.output, fed_a, models)
    theirs = Options(output=pair.ends[n][1].name if models.output else None)
    b = frozen(models.theirs, theirs, models.output_of_b.get(reader.output, ""), fed_b, models)
    layout = of_image(b.image.shape, a.image.shape)
    if layout is None or models.scaled or b.image.dtype.kind != a.image.dtype.kind:
        cause = "the linear parts can be compared only where both take the same numbers"
        raise BadOption(cause, where="--filters", remedy="leave it out")
    output = pair.ends[n][1].layout
    first, second = a.svd(k, tol=TOLERANCE), b.svd(k, tol=TOLERANCE)
    found = svd(Minus(a.map, b.map, layout, output), 1, tol=TOLERANCE).sigma.tolist()
    largest = found[0] if found else 0.0  # nothing is found where F of both is the same
    return LinearDifference(
        tuple(first.sigma.tolist()),
        tuple(second.sigma.tolist()),
        largest,
        largest / float(first.sigma[0]),
        angle(first.v, carried(second.v, layout, a.map.inputs)),
        angle(first.u, carried(second.u, output, a.map.outputs)),
        both(a, b, votes) if reader.task.name == tasks.SCORES and a.output.size > 1 else None,
        both(a, b, grad_cam) if reader.task.name == tasks.SCORES else None,
        seen_alike(a, b, layout),
    )


def frozen(model: Model, options: Options, output: str, fed: Arrays, models: TwoModels) -> LinearInterpreter:
    """A model frozen for an image at what explains one of its outputs."""
    shapes = {name: tuple(value.shape) for name, value in fed.items()}
    options = replace(options, shapes=shapes)
    opened = load(model, preset=models.opened.preset, device="cpu", options=options)
    x = opened.freeze(fed)
    wanted = x.model.explained.get(output, x.model.scope.output)
    if wanted == x.model.scope.output:
        return x
    return load(
        model, preset=models.opened.preset, device="cpu", options=replace(options, output=wanted)
    ).freeze(fed)


def both(a: LinearInterpreter, b: LinearInterpreter, agreement: Callable[..., float]) -> float | None:
    """How well the two agree; None where one of them has no such answer."""
    try:
        return agreement(a, b)
    except ScopeError:
        return None


def votes(a: LinearInterpreter, b: LinearInterpreter) -> float:
    """The share of the pixels that vote for the same score, of those that matter to A's."""
    ours, theirs = (x.votes(among=min(AMONG, a.output.size)) for x in (a, b))
    strong = np.abs(ours.strength) > LEAST_VOTE * np.abs(ours.strength).max()
    return float((ours.winner == theirs.winner)[strong].mean()) if strong.any() else 1.0


def grad_cam(a: LinearInterpreter, b: LinearInterpreter) -> float:
    score = int(a.output.reshape(-1).argmax())
    return correlation(*(x.explain("grad-cam", score).maps[0] for x in (a, b)))


def seen_alike(a: LinearInterpreter, b: LinearInterpreter, image: Layout) -> float:
    """The correlation of receptive filters: of three pixels of a picture, or of the highest score."""
    if a.output.ndim == 4 and min(a.output.shape[2:]) > 1 and a.output.shape == b.output.shape:
        places = list(places_by_contrast(channels_last(a.output, a.layout)).values())
        return correlation(*(energies(receptive(x, places), x.layout) for x in (a, b)))
    score = int(a.output.reshape(-1).argmax())
    return correlation(np.asarray(a.row(score)), image.of(np.asarray(b.row(score)).reshape(image.start)))


def angle(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest angle between two spans, in degrees."""
    count = min(len(ours), len(theirs))
    cosines = np.linalg.svd(rows(ours[:count]) @ rows(theirs[:count]).T, compute_uv=False)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))
