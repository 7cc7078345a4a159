"""Draw the guide's pictures of pages: parts of tours and of comparisons of bundled models, as Chromium shows them.

apt-get install chromium chromium-driver && pip install '.[test]' && python tools/page_pictures.py [NAME…]
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from onnxscope.cli.main import run

ROOT = Path(__file__).parents[1]
MODELS, PICTURES = ROOT / "models", ROOT / "onnxscope" / "guide" / "pictures"
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, browser  # noqa: E402  its folder was not known before

WIDTH, MARGIN = 1000, 16  # of the window, and around what is shown
COLOURS = 256


@dataclass(frozen=True)
class Shot:
    """A command that makes a page, and the elements of the page that are shown, one below the other."""

    command: str  # files and folders are those of models/
    shown: tuple[str, ...]


SHOTS = {
    "upscaler": Shot(
        "tour edsr_small.onnx --image photographs/cat.png",
        ("#section-1 .row", "#section-3 h3:nth-of-type(1)", "#section-3 h3:nth-of-type(1) + .row"),
    ),
    "classifier": Shot(
        "tour scenes_vgg_bn.onnx --image scenes/car_0.png --labels scenes/labels.txt",
        ("#section-3 .row",),
    ),
    "generator": Shot(
        "tour scenes_labels.onnx --image scenes/car_0.png --preset signed",
        ("#section-3 h3:nth-of-type(1) + .row", "#section-3 h3:nth-of-type(2) + .row"),
    ),
    "int8-classifier": Shot(
        "diff scenes_resnet.onnx scenes_resnet_int8.onnx --image scenes",
        ("#section-3 .row", "#section-4 .row"),
    ),
    "int8-upscaler": Shot(
        "diff pixelshuffle_small.onnx pixelshuffle_small_int8.onnx --image scenes/car_0.png",
        ("#section-2 .row", "#section-3 .row"),
    ),
    "fp16-classifier": Shot(
        "diff scenes_resnet.onnx scenes_resnet_fp16.onnx --image scenes",
        ("#section-3 .row",),
    ),
}


def shot(page: Browser, selectors: tuple[str, ...]) -> Image.Image:
    """The elements, cut out and put below one another."""
    pieces = []
    for selector in selectors:
        (box,) = page.places(selector)[:1]
        clip = {
            "x": box["x"] - MARGIN,
            "y": box["y"] - MARGIN / 2,
            "width": box["width"] + 2 * MARGIN,
            "height": box["height"] + MARGIN,
            "scale": 1,
        }
        data = page.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )["data"]
        pieces.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    whole = Image.new("RGB", (max(p.width for p in pieces), sum(p.height for p in pieces)), "white")
    for k, piece in enumerate(pieces):
        whole.paste(piece, (0, sum(p.height for p in pieces[:k])))
    return whole.quantize(COLOURS, dither=Image.Dither.NONE)


def main() -> None:
    wanted = sys.argv[1:] or list(SHOTS)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser(WIDTH) as page:
        for name in wanted:
            target = Path(folder) / f"{name}.html"
            words = [str(MODELS / w) if (MODELS / w).exists() else w for w in SHOTS[name].command.split()]
            if run([*words, "-o", str(target)]):
                raise SystemExit(f"{name}: no page")
            page.open(target)
            shot(page, SHOTS[name].shown).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
