"""The section on the singular value decomposition of F, compared with that of a classic upscaler."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxscope.ask.upscalers import bicubic_svd
from onnxscope.linear.svd.decompose import Progress, Svd
from onnxscope.show.charts import lines
from onnxscope.show.page import PagePicture, Row, Section
from onnxscope.show.panels import Picture
from onnxscope.show.tour.guide import LARGER, SCORES, Guide, SectionAndFigures, chart, paragraphs, percent

TOL = 1e-3
LEAST_SECONDS = 1.0  # of the search, also where no time is left
WAVE = 4 / 9  # (Σe)²/Σe² of a product of two cosine waves, as a share of its pixels
SVD_TEXT = paragraphs("""
    F amplifies some images more than others. The singular value decomposition finds those that it amplifies
    most. Each is an eigen-input v, which F turns into an eigen-output u, amplified by the singular value σ:
    F·v = σ·u and Fᵀ·u = σ·v. These triplets (σ, u, v) belong to this image: another image freezes other
    decisions.""")
CLASSIC_TEXT = paragraphs("""
    A classic upscaler applies the same filter everywhere, and its singular vectors are waves that fill the
    whole picture, as in a cosine transform. The singular vectors of a network that adapts to the image are
    features with a place and a direction.""")
SEEN = 0.05  # of a singular vector's largest magnitude: a close-up holds all that is larger
CLASSIC = 4  # triplets of the classic upscaler


def bases(g: Guide) -> SectionAndFigures:
    """The leading triplets, and a chart of the singular values."""
    found, facts = decomposed(g)
    text = [*SVD_TEXT, *how_it_ended(found, facts["asked"])]
    triplets = zip(found.sigma, found.u, found.v, strict=True)
    parts = [triplet(g, i, *one) for i, one in enumerate(triplets, 1)]
    series = {"this network": found.sigma.tolist()}
    if g.kind == LARGER:
        contrast, sigma = classic(g, facts["asked"])
        series["bicubic"] = facts["bicubic_sigma"] = sigma
        parts += [contrast] if contrast.pictures else []  # an image of one pixel has a constant triplet only
        text += CLASSIC_TEXT
    if g.kind != SCORES:
        text.append(covered(found))
    if len(found.sigma) > 1:
        repeated = " Each of bicubic's comes once for every colour channel." if g.kind == LARGER else ""
        decay = chart(
            "sigma",
            lines(series, "number of the triplet", "σ"),
            "the singular values in decreasing order: " + ", ".join(f"{s:.3g}" for s in found.sigma),
            f"The singular values in decreasing order.{repeated}",
        )
        parts.append(Row([decay]))
    return Section("Singular values and vectors", text, parts), facts


def decomposed(g: Guide) -> tuple[Svd, dict[str, Any]]:
    """The leading triplets, and the figures of the search."""
    k = min(g.effort.k, g.x.image.size, g.x.output.size)

    def progress(step: Progress) -> None:
        g.say(f"singular triplets: {step.converged} of {k}")

    found = g.x.svd(k, tol=TOL, seconds=max(g.effort.left, LEAST_SECONDS), progress=progress)
    return found, {
        "sigma": found.sigma.tolist(),
        "residual": found.residual.tolist(),
        "converged": found.converged,
        "asked": k,
        "stopped": found.stopped,
        "passes_forward": found.passes_forward,
        "passes_transpose": found.passes_transpose,
        "clusters": found.clusters,
    }


def how_it_ended(found: Svd, asked: int) -> list[str]:
    """What the reader has to know where not all triplets were found, or some cannot be told apart."""
    text = []
    if found.converged < asked:
        ended = f"the search ended ({found.stopped}) after {found.seconds:.0f} s"
        text.append(f"Of {asked} triplets that were asked for, {found.converged} converged; {ended}.")
    if found.clusters:
        close = "; ".join(", ".join(f"σ{i + 1}" for i in cluster) for cluster in found.clusters)
        text.append(
            f"Some singular values are too close to be told apart ({close}): "
            "any orthonormal mixture of their vectors is as valid as the one shown."
        )
    return text


def triplet(g: Guide, i: int, sigma: float, u: np.ndarray, v: np.ndarray) -> Row:
    """An eigen-input and its eigen-output."""
    sides = (
        ("input", v, g.x.image, g.of_image, g.views.like_image),
        ("output", u, g.x.output, g.of_output, g.views.like_output),
    )
    shown: list[PagePicture] = []
    for side, vector, like, as_bars, as_picture in sides:
        name, caption = f"eigen-{side}-{i}", f"eigen-{side} {i}"
        shown += (
            [as_bars(name, vector, caption, caption)]
            if g.is_vector(like)
            else g.close_up(name, as_picture(vector, ""), caption, SEEN)
        )
    return Row(shown, f"σ{i} = {sigma:.4g}")


def classic(g: Guide, k: int) -> tuple[Row, list[float]]:
    """Bicubic enlargement of the same size: some triplets of one channel, and the k largest σ of all."""
    given, made = g.sizes
    sigma, u, v = bicubic_svd((given[0], given[1]), (made[0], made[1]), max(k, CLASSIC + 1))
    shown = []
    for i in range(1, min(len(sigma), CLASSIC + 1)):  # the vectors of the first triplet are constant
        for side, word, array in (("v", "eigen-input", v[i]), ("u", "eigen-output", u[i])):
            shown.append(
                g.picture(
                    f"bicubic-{side}-{i + 1}",
                    Picture(array[..., None]),
                    f"{word} {i + 1} of bicubic enlargement",
                    f"{word} {i + 1}, σ{i + 1} = {sigma[i]:.4g}",
                )
            )
    channels = g.x.image.size // (given[0] * given[1])
    row = Row(shown, "The same for bicubic enlargement, without its first triplet, which is constant")
    return row, np.repeat(sigma, channels)[:k].tolist()


def covered(found: Svd) -> str:
    """How much of the picture the eigen-outputs cover."""
    if not len(found.u):
        return "No triplet was found."
    energy = found.u.reshape(len(found.u), -1).astype(np.float64) ** 2
    shares = energy.sum(1) ** 2 / (energy**2).sum(1) / energy.shape[1]
    return (
        f"Counted by their squared values, the eigen-outputs cover {percent(shares.min())} to "
        f"{percent(shares.max())} of the output; a wave over all of it covers {percent(WAVE)}."
    )
