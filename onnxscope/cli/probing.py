"""The verbs that ask F something: residual, column, row, project, svd and filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.cli.options import (
    FELL_SHORT,
    INTERRUPTED,
    AsJson,
    DefaultPolicy,
    ImageInput,
    InputShape,
    ModelOrScope,
    Opaque,
    Output,
    PolicyFor,
    byte_count,
    choices,
    joined,
)
from onnxscope.cli.printing import counting, print_facts, working
from onnxscope.files.pixels import parse_pixel

if TYPE_CHECKING:
    from onnxscope.cli.asking import Run
    from onnxscope.linear.svd.decompose import Progress, Svd
    from onnxscope.show.sheets import Picture

ImageFile = Annotated[
    Path, typer.Option(metavar="FILE", help="PNG, JPEG, …, or .npy with the model's own values.")
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Preprocessing: imagenet, unit, signed, caffe or raw. [default: unit]"),
]
Mean = Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Subtracted from the scaled pixels.")]
Std = Annotated[str | None, typer.Option(metavar="S[,S,S]", help="What they are divided by then.")]
Scale = Annotated[
    str | None, typer.Option(metavar="1/255", help="What pixels of 0…255 are multiplied by first.")
]
Channels = Annotated[str | None, typer.Option(metavar="rgb|bgr|luma", help="The order of the channels.")]
Layout = Annotated[str, typer.Option(metavar="auto|nchw|nhwc", help="Where pictures have their channels.")]
Fit = Annotated[
    str | None,
    typer.Option(
        metavar="resize|crop", help="How a picture is brought to the model's size. [default: resize]"
    ),
]
DeviceName = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to run.")]
Threads = Annotated[int, typer.Option(metavar="N", help="Of the CPU; 0 for all cores.")]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="What the states and a batch of probes may take.")]
Tf32 = Annotated[bool, typer.Option("--tf32", help="Let CUDA round the operands of products.")]
Stateless = Annotated[
    bool, typer.Option("--stateless", help="Keep no states: the base runs beside every batch of probes.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="OUT", help="Where to write. [default: MODEL.VERB]")
]
Pixels = Annotated[
    list[str],
    typer.Option("--pixel", metavar="C,Y,X", help="Channel, y and x, or the number of a score. Repeatable."),
]
Probe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="What to carry: a picture, or .npy. [default: the image or its output]"
    ),
]
Back = Annotated[bool, typer.Option("--back", help="Carry an output (.npy) back through Fᵀ.")]


def run(
    verb: str,
    model: ModelOrScope,
    image: ImageFile,
    preset: Preset = None,
    mean: Mean = None,
    std: Std = None,
    scale: Scale = None,
    channels: Channels = None,
    layout: Layout = "auto",
    fit: Fit = None,
    input_shape: InputShape = None,
    image_input: ImageInput = None,
    output: Output = None,
    policy: DefaultPolicy = None,
    policy_for: PolicyFor = None,
    opaque: Opaque = None,
    device: DeviceName = "auto",
    threads: Threads = 0,
    memory: Memory = "2GB",
    tf32: Tf32 = False,
    stateless: Stateless = False,
    out: Out = None,
    as_json: AsJson = False,
) -> Run:
    """A model opened and frozen for an image, as the options say."""
    from onnxscope.cli import asking
    from onnxscope.files import pictures

    return asking.Run(
        verb,
        model,
        image,
        pictures.preprocessing(
            preset, mean=mean, std=std, scale=scale, channels=channels, layout=layout, fit=fit
        ),
        {
            "device": device,
            "threads": threads,
            "memory": byte_count(memory),
            "tf32": tf32,
            "stateless": stateless,
        },
        choices(input_shape, image_input, output, policy, policy_for, opaque),
        out,
        as_json,
    )


@joined(run)
def residual(r: Run) -> None:
    """What the network's biases alone make of an image: r = y0 − F·x0, as .npz and .png.

    \b
    Example:
      onnxscope residual upscaler.onnx --image cat.png
    """
    with working(f"opening {r.model.name}"):
        value = r.x.residual()
    carried = r.x.output - value
    pictures = [
        [r.image(), r.output()],
        [r.beside_output(value, "residual"), r.beside_output(carried, "F·x0")],
    ]
    finish(r, {"residual": value}, pictures, {"share": share(value, r.x.output)})


@joined(run)
def column(r: Run, pixel: Pixels) -> None:
    """What single input pixels do: F's columns, as .npz and .png.

    \b
    Example:
      onnxscope column upscaler.onnx --image cat.png --pixel 0,12,12
    """
    places = [parse_pixel(text) for text in pixel]
    with working(f"opening {r.model.name}"):
        columns = r.x.columns(places)
    pictures = [
        [r.image(place), *r.close_up(r.beside_output(c, f"column of {name}"))]
        for place, name, c in zip(places, pixel, columns, strict=True)
    ]
    finish(r, {"columns": columns, "pixels": places}, pictures, {"pixels": places})


@joined(run)
def row(r: Run, pixel: Pixels) -> None:
    """What single output pixels, or scores, look at: F's rows, as .npz and .png.

    \b
    Example:
      onnxscope row classifier.onnx --image cat.png --preset imagenet --pixel 281
    """
    places = [parse_pixel(text) for text in pixel]
    with working(f"opening {r.model.name}"):
        rows = r.x.rows(places)
    pictures = [
        [r.output(place), *r.close_up(r.beside_image(w, f"row of {name}"))]
        for place, name, w in zip(places, pixel, rows, strict=True)
    ]
    finish(r, {"rows": rows, "pixels": places}, pictures, {"pixels": places})


@joined(run)
def project(r: Run, probe: Probe = None, back: Back = False) -> None:
    """Any image carried through the decisions of this one, F·x, or an output carried back, Fᵀ·u, as .npz and .png.

    \b
    Example:
      onnxscope project upscaler.onnx --image cat.png --probe dog.png
    """
    with working(f"opening {r.model.name}"):
        given = r.probe(probe, back)
        carried = r.x.back_project(given) if back else r.x.project(given)
    from onnxscope.show.sheets import magnitude

    shown = (r.beside_output, r.beside_image) if back else (r.beside_image, r.beside_output)
    labels = ("probe", "Fᵀ·probe" if back else "F·probe")
    pictures = [
        [
            show(value, label, magnitude(value))
            for show, value, label in zip(shown, (given, carried), labels, strict=True)
        ]
    ]
    finish(r, {"probe": given, "projection": carried}, pictures, {"back": back})


@joined(run)
def svd(
    r: Run,
    k: Annotated[int, typer.Option("-k", metavar="K", help="How many triplets.")] = 8,
    tol: Annotated[
        float, typer.Option(metavar="TOL", help="Their two-sided residual over the largest σ.")
    ] = 1e-4,
    method: Annotated[
        str, typer.Option(metavar="lanczos|power", help="power is the paper's Algorithm 1.")
    ] = "lanczos",
    block: Annotated[
        int, typer.Option(metavar="N", help="Vectors that go through F at once; needed to find a σ N times.")
    ] = 1,
    basis: Annotated[
        int | None,
        typer.Option(metavar="N", help="The most vectors kept on a side. [default: K + 32 or more]"),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on from an earlier result (.npz).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random start.")] = 0,
    steps: Annotated[int, typer.Option(metavar="N", help="Of the power method, for each triplet.")] = 100,
    momentum: Annotated[float, typer.Option(metavar="M", help="Of the power method.")] = 0.0,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Stop after so long, with what has converged.")
    ] = None,
    passes: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after so many passes of F and Fᵀ together.")
    ] = None,
) -> None:
    """The largest singular values of F with their eigen-inputs and eigen-outputs, as .npz and .png.

    Interrupted or out of budget, it writes what it has; the exit code then is 130 or 1.

    \b
    Example:
      onnxscope svd upscaler.onnx --image cat.png -k 8
    """
    with working(f"opening {r.model.name}"):
        r.x  # noqa: B018
        earlier = r.earlier(start) if start else None
    from onnxscope.show.sheets import magnitude

    with working("starting") as status:
        found = r.x.svd(
            k,
            tol=tol,
            method=method,
            block=block,
            basis=basis,
            start=earlier,
            seed=seed,
            steps=steps,
            momentum=momentum,
            seconds=seconds,
            passes=passes,
            progress=lambda step: status.update(progress_line(step, k)),
        )
    arrays = {"sigma": found.sigma, "u": found.u, "v": found.v, "residuals": found.residual}
    scales = magnitude(found.v), magnitude(found.u)
    pictures = [
        [r.beside_image(v, f"v{i}, σ{i} = {s:.4g}", scales[0]), r.beside_output(u, f"u{i}", scales[1])]
        for i, (s, u, v) in enumerate(zip(found.sigma, found.u, found.v, strict=True), 1)
    ] or [[r.image(), r.output()]]
    finish(r, arrays, pictures, svd_facts(found))
    if found.converged < found.asked:
        raise typer.Exit(INTERRUPTED if found.stopped == "interrupted" else FELL_SHORT)


def progress_line(step: Progress, k: int) -> str:
    sigma = f"{step.sigma[0]:.4g} … {step.sigma[-1]:.4g}" if len(step.sigma) else ""
    return f"{step.passes} passes, {step.converged} of {k} converged, σ {sigma}"


def svd_facts(found: Svd) -> dict[str, Any]:
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


@joined(run)
def filter_(
    r: Run,
    side: Annotated[
        str,
        typer.Option(
            metavar="columns|rows", help="What each input pixel does, or each output pixel looks at."
        ),
    ] = "columns",
) -> None:
    """All of F, streamed to OUT.npy, or to a Zarr folder OUT.zarr; the same command goes on where one was stopped.

    \b
    Example:
      onnxscope filter upscaler.onnx --image cat.png -o filter.npy
    """
    with working(f"opening {r.model.name}"):
        target = r.target(".npy", ".zarr")
        r.x  # noqa: B018
    with counting(f"{side} of F") as count:
        r.x.extract(target, side=side, about=r.identity(), progress=count)
    facts = {"written": [str(target)], **r.facts(), "side": side}
    print_facts(facts, lines(facts), r.as_json)


def finish(r: Run, arrays: dict[str, Any], pictures: list[list[Picture]], facts: dict[str, Any]) -> None:
    """Write the arrays and the pictures, and say so."""
    written = r.write(arrays, pictures, facts)
    facts = {"written": [str(path) for path in written], **r.facts(), **facts}
    print_facts(facts, lines(facts), r.as_json)


def lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts as labelled lines; empty ones say nothing."""
    shown = {
        key.replace("_", " "): value for key, value in facts.items() if value not in (None, "", [], (), {})
    }
    return [(key, text(value)) for key, value in shown.items()]


def text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return (
            ", ".join(map(text, value))
            if not value or not isinstance(value[0], (list, tuple))
            else " | ".join(map(text, value))
        )
    return str(value)


def share(part: Any, whole: Any) -> float:
    """‖part‖/‖whole‖."""
    import numpy as np

    return float(np.linalg.norm(part)) / max(float(np.linalg.norm(whole)), 1e-30)
