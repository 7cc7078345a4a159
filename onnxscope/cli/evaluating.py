"""The verb evaluate, which measures how good explanations are on a folder of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.asking import question_of
from onnxscope.cli.explaining import Layer
from onnxscope.cli.options import Asked
from onnxscope.cli.printing import counting, print_json, printing, working
from onnxscope.cli.spreading import Spreading, plain
from onnxscope.errors import BadOption, printable

if TYPE_CHECKING:
    import numpy as np

    from onnxscope.ask.trials import Trials
    from onnxscope.cli.question import Question
    from onnxscope.work.journal import Journal

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
    *,
    spreading: Spreading,
) -> None:
    """Measure how good explanations are, on the highest scores of a folder of pictures.

    The result is a table, OUT.csv or OUT.parquet, and a chart, OUT.png. If it was stopped, the same command
    continues where it stopped.

    \b
    Example:
      onnxscope evaluate classifier.onnx scenes --method votes,discussion,grad-cam,guided
    """
    from onnxscope.ask.metrics.table import chosen
    from onnxscope.ask.trials import checked
    from onnxscope.cli import evaluation_results as results
    from onnxscope.files.arrays import with_ending
    from onnxscope.files.folders import pictures_in
    from onnxscope.files.tables import write_table
    from onnxscope.work.journal import Journal

    methods, metrics = checked(names_in(method)), chosen(names_in(metric) if metric else [])
    pictures = pictures_in(q.file)[:count]
    table, chart = targets(q, pictures)
    first, trials = opened(q, pictures, layer, randomise)
    measuring = Measuring(first, methods, metrics, layer)
    with Journal(with_ending(table, ".journal"), measuring.identity(pictures)) as journal:
        answers = measuring.answers(trials, pictures, spreading, journal)
        rows, skipped, seen = measured(answers, pictures)
    facts = {"written": [str(table), str(chart)], **results.summary(rows, len(seen), skipped, metrics)}
    if randomise:
        facts["randomised"] = without_weights(trials, methods, [first.read(p) for p in seen])
    if fgsm is not None:
        facts["fgsm"] = attacked(first, trials, seen, fgsm)
    write_table(table, rows)
    results.write_chart(chart, facts["methods"])
    journal.remove()
    show(first, facts)


def targets(q: Question, pictures: Sequence[Path]) -> tuple[Path, Path]:
    """The table and the chart, which must not overwrite what they are made from."""
    from onnxscope.files.models import check_target
    from onnxscope.files.tables import TABLES

    table = check_target(q.target(*TABLES), q.sources)
    return table, check_target(table.with_suffix(".png"), [q.model, *pictures])


def show(first: Question, facts: dict[str, Any]) -> None:
    from onnxscope.cli import evaluation_results as results

    with printing():
        if first.as_json:
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


@dataclass(frozen=True)
class Measuring:
    """What is measured on every picture."""

    first: Question
    methods: Sequence[str]
    metrics: Sequence[str]
    layer: str

    def identity(self, pictures: Sequence[Path]) -> dict[str, Any]:
        """What the rows depend on."""
        from onnxscope.version import VERSION

        asked = {k: v for k, v in plain(self.first.asked).items() if k not in ("out", "as_json", "image")}
        files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in pictures}
        model = self.first.opened.scope.source_sha256
        about = {"methods": list(self.methods), "metrics": list(self.metrics), "layer": self.layer}
        return {"onnxscope": VERSION, "model": model, "asked": asked, "pictures": files, **about}

    def answers(
        self, trials: Trials, pictures: Sequence[Path], spreading: Spreading, journal: Journal
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is found for each picture, by its name; the journal keeps it."""
        from onnxscope.ask.scores import read_labels
        from onnxscope.cli import elsewhere
        from onnxscope.cli.judging import Judge

        yield from list(journal.done.items())
        todo = {p.name: p for p in pictures if p.name not in journal.done}
        if spreading.here:
            labels = read_labels(self.first.asked.labels)
            judge = Judge(self.first, trials, self.methods, self.metrics, labels)
            found: Iterator[tuple[str, dict[str, Any]]] = (
                (name, judge.answer(picture)) for name, picture in todo.items()
            )
        else:
            about = {"methods": self.methods, "metrics": self.metrics, "layer": self.layer}
            settings = {"asked": plain(self.first.asked), "first": str(self.first.file.absolute()), **about}
            found = elsewhere.answers("Evaluating", settings, todo, spreading)
        for name, answer in found:
            journal.add(name, answer)
            yield name, answer


def measured(
    answers: Iterator[tuple[str, dict[str, Any]]], pictures: Sequence[Path]
) -> tuple[Rows, Skipped, list[Path]]:
    """A row for each picture and method, the pictures that cannot be read, and those that can."""
    found = {}
    with counting("pictures") as progress:
        for k, (name, answer) in enumerate(answers, 1):
            found[name] = answer
            progress(k, len(pictures))
    rows, skipped, seen = Rows(), Skipped(), list[Path]()
    for picture in pictures:
        answer = found[picture.name]
        if "skipped" in answer:
            skipped.append({"picture": printable(picture.name), "why": answer["skipped"]})
        else:
            rows += answer["rows"]
            seen.append(picture)
    if not rows:
        raise BadOption(
            f"no picture can be used; {skipped[0]['picture']} {skipped[0]['why']}",
            where=f"'{pictures[0].parent}'",
            remedy="name another folder",
        )
    return rows, skipped, seen


def attacked(first: Question, trials: Trials, pictures: Sequence[Path], levels: float) -> dict[str, Any]:
    """What attacks change on average."""
    from onnxscope.cli.evaluation_results import mean_effect

    with working("attacking"):
        effects = [trials.attack(first.read(p), levels * first.level) for p in pictures]
    return mean_effect(effects) | {"levels": levels}


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
