"""What a model's file tells, which of its units are dead, what it sees at once, and what a pass costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onnxscope.ask.interpreter import impulses
from onnxscope.audit.facts import facts_of
from onnxscope.audit.measures.value import (
    HIGHER,
    LOWER,
    MODEL,
    NEITHER,
    SET,
    Asked,
    Measure,
    Value,
    none,
    value,
)
from onnxscope.audit.opened import Seen
from onnxscope.files import models
from onnxscope.files.pixels import channels_last
from onnxscope.rewriting.build import refrozen
from onnxscope.rewriting.scope import Scope
from onnxscope.run.single_runs import session

ACTIVE = {
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Gelu",
    "HardSwish",
    "Sigmoid",
    "Mish",
    "Softplus",
    "Celu",
}
REPEATS = 7  # runs of which the median time is taken
AROUND = 8  # channels of a feature map whose rows show what it sees


def from_file(number: Callable[[Mapping[str, Any]], float]) -> Callable[[Seen, Asked], list[Value]]:
    """A figure that the file tells, or its ratio to that of the baseline's file."""

    def measured(seen: Seen, asked: Asked) -> list[Value]:
        own = number(seen.audited.facts)
        if not asked.baseline:
            return value(own)
        other = number(facts_of(Path(asked.baseline)))
        return value(own / other) if other else none("the baseline's is 0")

    return measured


def other_operators(seen: Seen, asked: Asked) -> list[Value]:
    found = seen.audited.facts["operators"]
    allowed, forbidden = (set(asked.settings.get(key, ())) for key in ("allowed", "forbidden"))
    wrong = [op for op in found if op in forbidden or (allowed and op not in allowed)]
    return value(float(len(wrong)), note=", ".join(wrong))


def carried_nodes(seen: Seen, asked: Asked) -> list[Value]:
    steps = seen.opened.scope.steps
    given_up = [s for s in steps if s.how not in ("linear", "frozen")]
    where = given_up[0].name if given_up else ""
    return value(
        1 - len(given_up) / max(len(steps), 1), layer=where, note=where and f"such as {given_up[0].op}"
    )


def active_units(seen: Seen, asked: Asked) -> list[Value]:
    """Which channels of each activation are above 0 anywhere; the whole set decides which are dead."""
    activations = seen.once("activations", lambda: Activations(seen.opened.scope))
    if not activations.tensors:
        return none("the network has no activations")
    found = activations.running.run(dict(seen.x.map.fed))
    held = {}
    for name, tensor in activations.tensors.items():
        if (values := found.get(tensor)) is not None:
            axes = (0, *range(2, values.ndim))
            held[name] = np.packbits((values > 0).any(axes)).tobytes().hex() + f":{values.shape[1]}"
    return [Value(None, held=held)]


class Activations:
    """A session that gives the activations of a network, by the names of their nodes."""

    def __init__(self, scope: Scope) -> None:
        nodes = [n for n in scope.analysed().nodes if n.op in ACTIVE and len(n.outputs[0].shape) > 1]
        self.tensors = {n.name: n.outputs[0].name for n in nodes}
        graph = scope.base()
        graph.outputs = [n.outputs[0] for n in graph.nodes if n.name in self.tensors]
        self._open = ExitStack()  # it ends with the process
        if nodes:
            self.running = self._open.enter_context(session(graph))


def dead_units(every: Sequence[Mapping[str, Any]]) -> list[Value]:
    """The share of channels that no picture of the set activates."""
    alive: dict[str, np.ndarray] = {}
    for held in every:
        for name, text in held.items():
            bits, _, count = str(text).partition(":")
            seen = np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8), count=int(count)).astype(bool)
            alive[name] = seen | alive[name] if name in alive else seen
    if not alive:
        return none("the network has no activations")
    dead = {name: int((~a).sum()) for name, a in alive.items()}
    worst = max(dead, key=lambda name: dead[name] / alive[name].size)
    total = sum(a.size for a in alive.values())
    note = f"{sum(dead.values())} of {total} channels, {dead[worst]} of {alive[worst].size} in this layer"
    return value(sum(dead.values()) / total, layer=worst if dead[worst] else "", note=note)


def receptive_field(seen: Seen, asked: Asked) -> list[Value]:
    if seen.mask is None:
        return none("the picture has no mask")
    layer = seen.opened.explainer.layer
    scope = seen.opened.scope
    engine = seen.once("features", lambda: seen.opened.running.engine(refrozen(scope, output=layer)))
    frozen = engine.freeze(seen.fed)
    shape = frozen.y0.shape
    height, width = shape[2] // 2, shape[3] // 2
    strongest = np.argsort(-np.abs(frozen.y0[0, :, height, width]))[:AROUND]
    places = [int(np.ravel_multi_index((0, c, height, width), shape)) for c in strongest]
    rows = np.asarray(frozen.transpose(impulses(frozen.outputs, places)))
    reached = sum(np.abs(channels_last(row.reshape(frozen.x0.shape))).sum(2) for row in rows) > 0
    field, thing = (sides(reached), sides(seen.mask))
    return value(
        min(f / t for f, t in zip(field, thing, strict=True)),
        layer=layer,
        note=f"{field[0]}x{field[1]} pixels",
    )


def sides(pixels: np.ndarray) -> tuple[int, int]:
    """The sizes of the box around all pixels that are true."""
    where = np.argwhere(pixels)
    if not len(where):
        return 0, 0
    height, width = (where.max(0) - where.min(0) + 1).tolist()
    return int(height), int(width)


def pass_time(seen: Seen, asked: Asked) -> list[Value]:
    if not asked.baseline:
        return none("the time of a pass is a ratio, and no baseline is named")
    own, other = seen.audited.model, models.load(Path(asked.baseline))
    fed = dict(seen.x.map.fed)
    with session(own) as ours, session(other) as theirs:
        names = dict(zip(theirs.inputs, ours.inputs, strict=False))
        others = {n: as_type(fed[mine], theirs.inputs[n]) for n, mine in names.items() if mine in fed}
        both = [(ours, fed), (theirs, others)]
        times: list[list[float]] = [[], []]
        for _ in range(1 + REPEATS):
            for (running, feeds), spent in zip(both, times, strict=True):
                began = time.perf_counter()
                running.run(feeds)
                spent.append(time.perf_counter() - began)
    return value(median(times[0][1:]) / median(times[1][1:]))


def as_type(values: np.ndarray, wanted: str) -> np.ndarray:
    """The values in a type that onnxruntime names, such as tensor(float16)."""
    kind = wanted.removeprefix("tensor(").removesuffix(")")
    return values.astype({"float": "float32", "double": "float64"}.get(kind, kind))


MODELS = {
    "bytes": Measure(
        "The size of the model's files, or its ratio to the baseline's.",
        from_file(lambda f: f["bytes"]),
        LOWER,
        MODEL,
    ),
    "parameters": Measure(
        "How many parameters the model stores, or the ratio.",
        from_file(lambda f: f["parameters"]),
        LOWER,
        MODEL,
    ),
    "nodes": Measure(
        "How many nodes the graph has, or the ratio.",
        from_file(lambda f: sum(f["operators"].values())),
        LOWER,
        MODEL,
    ),
    "opset": Measure(
        "The version of the standard's operators.",
        from_file(lambda f: f["opsets"].get("ai.onnx", 0)),
        HIGHER,
        MODEL,
    ),
    "external-data": Measure(
        "1 if the model keeps weights in other files, else 0.",
        from_file(lambda f: f["external"]),
        NEITHER,
        MODEL,
    ),
    "other-operators": Measure(
        "How many kinds of operators are not allowed, or forbidden.",
        other_operators,
        LOWER,
        MODEL,
        settings={"allowed": "the only operators that may be there", "forbidden": "those that may not"},
        most=0.0,
    ),
    "carried": Measure(
        "The share of the active nodes that the linear map carries; the others are taken as decisions.",
        carried_nodes,
        HIGHER,
    ),
    "dead-units": Measure(
        "The share of the channels of activations that no picture of the set activates.",
        active_units,
        LOWER,
        SET,
        joined=dead_units,
    ),
    "receptive-field": Measure(
        "How many times the part of the picture that the last feature map's centre sees covers the object.",
        receptive_field,
        HIGHER,
        needs=frozenset({"mask"}),
    ),
    "pass-time": Measure(
        "The time of a pass, as a ratio to the baseline's in the same run.",
        pass_time,
        LOWER,
        needs=frozenset({"baseline"}),
        timed=True,
    ),
}
