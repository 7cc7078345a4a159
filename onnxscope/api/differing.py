"""The function that compares two exports of one network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.api.by_image import OpenByImage
from onnxscope.api.further import further_inputs
from onnxscope.api.model import LinearInterpreter, OpenModel
from onnxscope.api.opening import ModelSource, load, loaded_original
from onnxscope.ask.asked import Asked
from onnxscope.ask.presets import Preset
from onnxscope.ask.suggested import suggested
from onnxscope.ask.tasks import Output, task_of
from onnxscope.errors import BadOption, shape_text
from onnxscope.files.models import Model
from onnxscope.files.preprocessing import Preprocess
from onnxscope.files.results import Cells, Result, short
from onnxscope.pairing.compared import Compared, Share
from onnxscope.pairing.layouts import Layout, of_image
from onnxscope.pairing.sides import Side, side
from onnxscope.rewriting.build import Place, image_input
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.sizes import input_sizes

Shape = tuple[int, ...]
Image = np.ndarray | Mapping[str, np.ndarray] | str | Path
HEAD = ("A", "B", "contribution", "kinds", "flips", "error")
LEAST_MATCHED = 0.5  # of the layers with weights: below it the networks are not the same one
REMEDY = "compare two exports of one network"


@dataclass(frozen=True, repr=False)
class Difference(Result):
    """What makes the outputs of two exports of one network differ, layer by layer."""

    same: bool  # whether all outputs agree within the noise
    question: str
    asked: str
    task: str
    value_a: float
    value_b: float
    difference: float  # B − A
    noise: float  # of the difference: what the runtime itself changes
    in_filter: float  # the part of the difference that F makes, and that of r
    in_residual: float
    layers: tuple[Share, ...]
    remainder: float  # of the difference, which no layer accounts for
    first_wrong: Mapping[str, Any] | None
    matched: tuple[str, ...]  # nodes of A
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    would_help: tuple[Mapping[str, Any], ...]
    preset: Preset

    @property
    def title(self) -> str:
        verdict = "the same within noise" if self.same else "different"
        return f"{verdict}: {self.asked} is {self.value_a:.6g} in A and {self.value_b:.6g} in B"

    def cells(self) -> Cells:
        rows = sorted(self.layers, key=lambda s: -abs(s.contribution))
        return HEAD, [
            (s.a or "–", s.b or "–", short(s.contribution), kinds(s), str(s.flips), short(s.error))
            for s in rows
        ]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "preset": self.preset.to_dict()}


def kinds(share: Share) -> str:
    return ", ".join(f"{kind} {value:.2g}" for kind, value in share.kinds.items())


def diff(
    a: ModelSource,
    b: ModelSource,
    image: Image,
    *,
    further: Sequence[str] = (),
    ask: str = "",
    labels: Sequence[str] = (),
    preset: str | Preprocess | Preset | None = None,
) -> Difference:
    """Compare two exports of one network on an image, and tell which layers make their outputs differ.

    Layers are paired by what they compute. `ask` is the question whose value is compared, by default the one
    that suits what the network gives. `further` are the values of other inputs, such as "size=1,2".
    """
    ours, theirs = loaded_original(a), loaded_original(b)
    opened = load(ours, labels=labels, preset=preset, device="cpu")
    x = opened.freeze(given_to(opened, image, further))
    other = counterpart(theirs, x, image, preset)
    question = x.reader.understood(ask or suggested(x.reader)[0])
    return described(paired(ours, theirs, x, other), x, other, question)


def described(
    compared: Compared, x: LinearInterpreter, other: LinearInterpreter, question: Asked
) -> Difference:
    """What a question's value differs by, and why."""
    found = compared.pays(question.sums, question.constant)
    filtered = in_filter(x, other, compared, question)
    same, noise = compared.agreement()
    matched, only_a, only_b = compared.names_by_match()
    squares = (w * w for weights in question.sums.values() for w in weights.values())
    difference = found.value_b - found.value_a
    return Difference(
        same=same,
        question=question.text,
        asked=question.words,
        task=x.model.task,
        value_a=found.value_a,
        value_b=found.value_b,
        difference=difference,
        noise=noise * math.sqrt(sum(squares)),
        in_filter=filtered,
        in_residual=difference - filtered,
        layers=tuple(s for s in found.shares if s.a or s.b),
        remainder=found.remainder,
        first_wrong=compared.first_wrong(found.shares),
        matched=matched,
        only_a=only_a,
        only_b=only_b,
        would_help=would_help(found.shares),
        preset=x.model.preset,
    )


def given_to(opened: OpenModel, image: Image, further: Sequence[str]) -> Image:
    """The image, with the values of further inputs as users write them."""
    if not further:
        return image
    if isinstance(opened, OpenByImage):
        opened.prepare(image)
    engine = opened.engine
    if isinstance(image, Mapping):
        raise BadOption(
            "values are given twice", where="further", remedy="give all inputs by the mapping, or none"
        )
    read = opened.read(Path(image)) if isinstance(image, (str, Path)) else image
    shapes = {t.name: tuple(t.shape) for t in engine.inputs}
    return {engine.image_input.name: read, **further_inputs(further, shapes, opened.preprocess)}


def counterpart(
    theirs: Model, x: LinearInterpreter, image: Image, preset: str | Preprocess | Preset | None
) -> LinearInterpreter:
    """B's interpreter of the same numbers, or, if it wants numbers of another type, of the same picture."""
    name = x.model.engine.image_input.name
    ours = x.map.fed[name]
    inputs, wanted = image_input(theirs, Options(shapes=shapes_like(theirs, ours.shape)))
    shapes = {t.name: tuple(t.shape) for t in inputs}
    opened = load(theirs, preset=preset, device="cpu", input_shapes=shapes)
    dtype = wanted.dtype
    if np.dtype(dtype).kind == ours.dtype.kind:
        layout = of_image(shapes[wanted.name], ours.shape)
        if layout is None:
            sizes = f"{shape_text(ours.shape)} in A and {shape_text(shapes[wanted.name])} in B"
            raise BadOption(f"the image is {sizes}", where="diff", remedy="give both the same size")
        given = np.ascontiguousarray(layout.inverse.of(ours), dtype)
    elif isinstance(image, (str, Path)):
        if isinstance(opened, OpenByImage):
            opened.prepare(Path(image))
        given = opened.read(Path(image))
    else:
        raise BadOption(
            f"it wants {np.dtype(dtype)}, and A {ours.dtype}", where="diff", remedy="give a picture as a file"
        )
    others = {n: v for n, v in x.map.fed.items() if n != name and shapes.get(n) == v.shape}
    return opened.freeze({wanted.name: given, **others})


def paired(ours: Model, theirs: Model, x: LinearInterpreter, other: LinearInterpreter) -> Compared:
    """Both networks, matched for an image."""
    fed_a, fed_b = x.map.fed, other.map.fed
    first, second = with_ends(
        side(ours, Options(shapes=shapes_of_arrays(fed_a)), fed_a),
        side(theirs, Options(shapes=shapes_of_arrays(fed_b)), fed_b),
    )
    layout = of_image(second.image_shape, first.image_shape)
    if layout is None:
        layout = Layout(second.image_shape).reshaped(first.image_shape)
    compared = Compared(first, second, fed_a, fed_b, layout)
    count, every = compared.weighted_matches()
    if count < LEAST_MATCHED * every:
        raise BadOption(f"nothing in common: {count} of {every} layers match", where="diff", remedy=REMEDY)
    return compared


def shapes_of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in arrays.items()}


def in_filter(x: LinearInterpreter, other: LinearInterpreter, compared: Compared, question: Asked) -> float:
    """(F_B − F_A)·x0: what the linear parts of the two networks give differently for the image."""
    sums = {}
    for place, weights in question.sums.items():
        tensor, numbers = compared.in_b(place.tensor)
        sums[Place(tensor, place.unit)] = {int(numbers[k]): w for k, w in weights.items()}
    parts = []
    for one, asked in ((other, replace(question, sums=sums)), (x, question)):
        answer = one.answering([asked], one.model.scope.policy)
        parts.append(answer.value - float(answer.residual().reshape(-1)[0]))
    return parts[0] - parts[1]


def would_help(shares: Sequence[Share]) -> tuple[Mapping[str, Any], ...]:
    """The layers by what putting them back to A's would change."""
    ranked = sorted((s for s in shares if s.a and s.contribution), key=lambda s: -abs(s.contribution))
    return tuple({"a": s.a, "predicted": -s.contribution} for s in ranked)


def with_ends(a: Side, b: Side) -> tuple[Side, Side]:
    """Both sides with their explained tensors: outputs of one name belong together, others in order."""
    ours, theirs = ({o.name: o for o in task_of(s.b, s.x).outputs if o.explained} for s in (a, b))
    rest = [n for n in theirs if n not in ours]
    pairs = [(n, n if n in theirs else rest.pop(0) if rest else "") for n in ours]
    pairs = [(n, m) for n, m in pairs if m and elements(ours[n]) == elements(theirs[m])]
    if not pairs:
        sizes = f"{shapes_of(ours)} in A and {shapes_of(theirs)} in B"
        raise BadOption(f"no outputs are of one size: {sizes}", where="diff", remedy=REMEDY)
    return (
        a.ending_at([ours[n].explained or "" for n, _ in pairs]),
        b.ending_at([theirs[m].explained or "" for _, m in pairs]),
    )


def elements(output: Output) -> int:
    return math.prod(output.shape or ())


def shapes_of(outputs: Mapping[str, Output]) -> str:
    return ", ".join(f"'{n}' is {shape_text(o.shape or ())}" for n, o in outputs.items())


def shapes_like(model: Model, shape: Shape) -> dict[str, Shape]:
    """Free sizes of B's image as A has them."""
    found = {}
    for name, own in input_sizes(model).items():
        if 0 in own and len(own) == len(shape):
            last = len(own) == 4 and own[3] not in (0, shape[3]) and own[3] == shape[1]
            like = (shape[0], *shape[2:], shape[1]) if last else shape
            found[name] = tuple(o or s for o, s in zip(own, like, strict=True))
    return found
