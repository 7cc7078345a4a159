"""Two exports of one network, opened beside each other for any number of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxscope.api.by_image import OpenByImage
from onnxscope.api.further import further_inputs
from onnxscope.api.model import OpenModel
from onnxscope.api.opening import ModelSource, load, loaded_original
from onnxscope.ask.presets import Preset
from onnxscope.ask.questions import Reader
from onnxscope.ask.tasks import task_of
from onnxscope.errors import BadModel, BadOption, shape_text
from onnxscope.files.models import Model
from onnxscope.files.preprocessing import Preprocess
from onnxscope.pairing.images import Carried
from onnxscope.pairing.layouts import Layout, of_image
from onnxscope.pairing.pair import Both, Pair
from onnxscope.pairing.sides import Side, side
from onnxscope.rewriting.build import image_input
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.sizes import input_sizes
from onnxscope.run.feeds import feeds

Shape = tuple[int, ...]
Arrays = dict[str, np.ndarray]
Image = np.ndarray | Mapping[str, np.ndarray] | str | Path
LEAST_MATCHED = 0.5  # of the layers with weights: below it the networks are not the same one
REMEDY = "compare two exports of one network"


@dataclass(frozen=True)
class Reading:
    """How images are read, and what is known of the models."""

    further: Sequence[str] = ()
    labels: Sequence[str] = ()
    preset: str | Preprocess | Preset | None = None
    options: Options | None = None
    given: Mapping[str, str] | None = None  # nodes of A with the nodes of B that compute the same


class TwoModels:
    """A and B, matched on a first image."""

    def __init__(self, a: ModelSource, b: ModelSource, reading: Reading) -> None:
        self.ours, self.theirs, self.reading = loaded_original(a), loaded_original(b), reading
        options = reading.options or Options()
        shapes = {**fixed_by(self.ours, self.theirs), **options.shapes}
        self.options = replace(options, shapes=shapes)
        self.opened = self.opened_a()
        self.notes: list[str] = []
        self._pair: Pair | None = None
        self._b: OpenModel | None = None  # where it wants numbers of another type

    def opened_a(self) -> OpenModel:
        reading = self.reading
        return load(
            self.ours, labels=reading.labels, preset=reading.preset, device="cpu", options=self.options
        )

    @property
    def pair(self) -> Pair:
        assert self._pair is not None  # `at` comes first
        return self._pair

    def at(self, image: Image, fed_a: Arrays) -> Both:
        """Both networks for an image, for which A is fed so. They are matched on the first one.

        Where values decide parts of a network, they are matched anew on each.
        """
        if self._pair is None:
            self.match(image, fed_a)
        elif self.opened.scope.decided or self.pair.b.decided:
            self.opened = self.opened_a()
            self.match(image, self.fed(image))
        return self.pair.at(fed_a, self.fed_b(image, fed_a))

    def match(self, image: Image, fed_a: Arrays) -> None:
        ours = side(self.ours, replace(self.options, shapes=shapes_of_arrays(fed_a)), fed_a)
        self._inputs = self.inputs_like(fed_a[self.image_name].shape)
        plain = Carried()
        fed = self.fed_b(image, fed_a, plain)
        theirs = side(self.theirs, Options(shapes=shapes_of_arrays(fed)), fed)
        ours, theirs, self.output_of_b = with_ends(ours, theirs)
        self._carried = plain.nearer(ours, theirs, fed_a, fed)
        self.notes = list(filter(None, [self._carried.note]))
        layout = of_image(theirs.image_shape, ours.image_shape)
        if layout is None:
            layout = Layout(theirs.image_shape).reshaped(ours.image_shape)
        fed = self.fed_b(image, fed_a)
        self._pair = Pair(ours, theirs, (fed_a, fed), layout, self.reading.given, self.output)
        count, every = self.pair.shares.weighted_matches()
        if count < LEAST_MATCHED * every:
            self._pair = None
            raise BadOption(
                f"nothing in common: {count} of {every} layers match", where="diff", remedy=REMEDY
            )

    @property
    def output(self) -> str | None:
        """The tensor that is compared, if one was chosen."""
        return self.opened.scope.output if self.options.output else None

    @property
    def scaled(self) -> bool:
        """Whether only one of the two scales the image inside, so that they are given other numbers."""
        return bool(self._carried.note)

    # images

    @property
    def takes_clips(self) -> bool:
        """Whether A takes clips or volumes, for which a folder of pictures is one image."""
        return any(len(sizes) > 4 for sizes in input_sizes(self.ours).values())

    @property
    def image_name(self) -> str:
        return str(self.opened.engine.image_input.name)

    def fed(self, image: Image) -> Arrays:
        """The values of A's inputs, with those of further inputs as users write them."""
        if isinstance(self.opened, OpenByImage):
            self.opened.prepare(image)
        engine = self.opened.engine
        if isinstance(image, Mapping):
            if self.reading.further:
                cause, remedy = "values are given twice", "give all inputs by the mapping, or none"
                raise BadOption(cause, where="further", remedy=remedy)
            return engine.feeds(image)
        read = self.opened.read(Path(image)) if isinstance(image, (str, Path)) else image
        shapes = {t.name: tuple(t.shape) for t in engine.inputs}
        return engine.feeds(
            {self.image_name: read, **further_inputs(self.reading.further, shapes, self.opened.preprocess)}
        )

    def inputs_like(self, shape: Shape) -> tuple[dict[str, Shape], str]:
        """The shapes of B's inputs for an image of this shape in A, and which of them is the image."""
        free = {**shapes_like(self.theirs, shape), **self.options.shapes}
        known = {t.name for t in self.theirs.proto.graph.input}
        shapes = {n: s for n, s in free.items() if n in known}
        name = self.options.image if self.options.image in known else None
        inputs, wanted = image_input(self.theirs, Options(shapes=shapes, image=name))
        self._kinds = {t.name: np.dtype(t.dtype) for t in inputs}
        self._tensors = inputs
        return {t.name: tuple(t.shape) for t in inputs}, str(wanted.name)

    def fed_b(self, image: Image, fed_a: Arrays, carried: Carried | None = None) -> Arrays:
        """The same numbers for B, or, if it wants numbers of another type, the same picture."""
        shapes, name = self._inputs
        ours = fed_a[self.image_name]
        if self._kinds[name].kind == ours.dtype.kind:
            layout = of_image(shapes[name], ours.shape)
            if layout is None:
                sizes = f"{shape_text(ours.shape)} in A and {shape_text(shapes[name])} in B"
                raise BadOption(f"the image is {sizes}", where="diff", remedy="give both the same size")
            given = (carried or self._carried).to_b(layout.inverse.of(ours))
        elif isinstance(image, (str, Path)):
            given = self.b_reads(Path(image), shapes)
        else:
            wants = f"it wants {self._kinds[name]}, and A {ours.dtype}"
            raise BadOption(wants, where="diff", remedy="give a picture as a file")
        others = {n: v for n, v in fed_a.items() if n != self.image_name and shapes.get(n) == v.shape}
        return feeds(self._tensors, {name: np.ascontiguousarray(given), **others})

    def b_reads(self, picture: Path, shapes: dict[str, Shape]) -> np.ndarray:
        """A picture as B's image, preprocessed as B wants it."""
        if self._b is None:
            self._b = load(self.theirs, preset=self.reading.preset, device="cpu", input_shapes=shapes)
        if isinstance(self._b, OpenByImage):
            self._b.prepare(picture)
        return self._b.read(picture)

    # questions

    def reader(self, at: Both) -> Reader:
        """Understands questions about an image."""
        arrays = {name: at.a.array(tensor) for name, tensor in self.opened.explained.items()}
        for name, value in arrays.items():
            if not np.isfinite(value).all():
                raise BadModel(
                    "it computes NaN or infinity for this image",
                    where=f"'{name}'",
                    remedy="give an image and a preprocessing that the model was made for",
                )
        fed = {t.name: at.a.array(t.name) for t in self.opened.engine.inputs}
        return self.opened.reader(fed, self.pair.a.image_shape, arrays)


def shapes_of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    return {name: tuple(value.shape) for name, value in arrays.items()}


def with_ends(a: Side, b: Side) -> tuple[Side, Side, dict[str, str]]:
    """Both sides with their explained tensors, and which outputs belong together.

    Those of one name do, others in order.
    """
    ours, theirs = explained(a), explained(b)
    rest = [n for n in theirs if n not in ours]
    pairs = [(n, n if n in theirs else rest.pop(0) if rest else "") for n in ours]
    pairs = [(n, m) for n, m in pairs if m and numbers(a, ours[n]) == numbers(b, theirs[m])]
    if not pairs:
        sizes = f"{sizes_of(a, ours)} in A and {sizes_of(b, theirs)} in B"
        raise BadOption(f"no outputs are of one size: {sizes}", where="diff", remedy=REMEDY)
    return a.ending_at([ours[n] for n, _ in pairs]), b.ending_at([theirs[m] for _, m in pairs]), dict(pairs)


def explained(side: Side) -> dict[str, str]:
    """The tensor that explains each output, by the output's name."""
    return {o.name: o.explained for o in task_of(side.b, side.x).outputs if o.explained}


def numbers(side: Side, tensor: str) -> int:
    return math.prod(side.shape_of(tensor))


def sizes_of(side: Side, outputs: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}' is {shape_text(side.shape_of(t))}" for name, t in outputs.items())


def fixed_by(ours: Model, theirs: Model) -> dict[str, Shape]:
    """Free sizes of A's image as B fixes them."""
    fixed = [tuple(s) for s in input_sizes(theirs).values() if len(s) > 2 and 0 not in s]
    return shapes_like(ours, fixed[0]) if fixed else {}


def shapes_like(model: Model, shape: Shape) -> dict[str, Shape]:
    """Free sizes of B's image as A has them."""
    found = {}
    for name, own in input_sizes(model).items():
        if 0 in own and len(own) == len(shape):
            last = len(own) == 4 and own[3] not in (0, shape[3]) and own[3] == shape[1]
            like = (shape[0], *shape[2:], shape[1]) if last else shape
            found[name] = tuple(o or s for o, s in zip(own, like, strict=True))
    return found
