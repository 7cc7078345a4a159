"""Proof with numbers: each claim about a scope has a figure, a bound, and the noise that it allows for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np

from onnxscope.errors import BadOption, NotProved, shape_text
from onnxscope.graph.tensors import is_float, shape_of
from onnxscope.rewriting.bound import bound, samples
from onnxscope.rewriting.frozen import raw_shape
from onnxscope.rewriting.judging import refuse_bad
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.scope import COTANGENT, FROZEN, LEDGER, PROBE, TRANSPOSED, Scope
from onnxscope.rewriting.sizes import FreeSizes
from onnxscope.run.claims import FIGURE, USELESS, Check, Report, judged, relative, unable
from onnxscope.run.decided import refuse_other_image
from onnxscope.run.derivative import Line, least_noisy
from onnxscope.run.ledger_programs import ledger
from onnxscope.run.single_runs import Arrays, image_value, own_inputs, random_feeds, run_original, session

DERIVATIVE = "F·v = derivative"
IDENTITY = "frozen(x0) = y0"


def off_by(got: Arrays, want: Arrays) -> float:
    return max((relative(got[k], want[k]) for k in want), default=0.0)


def base_check(scope: Scope, feeds: Arrays) -> Check:
    """Whether the base still computes what the original computes.

    Both are run as written. Where they differ, both are run optimised too, the smaller difference counts, and
    the noise floor is what optimising changes in the original, or what rounding the image changes, if that is
    more: from one opset to the next, onnxruntime rounds a coarse type in other places.
    """
    assert scope.original is not None
    want = run_original(scope.original, feeds)
    with session(scope.base(), optimise=False) as base:
        figure, floor = off_by(base.run(feeds), want), 0.0
    if figure > FIGURE:
        optimised = run_original(scope.original, feeds, optimise=True)
        nearby = run_original(scope.original, rounded(scope, feeds))
        floor = max(off_by(optimised, want), off_by(nearby, want), coarseness(scope) / 2)
        with session(scope.base()) as base:
            figure = min(figure, off_by(base.run(feeds), optimised))
    return judged("base equals original", figure, floor)


def rounded(scope: Scope, feeds: Arrays) -> dict[str, np.ndarray]:
    """Values that differ from these by half of the rounding of the base's coarsest type."""
    rng, floats = np.random.default_rng(0), {t.name for t in own_inputs(scope) if is_float(t)}
    half = coarseness(scope) / 2
    return {
        name: (x * (1 + half * rng.choice([-1.0, 1.0], x.shape))).astype(x.dtype) if name in floats else x
        for name, x in feeds.items()
    }


def prove_base(scope: Scope, feeds: Arrays | None = None) -> None:
    """Refuse a scope whose base does not compute what the original computes, from these or random values."""
    for one in samples(scope):
        check = base_check(one, feeds or random_feeds(own_inputs(one), np.random.default_rng(0)))
        if not check.ok:
            error = NotProved(
                f"its outputs differ from the original's by {check.figure:.1e} (bound {check.bound:.1e})",
                where="normalised base",
                remedy="report the model's operators and opset: this is a fault of onnxscope",
            )
            assert one.original is not None
            refuse_bad(one.original, {t.name: tuple(t.shape) for t in own_inputs(one)}, error)
            raise error


def verify_scope(scope: Scope, *, image: np.ndarray | Arrays | None = None, seed: int = 0) -> Report:
    """All proofs, on one image: the given one, or random numbers. A mapping gives each input by its name.

    If the scope leaves sizes free and no image is given, they are made for three sizes.
    """
    free = scope.about.free
    if free is not None and image is not None:
        sized = image[free.input] if isinstance(image, Mapping) else image
        scope = bound(scope, {free.input: sized.shape})
    elif free is not None:
        return Report(tuple(itertools.chain(*(at_size(one, free, seed) for one in samples(scope)))))
    rng = np.random.default_rng(seed)
    given = image if isinstance(image, Mapping) else {} if image is None else {scope.image: image}
    feeds: Arrays = random_feeds(own_inputs(scope), rng, given)
    if scope.decided and not given:
        raise BadOption(
            "it is specialised on one image, and random numbers decide otherwise",
            where="the scope",
            remedy="name that image, or one that decides alike: --image FILE, or image_values=… in Python",
        )
    refuse_other_image(scope, feeds)
    checks = []
    if scope.original is None:
        checks.append(
            unable("base equals original", "the scope does not hold the original; verify the model instead")
        )
    else:
        checks.append(base_check(scope, feeds))
    if 0 in scope.tensor(COTANGENT).shape[1:]:
        return Report((*checks, unable("F", "the explained output has no elements")))
    feeds, floor = (feeds, noise_floor(scope, feeds)) if given else livelier(scope, feeds)
    if not np.isfinite(floor):
        note = "the base computes NaN or infinity for this image: give a realistic one with --image"
        return Report((*checks, Check("the output is finite", None, None, None, False, note)))
    x0 = image_value(scope, feeds)
    checks += frozen_checks(scope, feeds, x0, floor, rng)
    if scope.policy.has_tangents:
        checks.append(derivative_check(scope, feeds, x0, floor, rng))
    return Report(tuple(checks))


def at_size(scope: Scope, free: FreeSizes, seed: int) -> Iterator[Check]:
    """The checks for one size of several, with the size as a note."""
    shape = shape_of(scope.tensor(free.input))
    for check in verify_scope(scope, seed=seed).checks:
        yield replace(check, note="; ".join(filter(None, [f"at {shape_text(shape)}", check.note])))


def livelier(scope: Scope, feeds: Arrays) -> tuple[Arrays, float]:
    """Random values, or others of its image if rounding hides what the network gives for these.

    A network may be dead for noise of 0…1, and alive for a gradient, or for pixels of 0…255.
    """
    found = [(feeds, noise_floor(scope, feeds))]
    for image in others_than(np.asarray(feeds[scope.image])) if scope.image in feeds else ():
        if found[-1][1] <= USELESS:
            break
        fed = {**feeds, scope.image: image}
        found.append((fed, noise_floor(scope, fed)))
    return min(found, key=lambda pair: pair[1])


def others_than(noise: np.ndarray) -> Iterator[np.ndarray]:
    """A gradient with waves, and both with pixels of 0…255."""
    ramps = np.meshgrid(*(np.linspace(0, 1, size) for size in noise.shape[1:]), indexing="ij", sparse=True)
    slope = np.broadcast_to(sum(ramps) / max(len(ramps), 1), noise.shape)
    wavy = (0.7 * slope + 0.3 * (np.sin(20 * slope) + 1) / 2).astype(noise.dtype)
    yield from (wavy, 255 * wavy, 255 * noise)


def noise_floor(scope: Scope, feeds: Arrays) -> float:
    """How far optimising the base moves the explained output, but at least half the rounding of its types.

    It is infinite where the output is not finite.
    """
    with session(scope.base()) as optimised:
        y0 = optimised.run(feeds, [scope.output])[scope.output]
    if not np.isfinite(y0.astype(np.float64)).all():
        return float("inf")
    with session(scope.base(), optimise=False) as plain:
        return max(relative(plain.run(feeds, [scope.output])[scope.output], y0), coarseness(scope) / 2)


def as_probe(x: np.ndarray) -> np.ndarray:
    """A base value as a batch of one probe."""
    return x.astype(np.float32).reshape(1, *raw_shape(x.shape)[1:])


def frozen_checks(
    scope: Scope, feeds: Arrays, x0: np.ndarray, floor: float, rng: np.random.Generator
) -> list[Check]:
    """Freeze identity, linearity, batches, the dot test and the ledger."""
    at_x0 = as_probe(x0)
    probes = two_and_their_sum(at_x0.shape, rng)
    cotangents = two_and_their_sum(scope.tensor(COTANGENT).shape, rng)
    v, u = probes["first"], cotangents["first"]
    probes |= {"x0": at_x0, "zero": np.zeros_like(at_x0)}
    fed = {**feeds, PROBE: stacked(probes), COTANGENT: stacked(cotangents)}
    with session(scope.explained()) as whole:
        explained = whole.run(fed)
    with session(scope.linear()) as linear:
        batch = linear.run(fed)
        single = linear.run({**feeds, PROBE: probes["second"], COTANGENT: cotangents["second"]})
    affine = by_name(explained[FROZEN], probes)
    forward = by_name(batch[FROZEN].astype(np.float64), probes)
    back = by_name(batch[TRANSPOSED].astype(np.float64), cotangents)
    off = max(relative(single[FROZEN], forward["second"]), relative(single[TRANSPOSED], back["second"]))
    checks = [
        identity(affine["x0"], affine["zero"], as_probe(explained[scope.output]), floor),
        judged("F is linear", nonlinearity(forward), floor),
        judged("frozen(v) = F·v + r", relative(affine["first"], forward["first"] + affine["zero"]), floor),
    ]
    if scope.method == GRADIENT:
        checks += [
            judged("Fᵀ is linear", nonlinearity(back), floor),
            judged("⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩", asymmetry(v, forward["first"], u, back["first"]), floor),
        ]
    checks.append(judged("a batch equals single probes", off, floor))
    if scope.method != GRADIENT:
        return [*checks, unable("Fᵀ", f"the way back is '{scope.method}', not the transpose")]
    if not np.any(batch[FROZEN]):
        why = "F·v = 0 for random probes: the output does not depend on the image through carried values"
        checks.append(unable("F ≠ 0", why))
    if scope.at_sources:
        checks.append(judged("the ledger is complete", missing_from_ledger(scope, feeds, at_x0, v, u), floor))
    return checks


def identity(at_x0: np.ndarray, residual: np.ndarray, y0: np.ndarray, floor: float) -> Check:
    """Whether the frozen network computes y0; not judged where rounding of y0 hides what F adds to r."""
    carried, scale = (float(np.abs(a).max(initial=0)) for a in (at_x0 - residual, y0))
    if carried and floor * scale > USELESS * carried:
        return unable(IDENTITY, f"rounding of y0 hides F·x0, which is only {carried / scale:.1e} of it")
    return judged(IDENTITY, relative(at_x0, y0), floor)


def two_and_their_sum(shape: Sequence[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two random vectors as batches of one, and their sum with weights."""
    drawn = rng.standard_normal((2, *shape[1:])).astype(np.float32)
    first, second = drawn[:1], drawn[1:]
    return {"first": first, "second": second, "sum": weighted_sum(first, second).astype(np.float32)}


def weighted_sum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return 0.75 * first + -1.5 * second


def stacked(vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Named batches of one as one batch."""
    return np.concatenate(list(vectors.values()))


def by_name(results: np.ndarray, vectors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What became of each of the vectors that were stacked."""
    return {name: results[k : k + 1] for k, name in enumerate(vectors)}


def nonlinearity(images: Mapping[str, np.ndarray]) -> float:
    """How far the image of a weighted sum is from the weighted sum of the images."""
    return relative(images["sum"], weighted_sum(images["first"], images["second"]))


def asymmetry(v: np.ndarray, fv: np.ndarray, u: np.ndarray, ftu: np.ndarray) -> float:
    """|⟨F·v, u⟩ − ⟨v, Fᵀ·u⟩| over ‖F·v‖·‖u‖ or ‖v‖·‖Fᵀ·u‖, whichever is larger."""
    size = max(np.linalg.norm(fv) * np.linalg.norm(u), np.linalg.norm(v) * np.linalg.norm(ftu), 1e-30)
    return float(abs(np.vdot(fv, u) - np.vdot(v, ftu)) / size)


def missing_from_ledger(scope: Scope, feeds: Arrays, x0: np.ndarray, v: np.ndarray, u: np.ndarray) -> float:
    """How far ⟨Fᵀ·u, x0⟩ and the contributions of all sources are from adding up to ⟨u, y0⟩."""
    with session(ledger(scope)) as accounts:
        found = accounts.run({**feeds, PROBE: v, COTANGENT: u})
    terms = [
        *found[LEDGER].astype(np.float64).ravel(),
        np.vdot(found[TRANSPOSED].astype(np.float64), x0),
    ]
    y0 = as_probe(found[scope.output]).astype(np.float64)
    score = np.vdot(u.astype(np.float64), y0)
    scale = max(np.linalg.norm(u) * np.linalg.norm(y0), np.linalg.norm(terms), 1e-30)
    return float(abs(sum(terms) - score) / scale)


def coarseness(scope: Scope) -> float:
    """The rounding of the coarsest floating-point type that the base computes in."""
    types = {
        np.dtype(t.dtype)
        for n in scope.base().nodes
        for t in n.outputs
        if t.dtype is not None and is_float(t)
    }
    return max((machine_epsilon(t) for t in types), default=0.0)


def machine_epsilon(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def derivative_check(
    scope: Scope, feeds: Arrays, x0: np.ndarray, floor: float, rng: np.random.Generator
) -> Check:
    """Under `taylor`, whether F·v is the derivative of the base along v, by central differences.

    The base equals the original, which another check proves.
    """
    if odd := [s.name for s in scope.steps if not s.tangent]:
        return unable(
            DERIVATIVE,
            f"not claimed: {len(odd)} nodes are frozen by other rules than their tangent, such as '{odd[0]}'",
        )
    with session(scope.analysed()) as analysed:

        def f(x: np.ndarray) -> np.ndarray:
            return analysed.run({**feeds, scope.image: x})[scope.output].astype(np.float64)

        y0 = f(x0)
        v = rng.standard_normal(x0.shape)
        v *= np.linalg.norm(x0) / max(float(np.linalg.norm(v)), 1e-30)
        cotangent = np.zeros((1, *raw_shape(y0.shape)[1:]), np.float32)
        with session(scope.linear()) as linear:
            slope = linear.run({**feeds, PROBE: as_probe(v), COTANGENT: cotangent}, [FROZEN])[FROZEN]
        noise_of_y = max(floor, machine_epsilon(np.dtype(np.float32))) * float(np.linalg.norm(y0))
        best = least_noisy(Line(f, x0, y0, v), slope.reshape(y0.shape), machine_epsilon(x0.dtype), noise_of_y)
    if best.noise > USELESS:
        return unable(
            DERIVATIVE,
            f"the noise of the central differences ({best.noise:.1e} of the slope) is too large to judge by: "
            "the network is too rough for this image",
        )
    return judged(DERIVATIVE, best.error, best.noise, f"step {best.step:g} of the image")
