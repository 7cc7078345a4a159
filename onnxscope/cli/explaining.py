"""The verbs that explain a score: ledger, contributions, votes and compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.options import Labels, Score, joined
from onnxscope.cli.printing import counting, print_json, print_table, printing, working
from onnxscope.cli.probing import finish, run
from onnxscope.errors import BadOption

if TYPE_CHECKING:
    from onnxscope.ask.scores import Scores
    from onnxscope.cli.asking import Run

SHOWN = 6  # the most popular scores of a vote that get a picture
COMPARED = "saliency,input-x-gradient,guided,grad-cam,lrp-composite,discussion"
Methods = Annotated[
    str, typer.Option("--method", metavar="NAME[,NAME…]", help="Explanation methods, or 'all'.")
]
Layer = Annotated[
    str,
    typer.Option(metavar="NAME", help="The feature map of class activation maps. [default: the last one]"),
]


def scores_of(r: Run, labels: Path | None) -> Scores:
    """The network's output, if that is scores."""
    from onnxscope.ask.scores import Scores, read_labels

    shape = r.x.output.shape
    if len(shape) == len(r.x.image.shape) > 2 and max(shape[1:]) != r.x.output.size:
        raise BadOption(
            f"gives no scores but an image of {'x'.join(map(str, shape))}",
            where=f"'{r.model}'",
            remedy="look at it with 'onnxscope tour', or name scores inside it with --output",
        )
    return Scores(r.x.output.reshape(-1), read_labels(labels))


@joined(run)
def ledger(r: Run, score: Score = None, labels: Labels = None) -> None:
    """Which layer paid for a score: the image's part, and what each layer's biases add, as a table and a .png chart.

    With a folder as the image, the mean shares over its pictures and their spread.

    \b
    Example:
      onnxscope ledger classifier.onnx --image cat.png --labels names.txt
    """
    from onnxscope.ask.ledger import ledgers
    from onnxscope.show.charts import bars

    def shares(one: Run) -> dict[str, float]:
        (book,) = ledgers(one.x, [scores_of(one, labels).index(score)])
        return {
            name: value / (book.score or 1)
            for name, value in {"the image": book.input, **book.layers}.items()
        }

    if r.folder.is_dir():
        over_folder(r, shares, "paid by", "share of the score")
        return

    with working(f"opening {r.model.name}"):
        scores = scores_of(r, labels)
        chosen = scores.index(score)
        (book,) = ledgers(r.x, [chosen])
        entries = {"the image": book.input, **book.layers}
        written = r.write_chart(
            bars(list(entries), list(entries.values()), f"contribution to {scores.name(chosen)}")[0]
        )
    facts = {
        "written": [str(written)],
        "score": book.score,
        "name": scores.name(chosen),
        "input": book.input,
        "residual": book.residual,
        "layers": [{"name": name, "contribution": value} for name, value in book.layers.items()],
        "remainder": book.remainder,
    }
    with printing():
        if r.as_json:
            print_json({**facts, **r.identity(), **r.facts()})
        else:
            rows = [
                *entries.items(),
                ("remainder", book.remainder),
                (f"score {scores.name(chosen)}", book.score),
            ]
            print_table(
                ["paid by", "contribution", "share"],
                [[n, f"{v:.4g}", f"{100 * v / (book.score or 1):.1f} %"] for n, v in rows],
            )
            typer.echo(f"written {written}")


def over_folder(r: Run, ask: Callable[[Run], dict[str, float]], of: str, shares: str) -> None:
    """What `ask` tells of each picture in a folder, shares of a score by name: their means and standard deviations."""
    from statistics import fmean, pstdev

    from onnxscope.files.folders import first_readable, pictures_in
    from onnxscope.files.models import check_target
    from onnxscope.show.charts import bars

    answers, skipped, pictures = list[dict[str, float]](), [], pictures_in(r.folder)
    check_target(r.target(".png"), [r.model, *pictures])
    first = r.at(first_readable(pictures))
    with working(f"opening {r.model.name}"):
        ask(first)
    with counting("pictures") as progress:
        for k, picture in enumerate(pictures, 1):
            one = first.at(picture)
            one.opened = first.opened
            try:
                answers.append(ask(one))
            except BadOption as error:
                skipped.append({"picture": picture.name, "why": error.cause})
            progress(k, len(pictures))
    means = {name: fmean(a[name] for a in answers) for name in answers[0]}
    spreads = {name: pstdev(a[name] for a in answers) for name in means}
    written = r.write_chart(bars(list(means), list(means.values()), f"mean {shares}")[0])
    with printing():
        if r.as_json:
            rows = [{"name": name, "share": means[name], "spread": spreads[name]} for name in means]
            print_json(
                {
                    "written": [str(written)],
                    "pictures": len(answers),
                    "skipped": skipped,
                    "shares": rows,
                    **first.facts(),
                }
            )
        else:
            print_table(
                [of, f"mean {shares}", "spread"],
                [[n, f"{100 * means[n]:.1f} %", f"{100 * spreads[n]:.1f} %"] for n in means],
            )
            typer.echo(f"{len(answers)} pictures, {len(skipped)} skipped; written {written}")


Tensors = Annotated[
    list[str] | None,
    typer.Option(
        "--tensor",
        metavar="NAME",
        help="A tensor of the network. Repeatable. [default: all that every path passes]",
    ),
]


@joined(run)
def contributions(r: Run, score: Score = None, labels: Labels = None, tensors: Tensors = None) -> None:
    """What the pixels of feature maps add to a score, and the bias that remains behind each, as a table, .npz and .png.

    With a folder as the image, the mean share of that bias over its pictures and its spread, as a table and .png.

    \b
    Example:
      onnxscope contributions classifier.onnx --image cat.png
    """
    from onnxscope.ask.contributions import contributions as at_tensors
    from onnxscope.show.sheets import Picture, magnitude

    def shares(one: Run) -> dict[str, float]:
        found = at_tensors(one.x, scores_of(one, labels).index(score), tensors or ())
        return {c.tensor: c.bias / (c.score or 1) for c in found}

    if r.folder.is_dir():
        over_folder(r, shares, "behind", "bias as a share of the score")
        return
    with working(f"opening {r.model.name}"):
        scores = scores_of(r, labels)
        chosen = scores.index(score)
        found = at_tensors(r.x, chosen, tensors or ())
        maps = [
            [
                Picture(
                    c.values[..., None] if c.values.ndim == 2 else c.values.reshape(-1),
                    c.tensor,
                    scale=magnitude(c.values) or None,
                )
            ]
            for c in found
        ]
        table = [
            {"tensor": c.tensor, "pixels": c.total, "bias": c.bias, "share": c.bias / (c.score or 1)}
            for c in found
        ]
        facts = {"score": scores.name(chosen), "value": found[0].score, "tensors": table}
        written = [
            str(path) for path in r.write({f"map{k}": c.values for k, c in enumerate(found)}, maps, facts)
        ]
    with printing():
        if r.as_json:
            print_json({"written": written, **r.facts(), **facts})
        else:
            print_table(
                ["tensor", "its pixels add", "bias behind it", "share of the score"],
                [
                    [c.tensor, f"{c.total:.4g}", f"{c.bias:.4g}", f"{100 * c.bias / (c.score or 1):.1f} %"]
                    for c in found
                ],
            )
            typer.echo(f"score {scores.name(chosen)}: {found[0].score:.4g}; written {', '.join(written)}")


@joined(run)
def votes(
    r: Run,
    labels: Labels = None,
    among: Annotated[
        int, typer.Option(metavar="N", min=0, help="Only among the N highest scores; 0 for all.")
    ] = 0,
) -> None:
    """The score that each pixel votes for: what image and biases, all of them brought back to the pixels, add most to.

    \b
    Example:
      onnxscope votes classifier.onnx --image cat.png --labels names.txt
    """
    import numpy as np

    from onnxscope.ask.votes import DISCUSSION, candidates
    from onnxscope.ask.votes import votes as voted
    from onnxscope.show.sheets import Picture

    with working(f"opening {r.model.name}"):
        scores = scores_of(r, labels)
        x = r.explainer().opened(DISCUSSION).freeze(r.x.image)
        chosen = candidates(x, scores.highest(among) if among else ())
    with counting("scores") as count:
        found = voted(x, chosen, count)
    tally = found.tally()
    natural = np.asarray(r.image().values)
    grey = np.full_like(natural, 128 if natural.dtype.kind == "u" else 0.5)
    shown = [
        Picture(
            np.where(found.mask(s)[..., None], natural, grey),
            f"{scores.name(s)}: {n} pixels",
            natural=r.image().natural,
        )
        for s, n in list(tally.items())[:SHOWN]
    ]
    finish(
        r,
        {"winner": found.winner, "strength": found.strength},
        [[r.image(), *shown]],
        {"highest": scores.name(scores.index(None)), "votes": {scores.name(s): n for s, n in tally.items()}},
    )


@joined(run)
def compare(
    r: Run, method: Methods = COMPARED, score: Score = None, labels: Labels = None, layer: Layer = ""
) -> None:
    """Explanations of a score by several methods side by side, as .npz and .png.

    \b
    Example:
      onnxscope compare classifier.onnx --image cat.png --method saliency,guided,grad-cam
    """
    from onnxscope.ask.explain import EXPLANATIONS
    from onnxscope.show.sheets import Picture, magnitude

    names = list(EXPLANATIONS) if method == "all" else [name.strip() for name in method.split(",")]
    maps: dict[str, Any] = {}
    with working(f"opening {r.model.name}") as status:
        scores, explainer = scores_of(r, labels), r.explainer(layer)
        chosen = scores.index(score)
        for name in names:
            status.update(name)
            (maps[name],) = explainer.maps(name, r.x.image, [chosen])
    pictures = [Picture(m[..., None], name, scale=magnitude(m) or None) for name, m in maps.items()]
    per_row = 4
    rows = [
        [r.image(), *pictures[: per_row - 1]],
        *(pictures[k : k + per_row] for k in range(per_row - 1, len(pictures), per_row)),
    ]
    finish(r, maps, rows, {"score": scores.name(chosen), "methods": names})
