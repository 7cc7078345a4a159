"""How much memory a model will take, from its sizes alone: no session is opened, and no large tensor is made.

The constants were measured in fresh processes on Linux, with networks of 25 kB to 575 MB of weights. Their
estimates were 0.8 to 1.2 times what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxscope.errors import OutOfMemory
from onnxscope.files.models import Model
from onnxscope.graph.tensors import Shape, is_known
from onnxscope.rewriting.build import build
from onnxscope.rewriting.options import Options
from onnxscope.rewriting.scope import Scope
from onnxscope.run.batch_size import bytes_text
from onnxscope.run.programs import Program, Programs, tensor_bytes

PROCESS = 122_000_000  # bytes: Python with all imports takes 113 MB, and the first session another 9 MB
NODE = 15_000  # bytes of each node of a scope, as an object of Python and in the sessions
# Copies of the weights. A session has its own beside the file's, and rearranges those of products.
PLAIN_COPIES = 2.2
# The file, the scope's constants, and the weights of two programs; the transposed one also turns them round.
ROW_COPIES = 6.5
# onnxruntime's arena grows in steps, and the sessions of a scope do not share one. Values of the base are
# freed in another order than they are counted in.
BASE_ARENA, TRANSPOSED_ARENA = 1.5, 1.2


@dataclass(frozen=True)
class Estimate:
    """The most bytes that a process will hold at once, and what they are for."""

    bytes: int
    parts: Mapping[str, int]

    @property
    def text(self) -> str:
        return bytes_text(self.bytes)


def total(**parts: float) -> Estimate:
    whole = {name: int(part) for name, part in parts.items()}
    return Estimate(sum(whole.values()), whole)


def of_plain(base: gs.Graph) -> Estimate:
    """What opening a model and running it once will take."""
    values = BASE_ARENA * Program("base", base).peak_bytes(1)
    return total(process=PROCESS, weights=PLAIN_COPIES * weight_bytes(base), values=values)


def of_row(scope: Scope) -> Estimate:
    """What opening a scope, freezing one image and computing one row of F will take."""
    programs = Programs(scope)
    fed = {t.name: t for p in (programs.linear, programs.transpose) for t in p.graph.inputs}
    return total(
        process=PROCESS + NODE * len(scope.graph.nodes),
        weights=ROW_COPIES * weight_bytes(scope.graph),
        states=sum(tensor_bytes(fed[name], 1) for name in programs.states),
        freezing=BASE_ARENA * programs.freeze.peak_bytes(1),
        transposed=TRANSPOSED_ARENA * programs.transpose.peak_bytes(1),
    )


def weight_bytes(graph: gs.Graph) -> int:
    """The bytes of all constants, none of which is read."""
    return sum(t._values.nbytes for t in graph.tensors().values() if is_known(t))


def estimate(model: Model, shapes: Mapping[str, Shape]) -> Estimate:
    """What a row of F of a model will take, for these shapes of its inputs."""
    return of_row(build(model, Options(dict(shapes))))


def check(found: Estimate, most: int, where: str) -> None:
    """Refuse what will take more memory than a limit."""
    if found.bytes > most:
        raise OutOfMemory(
            f"it needs about {found.text} of memory, and the limit is {bytes_text(most)}",
            where=where,
            remedy="give a larger limit, or smaller sizes with --input-shape",
        )
