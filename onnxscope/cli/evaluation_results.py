"""What the verb evaluate writes and prints: means, a chart, and text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from onnxscope.ask.metrics.table import METRICS
from onnxscope.ask.trials import MEASURES, mean
from onnxscope.cli.printing import print_table
from onnxscope.errors import printable
from onnxscope.files import models
from onnxscope.files.tables import Rows
from onnxscope.show.charts import elements

if TYPE_CHECKING:
    from onnxscope.ask.sensitivity import Effect

CHARTED = ("insertion", "deletion", "pointing", "mass_inside")
Means = Mapping[str, Mapping[str, float]]  # of each method's measures, NaN for those that do not apply


def summary(
    rows: Rows, pictures: int, skipped: Sequence[Mapping[str, str]], metrics: Sequence[str]
) -> dict[str, Any]:
    """The numbers of pictures and of masks, the skipped pictures, and the means of each method."""
    masked = {row["picture"] for row in rows if row["mask_share"]}
    found = means(rows, [*MEASURES, *metrics])
    return {"pictures": pictures, "masks": len(masked), "skipped": skipped, "methods": found}


def means(rows: Rows, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The means of each method's figures over the pictures to which they apply."""
    methods = dict.fromkeys(row["method"] for row in rows)
    return {
        method: {
            name: mean([row[name] for row in rows if row["method"] == method and row[name] is not None])
            for name in names
        }
        for method in methods
    }


def mean_effect(effects: Sequence[Effect]) -> dict[str, Any]:
    """The means of what attacks changed."""
    return {
        "score": before_and_after([e.scores for e in effects]),
        "depth": before_and_after([e.depths for e in effects]),
        "still_named": mean([float(e.named) for e in effects]),
        "ledger": mean([e.ledger for e in effects]),
        "inside": {name: mean([e.inside[name] for e in effects]) for name in effects[0].inside},
    }


def before_and_after(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The means of values before and after an attack."""
    before, after = zip(*pairs, strict=True)
    return {"before": mean(before), "after": mean(after)}


def write_chart(target: Path, methods: Means) -> None:
    """Draw the measures that apply to any method, with a bar for each method."""
    names = [name for name in CHARTED if applies(name, methods)]
    bars = {MEASURES[name]: [found[name] for found in methods.values()] for name in names}
    models.write({target: iter([elements(bars, list(methods))[0]])}, target)


def applies(measure: str, methods: Means) -> bool:
    """Whether a measure applies to any method."""
    return any(not math.isnan(found[measure]) for found in methods.values())


# text


def show(facts: Mapping[str, Any]) -> None:
    """Print the facts as tables and lines of text."""
    show_means(facts["methods"])
    show_metrics(facts["methods"])
    if facts.get("randomised"):
        show_randomised(facts["randomised"])
    if "fgsm" in facts:
        show_attack(facts["fgsm"])
    for one in facts["skipped"]:
        typer.echo(f"skipped {one['picture']}: {one['why']}")
    typer.echo(f"preset {printable(facts['preset'])}")
    typer.echo(
        f"{facts['pictures']} pictures, {facts['masks']} with masks, {len(facts['skipped'])} skipped; "
        f"written {', '.join(facts['written'])}"
    )


def show_means(methods: Means) -> None:
    """Print the means of the measures that apply to any method."""
    shown = [name for name in MEASURES if applies(name, methods) and not name.endswith("_score")]
    rows = [[method, *(figure(found[name]) for name in shown)] for method, found in methods.items()]
    print_table(["method", *(MEASURES[name] for name in shown)], rows)


def show_metrics(methods: Means) -> None:
    """Print the means of the metrics of Quantus, if there are any, with a line for each metric."""
    names = [name for name in METRICS if name in next(iter(methods.values()))]
    if names:
        typer.echo("")
        rows = [
            [name, METRICS[name].better, *(figure(found[name], ".4g") for found in methods.values())]
            for name in names
        ]
        print_table(["metric", "better", *methods], rows)


def show_randomised(stages: Sequence[Mapping[str, Any]]) -> None:
    """Print how far explanations are from the trained network's, layer by layer."""
    methods = [name for name in stages[0] if name != "layer"]
    typer.echo(
        "\n1 − correlation and 1 − rank correlation with the explanations of the trained network, "
        "if the weights of all layers from the last one to this one are random"
    )
    rows = [[stage["layer"], *(distances(stage[method]) for method in methods)] for stage in stages]
    print_table(["layer", *methods], rows)


def distances(found: Mapping[str, float]) -> str:
    """Both distances of a method's explanations."""
    return f"{figure(found['distance'])} {figure(found['rank_distance'])}"


def show_attack(found: Mapping[str, Any]) -> None:
    """Print what FGSM changed on average."""
    score, depth = found["score"], found["depth"]
    typer.echo(
        f"\nFGSM by {found['levels']:g} of 255 levels: score {score['before']:.4g} → {score['after']:.4g}, "
        f"still the highest in {100 * found['still_named']:.0f} % of the pictures; "
        f"correlation of the ledgers {found['ledger']:.2f}, "
        f"mean depth of their entries {depth['before']:.2f} → {depth['after']:.2f}"
    )
    rows = [[name, f"{value:.2f}"] for name, value in found["inside"].items()]
    print_table(["tensor", "correlation of contributions"], rows)


def figure(value: float, form: str = ".3f") -> str:
    """A mean, with three decimals unless another form is given, or a dash if it is not defined."""
    return "–" if math.isnan(value) else f"{value:{form}}"
