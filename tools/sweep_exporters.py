"""Export one architecture with random weights whose signals survive; run by the interpreter that has the exporter.

python tools/sweep_exporters.py EXPORTER PACKAGE ARCHITECTURE SIZE OPSET OPTIONS TARGET

Each architecture gets weights that are neither zero nor alike, and normalisations that are calibrated on one batch.
What is printed last is JSON: the versions of the exporter's packages, how much the output depends on the image, and the
opset, which is higher than was asked for where the exporter demands it.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from sweep_signal import Job, NoSignal

EXPORTERS = {  # the module that exports, and the packages whose versions count
    "torch-script": ("sweep_torch", ("torch",)),
    "torch-dynamo": ("sweep_torch", ("torch", "onnxscript")),
    "tf2onnx": ("sweep_keras", ("tensorflow-cpu", "tf2onnx", "keras")),
    "keras-torch": ("sweep_keras", ("keras", "torch", "onnxscript")),
    "keras-tensorflow": ("sweep_keras", ("keras", "tensorflow-cpu", "tf2onnx")),
    "jax2onnx": ("sweep_keras", ("jax", "jax2onnx", "keras")),
    "paddle2onnx": ("sweep_paddle", ("paddlepaddle", "paddle2onnx")),
}


def main() -> None:
    exporter, package, name, size, opset, options, target = sys.argv[1:]
    module, packages = EXPORTERS[exporter]
    shape = [int(s) for s in size.split("x")]
    job = Job(exporter, package, name, shape, int(opset), json.loads(options), Path(target))
    try:
        found, written = import_module(module).export(job)
    except NoSignal as error:
        sys.exit(f"NoSignal: {error}")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    print(json.dumps({"versions": versions, "signal": round(found, 4), "opset": written}))


if __name__ == "__main__":
    main()
