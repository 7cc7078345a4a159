"""The table of all metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxscope.ask.metrics import (
    axiomatic,
    complexity,
    faithfulness,
    localisation,
    randomisation,
    robustness,
)
from onnxscope.ask.metrics.case import Case, Metric
from onnxscope.errors import BadOption

ALL = "all"
NAMED_ONLY = ("non-sensitivity",)  # not among `all`: it runs the network once for each value of the image
FEATURES = "features_in_step=values // 24"
NOISY = "nr_samples=10"
ADDED = "nr_samples=10, return_nan_when_prediction_changes=False"
METRICS: dict[str, Metric] = {
    "faithfulness-correlation": Metric(
        faithfulness.faithfulness_correlation,
        "faithfulness",
        "higher",
        "FaithfulnessCorrelation",
        "subset_size=values // 16, perturb_baseline=min(x)",
    ),
    "faithfulness-estimate": Metric(
        faithfulness.faithfulness_estimate, "faithfulness", "higher", "FaithfulnessEstimate", FEATURES
    ),
    "monotonicity-correlation": Metric(
        faithfulness.monotonicity_correlation,
        "faithfulness",
        "higher",
        "MonotonicityCorrelation",
        f"{FEATURES}, {NOISY}",
    ),
    "pixel-flipping": Metric(
        faithfulness.pixel_flipping,
        "faithfulness",
        "lower",
        "PixelFlipping",
        f"{FEATURES}, return_auc_per_sample=True",
    ),
    "region-perturbation": Metric(
        faithfulness.region_perturbation,
        "faithfulness",
        "higher",
        "RegionPerturbation",
        "get_auc_score",
    ),
    "selectivity": Metric(faithfulness.selectivity, "faithfulness", "lower", "Selectivity", "get_auc_score"),
    "infidelity": Metric(
        faithfulness.infidelity,
        "faithfulness",
        "lower",
        "Infidelity",
        "perturb_patch_sizes=[8], n_perturb_samples=1",
    ),
    "local-lipschitz-estimate": Metric(
        robustness.local_lipschitz_estimate,
        "robustness",
        "lower",
        "LocalLipschitzEstimate",
        NOISY,
        ("explain",),
    ),
    "max-sensitivity": Metric(
        robustness.max_sensitivity, "robustness", "lower", "MaxSensitivity", NOISY, ("explain",)
    ),
    "avg-sensitivity": Metric(
        robustness.avg_sensitivity, "robustness", "lower", "AvgSensitivity", NOISY, ("explain",)
    ),
    "relative-input-stability": Metric(
        robustness.relative_input_stability,
        "robustness",
        "lower",
        "RelativeInputStability",
        ADDED,
        ("explain",),
    ),
    "relative-output-stability": Metric(
        robustness.relative_output_stability,
        "robustness",
        "lower",
        "RelativeOutputStability",
        ADDED,
        ("explain",),
    ),
    "continuity": Metric(
        robustness.continuity,
        "robustness",
        "lower",
        "Continuity",
        "return_aggregate=False",
        ("explain",),
    ),
    "attribution-localisation": Metric(
        localisation.attribution_localisation,
        "localisation",
        "higher",
        "AttributionLocalisation",
        "",
        ("mask",),
    ),
    "auc": Metric(localisation.auc, "localisation", "higher", "AUC", "", ("mask",)),
    "pointing-game": Metric(
        localisation.pointing_game, "localisation", "higher", "PointingGame", "", ("mask",)
    ),
    "relevance-mass-accuracy": Metric(
        localisation.relevance_mass_accuracy, "localisation", "higher", "RelevanceMassAccuracy", "", ("mask",)
    ),
    "relevance-rank-accuracy": Metric(
        localisation.relevance_rank_accuracy, "localisation", "higher", "RelevanceRankAccuracy", "", ("mask",)
    ),
    "top-k-intersection": Metric(
        localisation.top_k_intersection,
        "localisation",
        "higher",
        "TopKIntersection",
        "k=pixels // 10",
        ("mask",),
    ),
    "complexity": Metric(complexity.complexity, "complexity", "lower", "Complexity", ""),
    "effective-complexity": Metric(
        complexity.effective_complexity, "complexity", "lower", "EffectiveComplexity", ""
    ),
    "sparseness": Metric(complexity.sparseness, "complexity", "higher", "Sparseness", ""),
    "mprt": Metric(
        randomisation.mprt,
        "randomisation",
        "lower",
        "MPRT",
        "return_last_correlation=True",
        ("explain_random",),
    ),
    "efficient-mprt": Metric(
        randomisation.efficient_mprt, "randomisation", "higher", "EfficientMPRT", "", ("explain_random",)
    ),
    "random-logit": Metric(
        randomisation.random_logit,
        "randomisation",
        "lower",
        "RandomLogit",
        "num_classes=scores, similarity_func=correlation_spearman",
        ("explain",),
    ),
    "completeness": Metric(
        axiomatic.completeness,
        "axiomatic",
        "higher",
        "Completeness",
        "normalise=False",
    ),
    "non-sensitivity": Metric(axiomatic.non_sensitivity, "axiomatic", "lower", "NonSensitivity", ""),
    "input-invariance": Metric(
        axiomatic.input_invariance,
        "axiomatic",
        "higher",
        "InputInvariance",
        "perturb_func=lambda arr, input_shift, **_: arr + input_shift",
        ("explain_shifted",),
    ),
}


def measured(name: str, case: Case) -> float:
    """The metric of this name; NaN where the case lacks what it needs, or where it is not defined."""
    metric = metric_called(name)
    empty = case.mask is None or case.mask.all() == case.mask.any()
    if any(empty if need == "mask" else getattr(case, need) is None for need in metric.needs):
        return float("nan")
    with np.errstate(all="ignore"):
        value = metric.function(case)
    return value if math.isfinite(value) else float("nan")


def metric_called(name: str) -> Metric:
    """The entry of the table; an error where there is none."""
    if name not in METRICS:
        raise BadOption(
            f"there is no metric '{name}'",
            where="--metric",
            remedy=f"choose from {', '.join(METRICS)}, or '{ALL}'",
        )
    return METRICS[name]


def chosen(names: Sequence[str]) -> list[str]:
    """The names of these metrics, each once; `all` stands for all but `NAMED_ONLY`."""
    usual = [name for name in METRICS if name not in NAMED_ONLY]
    found = [one for name in names for one in (usual if name == ALL else [name])]
    for name in found:
        metric_called(name)
    return list(dict.fromkeys(found))
