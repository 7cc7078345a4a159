"""Every metric equals Quantus' on the same maps and the same networks, to 1e-6 of the figure."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from PIL import Image

from onnxscope.api import opening
from onnxscope.ask.cases import Cases
from onnxscope.ask.explain import Explainer
from onnxscope.ask.metrics.case import PATCH, SAMPLES, STEPS, Case, with_channels
from onnxscope.ask.metrics.faithfulness import DRAWS
from onnxscope.ask.metrics.table import METRICS, measured
from onnxscope.ask.trials import Trials

SEED = 42
TOLERANCE = 1e-6
SIDE = 24  # of the generated network's pictures
METHODS = ("saliency", "input-x-gradient", "discussion")
NETWORKS = ("scenes_resnet", "generated")
MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture(scope="module")
def quantus() -> Iterator[Any]:
    """Quantus, which takes any `ModelInterface` here, and finds the function that NumPy 2.4 renamed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "trapz", np.trapezoid, raising=False)
        module = pytest.importorskip("quantus", reason="quantus is not installed")
        from quantus.helpers import utils

        patch.setattr(utils, "get_wrapped_model", lambda model, **_: model)
        yield module


@pytest.fixture(scope="module")
def cases() -> dict[tuple[str, str], Case]:
    """For each network and method: the highest score of a picture; every image is run alone."""
    found = {}
    for network in NETWORKS:
        model, image, mask = picture_of(network)
        trials = Trials(Explainer(opening.opened(model)))
        made = Cases(trials)
        for method in METHODS:
            case = made.case(method, image, mask)
            alone = lambda images, f=trials.network: np.stack([f(image[None]) for image in images])  # noqa: E731
            found[network, method] = replace(case, network=alone)
    return found


def picture_of(network: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model, a picture, and a mask."""
    if network == "generated":
        mask = np.zeros((SIDE, SIDE), bool)
        mask[4:15, 6:20] = True
        image = np.random.default_rng(3).random((1, 3, SIDE, SIDE), np.float32)
        return networks.vgg(False, 4, (4, 6), side=SIDE), image, mask
    levels = np.asarray(Image.open(MODELS / "scenes" / "car_0.png").convert("RGB"), np.float32)
    mask = np.asarray(Image.open(MODELS / "scenes" / "car_0.mask.png").convert("L")) > 127
    return MODELS / "scenes_resnet.onnx", levels.transpose(2, 0, 1)[None] / 255, mask


def interface(case: Case) -> Any:
    """The network of a case for Quantus. Its layers with random weights are one, for all of them are random."""
    from quantus.helpers.model.model_interface import ModelInterface

    class Network(ModelInterface):  # type: ignore[misc]
        explain = staticmethod(case.explain)

        def predict(self, x: np.ndarray, **_: Any) -> np.ndarray:
            return case.network(np.asarray(x))

        def shape_input(self, x: np.ndarray, shape: Any, **_: Any) -> np.ndarray:
            return x.reshape(shape)

        def get_model(self) -> Any:
            return self

        def get_random_layer_generator(self, *_: Any, **__: Any) -> Iterator[tuple[str, Any]]:
            yield "all", related(self, case.explain_random)

        def add_mean_shift_to_first_layer(self, shift: float, _: Any) -> Any:
            assert shift == -1
            return related(self, case.explain_shifted)

        @property
        def random_layer_generator_length(self) -> int:
            return 1

        def get_softmax_arg_model(self) -> Any: ...
        def state_dict(self) -> Any: ...
        def get_hidden_representations(self, *_: Any) -> Any: ...

    def related(network: Any, explain: Any) -> Any:
        other = Network(None)
        other.explain = explain
        return other

    return Network(None)


def parameters(name: str, case: Case, quantus: Any) -> dict[str, Any]:
    """What `METRICS` says in words."""
    values, (_, rows, columns) = case.image.size, case.image.shape
    steps = {"features_in_step": values // STEPS}
    added = {"nr_samples": SAMPLES, "return_nan_when_prediction_changes": False}
    return {
        "faithfulness-correlation": {
            "subset_size": values // 16,
            "perturb_baseline": float(case.image.min()),
            "return_aggregate": False,
        },
        "faithfulness-estimate": steps,
        "monotonicity-correlation": steps | {"nr_samples": DRAWS},
        "pixel-flipping": steps | {"return_auc_per_sample": True},
        "infidelity": {"perturb_patch_sizes": [PATCH], "n_perturb_samples": 1},
        "local-lipschitz-estimate": {"nr_samples": SAMPLES},
        "max-sensitivity": {"nr_samples": SAMPLES},
        "avg-sensitivity": {"nr_samples": SAMPLES},
        "relative-input-stability": added,
        "relative-output-stability": added,
        "continuity": {"return_aggregate": False},
        "top-k-intersection": {"k": rows * columns // 10},
        "mprt": {"return_last_correlation": True},
        "random-logit": {
            "num_classes": case.network(case.image[None]).size,
            "similarity_func": quantus.functions.similarity_func.correlation_spearman,
        },
        "completeness": {"normalise": False},
        # its own function leaves the first value of the image as it is
        "input-invariance": {"perturb_func": lambda arr, input_shift, **_: arr + input_shift},
    }.get(name, {})


def by_quantus(name: str, case: Case, quantus: Any) -> float:
    """The figure that Quantus finds."""
    metric = getattr(quantus, METRICS[name].quantus)(
        **parameters(name, case, quantus), disable_warnings=True, display_progressbar=False
    )

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        pairs = zip(inputs, targets, strict=True)
        return np.stack([with_channels(model.explain(image, int(score))) for image, score in pairs])

    if name == "efficient-mprt":  # it also takes the scores' entropy, which does not enter the figure
        case = replace(case, network=lambda images, f=case.network: np.abs(f(images)))
    np.random.seed(SEED)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = metric(
            model=interface(case),
            x_batch=case.image[None],
            y_batch=np.array([case.score]),
            a_batch=with_channels(case.attribution)[None].copy(),
            s_batch=case.mask[None, None],
            explain_func=explain,
            softmax=False,
            channel_first=True,
        )
    if name in ("region-perturbation", "selectivity"):
        return float(metric.get_auc_score)
    return float(np.asarray(found).reshape(-1)[-1])


def deviation(name: str, case: Case, quantus: Any) -> float:
    """Between both figures, as a share of Quantus'."""
    ours, theirs = measured(name, case), by_quantus(name, case, quantus)
    assert np.isfinite(ours) and np.isfinite(theirs), (ours, theirs)
    return abs(ours - theirs) / abs(theirs) if ours != theirs else 0.0


EXCEPT = ("non-sensitivity", "completeness")  # tested by themselves below


@pytest.mark.parametrize("name", [name for name in METRICS if name not in EXCEPT])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_metric_equals_that_of_quantus(
    name: str, network: str, cases: dict[tuple[str, str], Case], quantus: Any
) -> None:
    for method in METHODS:
        assert deviation(name, cases[network, method], quantus) <= TOLERANCE, method


@pytest.mark.parametrize("normalised", [False, True])
def test_non_sensitivity_equals_that_of_quantus(normalised: bool, quantus: Any) -> None:
    """On small networks, for it runs them once for each value of the image; half of the map counts as 0."""
    trials = Trials(Explainer(opening.opened(networks.vgg(normalised, 4, (4, 6), side=16))))
    image = np.random.default_rng(4).random((1, 3, 16, 16), np.float32)
    image[:, :, :8] = image.min()  # what is replaced by itself changes nothing
    made = Cases(trials)
    for method in METHODS:
        case = made.case(method, image)
        case = replace(case, mask=np.ones((16, 16), bool), attribution=case.attribution * np.tri(16))
        assert deviation("non-sensitivity", case, quantus) == 0
        assert 0 < measured("non-sensitivity", case) < image.size


@pytest.mark.parametrize("added", [0, 1])
def test_completeness_equals_that_of_quantus(added: int, quantus: Any) -> None:
    """For a linear network of whole numbers, where it holds, and with an attribution that is off by 1."""
    random = np.random.default_rng(5)
    for _ in range(3):
        weights, image = random.integers(-4, 5, (2, 3, 6, 6)), random.integers(0, 9, (3, 6, 6))
        image[0, 0, 0] = 0
        attribution = (weights[1] * image).astype(np.float64)
        attribution[1, 2, 3] += added
        case = Case(
            network=lambda images, w=weights: (images.reshape(len(images), -1) @ w.reshape(2, -1).T).astype(
                np.float32
            ),
            image=image.astype(np.float32),
            attribution=attribution,
            score=1,
            mask=np.ones((6, 6), bool),
        )
        assert measured("completeness", case) == by_quantus("completeness", case, quantus) == 1 - added


@pytest.mark.parametrize("name", ["region-perturbation", "selectivity"])
def test_squares_that_do_not_fit_are_those_of_quantus(name: str, quantus: Any) -> None:
    random = np.random.default_rng(6)
    for sides in ((10, 17), (19, 8), (12, 12)):
        weights, image = random.standard_normal((2, 3, *sides)), random.random((3, *sides), np.float32)
        case = Case(
            network=lambda images, w=weights: images.reshape(len(images), -1) @ w.reshape(2, -1).T,
            image=image,
            attribution=random.standard_normal(sides),
            score=1,
            mask=np.ones(sides, bool),
        )
        assert deviation(name, case, quantus) <= TOLERANCE, sides
