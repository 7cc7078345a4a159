"""Folders of pictures, and of the masks of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxscope.errors import BadOption
from onnxscope.files.pictures import picture_size

PICTURES = (".png", ".jpg", ".jpeg")
MASK = ".mask"  # NAME.png has its mask in NAME.mask.png


def pictures_in(folder: Path) -> list[Path]:
    try:
        found = sorted(
            p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.stem.endswith(MASK)
        )
    except OSError as error:
        raise BadOption(
            f"cannot be read as a folder ({error.strerror})", where=f"'{folder}'", remedy="name another"
        ) from error
    if not found:
        raise BadOption(
            "holds no pictures",
            where=f"'{folder}'",
            remedy=f"name a folder with files in {', '.join(PICTURES)}",
        )
    return found


def first_readable(pictures: Sequence[Path]) -> Path:
    """Whose size settles what the model leaves free."""
    for picture in pictures:
        try:
            picture_size(picture)
        except BadOption as error:
            unreadable = error
        else:
            return picture
    raise unreadable


def mask_of(picture: Path) -> Path:
    return picture.with_name(f"{picture.stem}{MASK}.png")
