"""Draw the guide's pictures of pages: parts of tours, comparisons and audits of bundled models, as Chromium shows them.

apt-get install chromium chromium-driver && pip install '.[test]' && python tools/page_pictures.py [NAME…]
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pages import GUIDE, ROOT, blocks
from PIL import Image

from onnxscope.cli.main import run

MODELS, PICTURES = ROOT / "models", GUIDE / "pictures"
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser, browser  # noqa: E402  its folder was not known before

WIDTH, MARGIN = 1000, 16  # of the window, and around what is shown
COLOURS = 256


@dataclass(frozen=True)
class Shot:
    """A command that makes a page, and the elements of the page that are shown, one below the other."""

    command: str  # files and folders are those of models/
    shown: tuple[str, ...]


AUDIT = "audit"  # the picture of the audit that the page about audits in CI makes
SHOWN_OF_AUDIT = (".verdict", ".overview", ".card")
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


def command_page(name: str, folder: Path) -> Path:
    """The page that the command of a picture makes."""
    target = folder / f"{name}.html"
    words = [str(MODELS / w) if (MODELS / w).exists() else w for w in SHOTS[name].command.split()]
    if run([*words, "-o", str(target)]):
        raise SystemExit(f"{name}: no page")
    return target


def audit_page(folder: Path) -> Path:
    """The page of the audit that the guide makes of an export with a fault."""
    (block,) = (b for b in blocks(GUIDE / "audit-in-ci.md") if b.language == "sh")
    (folder / "models").symlink_to(MODELS)
    subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, check=True)
    return folder / "evidence" / "audit.html"


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
    wanted = sys.argv[1:] or [*SHOTS, AUDIT]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser(WIDTH) as page:
        for name in wanted:
            audit = name == AUDIT
            page.open(audit_page(Path(folder)) if audit else command_page(name, Path(folder)))
            shown = SHOWN_OF_AUDIT if audit else SHOTS[name].shown
            shot(page, shown).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
