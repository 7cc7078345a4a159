"""What each tool names for one case: onnxscope by its command, onnxruntime's qdq_loss_debug and Polygraphy by their packages."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug
from PIL import Image

from diff.graph import Arrays, Graph, name_of

OWN = [sys.executable, "-c", "from onnxscope.cli.main import main; main()"]
PATIENCE = 600  # seconds that one comparison may take


@dataclass
class Answer:
    """What a tool names: nodes of A and of B, or nothing; and whether it says that the files differ."""

    named_a: str | None = None
    named_b: str | None = None
    alarm: bool = False
    taken: bool = True  # whether the tool can compare this pair at all
    note: str = ""
    also: list[str] = field(default_factory=list)  # what else it puts first, in other lists

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fed(case: Path, model: onnx.ModelProto) -> Arrays:
    """The case's image under the name and in the type that a model takes; its layout is not changed."""
    given = model.graph.input[0]
    numbers = case / "image.npy"
    if numbers.exists():
        value = np.load(numbers)
    else:
        with Image.open(case / "image.png") as opened:
            value = np.asarray(opened, np.float32).transpose(2, 0, 1)[None] / 255
    kind = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    return {given.name: np.ascontiguousarray(value, kind)}


def of_onnxscope(case: Path, command: list[str]) -> Answer:
    """The first wrong layer that `onnxscope diff` names; no answer is an alarm."""
    image = next(p for p in (case / "image.npy", case / "image.png") if p.exists())
    words = [*command, "diff", str(case / "a.onnx"), str(case / "b.onnx"), "--image", str(image), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    try:
        told: Mapping[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        told = {"error": (done.stderr.strip() or "no JSON").splitlines()[-1]}
    if "same" not in told:
        return Answer(alarm=True, taken=False, note=str(told.get("error", told))[:300])
    first = told["first_wrong"] or {}
    kind = f"{first['kind']}; " if first else ""
    note = f"{kind}difference {told['difference']:.2e}, noise {told['noise']:.1e}, same {told['same']}"
    return Answer(first.get("a"), first.get("b"), bool(first) or not told["same"], True, note)


def of_polygraphy(case: Path, _: list[str]) -> Answer:
    """The first output, in A's order, that Polygraphy's own comparison of all tensors reports as different."""
    # this package needs an environment of its own
    from polygraphy import constants  # type: ignore[import-not-found]
    from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath  # type: ignore[import-not-found]
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx  # type: ignore[import-not-found]
    from polygraphy.comparator import Comparator, CompareFunc  # type: ignore[import-not-found]
    from polygraphy.comparator.compare import default_find_output_func  # type: ignore[import-not-found]
    from polygraphy.logger import G_LOGGER  # type: ignore[import-not-found]

    G_LOGGER.module_severity = G_LOGGER.CRITICAL
    results = []
    for side in ("a", "b"):
        path = str(case / f"{side}.onnx")
        every = ModifyOutputs(OnnxFromPath(path), outputs=constants.MARK_ALL)
        runner = OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(every), providers=["cpu"]), name=side)
        try:
            run = Comparator.run([runner], data_loader=[fed(case, onnx.load(path))])
        except Exception as reason:  # whatever keeps it from running is its answer
            return Answer(alarm=True, taken=False, note=str(reason).splitlines()[0][:200])
        results.append(run[0][1][0])
    matched: dict[str, str] = {}

    def find(name: str, index: int, other: Any) -> list[str] | None:
        found = default_find_output_func(name, index, other, base_iter_result=results[0])
        if found:
            matched[name] = found[0]
        return found  # type: ignore[no-any-return]

    compared = CompareFunc.simple(find_output_func=find)(*results)
    different = next((name for name, equal in compared.items() if not equal), None)
    by_name = sum(name == found for name, found in matched.items())
    note = f"{by_name} tensors compared by name, {len(matched) - by_name} by position or likeness, {len(results[0]) - len(matched)} not"
    named = {side: Graph(onnx.load(case / f"{side}.onnx")) for side in ("a", "b")}
    if different is None:
        return Answer(note=note)
    a, b = named["a"].producer(different), named["b"].producer(matched[different])
    return Answer(name_of(a) if a else different, name_of(b) if b else None, True, True, note)


class OneImage(CalibrationDataReader):  # type: ignore[misc]
    """The case's image, as qdq_loss_debug reads its data."""

    def __init__(self, feeds: Arrays) -> None:
        self.feeds = iter([feeds])

    def get_next(self) -> Arrays | None:
        return next(self.feeds, None)


def activations_of(path: Path, case: Path, folder: Path) -> dict[str, list[np.ndarray]]:
    augmented = folder / f"{path.stem}.augmented.onnx"
    qdq_loss_debug.modify_model_output_intermediate_tensors(path, augmented)
    reader = OneImage(fed(case, onnx.load(path)))
    return qdq_loss_debug.collect_activations(augmented, reader)  # type: ignore[no-any-return]


def lowest(ratios: Mapping[str, float]) -> tuple[str, float] | None:
    """The tensor with the lowest ratio of signal to noise."""
    return min(ratios.items(), key=lambda pair: pair[1]) if ratios else None


def of_qdq_loss_debug(case: Path, _: list[str]) -> Answer:
    """The activation with the lowest SQNR between the float file and B; its two other lists go into the note."""
    original, b = case / "float.onnx", case / "b.onnx"
    if not original.exists():
        return Answer(taken=False, note="not a quantized network")
    with tempfile.TemporaryDirectory() as folder:
        quantized, real = (activations_of(p, case, Path(folder)) for p in (b, original))
    matched = qdq_loss_debug.create_activation_matching(quantized, real)
    errors = qdq_loss_debug.compute_activation_error(matched)
    by_weight: dict[str, float] = {}
    try:
        weights = qdq_loss_debug.create_weight_matching(str(original), str(b))
        by_weight = qdq_loss_debug.compute_weight_error(weights)
    except Exception as reason:  # it asks for one zero point for each scale
        by_weight_failed = f"; weights: {str(reason).splitlines()[0][:80]}"
    else:
        by_weight_failed = ""
    graph = Graph(onnx.load(b))
    across = {k: v["xmodel_err"] for k, v in errors.items() if "xmodel_err" in v}
    within = {k: v["qdq_err"] for k, v in errors.items()}
    found = [lowest(ratios) for ratios in (across, within, by_weight)]
    words = ("across files", "around the pair", "weights")
    note = ", ".join(f"{w}: {f[0]} {f[1]:.0f} dB" for w, f in zip(words, found, strict=True) if f)
    if found[0] is None:
        return Answer(taken=False, note=f"no names match{by_weight_failed}")
    names = [held_by(graph, f[0]) for f in found if f]
    return Answer(None, names[0], True, True, f"{note}{by_weight_failed}", names[1:])


def held_by(graph: Graph, tensor: str) -> str:
    """The node that gives an activation, or that dequantizes a weight."""
    node = graph.producer(tensor) or graph.producer(f"{tensor}_DequantizeLinear_Output")
    return name_of(node) if node else tensor


TOOLS: dict[str, Callable[[Path, list[str]], Answer]] = {
    "onnxscope": of_onnxscope,
    "qdq_loss_debug": of_qdq_loss_debug,
    "polygraphy": of_polygraphy,
}


@functools.cache
def installed(tool: str) -> str:
    """The version of a tool's package."""
    from importlib.metadata import PackageNotFoundError, version

    package = {"qdq_loss_debug": "onnxruntime"}.get(tool, tool)
    for name in (package, f"{package}-gpu"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return package
