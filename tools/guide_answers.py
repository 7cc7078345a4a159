"""Draw the pictures of the guide that need no browser: python tools/guide_answers.py

Each is what one command of the guide writes for a bundled model.
`overview.png`, the picture of README.md, puts three answers side by side.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

import onnxscope

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap

ROOT = Path(__file__).parents[1]
MODELS, PICTURES = ROOT / "models", ROOT / "onnxscope" / "guide" / "pictures"
UPSCALER = "edsr_small.onnx --image photographs/cat.png"
CAR = "scenes_vgg.onnx --image scenes/car_0.png"
NAMED_CAR = f"{CAR} --labels scenes/labels.txt"
COMMANDS = {
    "column": f"column {UPSCALER} --pixel 1,12,12",
    "row": f"row {UPSCALER} --pixel 1,24,24",
    "row-of-a-score": f"row {CAR} --pixel 7",
    "svd": f"svd {UPSCALER} -k 2",
    "ledger": f"ledger {NAMED_CAR}",
    "votes": f"votes {NAMED_CAR}",
    "compare": f"compare {NAMED_CAR}",
    "evaluate": "evaluate scenes_vgg.onnx scenes --count 4 --method votes,saliency,guided,grad-cam",
}
ABOVE, BELOW = "#b0512b", "#2a7aa8"  # the colours of the program's own charts
LAYER, TENSORS = "pool1", ("image", "pool1", "pool3")


def written_by(command: str, folder: Path) -> bytes:
    """The picture that a command writes."""
    words = [str(MODELS / word) if (MODELS / word).exists() else word for word in command.split()]
    target = folder / "answer"
    subprocess.run(["onnxscope", *words, "-o", str(target)], check=True)
    return target.with_suffix(".png").read_bytes()


def contributions(x: onnxscope.LinearInterpreter) -> bytes:
    """The maps of three tensors side by side."""
    drawn = [Image.open(io.BytesIO(c.plot().png)) for c in x.contributions("car", TENSORS)]
    whole = Image.new("RGB", (sum(d.width for d in drawn), max(d.height for d in drawn)), "white")
    for k, one in enumerate(drawn):
        whole.paste(one, (sum(d.width for d in drawn[:k]), 0))
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return file.getvalue()


def overview(x: onnxscope.LinearInterpreter) -> bytes:
    """The picture, the places in a layer that a score comes from, and the score as a sum."""
    book, (layer,) = x.ledger("car"), x.contributions("car", [LAYER])
    car = Image.open(MODELS / "scenes" / "car_0.png")
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11, 3.9), width_ratios=(1, 1, 1.25), layout="constrained"
    )
    left.imshow(car)
    left.set_title("the picture")
    most = np.abs(layer.values).max()
    middle.imshow(car.convert("L"), cmap="gray", vmin=-300, vmax=255)  # pale, so that the map stands out
    middle.imshow(
        layer.values,
        cmap=LinearSegmentedColormap.from_list("signed", [BELOW, BELOW, ABOVE, ABOVE]),
        vmin=-most,
        vmax=most,
        alpha=np.sqrt(np.abs(layer.values) / most) * 0.9,
        extent=(-0.5, car.width - 0.5, car.height - 0.5, -0.5),
    )
    middle.set_title(f"where layer {LAYER} adds to “car”")
    for axes in (left, middle):
        axes.set_axis_off()
    names, values = list(book.entries), list(book.entries.values())
    bars = right.barh(names, values, color=[ABOVE if v > 0 else BELOW for v in values])
    right.bar_label(bars, fmt="%+.2f", padding=3, fontsize=8)
    right.set(title=f"the sum: “car” = {book.score:.2f}", xlim=(-0.7, 2.4), xticks=[])
    right.invert_yaxis()
    right.axvline(0, color="black", linewidth=0.8)
    right.spines[["top", "right", "bottom", "left"]].set_visible(False)
    drawn, fewer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=85)
    Image.open(drawn).convert("RGB").quantize(256).save(fewer, "PNG", optimize=True)  # a third of the bytes
    return fewer.getvalue()


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    labels = onnxscope.find_labels(MODELS / "scenes" / "labels.txt")
    x = onnxscope.load(MODELS / "scenes_vgg.onnx", labels=labels).freeze(MODELS / "scenes" / "car_0.png")
    drawn = {"overview": overview(x), "contributions": contributions(x)}
    for name, command in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            drawn[name] = written_by(command, Path(folder))
    for name, png in drawn.items():
        (PICTURES / f"{name}.png").write_bytes(png)


if __name__ == "__main__":
    main()
