"""How good explanations are: the measures of `evaluate`, and what maps agree on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxscope.ask import sensitivity
from onnxscope.ask.evaluation import correlation
from onnxscope.ask.metrics.case import Metric
from onnxscope.ask.metrics.table import METRICS
from onnxscope.ask.sensitivity import rank_correlation
from onnxscope.ask.trials import Trials
from onnxscope.audit.measures.value import HIGHER, LOWER, Asked, Measure, Value, none, value
from onnxscope.audit.opened import Seen

METHOD = frozenset({"method", "scores"})
WITH_MASK = METHOD | {"mask"}
AGREEING = ("saliency", "grad-cam", "discussion")  # methods whose maps are compared with each other
MEASURED = {  # the measures of evaluate: which values are better, and what they are
    "pointing": (HIGHER, WITH_MASK, "1 if the most relevant pixel lies inside the object's mask, else 0."),
    "mass_inside": (HIGHER, WITH_MASK, "The share of the positive relevance that lies inside the mask."),
    "insertion": (HIGHER, METHOD, "The area under the class's probability while pixels are put in."),
    "deletion": (LOWER, METHOD, "The area under the class's probability while pixels are taken out."),
    "top_kept": (HIGHER, METHOD, "The share of the five highest classes that stay with 30 % of the pixels."),
    "class_kept": (HIGHER, METHOD, "1 if the class stays the highest with 30 % of the pixels, else 0."),
    "class_sensitivity": (HIGHER, METHOD, "1 − correlation between the maps of the class and of others."),
    "image_recovery": (LOWER, METHOD, "|correlation| of the attribution with the picture itself."),
}


def by_trial(name: str) -> Callable[[Seen, Asked], list[Value]]:
    """A measure of evaluate."""

    def measured(seen: Seen, asked: Asked) -> list[Value]:
        found = seen.trial(asked.method)
        return value(found[name]) if name in found else none("the picture has no mask")

    return measured


def needs_of(metric: Metric) -> frozenset[str]:
    return WITH_MASK if "mask" in metric.needs else METHOD


def by_metric(name: str) -> Callable[[Seen, Asked], list[Value]]:
    """A metric of the literature."""
    return lambda seen, asked: value(seen.cases.measured([name], asked.method, seen.image, seen.mask)[name])


def agreement(seen: Seen, asked: Asked) -> list[Value]:
    names = asked.settings.get("methods", AGREEING)
    best = [int(seen.scores.argmax())]
    maps = [seen.trials.maps(name, seen.image, best)[0] for name in names]
    pairs = [(a, b) for k, a in enumerate(maps) for b in maps[:k]]
    return value(float(np.mean([rank_correlation(a, b) for a, b in pairs])), note=", ".join(names))


def without_weights(seen: Seen, asked: Asked) -> list[Value]:
    best = [int(seen.scores.argmax())]
    trained = seen.trials.attributions(asked.method, seen.image, best)
    other = random_network(seen).attributions(asked.method, seen.image, best)
    if not np.ptp(other):
        return none("the map of the network with random weights is constant")
    return value(abs(correlation(trained, other)))


def random_network(seen: Seen) -> Trials:
    """The network with random weights in all layers."""
    explainer = seen.trials.explainer
    return seen.once(
        "random", lambda: Trials(explainer.of(sensitivity.wholly_random(explainer.scope, seen.audited.seed)))
    )


MAPS = {
    **{
        name.replace("_", "-"): Measure(doc, by_trial(name), better, needs=needs)
        for name, (better, needs, doc) in MEASURED.items()
    },
    **{name: Measure(m.doc, by_metric(name), m.better, needs=needs_of(m)) for name, m in METRICS.items()},
    "agreement": Measure(
        "The mean rank correlation between the maps of several methods.",
        agreement,
        HIGHER,
        needs=frozenset({"scores"}),
        settings={"methods": f"their names; {', '.join(AGREEING)}"},
    ),
    "weight-randomisation": Measure(
        "|correlation| between the map and that of the network with random weights: near 0 if the map "
        "depends on what was learnt.",
        without_weights,
        LOWER,
        needs=METHOD,
    ),
}
