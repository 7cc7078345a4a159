"""Answers that are arrays, or hold arrays. They can be printed, drawn and saved."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.files.results import Cells, Drawing, Result, image_tag, plain
from onnxscope.linear.svd.decompose import Svd
from onnxscope.show.sheets import Picture, alone, png, sheet


class PixelArray(np.ndarray):
    """An array of pixels, which can be drawn.

    What is computed from it is an ordinary array, and a part of it cannot be drawn.
    """

    _look: Callable[[np.ndarray], Picture] | None  # makes a picture of the array

    @classmethod
    def of(cls, values: np.ndarray, look: Callable[[np.ndarray], Picture]) -> PixelArray:
        """The values as an array that is drawn by `look`."""
        found = values.view(cls)
        found._look = look
        return found

    def __array_wrap__(self, array: np.ndarray, *context: Any, **kwargs: Any) -> Any:
        return np.asarray(array)[()]

    def __array_finalize__(self, base: Any) -> None:
        self._look = getattr(base, "_look", None) if getattr(base, "shape", None) == self.shape else None

    @property
    def picture(self) -> Picture:
        """The array with what is needed to draw it."""
        if self._look is None:
            raise BadOption(
                "a part of an answer cannot be drawn", where="plot", remedy="plot the whole answer"
            )
        return self._look(np.asarray(self))

    def plot(self) -> Drawing:
        """The array as a picture, with its scale below it."""
        return Drawing(png(sheet([[self.picture]])))

    def save(self, path: str | Path) -> Path:
        """Write the picture as FILE.png."""
        return self.plot().save(path)

    def to_dict(self) -> dict[str, Any]:
        """The shape and the values, as JSON has them."""
        return {"shape": list(self.shape), "values": plain(np.asarray(self))}

    def _repr_html_(self) -> str:
        if self._look is None:
            return f"<pre>{html.escape(repr(np.asarray(self)))}</pre>"
        picture, legend = alone(self.picture)
        return f"<p>{html.escape(legend)}</p>{image_tag(picture)}"


@dataclass(frozen=True, repr=False)
class Singular(Result, Svd):
    """Singular values σ with their eigen-inputs v and eigen-outputs u, F·v = σ·u, and their residuals."""

    @property
    def title(self) -> str:
        return f"{len(self.sigma)} of {self.asked} singular triplets, {self.converged} converged"

    def cells(self) -> Cells:
        rows = zip(self.sigma, self.residual, strict=True)
        return ("", "σ", "residual"), [(str(k), f"{s:.6g}", f"{r:.1e}") for k, (s, r) in enumerate(rows, 1)]


@dataclass(frozen=True, repr=False)
class Explanation(Result):
    """Maps by an explanation method: one for each score, with a value for each pixel of the image."""

    method: str
    scores: Sequence[str]
    maps: np.ndarray  # [scores, rows, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.maps, dtype)

    @property
    def title(self) -> str:
        return f"{self.method}: maps of {self.maps.shape[1]}×{self.maps.shape[2]} pixels"

    def cells(self) -> Cells:
        rows = [
            (n, f"{m.min():.4g}", f"{m.max():.4g}", f"{m.sum():.4g}")
            for n, m in zip(self.scores, self.maps, strict=True)
        ]
        return ("score", "least", "most", "sum"), rows
