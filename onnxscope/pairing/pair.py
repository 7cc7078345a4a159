"""Two matched networks, open for any number of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxscope.errors import BadOption, Unsupported, shape_text
from onnxscope.graph.tensors import numel, shape_of
from onnxscope.pairing.found import Member
from onnxscope.pairing.kinds import Kinds
from onnxscope.pairing.layers import layers
from onnxscope.pairing.layouts import Layout
from onnxscope.pairing.linear_parts import linear_part
from onnxscope.pairing.matching import Matcher
from onnxscope.pairing.open_sides import AtImage, OpenSide
from onnxscope.pairing.pair_scope import SEED, PairScope, Writer
from onnxscope.pairing.shares import Found, Shares
from onnxscope.pairing.sides import Arrays, Side
from onnxscope.rewriting.build import Place, Weights
from onnxscope.rewriting.scope import COTANGENT, PROBE
from onnxscope.rewriting.steps import Policy
from onnxscope.runtime import Session, from_ort_value, ort_value

LEAST_NOISE = 3e-5  # of the largest number that a network gives: what another order of sums changes
TINY = 1e-30
MEASURED = 4  # images on which the noise is measured
MAP = "--map"
Sums = Mapping[Place, Weights | np.ndarray]  # the weights of some elements, or of all of them


@dataclass
class Both:
    """The values of both networks for one image."""

    a: AtImage
    b: AtImage


class Pair:
    """Two networks, whose layers are matched on a first image.

    Sessions are built when they are first needed, and are used for all images.
    """

    def __init__(
        self,
        a: Side,
        b: Side,
        fed: tuple[Arrays, Arrays],
        image: Layout,
        given: Mapping[str, str] | None = None,
        output: str | None = None,
    ) -> None:
        """`given` are nodes of A's file with the nodes of B's that compute the same.

        `output` is the tensor of A that is compared, in place of the explained ones.
        """
        values_a, values_b = a.values(fed[0]), b.values(fed[1])
        found = Matcher(a, b, values_a, values_b, tensors_by_nodes(a, b, given or {})).match(image)
        if output is not None:
            if output not in found.members:
                cause, remedy = f"'{output}' has no counterpart in B", "choose another tensor, or use --map"
                raise BadOption(cause, where="--output", remedy=remedy)
            a, b = a.ending_at([output]), b.ending_at([found.members[output][0].name])
        self.layers = layers(a, b, found)
        self.a, self.b = self.layers.a, b
        self.kinds = Kinds(self.a, self.b, values_a, values_b, self.layers.every)
        self.shares = Shares(self.a, self.b, self.layers.every, self.kinds)
        self.sides = OpenSide(self.a), OpenSide(self.b)
        # which compute the explained tensors alone
        self.alone = [OpenSide(one.side, one.sessions) for one in self.sides]
        self.noises, self._measured = [(LEAST_NOISE, LEAST_NOISE)] * len(self.ends), 0
        self._priced: dict[tuple[Place, ...], tuple[PairScope, Session]] = {}
        self._filters: dict[tuple[int, str], tuple[list[str], list[str], Session | None]] = {}

    @cached_property
    def ends(self) -> list[tuple[str, Member]]:
        """A's explained tensors before anything was added, and their counterparts in B."""
        members = self.layers.members()
        if lost := next((t.name for t in self.a.ends if t.name not in members), None):
            raise Unsupported(
                "no image reaches it, so that it has no counterpart",
                where=f"tensor '{lost}'",
                remedy="name another one with --output",
            )
        last = {layer.tensor: layer.rounds for layer in self.layers.every if layer.rounds}
        return [(last.get(t.name, t.name), members[t.name]) for t in self.a.ends]

    def at(self, fed_a: Arrays, fed_b: Arrays) -> Both:
        """Both networks for an image."""
        return Both(self.sides[0].at(fed_a), self.sides[1].at(fed_b))

    def outputs(self, at: Both) -> list[tuple[np.ndarray, np.ndarray]]:
        """A's explained tensors, and B's in A's layout."""
        return [(at.a.array(name), member.layout.of(at.b.array(member.name))) for name, member in self.ends]

    # the difference of a value

    def pays(self, at: Both, sums: Sums, constant: float = 0.0) -> Found:
        """What each layer adds to the difference of a sum of elements of A's explained tensors."""
        places = tuple(sums)
        scope, session = self.priced(places)
        ours, theirs = at.a.values(scope.states), at.b.values(scope.reads.values())
        fed = {name: ours[name] for name in scope.states}
        fed |= {name: theirs[name_in_b] for name, name_in_b in scope.reads.items()}
        fed |= {f"{SEED}/{k}": ort_value(self.seed(place, sums[place])) for k, place in enumerate(places)}
        fed[COTANGENT] = ort_value(np.ones((1, 1), np.float32))
        results = session.on_values({n: v for n, v in fed.items() if n in session.inputs})
        numbers = {
            name: dict(zip(rows, results[name].numpy().tolist(), strict=True))
            for name, rows in scope.rows.items()
        }
        value_a, value_b = (v + constant for v in self.value(at, sums))
        return self.shares.found(value_a, value_b, numbers)

    def priced(self, places: tuple[Place, ...]) -> tuple[PairScope, Session]:
        """The pair scope for sums over these tensors."""
        if places not in self._priced:
            rounded = {layer.rounds: layer.tensor for layer in self.layers.every if layer.rounds}
            behind = [Place(rounded.get(p.tensor, p.tensor), p.unit) for p in places]
            anchors = {layer.tensor: layer.member for layer in self.layers.every if not layer.exact}
            scope = Writer(self.a, behind, self.b, anchors, self.kinds.parts).write()
            self._priced[places] = scope, self.sides[0].sessions.open(scope.graph)
        return self._priced[places]

    def seed(self, place: Place, weights: Weights | np.ndarray) -> np.ndarray:
        """The weights of all elements of an explained tensor."""
        seed = np.zeros((1, math.prod(shape_of(self.a.active[place.tensor]))), np.float32)
        seed[0, numbers_in(weights)] = weights_in(weights)
        return seed

    def value(self, at: Both, sums: Sums) -> tuple[float, float]:
        """The sum in A and in B."""
        ours, theirs = zip(*self.outputs(at), strict=True)
        return self.sum_of(ours, sums), self.sum_of(theirs, sums)

    def sum_of(self, outputs: Sequence[np.ndarray], sums: Sums) -> float:
        """The sum over explained tensors that have these values."""
        arrays = dict(zip([name for name, _ in self.ends], outputs, strict=True))
        found = 0.0
        for place, weights in sums.items():
            x = np.asarray(arrays[place.tensor], np.float64).reshape(-1)
            length = float(np.linalg.norm(x)) if place.unit else 1.0
            found += float(x[numbers_in(weights)] @ weights_in(weights)) / max(length, TINY)
        return found

    # the linear parts

    def in_filter(self, at: Both, sums: Sums, policy: Policy) -> float:
        """(F_B − F_A)·x0: what the linear parts of the two networks give differently for the image."""
        found = []
        for k, one in enumerate((at.a, at.b)):
            states, outputs, session = self.filter(k, policy)
            x = self.sides[k].side.x.name
            values = one.values([*states, x])
            x0 = np.asarray(one.array(x), np.float32)
            probe = ort_value(x0 if x0.shape[:1] == (1,) else x0[None])
            linear = session.on_values({**{n: values[n] for n in states}, PROBE: probe}) if session else {}
            total = 0.0
            for place, weights in sums.items():
                n, numbers = self.place_of(place.tensor, theirs=k == 1)
                if outputs[n]:
                    y1 = linear[outputs[n]].numpy().reshape(-1)[numbers[numbers_in(weights)]]
                    y0 = np.asarray(one.array(self.explained(n, theirs=k == 1)), np.float64)
                    length = float(np.linalg.norm(y0)) if place.unit else 1.0
                    total += float(y1.astype(np.float64) @ weights_in(weights)) / length
            found.append(total)
        return found[1] - found[0]

    def filter(self, k: int, policy: Policy) -> tuple[list[str], list[str], Session | None]:
        """The linear part of A (0) or B (1): what it reads, its outputs, and its session."""
        if (k, policy.default) not in self._filters:
            network = self.sides[k]
            side = replace(
                network.side, ends=[network.tensor(self.explained(n, k == 1)) for n in range(len(self.ends))]
            )
            graph, states, outputs = linear_part(side, policy)
            session = network.sessions.open(graph) if graph.nodes else None
            self._filters[k, policy.default] = states, outputs, session
        return self._filters[k, policy.default]

    def explained(self, n: int, theirs: bool) -> str:
        """The name of an explained tensor of A or B."""
        name, member = self.ends[n]
        return member.name if theirs else name

    def place_of(self, name: str, theirs: bool) -> tuple[int, np.ndarray]:
        """Which explained tensor this one of A is, and where its elements lie in A or in B."""
        n = [own for own, _ in self.ends].index(name)
        member = self.ends[n][1]
        numbers = np.arange(math.prod(member.layout.start)).reshape(member.layout.start)
        return n, (member.layout.of(numbers) if theirs else numbers).reshape(-1)

    # agreement

    def agreement(self, at: Both) -> tuple[bool, float, float]:
        """Whether all explained tensors agree within their noise, and the noise of an element.

        The noise is what onnxruntime's optimisations change on the first images, and at least what another
        order of sums does: at most, and as the root of the mean square.
        """
        if self._measured < MEASURED:
            self._measured += 1
            both = zip(self.noises, self.moved(at), strict=True)
            self.noises = [(max(p[0], q[0]), max(p[1], q[1])) for p, q in both]
        sizes = [max(furthest(a, 0.0), TINY) for a, _ in self.outputs(at)]
        bounds = [most * size for (most, _), size in zip(self.noises, sizes, strict=True)]
        same = all(furthest(a, b) <= t for (a, b), t in zip(self.outputs(at), bounds, strict=True))
        means = [mean * size for (_, mean), size in zip(self.noises, sizes, strict=True)]
        return same, max(bounds), max(means)

    def moved(self, at: Both) -> list[tuple[float, float]]:
        """What optimisations change of each explained tensor in A and in B, relative to the largest element.

        They can do the more, the fewer tensors must be there in the end.
        """
        sides = [(at.a, [name for name, _ in self.ends]), (at.b, [m.name for _, m in self.ends])]
        alone = [self.alone[k].at_values(one.fed).values(names) for k, (one, names) in enumerate(sides)]
        found = []
        for n, (a, _) in enumerate(self.outputs(at)):
            most = mean = LEAST_NOISE
            for quick, (one, names) in zip(alone, sides, strict=True):
                change = np.subtract(from_ort_value(quick[names[n]]), one.array(names[n]), dtype=np.float64)
                size = max(furthest(a, 0.0), TINY)
                most += furthest(change, 0.0) / size
                mean += float(np.sqrt(np.square(change).mean())) / size
            found.append((most, mean))
        return found


def tensors_by_nodes(a: Side, b: Side, nodes: Mapping[str, str]) -> dict[str, str]:
    """What these nodes of the files compute, in A and in B."""
    found = {}
    for names in nodes.items():
        ours, theirs = (side.result_of(name) for side, name in zip((a, b), names, strict=True))
        for tensor, name, file in ((ours, names[0], "A"), (theirs, names[1], "B")):
            if tensor is None:
                cause = f"{file} has no node '{name}' between the image and its outputs"
                raise BadOption(cause, where=MAP, remedy="give names as --json lists them")
        assert ours is not None and theirs is not None
        if numel(shape_of(ours)) != numel(shape_of(theirs)):
            sizes = f"{shape_text(shape_of(ours))} and {shape_text(shape_of(theirs))}"
            cause = f"'{names[0]}' and '{names[1]}' compute other sizes, {sizes}"
            raise BadOption(cause, where=MAP, remedy="name nodes that compute the same")
        found[ours.name] = theirs.name
    return found


def furthest(a: np.ndarray, b: np.ndarray | float) -> float:
    """The largest difference of two elements."""
    return float(np.abs(np.subtract(a, b, dtype=np.float64)).max(initial=0))


def numbers_in(weights: Weights | np.ndarray) -> np.ndarray:
    """The numbers of the elements that have a weight."""
    return np.arange(weights.size) if isinstance(weights, np.ndarray) else np.array(list(weights), np.int64)


def weights_in(weights: Weights | np.ndarray) -> np.ndarray:
    return weights if isinstance(weights, np.ndarray) else np.array(list(weights.values()), np.float64)
