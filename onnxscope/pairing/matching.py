"""Which tensors of two networks are the same, without their names.

The nodes of A are followed in their order. Each is run on what B computed for its inputs, as far as these
have been matched, so that differences do not add up from layer to layer: what comes out is looked for among
the values of B that are computed from the same matched tensors. Where nothing fits, as at a layer that was
changed, the pair is taken after which the layers behind it fit again.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxscope.graph.tensors import Tensor, is_float, is_known, numel, shape_of, values_of
from onnxscope.pairing.found import ROUNDING, Fit, Found, Member, norm
from onnxscope.pairing.layouts import VIEWS, Layout, between, of_view
from onnxscope.pairing.reach import beyond, origins
from onnxscope.pairing.sides import Side
from onnxscope.pairing.single_nodes import SingleNodes

EXACT, LOOSE = 1e-3, 0.3  # relative errors: of the same computation, and of one that is rounded coarsely
FAR = 4.0  # of what is rounded to another range
DECODED = "DequantizeLinear"
AHEAD = 6  # the number of nodes behind a supposed pair that are tried
ENOUGH = 4.0  # matched tensors behind a supposed pair: no other is tried
MOST_FOLDED = 3  # nodes that exporters fold into the layer before them, which are:
FOLDED = {"BatchNormalization", "Add", "Sub", "Mul", "Div", "Relu", "Clip"}
ABSORBED = {"Relu", "Clip", *ROUNDING}  # what the range of quantized numbers can do instead
TINY = 1e-30
PREPARING = 8  # nodes at the image that may scale it and change its layout
Values = Mapping[str, np.ndarray]


class Matcher:
    """Matches the tensors of A with those of B, given the values of both for one image."""

    def __init__(
        self, a: Side, b: Side, values_a: Values, values_b: Values, given: Mapping[str, str] | None = None
    ) -> None:
        """`given` are tensors of A that are known to be the same as tensors of B."""
        self.a, self.b, self.values_a, self.values_b = a, b, values_a, values_b
        self.given = given or {}
        self.runs = SingleNodes(a.b.opset, a.b.graph.ir_version)
        self.found = Found()
        self.norms = {n: norm(v) for n, v in values_b.items() if n in b.active and is_float(b.active[n])}

    def match(self, image: Layout) -> Found:
        """Match from the image, in the layout that A takes it in, to the explained tensors."""
        self.begin(image)
        rest: Sequence[gs.Node] = self.behind()
        while rest:
            self.follow(rest)
            rest = self.from_first_stuck(rest)
            if rest and not self.resume(rest):
                rest = rest[1:]
        for ours, theirs in zip(self.a.ends, self.b.ends, strict=True):
            if ours.name not in self.found.members:
                layout = next(between(shape_of(theirs), shape_of(ours)))
                self.join(ours.name, Member(theirs.name, layout), 1.0)
        return self.found

    def begin(self, image: Layout) -> None:
        """Match the images, or what one side makes of its image before it is the other's."""
        ours, theirs = [self.a.x.name], [self.b.x.name]
        ours += [t.name for n in self.a.nodes[:PREPARING] for t in n.outputs]
        theirs += [t.name for n in self.b.nodes[:PREPARING] for t in n.outputs]
        pairs = [(ours[0], name) for name in theirs] + [(name, theirs[0]) for name in ours[1:]]
        for name, other in pairs:
            if other in self.norms and self.values_b[other].size == math.prod(image.start):
                value = self.values_a[name]
                fits = self.fits(other, value, norm(value)) if value.dtype.kind == "f" else ()
                best = min(fits, key=lambda fit: fit.error, default=None)
                if best is not None and best.error < EXACT:
                    self.join(name, best.member, best.error)
                    return
        self.join(ours[0], Member(theirs[0], image), 1.0)

    def behind(self) -> list[gs.Node]:
        """The nodes of A that depend on what was matched first."""
        known, found = set(self.found.members), []
        for node in self.a.nodes:
            if any(t.name in known for t in node.inputs):
                known.update(t.name for t in node.outputs)
                found.append(node)
        return found

    # following the nodes

    def follow(self, nodes: Sequence[gs.Node]) -> float:
        """Match what these nodes compute where it can be. The number of matches; loose ones count half."""
        count = 0.0
        for node in nodes:
            if node.op in VIEWS and node.inputs[0].name in self.found.members:
                self.pass_on(node)
                continue
            for t, value in zip(node.outputs, self.results(node), strict=True):
                if t.name in self.a.active and t.name not in self.found.members:
                    self.found.unmatched[t.name] = value
                    if is_float(t):
                        count += self.place(t, value)
        return count

    def results(self, node: gs.Node) -> list[np.ndarray]:
        """What a node of A computes from what B computed."""
        return self.runs.run(node, [self.on(t, node.op in ROUNDING) if t.name else None for t in node.inputs])

    def on(self, t: Tensor, rounding: bool = False) -> np.ndarray:
        """The value of a tensor of A, as B has it where it is matched: before B rounds it, or after."""
        if is_known(t):
            return values_of(t)
        if t.name in self.found.members:
            member = self.found.members[t.name][0 if rounding else -1]
            value = member.layout.of(self.values_b[member.name])
            return np.ascontiguousarray(value, self.values_a[t.name].dtype)
        return self.found.unmatched.get(t.name, self.values_a[t.name])

    def place(self, t: Tensor, value: np.ndarray) -> float:
        """Match a tensor of A with the nearest one of B, if one is near enough; how sure this is."""
        length = norm(value)
        if t.name in self.given:
            fit = min(self.fits(self.given[t.name], value, length), key=lambda f: f.error)
            self.join(t.name, fit.member, fit.error)
            return 1.0
        found, least = list(self.candidates(t.name)), LOOSE if self.one_layer(t.name) else EXACT
        best = self.nearest(found, value, length, least)
        if best is not None and best.error > EXACT and self.later_is_nearer(t, best):
            return 0.0
        least = LOOSE if self.a.producers[t.name].op in ABSORBED else EXACT
        best = best or self.nearest(self.same_as_before(t.name), value, length, least)
        if best is None and self.only_rounded(t.name, self.a, self.found.members):
            rounded = (n for n in found if self.only_rounded(n, self.b, self.found.groups_b))
            best = self.nearest(rounded, value, length, FAR)
        if best is None:
            return 0.0
        self.join(t.name, best.member, best.error)
        return 1.0 if best.error < EXACT else 0.5

    def one_layer(self, name: str) -> bool:
        """Whether a tensor of A is a single layer away from what is matched.

        If several layers lie between, a value that is only about the same may have passed a changed one.
        """
        count, seen, queue = 0, set[str](), [name]
        while queue:
            node = self.a.producers[queue.pop()]
            if node.name in seen:
                continue
            seen.add(node.name)
            carried = self.a.carried(node)
            count += not (node.op in (*VIEWS, *ROUNDING) or (node.op in FOLDED and len(carried) == 1))
            queue += [t.name for t in carried if t.name not in self.found.members]
        return count <= 1

    def nearest(self, names: Iterable[str], value: np.ndarray, length: float, least: float) -> Fit | None:
        fits = [
            fit
            for name in names
            if abs(self.norms[name] - length) <= least * length
            for fit in self.fits(name, value, length)
        ]
        best = min(fits, key=lambda fit: fit.error, default=None)
        return best if best is not None and best.error < least else None

    def fits(self, name: str, value: np.ndarray, length: float) -> Iterator[Fit]:
        theirs = self.values_b[name]
        for layout in between(theirs.shape, value.shape):
            error = norm(layout.of(theirs) - value) / length if length else 0.0
            yield Fit(Member(name, layout), error)
            if error < EXACT:
                return

    def only_rounded(self, name: str, side: Side, known: Container[str]) -> bool:
        """Whether a tensor is a matched one, rounded, however far."""
        made = side.producers[name]
        quantized = side.producers.get(made.inputs[0].name)
        return made.op == DECODED and quantized is not None and quantized.inputs[0].name in known

    def later_is_nearer(self, t: Tensor, best: Fit) -> bool:
        """Whether what is folded into the layer of B leads from a tensor to one that is nearer to B's."""
        for _ in range(MOST_FOLDED):
            readers = self.a.consumers[t.name]
            if len(readers) != 1 or readers[0].op not in FOLDED:
                return False
            (t,), (value,) = readers[0].outputs, self.results(readers[0])
            self.found.unmatched[t.name] = value
            if value.size != self.values_b[best.member.name].size or not is_float(t):
                return False
            if min(f.error for f in self.fits(best.member.name, value, norm(value))) < best.error / 2:
                return True
        return False

    def candidates(self, name: str) -> Iterator[str]:
        """The tensors of B that are computed from the same matched tensors as this one of A."""
        ours = origins(name, self.a, self.found.groups_a)
        size = numel(shape_of(self.a.active[name]))
        for other in beyond(ours, self.b, self.found.groups_b):
            alike = other in self.norms and numel(shape_of(self.b.active[other])) == size
            if (
                alike
                and other not in self.given.values()
                and origins(other, self.b, self.found.groups_b) == ours
            ):
                yield other

    def same_as_before(self, name: str) -> list[str]:
        """The tensors of B that are matched with what a tensor of A is computed from."""
        ours = origins(name, self.a, self.found.groups_a)
        size = numel(shape_of(self.a.active[name]))
        if len(ours) > 1:
            return []
        known = [n for n, g in reversed(self.found.groups_b.items()) if g in ours and n in self.norms]
        return [n for n in known if numel(shape_of(self.b.active[n])) == size]

    # joining tensors

    def join(self, name: str, member: Member, error: float) -> None:
        """A tensor of A is the same as a tensor of B, and as all that only carries that one on."""
        known = self.found.groups_b
        group = known.get(member.name, 1 + max(known.values(), default=-1))
        self.found.members[name], self.found.errors[name] = [], error
        self.found.groups_a[name] = group
        self.found.unmatched.pop(name, None)
        self.carry_on(name, member, group)

    def carry_on(self, name: str, member: Member, group: int) -> None:
        self.found.members[name].append(member)
        self.found.groups_b[member.name] = group
        for other in self.carried_on(member):
            if other.name not in self.found.groups_b:
                self.carry_on(name, other, group)

    def carried_on(self, member: Member) -> Iterator[Member]:
        """The tensors of B that are this one in another layout, or rounded."""
        for node in self.b.consumers.get(member.name, ()):
            if node.inputs[0].name != member.name:
                continue
            if node.op in VIEWS:
                layout = of_view(node).inverse.then(member.layout)
                yield Member(node.outputs[0].name, layout)
            elif node.op in ROUNDING:
                after = [node, *self.b.consumers.get(node.outputs[0].name, ())]
                for rounded in (n.outputs[0].name for n in after if n.op in ROUNDING):
                    if self.keeps(member.name, rounded):
                        yield Member(rounded, member.layout)

    def keeps(self, before: str, after: str) -> bool:
        """Whether rounding left the numbers about the same."""
        if after not in self.norms:
            return False
        x, y = (np.asarray(self.values_b[name], np.float32) for name in (before, after))
        return norm(x - y) <= LOOSE * norm(x)

    def pass_on(self, node: gs.Node) -> None:
        """What a view of A shows is what B has for the viewed tensor."""
        source, (out,) = node.inputs[0].name, node.outputs
        view = of_view(node)
        members = self.found.members[source]
        self.found.members[out.name] = [Member(m.name, m.layout.then(view)) for m in members]
        self.found.groups_a[out.name] = self.found.groups_a[source]

    # where nothing fits

    def from_first_stuck(self, nodes: Sequence[gs.Node]) -> Sequence[gs.Node]:
        """The nodes from the first one from which a way leads to the end without passing what is matched."""
        loose: set[str] = set()
        for node in reversed(self.a.nodes):
            read = [r for t in node.outputs for r in self.a.consumers.get(t.name, ())]
            open_end = any(t is end for t in node.outputs for end in self.a.ends)
            if open_end or any(o.name in loose for r in read for o in r.outputs):
                loose.update(t.name for t in node.outputs if t.name not in self.found.members)
        for k, node in enumerate(nodes):
            if any(t.name in loose for t in node.outputs):
                return nodes[k:]
        return []

    def resume(self, nodes: Sequence[gs.Node]) -> bool:
        """Match the pair behind which most fits again; False if there is none."""
        best, score = None, 0.0
        for name, member in self.supposed(nodes):
            before, self.found = self.found, self.found.copy()
            self.join(name, member, 1.0)
            behind = [n for n in nodes if name not in {t.name for t in n.outputs}]
            count = self.follow(behind[:AHEAD])
            self.found = before
            if count > score:
                best, score = (name, member), count
            if score >= ENOUGH:
                break
        if best is None:
            return False
        name, member = best
        theirs, value = member.layout.of(self.values_b[member.name]), self.found.unmatched[name]
        self.join(name, member, norm(theirs - value) / max(norm(value), TINY))
        return True

    def supposed(self, nodes: Sequence[gs.Node]) -> Iterator[tuple[str, Member]]:
        """Pairs of tensors that could be the same although their values are not."""
        first = next(t.name for t in nodes[0].outputs if t.name in self.a.active)
        ours = origins(first, self.a, self.found.groups_a)
        region = [t for n in nodes[: 2 * AHEAD] for t in n.outputs if t.name in self.found.unmatched]
        for t in region:
            if not is_float(t) or origins(t.name, self.a, self.found.groups_a) != ours:
                continue
            names = [*self.candidates(t.name), *self.same_as_before(t.name)]
            op = self.a.producers[t.name].op
            names.sort(key=lambda name: self.b.producers[name].op != op if name in self.b.producers else True)
            for name in names[:AHEAD]:
                for layout in between(shape_of(self.b.active[name]), shape_of(t)):
                    yield t.name, Member(name, layout)
