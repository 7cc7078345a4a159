"""What the linear map of a picture tells: its residual, its gain, and how it changes."""

from __future__ import annotations

import math

import numpy as np

from onnxscope.ask.interpreter import score_rows
from onnxscope.ask.sensitivity import attacked
from onnxscope.audit.measures.value import LOWER, NEITHER, Asked, Measure, Value, none, value
from onnxscope.audit.opened import Seen

PROBES = 8  # random vectors for means over directions
SIGMA = 1e-3  # the residual at which a singular value is taken


def residual_share(seen: Seen, asked: Asked) -> list[Value]:
    book, _ = seen.ledger(asked.question)
    parts = abs(book.residual) + abs(book.input)
    largest = max(book.layers, key=lambda name: abs(book.layers[name]), default="")
    return value(abs(book.residual) / parts if parts else math.nan, layer=largest)


def residual_norm(seen: Seen, asked: Asked) -> list[Value]:
    size = norm(seen.x.output)
    return value(norm(np.asarray(seen.x.residual())) / size if size else math.nan)


def map_change(seen: Seen, asked: Asked) -> list[Value]:
    if seen.x_beside is None:
        return none("there is only one picture")
    here = carried(seen)
    there = np.asarray(seen.x_beside.map.forward(probes(seen)))
    size = norm(here)
    return value(norm(np.subtract(here, there, dtype=np.float64)) / size if size else math.nan)


def largest_gain(seen: Seen, asked: Asked) -> list[Value]:
    found = seen.x.svd(1, tol=asked.number("tolerance", SIGMA), seed=seen.audited.seed)
    return value(found.sigma[0], note=found.stopped)


def noise_gain(seen: Seen, asked: Asked) -> list[Value]:
    return value(norm(carried(seen)) / norm(probes(seen)))


def attack(seen: Seen, asked: Asked) -> list[Value]:
    image, best = seen.image, int(seen.scores.argmax())
    (gradient,) = score_rows(seen.trials.explainer.freeze(image), [best])
    step = asked.number("levels", 1) * seen.opened.preprocess.level(seen.opened.image_shape)
    other = int(seen.trials.network(attacked(image, gradient, step)).argmax())
    return value(float(other != best), note="" if other == best else f"{best} becomes {other}")


def probes(seen: Seen) -> np.ndarray:
    """Random vectors, the same for every picture."""
    random, shape = np.random.default_rng(seen.audited.seed), (PROBES, *seen.x.map.inputs.shape)
    return seen.once("probes", lambda: random.standard_normal(shape).astype(np.float32))


def carried(seen: Seen) -> np.ndarray:
    return np.asarray(seen.x.map.forward(probes(seen)))


def norm(a: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(a, np.float64)))


LINEAR = {
    "residual-share": Measure(
        "The share of the biases in a value: |r| / (|r| + |F·x0|), for the value that is asked for.",
        residual_share,
        LOWER,
        needs=frozenset({"question"}),
    ),
    "residual-norm": Measure(
        "‖r‖/‖y‖: how far the network is from linear at the picture.", residual_norm, NEITHER
    ),
    "map-change": Measure(
        "‖(F − F′)·v‖/‖F·v‖ for random v, where F′ is that of the next picture: how far F changes.",
        map_change,
        NEITHER,
    ),
    "largest-gain": Measure(
        "The largest singular value of F: the most by which a small change of the picture is enlarged.",
        largest_gain,
        LOWER,
        settings={"tolerance": f"the residual at which it is taken, {SIGMA:g}"},
    ),
    "noise-gain": Measure("‖F·v‖/‖v‖ for random v: how the network enlarges noise.", noise_gain, LOWER),
    "fgsm-flips": Measure(
        "1 where an attack by FGSM changes the class, else 0.",
        attack,
        LOWER,
        needs=frozenset({"scores"}),
        settings={"levels": "the change of each pixel, of 255; 1"},
    ),
}
