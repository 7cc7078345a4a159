"""Small networks and pictures for audits, and audits of them as they are typed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from PIL import Image
from support import model, node

from onnxscope.cli import main as cli

SIDE, KINDS = 8, ("cat", "dog", "fish")
PICTURES = ("cat_0", "cat_1", "dog_0")
MASKED = (slice(2, 6), slice(1, 7))  # rows and columns of the object on each picture
EVIDENCE = {
    *("audit.json", "audit.parquet", "audit.html", "audit.junit.xml", "audit.sarif"),
    *("audit.intoto.json", "audit.cdx.json", "audit.times.json"),
}
SHAPE = (1, 3, SIDE, SIDE)


def drawn(*shape: int, seed: int) -> np.ndarray:
    """Weights that keep the size of what passes through."""
    deviation = (2 / np.prod(shape[1:])) ** 0.5
    return (deviation * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def classifier(**changes: Any) -> onnx.ModelProto:
    """Convolutions with a normalisation and a pooling, and a dense layer that gives three scores."""
    pads = changes.pop("pads", [1, 1, 1, 1])
    epsilon = changes.pop("epsilon", 1e-5)
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=pads),
        node(
            "BatchNormalization",
            ["c1", "scale", "shift", "mean", "var"],
            ["n1"],
            name="norm1",
            epsilon=epsilon,
        ),
        node("Relu", ["n1"], ["r1"], name="relu1"),
        node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], name="conv2", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c2"], ["r2"], name="relu2"),
        node("Flatten", ["r2"], ["f"], name="flat"),
        node("Gemm", ["f", "w3", "b3"], ["scores"], name="dense", transB=1),
    ]
    weights = {
        "w1": drawn(6, 3, 3, 3, seed=1),
        "b1": np.linspace(-0.2, 0.2, 6, dtype=np.float32),
        "scale": np.linspace(0.8, 1.2, 6, dtype=np.float32),
        "shift": np.linspace(0.3, -0.1, 6, dtype=np.float32),
        "mean": np.linspace(-0.1, 0.4, 6, dtype=np.float32),
        "var": np.linspace(0.5, 0.1, 6, dtype=np.float32),
        "w2": drawn(8, 6, 3, 3, seed=2),
        "b2": np.linspace(0.1, -0.1, 8, dtype=np.float32),
        "w3": drawn(3, 128, seed=3),
        "b3": np.float32([0.1, 0, -0.1]),
    }
    return model(nodes, {"image": np.zeros(SHAPE, np.float32)}, ["scores"], weights={**weights, **changes})


def restorer() -> onnx.ModelProto:
    """From a picture to a picture of the same size."""
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="relu1"),
        node("Conv", ["r1", "w2"], ["restored"], name="conv2", kernel_shape=[3, 3], pads=[1] * 4),
    ]
    weights = {"w1": drawn(5, 3, 3, 3, seed=4), "b1": np.linspace(-0.2, 0.2, 5, dtype=np.float32)}
    weights["w2"] = drawn(3, 5, 3, 3, seed=5)
    return model(nodes, {"image": np.zeros(SHAPE, np.float32)}, ["restored"], weights=weights)


@dataclass(frozen=True)
class Dense:
    """A network of two matrices, of which everything can be computed by hand in float64."""

    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    last: np.ndarray

    def proto(self) -> onnx.ModelProto:
        nodes = [
            node("Flatten", ["image"], ["f"], name="flat"),
            node("Gemm", ["f", "w1", "b1"], ["d"], name="dense1", transB=1),
            node("Relu", ["d"], ["r"], name="relu"),
            node("Gemm", ["r", "w2", "b2"], ["scores"], name="dense2", transB=1),
        ]
        given = {"w1": self.first, "b1": self.bias, "w2": self.second, "b2": self.last}
        weights = {name: w.astype(np.float32) for name, w in given.items()}
        return model(nodes, {"image": np.zeros(SHAPE, np.float32)}, ["scores"], weights=weights)

    def inner(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.first @ x + self.bias)

    def scores(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.second @ np.maximum(self.inner(x), 0) + self.last)

    def map(self, x: np.ndarray) -> np.ndarray:
        """F at x."""
        return np.asarray(self.second @ (self.first * (self.inner(x) > 0)[:, None]))


def dense() -> Dense:
    """Its third channel is dead: a bias keeps it below 0."""
    bias = np.array([0.1, -0.2, -50, 0.3, 0, 0.2, -0.1])
    first, second = (
        drawn(*shape, seed=seed).astype(np.float64) for shape, seed in (((7, 192), 6), ((3, 7), 7))
    )
    return Dense(first, bias, second, np.array([0.05, 0.1, -0.2]))


def pictures(folder: Path, names: Sequence[str] = PICTURES) -> Path:
    """Pictures of the size of the networks, each with the mask of its object."""
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        levels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        levels[MASKED] //= 2 + seed
        Image.fromarray(levels).save(folder / f"{name}.png")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[MASKED] = 255
        Image.fromarray(mask).save(folder / f"{name}.mask.png")
    (folder / "labels.txt").write_text("\n".join(KINDS) + "\n", encoding="utf-8")
    return folder


def values(picture: Path) -> np.ndarray:
    """A picture as the networks take it."""
    return np.asarray(Image.open(picture), np.float64).transpose(2, 0, 1).reshape(-1) / 255


def stated(checks: Mapping[str, Any], files: Sequence[str] = ("net.onnx",), **more: Any) -> dict[str, Any]:
    """A policy about models in the folder `models` and pictures in the folder `seen`."""
    group = {"files": [f"models/{name}" for name in files], "preset": "unit", **more.pop("group", {})}
    images = {"seen": {"folder": "seen", **more.pop("images", {})}}
    return {"models": {"nets": group}, "images": images, "checks": dict(checks), **more}


@dataclass(frozen=True)
class Audit:
    """An audit that was typed: its exit code and what it left."""

    code: int
    folder: Path

    @cached_property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.read("audit.json")))

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folder / "audit.parquet").to_pylist())

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def entry(self, check: str, **more: str) -> dict[str, Any]:
        """The entry of a check on a whole set, or of what is further named."""
        wanted = {"check": check, "slice": "", **more}
        (found,) = (e for e in self.json["entries"] if all(e[k] == v for k, v in wanted.items()))
        return dict(found)

    def values(self, check: str, **more: str) -> dict[str, float]:
        """The values of a check by picture."""
        wanted = {"check": check, **more}
        return {r["picture"]: r["value"] for r in self.rows if all(r[k] == v for k, v in wanted.items())}

    def repeatable(self) -> dict[str, bytes]:
        """All files that hold no times."""
        return {p.name: p.read_bytes() for p in sorted(self.folder.iterdir()) if p.name != "audit.times.json"}


def audit(folder: Path, policy: Mapping[str, Any], *options: str, out: str = "out") -> Audit:
    """Write the policy and audit by it, with one worker."""
    file = folder / "policy.json"
    file.write_text(json.dumps(policy), encoding="utf-8")
    words = ["audit", str(file), "-o", str(folder / out), "--workers", "1", *options]
    return Audit(cli.run(words), folder / out)


def saved(folder: Path, **models: onnx.ModelProto) -> Path:
    """A folder with the models, and pictures beside it."""
    (folder / "models").mkdir(exist_ok=True)
    for name, proto in models.items():
        onnx.save(proto, folder / "models" / f"{name}.onnx")
    pictures(folder / "seen")
    return folder
