"""The verb that puts explanations to the test: evaluate."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.asking import question_of
from onnxscope.cli.explaining import Layer
from onnxscope.cli.options import Asked, Labels
from onnxscope.cli.printing import counting, print_json, print_table, printing, working
from onnxscope.errors import BadOption, printable

if TYPE_CHECKING:
    from onnxscope.ask.sensitivity import Effect
    from onnxscope.ask.trials import Trials
    from onnxscope.cli.question import Question

TABLES = (".csv", ".parquet")
PLOTTED = ("insertion", "deletion", "pointing", "mass_inside")
Rows = list[dict[str, Any]]
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Pictures NAME.png instead of one --image, and masks NAME.mask.png of "
        "their objects, if there are any.",
    ),
]
Methods = Annotated[
    str, typer.Option("--method", metavar="NAME[,NAME…]", help="Explanation methods, and 'votes'.")
]
Count = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Only the first N pictures. [default: all]")
]
Randomise = Annotated[
    bool,
    typer.Option(
        "--randomise", help="Also compare with the same network, its weights random from the top down."
    ),
]
Fgsm = Annotated[
    float | None,
    typer.Option(metavar="K", min=0, help="Also attack the class by K of 255 levels, and compare what paid."),
]


@dataclass(frozen=True, kw_only=True)
class AskedOfFolder(Asked):
    """What every question has, with a folder of pictures for the image."""

    image: Folder


@question_of(AskedOfFolder)
def evaluate(
    q: Question,
    method: Methods = "discussion,grad-cam,guided,saliency",
    labels: Labels = None,
    layer: Layer = "",
    count: Count = None,
    randomise: Randomise = False,
    fgsm: Fgsm = None,
) -> None:
    """Put explanations of the highest scores of all pictures in a folder to the test, as a table, OUT.csv (or OUT.parquet) and OUT.png.

    \b
    Example:
      onnxscope evaluate classifier.onnx scenes --method votes,discussion,grad-cam,guided
    """
    from onnxscope.ask.sensitivity import weighted
    from onnxscope.ask.trials import CHANCE, Trials, checked
    from onnxscope.files.folders import first_readable, pictures_in
    from onnxscope.files.models import check_target

    methods = checked([name.strip() for name in method.split(",")])
    target = check_target(q.target(*TABLES), q.sources)
    check_can_write(target)
    pictures = pictures_in(q.file)[:count]
    chart = check_target(target.with_suffix(".png"), [q.model, *pictures])
    with working(f"opening {q.model.name}"):
        first = q.at(first_readable(pictures))
        trials = Trials(first.opened.explainer.at(layer))
        if randomise:
            weighted(trials.explainer.scope)
    with counting("pictures") as progress:
        rows, skipped = tried(first, trials, pictures, [*methods, CHANCE], labels, progress)
    read = [p for p in pictures if printable(p.name) not in {one["picture"] for one in skipped}]
    masks = len({row["picture"] for row in rows if row["mask_share"]})
    facts: dict[str, Any] = {
        "written": [str(target), str(chart)],
        "pictures": len(read),
        "masks": masks,
        "skipped": skipped,
        "methods": means(rows),
    }
    if randomise:
        with counting("layers") as progress:
            facts["randomised"] = [
                {"layer": name, **{m: {"distance": d, "rank_distance": s} for m, (d, s) in found.items()}}
                for name, found in trials.without_weights(methods, [first.read(p) for p in read], progress)
            ]
    if fgsm is not None:
        with working("attacking"):
            facts["fgsm"] = summed_up([trials.attack(first.read(p), fgsm * first.level) for p in read]) | {
                "levels": fgsm
            }
    write(target, rows)
    plot(chart, facts["methods"])
    with printing():
        if q.as_json:
            print_json({**facts, **first.facts()})
        else:
            show(facts)


def tried(
    q: Question,
    trials: Trials,
    pictures: Sequence[Path],
    methods: Sequence[str],
    labels: Path | None,
    progress: Any,
) -> tuple[Rows, list[dict[str, str]]]:
    """A row for each picture and method, and the pictures that cannot be read, with the reasons."""
    from onnxscope.ask.scores import Scores, read_labels
    from onnxscope.ask.trials import MEASURES
    from onnxscope.files.folders import mask_of

    rows, skipped, names = [], [], read_labels(labels)
    for k, picture in enumerate(pictures, 1):
        beside = mask_of(picture)
        try:
            image, mask = q.read(picture), q.read_mask(beside) if beside.exists() else None
        except BadOption as error:
            skipped.append({"picture": printable(picture.name), "why": error.cause})
            continue
        if mask is not None and mask.all() == mask.any():  # all of the image, or nothing
            mask = None
        scores = Scores(trials.network(image), names)
        about = {
            "picture": printable(picture.name),
            "class": scores.name(scores.index(None)),
            "mask_share": None if mask is None else float(mask.mean()),
        }
        for method in methods:
            measured = trials.measures(method, image, mask)
            rows.append(
                {**about, "method": method, **{name: defined(measured.get(name)) for name in MEASURES}}
            )
        progress(k, len(pictures))
    if not rows:
        raise BadOption(
            f"no picture fits; {skipped[0]['picture']} {skipped[0]['why']}",
            where=f"'{pictures[0].parent}'",
            remedy="name another folder",
        )
    return rows, skipped


def defined(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def means(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each method's measures, where they apply."""
    from onnxscope.ask.trials import MEASURES, mean

    return {
        method: {
            name: mean([row[name] for row in rows if row["method"] == method and row[name] is not None])
            for name in MEASURES
        }
        for method in dict.fromkeys(row["method"] for row in rows)
    }


def summed_up(effects: Sequence[Effect]) -> dict[str, Any]:
    """The means of what attacks did."""
    from onnxscope.ask.trials import mean

    def before_and_after(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
        return {
            name: mean(values)
            for name, values in zip(("before", "after"), zip(*pairs, strict=True), strict=True)
        }

    return {
        "score": before_and_after([e.scores for e in effects]),
        "depth": before_and_after([e.depths for e in effects]),
        "still_named": mean([float(e.named) for e in effects]),
        "ledger": mean([e.ledger for e in effects]),
        "inside": {name: mean([e.inside[name] for e in effects]) for name in effects[0].inside},
    }


# what is written and shown


def check_can_write(target: Path) -> None:
    if target.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise BadOption(
            "Parquet needs pyarrow", where=f"-o '{target}'", remedy="pip install pyarrow, or write .csv"
        )


def write(target: Path, rows: Rows) -> None:
    from onnxscope.files import models

    if target.suffix.lower() == ".parquet":
        data = io.BytesIO()
        importlib.import_module("pyarrow.parquet").write_table(
            importlib.import_module("pyarrow").Table.from_pylist(rows), data
        )
        table = data.getvalue()
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        table = text.getvalue().encode()
    models.write({target: iter([table])}, target)


def plot(target: Path, methods: dict[str, dict[str, float]]) -> None:
    """A bar for each method and measure that applies to it."""
    from onnxscope.ask.trials import MEASURES
    from onnxscope.files import models
    from onnxscope.show.charts import elements

    shown = [m for m in PLOTTED if any(not math.isnan(found[m]) for found in methods.values())]
    drawn, _ = elements({MEASURES[m]: [found[m] for found in methods.values()] for m in shown}, list(methods))
    models.write({target: iter([drawn])}, target)


def show(facts: dict[str, Any]) -> None:
    from onnxscope.ask.trials import MEASURES

    columns = [
        m
        for m in MEASURES
        if any(not math.isnan(found[m]) for found in facts["methods"].values()) and not m.endswith("_score")
    ]
    print_table(
        ["method", *(MEASURES[m] for m in columns)],
        [[method, *(figure(found[m]) for m in columns)] for method, found in facts["methods"].items()],
    )
    for stage in facts.get("randomised", [])[:1]:
        typer.echo(
            "\n1 − correlation with the trained network's, and 1 − rank correlation, the weights being random from the end down to"
        )
        print_table(
            ["layer", *(m for m in stage if m != "layer")],
            [
                [
                    stage["layer"],
                    *(
                        f"{figure(d['distance'])} {figure(d['rank_distance'])}"
                        for m, d in stage.items()
                        if m != "layer"
                    ),
                ]
                for stage in facts["randomised"]
            ],
        )
    if "fgsm" in facts:
        show_attack(facts["fgsm"])
    for one in facts["skipped"]:
        typer.echo(f"skipped {one['picture']}: {one['why']}")
    typer.echo(
        f"{facts['pictures']} pictures, {facts['masks']} with masks, {len(facts['skipped'])} skipped; "
        f"written {', '.join(facts['written'])}"
    )


def show_attack(found: dict[str, Any]) -> None:
    typer.echo(
        f"\nFGSM by {found['levels']:g} of 255 levels: score {found['score']['before']:.4g} → {found['score']['after']:.4g}, "
        f"still the highest of {100 * found['still_named']:.0f} %; ledger correlated by {found['ledger']:.2f}, "
        f"its depth {found['depth']['before']:.2f} → {found['depth']['after']:.2f}"
    )
    print_table(
        ["tensor", "correlation of contributions"],
        [[name, f"{value:.2f}"] for name, value in found["inside"].items()],
    )


def figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
