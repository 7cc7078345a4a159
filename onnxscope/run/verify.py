"""Proof with numbers: what a scope claims, each claim with its figure, its bound and the noise it is judged against."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxscope.errors import BadModel, BadOption, NotProved, ScopeError
from onnxscope.files.models import Model, save
from onnxscope.files.results import Cells, Result, plain
from onnxscope.graph.builder import Tensor, is_float
from onnxscope.rewriting.frozen import raw_shape
from onnxscope.rewriting.options import GRADIENT
from onnxscope.rewriting.scope import COTANGENT, FROZEN, LEDGER, PROBE, TRANSPOSED, Scope, part
from onnxscope.run.ledger_programs import ledger
from onnxscope.runtime import Session, reference

Arrays = Mapping[str, np.ndarray]
FIGURE = 1e-5  # float32 rounding through a deep network, relative to the largest value
USELESS = 0.1  # a difference quotient noisier than this proves nothing
DERIVATIVE = "F·v = derivative"
NOT_JUDGED = "not judged"
REFERENCE_BYTES = 64 << 20  # larger models are not given to the reference implementation
NOISE = 4.0  # how many times its own noise floor a model may be off
STEPS = tuple(0.2 * 0.5**k for k in range(12))  # of the central difference, relative to the image


@dataclass(frozen=True)
class Check:
    """One claim: its figure must not exceed the bound, which is FIGURE or a multiple of the noise floor."""

    name: str
    figure: float | None
    bound: float | None
    floor: float | None
    ok: bool
    note: str = ""

    @property
    def outcome(self) -> str:
        if not self.ok:
            return "FELL SHORT"
        return NOT_JUDGED if self.figure is None else "ok"


@dataclass(frozen=True, repr=False)
class Report(Result):
    """All checks of one scope."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(c.ok for c in self.checks)

    @property
    def title(self) -> str:
        left = sum(c.outcome == NOT_JUDGED for c in self.checks)
        return ("proved" if self.ok else "not proved") + (f"; {left} not judged" if left else "")

    def cells(self) -> Cells:
        rows = [(c.name, *map(number, (c.figure, c.bound, c.floor)), c.outcome, c.note) for c in self.checks]
        return ("check", "figure", "bound", "noise floor", "", "note"), rows

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "checks": plain(self.checks)}


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def judged(name: str, figure: float, floor: float, note: str = "") -> Check:
    bound = max(FIGURE, NOISE * floor)
    return Check(name, figure, bound, floor, bool(figure <= bound), note)


def unable(name: str, note: str) -> Check:
    """A claim that could not be judged; it says why, and does not count against the scope."""
    return Check(name, None, None, None, True, note)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest value of b; equal where both are no number."""
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0 or a.dtype.kind in "OSU":
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    scale = np.max(np.abs(b), where=np.isfinite(b), initial=1e-30)
    gap = np.max(np.abs(np.subtract(a, b, where=~same, out=np.zeros_like(a))))
    return float(gap / scale) if np.isfinite(gap) else float("inf")


def off_by(got: Arrays, want: Arrays) -> float:
    return max((relative(got[k], want[k]) for k in want), default=0.0)


@contextmanager
def session(graph: gs.Graph | Model, *, optimise: bool = True) -> Iterator[Session]:
    """A session on a graph, by way of a file that weights are streamed into; it ends with the context."""
    with tempfile.TemporaryDirectory(prefix="onnxscope-") as folder:
        path = Path(folder) / "model.onnx"
        if isinstance(graph, gs.Graph):
            save(graph, path, {})
        elif graph.path is not None:
            path = graph.path
        else:
            onnx.save(graph.proto, path)
        running = Session(path, optimise=optimise)
        try:
            yield running
        finally:
            running.close()


def random_feeds(
    inputs: list[Tensor], rng: np.random.Generator, image: np.ndarray | None = None, name: str = ""
) -> dict[str, np.ndarray]:
    """Random values between 0 and 1, as images have them, for every floating-point input; ones for the others."""
    feeds = {}
    for t in inputs:
        shape = tuple(t.shape)
        dtype = np.dtype(t.dtype) if not isinstance(t.dtype, int) else np.float32
        feeds[t.name] = np.asarray(rng.random(shape), dtype) if is_float(t) else np.ones(shape, dtype)
    if image is not None:
        if image.shape != feeds[name].shape:
            raise BadOption(
                f"has shape {image.shape}, the model's input '{name}' {feeds[name].shape}",
                where="--image",
                remedy="resize it",
            )
        feeds[name] = np.asarray(image, feeds[name].dtype)
    return feeds


def own_inputs(scope: Scope) -> list[Tensor]:
    return [t for t in scope.graph.inputs if t.name not in (PROBE, COTANGENT)]


def run_original(original: Model, feeds: Arrays, *, optimise: bool = False) -> Arrays:
    """The original's outputs, from onnxruntime or, where that does not run it, from the standard's reference."""
    try:
        with session(original, optimise=optimise) as running:
            return running.run(feeds)
    except ScopeError as error:
        if original.proto.ByteSize() > REFERENCE_BYTES:
            raise
        refusal = error
    try:
        return reference(original.proto, feeds)
    except Exception as error:  # it raises whatever its operators raise
        raise BadModel(
            f"nothing runs it: {refusal.cause}, nor does the standard's reference",
            where="original",
            remedy=refusal.remedy,
        ) from error


def base_check(scope: Scope, feeds: Arrays) -> Check:
    """Whether the base still computes what the original computes, both run as written, or both optimised.

    The noise floor is what optimising the original changes.
    """
    assert scope.original is not None
    want = run_original(scope.original, feeds)
    with session(scope.base(), optimise=False) as base:
        figure, floor = off_by(base.run(feeds), want), 0.0
    if figure > FIGURE:
        optimised = run_original(scope.original, feeds, optimise=True)
        floor = max(off_by(optimised, want), coarseness(scope) / 2)
        with session(scope.base()) as base:
            figure = min(figure, off_by(base.run(feeds), optimised))
    return judged("base equals original", figure, floor)


def prove_base(scope: Scope, seed: int = 0) -> None:
    """Refuse a scope whose base does not compute what the original computes."""
    check = base_check(scope, random_feeds(own_inputs(scope), np.random.default_rng(seed)))
    if not check.ok:
        raise NotProved(
            f"its outputs differ from the original's by {check.figure:.1e} (bound {check.bound:.1e})",
            where="normalised base",
            remedy="report the model's operators and opset: this is a fault of onnxscope",
        )


def verify_scope(scope: Scope, *, image: np.ndarray | None = None, seed: int = 0) -> Report:
    """All proofs, on one image: the given one, or random numbers."""
    rng = np.random.default_rng(seed)
    feeds = random_feeds(own_inputs(scope), rng, image, scope.image)
    checks = []
    if scope.original is None:
        checks.append(
            unable("base equals original", "the original is not at hand; verify the model to compare them")
        )
    else:
        checks.append(base_check(scope, feeds))
    if 0 in scope.tensor(COTANGENT).shape[1:]:
        return Report((*checks, unable("F", "the explained output has no elements")))
    floor = noise_floor(scope, feeds)
    if not np.isfinite(floor):
        note = "the base computes NaN or infinity for this image: prove it on one that the model was made for, with --image"
        return Report((*checks, Check("the output is finite", None, None, None, False, note)))
    x0 = image_value(scope, feeds)
    checks += frozen_checks(scope, feeds, x0, floor, rng)
    if scope.policy.has_tangents:
        with session(scope.analysed()) as analysed:

            def function(x: np.ndarray) -> np.ndarray:
                return analysed.run({**feeds, scope.image: x})[scope.output].astype(np.float64)

            checks.append(difference(scope, feeds, function, x0, floor, rng))
    return Report(tuple(checks))


def noise_floor(scope: Scope, feeds: Arrays) -> float:
    """How far the explained output moves when onnxruntime optimises the base, and no less than its types round.

    Infinite where the output is not finite.
    """
    with session(scope.base()) as optimised:
        y0 = optimised.run(feeds, [scope.output])[scope.output]
    if not np.isfinite(y0.astype(np.float64)).all():
        return float("inf")
    with session(scope.base(), optimise=False) as plain:
        return max(relative(plain.run(feeds, [scope.output])[scope.output], y0), coarseness(scope) / 2)


def image_value(scope: Scope, feeds: Arrays) -> np.ndarray:
    """x0: what is fed, or what the base computes where a tensor inside the network was chosen as the image."""
    if scope.image in feeds:
        return feeds[scope.image]
    with session(part(scope.graph, [scope.tensor(scope.image)])) as at_image:
        return at_image.run(feeds)[scope.image]


def as_probe(x: np.ndarray) -> np.ndarray:
    """A base value as a batch of one probe."""
    return x.astype(np.float32).reshape(1, *raw_shape(x.shape)[1:])


def frozen_checks(
    scope: Scope, feeds: Arrays, x0: np.ndarray, floor: float, rng: np.random.Generator
) -> list[Check]:
    """Freeze identity, linearity, batches, the dot test and the ledger."""
    probe0, output = as_probe(x0), tuple(scope.tensor(COTANGENT).shape)

    def draw(shape: tuple[int, ...], count: int) -> np.ndarray:
        return rng.standard_normal((count, *shape[1:])).astype(np.float32)

    v, u = draw(probe0.shape, 2), draw(output, 2)
    a, b = 0.75, -1.5
    probes = np.concatenate([v, (a * v[:1] + b * v[1:]).astype(np.float32), probe0, np.zeros_like(probe0)])
    cotangents = np.concatenate([u, (a * u[:1] + b * u[1:]).astype(np.float32)])
    with session(scope.explained()) as whole:
        affine = whole.run({**feeds, PROBE: probes, COTANGENT: cotangents})
    with session(scope.linear()) as linear:
        many = linear.run({**feeds, PROBE: probes, COTANGENT: cotangents})
        one = linear.run({**feeds, PROBE: probes[1:2], COTANGENT: cotangents[1:2]})
    y, ct = many[FROZEN].astype(np.float64), many[TRANSPOSED].astype(np.float64)
    size = max(
        np.linalg.norm(y[0]) * np.linalg.norm(u[0]), np.linalg.norm(v[0]) * np.linalg.norm(ct[0]), 1e-30
    )
    checks = [
        judged("frozen(x0) = y0", relative(affine[FROZEN][3:4], as_probe(affine[scope.output])), floor),
        judged("F is linear", relative(y[2], a * y[0] + b * y[1]), floor),
        judged("frozen(v) = F·v + r", relative(affine[FROZEN][0], y[0] + affine[FROZEN][4]), floor),
        judged("a batch equals single probes", max(relative(one[k], many[k][1:2]) for k in one), floor),
    ]
    if scope.method != GRADIENT:
        return [*checks, unable("Fᵀ", f"the way back is '{scope.method}', not the transpose")]
    checks[-1:-1] = [
        judged("Fᵀ is linear", relative(ct[2], a * ct[0] + b * ct[1]), floor),
        judged("⟨F·v, u⟩ = ⟨v, Fᵀ·u⟩", float(abs(np.vdot(y[0], u[0]) - np.vdot(v[0], ct[0])) / size), floor),
    ]
    if not np.any(y):
        checks.append(
            unable(
                "F ≠ 0",
                "F·v = 0 for random probes: the output does not depend on the image through carried values",
            )
        )
    if scope.at_sources:
        with session(ledger(scope)) as accounts:
            paid = accounts.run({**feeds, PROBE: probes[:1], COTANGENT: cotangents[:1]})
        terms = [
            *paid[LEDGER].astype(np.float64).ravel(),
            np.vdot(paid[TRANSPOSED].astype(np.float64), probe0),
        ]
        y0 = as_probe(paid[scope.output]).astype(np.float64)
        score = np.vdot(u[0].astype(np.float64), y0)
        scale = max(np.linalg.norm(u[0]) * np.linalg.norm(y0), np.linalg.norm(terms), 1e-30)
        checks.append(judged("the ledger is complete", float(abs(sum(terms) - score) / scale), floor))
    return checks


def coarseness(scope: Scope) -> float:
    """The rounding of the coarsest floating-point type that the base computes in."""
    types = {
        np.dtype(t.dtype)
        for n in scope.base().nodes
        for t in n.outputs
        if t.dtype is not None and is_float(t)
    }
    return max((rounding(t) for t in types), default=0.0)


def rounding(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def difference(
    scope: Scope,
    feeds: Arrays,
    function: Callable[[np.ndarray], np.ndarray],
    x0: np.ndarray,
    floor: float,
    rng: np.random.Generator,
) -> Check:
    """Under `taylor` F·v is the derivative along v: compared with central differences of the base, which equals the original.

    Their noise floor is half of what the two one-sided quotients differ by (a kink or a bend within the step), what twice
    the step changes (a jump), and the rounding of output and image over the step; the step with the least noise counts.
    """
    if odd := [s.name for s in scope.steps if not s.tangent]:
        return unable(
            DERIVATIVE,
            f"not claimed: {len(odd)} nodes are frozen by other rules than their tangent, such as '{odd[0]}'",
        )
    y0 = function(x0)
    v = rng.standard_normal(x0.shape)
    v *= np.linalg.norm(x0) / max(float(np.linalg.norm(v)), 1e-30)
    with session(scope.linear()) as linear:
        cotangent = np.zeros((1, *raw_shape(y0.shape)[1:]), np.float32)
        slope = linear.run({**feeds, PROBE: as_probe(v), COTANGENT: cotangent}, [FROZEN])[FROZEN].reshape(
            y0.shape
        )
    noise_of_y = max(floor, rounding(np.dtype(np.float32))) * float(np.linalg.norm(y0))
    found, wider = [], None
    for h in STEPS:
        up, down = (s * (function(np.asarray(x0 + s * h * v, x0.dtype)) - y0) / h for s in (1, -1))
        central = (up + down) / 2
        finite = np.isfinite(central)  # a step may leave the function's domain
        size = max(float(np.linalg.norm(central[finite])), 1e-30)
        bend = float(np.linalg.norm((up - down)[finite])) / 2
        jump = (
            float(np.linalg.norm((central - wider)[finite]))
            if wider is not None and np.isfinite(wider[finite]).all()
            else size
        )
        noise, wider = (max(bend, jump) + noise_of_y / h) / size + rounding(x0.dtype) / h, central
        found.append((noise, h, float(np.linalg.norm((slope - central)[finite])) / size))
    noise, h, figure = min(found)
    if noise > USELESS:
        return unable(
            DERIVATIVE,
            f"its noise ({noise:.1e} of the slope) is too large to judge by: the network is too rough here",
        )
    return judged(DERIVATIVE, figure, noise, f"step {h:g} of the image")
