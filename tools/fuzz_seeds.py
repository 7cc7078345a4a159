"""The models that the fuzzer damages: small ones of the tests, the standard's own cases, and bundled ones."""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
MOST_BYTES = 400_000  # larger seeds cost more than they find
BUNDLED = ("tiny_scores", "scenes_resnet", "scenes_resnet_int8", "pixelshuffle_small_fp16")
WEIGHTS = {"form": 6, "scope": 4, "graph": 6, "lift": 4, "case": 6, "bundled": 1}  # of a family in a draw
NOT_SEEDS = ("over 2 GiB", "large scope")  # too large, or with data in a second file
Family = list[bytes]


def forms(folder: Path) -> Iterator[tuple[str, bytes]]:
    """One small classifier in every form of file that exporters write, and its scopes."""
    from forms import FORMS

    for name, make in FORMS.items():
        place = folder / name
        place.mkdir()
        if name not in NOT_SEEDS:
            yield ("scope" if "scope" in name else "form"), make(place).model.read_bytes()


def scopes() -> Iterator[bytes]:
    import onnxscope

    with tempfile.TemporaryDirectory() as folder:
        for name, choices in (("tiny_scores", {"policy": "taylor"}), ("tiny_scores", {"method": "guided"})):
            path = onnxscope.rewrite(ROOT / "models" / f"{name}.onnx", **choices).save(
                Path(folder) / "s.onnx"
            )
            yield path.read_bytes()


def grown() -> Iterator[bytes]:
    """Random graphs of layers that meet each other."""
    from test_random_graphs import GROWTHS, Grower

    for seed in range(40):
        r, g = random.Random(seed), Grower(seed)
        for _ in range(r.randint(2, 6)):
            g.tensors.append(r.choice(list(GROWTHS.values()))(g, r.choice(g.tensors), r.choice(g.tensors)))
        yield g.model([g.tensors[-1]]).SerializeToString()


def lifts() -> Iterator[bytes]:
    from lift_cases import CASES

    yield from (case.model().SerializeToString() for case in CASES)


def cases() -> Iterator[bytes]:
    """The standard's cases, with all inputs but one floating-point tensor stored."""
    from support import case_model, collected

    for case in collected():
        if case.model is None or not case.data_sets:
            continue
        floats = [
            i.name
            for i, value in zip(case.model.graph.input, case.data_sets[0][0], strict=False)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim
        ]
        plain = all(isinstance(v, (np.ndarray, np.generic, onnx.TensorProto)) for v in case.data_sets[0][0])
        if floats and plain:
            yield case_model(case, floats[0])[0].SerializeToString()


def families() -> Mapping[str, Family]:
    """All seeds, by the family that they belong to."""
    found: dict[str, Family] = {name: [] for name in WEIGHTS}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for family, data in forms(Path(folder)):
            found[family].append(data)
    found["scope"] += scopes()
    found["graph"] += grown()
    found["lift"] += lifts()
    found["case"] += cases()
    found["bundled"] += [(ROOT / "models" / f"{name}.onnx").read_bytes() for name in BUNDLED]
    return {name: [d for d in each if len(d) <= MOST_BYTES] for name, each in found.items()}


def drawn(r: random.Random, seeds: Mapping[str, Family]) -> bytes:
    family = r.choices(list(seeds), [WEIGHTS[name] for name in seeds])[0]
    return r.choice(seeds[family])


def parsed(data: bytes) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(data)
