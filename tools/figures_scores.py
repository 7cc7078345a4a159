"""The papers' claims about classifiers' scores: what the image contributes, and each layer's biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from findings import Claim, Finding, each, opened
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from photographs import as_images
from scenes import held_out

from onnxscope.ask.ledger import Ledger, ledgers
from onnxscope.show.charts import LINES, drawn

VGG, VGG_BN, RESNET = CLASSIFIERS = ("scenes_vgg", "scenes_vgg_bn", "scenes_resnet")
CONVOLUTIONS = [f"conv{k}{part}" for k in range(5) for part in "ab"]  # of both VGGs
PASSED = {  # the tensors that every path from the image to the scores passes, in their order
    VGG: ["image", *(f"{name}.relu" for name in CONVOLUTIONS), "dense.relu"],
    VGG_BN: ["image", *(f"{name}.norm.relu" for name in CONVOLUTIONS), "dense.relu"],
    RESNET: ["image", "stem.norm.relu", *(f"block{k}.relu" for k in range(4))],
}
EARLY, LATE = CONVOLUTIONS[:2], CONVOLUTIONS[-3:]
TABLE_3 = {
    "AlexNet": 0.785,
    "VGG-19": 0.855,
    "ResNet-152": 0.811,
    "SqueezeNet 1.1": 0.843,
    "DenseNet-161": 0.95,
    "Inception v3": 0.916,
}
MID_GREY = 0.5
ACROSS = 7.2  # the width of charts with several panels, in inches


@dataclass(frozen=True)
class Judged:
    """The ledger of a scene's highest score."""

    book: Ledger
    right: bool  # whether the score is that of the object's kind
    grey: float  # what F contributes to the score for a uniform mid grey


@cache
def judged(name: str, count: int) -> list[Judged]:
    """A classifier's ledgers for held-out scenes."""
    answers = []
    for scene in held_out(count):
        x = opened(name).freeze(as_images(scene.pixels[None]))
        top = int(x.output.argmax())
        grey = x.project(np.full_like(x.image, MID_GREY)).reshape(-1)[top]
        answers.append(Judged(ledgers(x, [top])[0], top == scene.kind, float(grey)))
    return answers


def spread(shares: np.ndarray) -> str:
    """Mean and standard deviation of shares, as text."""
    return f"{100 * shares.mean():.0f} ± {100 * shares.std():.0f} %"


def panels(rows: int, columns: int, height: float, paint: Callable[[int, Axes], None]) -> bytes:
    """A chart of several panels with the same vertical scale."""

    def whole(figure: Figure, axes: Axes, ink: str) -> None:
        axes.remove()
        for k, panel in enumerate(figure.subplots(rows, columns, sharey=True).flat):
            paint(k, panel)
            panel.axhline(0, color=ink, linewidth=0.8)
            panel.grid(axis="y")

    return drawn(whole, height, ACROSS)[0]


def table3(count: int) -> Finding:
    """The section about the residual's share of the highest score."""
    answers = {name: judged(name, count) for name in CLASSIFIERS}
    shares = {n: np.array([a.book.residual / a.book.score for a in found]) for n, found in answers.items()}
    bounded = {
        n: np.array([abs(a.book.residual) / (abs(a.book.residual) + abs(a.book.input)) for a in found])
        for n, found in answers.items()
    }
    from_grey = {
        n: np.array([(a.book.residual + a.grey) / a.book.score for a in found])
        for n, found in answers.items()
    }
    right = {n: float(np.mean([a.right for a in found])) for n, found in answers.items()}
    rows = [
        [
            "network",
            "names rightly",
            "r / score",
            "abs(r) / (abs(r) + abs(F·x0))",
            "r / score, counted from mid grey",
        ],
        *(
            [n, f"{100 * right[n]:.0f} %", *(spread(s[n]) for s in (shares, bounded, from_grey))]
            for n in CLASSIFIERS
        ),
        *([f"{n}, in the paper", "–", f"{100 * share:.1f} %", "–", "–"] for n, share in TABLE_3.items()),
    ]
    means = {n: float(s.mean()) for n, s in shares.items()}
    ranked = sorted(CLASSIFIERS, key=right.__getitem__)
    better = [means[a] < means[b] for a, b in pairwise(ranked) if right[a] < right[b]]

    def paint(figure: Figure, axes: Axes, ink: str) -> None:
        for k, (name, colour) in enumerate(zip(CLASSIFIERS, LINES, strict=False)):
            shift = np.random.default_rng(0).uniform(-0.25, 0.25, count)
            axes.scatter(100 * shares[name], k + shift, 12, colour, alpha=0.5, linewidths=0)
            axes.vlines(100 * means[name], k - 0.38, k + 0.38, ink, linewidth=2)
        axes.vlines(
            [100 * s for s in TABLE_3.values()],
            len(CLASSIFIERS) - 0.38,
            len(CLASSIFIERS) + 0.38,
            ink,
            linewidth=1,
        )
        axes.set_yticks(range(len(CLASSIFIERS) + 1), [*CLASSIFIERS, "the paper's six"])
        axes.set_xlabel("r / score in %; a dot is a scene, an upright line a mean")
        axes.invert_yaxis()
        axes.grid(axis="x")

    return Finding(
        "Table 3: the residual's share of the highest score",
        f"""
        Mean ± standard deviation over {count} held-out scenes. The share r / score is what the paper seems
        to report. It exceeds 100 % if image and biases work against each other; the bounded share counts the
        sizes of both. How a score is divided depends on which image is zero. For our networks that is black;
        networks trained on ImageNet are mostly given images with the mean colour subtracted. The last column
        divides our scores as if mid grey were zero: what F contributes for that grey is then part of the
        residual. If two networks name nearly as many scenes rightly, it is chance which of them is
        better.""",
        [
            Claim(
                "The residual typically adds more than 80 % of a score.",
                "mean r / score > 0.8",
                each(means),
                [m > 0.8 for m in means.values()],
            ),
            Claim(
                "Its share is larger in networks with better benchmarks.",
                "a larger mean in each network that names more scenes rightly",
                f"named rightly: {each(right)}",
                better or [False],
            ),
        ],
        {"table3.png": drawn(paint, 2.9, ACROSS)[0]},
        rows,
    )


def by_layer(answers: Sequence[Judged]) -> dict[str, np.ndarray]:
    """The shares of each scene's score that the image and each layer with its normalisation contribute."""
    found: dict[str, np.ndarray] = {"image": np.array([a.book.input / a.book.score for a in answers])}
    for name in answers[0].book.layers:
        layer = name.removesuffix(".norm")
        found[layer] = found.get(layer, 0) + np.array([a.book.layers[name] / a.book.score for a in answers])
    return found


def figure4(count: int) -> Finding:
    """The section about what each layer contributes, without and with BatchNormalization."""
    shares = {name: by_layer(judged(name, count)) for name in (VGG, VGG_BN)}
    means = {
        name: {layer: float(v.mean()) for layer, v in layers.items() if layer != "image"}
        for name, layers in shares.items()
    }
    total = {name: sum(map(abs, m.values())) for name, m in means.items()}
    most = {name: max(m, key=lambda layer, m=m: abs(m[layer])) for name, m in means.items()}
    largest = {name: f"the largest is {layer}, {means[name][layer]:+.2f}" for name, layer in most.items()}
    ends = sum(abs(means[VGG][layer]) for layer in EARLY + LATE) / total[VGG]
    depth = {
        name: sum(k * abs(v) for k, v in enumerate(m.values(), 1)) / total[name] for name, m in means.items()
    }

    def paint(k: int, axes: Axes) -> None:
        name, layers = list(shares.items())[k]
        colours = [LINES[1], *[LINES[0]] * (len(layers) - 1)]
        axes.bar(
            range(len(layers)),
            [v.mean() for v in layers.values()],
            yerr=[v.std() for v in layers.values()],
            color=colours,
            error_kw={"ecolor": "#888888", "capsize": 3},
        )
        axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=8)
        axes.set(title=name, ylabel="share of the score")

    return Finding(
        "Figure 4: what each layer contributes to the highest score",
        f"""
        Means over {count} held-out scenes and their standard deviations, as shares of the score: the image
        through all of F (`image`), and each layer's biases through the layers that follow. A
        BatchNormalization is counted with its convolution.""",
        [
            Claim(
                (
                    "Without BatchNormalization most comes from the first two layers and the three before "
                    "the dense ones."
                ),
                (
                    "together more than half of what the layers contribute, by the size of the means; these "
                    f"are {len(EARLY + LATE)} of {len(means[VGG])} layers"
                ),
                f"{100 * ends:.0f} %; {largest[VGG]}",
                [ends > 0.5],
            ),
            Claim(
                "With BatchNormalization the contributions move deeper.",
                "a larger mean number of the layer, weighted by size",
                f"{each(depth, '.1f')} of {len(means[VGG])}",
                [depth[VGG_BN] > depth[VGG]],
            ),
            Claim(
                "With it, one major contribution stands right before the dense layers.",
                f"the largest is one of {', '.join(LATE)}",
                largest[VGG_BN],
                [most[VGG_BN] in LATE],
            ),
        ],
        {"figure4.png": panels(2, 1, 5.6, paint)},
    )


def remaining(book: Ledger, order: Sequence[str], tensor: str) -> float:
    """The contribution of the biases after a tensor that every path passes; `order` names the nodes."""
    behind = set(order[order.index(tensor) + 1 :]) if tensor in order else set(order)
    return sum(added for layer, added in book.layers.items() if layer in behind)


def delving3(count: int) -> Finding:
    """The section about what the biases after a tensor contribute, by the tensor's depth."""
    ratios = {}
    for name, tensors in PASSED.items():
        order = [step.name for step in opened(name).engine.scope.steps]
        ratios[name] = np.array(
            [[remaining(a.book, order, t) / a.book.score for t in tensors] for a in judged(name, count)]
        )
    means = {name: r.mean(0) for name, r in ratios.items()}
    first = {name: float(m[1]) for name, m in means.items()}
    down = np.diff(means[VGG]) < 0
    half = {
        name: next((k for k, v in enumerate(m) if v < m[0] / 2), len(m)) / len(m) for name, m in means.items()
    }

    def paint(k: int, axes: Axes) -> None:
        name, r = list(ratios.items())[k]
        places = range(r.shape[1])
        axes.fill_between(
            places, *np.quantile(r, (0.25, 0.75), axis=0), color=LINES[k], alpha=0.25, linewidth=0
        )
        axes.plot(places, r.mean(0), marker="o", markersize=4, color=LINES[k])
        axes.set_xticks(
            places,
            [t.removesuffix(".relu").removesuffix(".norm") for t in PASSED[name]],
            rotation=90,
            fontsize=8,
        )
        axes.set_title(name)
        if not k:
            axes.set_ylabel("bias / score")

    return Finding(
        '"Delving Deep", Figure 3: bias over score by depth',
        f"""
        A tensor that all paths pass divides the network. The part after it is affine for the scene, and its
        bias is what the ledger's layers in this part contribute together. The chart shows this bias divided
        by the highest score: the mean over {count} held-out scenes, and the band between their quartiles.
        The paper averages over classes of Pascal VOC; our scenes show ten kinds equally often.""",
        [
            Claim(
                "In the first convolutional layers the bias is about 0.6 to 1 times the score.",
                "0.5 to 1.1 behind the first Relu",
                each(first),
                [0.5 <= v <= 1.1 for v in first.values()],
            ),
            Claim(
                "It is far larger there with BatchNormalization and in the ResNet than in the VGG.",
                "larger behind the first Relu",
                each(first),
                [first[n] > first[VGG] for n in (VGG_BN, RESNET)],
            ),
            Claim(
                "In the VGG it decreases steadily with depth.",
                "every step goes down",
                f"{down.sum()} of {len(down)} do",
                [bool(down.all())],
            ),
            Claim(
                "With BatchNormalization and in the ResNet it falls far more abruptly towards the end.",
                "later than in the VGG, in shares of the depth, less than half of it is left",
                each(half),
                [half[n] > half[VGG] for n in (VGG_BN, RESNET)],
            ),
        ],
        {"delving3.png": panels(1, 3, 3.6, paint)},
    )
