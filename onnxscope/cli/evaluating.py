"""The verb evaluate, which measures how good explanations are on a folder of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.asking import question_of
from onnxscope.cli.explaining import Layer
from onnxscope.cli.options import Asked
from onnxscope.cli.printing import counting, print_json, printing, working
from onnxscope.errors import BadOption, printable

if TYPE_CHECKING:
    import numpy as np

    from onnxscope.ask.trials import Trials
    from onnxscope.cli.question import Question

Rows = list[dict[str, Any]]  # of the table, one for each picture and method
Skipped = list[dict[str, str]]  # pictures that cannot be read, and why
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="A folder of pictures NAME.png, in place of --image, and of masks NAME.mask.png "
        "of their objects, if there are any.",
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME[,NAME…]",
        help="Explanation methods, separated by commas, which may include 'votes'.",
    ),
]
Count = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Only the first N pictures. [default: all]")
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metric",
        metavar="NAME[,NAME…]",
        help="Also compute these metrics of Quantus, separated by commas. 'all' stands for all of them but "
        "non-sensitivity, which runs the network once for each value of the image.",
    ),
]
Randomise = Annotated[
    bool,
    typer.Option(
        "--randomise",
        help="Also compare with explanations of the network with random weights, drawn layer by layer "
        "from the output on.",
    ),
]
Fgsm = Annotated[
    float | None,
    typer.Option(
        metavar="K",
        min=0,
        help="Also change each pixel by K of 255 levels against the class, and compare the contributions.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class AskedOfFolder(Asked):
    """The options that every question has, with a folder of pictures for the image."""

    image: Folder


@question_of(AskedOfFolder)
def evaluate(
    q: Question,
    method: Methods = "discussion,grad-cam,guided,saliency",
    layer: Layer = "",
    count: Count = None,
    metric: Metrics = "",
    randomise: Randomise = False,
    fgsm: Fgsm = None,
) -> None:
    """Measure how good explanations are, on the highest scores of a folder of pictures.

    The result is a table, OUT.csv or OUT.parquet, and a chart, OUT.png.

    \b
    Example:
      onnxscope evaluate classifier.onnx scenes --method votes,discussion,grad-cam,guided
    """
    from onnxscope.ask.metrics.table import chosen
    from onnxscope.ask.trials import checked
    from onnxscope.cli import evaluation_results as results
    from onnxscope.files.folders import pictures_in
    from onnxscope.files.models import check_target
    from onnxscope.files.tables import TABLES, write_table

    methods, metrics = checked(names_in(method)), chosen(names_in(metric) if metric else [])
    table = check_target(q.target(*TABLES), q.sources)

    pictures = pictures_in(q.file)[:count]
    chart = check_target(table.with_suffix(".png"), [q.model, *pictures])
    first, trials = opened(q, pictures, layer, randomise)
    rows, skipped, seen = measured(first, Judge(trials, methods, metrics), pictures, q.asked.labels)
    facts = {"written": [str(table), str(chart)], **results.summary(rows, len(seen), skipped, metrics)}
    if randomise:
        facts["randomised"] = without_weights(trials, methods, [first.read(p) for p in seen])
    if fgsm is not None:
        with working("attacking"):
            effects = [trials.attack(first.read(p), fgsm * first.level) for p in seen]
        facts["fgsm"] = results.mean_effect(effects) | {"levels": fgsm}
    write_table(table, rows)
    results.write_chart(chart, facts["methods"])
    with printing():
        if q.as_json:
            print_json({**facts, **first.facts()})
        else:
            results.show({**facts, "preset": first.opened.preset.line})


def opened(q: Question, pictures: Sequence[Path], layer: str, randomise: bool) -> tuple[Question, Trials]:
    """The question about the first picture that can be read, and the network, opened for explanations."""
    from onnxscope.ask.sensitivity import weighted
    from onnxscope.ask.trials import Trials
    from onnxscope.files.folders import first_readable

    if q.asked.ask:
        cause = "explanations are judged on the highest score of each picture"
        raise BadOption(cause, where="--ask", remedy="leave it out")
    with working(f"opening {q.model.name}"):
        first = q.at(first_readable(pictures))
        trials = Trials(first.opened.explainer.at(layer))
        if randomise:
            weighted(trials.explainer.scope)  # fails early if the network has no weights
    return first, trials


def names_in(text: str) -> list[str]:
    """The names that commas separate."""
    return [name.strip() for name in text.split(",")]


class Judge:
    """What is measured of these methods, and of the maps to compare them with, on each image."""

    def __init__(self, trials: Trials, methods: Sequence[str], metrics: Sequence[str]) -> None:
        from onnxscope.ask.cases import Cases
        from onnxscope.ask.trials import CHANCE, EDGES

        self.trials, self.methods = trials, [*methods, EDGES, CHANCE]
        self._cases, self._metrics = Cases(trials), metrics

    def figures(self, method: str, image: np.ndarray, mask: np.ndarray | None) -> dict[str, Any]:
        """The measures of a method, and then the metrics; None for those that do not apply."""
        from onnxscope.ask.trials import MEASURES

        found = self.trials.measures(method, image, mask)
        if self._metrics:
            found |= self._cases.measured(self._metrics, method, image, mask)
        defined = {name: float(value) for name, value in found.items() if not math.isnan(value)}
        return {name: defined.get(name) for name in (*MEASURES, *self._metrics)}


def measured(
    q: Question, judge: Judge, pictures: Sequence[Path], labels: Path | None
) -> tuple[Rows, Skipped, list[Path]]:
    """A row for each picture and method, the pictures that cannot be read, and those that can."""
    from onnxscope.ask.scores import read_labels

    rows, skipped, seen, names = Rows(), Skipped(), list[Path](), read_labels(labels)
    with counting("pictures") as progress:
        for k, picture in enumerate(pictures, 1):
            try:
                image, mask = with_mask(q, picture)
                found = facts_of(judge.trials, image, mask, names)
            except BadOption as error:
                skipped.append({"picture": printable(picture.name), "why": error.cause})
                continue
            about = {"picture": printable(picture.name), **found}
            rows += [{**about, "method": m, **judge.figures(m, image, mask)} for m in judge.methods]
            seen.append(picture)
            progress(k, len(pictures))
    if not rows:
        raise BadOption(
            f"no picture can be used; {skipped[0]['picture']} {skipped[0]['why']}",
            where=f"'{pictures[0].parent}'",
            remedy="name another folder",
        )
    return rows, skipped, seen


def with_mask(q: Question, picture: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """A picture as the model's image, and its mask; None if there is no mask, or it covers all or nothing."""
    from onnxscope.files.folders import mask_of

    file = mask_of(picture)
    image, mask = q.read(picture), q.read_mask(file) if file.exists() else None
    return image, None if mask is not None and mask.all() == mask.any() else mask


def facts_of(
    trials: Trials, image: np.ndarray, mask: np.ndarray | None, labels: Sequence[str]
) -> dict[str, Any]:
    """The class with the highest score, and the share of the picture that the mask covers."""
    from onnxscope.ask.scores import Scores

    scores = Scores(trials.network(image), labels)
    share = None if mask is None else float(mask.mean())
    return {"class": scores.name(scores.index(None)), "mask_share": share}


def without_weights(
    trials: Trials, methods: Sequence[str], images: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """How far explanations move away from those of the trained network without its weights.

    The weights are replaced by random ones layer by layer from the last one on, with a result for each layer.
    """
    with counting("layers") as progress:
        return [
            {"layer": layer, **{m: {"distance": d, "rank_distance": r} for m, (d, r) in found.items()}}
            for layer, found in trials.without_weights(methods, images, progress)
        ]
