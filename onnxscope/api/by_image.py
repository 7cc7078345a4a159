"""Models with parts that depend on values: each image decides them, and the model is rewritten for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.api.choices import Given
from onnxscope.api.model import LinearInterpreter, OpenModel
from onnxscope.api.sizes import Sizes, sizes_for
from onnxscope.ask import presets
from onnxscope.ask.presets import Preset
from onnxscope.errors import OtherDecision, Undecided
from onnxscope.files import clips, pictures
from onnxscope.files.models import Model
from onnxscope.rewriting.any_size import build_for_all_sizes
from onnxscope.rewriting.build import build, image_input, survey
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import Scope, is_scope
from onnxscope.rewriting.sizes import free_input
from onnxscope.run.engine import Running
from onnxscope.run.feeds import feeds

Feeds: TypeAlias = dict[str, np.ndarray]


def resolved(
    graph: gs.Graph, image: str, original: Model | None, chosen: Preset, picture: Path | None
) -> Preset:
    """The preset that is given, or the one that is found with a picture, or without one in the file."""
    if chosen.name != presets.AUTO:
        return chosen
    pixels = presets.picture_input(graph, image)
    if pixels is None:
        return presets.undecided("the image is computed from several inputs", chosen.preprocess)
    network = presets.Network(graph, pixels, presets.metadata_of(original), chosen.preprocess)
    return presets.for_picture(network, None if picture is None or pictures.is_array(picture) else picture)


def free_name(model: Model, options: Options) -> str:
    """The input whose height or width a model leaves free and the options do not give; '' where none is."""
    found = None if is_scope(model) or options.free_size else free_input(model)
    return found[0] if found and found[0] not in options.shapes else ""


def refuse_free_sizes(model: Model, options: Options) -> None:
    """Raise an error where a model must wait for the size of an image."""
    if name := free_name(model, options):
        raise Undecided(
            "its height and width are free",
            where=f"input '{name}'",
            remedy="freeze an image first, or give input_shapes",
        )


@dataclass(frozen=True)
class Deciding:
    """A model with parts that depend on values, and the choices about its rewrite."""

    model: Model
    options: Options

    def sized(self, image: Given | Path, layout: str) -> Deciding:
        """The same, with free sizes taken from the first image."""
        name, shapes = free_name(self.model, self.options), self.options.shapes
        if not name:
            return self
        if isinstance(image, Path):
            taken = sizes_for(self.model, image, self.options, layout).shapes
        else:
            shape = np.shape(image[name] if isinstance(image, Mapping) else image)
            taken = {name: shape if len(shape) == 4 else (1, *shape)}
        return replace(self, options=replace(self.options, shapes={**taken, **shapes}))

    def feeds(self, given: Given) -> Feeds:
        """The values of all inputs for an image."""
        inputs, image = image_input(self.model, self.options)
        return feeds(inputs, given if isinstance(given, Mapping) else {image.name: given})

    def scope(self, given: Given) -> Scope:
        """The scope of the model, specialised on an image."""
        return build(self.model, self.options, self.feeds(given))

    def read(self, picture: Path, chosen: Preset) -> np.ndarray:
        """A file as the model's image.

        The preset `auto` is found in the model that is specialised on the picture as the file alone tells it.
        """
        inputs, image = image_input(self.model, self.options)
        if chosen.name == presets.AUTO and not pictures.is_array(picture):
            first = resolved(gs.Graph(inputs=inputs), image.name, self.model, chosen, None)
            values = pictures.read(picture, tuple(image.shape), first.preprocess)
            found = survey(self.model, self.options, self.feeds(values))
            chosen = resolved(found.base, found.x.name, self.model, chosen, picture)
        return clips.read(picture, tuple(image.shape), chosen.preprocess)


def decided(
    model: Model, options: Options, preset: Preset, image: Given | Path | None
) -> tuple[Scope, Feeds | None]:
    """The scope of a model, and the values of its inputs that decided it, if it had to be decided.

    Free sizes are taken from a picture.
    """
    if options.free_size:
        return build_for_all_sizes(model, options), None
    fitted = Sizes()
    if isinstance(image, Path):
        fitted = sizes_for(model, image, options, preset.preprocess.layout)
        options = replace(options, shapes={**fitted.shapes, **options.shapes})
    feeds = None
    try:
        scope = build(model, options)
    except Undecided:
        if image is None:
            raise
        deciding = Deciding(model, options)
        feeds = deciding.feeds(deciding.read(image, preset) if isinstance(image, Path) else image)
        scope = build(model, options, feeds)
    return replace(scope, notes=[*scope.notes, *filter(None, [fitted.note])]), feeds


class OpenByImage(OpenModel):
    """A model that is rewritten when the first image decides what depends on values.

    It is rewritten anew for an image that decides otherwise.
    """

    def __init__(
        self,
        deciding: Deciding,
        undecided: Undecided,
        running: Running,
        preset: Preset,
        labels: Sequence[str] = (),
        task: str = "",
    ) -> None:
        self._deciding, self._undecided, self._is_open = deciding, undecided, False
        self._other: OpenModel | None = None  # the model as another image decides it
        self.running, self._preset, self.labels, self._task = running, preset, list(labels), task

    def __getattr__(self, name: str) -> NoReturn:
        """What there is only after the first image."""
        raise self._undecided if name in ("scope", "engine", "layout") else AttributeError(name)

    def __repr__(self) -> str:
        return (
            super().__repr__() if self._is_open else f"OpenModel(waits for an image: {self._undecided.cause})"
        )

    def prepare(self, image: Given | str | Path) -> None:
        """Open the model for an image, if it is the first one."""
        if not self._is_open:
            image = Path(image) if isinstance(image, str) else image
            self._deciding = self._deciding.sized(image, self._preset.preprocess.layout)
            if isinstance(image, Path):
                image = self._deciding.read(image, self._preset)
            super().__init__(*self._opened_for(image))
            self._is_open = True

    def _opened_for(self, image: Given) -> tuple[Scope, Running, Preset, list[str], str]:
        return self._deciding.scope(image), self.running, self._preset, self.labels, self._task

    def freeze(self, image: Given | str | Path) -> LinearInterpreter:
        """The linear interpreter of an image, as its own values decide; see OpenModel."""
        self.prepare(image)
        given = self.read(Path(image)) if isinstance(image, (str, Path)) else image
        with suppress(OtherDecision):
            return super().freeze(given)
        if self._other is not None:
            with suppress(OtherDecision):
                return self._other.freeze(given)
        self._other = OpenModel(*self._opened_for(given))
        return self._other.freeze(given)
