"""What a comparison needs to be shown: its files, and an image with both networks' outputs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxscope.api.rows import Row
from onnxscope.api.two_models import Image, TwoModels
from onnxscope.ask.questions import Reader
from onnxscope.errors import BadOption
from onnxscope.files.models import Model
from onnxscope.pairing.pair import Both
from onnxscope.pairing.shares import Share
from onnxscope.show.difference.seen import Example

Outputs = Callable[[Reader, Both], tuple[np.ndarray, np.ndarray]]  # the main output in A and in B


@dataclass(frozen=True)
class Origin:
    """Where a comparison comes from."""

    a: Model
    b: Model
    example: Callable[[], Example | None]  # is computed when a page is made

    @property
    def names(self) -> tuple[str, str]:
        """The names of both files."""
        a, b = (model.path.name if model.path else name for model, name in ((self.a, "A"), (self.b, "B")))
        return (a, b) if a != b else (str(self.a.path or "A"), str(self.b.path or "B"))

    @property
    def about(self) -> Mapping[str, str]:
        files = {"A": self.a, "B": self.b}
        return {
            **{name: str(model.path or "given in memory") for name, model in files.items()},
            **{f"SHA-256 of {name}": model.sha256 for name, model in files.items()},
        }


def example(
    models: TwoModels, outputs: Outputs, rows: Sequence[Row], images: Mapping[str, Image]
) -> Example | None:
    """The image whose value differs the most, and both outputs for it."""
    known = [row for row in rows if row.image in images]
    if not known:
        return None
    name = max(known, key=lambda row: abs(row.value_b - row.value_a)).image
    try:
        fed = models.fed(images[name])
    except BadOption:  # the file is gone
        return None
    at = models.at(images[name], fed)
    reader = models.reader(at)
    opened = models.opened
    shown = str(images[name]) if isinstance(images[name], (str, Path)) else "the given array"
    return Example(
        Path(shown).name,
        reader.task.name,
        fed[models.image_name],
        outputs(reader, at),
        opened.preprocess,
        models.reading.labels,
    )


def drawing(layers: Sequence[Share], asked: str) -> bytes:
    """The largest contributions and the network coloured by them, as a PNG file."""
    from onnxscope.show.difference.charts import both  # only now: matplotlib takes half a second to import

    return both(layers, f"contribution to B − A of {asked}")
