"""The size of a picture that a network is opened for, where the model leaves height and width free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnxscope.errors import ScopeError, Undecided
from onnxscope.files import pictures
from onnxscope.files.models import Model
from onnxscope.rewriting.build import fits
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import is_scope
from onnxscope.rewriting.sizes import STEPS, free_input, free_sizes_of, input_sizes

SIDE = 1024  # the longest side of a picture, unless another is chosen
Size = tuple[int, int]  # rows, columns


@dataclass(frozen=True)
class Sizes:
    """Shapes for a model's free inputs, and what the user should know about them."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""


def sizes_for(
    model: Model, file: Path, options: Options, layout: str = "auto", max_side: int = SIDE
) -> Sizes:
    """The shape of the image input of a model or a scope, by its name, with free sizes taken from a picture.

    This is possible if exactly one input can be a batch of one picture and has free sizes, and the number of
    its channels is fixed. A picture is made smaller until its longest side is at most `max_side`, and then as
    much smaller as the network needs: to the next multiple of 2, 4, 8, … that it accepts.
    """
    free = free_sizes_of(model)
    found = free_input(model, layout)
    if found is None or found[0] in options.shapes:
        return Sizes() if is_scope(model) else one_of_a_batch(model, file, options)
    name, shape, axes = found
    own = pictures.picture_size(file, layout)
    for step, size in possible(own, max_side):
        tried = {name: with_sizes(shape, axes, size)}
        try:
            if free is not None:
                free.steps_in(tried[name])
            else:
                fits(model, replace(options, shapes={**options.shapes, **tried}))
        except Undecided:  # by sizes alone
            pass
        except ScopeError:
            continue
        return Sizes(tried, note(own, (tried[name][axes[0]], tried[name][axes[1]]), step, max_side))
    return Sizes({name: with_sizes(shape, axes, own)})  # the rewrite says what is wrong


def one_of_a_batch(model: Model, file: Path, options: Options) -> Sizes:
    """A shape for a single picture, where the file fixes how many the model takes and others work, too."""
    batches = {name: shape for name, shape in input_sizes(model).items() if len(shape) == 4 and shape[0] > 1}
    if len(batches) != 1 or not pictures.is_one(file) or set(batches) & set(options.shapes):
        return Sizes()
    ((name, shape),) = batches.items()
    tried = {name: (1, *shape[1:])}
    try:
        fits(model, replace(options, shapes={**options.shapes, **tried}))
    except ScopeError:
        return Sizes()  # the picture is repeated
    return Sizes(tried, f"the model takes {shape[0]} pictures at once, and was opened for one")


def with_sizes(shape: list[int], axes: tuple[int, int], size: Size) -> tuple[int, ...]:
    """The shape with the free ones of its rows and columns as given."""
    given = dict(zip(axes, size, strict=True))
    return tuple(own or given[axis] for axis, own in enumerate(shape))


def possible(own: Size, max_side: int) -> Iterator[tuple[int, Size]]:
    """The sizes to try, with the step that they are multiples of: each is tried once."""
    scale = min(1.0, max_side / max(own))
    most, seen = (own[0] * scale, own[1] * scale), set[Size]()
    for step in STEPS:
        size = (max(step, int(most[0] / step + 0.5) * step), max(step, int(most[1] / step + 0.5) * step))
        if max(size) > max(max_side, step):
            size = (min(size[0], max_side // step * step), min(size[1], max_side // step * step))
        if size not in seen and min(size) > 0:
            seen.add(size)
            yield step, size


def note(own: Size, taken: Size, step: int, max_side: int) -> str:
    """What was done to the picture's own size; '' where nothing was."""
    if own == taken:
        return ""
    why = [f"no side may be longer than {max_side} (--max-side)"] if max(own) > max_side else []
    why += [f"the network takes multiples of {step}"] if step > 1 else []
    reason = " and ".join(why) or "the model fixes the other size"
    return f"the picture of {own[0]}x{own[1]} was taken as {taken[0]}x{taken[1]}: {reason}"
