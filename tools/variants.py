"""Write a model of models/ as torch exports it, quantized to int8, and in float16, with a card of the three.

pip install '.[train]'
python tools/variants.py scenes_resnet models
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quant_pre_process, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16
from photographs import HELD_OUT, LEARNED_FROM, as_images, compared, halved, photographs
from recipes import QUICKLY_TESTED, SEED, TESTED, patches, running
from scenes import held_out, scenes
from torch_graph import TorchGraph

OPSET = 20  # newer than the originals'
FREE = 8  # what free sizes are while torch traces; it treats 0 and 1 as fixed
CALIBRATED_BY = 40  # the number of images
PATCH = 24  # the side of the patches that a super-resolution network learned from
ORT = f"onnxruntime {onnxruntime.__version__}"
Figures = dict[str, str]  # measured values by what was measured
unseen = cache(held_out)


@dataclass(frozen=True)
class Task:
    """What a network is calibrated with, and the figures in its card: for scenes, or for photographs."""

    calibration: Callable[[], np.ndarray]
    data: str
    figures: Callable[[onnx.ModelProto, int], Figures]


@dataclass(frozen=True)
class Variant:
    made: Callable[[onnx.ModelProto, Task], onnx.ModelProto]
    how: str


class Images(CalibrationDataReader):  # type: ignore[misc]
    """One calibration image after the other."""

    def __init__(self, images: np.ndarray) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = ({"image": image[None]} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def by_torch(model: onnx.ModelProto, task: Task) -> onnx.ModelProto:
    image, output = model.graph.input[0], model.graph.output[0]
    sizes = image.type.tensor_type.shape.dim
    free = {axis: torch.export.Dim(d.dim_param) for axis, d in enumerate(sizes) if d.dim_param}
    with torch.no_grad():  # with gradients BatchNormalization would use the batch's statistics
        program = torch.onnx.export(
            TorchGraph(model).eval(),
            (torch.zeros([d.dim_value or FREE for d in sizes]),),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=[image.name],
            output_names=[output.name],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def to_int8(model: onnx.ModelProto, task: Task) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = (Path(folder) / name for name in ("prepared.onnx", "quantized.onnx"))
        quant_pre_process(model, prepared, skip_symbolic_shape=True)  # it would rename free sizes
        quantize_static(prepared, quantized, Images(task.calibration()), QuantFormat.QDQ, per_channel=True)
        return onnx.load(quantized)


def to_float16(model: onnx.ModelProto, task: Task) -> onnx.ModelProto:
    return convert_float_to_float16(model)


def nameless(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the metadata about files and versions, so that it is the same on all machines."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.ClearField("producer_version")
    return model


def in_float32(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """A function that runs the model on float32 images, whatever the type of its input is."""
    dtype, run = (
        helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type),
        running(model),
    )
    return lambda image: run(image.astype(dtype)).astype(np.float32)


def named_rightly(model: onnx.ModelProto, count: int) -> Figures:
    test = unseen(count)
    named = in_float32(model)(as_images(np.stack([s.pixels for s in test]))).argmax(1)
    return {
        f"{count} held-out scenes named rightly": f"{100 * np.mean(named == [s.kind for s in test]):.1f} %"
    }


def enlarged(model: onnx.ModelProto, count: int) -> Figures:
    run = in_float32(model)
    return {
        f"{name}, PSNR": f"{compared(run, halved(p))[1]:.2f} dB" for name, p in photographs(HELD_OUT).items()
    }


def some_scenes() -> np.ndarray:
    return as_images(np.stack([s.pixels for s in scenes(CALIBRATED_BY, SEED)]))


def some_patches() -> np.ndarray:
    pairs = [halved(p) for p in photographs(LEARNED_FROM).values()]
    return next(patches(pairs, CALIBRATED_BY, PATCH, np.random.default_rng(SEED)))[0]


TASKS = {
    "scenes_resnet": Task(some_scenes, "scenes", named_rightly),
    "pixelshuffle_small": Task(
        some_patches, f"patches ({PATCH}×{PATCH} pixels) of halved photographs", enlarged
    ),
}
VARIANTS = {
    "torch": Variant(
        by_torch,
        f"torch's exporter (`torch.onnx.export` with `dynamo=True`, torch {version('torch').split('+')[0]}, "
        f"onnxscript {version('onnxscript')}),\nwhich is given the same computation written in torch.",
    ),
    "int8": Variant(
        to_int8,
        f"static quantization to int8 in QDQ form (`quant_pre_process`, then `quantize_static`, {ORT}):\n"
        f"weights per channel, activations by their extremes on {CALIBRATED_BY} {{data}} of those that it "
        "learned from.",
    ),
    "fp16": Variant(
        to_float16,
        f"conversion to float16 throughout, image and output included (`convert_float_to_float16`, {ORT}).",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write NAME_torch.onnx, NAME_int8.onnx, NAME_fp16.onnx and NAME_variants.md."
    )
    parser.add_argument("name", choices=TASKS)
    parser.add_argument("folder", type=Path, help="where NAME.onnx is, and where the variants are written")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"use only {QUICKLY_TESTED} scenes, to see that everything runs",
    )
    options = parser.parse_args()
    original, task = options.folder / f"{options.name}.onnx", TASKS[options.name]
    count = QUICKLY_TESTED if options.quick else TESTED
    figures = {original.name: task.figures(onnx.load(original), count)}
    sections: list[str] = []
    for kind, variant in VARIANTS.items():
        path = original.with_name(f"{options.name}_{kind}.onnx")
        model = nameless(variant.made(onnx.load(original), task))
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString(deterministic=True)
        path.write_bytes(data)
        figures[path.name] = task.figures(model, count)
        opset = next(o.version for o in model.opset_import if not o.domain)
        sections += [
            f"`{path.name}`: {variant.how.format(data=task.data)}",
            f"Opset {opset}, {len(data):,} bytes, sha256 `{hashlib.sha256(data).hexdigest()}`.",
            "",
        ]
    columns, digest = list(figures[original.name]), hashlib.sha256(original.read_bytes()).hexdigest()
    card = [
        f"# Variants of {options.name}",
        "",
        f"`{original.name}`, sha256 `{digest}`, as other tools make it.",
        "Names and free sizes of image and output are kept.",
        "",
        *sections,
        f"| file | {' | '.join(columns)} |",
        "|---" * (1 + len(columns)) + "|",
        *(f"| {name} | {' | '.join(row.values())} |" for name, row in figures.items()),
        "",
        (
            f"Made by `python tools/variants.py {options.name} {options.folder.name}"
            f"{' --quick' * options.quick}`."
        ),
        "On another kind of processor the last bits of the int8 scales differ.",
        "",
    ]
    original.with_name(f"{options.name}_variants.md").write_text("\n".join(card), encoding="utf-8")
    print("\n".join(card))


if __name__ == "__main__":
    main()
