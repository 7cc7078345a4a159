"""Folders of pictures, which may have masks of the objects that they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxscope.errors import BadOption
from onnxscope.files.pictures import picture_size

PICTURES = (".png", ".jpg", ".jpeg")
MASK = ".mask"  # the mask of NAME.png is NAME.mask.png


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, without masks, sorted by name."""
    try:
        found = sorted(
            p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.stem.endswith(MASK)
        )
    except OSError as error:
        raise BadOption(
            f"cannot be read as a folder ({error.strerror})",
            where=f"'{folder}'",
            remedy="name another folder",
        ) from error
    if not found:
        raise BadOption(
            "holds no pictures",
            where=f"'{folder}'",
            remedy=f"name a folder with files that end in {', '.join(PICTURES)}",
        )
    return found


def first_readable(pictures: Sequence[Path]) -> Path:
    """The first picture that can be read. Its size is used where the model leaves the image's size free."""
    for picture in pictures:
        try:
            picture_size(picture)
        except BadOption as error:
            unreadable = error
        else:
            return picture
    raise unreadable


def mask_of(picture: Path) -> Path:
    """The file that holds the mask of a picture, if there is one."""
    return picture.with_name(f"{picture.stem}{MASK}.png")
