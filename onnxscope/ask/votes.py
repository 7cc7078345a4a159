"""Pixel discussions and votes.

A discussion is what every pixel adds to every score, where also all sources are carried back to the pixels.
Each pixel then votes for the score that it adds most to. Both need a map that was opened with the method
`discussion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxscope.ask.interpreter import Interpreter, score_rows
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, check_picture
from onnxscope.files.results import Cells, Result

BLOCK = 64  # how many scores' discussions are in memory at once
DISCUSSION = "discussion"


@dataclass(frozen=True, repr=False)
class Votes(Result):
    """The score that each pixel votes for, and how strongly."""

    scores: Sequence[int]
    winner: np.ndarray  # rows × columns: one of the scores
    strength: np.ndarray  # what the pixel adds to that score
    names: Mapping[int, str] = field(default_factory=dict)  # of the scores

    @property
    def title(self) -> str:
        return f"votes of {self.winner.size} pixels among {len(self.scores)} scores"

    def cells(self) -> Cells:
        rows = [(self.names.get(s, str(s)), str(n)) for s, n in self.tally().items()]
        return ("score", "pixels"), rows

    def tally(self) -> dict[int, int]:
        """The number of pixels that vote for each score that has any, the largest number first."""
        found, counts = np.unique(self.winner, return_counts=True)
        return {
            int(s): int(n)
            for n, s in sorted(zip(counts, found, strict=True), key=lambda pair: (-pair[0], pair[1]))
        }

    def mask(self, score: int) -> np.ndarray:
        """Which pixels vote for this score."""
        return np.asarray(self.winner == score)


def discussions(x: Interpreter, scores: Sequence[int]) -> np.ndarray:
    """[scores, rows, columns]: what each pixel adds to each score, summed over its channels."""
    if x.map.engine.scope.method != DISCUSSION:
        raise BadOption(
            f"the model must be opened with the method '{DISCUSSION}'",
            where="votes",
            remedy=f"load it with method='{DISCUSSION}'",
        )
    check_picture(x.image.shape, "votes", x.map.engine.scope.image)
    return np.stack([channels_last(row, x.layout).sum(2) for row in score_rows(x, scores)])


def candidates(x: Interpreter, scores: Sequence[int]) -> list[int]:
    """The scores that pixels can vote for: these, or all where none is named."""
    chosen = list(scores) or list(range(x.output.size))
    if len(chosen) < 2:
        raise BadOption(
            "votes need at least two scores, and there is one score only",
            where="votes",
            remedy="use a network with several scores",
        )
    return chosen


def votes(
    x: Interpreter, scores: Sequence[int] = (), progress: Callable[[int, int], None] | None = None
) -> Votes:
    """The votes among these scores, or among all; where two are equal, the first one wins."""
    chosen = candidates(x, scores)
    winner = strength = None
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        maps = discussions(x, block)
        best = maps.argmax(0)
        most = np.take_along_axis(maps, best[None], 0)[0]
        best_score = np.asarray(block)[best]
        if winner is None or strength is None:
            winner, strength = best_score, most
        else:
            better = most > strength
            winner, strength = np.where(better, best_score, winner), np.where(better, most, strength)
        if progress:
            progress(start + len(block), len(chosen))
    assert winner is not None and strength is not None
    return Votes(chosen, winner, strength)
