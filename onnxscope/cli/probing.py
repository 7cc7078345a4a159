"""The verbs that show the map F·x + r itself: residual, column, row, project, svd and filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from onnxscope.cli.asking import question
from onnxscope.cli.options import FELL_SHORT, INTERRUPTED
from onnxscope.cli.printing import counting, print_facts, working
from onnxscope.cli.spreading import Spreading, plain
from onnxscope.errors import BadOption
from onnxscope.files.pixels import parse_pixel

if TYPE_CHECKING:
    from onnxscope.cli.question import Question
    from onnxscope.linear.svd.decompose import Progress, Svd, SvdOptions
    from onnxscope.show.sheets import Rows

Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--pixel", metavar="C,Y,X", help="A pixel by channel, y and x, or a score by its number. Repeatable."
    ),
]
Pixels = Annotated[
    list[str],
    typer.Option(
        "--pixel", metavar="C,Y,X", help="A pixel by channel, y and x, or a score by its number. Repeatable."
    ),
]
MOST_ENTRIES = 10  # of a table that are printed
Probe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The picture or .npy file to carry. [default: the image, or its output]"
    ),
]
Back = Annotated[bool, typer.Option("--back", help="Carry an output (.npy) back to the image by Fᵀ.")]


@question
def residual(q: Question) -> None:
    """Show what the biases add to the output: r = y0 − F·x0, as .npz and .png.

    \b
    Example:
      onnxscope residual upscaler.onnx --image cat.png
    """
    with working(f"opening {q.model.name}"):
        value = q.x.residual()
    carried = q.x.output - value
    pictures = [
        [q.views.image(), q.views.output()],
        [q.views.like_output(value, "residual"), q.views.like_output(carried, "F·x0")],
    ]
    finish(q, {"residual": value}, pictures, {"share": share(value, q.x.output)})


@question
def column(q: Question, pixel: Pixels) -> None:
    """Show how pixels of the image change the output: columns of F, as .npz and .png.

    \b
    Example:
      onnxscope column upscaler.onnx --image cat.png --pixel 0,12,12
    """
    from onnxscope.show.views import close_up

    places = [parse_pixel(text) for text in pixel]
    with working(f"opening {q.model.name}"):
        columns = q.x.columns(places)
    pictures = [
        [q.views.image(place), *close_up(q.views.like_output(c, f"column of {name}"))]
        for place, name, c in zip(places, pixel, columns, strict=True)
    ]
    finish(q, {"columns": columns, "pixels": places}, pictures, {"pixels": places})


@question
def row(q: Question, pixel: Outputs = None) -> None:
    """Show how output pixels or scores depend on the image: rows of F, as .npz and .png.

    \b
    Example:
      onnxscope row classifier.onnx --image cat.png --preset imagenet --pixel 281
    """
    from onnxscope.show.views import close_up

    if not pixel and not q.asked.ask:
        raise BadOption(
            "tells which row is wanted, and is not given", where="--pixel", remedy="or ask with --ask"
        )
    pixel = pixel or ["0"]  # a question has one value
    places = [parse_pixel(text) for text in pixel]
    with working(f"opening {q.model.name}"):
        rows = q.x.rows(places)
    pictures = [
        [q.views.output(place), *close_up(q.views.like_image(w, f"row of {name}"))]
        for place, name, w in zip(places, pixel, rows, strict=True)
    ]
    finish(q, {"rows": rows, "pixels": places}, pictures, {"pixels": places})


@question
def project(q: Question, probe: Probe = None, back: Back = False) -> None:
    """Carry another image through F, or an output back through Fᵀ, as .npz and .png.

    \b
    Example:
      onnxscope project upscaler.onnx --image cat.png --probe dog.png
    """
    from onnxscope.show.sheets import magnitude

    with working(f"opening {q.model.name}"):
        given = q.probe(probe, back)
        carried = q.x.back_project(given) if back else q.x.project(given)
    shown = (q.views.like_output, q.views.like_image) if back else (q.views.like_image, q.views.like_output)
    labels = ("probe", "Fᵀ·probe" if back else "F·probe")
    pictures = [
        [
            show(value, label, magnitude(value))
            for show, value, label in zip(shown, (given, carried), labels, strict=True)
        ]
    ]
    finish(q, {"probe": given, "projection": carried}, pictures, {"back": back})


@dataclass(frozen=True, kw_only=True)
class Search:
    """The options about the search for singular triplets."""

    k: Annotated[int, typer.Option("-k", metavar="K", help="How many singular triplets.")] = 8
    tol: Annotated[
        float,
        typer.Option(
            metavar="TOL", help="The largest residual that a triplet may have, divided by the largest σ."
        ),
    ] = 1e-4
    method: Annotated[
        str, typer.Option(metavar="lanczos|power", help="The solver; power is Algorithm 1 of the paper.")
    ] = "lanczos"
    block: Annotated[
        int,
        typer.Option(
            metavar="N", help="How many vectors run through F at once; to find a σ that occurs N times."
        ),
    ] = 1
    basis: Annotated[
        int | None,
        typer.Option(metavar="N", help="The most vectors to keep on each side. [default: K + 32 or more]"),
    ] = None
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Continue from an earlier result (.npz).")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="The seed of the random start.")] = 0
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of the power method for each triplet.")] = 100
    momentum: Annotated[float, typer.Option(metavar="M", help="The momentum of the power method.")] = 0.0
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Stop after this time, with the triplets that have converged."),
    ] = None
    passes: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after this number of passes of F and Fᵀ together.")
    ] = None

    def options(self, progress: Callable[[Progress], None]) -> SvdOptions:
        """The options as the solver takes them."""
        from onnxscope.cli.question import saved_triplets

        given: dict[str, Any] = {name: value for name, value in asdict(self).items() if name != "k"}
        given |= {"start": saved_triplets(self.start) if self.start else None, "progress": progress}
        return cast("SvdOptions", given)


@question
def svd(q: Question, search: Search) -> None:
    """Find the largest singular values of F with their vectors, as .npz and .png.

    The vectors are called eigen-inputs and eigen-outputs. If the search is interrupted, or stopped by a
    limit, what it has found is written; the exit code is then 130 or 1.

    \b
    Example:
      onnxscope svd upscaler.onnx --image cat.png -k 8
    """
    from onnxscope.show.draw import triplet_rows

    with working(f"opening {q.model.name}"):
        q.x  # noqa: B018
    with working("starting") as status:
        options = search.options(lambda step: status.update(progress_line(step, search.k)))
        found = q.x.svd(search.k, **options)
    arrays = {"sigma": found.sigma, "u": found.u, "v": found.v, "residuals": found.residual}
    finish(q, arrays, triplet_rows(q.views, found), svd_facts(found))
    if found.converged < found.asked:
        raise typer.Exit(INTERRUPTED if found.stopped == "interrupted" else FELL_SHORT)


def progress_line(step: Progress, k: int) -> str:
    """How far the search is: passes, converged triplets, and the singular values as they are now."""
    sigma = f"{step.sigma[0]:.4g} … {step.sigma[-1]:.4g}" if len(step.sigma) else ""
    return f"{step.passes} passes, {step.converged} of {k} converged, σ {sigma}"


def svd_facts(found: Svd) -> dict[str, Any]:
    """The facts about a decomposition, without its vectors."""
    return {
        "sigma": found.sigma.tolist(),
        "residual": found.residual.tolist(),
        "converged": found.converged,
        "asked": found.asked,
        "passes_forward": found.passes_forward,
        "passes_transpose": found.passes_transpose,
        "clusters": found.clusters,
        "stored": found.stored,
        "method": found.method,
        "tol": found.tol,
        "stopped": found.stopped,
        "seconds": round(found.seconds, 3),
    }


@question
def filter_(
    q: Question,
    side: Annotated[
        str,
        typer.Option(
            metavar="columns|rows",
            help="A column for each pixel of the image, or a row for each of the output.",
        ),
    ] = "columns",
    *,
    spreading: Spreading,
) -> None:
    """Write all of F to OUT.npy, or to a Zarr folder OUT.zarr.

    If it was stopped, the same command continues where it stopped.

    \b
    Example:
      onnxscope filter upscaler.onnx --image cat.png -o filter.npy
    """
    with working(f"opening {q.model.name}"):
        target = q.target(".npy", ".zarr")
        q.x  # noqa: B018
    with counting(f"{side} of F") as count:
        others = None
        if not spreading.here:
            from onnxscope.cli.elsewhere import blocks

            others = partial(blocks, {"asked": plain(q.asked), "side": side}, spreading)
        q.x.extract(target, side=side, about=q.identity(), progress=count, others=others)
    facts = {"written": [str(target)], **q.facts(), "side": side}
    print_facts(facts, lines(facts), q.as_json)


def finish(q: Question, arrays: dict[str, Any], rows: Rows, facts: dict[str, Any]) -> None:
    """Write the arrays and the pictures, and print the facts."""
    written = q.write(arrays, rows, facts)
    facts = {"written": [str(path) for path in written], **q.facts(), **facts}
    print_facts(facts, lines(facts), q.as_json)


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts as lines of text with their labels; those without a value are left out."""
    from onnxscope.ask.presets import line_of

    shown = {
        key.replace("_", " "): value for key, value in facts.items() if value not in (None, "", [], (), {})
    }
    return [
        (label if n == 0 else "", line)
        for label, value in shown.items()
        for n, line in enumerate([line_of(value)] if label == "preset" else lines_of(value))
    ]


def lines_of(value: Any) -> list[str]:
    """A fact as lines: one, or for a table its first entries, each on a line."""
    if not isinstance(value, dict):
        return [text(value)]
    entries = [f"{name}: {text(entry)}" for name, entry in value.items()]
    rest = len(entries) - MOST_ENTRIES
    return entries if rest <= 0 else [*entries[:MOST_ENTRIES], f"… {rest:,} more"]


def text(value: Any) -> str:
    """A fact as text; lists of lists are separated by bars, and other lists by commas."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(entry, (list, tuple)) for entry in value[:1])
        return (" | " if nested else ", ").join(map(text, value))
    return str(value)


def share(part: Any, whole: Any) -> float:
    """‖part‖/‖whole‖."""
    import numpy as np

    return float(np.linalg.norm(part)) / max(float(np.linalg.norm(whole)), 1e-30)
