"""Draw scenes for classifiers: an object of one of ten kinds, on a piece of a photograph and among fragments.

    python tools/scenes.py FOLDER      # writes held-out scenes

It writes KIND_N.png, the object's mask KIND_N.mask.png, and labels.txt. Colours, textures, places, sizes and
angles are random, so that the kind can only be told by the object's form.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from photographs import HELD_OUT, LEARNED_FROM, photographs
from PIL import Image, ImageDraw

SIDE = 96
FINE = 2  # scenes are drawn larger by this factor, and then reduced
TURN, SHEAR = 0.45, 0.25  # the most by which an object is rotated (in radians) and sheared
Points = list[tuple[float, float]]
# An outline, with x to the right and y down from −1 to 1, and which of the object's paints fills it.
Part = tuple[Points, str]


def ellipse(
    x: float,
    y: float,
    wide: float,
    high: float,
    turn: float = 0.0,
    arc: tuple[float, float] = (0, 2 * math.pi),
) -> Points:
    cos, sin = math.cos(turn), math.sin(turn)
    angles = np.linspace(*arc, 28)
    return [
        (
            x + wide * math.cos(a) * cos - high * math.sin(a) * sin,
            y + wide * math.cos(a) * sin + high * math.sin(a) * cos,
        )
        for a in angles
    ]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def stroke(points: Points, wide: float) -> Points:
    """The outline of a line of this width along points."""
    p = np.array(points)
    along = np.gradient(p, axis=0)
    side = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True) * wide / 2
    return [(float(x), float(y)) for x, y in np.concatenate([p + side, (p - side)[::-1]])]


def fish() -> list[Part]:
    return [
        ([(0.5, 0.0), (1.0, -0.5), (0.85, 0.0), (1.0, 0.5)], "second"),
        ([(-0.3, -0.35), (0.4, -0.3), (0.25, -0.75)], "second"),
        (ellipse(-0.15, 0, 0.8, 0.45), "main"),
        (ellipse(-0.6, -0.1, 0.12, 0.12), "light"),
        (ellipse(-0.6, -0.1, 0.05, 0.05), "dark"),
    ]


def butterfly() -> list[Part]:
    wings = [
        part
        for s in (-1, 1)
        for part in (
            (ellipse(s * 0.5, -0.4, 0.55, 0.38, s * -0.5), "main"),
            (ellipse(s * 0.4, 0.42, 0.42, 0.32, s * 0.6), "second"),
            (ellipse(s * 0.55, -0.42, 0.16, 0.13), "light"),
            (stroke([(0, -0.5), (s * 0.12, -0.75), (s * 0.25, -0.9)], 0.06), "dark"),
        )
    ]
    return [*wings, (ellipse(0, 0, 0.1, 0.65), "dark")]


def mushroom() -> list[Part]:
    spots: list[Part] = [
        (ellipse(x, y, r, 0.8 * r), "light")
        for x, y, r in ((-0.45, -0.3, 0.13), (0.05, -0.55, 0.15), (0.5, -0.25, 0.12))
    ]
    return [
        ([(-0.2, -0.1), (0.2, -0.1), (0.28, 0.9), (-0.28, 0.9)], "second"),
        (ellipse(0, 0, 0.9, 0.85, arc=(math.pi, 2 * math.pi)), "main"),
        *spots,
    ]


def snail() -> list[Part]:
    turns = np.linspace(0.6, 4.4 * math.pi, 60)
    spiral = [(0.2 + 0.04 * a * math.cos(a), -0.1 + 0.04 * a * math.sin(a)) for a in turns]
    horns: list[Part] = [
        (stroke([(-0.75, 0.3), (-0.8 + s, -0.05), (-0.85 + 2 * s, -0.4)], 0.07), "second")
        for s in (-0.06, 0.1)
    ]
    return [
        *horns,
        (ellipse(-0.75, 0.35, 0.2, 0.24), "second"),
        ([(-0.85, 0.5), (0.3, 0.3), (1.0, 0.62), (-0.7, 0.64)], "second"),
        (ellipse(0.2, -0.1, 0.6, 0.58), "main"),
        (stroke(spiral, 0.09), "dark"),
    ]


def flower() -> list[Part]:
    around = [2 * math.pi * k / 7 for k in range(7)]
    petals: list[Part] = [
        (ellipse(0.6 * math.cos(a), 0.6 * math.sin(a), 0.36, 0.22, a), "main") for a in around
    ]
    return [*petals, (ellipse(0, 0, 0.3, 0.3), "second"), (ellipse(0, 0, 0.12, 0.12), "dark")]


def tree() -> list[Part]:
    layers: list[Part] = [
        ([(-w, y), (w, y), (0, y - 0.75)], paint)
        for w, y, paint in ((0.75, 0.6, "main"), (0.58, 0.15, "second"), (0.4, -0.25, "main"))
    ]
    return [(box(-0.12, 0.5, 0.12, 0.95), "dark"), *layers]


def house() -> list[Part]:
    windows: list[Part] = [(box(x, 0.1, x + 0.3, 0.4), "light") for x in (-0.55, 0.25)]
    return [
        (box(0.35, -0.85, 0.55, -0.3), "dark"),
        (box(-0.75, -0.15, 0.75, 0.85), "main"),
        ([(-0.95, -0.1), (0.95, -0.1), (0, -0.9)], "second"),
        *windows,
        (box(-0.15, 0.35, 0.15, 0.85), "dark"),
    ]


def car() -> list[Part]:
    wheels = [
        part
        for x in (-0.5, 0.5)
        for part in ((ellipse(x, 0.4, 0.24, 0.24), "dark"), (ellipse(x, 0.4, 0.1, 0.1), "light"))
    ]
    return [
        ([(-0.55, -0.1), (-0.35, -0.55), (0.3, -0.55), (0.6, -0.1)], "second"),
        ([(-0.4, -0.12), (-0.27, -0.43), (0.22, -0.43), (0.42, -0.12)], "light"),
        ([(-0.95, 0.35), (-0.95, -0.05), (0.75, -0.15), (0.97, 0.1), (0.97, 0.35)], "main"),
        *wheels,
    ]


def boat() -> list[Part]:
    return [
        ([(-0.95, 0.4), (0.95, 0.4), (0.6, 0.85), (-0.65, 0.85)], "main"),
        (box(-0.05, -0.95, 0.05, 0.45), "dark"),
        ([(0.1, -0.85), (0.1, 0.28), (0.85, 0.28)], "second"),
        ([(-0.1, -0.65), (-0.1, 0.28), (-0.65, 0.28)], "light"),
    ]


def umbrella() -> list[Part]:
    hook = [(0.0, -0.3), (0.0, 0.2), (0.0, 0.65), (0.05, 0.82), (0.18, 0.86), (0.3, 0.78), (0.32, 0.62)]
    gores: list[Part] = []
    for k, paint in enumerate(("main", "second", "main", "second")):
        left, right = -0.95 + 0.475 * k, -0.95 + 0.475 * (k + 1)
        arc = ellipse(0, 0, 0.95, 0.85, arc=(math.pi * (1 + k / 4), math.pi * (1 + (k + 1) / 4)))
        gores.append(([(0.0, -0.85), *arc, (right, 0.0), ((left + right) / 2, -0.14), (left, 0.0)], paint))
    return [(stroke(hook, 0.09), "dark"), *gores]


KINDS: dict[str, Callable[[], list[Part]]] = {
    k.__name__: k for k in (fish, butterfly, mushroom, snail, flower, tree, house, car, boat, umbrella)
}
NAMES = tuple(KINDS)


@dataclass(frozen=True)
class Scene:
    """A picture (rows × columns × 3 bytes), the number of the object's kind, and the mask of its pixels."""

    pixels: np.ndarray
    kind: int
    mask: np.ndarray


class Painter:
    """Draws scenes on pieces of photographs, each with the next random numbers."""

    def __init__(self, seed: int, names: Sequence[str]) -> None:
        self.random = np.random.default_rng(seed)
        self.photographs = list(photographs(names).values())
        across = np.linspace(-1, 1, FINE * SIDE, dtype=np.float32)
        self.y, self.x = np.meshgrid(across, across, indexing="ij")

    def scene(self, kind: int) -> Scene:
        """A scene with one object of this kind."""
        canvas = self.background()
        for _ in range(self.random.integers(3, 7)):
            self.fragment(canvas)
        mask = self.put(canvas, KINDS[NAMES[kind]]())
        canvas *= self.light()
        canvas += self.random.normal(0, 0.02, canvas.shape)
        halves = (SIDE, FINE, SIDE, FINE)
        pixels = np.rint(255 * canvas.clip(0, 1).reshape(*halves, 3).mean((1, 3))).astype(np.uint8)
        return Scene(pixels, kind, mask.reshape(halves).mean((1, 3)) > 0.5)

    def uniform(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def background(self) -> np.ndarray:
        """A piece of a photograph, its colours permuted and changed."""
        photograph = self.photographs[self.random.integers(len(self.photographs))]
        side = int(self.uniform(SIDE, min(300, *photograph.shape[:2])))
        top, left = (self.random.integers(s - side + 1) for s in photograph.shape[:2])
        piece = Image.fromarray(photograph[top : top + side, left : left + side]).resize(
            [FINE * SIDE] * 2, Image.Resampling.BILINEAR
        )
        values = (
            np.asarray(piece, np.float32)[:, :: self.random.choice([1, -1]), self.random.permutation(3)] / 255
        )
        return np.ascontiguousarray(
            values * self.random.uniform(0.6, 1.1, 3) + self.uniform(-0.1, 0.15)
        ).astype(np.float32)

    def light(self) -> np.ndarray:
        """Factors that make a scene brighter on one side."""
        turn, much = self.uniform(0, 2 * math.pi), self.uniform(0, 0.25)
        return (1 + much * (self.x * math.cos(turn) + self.y * math.sin(turn)))[..., None]

    def colour(self, low: float = 0.1, high: float = 0.95) -> np.ndarray:
        return self.random.uniform(low, high, 3).astype(np.float32)

    def texture(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Stripes, spots, checks, grain or a gradient between two colours."""
        turn, waves = self.uniform(0, math.pi), self.uniform(12, 34)
        u = waves * (self.x * math.cos(turn) + self.y * math.sin(turn)) + self.uniform(0, 6)
        v = waves * (self.y * math.cos(turn) - self.x * math.sin(turn)) + self.uniform(0, 6)
        match self.random.integers(5):
            case 0:
                share = np.sin(u) > 0
            case 1:
                share = np.sin(u) + np.sin(v) > 0.9
            case 2:
                share = (np.sin(u) > 0) ^ (np.sin(v) > 0)
            case 3:
                share = np.kron(
                    self.random.random((SIDE, SIDE), np.float32), np.ones((FINE, FINE), np.float32)
                )
            case _:
                share = (u / waves + 1) / 2
        return one + (other - one) * np.asarray(share, np.float32).clip(0, 1)[..., None]

    def put(self, canvas: np.ndarray, parts: list[Part]) -> np.ndarray:
        """Paint an object at a random place, and return the mask of its pixels."""
        size = self.uniform(0.42, 0.75)
        turn, slant, mirror = (
            self.uniform(-TURN, TURN),
            self.uniform(-SHEAR, SHEAR),
            self.random.choice([-1, 1]),
        )
        cos, sin = math.cos(turn), math.sin(turn)
        matrix = (
            size
            * np.array([[cos, -sin], [sin, cos]])
            @ np.array([[mirror * self.uniform(0.8, 1.1), slant], [0, 1]])
        )
        shift = self.random.uniform(-(0.95 - size), 0.95 - size, 2)
        main, second = self.colour(), self.colour()
        paints = {
            "main": self.texture(main, main + 0.6 * (self.colour() - main)),
            "light": self.colour(0.7, 1),
            "dark": self.colour(0, 0.25),
            "second": self.texture(second, second + 0.6 * (self.colour() - second)),
        }
        return self.paint(
            canvas, [(np.array(points) @ matrix.T + shift, paints[paint]) for points, paint in parts]
        )

    def fragment(self, canvas: np.ndarray) -> None:
        """Paint a fragment that is not an object: a blob, a bar or a triangle with a texture."""
        where, size, turn = (
            self.random.uniform(-1, 1, 2),
            self.uniform(0.12, 0.4),
            self.uniform(0, 2 * math.pi),
        )
        outlines = (
            ellipse(0, 0, 1, self.uniform(0.3, 1)),
            box(-1, -0.15, 1, 0.15),
            box(-0.8, -0.6, 0.8, 0.6),
            [(-1.0, 0.5), (0.8, 0.6), (0.1, -0.8)],
            stroke([(-1, 0), (-0.3, 0.5), (0.3, -0.5), (1, 0)], 0.25),
        )
        cos, sin = math.cos(turn), math.sin(turn)
        points = (
            size
            * np.array(outlines[self.random.integers(len(outlines))])
            @ np.array([[cos, -sin], [sin, cos]])
            + where
        )
        self.paint(canvas, [(points, self.texture(self.colour(), self.colour()))])

    @staticmethod
    def paint(canvas: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        whole = np.zeros(canvas.shape[:2], bool)
        for points, paint in parts:
            stencil = Image.new("1", (FINE * SIDE, FINE * SIDE))
            ImageDraw.Draw(stencil).polygon([tuple(p) for p in (points + 1) / 2 * FINE * SIDE], fill=1)
            inside = np.asarray(stencil)
            canvas[inside] = paint if paint.ndim == 1 else paint[inside]
            whole |= inside
        return whole


def scenes(count: int, seed: int, names: Sequence[str] = LEARNED_FROM) -> list[Scene]:
    """This number of scenes, with all kinds equally often."""
    painter = Painter(seed, names)
    return [painter.scene(k % len(NAMES)) for k in range(count)]


def held_out(count: int) -> list[Scene]:
    """Scenes on pieces of photographs that no network learned from."""
    return scenes(count, 1, HELD_OUT)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw held-out scenes and their masks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2 * len(NAMES))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES), encoding="utf-8")
    for k, scene in enumerate(held_out(options.count)):
        name = f"{NAMES[scene.kind]}_{k // len(NAMES)}"
        Image.fromarray(scene.pixels).save(options.folder / f"{name}.png", optimize=True)
        Image.fromarray(scene.mask).save(options.folder / f"{name}.mask.png")


if __name__ == "__main__":
    main()
