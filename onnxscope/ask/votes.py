"""Pixel discussions and votes: what every pixel adds to every score, all sources back-projected, and the score it adds most to.

They need a map that was opened with the method `discussion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxscope.ask.interpreter import Interpreter, impulses
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, check_picture
from onnxscope.files.results import Cells, Result

BLOCK = 64  # scores whose discussions are held at once
DISCUSSION = "discussion"


@dataclass(frozen=True, repr=False)
class Votes(Result):
    """The score that each pixel votes for, and how strongly."""

    scores: Sequence[int]
    winner: np.ndarray  # rows × columns: one of the scores
    strength: np.ndarray  # what the pixel adds to it
    names: Mapping[int, str] = field(default_factory=dict)  # of the scores

    @property
    def title(self) -> str:
        return f"votes of {self.winner.size} pixels among {len(self.scores)} scores"

    def cells(self) -> Cells:
        rows = [(self.names.get(s, str(s)), str(n)) for s, n in self.tally().items()]
        return ("score", "pixels"), rows

    def tally(self) -> dict[int, int]:
        """The pixels of each score that has any, the most popular first."""
        found, counts = np.unique(self.winner, return_counts=True)
        return {
            int(s): int(n)
            for n, s in sorted(zip(counts, found, strict=True), key=lambda pair: (-pair[0], pair[1]))
        }

    def mask(self, score: int) -> np.ndarray:
        """Rows × columns: true where the pixel votes for this score."""
        return np.asarray(self.winner == score)


def discussions(x: Interpreter, scores: Sequence[int]) -> np.ndarray:
    """[scores, rows, columns]: what each pixel adds, its channels summed."""
    if x.map.engine.scope.method != DISCUSSION:
        raise BadOption(
            "was not opened for discussions",
            where="the linear map",
            remedy=f"load the model with method='{DISCUSSION}'",
        )
    check_picture(x.image.shape, "votes", x.map.engine.scope.image)
    maps = np.asarray(x.map.transpose(impulses(x.map.outputs, scores))).reshape(len(scores), *x.image.shape)
    return np.stack([channels_last(m, x.layout).sum(2) for m in maps])


def candidates(x: Interpreter, scores: Sequence[int]) -> list[int]:
    """What pixels choose among: these scores, or all."""
    chosen = list(scores) or list(range(x.output.size))
    if len(chosen) < 2:
        raise BadOption(
            "there is one score only, so there is nothing to choose",
            where="votes",
            remedy="use a network with several scores",
        )
    return chosen


def votes(
    x: Interpreter, scores: Sequence[int] = (), progress: Callable[[int, int], None] | None = None
) -> Votes:
    """Among these scores, or all; of equal ones the first is chosen."""
    chosen = candidates(x, scores)
    winner = strength = None
    for start in range(0, len(chosen), BLOCK):
        some = chosen[start : start + BLOCK]
        maps = discussions(x, some)
        best = maps.argmax(0)
        most = np.take_along_axis(maps, best[None], 0)[0]
        named = np.asarray(some)[best]
        if winner is None or strength is None:
            winner, strength = named, most
        else:
            better = most > strength
            winner, strength = np.where(better, named, winner), np.where(better, most, strength)
        if progress:
            progress(start + len(some), len(chosen))
    assert winner is not None and strength is not None
    return Votes(chosen, winner, strength)
