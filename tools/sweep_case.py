"""One step of a case, in a process of its own: make a variant of a model, or rewrite and judge it.

python tools/sweep_case.py

Jobs come on standard input, a line of JSON each: what to do (float16, QDQ, runs or judge) and the model's file.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from sweep_judge import Network, judge, random_values
from sweep_server import serve

import onnxscope

POLICIES = ("freeze", "taylor")
JUDGE, RUNS = "judge", "runs"
CALIBRATED_BY = 4  # random images
QUANTIZED = ["Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "GlobalAveragePool", "Concat", "Resize"]


class Images(CalibrationDataReader):  # type: ignore[misc]
    """Random images of the size that a model takes."""

    def __init__(self, model: Path) -> None:
        network, rng = Network(model), np.random.default_rng(3)
        self.feeds: Iterator[dict[str, np.ndarray]] = (
            random_values(network, rng) for _ in range(CALIBRATED_BY)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def variant(kind: str, model: Path) -> Path:
    """The model in another precision, in a file beside it."""
    target = model.with_name(f"{model.stem}-{kind}.onnx")
    if kind == "QDQ":
        logging.disable(logging.WARNING)
        opset = next(
            o.version for o in onnx.load(model, load_external_data=False).opset_import if not o.domain
        )
        options = {"op_types_to_quantize": QUANTIZED, "per_channel": opset >= 13}  # an axis exists since 13
        quantize_static(model, target, Images(model), QuantFormat.QDQ, **options)
    else:
        onnx.save(convert_float_to_float16(onnx.load(model)), target)
    runs(target)  # what does not run was not made rightly
    return target


def runs(model: Path) -> list[str]:
    """Run a model on random numbers; the names of its outputs."""
    network = Network(model)
    return list(network.run(random_values(network, np.random.default_rng(0))))


def rewritten_and_judged(model: Path, policy: str) -> dict[str, Any]:
    """The verdict about a model's scope under this policy; a refusal holds its line."""
    with tempfile.TemporaryDirectory() as folder:
        scope = Path(folder) / "scope.onnx"
        try:
            onnxscope.rewrite(model, policy=policy).save(scope)
        except onnxscope.ScopeError as refusal:
            return {"outcome": "refused", "why": str(refusal)}
        except Exception as fault:  # whatever it is, it is reported as a failure of this pair
            return {"outcome": "failed", "why": f"{type(fault).__name__}: {fault}"}
        return judge(model, scope)


def answer(job: list[str]) -> Any:
    step, model = job[0], Path(job[1])
    if step == RUNS:
        return runs(model)
    if step == JUDGE:
        return {policy: rewritten_and_judged(model, policy) for policy in POLICIES}
    return str(variant(step, model))


if __name__ == "__main__":
    serve(answer)
