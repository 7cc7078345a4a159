"""How B is given A's image where one of the two scales it inside and the other wants it scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxscope.graph.parts import part
from onnxscope.graph.tensors import Tensor
from onnxscope.pairing.layouts import VIEWS, of_image
from onnxscope.pairing.sides import Arrays, Side
from onnxscope.run.single_runs import session

SCALING = {"Add", "Sub", "Mul", "Div", "BatchNormalization", "Cast", *VIEWS}
NEARER = 0.5  # of the distance of the outputs: only then one of them is said to scale the image itself
ONE_INSIDE = "{} scales the image inside, and {} does not: B is given the image {}"


@dataclass(frozen=True)
class Carried:
    """B's image is factor · A's + offset, in B's layout."""

    factor: np.ndarray | float = 1.0
    offset: np.ndarray | float = 0.0
    note: str = ""

    def to_b(self, image: np.ndarray) -> np.ndarray:
        if not self.note:
            return image
        return np.asarray(self.factor * image.astype(np.float64) + self.offset, image.dtype)

    def nearer(self, a: Side, b: Side, fed_a: Arrays, fed_b: Arrays) -> Carried:
        """This way, or that which undoes what only one side does inside, if the outputs are nearer then."""
        ours, theirs = scaled(a), scaled(b)
        name = next((n for n in fed_b if n == b.x.name), None)
        if (ours is None) == (theirs is None) or name is None or fed_b[name].dtype.kind != "f":
            return self
        if ours is not None:
            layout = of_image(fed_b[name].shape, a.image_shape)
            if layout is None:
                return self
            factor, offset = map(layout.inverse.of, affine(a, ours))
            found = Carried(factor, offset, ONE_INSIDE.format("A", "B", "as A scales it"))
        else:
            assert theirs is not None
            factor, offset = affine(b, theirs)
            if not factor.all():
                return self
            found = Carried(1 / factor, -offset / factor, ONE_INSIDE.format("B", "A", "as it was before"))
        first, second = (distance(a, b, fed_a, {**fed_b, name: c.to_b(fed_b[name])}) for c in (self, found))
        return found if second < NEARER * first else self


def scaled(side: Side) -> Tensor | None:
    """What a network makes of its image by multiplying and adding constants; None if it does not."""
    t, found = side.x, None
    if t.name not in {i.name for i in side.b.graph.inputs}:
        return None
    while len(readers := side.consumers[t.name]) == 1 and readers[0].op in SCALING:
        node = readers[0]
        if len(side.carried(node)) != 1 or node.inputs[0].name != t.name:
            break
        t = node.outputs[0]
        found = t if node.op not in (*VIEWS, "Cast") else found
    return found


def affine(side: Side, end: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset by which a tensor is computed from the image, in the image's layout."""
    shape = side.image_shape
    with session(part(side.b.graph, [end]), optimise=False) as running:
        levels = [np.full(shape, level, side.x.dtype) for level in (0.0, 1.0)]
        values = [running.run({side.x.name: level})[end.name] for level in levels]
    layout = of_image(values[0].shape, shape)
    zero, one = (layout.of(v).astype(np.float64) if layout else v.astype(np.float64) for v in values)
    return one - zero, zero


def distance(a: Side, b: Side, fed_a: Arrays, fed_b: Arrays) -> float:
    """How far the explained tensors are from each other."""
    names_a, names_b = [t.name for t in a.ends], [t.name for t in b.ends]
    ours, theirs = a.values(fed_a, names_a), b.values(fed_b, names_b)
    pairs = [(ours[n].reshape(-1), theirs[m].reshape(-1)) for n, m in zip(names_a, names_b, strict=True)]
    return float(sum(np.linalg.norm(np.subtract(x, y, dtype=np.float64)) for x, y in pairs))
