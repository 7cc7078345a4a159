"""The options that several verbs of the command line share, and the values that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnxscope.errors import BadOption

if TYPE_CHECKING:
    from onnxscope.ask.presets import Preset
    from onnxscope.rewriting.options import Options
    from onnxscope.run.engine import Running

GOOD, FELL_SHORT, BAD_INPUT, FAULT = 0, 1, 2, 70  # exit codes
INTERRUPTED = 130  # the exit code that typer returns after Ctrl-C
SIZE = re.compile("[0-9]{1,9}")
FIGURES = ("mean", "std", "scale", "channels")  # the options that change a preset
MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(|k|M|G|T)(i?)B?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="The model, an .onnx file.")]
ModelOrScope = Annotated[
    Path, typer.Argument(metavar="MODEL|SCOPE", help="The model, an .onnx file, or its scope.")
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:1x3x224x224",
        help="The shape of an input whose sizes the model leaves free. Repeatable.",
    ),
]
ImageInput = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The tensor that is the image. [default: the only image-like input]"),
]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The tensor to explain. [default: the first output, before its final activation or decision]",
    ),
]
DefaultPolicy = Annotated[
    str | None,
    typer.Option(
        metavar="freeze|taylor",
        help="How non-linear nodes are frozen: by a gain, or by their tangent (taylor). [default: freeze]",
    ),
]
PolicyFor = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE|OP=POLICY", help="Another policy for one node or operator. Repeatable."),
]
Opaque = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODE|OP", help="Take what a node or operator computes as a constant decision. Repeatable."
    ),
]
WayBack = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="What the transposed branch computes: gradient (Fᵀ), or an "
        "explanation method, such as guided. [default: gradient]",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A text file with the names of the scores, one on each line."),
]
Score = Annotated[
    str | None,
    typer.Option(
        metavar="N|LABEL", help="The score to explain, by its number or name. [default: the highest]"
    ),
]
FurtherInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=VALUE|FILE",
        help="An input beyond the image: a number for all its elements, numbers separated by commas, "
        "a picture or an .npy file. Repeatable.",
    ),
]
Ask = Annotated[
    list[str] | None,
    typer.Option(
        metavar="QUESTION",
        help="What to explain: class:dog, class:cat@120,80, score:281, box:1, box:1/left, letter:4, "
        "landmark:3, same:other.png, pixel:0,12,12, mean, length, or a difference such as "
        "class:dog-class:cat. The tour takes several.",
    ),
]
TaskName = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="NAME",
        help="What the network gives: scores, boxes, 'class map', points, text, embedding, picture, map, "
        "number or numbers. [default: recognised]",
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="The longest side that a picture may have where the model leaves its size free. [default: 1024, "
        "and 512 in a tour]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


ImageFile = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="A picture (PNG, JPEG, …), or an .npy file with the model's own values. For clips and volumes "
        "also a folder of pictures.",
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Preprocessing: imagenet, unit, signed, caffe, raw or centred; auto finds it from the model and "
        "the picture. [default: auto, or unit where --mean, --std, --scale or --channels is given]",
    ),
]
Mean = Annotated[
    str | None, typer.Option(metavar="M[,M,M]", help="What is subtracted from the scaled pixels.")
]
Std = Annotated[
    str | None, typer.Option(metavar="S[,S,S]", help="What the pixels are divided by after that.")
]
Scale = Annotated[
    str | None, typer.Option(metavar="1/255", help="What pixels of 0…255 are multiplied by first.")
]
Channels = Annotated[str | None, typer.Option(metavar="rgb|bgr|luma", help="The order of the channels.")]
Layout = Annotated[
    str,
    typer.Option(
        metavar="auto|nchw|nhwc", help="The order of an image's axes: channels first (nchw) or last (nhwc)."
    ),
]
Fit = Annotated[
    str | None,
    typer.Option(
        metavar="resize|crop", help="How a picture is brought to the model's size. [default: resize]"
    ),
]
DeviceName = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="The device to run on.")]
Threads = Annotated[
    int, typer.Option(metavar="N", help="How many threads of the CPU to use; 0 for one on each core.")
]
Memory = Annotated[
    str, typer.Option(metavar="SIZE", help="The most memory that the states and a batch of probes may take.")
]
Tf32 = Annotated[bool, typer.Option("--tf32", help="Let CUDA round the operands of products to TF32.")]
Stateless = Annotated[
    bool, typer.Option("--stateless", help="Keep no states: run the model again with every batch of probes.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="OUT", help="Where to write. [default: MODEL.VERB]")
]


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """The options about how the model is rewritten."""

    input_shape: InputShape = None
    image_input: ImageInput = None
    output: Output = None
    policy: DefaultPolicy = None
    policy_for: PolicyFor = None
    opaque: Opaque = None

    def options(self, method: str | None = None, free_size: bool = False) -> Options:
        """The options as the one value that the rewriting takes."""
        from onnxscope.rewriting.options import Options
        from onnxscope.rewriting.steps import FREEZE, Policy

        return Options(
            dict(once("--input-shape", map(named_shape, self.input_shape or ()))),
            self.image_input,
            self.output,
            Policy(
                self.policy or FREEZE, dict(once("--policy-for", map(named_policy, self.policy_for or ())))
            ),
            frozenset(self.opaque or ()),
            method,
            free_size,
        )


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The options about how pictures are preprocessed."""

    preset: PresetName = None
    mean: Mean = None
    std: Std = None
    scale: Scale = None
    channels: Channels = None
    layout: Layout = "auto"
    fit: Fit = None

    def chosen(self) -> Preset:
        """The preset that the options describe; `auto` waits for the first picture."""
        from onnxscope.ask.presets import AUTO, named, waiting
        from onnxscope.files.preprocessing import preprocessing

        figures = [name for name in FIGURES if getattr(self, name) is not None]
        if self.preset == AUTO and figures:
            raise BadOption(
                f"it finds {', '.join(FIGURES)} by itself",
                where="--preset auto",
                remedy=f"leave --{figures[0]} out, or name another preset",
            )
        if self.preset == AUTO or not (self.preset or figures):
            return waiting(preprocessing(layout=self.layout, fit=self.fit))
        return named(preprocessing(**asdict(self)))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The options about where the model runs, and with which limits."""

    device: DeviceName = "auto"
    threads: Threads = 0
    memory: Memory = "2GB"
    tf32: Tf32 = False
    stateless: Stateless = False

    def running(self) -> Running:
        """The options as the one value that an engine takes."""
        from onnxscope.run.engine import Running

        return Running(**{**asdict(self), "memory": parse_bytes(self.memory)})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options that every question about an image has."""

    model: ModelOrScope
    image: ImageFile
    pictures: Pictures
    rewriting: Rewriting
    machine: Machine
    inputs: FurtherInputs = None
    ask: Ask = None
    task: TaskName = ""
    max_side: MaxSide = None
    labels: Labels = None
    out: Out = None
    as_json: AsJson = False


def once(option: str, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The pairs, whose names must all be different."""
    names = set()
    for name, value in pairs:
        if name in names:
            raise BadOption(f"'{name}' is named twice", where=option, remedy="leave one out")
        names.add(name)
        yield name, value


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """A name and a shape: `input:0:1x3x224x224` is ("input:0", (1, 3, 224, 224))."""
    name, _, sizes = text.rpartition(":")
    shape = tuple(int(size) if SIZE.fullmatch(size) else 0 for size in sizes.split("x"))
    if not name or 0 in shape:
        raise BadOption(
            "must be the name of an input and its sizes",
            where=f"--input-shape {text}",
            remedy="write it as NAME:1x3x224x224",
        )
    return name, shape


def named_policy(text: str) -> tuple[str, str]:
    """A name and a policy: `Relu=taylor` is ("Relu", "taylor")."""
    name, _, policy = text.rpartition("=")
    if not name:
        raise BadOption(
            "must be the name of a node or an operator and a policy",
            where=f"--policy-for {text}",
            remedy="write it as NODE=freeze or OP=taylor",
        )
    return name, policy


def parse_bytes(text: str) -> int:
    """A number of bytes: `2GB` is 2·10⁹, and `2GiB` is 2·2³⁰."""
    found = MEMORY.fullmatch(text.strip())
    if not found:
        raise BadOption(
            f"must be a number of bytes with a unit, not '{text}'",
            where="--memory",
            remedy="write it as 2GB or 500MB",
        )
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** POWERS[unit.lower()])
