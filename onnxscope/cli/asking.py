"""One question put to a model on the command line: what it is opened with, and how its answer is written and shown."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.ask import opening
from onnxscope.ask.explain import Explainer
from onnxscope.ask.interpreter import LinearInterpreter, OpenModel
from onnxscope.errors import BadOption
from onnxscope.files import models, pictures
from onnxscope.files.models import Model, check_target
from onnxscope.files.pixels import Pixel, channels_axis, channels_last, is_picture
from onnxscope.linear.svd.decompose import Triplets
from onnxscope.rewriting.scope import Scope, is_scope
from onnxscope.run.verify import Report, verify_scope
from onnxscope.show.sheets import Picture, magnitude, save

RESULTS = (".npz", ".png")
MOST_OUTSIDE = 0.1  # of an output's values beyond what pixels can be, and it is still looked at as a picture in the image's units
WRITTEN = {"filter": (), "tour": (".html",), "ledger": (".png",), "evaluate": ()}  # by other verbs


class Run:
    """A model, opened and frozen for an image when it is first asked."""

    def __init__(
        self,
        verb: str,
        model: Path,
        image: Path,
        preprocess: pictures.Preprocess,
        running: dict[str, Any],
        options: dict[str, Any],
        out: Path | None,
        as_json: bool,
    ) -> None:
        self.verb, self.model, self.as_json = verb, model, as_json
        self._file, self._preprocess, self._running, self._options, self._out = (
            image,
            preprocess,
            running,
            options,
            out,
        )
        self._began = time.perf_counter()
        for suffix in WRITTEN.get(verb, RESULTS):  # known to be good before anything is computed
            check_target(self.target(suffix), self.sources)

    @cached_property
    def opened(self) -> OpenModel:
        return self._open(self.scope())

    def scope(self) -> Scope:
        """The model rewritten, or the scope that it is."""
        loaded = models.load(self.model)
        shapes = self._options["input_shapes"]
        if not is_scope(loaded):
            shapes = {
                **free_sizes(loaded, self._options["image"], self._file, self._preprocess.layout),
                **shapes,
            }
        return opening.opened(loaded, **{**self._options, "input_shapes": shapes})

    def _open(self, scope: Scope) -> OpenModel:
        return opening.load(scope, layout=self._preprocess.layout, **self._running)

    @property
    def takes_image(self) -> bool:
        """Whether the image is what the model is fed with, not a tensor inside it."""
        return bool(self.opened.engine.image_input.name == self.opened.engine.scope.image)

    def explainer(self, layer: str = "") -> Explainer:
        """The model for all methods, on the same device."""
        return Explainer(self.scope(), layer=layer, layout=self._preprocess.layout, **self._running)

    def at(self, image: Path) -> Run:
        """The same, put to another image."""
        return Run(
            self.verb,
            self.model,
            image,
            self._preprocess,
            self._running,
            self._options,
            self._out,
            self.as_json,
        )

    @property
    def folder(self) -> Path:
        """Where the question is put to a folder of images."""
        return self._file

    def read(self, file: Path) -> np.ndarray:
        """A file as the model's image."""
        return pictures.read(file, self._shape, self._preprocess)

    def read_mask(self, file: Path) -> np.ndarray:
        """Rows × columns of a picture, fitted as the image is: true where it is bright."""
        size = channels_last(np.empty(self._shape), self._preprocess.layout).shape[:2]
        order = pictures.Preprocess(layout="nchw", fit=self._preprocess.fit)
        return np.asarray(pictures.read(file, (1, 1, *size), order)[0, 0] > 0.5)

    @property
    def level(self) -> np.ndarray:
        """What one of a picture's 255 levels is to the model, for each channel."""
        settled = self._preprocess.settled(self._shape)
        wide = [1] * len(self._shape)
        wide[channels_axis(self._shape, settled.layout)] = -1
        return np.asarray(settled.scale / np.array(settled.std), np.float32).reshape(wide)

    def prove(self) -> Report:
        """All proofs for this image; what is asked afterwards is asked of what was proved."""
        scope = self.scope()
        self.opened = self._open(scope)
        given = self.read(self._file)
        return verify_scope(scope, image=given if self.takes_image else None)

    @cached_property
    def x(self) -> LinearInterpreter:
        return self.opened.freeze(self.read(self._file))

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of what is given as the image."""
        return tuple(self.opened.engine.image_input.shape)

    def probe(self, file: Path | None, back: bool) -> np.ndarray:
        """What is to be carried: the image or its output, unless a file is named."""
        like = self.x.output if back else self.x.image
        if file is None:
            return like
        return (
            pictures.read_array(file, like.shape)
            if back
            else pictures.read(file, like.shape, self._preprocess)
        )

    def earlier(self, file: Path) -> Triplets:
        """The triplets of a saved result."""
        try:
            with np.load(file, allow_pickle=False) as saved:
                return Triplets(saved["sigma"], saved["u"], saved["v"], saved["residuals"])
        except Exception as error:  # of damaged files NumPy raises what its parsers raise
            raise BadOption(
                "is no result of 'onnxscope svd'", where=f"--start '{file}'", remedy="name its .npz file"
            ) from error

    # what is shown

    def image(self, mark: Pixel | None = None) -> Picture:
        return self.natural(self.x.image, "image", mark)

    def output(self, mark: Pixel | None = None) -> Picture:
        return self.natural(self.x.output, "output", mark)

    def natural(self, array: np.ndarray, label: str, mark: Pixel | None = None) -> Picture:
        """As it would be looked at, where it has the image's channels; else around grey, with a scale of its own."""
        if (
            self._settled
            and is_picture(array.shape)
            and array.shape[channels_axis(array.shape, self.x.layout)] == len(self._settled.mean)
        ):
            return replace(displayed(pictures.unrounded_pixels(array, self._settled) / 255, label), mark=mark)
        return replace(self._around_grey(array, label, magnitude(array) or None), mark=mark)

    @cached_property
    def _settled(self) -> pictures.Preprocess | None:
        """The preprocessing with nothing left open, where the image is what a picture file was made into."""
        shape = self.x.image.shape
        if (
            shape != self._shape
            or not is_picture(shape)
            or shape[channels_axis(shape, self.x.layout)] not in pictures.MODES
        ):
            return None
        return self._preprocess.settled(shape)

    def beside_image(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        """What has the image's shape, around grey; the pictures of a sheet share a scale unless they have one of their own."""
        return self._around_grey(array.reshape(self.x.image.shape), label, scale)

    def beside_output(self, array: np.ndarray, label: str, scale: float | None = None) -> Picture:
        return self._around_grey(array.reshape(self.x.output.shape), label, scale)

    def _around_grey(self, array: np.ndarray, label: str, scale: float | None) -> Picture:
        order = self._settled or replace(self._preprocess, layout=self.x.layout)
        return Picture(pictures.colours_last(array, order), label, scale=scale)

    def close_up(self, picture: Picture, seen: float = 1e-3) -> list[Picture]:
        """The picture and, where only a small part of it holds all that exceeds this share of the largest magnitude, that part."""
        if picture.vector:
            return [picture]
        top, bottom, left, right = extent(picture.values, seen)
        height, width = picture.values.shape[:2]
        if 2 * (bottom - top) > height or 2 * (right - left) > width:
            return [picture]
        label = f"its rows {top} to {bottom - 1}, columns {left} to {right - 1}"
        return [picture, replace(picture, values=picture.values[top:bottom, left:right], label=label)]

    # what is written

    @property
    def sources(self) -> list[Path]:
        """What no result may replace."""
        return [self.model, self._file]

    def target(self, *suffixes: str) -> Path:
        """OUT, or MODEL.VERB, with the first of these suffixes unless it has one of them."""
        if self._out is None:
            return self.model.with_name(f"{self.model.stem}.{self.verb}{suffixes[0]}")
        if self._out.suffix.lower() in suffixes:
            return self._out
        named = self._out.with_suffix("") if self._out.suffix.lower() in RESULTS else self._out
        return named.with_name(named.name + suffixes[0])

    def write(
        self, arrays: Mapping[str, Any], pictures: Sequence[Sequence[Picture]], facts: Mapping[str, Any]
    ) -> list[Path]:
        """The arrays with all that it takes to repeat the run, and the picture."""
        table, picture = (check_target(self.target(suffix), self.sources) for suffix in RESULTS)
        about = {"verb": self.verb, **self.identity(), **self.facts(), **facts}
        file = io.BytesIO()
        np.savez_compressed(
            file, image=self.x.image, output=self.x.output, about=np.array(json.dumps(about)), **arrays
        )
        models.write({table: iter([file.getvalue()])}, table)
        return [table, save(picture, pictures, f"{self.model.name}, {self._file.name}: {self.verb}")]

    def write_chart(self, png: bytes) -> Path:
        target = check_target(self.target(".png"), self.sources)
        models.write({target: iter([png])}, target)
        return target

    def identity(self) -> dict[str, Any]:
        """What the answer depends on: model, image, preprocessing, and what was chosen."""
        return {
            **self.x.identity(),
            "model": self.model.name,
            "file": self._file.name,
            "file_sha256": hashlib.sha256(self._file.read_bytes()).hexdigest(),
            "opaque": list(self._options["opaque"]),
            "sizes": {t.name: list(t.shape) for t in self.opened.engine.inputs},
            "preprocessing": (self._settled or self._preprocess).as_dict(),
        }

    def facts(self) -> dict[str, Any]:
        """How it went."""
        about = self.x.about()
        return {key: about[key] for key in ("device", "precision", "left_to_cpu", "notes")} | {
            "seconds": round(time.perf_counter() - self._began, 3)
        }


def displayed(values: np.ndarray, label: str) -> Picture:
    """Values of 0…1 as they are; where many lie outside, and so have other units, between their own extremes, as the label says."""
    low, high = float(values.min()), float(values.max())
    if np.mean((values < 0) | (values > 1)) <= MOST_OUTSIDE:
        return Picture(values, label, natural=True)
    said = f"{label} (black = {low:.3g}, white = {high:.3g} times the image's white)".lstrip()
    return Picture((values - low) / (high - low or 1.0), said, natural=True)


def extent(values: np.ndarray, least: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what exceeds this share of the largest magnitude, the second and fourth being outside."""
    seen = np.abs(values).max(axis=2) > least * magnitude(values)
    if not seen.any():
        return 0, values.shape[0], 0, values.shape[1]
    (top, *_, bottom), (left, *_, right) = ((*np.flatnonzero(seen.any(axis=axis)),) * 2 for axis in (1, 0))
    return int(top), int(bottom) + 1, int(left), int(right) + 1


def free_sizes(model: Model, name: str | None, file: Path, layout: str) -> dict[str, tuple[int, ...]]:
    """The sizes that the picture settles of an image input whose height and width are free."""
    constants = {t.name for t in model.proto.graph.initializer}
    shapes = {
        i.name: [d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in model.proto.graph.input
        if i.name not in constants
    }
    open_ = {
        n: [1, *s[1:]]
        for n, s in shapes.items()
        if len(s) == 4 and s[0] in (0, 1) and 0 in s[1:] and n in (name, n)
    }
    if len(open_) != 1:
        return {}
    ((found, shape),) = open_.items()
    channels = channels_axis(shape, layout)
    sizes = iter(pictures.picture_size(file, layout))
    filled = [
        size if axis in (0, channels) else next(sizes) if size == 0 else (next(sizes), size)[1]
        for axis, size in enumerate(shape)
    ]
    return {found: tuple(filled)} if shape[channels] else {}
