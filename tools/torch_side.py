"""The benchmark's competitor: torch's automatic differentiation of the same model, converted by onnx2torch.

There are several ways to compute J·v and Jᵀ·u in torch. All are tried, and the fastest competes in each of
two groups: those that are called with x0 and a block, as jvp and vjp are, and those that keep the graph of x0
from one block to the next.
"""

from __future__ import annotations

import importlib.util
import sys
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import onnx
import torch
from contenders import difference
from measuring import THREADS, milliseconds
from torch import Tensor, nn

STUBS = {name: ModuleType(name) for name in ("torchvision", "torchvision.ops")}
if importlib.util.find_spec("torchvision"):
    import onnx2torch
else:  # onnx2torch imports it for RoiAlign and NonMaxSuppression, which are in none of these networks
    STUBS["torchvision.ops"].roi_align = None  # type: ignore[attr-defined]
    sys.modules.update(STUBS)
    import onnx2torch

    for stub in STUBS:
        del sys.modules[stub]

Run = Callable[[Tensor], Tensor]
Way = Callable[[nn.Module, Tensor, int], Run]


def settle() -> None:
    """Use all cores, compute gradients only where a way asks for them, and hide warnings of old functions."""
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    warnings.filterwarnings("ignore", module="torch|onnx2torch")


def converted(model: onnx.ModelProto) -> nn.Module:
    """The network in torch, for batches of any size."""
    net: nn.Module = onnx2torch.convert(model).eval().requires_grad_(False)
    return net


def repeated(x0: Tensor, batch: int) -> Tensor:
    return x0.expand(batch, *x0.shape[1:]).contiguous()


def one_by_one(function: Run) -> Run:
    """A function of a batch of one, for any number of tangents; what does not depend on them is shared."""
    return torch.func.vmap(lambda tangent: function(tangent[None])[0])


def forward_mode(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """Forward mode, with x0 repeated for each tangent."""
    x = repeated(x0, batch)
    return lambda v: torch.func.jvp(net, (x,), (v,))[1]


def forward_mode_shared(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """Forward mode, with x0 computed once for all tangents."""
    return one_by_one(lambda v: torch.func.jvp(net, (x0,), (v,))[1])


def double_backward(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """J·v as the derivative of Jᵀ·u in u along v: two backward passes, through a graph that is kept."""
    x = repeated(x0, batch).requires_grad_()
    with torch.enable_grad():
        y = net(x)
        u = torch.zeros_like(y, requires_grad=True)
        (back,) = torch.autograd.grad(y, x, u, create_graph=True)
    return lambda v: torch.autograd.grad(back, u, v, retain_graph=True)[0]


def linearized(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """The part of forward mode that depends on the tangents, traced once for x0."""
    return torch.func.linearize(net, repeated(x0, batch))[1]


def linearized_shared(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """The same part, traced for a single image."""
    return one_by_one(torch.func.linearize(net, x0)[1])


def backward(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """Backward through the kept graph of x0, repeated for each cotangent."""
    x = repeated(x0, batch).requires_grad_()
    with torch.enable_grad():
        y = net(x)
    return lambda u: torch.autograd.grad(y, x, u, retain_graph=True)[0]


def backward_shared(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """Backward through the kept graph of a single x0, all cotangents at once."""
    x = x0.clone().requires_grad_()
    with torch.enable_grad():
        y = net(x)
    return lambda u: torch.autograd.grad(y, x, u[:, None], retain_graph=True, is_grads_batched=True)[0][:, 0]


def forward_and_backward(net: nn.Module, x0: Tensor, batch: int) -> Run:
    """Forward with x0 repeated for each cotangent, then backward."""
    x = repeated(x0, batch).requires_grad_()

    def run(u: Tensor) -> Tensor:
        with torch.enable_grad():
            y = net(x)
        return torch.autograd.grad(y, x, u)[0]

    return run


def function_transform(net: nn.Module, x0: Tensor, batch: int) -> Run:
    x = repeated(x0, batch)
    return lambda u: torch.func.vjp(net, x)[1](u)[0]


WAYS: dict[str, dict[str, Way]] = {  # for each question
    "jvp": {"torch.func.jvp": forward_mode, "vmap of torch.func.jvp": forward_mode_shared},
    "vjp": {"forward and backward": forward_and_backward, "torch.func.vjp": function_transform},
    "kept jvp": {
        "double backward": double_backward,
        "linearize": linearized,
        "vmap of linearize": linearized_shared,
    },
    "kept vjp": {"backward": backward, "batched backward": backward_shared},
}


def named(way: str) -> Way:
    return next(ways[way] for ways in WAYS.values() if way in ways)


@dataclass(frozen=True)
class Tried:
    """One way to answer a question, and the time of a run."""

    way: str
    run: Run
    milliseconds: float


def tried(
    question: str, net: nn.Module, x0: Tensor, block: Tensor, wanted: np.ndarray, agree: float
) -> tuple[list[Tried], dict[str, str]]:
    """The ways that give the wanted result, the fastest first, and why the others are left out."""
    good: list[Tried] = []
    left_out: dict[str, str] = {}
    for way, make in WAYS[question].items():
        try:
            run = make(net, x0, len(block))
            answer = run(block)  # the first run can take ten times as long as others
            took = milliseconds(bound(run, block))
        except Exception as error:  # torch can raise any exception, which the results name
            left_out[way] = reason(error)
            continue
        off = difference(answer, wanted)
        if off <= agree:
            good.append(Tried(way, run, took))
        else:
            left_out[way] = f"differs by {off:.1e}"
    return sorted(good, key=lambda t: t.milliseconds), left_out


def reason(error: Exception) -> str:
    """The beginning of the message of torch or onnx2torch."""
    text = " ".join(str(error).split()).split(". ")[0].split(" - ")[0]
    return f"{type(error).__name__}: {textwrap.shorten(text, 120, placeholder='…')}"


def plainly(net: nn.Module, x0: np.ndarray, v: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """J·v and Jᵀ·u by backward passes."""
    image = torch.from_numpy(x0)
    return (
        double_backward(net, image, len(v))(torch.from_numpy(v)).numpy(),
        backward(net, image, len(u))(torch.from_numpy(u)).numpy(),
    )


def svd_step(forward: Run, transpose: Run, v: Tensor) -> Tensor:
    """One step of Algorithm 1 for each vector of a block."""
    back = transpose(forward(v))
    lengths: Tensor = torch.linalg.vector_norm(back.flatten(1), dim=1)
    return back / lengths.reshape(-1, *[1] * (v.ndim - 1))


@dataclass
class Entered:
    """Torch's contenders, by which ways they compute, and what became of all ways that were tried."""

    contenders: dict[str, Callable[[], object]] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    tried: dict[str, dict[str, str]] = field(default_factory=dict)


def entered(
    net: nn.Module,
    x0: np.ndarray,
    blocks: tuple[np.ndarray, np.ndarray],
    wanted: tuple[np.ndarray, np.ndarray],
    agree: float,
) -> Entered:
    """The fastest way to each answer, and the steps of Algorithm 1 that these make up.

    The answers must agree with `wanted`, which is F·v and Fᵀ·u.
    """
    result = Entered()
    best: dict[str, Tried] = {}
    image, (v, u) = torch.from_numpy(x0), map(torch.from_numpy, blocks)
    for question in WAYS:
        block, answer = (u, wanted[1]) if question.endswith("vjp") else (v, wanted[0])
        good, left_out = tried(question, net, image, block, answer, agree)
        result.tried[question] = {t.way: f"{t.milliseconds:.3g} ms" for t in good} | left_out
        if good:
            best[question] = good[0]
            result.ways[question] = good[0].way
            result.contenders[f"torch {question}"] = bound(good[0].run, block)
    for kind in ("", "kept "):
        if f"{kind}jvp" in best and f"{kind}vjp" in best:
            column, row = best[f"{kind}jvp"], best[f"{kind}vjp"]
            result.contenders[f"torch {kind}step"] = stepping(column.run, row.run, v)
    return result


def stepping(forward: Run, transpose: Run, v: Tensor) -> Callable[[], object]:
    return lambda: svd_step(forward, transpose, v)


def bound(run: Run, block: Tensor) -> Callable[[], object]:
    return lambda: run(block)
