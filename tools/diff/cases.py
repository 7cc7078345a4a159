"""Writing the cases: pairs of files with one fault between them, or with none, and the truth about each."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from diff import harmless, harmless_nodes, harmless_values, kinds_definitions, kinds_quantized, kinds_weights
from diff.graph import Arrays, Graph, difference, name_of, renamed, run, shuffled_order
from diff.kinds import Done, Kind
from diff.networks import as_input, float_twin, is_random, network, picture, side_of

KINDS: list[Kind] = [*kinds_weights.KINDS, *kinds_definitions.KINDS, *kinds_quantized.KINDS]
NETWORKS_EACH = 3
NOISE = 30.0  # how many times the runtime's own rounding a fault must change the output by
TRIES = 24  # nodes that a fault is tried at


def in_the_middle(graph: Graph, kind: Kind, random: np.random.Generator) -> list[str]:
    """The nodes of a kind, shuffled, those in the middle of the network first."""
    count = len(graph.nodes)
    where = {i: k / count for k, n in reversed(list(enumerate(graph.nodes))) for i in n.input}
    places = [(where.get(n.output[0], 1.0), name_of(n)) for n in graph.nodes if n.op_type in kind.operators]
    order = [places[k] for k in random.permutation(len(places))]
    return [name for _, name in sorted(order, key=lambda p: not 0.25 <= p[0] <= 0.8)][:TRIES]


def feeds_of(graph: Graph, image: np.ndarray) -> Arrays:
    """The image under the name and in the type and layout that the model takes."""
    given = graph.model.graph.input[0]
    value = as_input(image)
    if given.type.tensor_type.shape.dim[-1].dim_value == 3:
        value = value.transpose(0, 2, 3, 1)
    kind = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    return {given.name: np.ascontiguousarray(value, kind)}


def seeded(kind: Kind, name: str) -> tuple[Graph, Graph, Done, float] | None:
    """The right network, the wrong one, what was done, and how much it changes; None if nothing visible can be done."""
    right = network(name)
    random = np.random.default_rng(zlib.crc32(f"{kind.name} {name}".encode()))
    feeds = feeds_of(right, picture(side_of(name)))
    expected = run(right.model, feeds)
    noise = difference(expected, run(right.model, feeds, optimised=False))
    for place in in_the_middle(right, kind, random):
        wrong = right.copy()
        done = kind.edit(wrong, wrong.named(place), random)
        if done is None:
            continue
        change = difference(expected, run(wrong.model, feeds))
        if np.isfinite(change) and change > max(kind.visible, NOISE * noise):
            return right, wrong, done, change
    return None


class Shielded(Graph):
    """A graph in which changes pass over some nodes."""

    def __init__(self, model: onnx.ModelProto, kept: Sequence[str]) -> None:
        super().__init__(model)
        self.kept = set(kept)

    def of_type(self, *types: str) -> list[onnx.NodeProto]:
        return [n for n in super().of_type(*types) if name_of(n) not in self.kept]


def reexported(graph: Graph, kept: Sequence[str], seed: int) -> tuple[Graph, list[str]]:
    """The network as another exporter may write it: other names, order and nodes; and the new names of those kept."""
    other = Shielded(graph.copy().model, kept)
    for change in (
        harmless_nodes.after_each("Relu", "Dropout"),
        harmless_nodes.after_each("LeakyRelu", "Identity"),
        harmless_nodes.flatten_as_reshape,
        harmless_nodes.dense_as_matmul,
        harmless_values.norms_folded,
    ):
        change(other)
    new = renamed(other)
    shuffled_order(other, np.random.default_rng(seed))
    return other, [new[name] for name in kept]


def save(folder: Path, a: Graph, b: Graph, name: str, truth: dict[str, Any]) -> None:
    """Write one case; random networks get their image as numbers, since they have no preprocessing of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    image = picture(side_of(name))
    for old in folder.glob("image.*"):
        old.unlink()
    if is_random(name):
        np.save(folder / "image.npy", as_input(image))
    else:
        Image.fromarray(image).save(folder / "image.png")
    onnx.save(a.model, folder / "a.onnx")
    if truth.get("external"):
        (folder / "b.data").unlink(missing_ok=True)
        onnx.save(
            b.copy().model,
            folder / "b.onnx",
            save_as_external_data=True,
            location="b.data",
            size_threshold=64,
        )
    else:
        onnx.save(b.model, folder / "b.onnx")
    twin = float_twin(name)
    if twin is not None:
        onnx.save(twin.model, folder / "float.onnx")
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def make_kind(number: int, kind: Kind, folder: Path) -> Iterator[str]:
    """Write the cases of one kind: on three networks, and on one of them also as another exporter writes it."""
    made, first = 0, number % len(kind.networks)
    for name in [*kind.networks[first:], *kind.networks[:first]]:
        found = seeded(kind, name) if made < NETWORKS_EACH else None
        if found is None:
            continue
        a, b, done, change = found
        truth: dict[str, Any] = {"kind": kind.name, "network": name, "a": list(done.a), "b": list(done.b)}
        truth |= {"exact": done.exact, "fault": done.fault, "difference": float(f"{change:.2e}")}
        save(folder / f"{kind.name}-{name}", a, b, name, truth)
        yield f"{kind.name}-{name}: {done.fault} ({change:.1e})"
        if made == number % NETWORKS_EACH:
            other, names = reexported(b, done.b, number)
            feeds = feeds_of(a, picture(side_of(name)))
            moved = difference(run(b.model, feeds), run(other.model, feeds))
            truth |= {"b": names, "reexported": True}
            save(folder / f"{kind.name}-{name}-reexported", a, other, name, truth)
            yield f"{kind.name}-{name}-reexported: ({moved:.1e}{' TOO MUCH' if not moved < change / 30 else ''})"
        made += 1
    if made < NETWORKS_EACH:
        yield f"{kind.name}: ONLY {made} NETWORKS"


def make_harmless(folder: Path) -> Iterator[str]:
    """Write the harmless pairs; each must compute the same within rounding."""
    for pair in harmless.PAIRS:
        a = pair.before(network(pair.network)) if pair.before else network(pair.network)
        b = pair.edit(a.copy())
        image = picture(side_of(pair.network))
        outputs = [run(g.model, feeds_of(g, image)) for g in (a, b)]
        change = difference(outputs[0], outputs[1])
        name = f"harmless_{pair.name}-{pair.network}"
        if not change < pair.rounding:
            yield f"{name}: NOT HARMLESS ({change:.1e})"
            continue
        truth: dict[str, Any] = {
            "kind": pair.name,
            "network": pair.network,
            "harmless": True,
            "hard": pair.hard,
        }
        truth |= {
            "a": [],
            "b": [],
            "fault": "",
            "difference": float(f"{change:.2e}"),
            "external": pair.external,
        }
        save(folder / name, a, b, pair.network, truth)
        yield f"{name}: ({change:.1e})"


def make(folder: Path, only: str = "") -> None:
    """Write all cases, or those whose kind holds a text."""
    for number, kind in enumerate(KINDS):
        if only in kind.name:
            for line in make_kind(number, kind, folder):
                print(line, flush=True)
    if not only or only in "harmless":
        for line in make_harmless(folder):
            print(line, flush=True)
