"""The verbs that rewrite a model and prove the result: rewrite, doctor and verify."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.groups import command
from onnxscope.cli.options import (
    FELL_SHORT,
    GOOD,
    AsJson,
    ModelFile,
    ModelOrScope,
    Pictures,
    Rewriting,
    WayBack,
)
from onnxscope.cli.printing import print_facts, print_json, print_table, printing, working
from onnxscope.errors import BadOption, printable, shape_text

if TYPE_CHECKING:
    from onnxscope.api.opening import Diagnosis, Report
    from onnxscope.rewriting.scope import Scope

CLOCK_TICK = 20_000_000  # nanoseconds by which a file's time may lie before the time when it was written

USES = {"plain": "a plain run", "row": "a row of F"}

OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="OUT", help="Where to write. [default: MODEL.scope.onnx]"),
]
ProofImage = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The picture or .npy file to prove it on. [default: random numbers]"),
]
TriedImage = Annotated[
    Path | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="A picture to find the preprocessing and free sizes with, and to decide what depends on values.",
    ),
]
DecidingImage = Annotated[
    Path | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="A picture or .npy file that decides what depends on values, and gives free sizes.",
    ),
]
FreeSize = Annotated[
    bool,
    typer.Option(
        "--free-size",
        help="Leave the image's height and width free, as the model does: one scope for all sizes.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The seed of the random numbers.")]


@command
def rewrite(
    model: ModelFile,
    *,
    out: OutFile = None,
    image: DecidingImage = None,
    reading: Pictures,
    chosen: Rewriting,
    method: WayBack = None,
    free_size: FreeSize = False,
    as_json: AsJson = False,
) -> None:
    """Rewrite MODEL into a scope: the model, its frozen linear map and the transpose.

    The scope is one ONNX file of standard operators. If parts of MODEL depend on values, such as the
    condition of an If, an image decides them. The scope then holds for images that decide alike.

    \b
    Example:
      onnxscope rewrite resnet50.onnx --input-shape input:1x3x224x224
    """
    from onnxscope.api import opening
    from onnxscope.files import models

    began = time.time_ns()
    target = out or model.parent / f"{model.stem}.scope.onnx"
    if str(out) == "-":
        raise BadOption("a scope cannot be written to standard output", where="-o -", remedy="name a file")
    models.check_target(target, [model])
    with working(f"rewriting {model.name}"):
        options = chosen.options(method, free_size)
        scope = opening.rewrite(model, picture=image, preset=reading.chosen(), options=options)
        scope.save(target)
    facts = about(scope, target, began)
    print_facts(facts, shown(facts), as_json)


def about(scope: Scope, target: Path, began: int) -> dict[str, Any]:
    """The facts about a rewrite: what was written, what was chosen, and how nodes were treated."""
    assert scope.original is not None  # it was rewritten just now
    free = scope.about.free
    files = [p.stat() for p in (target, Path(f"{target}.data")) if p.exists()]
    return {
        "written": str(target),
        "bytes": sum(f.st_size for f in files if f.st_ctime_ns >= began - CLOCK_TICK),
        "source_bytes": scope.original.nbytes,
        "seconds": round((time.time_ns() - began) / 1e9, 3),
        "image": scope.image,
        "output": scope.output,
        "policy": str(scope.policy),
        "method": scope.method,
        "free_sizes": {"input": free.input, "axes": list(free.axes), "multiples_of": free.step}
        if free
        else None,
        "source_sha256": scope.source_sha256,
        "decisions": [asdict(decision) for decision in scope.decided],
        "nodes": dict(sorted(Counter(step.how for step in scope.steps).items())),
        "notes": list(scope.notes),
    }


def shown(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The facts as lines of text with their labels."""
    ratio = facts["bytes"] / facts["source_bytes"]
    free = facts["free_sizes"]
    size = f"{facts['bytes']:,} bytes, {ratio:.2f} times the source"
    return [
        ("image", facts["image"]),
        ("output", facts["output"]),
        ("policy", facts["policy"]),
        ("method", facts["method"]),
        *([("free sizes", f"height and width, multiples of {free['multiples_of']}")] if free else []),
        ("active nodes", ", ".join(f"{count} {how}" for how, count in facts["nodes"].items()) or "none"),
        *(("note", note) for note in facts["notes"]),
        ("written", f"{facts['written']}, {size}, in {facts['seconds']:.1f} s"),
    ]


@command
def doctor(
    model: ModelFile,
    *,
    image: TriedImage = None,
    reading: Pictures,
    chosen: Rewriting,
    as_json: AsJson = False,
) -> None:
    """Show how each node of MODEL would be rewritten, and what prevents the rewrite. Nothing is written.

    \b
    Example:
      onnxscope doctor detector.onnx --image street.png
    """
    from onnxscope.api import opening

    found = opening.doctor(model, picture=image, preset=reading.chosen(), options=chosen.options())
    with printing():
        if as_json:
            print_json({**found.to_dict(), "ok": found.ok})
        else:
            print_diagnosis(found)
    raise typer.Exit(GOOD if found.ok else FELL_SHORT)


def print_diagnosis(found: Diagnosis) -> None:
    from onnxscope.run.batch_size import bytes_text

    print_table(*found.cells())
    print_table(
        ("output", "shape", "seems to be", "explained at"),
        [
            (o.name, shape_text(o.shape) if o.shape is not None else "?", o.task, o.explained or "–")
            for o in found.outputs
        ],
    )
    typer.echo(printable(f"image '{found.image}', output '{found.output}', it gives {found.task}"))
    typer.echo(f"preset {printable(found.preset.line)}")
    typer.echo(
        "memory, about: " + ", ".join(f"{bytes_text(n)} for {USES[k]}" for k, n in found.memory.items())
    )
    for note in found.notes:
        typer.echo(f"note: {printable(note)}")
    for problem in found.problems:
        typer.echo(f"problem: {problem}")
    typer.echo("it can be rewritten" if found.ok else "it cannot be rewritten like this")


@command
def verify(
    model: ModelOrScope,
    *,
    image: ProofImage = None,
    reading: Pictures,
    seed: Seed = 0,
    chosen: Rewriting,
    as_json: AsJson = False,
) -> None:
    """Prove with numbers that a scope computes what it should.

    A model is rewritten into a scope first. Each claim is printed with its figure, its bound and the noise
    floor.

    \b
    Example:
      onnxscope verify resnet50.onnx --image cat.png --policy taylor
    """
    from onnxscope.api import by_image, opening
    from onnxscope.api.sizes import sizes_for
    from onnxscope.files import models, pictures
    from onnxscope.rewriting.bound import samples

    with working(f"proving {model.name}"):
        loaded, options, pictured = models.load(model), chosen.options(), reading.chosen()
        if image is not None:
            fitted = sizes_for(loaded, image, options, pictured.preprocess.layout)
            options = replace(options, shapes={**fitted.shapes, **options.shapes})
        scope = opening.scope_of(loaded, options, image, pictured)
        shape = image_shape(scope) if image is not None else ()
        preset = by_image.resolved(samples(scope)[0].base(), scope.image, scope.original, pictured, image)
        values = pictures.read(image, shape, preset.preprocess) if image is not None else None
        report = opening.verify(scope, image_values=values, seed=seed)
    with printing():
        if as_json:
            print_json({**report.to_dict(), "preset": preset.to_dict(), "notes": list(scope.notes)})
        else:
            if image is not None:
                typer.echo(f"preset {printable(preset.line)}")
            for note in scope.notes:
                typer.echo(f"note: {printable(note)}")
            print_report(report)
    raise typer.Exit(GOOD if report.ok else FELL_SHORT)


def image_shape(scope: Scope) -> tuple[int, ...]:
    """The shape of the image, which must be an input of the model."""
    for t in scope.graph.inputs:
        if t.name == scope.image:
            return tuple(t.shape)
    raise BadOption(
        f"the image '{scope.image}' is computed inside the network and cannot be given",
        where="--image",
        remedy="leave --image out",
    )


def print_report(report: Report) -> None:
    print_table(*report.cells())
    typer.echo(report.title)
