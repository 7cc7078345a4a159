"""Which preprocessing a network wants: what its file says, and the statistics that it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.ask.prepared import ALIKE, CANDIDATES, affine, meant
from onnxscope.ask.ranges import gives_levels, seems_raw
from onnxscope.errors import ScopeError
from onnxscope.files import pictures
from onnxscope.files.models import Model
from onnxscope.files.pixels import channels_axis, is_picture
from onnxscope.files.preprocessing import PRESETS, UNIT, Preprocess, preprocessing
from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor, is_float, is_known, is_sized, shape_of, values_of
from onnxscope.run.single_runs import session

AUTO, UNDECIDED, OWN = "auto", "undecided", "own"
RANGES = {"NominalRange_0_255": "raw", "Normalized_0_1": "unit", "Normalized_1_1": "signed"}  # in WinML
RAW = PRESETS["raw"]
USUAL_MEAN, USUAL_DEVIATION = 115.0, 68.0  # of the levels of photographs
# Distances in nats: up to here the nearest fits if the second is farther by this gap and by this factor.
# Single pictures of photographs are 0.02 to 0.4 from the statistics of data sets that they do not belong to.
CLEAR = ((0.12, 0.1, 2.5), (0.4, 0.8, 4.0))
EXACT = 0.002  # a distance in nats: the statistics are those of the very picture
CORRELATED = 0.5  # the logarithms of variances: 0.54 to 0.99 in trained networks, to 0.42 in random ones
Distances = dict[tuple[str, str], float]  # by the names of a preset and of an order of the channels


@dataclass(frozen=True)
class Preset:
    """A preprocessing, its name, and why it was taken."""

    name: str  # of a preset; `own` for other figures, `undecided` where nothing tells
    preprocess: Preprocess
    why: str

    @property
    def line(self) -> str:
        """The choice and the evidence, in one line."""
        return line_of(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON has it."""
        shown = self.preprocess.as_dict()
        kept = {key: shown[key] for key in ("mean", "std", "scale", "channels")}
        return {"name": self.name, **kept, "why": self.why}


def line_of(preset: Mapping[str, Any]) -> str:
    """The line of a preset that was turned into JSON."""
    range_taken = "raw" if preset["scale"] == RAW.scale else "unit"
    took = f", took {range_taken}" if preset["name"] == UNDECIDED else ""
    return f"{preset['name']}{took}: {preset['why']}"


class Network(NamedTuple):
    """What is known of a network before it runs."""

    graph: gs.Graph  # the base alone
    input: Tensor  # that a picture is given to
    metadata: Mapping[str, str]
    like: Preprocess  # has the layout, and how a picture is fitted

    @property
    def axis(self) -> int:
        """That of the channels."""
        return channels_axis(shape_of(self.input), self.like.layout)

    @property
    def channels(self) -> int:
        return shape_of(self.input)[self.axis]


def given(preset: str | Preprocess | Preset | None, layout: str | None = None) -> Preset:
    """The preset that a user names. `auto`, and None, wait for the first picture."""
    if isinstance(preset, Preset):
        return preset
    automatic = preset in (None, AUTO)
    chosen = preset if isinstance(preset, Preprocess) else UNIT if automatic else preprocessing(preset)
    if layout is not None:
        chosen = replace(chosen, layout=layout)
    return waiting(chosen) if automatic else named(chosen)


def waiting(like: Preprocess) -> Preset:
    """What is found when the first picture is read."""
    return Preset(AUTO, like, "an array holds the network's own values; it is shown as 0 to 1")


def named(chosen: Preprocess) -> Preset:
    """A preprocessing that was given, with the name of the preset that it is."""
    plain = replace(chosen, layout="auto", fit="resize")
    return Preset(next((n for n, p in PRESETS.items() if p == plain), OWN), chosen, "as given")


def metadata_of(model: Model | None) -> dict[str, str]:
    """The metadata of a model's file."""
    return {p.key: p.value for p in model.proto.metadata_props} if model else {}


def picture_input(graph: gs.Graph, image: str) -> Tensor | None:
    """The input that a picture is given to: the image, or the only one that it is computed from."""
    if own := [t for t in graph.inputs if t.name == image]:
        return own[0]
    inside = next((t for n in graph.nodes for t in n.outputs if t.name == image), None)
    read = part(graph, [inside]).inputs if inside is not None else []
    return read[0] if len(read) == 1 else None


def found(network: Network, levels: np.ndarray | None = None) -> Preset:
    """The preprocessing that a network wants; `levels` is a picture of 0…255 in its input's shape, red first.

    Where the evidence is weak it is undecided, and the preprocessing is `unit`, or `raw` if that is likelier.
    """
    shape = network.input.shape if is_sized(network.input) else None
    if shape is None or not is_picture(shape):
        return undecided("the image is no picture of a fixed size", network.like)
    for said in (in_metadata(network), in_type(network)):
        if said is not None:
            return said
    if network.channels not in (1, 3):
        return unsure(network, f"it takes {network.channels} channels")
    if (meaning := meant(network.graph, network.input, network.axis)) is not None:
        return chosen(network, *meaning)
    if levels is None:
        return unsure(network, "the file does not say it, and no picture was given to try")
    return by_statistics(network, levels)


def for_picture(network: Network, file: Path | None) -> Preset:
    """The preprocessing that a network wants for the picture in a file, or what its own file says without."""
    shape = tuple(network.input.shape or ())
    if file is None or not is_sized(network.input) or not is_picture(shape):
        return found(network)
    raw = replace(RAW, layout=network.like.layout, fit=network.like.fit)
    return found(network, pictures.read(file, shape, raw))


def undecided(why: str, like: Preprocess) -> Preset:
    """Where the image is no picture."""
    return Preset(UNDECIDED, replace(UNIT, layout=like.layout, fit=like.fit), why)


def unsure(network: Network, why: str, took: str = "unit") -> Preset:
    return replace(chosen(network, took, "", why), name=UNDECIDED)


def by_biases(network: Network, levels: np.ndarray) -> Preset:
    """Undecided: `raw` where the first biases are far too large for other ranges, else `unit`."""
    why = "neither the file nor a BatchNormalization says it"
    order = "rgb" if network.channels == 3 else "luma"
    unit, raw = (
        under(levels, affine(name, order, network.channels), network.axis, order).astype(network.input.dtype)
        for name in ("unit", "raw")
    )
    try:
        seen = seems_raw(network.graph, network.input, unit, raw)
        seen = seen or gives_levels(network.graph, network.input, network.axis, unit)
    except ScopeError:
        seen = ""  # a part that does not run tells nothing
    return unsure(network, f"{why}, but {seen}", "raw") if seen else unsure(network, why)


def chosen(network: Network, name: str, order: str, why: str) -> Preset:
    """A preset in this order of the channels, or its own; reversed colours reverse its mean and deviation."""
    made = preprocessing(name, channels="luma" if network.channels == 1 else order or None)
    return Preset(name, replace(made, layout=network.like.layout, fit=network.like.fit), why)


def in_metadata(network: Network) -> Preset | None:
    """What the metadata say: those of WinML, and those of the exporter of Ultralytics."""
    held = network.metadata
    kind = held.get("Image.NominalPixelRange", "")
    form = held.get("Image.BitmapPixelFormat", "")
    if kind in RANGES:
        order = "bgr" if form.lower().startswith("bgr") and network.channels == 3 else ""
        return chosen(network, RANGES[kind], order, f"its metadata say {kind}{form and f' and {form}'}")
    if held.get("author", "").strip().lower() == "ultralytics":
        return chosen(network, "unit", "", "its metadata name Ultralytics, whose networks take 0 to 1")
    return None


def in_type(network: Network) -> Preset | None:
    """Whole numbers are pixels; those of int8 may be shifted."""
    t = network.input
    if is_float(t):
        return None
    if np.dtype(t.dtype) == np.int8:
        return unsure(network, f"the input '{t.name}' holds int8, which may be shifted")
    return chosen(network, "raw", "", f"the input '{t.name}' holds {np.dtype(t.dtype)}")


def by_statistics(network: Network, levels: np.ndarray) -> Preset:
    """The preset under which a picture has the statistics that the first BatchNormalization holds."""
    bn = first_batch_norm(network)
    if bn is None:
        return by_biases(network, levels)
    usual = (levels - levels.mean()) / max(float(levels.std()), 1.0) * USUAL_DEVIATION + USUAL_MEAN
    try:
        own, average = distances(network, bn, levels), distances(network, bn, usual)
    except ScopeError as error:
        return unsure(network, f"the part before '{bn.name}' does not run ({error.cause})")
    exact = min(own.values()) < EXACT
    measured = own if exact else average
    (near, name), (far, other), *_ = ranked(measured)
    if math.isinf(near):
        return unsure(network, f"the variances of '{bn.name}' are not those of a trained network")
    fits = f"{name} (distance {near:.2g} nats; next is {other}, {far:.2g})"
    contrary = None if exact or not clear(own) else ranked(own)[0][1]
    if not clear(measured) or contrary not in (None, name):
        return unsure(network, f"the statistics of '{bn.name}' fit best, not clearly, {fits}")
    name, order = precise(name, measured, exact)
    return chosen(network, name, order, f"the statistics of '{bn.name}' fit {fits}")


def first_batch_norm(network: Network) -> gs.Node | None:
    """The first BatchNormalization on the way of the picture, if all that it needs is the picture."""
    for node in network.graph.nodes:
        if node.op == "BatchNormalization" and all(is_known(t) for t in node.inputs[1:]):
            read = part(network.graph, [node.inputs[0]]).inputs
            return node if [t.name for t in read] == [network.input.name] else None
    return None


def distances(network: Network, bn: gs.Node, levels: np.ndarray) -> Distances:
    """How far the statistics under each candidate are from those that a BatchNormalization holds.

    That is the Kullback-Leibler divergence of two normal distributions, its median over the channels. All are
    infinite if the variances of the channels have nothing in common: then nobody trained the network.
    """
    mean, variance = (values_of(t).astype(np.float64) for t in bn.inputs[3:5])
    variance = np.maximum(variance, 1e-12)
    result, trained = Distances(), dict[tuple[str, str], bool]()
    with session(part(network.graph, [bn.inputs[0]])) as running:
        for name, order in orders(network.channels):
            values = under(levels, affine(name, order, network.channels), network.axis, order)
            fed = {network.input.name: values.astype(network.input.dtype)}
            x = running.run(fed)[bn.inputs[0].name].astype(np.float64)
            around = tuple(axis for axis in range(x.ndim) if axis != 1)
            ratio = np.maximum(x.var(around), 1e-12) / variance
            apart = (x.mean(around) - mean) ** 2 / variance
            result[name, order] = float(np.median((ratio + apart - 1 - np.log(ratio)) / 2))
            trained[name, order] = in_step(variance * ratio, variance)
    nearest = min(result, key=lambda key: result[key])
    return result if trained[nearest] else dict.fromkeys(result, math.inf)


def in_step(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the logarithms of two rows of variances are correlated."""
    a, b = (np.log(v) - np.log(v).mean() for v in (first, second))
    return bool(a @ b > CORRELATED * np.sqrt((a @ a) * (b @ b)) and b @ b > 0)


def orders(channels: int) -> Iterable[tuple[str, str]]:
    """The candidates, each in the orders that there are."""
    return [
        (name, order) for name in CANDIDATES for order in (("rgb", "bgr") if channels == 3 else ("luma",))
    ]


def under(levels: np.ndarray, line: tuple[np.ndarray, np.ndarray], axis: int, order: str) -> np.ndarray:
    """The values of a picture under a candidate."""
    wide = [1] * levels.ndim
    wide[axis] = -1
    slope, shift = (v.reshape(wide) for v in line)
    return np.asarray((np.flip(levels, axis) if order == "bgr" else levels) * slope + shift)


def ranked(measured: Distances) -> Sequence[tuple[float, str]]:
    """The nearest distance of each preset, in order; two that can hardly be told apart count as one."""
    best: dict[str, float] = {}
    for (name, _), value in measured.items():
        family = ALIKE.get(name, name)
        best[family] = min(value, best.get(family, value))
    return sorted((value, name) for name, value in best.items())


def clear(measured: Distances) -> bool:
    """Whether the nearest preset fits, and the second is much farther away."""
    (near, _), (far, _), *_ = ranked(measured)
    return much_nearer(near, far)


def much_nearer(near: float, far: float) -> bool:
    return any(near <= fits and far - near >= gap and far >= times * near for fits, gap, times in CLEAR)


def precise(name: str, measured: Distances, exact: bool) -> tuple[str, str]:
    """The preset among those that are alike, and the order of its channels.

    They are those that are usual, unless others are much nearer, or are those of the very picture.
    """
    usual = next((order for n, order in measured if n == name and order == PRESETS[n].channels), "")
    alike = [key for key in measured if ALIKE.get(key[0], key[0]) == name]
    best = min(alike, key=lambda key: measured[key])
    if not usual:
        return name, ""
    if exact and measured[best] * 10 < measured[name, usual]:
        return best
    turned = min((key for key in alike if key[0] == name), key=lambda key: measured[key])
    return turned if much_nearer(measured[turned], measured[name, usual]) else (name, usual)
