"""Compare a scope for all sizes with the scope for one: the file, and the time of F and Fᵀ at that size.

    python tools/measure_free_size.py edsr u_net classifier style

The networks are those of the tests, with more features. The times are medians of interleaved runs in one
process; a ratio above 1 means that the scope for all sizes is larger or slower.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import interleaved

import onnxscope

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SHAPE, FEATURES, BATCH, SECONDS = (1, 3, 128, 192), 32, 4, 8.0


def measure(name: str, folder: Path) -> dict[str, float]:
    """The ratios of one network, and the size of its fixed scope in kB."""
    from free_networks import NETWORKS

    model, shapes = NETWORKS[name][0](features=FEATURES), {"image": SHAPE}
    files = {
        "fixed": onnxscope.rewrite(model, input_shapes=shapes).save(folder / "fixed.onnx"),
        "free": onnxscope.rewrite(model, free_size=True).save(folder / "free.onnx"),
    }
    image = np.random.default_rng(0).random(SHAPE, np.float32)
    runs = {}
    for kind, file in files.items():
        given = shapes if kind == "free" else None
        x = onnxscope.load(file, input_shapes=given, device="cpu").freeze(image)
        probes = np.random.default_rng(1).random((BATCH, *x.map.inputs.shape), np.float32)
        cotangents = np.random.default_rng(2).random((BATCH, *x.map.outputs.shape), np.float32)
        runs[f"{kind} F"] = lambda x=x, probes=probes: x.map.forward(probes)
        runs[f"{kind} Fᵀ"] = lambda x=x, cotangents=cotangents: x.map.transpose(cotangents)
    took = interleaved(runs, SECONDS)
    sizes = {kind: file.stat().st_size for kind, file in files.items()}
    return {
        "kB": sizes["fixed"] / 1e3,
        "file": sizes["free"] / sizes["fixed"],
        **{of: took[f"free {of}"] / took[f"fixed {of}"] for of in ("F", "Fᵀ")},
    }


def main(names: list[str]) -> None:
    from free_networks import NETWORKS

    print(f"{'network':<12}{'fixed kB':>10}{'file ×':>10}{'F ×':>8}{'Fᵀ ×':>8}")
    for name in names or list(NETWORKS):
        with tempfile.TemporaryDirectory() as folder:
            m = measure(name, Path(folder))
        print(f"{name:<12}{m['kB']:>10.0f}{m['file']:>10.3f}{m['F']:>8.2f}{m['Fᵀ']:>8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
