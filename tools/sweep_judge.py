"""Judge a scope file against the model it was written from, with onnxruntime and NumPy alone.

It shares no code with the package: what the package claims about its own scopes must hold for a reader who has only
the two files and the artifact's contract.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Arrays = dict[str, np.ndarray]
FRESH = ("scope_probe", "scope_cotangent")
BOUND = 1e-4  # of the largest value: float32 rounding through a deep network
SLOPE_BOUND = 1e-2  # of a central difference in float32
NOISE = 10.0  # how many times the model's own rounding a figure may be
UNCERTAIN = 4.0  # how many times its own uncertainty a central difference may be off
LOUDER = 100.0
SCALES = (0.3, 0.5, 2.0, 3.0)  # of the image
SIGNAL = 0.05  # of the largest value: what the mirrored image must change at least
USELESS = 0.1  # a bound above this proves nothing
STEPS = tuple(0.3 * 0.5**k for k in range(12))  # of central differences, relative to the image


@dataclass
class Verdict:
    """What was found about one scope: figures, those that are too large, and those that could not be judged."""

    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unjudged: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, figure: float, noise: float, strict: float = BOUND, times: float = NOISE
    ) -> None:
        """A figure within the strict bound is right; else it may be some times the noise, which may not be useless."""
        bound = max(strict, times * noise)
        self.figures[name] = float(f"{figure:.2e}") if np.isfinite(figure) else 1e30
        if strict < figure and not bound <= USELESS:
            self.unjudged[name] = f"rounding alone moves it by {noise:.1e}"
        elif not figure <= bound:
            self.wrong.append(f"{name} is off by {figure:.1e} (bound {bound:.1e})")

    def to_dict(self) -> dict[str, Any]:
        outcome = "wrong" if self.wrong else "not judged" if set(self.unjudged) - {"derivative"} else "right"
        return {
            "outcome": outcome,
            "figures": self.figures,
            "why": "; ".join(self.wrong),
            "unjudged": self.unjudged,
        }


class Network:
    """A model in onnxruntime, which may also give a tensor inside it."""

    def __init__(self, path: Path, also: Sequence[str] = (), *, optimised: bool = True) -> None:
        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_mem_reuse = (
            False  # planning it takes most of the time that a large graph needs to open
        )
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            file = with_outputs(path, also, Path(folder)) if also else path
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        return dict(zip(self.outputs, self.session.run(None, dict(feeds)), strict=True))

    def shapes(self) -> dict[str, list[int | str]]:
        return {i.name: i.shape for i in self.session.get_inputs()}

    def types(self) -> dict[str, np.dtype[Any]]:
        kinds = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(float)": np.float32}
        found = {i.name: i.type for i in self.session.get_inputs()}
        return {
            k: np.dtype(kinds[v] if v in kinds else v.removeprefix("tensor(")[:-1]) for k, v in found.items()
        }


def with_outputs(path: Path, names: Sequence[str], folder: Path) -> Path:
    """A copy of the model beside it that also gives these tensors."""
    model = onnx.load(path, load_external_data=False)
    known = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    copy = path.with_name(f"{folder.name}.onnx")  # beside it, as external data are found by its folder
    onnx.save(model, copy)
    copy.rename(folder / copy.name)
    for data in path.parent.glob(f"{path.name}.data"):
        (folder / data.name).symlink_to(data)
    return folder / copy.name


def judge(original: Path, scope: Path, seed: int = 0) -> dict[str, Any]:
    """The verdict about a scope of the original, for a random image.

    Beside the original there may be an .npz file with an image, a direction, and the slope of the first output along it,
    which the framework found in float64. It stands for the central difference, which float32 makes rough.
    """
    about = {
        p.key.removeprefix("onnxscope."): p.value
        for p in onnx.load(scope, load_external_data=False).metadata_props
    }
    image, output = about["image"], about["output"]
    whole, rng, verdict = Network(scope, [output]), np.random.default_rng(seed), Verdict()
    feeds = {name: x for name, x in random_values(whole, rng).items() if name not in FRESH}
    file = original.with_suffix(".npz")
    known = dict(np.load(file)) if file.is_file() and len(feeds) == 1 else {}
    if known:
        feeds[image] = known["image"].astype(feeds[image].dtype).reshape(feeds[image].shape)
    source = Source(original, image, output, feeds)
    floor = source.rounding()
    if NOISE * floor > USELESS and not known:
        source, floor = quieter(source, floor)
    f = Frozen(whole, source.feeds)
    y0 = f.base(output)
    figure = max(gap(f.base(k), v) for k, v in source.values.items())
    if figure > BOUND:  # optimising may change a quantized model by much, and another part of it in the scope
        figure = min(figure, source.gap_unoptimised(scope, f))
    verdict.add("base", figure, floor)
    judge_map(verdict, f, source.feeds[image], y0, floor, rng)
    if about["policy"].startswith("taylor"):
        odd = [n["name"] for n in json.loads(about["nodes"]) if not n.get("tangent", True)]
        if odd:
            verdict.unjudged["derivative"] = f"not claimed: '{odd[0]}' has no tangent"
        elif known and output == source.first and y0.size == known["slope"].size:
            judge_slope(verdict, f, known["direction"], known["slope"], float(known["unsure"]))
        elif output not in source.values or feeds[image].dtype.kind != "f":
            verdict.unjudged["derivative"] = "the original has no such tensor, or takes whole numbers"
        else:
            judge_slope(verdict, f, *source.slope(rng, floor))
    return verdict.to_dict()


def random_value(shape: Sequence[int | str], dtype: np.dtype[Any], rng: np.random.Generator) -> np.ndarray:
    sizes = [s if isinstance(s, int) else 1 for s in shape]
    if dtype.kind in "iu":
        return rng.integers(0, 256, sizes).astype(dtype)
    return rng.standard_normal(sizes).astype(dtype)


def random_values(network: Network, rng: np.random.Generator) -> Arrays:
    """A random value of each input; free sizes are 1."""
    types = network.types()
    return {name: random_value(shape, types[name], rng) for name, shape in network.shapes().items()}


def moved_by(share: float, x: np.ndarray) -> np.ndarray:
    """Floating-point values, each a little larger or smaller."""
    signs = np.random.default_rng(4).choice([-1.0, 1.0], x.shape)
    return (x * (1 + share * signs)).astype(x.dtype) if x.dtype.kind == "f" else x


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference relative to the largest value of b."""
    if a.shape != b.shape or not np.isfinite(a.astype(np.float64)).all():
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30))


def quieter(source: Source, floor: float) -> tuple[Source, float]:
    """The source at a fainter or louder image if that rounds less and the network still tells images apart."""
    for scale in SCALES:
        feeds = {
            k: (scale * x).astype(x.dtype) if x.dtype.kind == "f" else x for k, x in source.feeds.items()
        }
        other = {k: x[..., ::-1].copy() if x.ndim > 2 else x for k, x in feeds.items()}
        one, another = (Source(source.path, source.image, source.explained, each) for each in (feeds, other))
        first, rounding = one.network.outputs[0], one.rounding()
        if rounding < floor and gap(another.values[first], one.values[first]) > SIGNAL:
            source, floor = one, rounding
    return source, floor


class Source:
    """The original, which also gives the explained tensor where it has one of this name."""

    def __init__(self, path: Path, image: str, output: str, feeds: Arrays) -> None:
        self.path, self.image, self.feeds = path, image, feeds
        self.first = onnx.load(path, load_external_data=False).graph.output[0].name
        try:
            self.network, self.also = Network(path, [output]), [output]
        except Exception:  # onnxruntime raises many kinds: the explained tensor got another name
            self.network, self.also = Network(path), []
        self.values = self.network.run(feeds)
        self.explained = output
        self.unoptimised: Arrays = {}

    def rounding(self) -> float:
        """How far optimising moves the outputs, or rounding the inputs, but at least the rounding of their types."""
        if not all(np.isfinite(v.astype(np.float64)).all() for v in self.values.values()):
            return float("inf")
        with contextlib.suppress(
            Exception
        ):  # unoptimised, onnxruntime may trip over sizes that the file states wrongly
            self.unoptimised = Network(self.path, self.also, optimised=False).run(self.feeds)
        coarse = max(
            (float(np.finfo(v.dtype).eps) for v in self.values.values() if v.dtype.kind == "f"), default=0.0
        )
        nearby = self.network.run({k: moved_by(coarse / 2, v) for k, v in self.feeds.items()})
        moved = [gap(v, self.values[k]) for other in (self.unoptimised, nearby) for k, v in other.items()]
        return max([coarse, *moved])

    def gap_unoptimised(self, scope: Path, f: Frozen) -> float:
        """How far the base is from the original where neither is optimised."""
        base = Frozen(Network(scope, self.also, optimised=False), f.feeds)
        return max((gap(base.base(k), v) for k, v in self.unoptimised.items()), default=float("inf"))

    def slope(self, rng: np.random.Generator, floor: float) -> tuple[np.ndarray, np.ndarray, float]:
        """A direction, the central difference along it, and its uncertainty."""
        x0 = self.feeds[self.image]
        v = rng.standard_normal(x0.shape)

        def along(h: float) -> np.ndarray:
            x = (x0 + h * v).astype(x0.dtype)
            return self.network.run({**self.feeds, self.image: x})[self.explained].astype(np.float64)

        return v, *central_difference(along, floor)


class Frozen:
    """The frozen and the transposed branch of a scope at one image."""

    def __init__(self, whole: Network, feeds: Arrays) -> None:
        self.whole, self.feeds, sizes = whole, feeds, whole.shapes()
        self.probe, self.cotangent = ((1, *sizes[name][1:]) for name in FRESH)
        self.free = all(isinstance(sizes[name][0], str) for name in FRESH)
        self.last: Arrays = {}

    def run(self, probe: np.ndarray, cotangent: np.ndarray) -> Arrays:
        self.last = self.whole.run({**self.feeds, FRESH[0]: probe, FRESH[1]: cotangent})
        return self.last

    def base(self, name: str) -> np.ndarray:
        if not self.last:
            self.run(*(np.zeros(s, np.float32) for s in (self.probe, self.cotangent)))
        return self.last[name]

    def affine(self, probes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """F·v + r of each probe: in one batch where the scope takes one."""
        none = np.zeros(self.cotangent, np.float32)
        batches = [np.concatenate(probes)] if self.free else probes
        found = [self.run(b.astype(np.float32), none)["scope_frozen"] for b in batches]
        return [y.astype(np.float64) for b in found for y in np.split(b, len(b))]

    def back(self, cotangent: np.ndarray) -> np.ndarray:
        """Fᵀ·u."""
        none = np.zeros(self.probe, np.float32)
        return self.run(none, cotangent.astype(np.float32))["scope_transposed"].astype(np.float64)


def judge_map(
    verdict: Verdict, f: Frozen, x0: np.ndarray, y0: np.ndarray, floor: float, rng: np.random.Generator
) -> None:
    """frozen(x0) = y0, frozen − r is linear, and Fᵀ is its transpose."""
    x = x0.astype(np.float64).reshape(f.probe)
    v, w = (rng.standard_normal(f.probe).astype(np.float32) for _ in range(2))
    at_x0, r, at_v = f.affine([x, 0 * x, v])
    verdict.add("frozen(x0) = y0", gap(at_x0, y0.reshape(at_x0.shape)), floor)
    loud = min(max(1.0, size(r) / max(size(at_v - r), 1e-30)), 1e6)  # probes as loud as the residual
    fv, v, figure = linearity(f, r, loud * v, loud * w)
    if figure > BOUND:  # sources that cancel inside round the residual: louder probes drown that
        fv, v, figure = linearity(f, r, LOUDER * loud * v, LOUDER * loud * w)
    if not np.any(fv):
        verdict.unjudged["transpose"] = "F·v = 0 for random probes: no carried value reaches the output"
        return
    verdict.add("linear", figure, 0.0)
    u = (fv / size(fv) + rng.standard_normal(fv.shape) / np.sqrt(fv.size)).astype(np.float32)
    u = u.reshape(f.cotangent)
    back = f.back(u)
    scale = max(size(fv) * size(u), size(v) * size(back))
    verdict.add("transpose", abs(np.vdot(fv, u) - np.vdot(v, back)) / scale, 0.0)


def linearity(f: Frozen, r: np.ndarray, v: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """F·v, v in float32, and how far F·(¾v − 1½w) is from ¾F·v − 1½F·w."""
    v, w = v.astype(np.float32), w.astype(np.float32)
    mixed = (0.75 * v - 1.5 * w).astype(np.float32)
    fv, fw, fm = (y - r for y in f.affine([v, w, mixed]))
    return fv, v, gap(fm, 0.75 * fv - 1.5 * fw)


def size(x: np.ndarray) -> float:
    return float(np.linalg.norm(x.astype(np.float64)))


def judge_slope(verdict: Verdict, f: Frozen, v: np.ndarray, slope: np.ndarray, unsure: float) -> None:
    """Under `taylor`, F·v is the original's slope along v."""
    at_v, r = f.affine([v.reshape(f.probe), np.zeros(f.probe)])
    noise = max(unsure, 1e-7 * size(r) / max(size(slope), 1e-30))
    figure = size((at_v - r).reshape(-1) - slope.reshape(-1)) / max(size(slope), 1e-30)
    verdict.add("derivative", figure, noise, SLOPE_BOUND, UNCERTAIN)


def central_difference(along: Callable[[float], np.ndarray], floor: float) -> tuple[np.ndarray, float]:
    """The slope at 0 by the step whose result is surest, and its relative uncertainty.

    A result is unsure by what doubling the step changes, and by the rounding of values divided by the step.
    """
    rounding = max(floor, 1e-7) * size(along(0.0))
    slopes = {h: (along(h) - along(-h)) / (2 * h) for h in STEPS}
    unsure = {
        h: (size(slopes[h] - slopes[2 * h]) + rounding / h / 10) / max(size(slopes[h]), 1e-30)
        for h in STEPS[1:]
    }
    best = min(unsure, key=lambda h: unsure[h])
    return slopes[best], unsure[best]
