"""The verbs that explain a score: ledger, contributions, votes and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.asking import question
from onnxscope.cli.folders import over_folder
from onnxscope.cli.options import Score
from onnxscope.cli.printing import counting, print_json, print_table, printing, working
from onnxscope.cli.probing import finish
from onnxscope.errors import BadOption, printable, shape_text

if TYPE_CHECKING:
    from onnxscope.api.model import LinearInterpreter
    from onnxscope.cli.question import Question

COMPARED = "saliency,input-x-gradient,guided,grad-cam,lrp-composite,discussion"
Methods = Annotated[
    str,
    typer.Option(
        "--method", metavar="NAME[,NAME…]", help="Explanation methods, separated by commas, or 'all'."
    ),
]
Layer = Annotated[
    str,
    typer.Option(metavar="NAME", help="The feature map that class activation maps use. [default: the last]"),
]


def checked(q: Question) -> LinearInterpreter:
    """The linear interpreter of the question's image, for a network whose output must be scores."""
    shape = q.x.output.shape
    if len(shape) == len(q.x.image.shape) > 2 and max(shape[1:]) != q.x.output.size:
        raise BadOption(
            f"its output must be scores, and is an image of {shape_text(shape)}",
            where=f"'{q.model}'",
            remedy="look at it with 'onnxscope tour', or name scores inside it with --output",
        )
    return q.x


def print_notes(q: Question) -> None:
    """The preset, and what else the user should know."""
    typer.echo(f"preset {printable(q.opened.preset.line)}")
    for note in q.facts()["notes"]:
        typer.echo(f"note: {printable(note)}")


@question
def ledger(q: Question, score: Score = None) -> None:
    """Show what the image and each layer's biases contribute to a score.

    The result is a table and a chart, .png. If the image is a folder, they show the mean shares over its
    pictures and their spread.

    \b
    Example:
      onnxscope ledger classifier.onnx --image cat.png --labels names.txt
    """

    def shares(one: Question) -> dict[str, float]:
        book = checked(one).ledger(score)
        return {name: value / (book.score or 1) for name, value in book.entries.items()}

    if q.is_folder_of_images:
        over_folder(q, shares, "part", "share of the score")
        return
    with working(f"opening {q.model.name}"):
        book = checked(q).ledger(score)
        written = q.write_chart(book.plot().png)
    layers = [{"name": name, "contribution": value} for name, value in book.layers.items()]
    facts = {"written": [str(written)], **book.to_dict(), "layers": layers}
    with printing():
        if q.as_json:
            print_json({**facts, **q.identity(), **q.facts()})
        else:
            print_table(*book.cells())
            print_notes(q)
            typer.echo(f"written {written}")


Tensors = Annotated[
    list[str] | None,
    typer.Option(
        "--tensor",
        metavar="NAME",
        help="A feature map. Repeatable. [default: all that every path from the image passes]",
    ),
]


@question
def contributions(q: Question, score: Score = None, tensors: Tensors = None) -> None:
    """Show what the pixels of feature maps contribute to a score.

    The result is a table, .npz and .png. What the pixels of a map do not contribute, the biases of the layers
    after it do. If the image is a folder, a table and a chart, .png, show the mean share of these biases over
    its pictures and its spread.

    \b
    Example:
      onnxscope contributions classifier.onnx --image cat.png
    """
    from onnxscope.show.draw import contribution_rows

    def shares(one: Question) -> dict[str, float]:
        return {c.tensor: c.bias / (c.score or 1) for c in checked(one).contributions(score, tensors or ())}

    if q.is_folder_of_images:
        over_folder(q, shares, "tensor", "share of the biases after it")
        return
    with working(f"opening {q.model.name}"):
        found = checked(q).contributions(score, tensors or ())
        table = [
            {"tensor": c.tensor, "pixels": c.total, "bias": c.bias, "share": c.bias / (c.score or 1)}
            for c in found
        ]
        facts = {"score": found.name, "value": found[0].score, "tensors": table}
        arrays = {f"map{k}": c.values for k, c in enumerate(found)}
        written = [str(path) for path in q.write(arrays, contribution_rows(found), facts)]
    with printing():
        if q.as_json:
            print_json({"written": written, **q.facts(), **facts})
        else:
            print_table(*found.cells())
            print_notes(q)
            typer.echo(f"score {found.name}: {found[0].score:.4g}; written {', '.join(written)}")


@question
def votes(
    q: Question,
    among: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Let pixels vote only for the N highest scores; 0 for all."),
    ] = 0,
) -> None:
    """Show which score each pixel contributes most to, as .npz and .png.

    The contributions of all biases are carried back to the pixels, and count for the votes.

    \b
    Example:
      onnxscope votes classifier.onnx --image cat.png --labels names.txt
    """
    from onnxscope.ask.votes import candidates
    from onnxscope.show.draw import vote_rows

    with working(f"opening {q.model.name}"):
        x = checked(q)
        candidates(x, x.scores.highest(among) if among else ())
    with counting("scores") as count:
        found = x.votes(among, count)
    arrays = {"winner": found.winner, "strength": found.strength}
    votes = {found.names[s]: n for s, n in found.tally().items()}
    highest = x.scores.name(x.scores.index(None))
    finish(q, arrays, vote_rows(q.views, found, found.names), {"highest": highest, "votes": votes})


@question
def compare(q: Question, method: Methods = COMPARED, score: Score = None, layer: Layer = "") -> None:
    """Explain a score by several methods, with a map for each, as .npz and .png.

    \b
    Example:
      onnxscope compare classifier.onnx --image cat.png --method saliency,guided,grad-cam
    """
    from onnxscope.ask.explain import EXPLANATIONS
    from onnxscope.show.draw import map_rows

    names = list(EXPLANATIONS) if method == "all" else [name.strip() for name in method.split(",")]
    maps: dict[str, Any] = {}
    with working(f"opening {q.model.name}") as status:
        x = checked(q)
        chosen = x.scores.index(score)
        for name in names:
            status.update(name)
            (maps[name],) = x.explain(name, chosen, layer=layer).maps
    finish(q, maps, map_rows(q.views, maps), {"score": x.scores.name(chosen), "methods": names})
