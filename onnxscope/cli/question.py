"""One question on the command line: the model opened, the image frozen, and where the answer is written."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.api.model import LinearInterpreter, OpenModel
from onnxscope.api.opening import opened
from onnxscope.ask.scores import read_labels
from onnxscope.cli.options import Asked
from onnxscope.errors import BadOption
from onnxscope.files import models, pictures
from onnxscope.files.models import Model, check_target
from onnxscope.files.pixels import channels_axis, channels_last
from onnxscope.files.preprocessing import Preprocess
from onnxscope.linear.svd.decompose import Triplets
from onnxscope.rewriting.scope import is_scope
from onnxscope.show.sheets import Rows, save
from onnxscope.show.views import Views

RESULTS = (".npz", ".png")
WRITTEN = {"filter": (), "tour": (".html",), "ledger": (".png",), "evaluate": ()}  # by other verbs


class Question:
    """A model, opened and frozen for an image when its answer is first needed."""

    def __init__(
        self, verb: str, asked: Asked, labels: Path | None = None, opened: OpenModel | None = None
    ) -> None:
        self.verb, self.asked, self.as_json = verb, asked, asked.as_json
        self.model, self.file = asked.model, asked.image
        self.preprocess, self.running = asked.pictures.preprocess(), asked.machine.running()
        self.options = asked.rewriting.options()
        self._labels, self._opened = labels, opened
        self._began = time.perf_counter()
        for suffix in WRITTEN.get(verb, RESULTS):  # known to be good before anything is computed
            check_target(self.target(suffix), self.sources)

    def at(self, image: Path) -> Question:
        """The same put to another image, of the model that is opened already."""
        return Question(self.verb, replace(self.asked, image=image), self._labels, self._opened)

    @property
    def opened(self) -> OpenModel:
        """The model, rewritten, or the scope that it is."""
        if self._opened is None:
            loaded, options = models.load(self.model), self.options
            if not is_scope(loaded):
                settled = free_sizes(loaded, self.file, self.preprocess.layout)
                options = replace(options, shapes={**settled, **options.shapes})
            scope = opened(loaded, options=options)
            self._opened = OpenModel(scope, self.running, self.preprocess, read_labels(self._labels))
        return self._opened

    @cached_property
    def x(self) -> LinearInterpreter:
        return self.opened.freeze(self.file)

    @property
    def views(self) -> Views:
        return self.x.views

    def read(self, file: Path) -> np.ndarray:
        """A file as the model's image."""
        return self.opened.read(file)

    def read_mask(self, file: Path) -> np.ndarray:
        """Rows × columns of a picture, fitted as the image is: true where it is bright."""
        size = channels_last(np.empty(self.opened.image_shape), self.preprocess.layout).shape[:2]
        order = Preprocess(layout="nchw", fit=self.preprocess.fit)
        return np.asarray(pictures.read(file, (1, 1, *size), order)[0, 0] > 0.5)

    @property
    def level(self) -> np.ndarray:
        """What one of a picture's 255 levels is to the model, for each channel."""
        return self.preprocess.level(self.opened.image_shape)

    def probe(self, file: Path | None, back: bool) -> np.ndarray:
        """What is to be carried: the image or its output, unless a file is named."""
        like = self.x.output if back else self.x.image
        if file is None:
            return like
        if back:
            return pictures.read_array(file, like.shape)
        return pictures.read(file, like.shape, self.preprocess)

    # what is written

    @property
    def sources(self) -> list[Path]:
        """What no result may replace."""
        return [self.model, self.file]

    def target(self, *suffixes: str) -> Path:
        """OUT, or MODEL.VERB, with the first of these suffixes unless it has one of them."""
        out = self.asked.out
        if out is None:
            return self.model.with_name(f"{self.model.stem}.{self.verb}{suffixes[0]}")
        if out.suffix.lower() in suffixes:
            return out
        named = out.with_suffix("") if out.suffix.lower() in RESULTS else out
        return named.with_name(named.name + suffixes[0])

    def write(self, arrays: Mapping[str, Any], rows: Rows, facts: Mapping[str, Any]) -> list[Path]:
        """The arrays with all that it takes to repeat the run, and the picture."""
        table, picture = (check_target(self.target(suffix), self.sources) for suffix in RESULTS)
        about = {"verb": self.verb, **self.identity(), **self.facts(), **facts}
        file = io.BytesIO()
        np.savez_compressed(
            file, image=self.x.image, output=self.x.output, about=np.array(json.dumps(about)), **arrays
        )
        models.write({table: iter([file.getvalue()])}, table)
        return [table, save(picture, rows, f"{self.model.name}, {self.file.name}: {self.verb}")]

    def write_chart(self, png: bytes) -> Path:
        target = check_target(self.target(".png"), self.sources)
        models.write({target: iter([png])}, target)
        return target

    def identity(self) -> dict[str, Any]:
        """What the answer depends on: model, image, preprocessing, and what was chosen."""
        return {
            **self.x.identity(),
            "model": self.model.name,
            "file": self.file.name,
            "file_sha256": hashlib.sha256(self.file.read_bytes()).hexdigest(),
            "opaque": list(self.asked.rewriting.opaque or ()),
            "sizes": {t.name: list(t.shape) for t in self.opened.engine.inputs},
            "preprocessing": (self.views.settled or self.preprocess).as_dict(),
        }

    def facts(self) -> dict[str, Any]:
        """How it went."""
        about = self.x.about()
        return {key: about[key] for key in ("device", "precision", "left_to_cpu", "notes")} | {
            "seconds": round(time.perf_counter() - self._began, 3)
        }


def earlier(file: Path) -> Triplets:
    """The triplets of a saved result."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            return Triplets(saved["sigma"], saved["u"], saved["v"], saved["residuals"])
    except Exception as error:  # of damaged files NumPy raises what its parsers raise
        raise BadOption(
            "is no result of 'onnxscope svd'", where=f"--start '{file}'", remedy="name its .npz file"
        ) from error


def free_sizes(model: Model, file: Path, layout: str) -> dict[str, tuple[int, ...]]:
    """The height and the width, taken from the picture, of the one image input that leaves them free."""
    constants = {t.name for t in model.proto.graph.initializer}
    inputs = [i for i in model.proto.graph.input if i.name not in constants]
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in inputs}
    free = {n: [1, *s[1:]] for n, s in shapes.items() if len(s) == 4 and s[0] in (0, 1) and 0 in s[1:]}
    if len(free) != 1:
        return {}
    ((found, shape),) = free.items()
    channels = channels_axis(shape, layout)
    if not shape[channels]:
        return {}
    space = [axis for axis in range(1, 4) if axis != channels]
    for axis, size in zip(space, pictures.picture_size(file, layout), strict=True):
        shape[axis] = shape[axis] or size
    return {found: tuple(shape)}
