"""The stop at the singular value decomposition: what the map is made of, beside a classic upscaler's."""

from __future__ import annotations

import numpy as np

from onnxscope.ask.upscalers import bicubic_svd
from onnxscope.linear.svd.decompose import Progress, Svd
from onnxscope.show.charts import lines
from onnxscope.show.page import Row, Section, Shown
from onnxscope.show.sheets import Picture
from onnxscope.show.tour.guide import LARGER, SCORES, Guide, Stop, chart, paragraphs, percent

TOL = 1e-3
WAVE = 4 / 9  # (Σe)²/Σe² of a product of two cosines, relative to its pixels
CLASSIC_TEXT = paragraphs("""
    A classic upscaler is the same filter everywhere, and its bases are waves that fill the whole picture, as in a cosine transform. A
    network that adapts to the image has bases of its own: features with a place and a direction.""")
SEEN = 0.05  # of an eigenvector's largest magnitude: what a close-up holds
CLASSIC = 4  # pairs of the classic upscaler


def bases(g: Guide) -> Stop:
    """The leading pairs and the decay of σ."""
    k = min(g.effort.k, g.x.image.size, g.x.output.size)

    def progress(step: Progress) -> None:
        g.say(f"singular triplets: {step.converged} of {k}")

    found = g.x.svd(k, tol=TOL, seconds=g.effort.seconds, progress=progress)
    parts = [
        pair(g, i, *triplet) for i, triplet in enumerate(zip(found.sigma, found.u, found.v, strict=True), 1)
    ]
    text = paragraphs("""
        F stretches some images more than others. The singular value decomposition finds those that it passes most strongly, each an
        eigen-input v and the eigen-output u that F makes of it: F·v = σ·u and Fᵀ·u = σ·v. They are the network's own basis for this
        image.""")
    if found.converged < k:
        ended = f"the search ended ({found.stopped}) after {found.seconds:.0f} s"
        text.append(f"Of {k} that were asked for, {found.converged} converged; {ended}.")
    if found.clusters:
        text.append(
            f"Among these, {listed(found)} are too close to be told apart: any mixture of their vectors would do as well."
        )
    facts = {
        "sigma": found.sigma.tolist(),
        "residual": found.residual.tolist(),
        "converged": found.converged,
        "asked": k,
        "stopped": found.stopped,
        "passes_forward": found.passes_forward,
        "passes_transpose": found.passes_transpose,
        "clusters": found.clusters,
    }
    series = {"this network": found.sigma.tolist()}
    if g.kind == LARGER:
        contrast, sigma = classic(g, k)
        series["bicubic"] = facts["bicubic_sigma"] = sigma
        parts += [contrast] if contrast.pictures else []  # of a single pixel there are no others
        text += CLASSIC_TEXT
    if g.kind != SCORES:
        text.append(localised(found))
    if len(found.sigma) > 1:
        thrice = " Each of bicubic's comes once for every colour." if g.kind == LARGER else ""
        decay = chart(
            "sigma",
            lines(series, "number", "σ"),
            "the singular values in decreasing order: " + listed_values(found.sigma),
            f"The singular values in decreasing order.{thrice}",
        )
        parts.append(Row([decay]))
    return Section("What it is made of", text, parts), facts


def pair(g: Guide, i: int, sigma: float, u: np.ndarray, v: np.ndarray) -> Row:
    """An eigen-input and its eigen-output."""
    sides = (
        (v, g.x.image, g.of_image, g.views.like_image, "input"),
        (u, g.x.output, g.of_output, g.views.like_output, "output"),
    )
    shown: list[Shown] = []
    for vector, like, as_vector, beside, side in sides:
        name, said = f"eigen-{side}-{i}", f"eigen-{side} {i}"
        shown += (
            [as_vector(name, vector, said, said)]
            if g.flat(like)
            else g.close_up(name, beside(vector, ""), said, SEEN)
        )
    return Row(shown, f"σ{i} = {sigma:.4g}")


def classic(g: Guide, k: int) -> tuple[Row, list[float]]:
    """Bicubic enlargement of the same size: pairs, and σ for all channels."""
    given, made = g.sizes
    sigma, u, v = bicubic_svd((given[0], given[1]), (made[0], made[1]), max(k, CLASSIC + 1))
    shown = []
    for i in range(1, min(len(sigma), CLASSIC + 1)):  # the first pair is constant
        for side, said, array in (("v", "eigen-input", v[i]), ("u", "eigen-output", u[i])):
            shown.append(
                g.shown(
                    f"bicubic-{side}-{i + 1}",
                    Picture(array[..., None]),
                    f"{said} {i + 1} of bicubic enlargement",
                    f"{side}{i + 1}, σ{i + 1} = {sigma[i]:.4g}",
                )
            )
    channels = g.x.image.size // (given[0] * given[1])
    return Row(shown, "The same for bicubic enlargement (after its first, which is constant)"), np.repeat(
        sigma, channels
    )[:k].tolist()


def localised(found: Svd) -> str:
    """How much of the picture the eigen-outputs cover."""
    if not len(found.u):
        return "None was found."
    energy = found.u.reshape(len(found.u), -1).astype(np.float64) ** 2
    covered = energy.sum(1) ** 2 / (energy**2).sum(1) / energy.shape[1]
    least, most = percent(covered.min()), percent(covered.max())
    return f"Counted by energy, the eigen-outputs cover {least} to {most} of the output; waves over all of it cover {percent(WAVE)}."


def listed(found: Svd) -> str:
    return "; ".join(", ".join(f"σ{i + 1}" for i in run) for run in found.clusters)


def listed_values(sigma: np.ndarray) -> str:
    return ", ".join(f"{s:.3g}" for s in sigma)
