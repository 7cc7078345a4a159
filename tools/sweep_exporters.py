"""Export architectures with random weights whose signals survive; run by the interpreter that has the exporter.

python tools/sweep_exporters.py

Jobs come on standard input, a line of JSON each: exporter, package, architecture, size, opset, options and target. Each
architecture gets weights that are neither zero nor alike, and normalisations that are calibrated on one batch. The answer
holds the versions of the exporter's packages, how much the output depends on the image, and the opset, which is higher
than was asked for where the exporter demands it.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweep_server import serve
from sweep_signal import Job

EXPORTERS = {  # the module that exports, and the packages whose versions count
    "torch-script": ("sweep_torch", ("torch",)),
    "torch-dynamo": ("sweep_torch", ("torch", "onnxscript")),
    "tf2onnx": ("sweep_keras", ("tensorflow-cpu", "tf2onnx", "keras")),
    "keras-torch": ("sweep_keras", ("keras", "torch", "onnxscript")),
    "keras-tensorflow": ("sweep_keras", ("keras", "tensorflow-cpu", "tf2onnx")),
    "jax2onnx": ("sweep_keras", ("jax", "jax2onnx", "keras")),
    "paddle2onnx": ("sweep_paddle", ("paddlepaddle", "paddle2onnx")),
}


SLOW = {"sweep_torch": ("torch", "timm", "torchvision", "segmentation_models_pytorch", "spandrel")}


def prepare(job: list[Any]) -> None:
    """Import what is slow to import, once for all jobs of an exporter."""
    for module in SLOW.get(EXPORTERS[job[0]][0], ()):
        import_module(module)


def export(job: list[Any]) -> dict[str, Any]:
    exporter, package, name, size, opset, options, target = job
    module, packages = EXPORTERS[exporter]
    shape = [int(s) for s in size.split("x")]
    made = Job(exporter, package, name, shape, opset, json.loads(options), Path(target))
    found, written = import_module(module).export(made)
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    return {"versions": versions, "signal": round(found, 4), "opset": written}


if __name__ == "__main__":
    serve(export, prepare)
