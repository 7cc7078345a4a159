"""The function that compares two exports of one network on one image or on many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from onnxscope.api.compared_images import Images, images_in, missing, named, readable
from onnxscope.api.difference import Difference
from onnxscope.api.difference_page import Origin, drawing, example
from onnxscope.api.linear_difference import LinearDifference, linear_difference
from onnxscope.api.opening import ModelSource
from onnxscope.api.rows import Row, Rows
from onnxscope.api.totals import Totals
from onnxscope.api.two_models import Image, Reading, TwoModels
from onnxscope.ask import tasks
from onnxscope.ask.asked import Asked
from onnxscope.ask.evaluation import probabilities
from onnxscope.ask.presets import Preset
from onnxscope.ask.questions import Reader
from onnxscope.ask.suggested import suggested
from onnxscope.errors import BadModel, BadOption
from onnxscope.files.pixels import channels_last
from onnxscope.files.preprocessing import Preprocess
from onnxscope.pairing.pair import TINY, Both, Sums, weights_in
from onnxscope.pairing.reverting import Reverted
from onnxscope.pairing.shares import Share
from onnxscope.rewriting.build import Place
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.steps import TAYLOR, Policy

DISTANCE = "distance"
AS_A_WHOLE = {tasks.PICTURE, tasks.MAP, tasks.EMBEDDING, tasks.NUMBERS, tasks.POINTS}  # compared by DISTANCE
Others = Callable[[Mapping[str, Path]], Iterator[Row]]  # rows of pictures, by their names


def diff(
    a: ModelSource,
    b: ModelSource,
    image: Images,
    *,
    further: Sequence[str] = (),
    ask: str = "",
    labels: Sequence[str] = (),
    preset: str | Preprocess | Preset | None = None,
    rows: str | Path | None = None,
    options: Options | None = None,
    check: int = 0,
    filters: int = 0,
    given: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    others: Others | None = None,
) -> Difference:
    """Compare two exports of one network, and tell which layers make their outputs differ.

    `image` is a picture's file, an array, a folder of pictures or a sequence of these. Layers are paired by
    what they compute. `ask` is the question whose value is compared: one that `ask` knows, or distance (root
    mean square of the outputs' difference). `further` are the values of other inputs, such as "size=1,2".
    With many images, `rows` is a file that keeps each one's result: a run that was killed goes on there.
    `check` is the number of layers, those that would help most, that are truly put back to A's. `filters` is
    the number of singular triplets by which the linear parts are compared on the first image. `given` are
    nodes of A with the nodes of B that compute the same, where the pairing must be told. `others` computes
    the rows of pictures in other processes.
    """
    models = TwoModels(a, b, Reading(further, labels, preset, options, given))
    comparing, images = Comparing(models, ask), images_in(image, models.takes_clips)
    found = comparing.over(images, rows, progress, others)
    if filters:
        found = replace(found, linear=comparing.linear(images, filters))
    return comparing.checked(found, images, check) if check else found


class Comparing:
    """Asks two models the same question about image after image."""

    def __init__(self, models: TwoModels, ask: str = "") -> None:
        self.models, self.ask = models, ask

    def over(
        self,
        images: Sequence[Image],
        rows: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        others: Others | None = None,
    ) -> Difference:
        """The difference on these images. Of several pictures, those that cannot be read are left out."""
        totals, skipped = Totals(), list[dict[str, str]]()
        with TemporaryDirectory(prefix="onnxscope-") as folder:
            kept = Rows(Path(rows or Path(folder) / "rows"), self.about())
            for row in kept:
                totals.add(row)
            for done, row in enumerate(others(missing(images, totals)) if others else (), 1):
                kept.add(row)
                totals.add(row)
                if progress is not None:
                    progress(done, len(images))
            known = {row.image for row in totals.rows}
            for k, name, image, fed in readable(self.models, images, skipped, known):
                row = self.row(name, self.models.at(image, fed))
                if name not in known:
                    kept.add(row)
                    totals.add(row)
                if progress is not None and len(images) > 1:
                    progress(k, len(images))
        found = self.summed(totals, skipped)
        seen = partial(example, self.models, self.main, totals.rows, dict(named(images)))
        origin = Origin(self.models.ours, self.models.theirs, seen)
        return replace(found, origin=origin, draw=partial(drawing, found.layers, found.asked))

    def about(self) -> dict[str, Any]:
        """What rows are about: those of another comparison are not mixed with them."""
        models, reading = self.models, self.models.reading
        files = {"a": models.ours.sha256, "b": models.theirs.sha256}
        how: dict[str, Any] = {"further": list(reading.further), "preset": str(reading.preset or "")}
        how |= {"options": str(models.options), "map": dict(reading.given or {})}
        return {**files, "ask": self.ask, **how}

    def row(self, name: str, at: Both) -> Row:
        """What is found for one image."""
        pair, reader = self.models.pair, self.models.reader(at)
        asked, sums = self.asked(reader, at)
        found = pair.pays(at, sums, asked.constant)
        same, *noises = pair.agreement(at)
        policy = Policy(TAYLOR) if asked.coordinate else self.models.options.policy
        a, b = self.main(reader, at)
        changed, divergence = decisions(reader, a, b)
        return Row(
            name,
            asked.text,
            asked.words,
            found.value_a,
            found.value_b,
            self.noise(reader, sums, *noises),
            same,
            pair.in_filter(at, sums, policy),
            found.remainder,
            pair.shares.first_wrong(found.shares),
            changed,
            divergence,
            found.shares,
        )

    def noise(self, reader: Reader, sums: Sums, largest: float, mean: float) -> float:
        """The noise of the value, from the largest and the mean one of an element."""
        if self.compares_distance(reader):
            return mean
        return largest * math.sqrt(sum(float(np.square(weights_in(w)).sum()) for w in sums.values()))

    def main(self, reader: Reader, at: Both) -> tuple[np.ndarray, np.ndarray]:
        """The main output in A and in B."""
        pair = self.models.pair
        names = [name for name, _ in pair.ends]
        if reader.tensor not in names:
            raise BadOption(
                f"B has no output of the size of '{reader.output}'",
                where="diff",
                remedy="compare two exports of one network",
            )
        return pair.outputs(at)[names.index(reader.tensor)]

    def asked(self, reader: Reader, at: Both) -> tuple[Asked, Sums]:
        """The question, or the one that suits what the network gives."""
        if self.compares_distance(reader):
            a, b = (np.asarray(x, np.float64).reshape(-1) for x in self.main(reader, at))
            if not a.size:
                raise BadModel(
                    "it has no values to compare",
                    where=f"output '{reader.tensor}'",
                    remedy="check the export",
                )
            length = float(np.linalg.norm(b - a))
            direction = (b - a) / length if length else np.full(a.shape, a.size**-0.5)
            sums = {Place(reader.tensor): direction / math.sqrt(a.size)}
            return Asked(DISTANCE, "the distance of the outputs (root mean square)", {}), sums
        asked = reader.understood(self.ask or suggested(reader)[0])
        return asked, asked.sums

    def checked(self, found: Difference, images: Sequence[Image], count: int) -> Difference:
        """The same, with what putting the layers back that would help most truly changes."""
        names = [entry["a"] for entry in found.would_help[:count]]
        measured, reverted, pair = {name: list[float]() for name in names}, dict[str, Reverted](), None
        for _, _, image, fed in readable(self.models, images):
            at = self.models.at(image, fed)
            if pair is not self.models.pair:  # at first, and where the networks are matched anew
                pair = self.models.pair
                reverted = {n: Reverted(pair, layer) for n, layer in pair.shares.by_name(names).items()}
            reader = self.models.reader(at)
            _, sums = self.asked(reader, at)
            for name, one in reverted.items():
                measured[name].append(self.effect(reader, at, sums, one.outputs(at)))
        means = {name: {"measured": fmean(values)} for name, values in measured.items() if values}
        entries = tuple({**entry, **means.get(entry["a"], {})} for entry in found.would_help)
        return replace(found, would_help=entries)

    def linear(self, images: Sequence[Image], k: int) -> LinearDifference:
        """How the linear parts differ on the first image."""
        _, _, image, fed = next(readable(self.models, images))
        return linear_difference(self.models, fed, self.models.fed_b(image, fed), k)

    def effect(self, reader: Reader, at: Both, sums: Sums, outputs: Sequence[np.ndarray]) -> float:
        """What other outputs of B change of the value, or of its distance from A."""
        pair = self.models.pair
        if self.compares_distance(reader):
            k = [name for name, _ in pair.ends].index(reader.tensor)
            a, b = self.main(reader, at)
            return root_mean_square(outputs[k], a) - root_mean_square(b, a)
        return pair.sum_of(outputs, sums) - pair.value(at, sums)[1]

    def compares_distance(self, reader: Reader) -> bool:
        return self.ask == DISTANCE or (not self.ask and reader.task.name in AS_A_WHOLE)

    def summed(self, totals: Totals, skipped: Sequence[Mapping[str, str]]) -> Difference:
        models, facts = self.models, totals.facts()
        matched, only_a, only_b = models.pair.shares.names_by_match()
        return Difference(
            **facts,
            task=models.opened.task,
            matched=matched,
            only_a=only_a,
            only_b=only_b,
            would_help=would_help(facts["layers"], facts["difference"], facts["question"]),
            skipped=tuple(skipped),
            notes=tuple(models.notes),
            preset=models.opened.preset,
        )


def root_mean_square(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(np.subtract(a, b, dtype=np.float64)).mean()))


def decisions(reader: Reader, a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    """The share of classes that are other ones in B, and how far its probabilities are from A's."""
    if reader.task.name == tasks.SCORES and a.size > 1:
        p, q = (probabilities(np.asarray(x, np.float64).reshape(-1)) for x in (a, b))
        divergence = float((p * (np.log(p + TINY) - np.log(q + TINY))).sum())
        return float(p.argmax() != q.argmax()), max(divergence, 0.0)
    if reader.task.name == tasks.CLASS_MAP:
        ours, theirs = (channels_last(x, reader.layout).argmax(2) for x in (a, b))
        return float((ours != theirs).mean()), None
    return None, None


def would_help(shares: Sequence[Share], difference: float, question: str) -> tuple[Mapping[str, Any], ...]:
    """The layers by what putting them back to A's would change.

    A distance does not shrink by a layer's share: of errors that are independent, the squares add up.
    """
    predicted = {
        s.a: difference * (math.sqrt(max(0.0, 1 - s.contribution / difference)) - 1)
        if question == DISTANCE
        else -s.contribution
        for s in shares
        if s.a and s.b and s.contribution
    }
    ranked = sorted(predicted.items(), key=lambda item: -abs(item[1]))
    return tuple({"a": name, "predicted": value} for name, value in ranked)
