"""Recurrent layers, written out step by step: LSTM, GRU and RNN, in one direction or in both.

Every tensor of a step has the shape [1, batch, …]. The products of all steps' inputs with the weights are
computed at once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscope.errors import BadModel, Unsupported
from onnxscope.graph.tensors import Tensor, is_known, shape_of, values_of
from onnxscope.normalise.families import ints
from onnxscope.normalise.reader import Lift, Normaliser
from onnxscope.normalise.source import Source

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
PARAMETERS = {  # of activations, with their defaults: alpha, and beta where there is one
    "Affine": (1.0, 0.0),
    "Elu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "ScaledTanh": (1.0, 1.0),
    "ThresholdedRelu": (1.0,),
}
WITHOUT = ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")  # parameters
STEPS = 1024  # longer sequences are refused
Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Cell:
    """One direction of a layer: its weights, and what is applied to their sums."""

    w: Normaliser
    recurrence: Sequence[Tensor]  # Rᵀ, [hidden, gates·hidden]; of a GRU in two parts, z and r apart from n
    input_bias: Tensor | None
    bias: Sequence[Tensor | None]  # of the recurrence, in the same parts
    peepholes: Sequence[Tensor]  # of the input, output and forget gates: [hidden] each
    activations: Sequence[Activation]
    attrs: dict[str, Any]

    def gates(self, x: Tensor) -> list[Tensor]:
        """Its parts along the last axis, one for each gate."""
        hidden = int(self.attrs["hidden_size"])
        return parts(self.w, x, [hidden] * (shape_of(x)[-1] // hidden), -1)

    def apply(self, k: int, x: Tensor) -> Tensor:
        """Activation k of x, which is clipped before it where the layer has a threshold."""
        limit = self.attrs.get("clip")
        return self.activations[k](self.w.b.Clip(x, -float(limit), float(limit)) if limit else x)

    def peeped(self, k: int, x: Tensor, c: Tensor) -> Tensor:
        return self.w.b.Add(x, self.w.b.Mul(c, self.peepholes[k])) if self.peepholes else x


def lstm(cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """c = f⊙c + i⊙g and h = o⊙tanh(c), for a step's product of the input and the weights."""
    b = cell.w.b
    i, o, f, g = cell.gates(b.Add(x, carried(cell, h)))
    i = cell.apply(0, cell.peeped(0, i, c))
    f = b.Sub(1.0, i) if cell.attrs.get("input_forget") else cell.apply(0, cell.peeped(2, f, c))
    c = b.Add(b.Mul(f, c), b.Mul(i, cell.apply(1, g)))
    o = cell.apply(0, cell.peeped(1, o, c))
    return b.Mul(o, cell.activations[2](c)), c


def gru(cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h = (1 − z)⊙n + z⊙h, where the reset gate r acts on h or, if it comes later, on h·Rᵀ."""
    b, hidden = cell.w.b, int(cell.attrs["hidden_size"])
    x_zr, x_n = parts(cell.w, x, [2 * hidden, hidden], -1)
    z, r = (cell.apply(0, gate) for gate in cell.gates(b.Add(x_zr, carried(cell, h))))
    after = cell.attrs.get("linear_before_reset")
    n = b.Mul(r, carried(cell, h, 1)) if after else carried(cell, b.Mul(r, h), 1)
    n = cell.apply(1, b.Add(x_n, n))
    return b.Add(b.Mul(b.Sub(1.0, z), n), b.Mul(z, h)), c


def rnn(cell: Cell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h = f(x·Wᵀ + h·Rᵀ + biases)"""
    return cell.apply(0, cell.w.b.Add(x, carried(cell, h))), c


def carried(cell: Cell, h: Tensor, part: int = 0) -> Tensor:
    """h·Rᵀ with its bias, or that part of it."""
    return plus(cell.w, cell.w.b.MatMul(h, cell.recurrence[part]), cell.bias[part])


def plus(w: Normaliser, x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else w.b.Add(x, bias)


STEP = {"LSTM": lstm, "GRU": gru, "RNN": rnn}


def recurrent(w: Normaliser, n: Source) -> Any:
    """All outputs of a layer: those of every step, the last h and the last c."""
    if {n.op, n.name} & w.around.opaque:
        n.attrs.pop("output_sequence", None)
        return None
    b, batch_first = w.b, bool(n.attrs.get("layout"))
    x = b.Transpose(n[0], perm=[1, 0, 2]) if batch_first else n[0]
    length, batch, _ = shape_of(x)
    if not 0 < length <= STEPS:
        raise Unsupported(
            f"its sequence has {length} steps, and it is written out for 1 to {STEPS}",
            where=n.where,
            remedy=f"choose another input size, or declare it a constant decision with --opaque {n.name}",
        )
    directions = shape_of(n[1])[0]
    n.attrs.setdefault("hidden_size", shape_of(n[2])[-1])
    starts = [initial(w, n, i, batch_first, directions, batch) for i in (5, 6)]
    found = [unrolled(w, n, x, d, [start[d] for start in starts]) for d in range(directions)]
    every = [b.Unsqueeze(joined(w, hs, 0), [1]) for hs, _, _ in found]
    ys = joined(w, every, 1)
    last = [joined(w, [ends[k] for ends in found], 0) for k in (1, 2)]
    if batch_first:
        ys, last = b.Transpose(ys, perm=[2, 0, 1, 3]), [b.Transpose(end, perm=[1, 0, 2]) for end in last]
    return [ys, *last][: len(n.outputs)]


def joined(w: Normaliser, parts: Sequence[Tensor], axis: int) -> Tensor:
    return w.b.Concat(*parts, axis=axis) if len(parts) > 1 else parts[0]


def initial(w: Normaliser, n: Source, i: int, batch_first: bool, directions: int, batch: int) -> list[Tensor]:
    """The state that each direction begins with: input i, or zeros."""
    given = n.input(i)
    if given is None:
        zeros = w.b.constant(np.zeros((1, batch, int(n.attrs["hidden_size"]))), like=n[0])
        return [zeros] * directions
    if batch_first:
        given = w.b.Transpose(given, perm=[1, 0, 2])
    return parts(w, given, [1] * directions, 0)


def parts(w: Normaliser, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """x cut into parts of these sizes."""
    return list(w.b.op("Split", x, ints(w, sizes), outputs=len(sizes), axis=axis)) if len(sizes) > 1 else [x]


def unrolled(
    w: Normaliser, n: Source, x: Tensor, d: int, start: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """h after every step of direction d, in the order of the sequence, and the last h and c."""
    cell = cell_of(w, n, d)
    weights = w.b.Transpose(w.b.Gather(n[1], np.int64(d), axis=0), perm=[1, 0])
    steps = parts(w, plus(w, w.b.MatMul(x, weights), cell.input_bias), [1] * shape_of(x)[0], 0)
    backwards = n.attrs.get("direction", "forward") == "reverse" or d == 1
    order = range(len(steps))[::-1] if backwards else range(len(steps))
    (h, c), hs = start, {}
    for t in order:
        new = STEP[n.op](cell, steps[t], h, c)
        within = inside(w, n, t)
        if within is None:
            (h, c), hs[t] = new, new[0]
            continue
        h, c = (w.b.Where(within, fresh, kept) for fresh, kept in zip(new, (h, c), strict=True))
        hs[t] = w.b.Where(within, new[0], w.b.constant(0.0, like=x))
    return [hs[t] for t in sorted(hs)], h, c


def inside(w: Normaliser, n: Source, t: int) -> Tensor | None:
    """[1, batch, 1]: where step t belongs to the sequence; None where it belongs to all of the batch."""
    lengths = n.input(4)
    if lengths is None or (is_known(lengths) and (values_of(lengths) > t).all()):
        return None
    return w.b.Reshape(w.b.Greater(lengths, w.b.constant(t, like=lengths)), [1, -1, 1])


def cell_of(w: Normaliser, n: Source, d: int) -> Cell:
    """Direction d of a layer."""
    b, hidden = w.b, int(n.attrs["hidden_size"])
    total = GATES[n.op] * hidden
    sizes = [2 * hidden, hidden] if n.op == "GRU" else [total]
    recurrence = parts(w, b.Transpose(b.Gather(n[2], np.int64(d), axis=0), perm=[1, 0]), sizes, 1)
    input_bias, bias = None, [None] * len(sizes)
    if n.input(3) is not None:
        input_bias, *bias = parts(w, b.Gather(n[3], np.int64(d), axis=0), [total, *sizes], 0)
    peepholes: Sequence[Tensor] = ()
    if n.op == "LSTM" and n.input(7) is not None:
        peepholes = parts(w, b.Gather(n[7], np.int64(d), axis=0), [hidden] * 3, 0)
    return Cell(w, recurrence, input_bias, bias, peepholes, activations(w, n, d), n.attrs)


def activations(w: Normaliser, n: Source, d: int) -> list[Activation]:
    """The activations of direction d. Each takes its parameters from the lists that all share."""
    count = len(ACTIVATIONS[n.op])
    names = n.attrs.get("activations") or ACTIVATIONS[n.op] * shape_of(n[1])[0]
    given = {key: list(n.attrs.get(f"activation_{key}") or ()) for key in ("alpha", "beta")}
    found = []
    for name in names:
        known = {title.lower(): title for title in (*PARAMETERS, *WITHOUT)}.get(str(name).lower())
        if known is None:
            raise BadModel(f"there is no activation '{name}'", where=n.where, remedy="export the model again")
        defaults = PARAMETERS.get(known, ())
        values = [
            float(given[key].pop(0)) if given[key] else value
            for key, value in zip(("alpha", "beta"), defaults, strict=False)
        ]
        found.append(activation(w, known, values))
    return found[d * count : (d + 1) * count]


def activation(w: Normaliser, name: str, values: Sequence[float]) -> Activation:
    """A function that writes an activation with these parameters."""
    b = w.b
    if name == "Affine":
        return lambda x: b.Add(b.Mul(x, values[0]), values[1])
    if name == "ScaledTanh":
        return lambda x: b.Mul(b.Tanh(b.Mul(x, values[1])), values[0])
    attrs: dict[str, Any] = dict(zip(("alpha", "beta"), values, strict=False))
    return lambda x: b.op(name, x, **attrs)


RECURRENT: dict[str, Lift] = dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent)
