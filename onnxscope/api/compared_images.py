"""The images on which two exports are compared: their names, and which of them can be read."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from onnxscope.api.totals import Totals
from onnxscope.api.two_models import Arrays, Image, TwoModels
from onnxscope.errors import BadOption
from onnxscope.files.folders import pictures_in

Images = Image | Sequence[Image]


def images_in(image: Images, clip: bool) -> Sequence[Image]:
    """A single image, or those of a folder or of a sequence. A folder can also be a single clip."""
    if isinstance(image, (str, Path)):
        path = Path(image)
        return pictures_in(path) if path.is_dir() and not clip else [path]
    if isinstance(image, (np.ndarray, Mapping)):
        return [image]
    if not image:
        raise BadOption("there are no images", where="diff", remedy="give one at least")
    return image


def readable(
    models: TwoModels,
    images: Sequence[Image],
    skipped: list[dict[str, str]] | None = None,
    known: Container[str] = (),
) -> Iterator[tuple[int, str, Image, Arrays]]:
    """The images with their numbers, their names, and what A is fed with.

    Those that cannot be read are left out, unless there is no other. Of those that are known, only the first
    is needed, as the networks are matched on it.
    """
    error, seen = None, 0
    for k, (name, image) in enumerate(named(images), 1):
        if name in known and seen:
            continue
        try:
            fed = models.fed(image)
        except BadOption as found:
            error = found
            if skipped is not None:
                skipped.append({"image": name, "why": found.cause})
            continue
        seen += 1
        yield k, name, image, fed
    if error is not None and not seen:
        raise error


def missing(images: Sequence[Image], totals: Totals) -> dict[str, Path]:
    """The pictures that have no row yet, by their names."""
    known = {row.image for row in totals.rows}
    files = {n: Path(i) for n, i in named(images) if isinstance(i, (str, Path)) and n not in known}
    return {n: file for n, file in files.items() if not file.is_dir()}  # which is a clip


def named(images: Sequence[Image]) -> list[tuple[str, Image]]:
    """Images with the names of their files, or else their numbers."""
    names = [Path(i).name if isinstance(i, (str, Path)) else str(k) for k, i in enumerate(images, 1)]
    if len(set(names)) < len(names):
        names = [f"{k}:{name}" for k, name in enumerate(names, 1)]
    return list(zip(names, images, strict=True))
