"""The papers' claims about networks that make images: bases of super-resolution, far-reaching filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from findings import Claim, Finding, each, opened
from photographs import as_images, compared, halved, photographs, signed
from scenes import NAMES, held_out

from onnxscope import LinearInterpreter
from onnxscope.ask.filters import FAR, Place, along_a_line, energies, projective, receptive, sampled
from onnxscope.ask.upscalers import bicubic_svd
from onnxscope.files.pixels import channels_last
from onnxscope.linear.svd.decompose import Svd
from onnxscope.show.charts import map_of, matrix
from onnxscope.show.sheets import Picture, magnitude, png, sheet

EDSR, FOUR_LAYERS = "edsr_small", "pixelshuffle_small"
EYE = np.s_[60:188, 110:238]  # of `chelsea`, a photograph that no network learned from
WAVE = 4 / 9  # the coverage of a product of two cosines: (Σe)²/Σe² as a share of all pixels
PAIRS, TOL, COLOURS = 8, 1e-3, 3  # singular triplets, their tolerance, and how many have nearly the same σ
ACROSS = 4  # pairs in a row of a sheet
CLOSE = 10  # input pixels to each side of the centre in a close-up
GRID, LINE = 10, 48  # sampled pixels along a side of the picture, and along its middle row


@cache
def photograph() -> tuple[np.ndarray, np.ndarray]:
    """The eye at half its size, and at its own size."""
    return halved(photographs(["chelsea"])["chelsea"][EYE])


@cache
def upscaled(name: str) -> tuple[LinearInterpreter, Svd]:
    """A super-resolution network frozen for the photograph, and its singular triplets."""
    small, _ = photograph()
    x = opened(name, *small.shape[:2]).freeze(as_images(small[None]))
    return x, x.svd(PAIRS, tol=TOL, block=COLOURS)


def natural(array: np.ndarray, label: str) -> Picture:
    return Picture(channels_last(array).clip(0, 1), label, natural=True)


def framed(array: np.ndarray, place: Place, label: str) -> Picture:
    """A picture with a frame around a pixel."""
    return replace(natural(array, label), mark=(0, *place))


def around_grey(array: np.ndarray, label: str) -> Picture:
    """A picture around grey, with a scale of its own."""
    return Picture(channels_last(array), label, scale=magnitude(array))


def close_up(array: np.ndarray, centre: Sequence[int], half: int, label: str) -> Picture:
    """The pixels around a centre, which is moved inwards at an edge, in the scale of the whole picture."""
    picture = channels_last(array)
    top, left = (min(max(c - half, 0), s - 2 * half) for c, s in zip(centre, picture.shape, strict=False))
    return Picture(
        picture[top : top + 2 * half, left : left + 2 * half],
        f"{label}, from row {top}, column {left}",
        scale=magnitude(array),
    )


def between(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def covered(energy: np.ndarray) -> float:
    """The share of a picture over which its energy is spread: (Σe)²/Σe², divided by the number of pixels."""
    return float(energy.sum() ** 2 / (energy**2).sum() / energy.size)


def coverage(pictures: np.ndarray) -> np.ndarray:
    return np.array([covered(e) for e in energies(pictures, "nchw")])


def fineness(pictures: np.ndarray) -> np.ndarray:
    """The mean frequency of each picture, weighted by energy, in waves on a pixel."""
    power, (down, across) = spectra(pictures)
    return (power * np.hypot(down, across)).sum((1, 2))


def direction(pictures: np.ndarray) -> np.ndarray:
    """How much of each picture's waves has one direction: 1 for stripes, 0 for checks or noise.

    It is (λ1 − λ2)/(λ1 + λ2) of the eigenvalues of Σ power·f·fᵀ.
    """
    power, (down, across) = spectra(pictures)
    f = [(power * product).sum((1, 2)) for product in (down**2, across**2, down * across)]
    return np.hypot(f[0] - f[1], 2 * f[2]) / (f[0] + f[1])


def spectra(pictures: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The share of each frequency in a picture's energy, and the frequencies down and across."""
    height, width = pictures.shape[-2:]
    power = (abs(np.fft.fft2(pictures.reshape(-1, 3, height, width))) ** 2).sum(1)
    return power / power.sum((1, 2), keepdims=True), (
        np.fft.fftfreq(height)[:, None],
        np.fft.fftfreq(width)[None],
    )


def percents(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def figure5() -> Finding:
    """The section about eigen-inputs, eigen-outputs and σ of the EDSR."""
    x, found = upscaled(EDSR)
    size, made = x.image.shape[-2:], x.output.shape[-2:]
    factor = made[0] // size[0]
    whole = [
        [
            natural(x.image, "the photograph x0"),
            natural(x.output, "the EDSR's output y0"),
            around_grey(x.residual(), "residual r"),
        ]
    ]
    close: list[list[Picture]] = []
    centres = [np.unravel_index(int(e.argmax()), e.shape) for e in energies(found.u, "nchw")]
    for row in np.split(np.arange(len(found.sigma)), range(ACROSS, len(found.sigma), ACROSS)):
        whole += [
            [around_grey(found.v[k], f"eigen-input {k + 1}") for k in row],
            [around_grey(found.u[k], f"eigen-output {k + 1}, σ = {found.sigma[k]:.3f}") for k in row],
        ]
        close += [
            [
                close_up(found.v[k], [c // factor for c in centres[k]], CLOSE, f"eigen-input {k + 1}")
                for k in row
            ],
            [close_up(found.u[k], centres[k], factor * CLOSE, f"eigen-output {k + 1}") for k in row],
        ]
    spread, fine_in, fine_out, striped = (
        coverage(found.u),
        fineness(found.v),
        factor * fineness(found.u),
        direction(found.u),
    )
    (first, last), (coarse, fine) = (np.split(values, 2) for values in (spread, fine_out))
    runs = "; ".join(", ".join(f"σ{i + 1}" for i in run) for run in found.clusters)
    alike = (
        f"Too close to be told apart, so that any mixture of them would do as well: {runs}." if runs else ""
    )
    return Finding(
        "Figure 5: the singular triplets of the EDSR",
        f"""
        The {PAIRS} leading singular triplets of F for a cat's eye of {size[0]}×{size[1]} pixels, enlarged
        {factor} times (in the paper, 4 times), found in {found.passes_forward} passes of F and
        {found.passes_transpose} of its transpose; the largest residual is {found.residual.max():.0e} of σ1.
        {alike} Each picture has its own scale; the second sheet shows the middle of each enlarged. Bicubic
        enlargement has σ1 = {bicubic_svd(size, made, 1)[0][0]:.2f}. Frequencies are means weighted by
        energy, in waves per pixel of the input. Along an axis 0.5 is the highest possible frequency; a
        checkerboard has 0.71.""",
        [
            Claim(
                "Eigen-inputs oscillate at high frequency.",
                "a mean frequency above 0.25",
                between(fine_in),
                [bool(fine_in.min() > 0.25)],
            ),
            Claim(
                "Eigen-outputs are localised; a classic upscaler's would be waves over the whole picture.",
                f"each covers less than a tenth of such a wave's {100 * WAVE:.0f} %",
                f"{between(100 * spread)} %",
                [bool(spread.max() < WAVE / 10)],
            ),
            Claim(
                "They are oriented, as wavelets are.",
                "each is nearer to stripes (1) than to checks or noise (0)",
                between(striped),
                [bool(s > 0.5) for s in striped],
            ),
            Claim(
                "For high σ they are smooth, clear pieces of the image.",
                "a mean frequency below 0.25",
                between(fine_out),
                [bool(fine_out.max() < 0.25)],
            ),
            Claim(
                "For lower σ they extend in space and become finer.",
                "both, of the second half against the first",
                (
                    f"{100 * last.mean():.2f} against {100 * first.mean():.2f} % of the picture; "
                    f"{fine.mean():.3f} against {coarse.mean():.3f}"
                ),
                [bool(last.mean() > first.mean()), bool(fine.mean() > coarse.mean())],
            ),
        ],
        {
            "figure5.png": png(sheet(whole, "EDSR, twice the size: F·v = σ·u")),
            "figure5_close.png": png(sheet(close, "The same, enlarged")),
        },
    )


def figure6() -> Finding:
    """The section that compares the EDSR with a network of four layers."""
    results = {"EDSR": upscaled(EDSR), "PixelShuffle": upscaled(FOUR_LAYERS)}
    share = {
        n: float(np.linalg.norm(x.residual()) / np.linalg.norm(x.output)) for n, (x, _) in results.items()
    }
    residual = {n: float(coverage(x.residual())[0]) for n, (x, _) in results.items()}
    spread = {n: float(coverage(found.u).mean()) for n, (_, found) in results.items()}
    striped = {n: float(direction(found.u).mean()) for n, (_, found) in results.items()}
    quality = {n: compared(lambda image, x=x: x.output, photograph()) for n, (x, _) in results.items()}
    better = quality["EDSR"][1] - quality["PixelShuffle"][1]
    scale = magnitude(*(x.residual() for x, _ in results.values()))
    rows = [
        [
            picture
            for name, (x, _) in results.items()
            for picture in (
                natural(x.output, f"{name}: output"),
                Picture(
                    channels_last(x.residual()),
                    f"{name}: residual, {100 * share[name]:.1f} % of y0",
                    scale=scale,
                ),
            )
        ]
    ]
    rows += [
        [
            around_grey(found.u[k], f"{name}: u{k + 1}, σ = {found.sigma[k]:.3f}")
            for name, (_, found) in results.items()
            for k in pair
        ]
        for pair in ((0, 1), (2, 3))
    ]
    figures = [
        [
            "network",
            "PSNR",
            "residual / output",
            "residual covers",
            "eigen-outputs cover",
            "are oriented",
            "σ1",
            f"σ{PAIRS}",
        ],
        *(
            [
                n,
                f"{quality[n][1]:.2f} dB",
                f"{100 * share[n]:.1f} %",
                f"{100 * residual[n]:.0f} %",
                f"{100 * spread[n]:.1f} %",
                f"{striped[n]:.2f}",
                f"{found.sigma[0]:.3f}",
                f"{found.sigma[-1]:.3f}",
            ]
            for n, (_, found) in results.items()
        ),
    ]
    return Finding(
        "Figure 6: the EDSR and a network of four layers",
        f"""
        Both enlarge the same cat's eye to twice its size (in the paper, a zebra 4 times). PSNR compares with
        the photograph before it was halved; bicubic enlargement has {quality["EDSR"][0]:.2f} dB. "Covers" is
        the share of the picture over which the energy is spread; "oriented" is 1 for stripes, 0 for checks
        or noise. For eigen-outputs the table has means over {PAIRS}, and the picture shows the first four
        (u1 to u4). Whether these show parts of an object is for the reader to judge.""",
        [
            Claim(
                "The EDSR's image is clearly better.", "a higher PSNR", f"by {better:+.2f} dB", [better > 0]
            ),
            Claim(
                "Residuals are small.",
                "below a tenth of the output",
                percents(share),
                [s < 0.1 for s in share.values()],
            ),
            Claim(
                "The EDSR's residual is more focused, the other's is spread over the whole image.",
                "the EDSR's covers less",
                percents(residual),
                [residual["EDSR"] < residual["PixelShuffle"]],
            ),
            Claim(
                "The EDSR's eigen-outputs are clear local features, the other's are not.",
                "the EDSR's cover less, and are more oriented",
                f"{percents(spread)}; {each(striped)}",
                [spread["EDSR"] < spread["PixelShuffle"], striped["EDSR"] > striped["PixelShuffle"]],
            ),
        ],
        {"figure6.png": png(sheet(rows, "Super-resolution by an EDSR and by four layers with PixelShuffle"))},
        figures,
    )


def figure7() -> Finding:
    """The section about a generator's filters that reach far: off-diagonals, and pixels that fill areas."""
    scene = held_out(1)[0]
    x = opened("scenes_labels").freeze(signed(scene.pixels[None]))
    size = x.image.shape[-2:]
    taking, giving = (sampled(filters, x, size, GRID) for filters in (receptive, projective))
    far, filled = np.array([r.far for r in taking.reaches]), np.array([r.pixels for r in giving.reaches])
    middling, taker = (taking.places[k] for k in (np.argsort(far)[len(far) // 2], taking.farthest))
    giver = giving.places[giving.farthest]
    boxes = np.array([r.rows * r.columns for r in taking.reaches]) / np.prod(size)
    image, output = ((1 + a) / 2 for a in (x.image, x.output))
    rows = [
        [
            natural(image, f"the scene x0: a {NAMES[scene.kind]}"),
            natural(output, "its labels y0"),
            framed(image, giver, "input: the pixel that does most far away"),
            around_grey(projective(x, [giver])[0], "what it does"),
        ],
        [
            framed(output, middling, "output: the median pixel"),
            around_grey(receptive(x, [middling])[0], "what it looks at"),
            framed(output, taker, "the pixel that takes most from far away"),
            around_grey(receptive(x, [taker])[0], "what it looks at"),
        ],
    ]
    afar = map_of(taking.afar, "share of all energy", signed=False)
    columns = ("column of the output pixel", "column of the input")
    line = matrix(along_a_line(x, size, LINE), (size[1], size[1]), columns, "size of F's part")
    return Finding(
        "Figure 7: filters that reach far",
        f"""
        A generator of CycleGAN's architecture, trained on pairs to paint the object in its kind's colour,
        for one held-out scene. {GRID}×{GRID} pixels of the output and as many of the input were sampled.
        "Far away" is further than {FAR:g} of the side. With means and deviations frozen, an
        InstanceNormalization multiplies pixel by pixel, so F reaches far only by the convolutions, whose
        receptive field is nearly as large as the scene. The second picture shows where the sampled output
        pixels together take from far away; the third is F along the middle row, where the diagonal is a
        pixel's own place.""",
        [
            Claim(
                "In most areas the filters are localised.",
                "the median output pixel takes less than 10 % from far away",
                f"{100 * np.median(far):.1f} %",
                [bool(np.median(far) < 0.1)],
            ),
            Claim(
                "Output pixels add significant information from a far area (off-diagonals).",
                "the one that takes most from far away takes more than 10 % from there",
                f"{100 * far[taking.farthest]:.1f} %",
                [bool(far[taking.farthest] > 0.1)],
            ),
            Claim(
                "All pixels take from the same area.",
                "what comes from far away is spread over less than a quarter of the picture",
                f"{100 * covered(taking.afar):.0f} %",
                [covered(taking.afar) < 0.25],
            ),
            Claim(
                "Single pixels fill whole templates of the output.",
                "one spreads over twice as many output pixels as the median one",
                f"{filled.max():.0f} against {np.median(filled):.0f} of {np.prod(size)}",
                [bool(filled.max() > 2 * np.median(filled))],
            ),
            Claim(
                "Receptive filters can extend to the whole image.",
                "the box of one's coefficients above a thousandth of the largest holds more than 95 % of it",
                f"{100 * boxes.max():.0f} %",
                [bool(boxes.max() > 0.95)],
            ),
        ],
        {
            "figure7.png": png(sheet(rows, "Labels for a scene")),
            "figure7_afar.png": afar[0],
            "figure7_line.png": line[0],
        },
    )
