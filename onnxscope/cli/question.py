"""A question on the command line: it opens the model, freezes the image, and writes the answer."""

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

from onnxscope.api.by_image import OpenByImage
from onnxscope.api.further import further_inputs
from onnxscope.api.model import Answer, LinearInterpreter, OpenModel
from onnxscope.api.opening import open_model
from onnxscope.api.sizes import SIDE, sizes_for
from onnxscope.ask.asked import OPTION
from onnxscope.ask.scores import read_labels
from onnxscope.cli.options import Asked
from onnxscope.errors import BadModel, BadOption
from onnxscope.files import models, numbers, pictures
from onnxscope.files.folders import pictures_in
from onnxscope.files.models import check_target
from onnxscope.files.pixels import channels_last
from onnxscope.files.preprocessing import Preprocess
from onnxscope.linear.svd.decompose import Triplets
from onnxscope.rewriting.sizes import input_sizes
from onnxscope.show.sheets import Rows, png, sheet
from onnxscope.show.views import Views

RESULTS = (".npz", ".png")  # what most verbs write
# What other verbs write. Where it is empty, it depends on an option, and the verb itself checks its files.
TOUR, TOUR_SIDE = "tour", 512  # the longest side of a picture in a tour, which makes many passes
WRITTEN = {"filter": (), TOUR: (".html",), "ledger": (".png",), "evaluate": ()}


class Question:
    """A model and an image with the options about them. The model is opened when it is first needed."""

    def __init__(self, verb: str, asked: Asked, opened: OpenModel | None = None) -> None:
        self.verb, self.asked, self.as_json = verb, asked, asked.as_json
        self.model, self.file = asked.model, asked.image
        self.preset, self.running = asked.pictures.chosen(), asked.machine.running()
        self.options = asked.rewriting.options()
        self._opened = opened
        self._began = time.perf_counter()
        if len(asked.ask or ()) > 1 and verb != TOUR:
            raise BadOption(
                f"'{verb}' answers one question at a time",
                where=OPTION,
                remedy=f"ask only one, or several in '{TOUR}'",
            )
        for suffix in WRITTEN.get(verb, RESULTS):  # fail before anything is computed
            check_target(self.target(suffix), self.sources)

    def at(self, image: Path) -> Question:
        """The same question about another image; the model is not opened again."""
        return Question(self.verb, replace(self.asked, image=image), self._opened)

    @property
    def opened(self) -> OpenModel:
        """The model, opened: rewritten if it is not a scope already."""
        if self._opened is None:
            loaded, options = models.load(self.model), self.options
            side = self.asked.max_side or (TOUR_SIDE if self.verb == TOUR else SIDE)
            sizes = sizes_for(loaded, self.file, options, self.preset.preprocess.layout, side)
            options = replace(options, shapes={**sizes.shapes, **options.shapes})
            labels = read_labels(self.asked.labels)
            self._opened = open_model(loaded, options, self.running, self.preset, labels, self.asked.task)
            if isinstance(self._opened, OpenByImage):
                self._opened.prepare(self.file)
            if sizes.note:
                self._opened.engine.notes.append(sizes.note)
        return self._opened

    @cached_property
    def x(self) -> LinearInterpreter:
        """The linear interpreter of the image, or of what is asked about it."""
        found = self.opened.freeze(self.given)
        if not (found.image.size and found.output.size):
            raise BadModel(
                "the image or the explained output has no elements",
                where=f"'{self.opened.scope.output}'",
                remedy="name another tensor with --output, or give other sizes",
            )
        return found.ask(*self.asked.ask) if self.asked.ask and self.verb != TOUR else found

    @property
    def is_folder_of_images(self) -> bool:
        """Whether the question is about each picture of a folder, which to a model of clips is one image."""
        of_clips = any(len(shape) == 5 for shape in input_sizes(models.load(self.model)).values())
        return self.file.is_dir() and not of_clips

    @property
    def given(self) -> Path | dict[str, np.ndarray]:
        """The image's file, or the values of all inputs that are given."""
        if not self.asked.inputs:
            return self.file
        engine, read = self.opened.engine, self.opened.read(self.file)
        shapes = {t.name: tuple(t.shape) for t in engine.inputs}
        further = further_inputs(self.asked.inputs, shapes, self.preprocess)
        return {engine.image_input.name: read, **further}

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of pictures; `auto` is resolved when the first picture is read."""
        return self.opened.preprocess

    @property
    def views(self) -> Views:
        return self.x.views

    def read(self, file: Path) -> np.ndarray:
        """A file as the model's image."""
        return self.opened.read(file)

    def read_mask(self, file: Path) -> np.ndarray:
        """A picture as rows × columns, fitted like the image: True where it is bright."""
        size = channels_last(np.empty(self.opened.image_shape), self.preprocess.layout).shape[:2]
        order = Preprocess(layout="nchw", fit=self.preprocess.fit)
        return np.asarray(pictures.read(file, (1, 1, *size), order)[0, 0] > 0.5)

    @property
    def level(self) -> np.ndarray:
        """How much the model's values change by one of a picture's 255 levels, for each channel."""
        return self.preprocess.level(self.opened.image_shape)

    def probe(self, file: Path | None, back: bool) -> np.ndarray:
        """What is to be carried by F, or back by Fᵀ: a file, or else the image, or its output."""
        like = self.x.output if back else self.x.image
        if file is None:
            return like
        if back:
            return pictures.read_array(file, like.shape)
        return pictures.read(file, like.shape, self.preprocess)

    # what is written

    @property
    def sources(self) -> list[Path]:
        """The files that no result may overwrite."""
        return [self.model, self.file]

    def target(self, *suffixes: str) -> Path:
        """The file to write: OUT if it has one of these suffixes, or OUT or MODEL.VERB with the first one."""
        out = self.asked.out
        if out is None:
            return self.model.with_name(f"{self.model.stem}.{self.verb}{suffixes[0]}")
        if out.suffix.lower() in suffixes:
            return out
        named = out.with_suffix("") if out.suffix.lower() in RESULTS else out
        return named.with_name(named.name + suffixes[0])

    def write(self, arrays: Mapping[str, Any], rows: Rows, facts: Mapping[str, Any]) -> list[Path]:
        """Write the arrays, with all that is needed to repeat the run, and their pictures on one sheet."""
        table, picture = (check_target(self.target(suffix), self.sources) for suffix in RESULTS)
        about = {"verb": self.verb, **self.identity(), **self.facts(), **facts}
        file = io.BytesIO()
        np.savez_compressed(
            file, image=self.x.image, output=self.x.output, about=np.array(json.dumps(about)), **arrays
        )
        drawn = png(sheet(rows, f"{self.model.name}, {self.file.name}: {self.verb}"))
        models.write({table: iter([file.getvalue()]), picture: iter([drawn])}, table)
        return [table, picture]

    def write_chart(self, png: bytes) -> Path:
        """Write a chart to OUT.png."""
        target = check_target(self.target(".png"), self.sources)
        models.write({target: iter([png])}, target)
        return target

    def identity(self) -> dict[str, Any]:
        """What the answer depends on: the model, the image, the preprocessing and the other options."""
        files = pictures_in(self.file) if self.file.is_dir() else [self.file]
        return {
            **self.x.identity(),
            "model": self.model.name,
            "file": self.file.name,
            "file_sha256": hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest(),
            "opaque": list(self.asked.rewriting.opaque or ()),
            "sizes": {t.name: list(t.shape) for t in self.opened.engine.inputs},
            "preprocessing": (self.views.settled or self.preprocess).as_dict(),
        }

    def facts(self) -> dict[str, Any]:
        """How the answer was computed, and the time since the question was asked."""
        about = self.x.about()
        return {
            "task": self.opened.task,
            **(self.x.about_question() if isinstance(self.x, Answer) else {}),
            **{key: about[key] for key in ("device", "precision", "left_to_cpu", "notes")},
            "preset": self.opened.preset.to_dict(),
            "seconds": round(time.perf_counter() - self._began, 3),
        }


def saved_triplets(file: Path) -> Triplets:
    """The singular triplets in a file that `onnxscope svd` wrote."""
    try:
        return Triplets(*numbers.read_npz(file, ("sigma", "u", "v", "residuals")))
    except Exception as error:  # for damaged files NumPy raises whatever its parsers raise
        raise BadOption(
            "is not a result of 'onnxscope svd'",
            where=f"--start '{file}'",
            remedy="name the .npz file that it wrote",
        ) from error
