"""How much of a difference is the runtime's own: one model under other settings of onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxscope.api.compared_images import Images, images_in, readable
from onnxscope.api.opening import ModelSource
from onnxscope.api.two_models import Reading, TwoModels
from onnxscope.ask.presets import Preset
from onnxscope.files.preprocessing import Preprocess
from onnxscope.files.results import Cells, Result, short
from onnxscope.rewriting.options import Options
from onnxscope.run.settings import Moved, moved, settings

MOST_IMAGES = 32  # their outputs are held


@dataclass(frozen=True, repr=False)
class RuntimeNoise(Result):
    """How far a model's outputs move under other settings of onnxruntime."""

    images: int
    compared_with: str
    settings: tuple[Moved, ...]
    largest: float  # relative to the largest element
    preset: Preset

    @property
    def title(self) -> str:
        worst = max(self.settings, key=lambda m: m.relative)
        changed = ", and another element is the largest" if any(m.changed for m in self.settings) else ""
        by = f"at most {worst.relative:.2g} of the largest element ({worst.setting})"
        return f"onnxruntime's settings move the outputs by {by}{changed}."

    def cells(self) -> Cells:
        head = ("setting", "output", "largest difference", "relative", "other maximum")
        return head, [
            (m.setting, m.output, short(m.largest), short(m.relative), "yes" if m.changed else "no")
            for m in self.settings
        ]


def runtime_noise(
    model: ModelSource,
    image: Images,
    *,
    further: Sequence[str] = (),
    preset: str | Preprocess | Preset | None = None,
    options: Options | None = None,
) -> RuntimeNoise:
    """Compare a model with itself under onnxruntime's optimisations, numbers of threads and devices.

    It is compared with the graph as it is written, on one thread. Of a folder the first 32 pictures are used.
    """
    models = TwoModels(model, model, Reading(further, preset=preset, options=options))
    images = images_in(image, models.takes_clips)[:MOST_IMAGES]
    fed = [fed for _, _, _, fed in readable(models, images)]
    found = moved(models.ours, fed)
    largest = max(m.relative for m in found)
    return RuntimeNoise(len(fed), settings()[0].name, tuple(found), largest, models.opened.preset)
