"""The two ends of the analysed part of a network: the tensor that is the image, and the one to explain.

Networks end in a softmax, in sigmoids, or in a decision such as ArgMax. What is explained is what stands
before it. Where a Concat joins numbers that come from sigmoids with others, as the heads of detectors do, the
same Concat is written again without the sigmoids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxscope.errors import DECIDE, BadModel, BadOption, Undecided
from onnxscope.graph.builder import Builder
from onnxscope.graph.decisions import DECISIONS
from onnxscope.graph.tensors import Tensor, is_float, is_sized, shape_of

SOFTMAX = {"Softmax", "LogSoftmax"}
# Operators that may stand between a final activation and the output, as they do not change the numbers.
RESHAPING = set(
    "Reshape Flatten Squeeze Unsqueeze Transpose Identity Cast QuantizeLinear DequantizeLinear".split()
)
JOINING = {"Concat", "Split", "Slice", "Gather"}  # these choose or join numbers, too
REWRITTEN = {*RESHAPING, *JOINING} - {"QuantizeLinear", "DequantizeLinear"}
PREPARING = {*RESHAPING, *JOINING, "Pad", "Resize"}  # an image of whole numbers, before it is cast
LOGITS = "/logits"  # is added to the name of an output that is written again


@dataclass(frozen=True)
class End:
    """An output of the model, and the tensor that explains it."""

    output: str
    tensor: Tensor | None  # None where no floating-point number leads to the output
    note: str = ""  # tells where the two differ


def find_image(graph: gs.Graph, name: str | None) -> Tensor:
    """The tensor that the analysis takes as the image: the named one, or the only image-like input."""
    tensors = {t.name: t for n in graph.nodes for t in n.outputs} | {t.name: t for t in graph.inputs}
    if name is not None:
        if name not in tensors:
            raise BadOption(
                f"the model has no tensor '{name}'",
                where="--image-input",
                remedy=f"choose one of {listed(t.name for t in graph.inputs)}",
            )
        if not is_float(tensors[name]):
            raise BadOption(
                f"tensor '{name}' holds no floating-point numbers",
                where="--image-input",
                remedy=f"choose a floating-point tensor that is computed from it{suggestion(graph)}",
            )
        return tensors[name]
    image = image_among(graph.inputs)
    return image if is_float(image) else first_float(graph, image)


def image_among(inputs: Sequence[Tensor]) -> Tensor:
    """The only image-like one among a model's inputs."""
    if not inputs:
        raise BadModel("the model has no input", remedy="export it with its image as an input")
    alike, floats = [t for t in inputs if is_image(t)], [t for t in inputs if is_float(t)]
    images = [t for t in alike if is_float(t)] or alike or floats or list(inputs)
    if len(images) > 1:
        raise BadOption(
            f"several inputs could be the image: {listed(t.name for t in images)}",
            where="--image-input",
            remedy=f"choose one, such as --image-input {images[0].name}",
        )
    return images[0]


def is_image(t: Tensor) -> bool:
    """Whether an input can be a picture, a signal or a clip: three axes or more, and not one pixel alone."""
    long = sum(d != 1 for d in t.shape[1:])
    return len(t.shape) >= 3 and long >= (2 if len(t.shape) > 3 else 1)


def first_float(graph: gs.Graph, pixels: Tensor) -> Tensor:
    """The first floating-point tensor that is computed from an image of whole numbers, without arithmetic."""
    reached = {pixels.name}
    for node in graph.nodes:
        if node.op in PREPARING and node.inputs[0].name in reached:
            if is_float(node.outputs[0]):
                return node.outputs[0]
            reached.update(t.name for t in node.outputs)
    raise BadModel(
        f"no input holds floating-point numbers, and '{pixels.name}' is not cast to them at once",
        remedy=f"name the first floating-point tensor with --image-input{suggestion(graph)}",
    )


def listed(names: Iterable[str]) -> str:
    """`'a', 'b', 'c'`."""
    return ", ".join(f"'{n}'" for n in names)


def suggestion(graph: gs.Graph) -> str:
    """An example for a remedy: the first floating-point tensor that a node computes."""
    first = next((t.name for n in graph.nodes for t in n.outputs if is_float(t)), None)
    return f", such as --image-input {first}" if first else ""


def find_output(b: Builder, image: Tensor, name: str | None) -> tuple[Tensor, str]:
    """The tensor to explain, and a note about the choice.

    Unless one is named, it is what explains the first output that can be explained. What an output is before
    its activations can be named, too.
    """
    if name is not None:
        return named(b, name), ""
    found = next((end for end in ends(b, image) if end.tensor is not None), None)
    if found is not None and sized_by_numbers(b.graph, image, found.output):
        raise Undecided(
            "its size depends on values, not on sizes alone",
            where=f"output '{found.output}'",
            remedy=f"choose another tensor with --output, or {DECIDE}",
        )
    if found is None or found.tensor is None:
        last = next((t.name for n in reversed(b.graph.nodes) for t in n.outputs if is_float(t)), "")
        raise BadModel(
            "no output holds floating-point numbers, or is decided by them",
            remedy="name a floating-point tensor with --output"
            + (f", such as --output {last}" if last else ""),
        )
    return found.tensor, found.note


def named(b: Builder, name: str) -> Tensor:
    """The tensor of this name, which may be an output before its activations."""
    tensors = {t.name: t for n in b.graph.nodes for t in n.outputs}
    output = tensors.get(name.removesuffix(LOGITS))
    if name not in tensors and output is not None:
        before_activations(b, output)
        tensors = {t.name: t for n in b.graph.nodes for t in n.outputs}
    if name not in tensors:
        raise BadOption(
            f"the model has no tensor '{name}'",
            where="--output",
            remedy=f"choose one of {listed(t.name for t in b.graph.outputs)}",
        )
    return tensors[name]


def ends(b: Builder, image: Tensor) -> Iterator[End]:
    """Each output with the tensor that explains it."""
    alive = followed(b.graph, image)
    for output in b.graph.outputs:
        yield end_of(b, output, alive)


def end_of(b: Builder, output: Tensor, alive: set[str]) -> End:
    """What explains an output: the tensor before its final activation, or that a decision is taken on."""
    decision = deciding(output, alive)
    source = output if decision is None else scores_of(decision, alive)
    if source is None or not is_float(source):
        return End(output.name, output if is_float(output) and is_sized(output) else None)
    activation, shown = before_activations(b, source)
    if shown is output:
        return End(output.name, output)
    how = f"on which the {decision.op} decides" if decision is not None else f"before the final {activation}"
    if decision is not None and activation:
        how = f"before the {activation} and the {decision.op}"
    return End(output.name, shown, f"'{shown.name}', {how}, stands for the output '{output.name}'")


def followed(graph: gs.Graph, image: Tensor) -> set[str]:
    """The tensors whose numbers follow those of the image, through no decision."""
    alive = {image.name}
    for node in graph.nodes:
        read = node.inputs[1:] if node.op == "Where" else node.inputs
        if node.op not in DECISIONS and any(t.name in alive for t in read):
            alive.update(t.name for t in node.outputs if is_float(t))
    return alive


def deciding(output: Tensor, alive: set[str]) -> gs.Node | None:
    """The decision that an output stands for; None where the output follows the image's numbers itself."""
    if is_float(output) and is_sized(output) and output.name in alive:
        x = output
        while x.inputs and x.inputs[0].op in RESHAPING:
            x = x.inputs[0].inputs[0]
        return x.inputs[0] if x.inputs and x.inputs[0].op == "TopK" else None
    waiting, seen = [output], {output.name}
    while waiting:
        x = waiting.pop(0)
        for node in x.inputs:
            if node.op in (*DECISIONS, "TopK", "Cast", "Where") and scores_of(node, alive) is not None:
                return node
            fresh = [t for t in node.inputs if t.name and t.name not in seen]
            seen.update(t.name for t in fresh)
            waiting.extend(fresh)
    return None


def sized_by_numbers(graph: gs.Graph, image: Tensor, name: str) -> bool:
    """Whether an output follows the image's numbers, and its size is computed from them, as by a rounding."""
    output, alive = next(t for t in graph.outputs if t.name == name), followed(graph, image)
    decision = deciding(output, alive) if not is_sized(output) and name in alive else None
    return decision is not None and decision.op == "Cast"


def scores_of(decision: gs.Node, alive: set[str]) -> Tensor | None:
    """The numbers that a decision is taken on, where they follow those of the image."""
    read = decision.inputs[1:2] if decision.op == "NonMaxSuppression" else decision.inputs
    if decision.op == "Cast" and (is_float(decision.outputs[0]) or not is_float(decision.inputs[0])):
        return None
    return next((t for t in read if t.inputs and t.name in alive and is_float(t) and is_sized(t)), None)


def before_activations(b: Builder, output: Tensor) -> tuple[str, Tensor]:
    """The operator of the final activation, and what stands before it; '' and the output where there is none.

    Between the two there may be operators that only move numbers. If these join, cut or change the order,
    they are written once more, without the activations.
    """
    x = output
    while x.inputs and x.inputs[0].op in RESHAPING and not is_activation(x.inputs[0]):
        x = x.inputs[0].inputs[0]
    node = x.inputs[0] if x.inputs else None
    if node is None or not (is_activation(node) or node.op in JOINING):
        return "", output
    if is_activation(node) and (not node.inputs[0].inputs or long_axes(x) == long_axes(output)):
        return (node.op, node.inputs[0]) if node.inputs[0].inputs else ("", output)
    found: list[str] = []
    again = without_activations(b, output, found, {})
    return (found[0], again) if found else ("", output)


def long_axes(t: Tensor) -> list[int]:
    """The sizes of a tensor that are not 1, in order: numbers that keep them are in the same places."""
    return [d for d in shape_of(t) if d != 1]


def without_activations(b: Builder, x: Tensor, found: list[str], done: dict[str, Tensor]) -> Tensor:
    """x, written again from what stands before its activations, which are added to `found`.

    It is x itself where there are none. `done` remembers what was written for each tensor.
    """
    node = x.inputs[0] if x.inputs else None
    if x.name in done or node is None:
        return done.get(x.name, x)
    done[x.name] = x
    if is_activation(node) and node.inputs[0].inputs:
        found.append(node.op)
        done[x.name] = node.inputs[0]
    elif node.op in REWRITTEN and all(is_float(t) for t in node.outputs):
        moved = len(node.inputs) if node.op == "Concat" else 1
        read = [without_activations(b, t, found, done) for t in node.inputs[:moved]]
        if any(new is not old for new, old in zip(read, node.inputs, strict=False)):
            done.update(zip((t.name for t in node.outputs), written_again(b, node, read, moved), strict=True))
    return done[x.name]


def written_again(b: Builder, node: gs.Node, read: Sequence[Tensor], moved: int) -> Sequence[Tensor]:
    """What a node gives where its first `moved` inputs are others; it is written only once."""
    names = [f"{t.name}{LOGITS}" for t in node.outputs]
    before = {t.name: t for n in b.graph.nodes for t in n.outputs if t.name in names}
    if len(before) == len(names):
        return [before[name] for name in names]
    made = b.op(
        node.op,
        *read,
        *node.inputs[moved:],
        outputs=len(names),
        names=[b.unique(name) for name in names],
        node_name=b.unique(f"{node.name}{LOGITS}"),
        **node.attrs,
    )
    return made if isinstance(made, tuple) else (made,)


def is_activation(node: gs.Node) -> bool:
    """A softmax, or a sigmoid whose result is not a picture of one channel or of colours."""
    if node.op in SOFTMAX:
        return True
    shape = shape_of(node.outputs[0])
    return node.op == "Sigmoid" and not (len(shape) == 4 and is_picture(shape))


def is_picture(shape: tuple[int, ...]) -> bool:
    return any(
        shape[channels] in (1, 3, 4) and min(shape[k] for k in (1, 2, 3) if k != channels) > 1
        for channels in (1, 3)
    )
