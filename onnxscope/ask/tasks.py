"""What a network gives, recognised from the shapes, the names and the operators of its outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.ask.layouts import Matched, recognised
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_axis
from onnxscope.graph.builder import Builder
from onnxscope.graph.ends import End, ends, named
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor, is_known, is_sized, shape_of
from onnxscope.rewriting.scope import Scope
from onnxscope.runtime import evaluate

SCORES, BOXES, CLASS_MAP, POINTS, TEXT = "scores", "boxes", "class map", "points", "text"
EMBEDDING, PICTURE, MAP, NUMBER, NUMBERS = "embedding", "picture", "map", "number", "numbers"
TASKS = (SCORES, BOXES, CLASS_MAP, POINTS, TEXT, EMBEDDING, PICTURE, MAP, NUMBER, NUMBERS)
WITH_LABELS = {BOXES, CLASS_MAP, TEXT}  # whose classes have names, though they are no scores one by one
Shape = tuple[int, ...]

EMBEDDINGS = re.compile(r"embed|feature|descriptor|fc1$|reid", re.IGNORECASE)
LANDMARKS = re.compile(r"landm|keyp|kps|kpts|joint|point|pts|heat", re.IGNORECASE)
LANDMARK_COUNTS = {5, 14, 16, 17, 18, 19, 21, 25, 33, 39, 68, 98, 106, 133, 194, 468, 478}
LENGTHS = {64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048}  # of embeddings
RECURRENT = {"LSTM", "GRU", "RNN"}
LEAST_LETTERS = 10  # classes of a reader of text


@dataclass(frozen=True)
class Output:
    """An output of a network, what explains it, and what it seems to be."""

    name: str
    shape: Shape | None  # None where sizes depend on values
    task: str
    explained: str | None


@dataclass(frozen=True)
class Task:
    """What a network gives, and the output that a question without further words is about."""

    name: str
    outputs: Sequence[Output]
    main: End | None
    layout: Matched | None = None


def task_of(b: Builder, image: Tensor, layout: str = "auto", chosen: str | None = None) -> Task:
    """What a network gives: boxes where its outputs fit a known layout, else what the main one gives.

    The main output is the first that can be explained, or that which the tensor `chosen` explains. Where this
    tensor explains none, it stands for itself.
    """
    every = list(ends(b, image))
    if chosen is not None:
        mine = [e for e in every if e.tensor is not None and e.tensor.name == chosen]
        every = every if mine else [End(chosen, named(b, chosen))]
    size = picture_size(shape_of(image), layout)
    known = [e for e in every if e.tensor is not None]
    shapes = {e.output: shape_of(e.tensor) for e in known if e.tensor is not None}
    found = (
        recognised({k: v[1:] if v[:1] == (1,) else v for k, v in shapes.items()}, size[1:]) if size else None
    )
    boxes = {name for names in found.outputs for name in names} if found else set()
    listed = [
        Output(
            e.output,
            size_of(b, e),
            BOXES if e.output in boxes else kind_of(e, size),
            e.tensor.name if e.tensor is not None else None,
        )
        for e in every
    ]
    if found:
        classes = next(
            k for k, p in enumerate(found.layout.parts) if {"class", "score"} & set(p.columns.split())
        )
        scored = next(e for e in known if e.output == found.outputs[classes][0])
        return Task(BOXES, listed, scored, found)
    main = next(
        (e for e in known if e.tensor is not None and e.tensor.name == chosen), next(iter(known), None)
    )
    return Task(next((o.task for o in listed if main and o.name == main.output), NUMBERS), listed, main)


def size_of(b: Builder, end: End) -> Shape | None:
    """The shape of an output; None where it depends on values."""
    t = next((o for o in b.graph.outputs if o.name == end.output), end.tensor)
    return tuple(t.shape) if t is not None and is_sized(t) else None


def checked(task: str) -> str:
    """The name of a task, which must be one of those that are known."""
    if task not in TASKS:
        raise BadOption(
            f"there is no task '{task}'", where="--task", remedy=f"choose one of {', '.join(TASKS)}"
        )
    return task


def picture_size(shape: Shape, layout: str) -> tuple[int, int, int] | None:
    """Channels, rows and columns of the image, where it is a picture."""
    if len(shape) != 4:
        return None
    axis = channels_axis((1, *shape[1:]), layout)
    rows, columns = (shape[k] for k in (1, 2, 3) if k != axis)
    return shape[axis], rows, columns


def kind_of(end: End, image: tuple[int, int, int] | None) -> str:
    """What a single output seems to be."""
    if end.tensor is None:
        return NUMBERS
    shape = shape_of(end.tensor)
    steps_first = len(shape) == 3 and shape[0] > shape[1] == 1  # as some readers of text write it
    long = [d for d in (shape if steps_first else shape[1:]) if d != 1]
    if int(np.prod(shape)) == 1:
        return NUMBER
    if len(long) <= 1:
        return kind_of_vector(end, int(np.prod(shape)))
    if len(shape) == 4 and image and min(long) > 1:
        return kind_of_map(end, shape, image)
    if len(long) == 2 and image and long == list(image[1:]):
        return MAP
    if len(long) == 2 and long[1] in (2, 3) and long[0] >= 4:
        return POINTS
    if len(long) == 2 and image and is_text(long[0], long[1], image):
        return TEXT
    return NUMBERS


def kind_of_vector(end: End, count: int) -> str:
    """Scores, an embedding or landmarks."""
    if LANDMARKS.search(end.output) or (count // 2 in {68, 98, 106} and count % 2 == 0):
        return POINTS
    if end.tensor is not None and end.tensor.name != end.output and end.note:
        return SCORES
    node = last(end)
    if EMBEDDINGS.search(end.output) or (node is not None and is_normalised(node, count)):
        return EMBEDDING
    return SCORES


def last(end: End) -> gs.Node | None:
    """The operator that computes what explains an output, behind what only reshapes it."""
    x = end.tensor
    while (
        x is not None and x.inputs and x.inputs[0].op in ("Reshape", "Flatten", "Squeeze", "Identity", "Cast")
    ):
        x = x.inputs[0].inputs[0]
    return x.inputs[0] if x is not None and x.inputs else None


def is_normalised(node: gs.Node, count: int) -> bool:
    """Whether a vector is divided by its own length, or normalised behind a layer, as embeddings are."""
    if node.op in ("LpNormalization", "BatchNormalization"):
        return node.op == "LpNormalization" or count in LENGTHS
    return node.op == "Div" and not any(is_known(t) for t in node.inputs) and lengths_behind(node.inputs[1])


def lengths_behind(x: Tensor) -> bool:
    """Whether a divisor is a vector's length."""
    for _ in range(6):
        if not x.inputs:
            return False
        node = x.inputs[0]
        if node.op in ("ReduceL2", "ReduceSumSquare", "ReduceSum"):
            return True
        x = node.inputs[0]
    return False


def kind_of_map(end: End, shape: Shape, image: tuple[int, int, int]) -> str:
    """A picture, one map, a map of classes or heat maps of landmarks."""
    channels, rows, columns = image
    first = shape[2] * columns == shape[3] * rows or shape[1] in (1, 3) or shape[3] not in (1, 3)
    count, height, width = shape[1:] if first else (shape[3], shape[1], shape[2])
    larger = height >= rows and width >= columns and height * columns == width * rows
    decided = "ArgMax" in end.note or "Softmax" in end.note
    if count == 1 and channels != 1:
        return MAP
    if count in (1, 3, 4) and larger and not decided:
        return PICTURE
    if LANDMARKS.search(end.output) or (count in LANDMARK_COUNTS and not decided and height < rows):
        return POINTS
    if count == 1 or abs(height * columns - width * rows) > max(rows, columns):
        return NUMBERS
    return CLASS_MAP if decided or count not in (3, 4) else PICTURE


def is_text(steps: int, letters: int, image: tuple[int, int, int]) -> bool:
    """Whether there are scores of letters for each of many columns of a picture, which is wider than high."""
    _, height, width = image
    return letters >= LEAST_LETTERS and 4 <= steps <= width // 2 and width >= 1.5 * height


def outputs_to_read(scope: Scope, layout: str, named_task: str = "") -> tuple[Task, gs.Graph]:
    """What the network of a scope gives, and the graph that computes what explains its outputs.

    A task that is named overrules what seems to be.
    """
    b = Builder.holding(scope.base(), evaluate)
    own = {t.name for t in scope.graph.outputs}
    b.graph.outputs[:] = [t for t in b.graph.outputs if t.name in own]
    image = b.graph.tensors().get(scope.image, scope.tensor(scope.image))  # no node may read it
    task = task_of(b, image, layout, scope.output)
    if named_task:
        task = replace(task, name=checked(named_task))
    wanted = {o.explained for o in task.outputs if o.explained}
    every = {t.name: t for n in b.graph.nodes for t in n.outputs}
    return task, part(b.graph, [every[name] for name in sorted(wanted)])
